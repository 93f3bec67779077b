//! `rollback`: services back to what they were before an action, by commands on a real engine.

use crate::housekeeping::engine_id;
use crate::support_engine::{Stack, eventually, free_port};

fn web(port: u16, version: &str) -> String {
    r#"{ "project": "PROJECT",
      "defaults": { "stop_grace_period": "1s" },
      "services": {
        "cache": { "image": "redis:7.0", "ready": { "tcp": 6379 } },
        "web": { "image": "PROJECT/web:1", "environment": { "VERSION": "NEWEST" }, "ports": ["WEBPORT:80"],
                 "depends_on": ["cache"],
                 "ready": { "http": { "port": 80, "path": "/health" }, "timeout": "20s" } }
      } }"#
        .replace("WEBPORT", &port.to_string())
        .replace("NEWEST", version)
}

/// Lets the project's name of the image lead to another one; gives its ID.
fn bring(stack: &Stack, version: &str) -> String {
    let made = stack.docker(&["create", "expert/expert_ui:latest"]);
    let name = format!("{}/web:1", stack.project);
    stack.docker(&["commit", "--change", &format!("LABEL version={version}"), &made, &name]);
    stack.docker(&["rm", &made]);
    engine_id(stack, &name)
}

fn version(stack: &Stack) -> String {
    let environment = stack.inspect("web", "{{range .Config.Env}}{{.}} {{end}}");
    environment.split_whitespace().find_map(|pair| pair.strip_prefix("VERSION=")).unwrap().to_owned()
}

#[test]
fn services_go_back_to_the_image_and_the_configuration_before_an_action_and_forward_again() {
    let port = free_port();
    let stack = Stack::new(&web(port, "1"));
    let name = format!("{}/web:1", stack.project);
    stack.run(&["rollback", "--yes"]).failure(2);
    let one = bring(&stack, "one");
    stack.run(&["start"]).success();
    let run = stack.run(&["rollback", "--yes"]).failure(2);
    assert!(run.stderr.contains("nothing to roll back to"), "{}", run.stderr);
    let cache = stack.inspect("cache", "{{.Id}}");
    let two = bring(&stack, "two");
    stack.docker(&["tag", &one, &format!("dpl-kept:{}", &one["sha256:".len()..][..32])]);
    stack.rewrite(&web(port, "2"));
    stack.run(&["restart", "web"]).success();
    assert_eq!((version(&stack), stack.inspect("web", "{{.Image}}")), ("2".into(), two.clone()));

    // The plan first, and nothing without a word.
    let plan = stack.run(&["rollback", "--dry-run", "--json"]).success().json();
    let moved = &plan["images"][0];
    assert_eq!(
        (&moved["reference"], &moved["was"], &moved["becomes"]),
        (&name.clone().into(), &two.clone().into(), &one.clone().into())
    );
    assert!(
        plan["plan"]["steps"].as_array().unwrap().iter().any(|step| step["cause"].to_string().contains("VERSION")),
        "{plan}"
    );
    stack.run(&["rollback"]).failure(2);
    assert_eq!(version(&stack), "2");

    stack.run(&["rollback", "--yes"]).success();
    assert_eq!((version(&stack), stack.inspect("web", "{{.Image}}")), ("1".into(), one.clone()));
    assert_eq!(engine_id(&stack, &name), one);
    assert_eq!(
        engine_id(&stack, &format!("dpl-kept:{}", &two["sha256:".len()..][..32])),
        two,
        "the way forward is kept"
    );
    assert_eq!(stack.inspect("cache", "{{.Id}}"), cache, "what had not changed is left alone");
    let history = stack.run(&["history", "--json"]).success().json();
    let last = history["actions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["command"].as_str().unwrap(), last["result"].as_str().unwrap()), ("dpl rollback", "done"));

    // Nothing that it may need goes.
    let pruned = stack.run(&["images", "prune", "--engine", "--unknown", "--dry-run", "--json"]).success().json();
    let goes: Vec<&str> =
        pruned["images"].as_array().unwrap().iter().filter_map(|image| image["id"].as_str()).collect();
    assert!(!goes.contains(&one.as_str()) && !goes.contains(&two.as_str()), "{goes:?}");

    // The manifest on the disk is as it was, and says so.
    stack.run(&["plan", "--exit-code"]).failure(6);
    stack.run(&["rollback", "--yes"]).success();
    assert_eq!((version(&stack), stack.inspect("web", "{{.Image}}")), ("2".into(), two.clone()));

    // By number: before the restart, whichever action that was.
    let actions = stack.run(&["history", "--json"]).success().json();
    let restart =
        actions["actions"].as_array().unwrap().iter().find(|action| action["command"] == "dpl restart web").unwrap();
    let number = restart["number"].to_string();
    stack.run(&["rollback", &number, "--yes"]).success();
    assert_eq!(version(&stack), "1");
    assert!(stack.run(&["rollback", "1", "--yes"]).failure(2).stderr.contains("is not recorded"));
    assert!(stack.run(&["rollback", "99", "--yes"]).failure(2).stderr.contains("they go up to"));
    stack.run(&["rollback", "0", "--yes"]).failure(2);

    // An image that somebody took away is named before anything is touched.
    stack.docker(&["image", "rm", "--force", &two]);
    let web = stack.inspect("web", "{{.Id}}");
    let run = stack.run(&["rollback", "--yes"]).failure(1);
    assert!(run.stderr.contains("is no longer in the engine"), "{}", run.stderr);
    assert_eq!(stack.inspect("web", "{{.Id}}"), web);
}

#[test]
fn a_stop_is_rolled_back_too_and_a_failed_way_back_leaves_what_runs() {
    let port = free_port();
    let stack = Stack::new(&web(port, "1"));
    bring(&stack, "one");
    stack.run(&["start"]).success();
    stack.run(&["stop", "web"]).success();
    stack.run(&["rollback", "--yes"]).success();
    assert_eq!(stack.inspect("web", "{{.State.Running}}"), "true");

    // What comes back has to prove itself as any replacement does.
    stack.rewrite(&web(port, "2").replace("/health", "/"));
    stack.run(&["restart", "web"]).success();
    let recorded = stack.site.state("deployments.json");
    let text = std::fs::read_to_string(&recorded).unwrap();
    std::fs::write(&recorded, text.replace("/health", "/nowhere").replace("20s", "2s")).unwrap();
    let before = stack.inspect("web", "{{.Id}}");
    let run = stack.run(&["rollback", "--yes"]).failure(1);
    assert!(run.stderr.contains("the old container is back as it was"), "{}", run.stderr);
    assert_eq!((stack.inspect("web", "{{.Id}}"), version(&stack)), (before, "2".into()));

    std::fs::write(&recorded, "").unwrap();
    let run = stack.run(&["restart", "web"]).failure(1);
    assert!(run.stderr.contains("deployments.json") && run.stderr.contains("hint: "), "{}", run.stderr);
    assert_eq!(stack.inspect("web", "{{.State.Running}}"), "true", "nothing changes where it can't be written down");
    // What goes down needs no way back.
    let run = stack.run(&["stop", "web"]).success();
    assert!(run.stderr.contains("deployments.json"), "{}", run.stderr);
    assert_eq!(stack.inspect("web", "{{.State.Running}}"), "false");
    assert_eq!(std::fs::read_to_string(&recorded).unwrap(), "", "it stays for inspection");
}

#[test]
fn the_way_back_from_an_action_that_was_cut_off_is_the_last_record() {
    let port = free_port();
    let stack = Stack::new(&web(port, "1"));
    bring(&stack, "one");
    stack.run(&["start"]).success();
    stack.rewrite(&web(port, "2"));
    stack.run(&["start"]).success();
    // The new container never gets ready; the kill comes while it is waited for.
    stack.rewrite(&web(port, "3").replace("/health", "/nowhere"));
    let mut start = stack.site.command(&["start", "web", "-f", "stack.json"]).spawn().unwrap();
    let name = stack.container("web");
    eventually("the new container runs", || {
        let of_name = stack.docker(&["ps", "--format", "{{.ID}} {{.Names}}"]);
        let id = of_name.lines().find_map(|line| line.strip_suffix(&name)?.strip_suffix(' ').map(str::to_owned));
        id.is_some_and(|id| stack.docker(&["inspect", "--format", "{{.Config.Env}}", &id]).contains("VERSION=3"))
    });
    start.kill().unwrap();
    start.wait().unwrap();
    let back = stack.run(&["rollback", "--dry-run", "--json"]).success().json();
    let actions = stack.run(&["history", "--json"]).success().json();
    let actions = actions["actions"].as_array().unwrap().clone();
    assert_eq!(back["after_action"], actions[actions.len() - 2]["number"], "{actions:?}");
    stack.run(&["rollback", "--yes"]).success();
    assert_eq!(version(&stack), "2");
    // It is a record like any other: the next way back is that from version 2.
    stack.run(&["rollback", "--yes"]).success();
    assert_eq!(version(&stack), "1");
}

/// A program with data that another version of it may change.
const FRAGILE: &str = r#"{ "project": "PROJECT",
  "defaults": { "stop_grace_period": "1s" },
  "services": {
    "db": { "image": "redis:7.0", "volumes": ["data:/data"], "entrypoint": ["sh", "-c"], "command": ["COMMAND"] }
  },
  "volumes": { "data": {} } }"#;

#[test]
fn an_old_container_that_ends_a_moment_after_its_return_is_not_called_back() {
    let first = "if [ -e /data/new ]; then sleep 1; exit 3; fi; exec sleep 86400";
    let stack = Stack::new(&FRAGILE.replace("COMMAND", first));
    stack.run(&["start"]).success();
    stack.rewrite(&FRAGILE.replace("COMMAND", "touch /data/new; exit 7"));
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("but it does not run"), "{}", run.stderr);
    assert!(!run.stderr.contains("is back"), "{}", run.stderr);
    // Its volume goes with the word for it: no other service needs it.
    stack.run(&["remove", "db", "--volumes", "--yes"]).success();
    let volumes = stack.docker(&["volume", "ls", "--quiet", "--filter", &format!("name={}_data", stack.project)]);
    assert_eq!(volumes, "");
}

#[test]
fn what_was_down_then_and_runs_now_is_named_and_left_as_it_is() {
    let manifest = |version: &str| {
        r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s", "ready": { "tcp": 6379 } }, "services": {
             "cache": { "image": "redis:7.0" },
             "web": { "image": "redis:7.0", "environment": { "VERSION": "NEWEST" } } } }"#
            .replace("NEWEST", version)
    };
    let stack = Stack::new(&manifest("1"));
    stack.run(&["start"]).success();
    stack.run(&["stop", "web"]).success();
    stack.rewrite(&manifest("2"));
    stack.run(&["start", "web"]).success();
    let web = stack.inspect("web", "{{.Id}}");
    let plan = stack.run(&["rollback", "--dry-run", "--json"]).success().json();
    assert_eq!(plan["started_since"], serde_json::json!(["web"]), "{plan}");
    let run = stack.run(&["rollback", "--yes"]).success();
    for line in ["every service that ran then is as it was then", "down then and running now, left as they are: web"] {
        assert!(run.stderr.contains(line), "{line}: {}", run.stderr);
    }
    // The manifest says something else than what is there, and nothing else is claimed.
    assert!(!run.stderr.contains("the manifest says"), "{}", run.stderr);
    assert_eq!(stack.inspect("web", "{{.Id}} {{.State.Running}}"), format!("{web} true"));
    assert_eq!(version(&stack), "2");
}
