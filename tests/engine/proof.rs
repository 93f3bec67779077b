//! What proves a container, what a job is, and what the way back finds, by commands on a real engine.

use crate::support_engine::{Stack, eventually};

/// `web` with these fields beside its image, in a project that stops at once.
fn web(fields: &str) -> String {
    r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
         "services": { "web": { "image": "redis:7.0", FIELDS } } }"#
        .replace("FIELDS", fields)
}

#[test]
fn a_job_runs_once_and_again_only_when_it_changed() {
    let job = |version: &str| {
        r#"{ "project": "PROJECT", "services": {
             "fast": { "image": "redis:7.0", "command": ["sh", "-c", "echo VERSION"], "environment": { "OF": "VERSION" } },
             "slow": { "image": "redis:7.0", "command": ["sh", "-c", "sleep 1; echo VERSION"], "ready": { "completed": true } } } }"#
            .replace("VERSION", version)
    };
    let stack = Stack::new(&job("one"));
    stack.run(&["start"]).success();
    let started = |service: &str| stack.inspect(service, "{{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}}");
    let (fast, slow) = (started("fast"), started("slow"));
    assert!(fast.starts_with("exited 0") && slow.starts_with("exited 0"), "{fast}, {slow}");
    stack.run(&["plan", "--exit-code"]).success();
    stack.run(&["start"]).success();
    assert_eq!((started("fast"), started("slow")), (fast, slow));
    stack.rewrite(&job("two"));
    stack.run(&["start"]).success();
    for service in ["fast", "slow"] {
        assert_eq!(stack.docker(&["logs", &stack.container(service)]), "two");
    }
    // By explicit word, always.
    let before = started("fast");
    stack.run(&["restart", "fast"]).success();
    assert_ne!(started("fast"), before);
    // One that fails is no success, and the old one is back.
    stack.rewrite(&job("three").replace("echo three", "exit 3"));
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("has ended with exit code 3"), "{}", run.stderr);
    assert_eq!(stack.docker(&["logs", &stack.container("slow")]), "two");
}

#[test]
fn what_the_old_container_was_made_with_proves_nothing_of_the_new_one() {
    let stack = Stack::new(&web(
        r#""healthcheck": { "test": ["CMD", "redis-cli", "ping"], "interval": "1s" }, "depends_on": {}"#,
    ));
    stack.run(&["start"]).success();
    let old = stack.inspect("web", "{{.Id}}");
    // The image has no check, and nothing listens there.
    stack.rewrite(&web(r#""ready": { "tcp": 1, "timeout": "2s" }"#));
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("is not ready after 2 s") && run.stderr.contains("back as it was"), "{}", run.stderr);
    assert_eq!(stack.inspect("web", "{{.Id}}"), old);
    // The way back is in the journal, step by step.
    let history = stack.run(&["history", "show", "2", "--json"]).success().stdout;
    for step in ["stop-container", "remove-container", "rename-container"] {
        assert!(history.contains(step), "{step}: {history}");
    }
}

#[test]
fn waiting_for_the_health_of_what_nothing_proves_is_an_error_of_the_plan() {
    let stack = Stack::new(
        r#"{ "project": "PROJECT", "services": {
             "db": { "image": "redis:7.0" },
             "web": { "image": "redis:7.0", "depends_on": { "db": { "condition": "service_healthy" } } } } }"#,
    );
    stack.run(&["check"]).success();
    let run = stack.run(&["plan"]).failure(1);
    assert!(run.stderr.contains("web: it waits until db is healthy"), "{}", run.stderr);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.project)]), "");
}

#[test]
fn a_rollback_brings_back_what_env_files_set_then() {
    let manifest = web(r#""env_file": "web.env", "ready": { "tcp": 6379 }"#);
    let stack = Stack::new(&manifest);
    let url = || {
        let environment = stack.inspect("web", "{{range .Config.Env}}{{println .}}{{end}}");
        environment.lines().find_map(|line| line.strip_prefix("DB_URL=")).unwrap().to_owned()
    };
    for value in ["old", "new"] {
        stack.site.write("web.env", &format!("DB_URL={value}\n"));
        stack.run(&["start"]).success();
        assert_eq!(url(), value);
    }
    let run = stack.run(&["rollback", "--yes"]).success();
    assert_eq!(url(), "old", "{}", run.stderr);
    assert!(run.stderr.contains("web: with what the env_files set then"), "{}", run.stderr);
    let mode = std::fs::metadata(stack.site.state("deployments.json")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
    // The file is as it was, and counts again.
    stack.run(&["start"]).success();
    assert_eq!(url(), "new");
}

#[test]
fn a_network_that_differs_is_recreated_with_its_containers_by_explicit_word() {
    let manifest = |network: &str| {
        r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s", "ready": { "tcp": 6379 } },
             "networks": { "front": { NETWORK }, "back": {} },
             "services": {
               "db": { "image": "redis:7.0", "networks": ["front", "back"] },
               "web": { "image": "redis:7.0", "networks": ["front"], "depends_on": ["db"] },
               "apart": { "image": "redis:7.0", "networks": ["back"] } } }"#
            .replace("NETWORK", network)
    };
    let stack = Stack::new(&manifest(""));
    stack.run(&["start"]).success();
    let ids = |service: &str| stack.inspect(service, "{{.Id}}");
    let (db, apart) = (ids("db"), ids("apart"));
    stack.rewrite(&manifest(r#""internal": true"#));
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("--recreate-networks"), "{}", run.stderr);
    let run = stack.run(&["start", "web", "--recreate-networks"]).success();
    assert!(run.stderr.contains("is recreated"), "{}", run.stderr);
    let network = format!("{}_front", stack.project);
    assert_eq!(stack.docker(&["network", "inspect", "-f", "{{.Internal}}", &network]), "true");
    assert_ne!(ids("db"), db, "it was in the network too");
    assert_eq!(ids("apart"), apart);
    stack.run(&["plan", "--exit-code"]).success();
    let history = stack.run(&["history"]).success().stdout;
    assert!(history.contains("dpl start web --recreate-networks"), "{history}");
    // One of somebody else in it is not touched.
    let guest = format!("{}-guest", stack.project);
    stack.docker(&["run", "-d", "--name", &guest, "--network", &network, "redis:7.0"]);
    stack.rewrite(&manifest(""));
    let run = stack.run(&["start", "--recreate-networks"]).failure(1);
    assert!(run.stderr.contains(&format!("container {guest} is in it")), "{}", run.stderr);
    stack.docker(&["rm", "-f", "-v", &guest]);
}

#[test]
fn an_old_container_that_somebody_removed_meanwhile_is_not_called_kept() {
    let stack = Stack::new(&web(r#""ready": { "tcp": 6379 }"#));
    stack.run(&["start"]).success();
    stack.rewrite(&web(r#""ready": { "tcp": 1, "timeout": "20s" }, "environment": { "V": "2" }"#));
    let mut run = stack.site.command(&["start", "-f", "stack.json"]);
    let run = run.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let kept = format!("{}.dpl-kept", stack.container("web"));
    let name = stack.container("web");
    let runs = || !stack.docker(&["ps", "-q", "--filter", &format!("name=^{name}$")]).is_empty();
    eventually("the new container runs", || {
        !stack.docker(&["ps", "-aq", "--filter", &format!("name=^{kept}$")]).is_empty() && runs()
    });
    stack.docker(&["rm", "-v", &kept]);
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("so the new one is kept as {name}")), "{said}");
    assert!(runs(), "{said}");
}

#[test]
fn a_new_container_that_somebody_removed_before_its_turn_leaves_the_old_one_as_it_was() {
    let stack = Stack::new(&web(r#""ready": { "tcp": 6379 }"#));
    stack.run(&["start"]).success();
    let old = stack.inspect("web", "{{.Id}}");
    stack.rewrite(&web(r#""ready": { "tcp": 6379 }, "environment": { "V": "2" }"#));
    let mut run = stack.site.command(&["start", "-f", "stack.json"]);
    run.env("DPL_FAILPOINT", "services.execute.after-stop").env("DPL_FAILPOINT_FREEZES", "1");
    let run = run.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let process = run.id();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    eventually("the old container has stopped", || state().contains(") T "));
    // As `docker container prune` does.
    stack.docker(&["rm", "-v", &format!("{}.dpl-next", stack.container("web"))]);
    let go_on = std::process::Command::new("kill").args(["-CONT", &process.to_string()]).status().unwrap();
    assert!(go_on.success());
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the old container is back as it was"), "{said}");
    assert!(!said.contains("could not be restored"), "{said}");
    assert_eq!(stack.inspect("web", "{{.Id}} {{.State.Running}}"), format!("{old} true"), "{said}");
    stack.run(&["start"]).success();
    assert!(stack.inspect("web", "{{.Config.Env}}").contains("V=2"));
}

#[test]
fn what_is_gone_or_would_be_left_is_said_before_anything_stops() {
    let stack = Stack::new(&web(r#""volumes": ["./app.conf:/etc/app.conf:ro", "/scratch"], "ready": { "tcp": 6379 }"#));
    stack.site.write("app.conf", "x");
    stack.run(&["start"]).success();
    std::fs::remove_file(stack.site.file("app.conf")).unwrap();
    let run = stack.run(&["restart", "web"]).failure(1);
    assert!(run.stderr.contains("existed when") && run.stderr.contains("and is gone"), "{}", run.stderr);
    assert_eq!(stack.inspect("web", "{{.State.Running}}"), "true");
    assert!(!stack.site.file("app.conf").exists());

    // Another manifest of the project names it: it is no orphan.
    stack.site.write("app.conf", "x");
    stack.site.write(
        "other.json",
        &r#"{ "project": "PROJECT", "services": { "other": { "image": "redis:7.0" } } }"#
            .replace("PROJECT", &stack.project),
    );
    let run = stack.site.run(&["remove", "--orphans", "--yes", "-f", "other.json"]).success();
    assert_eq!(stack.inspect("web", "{{.State.Running}}"), "true", "{}", run.stderr);
    let volume = stack.inspect("web", r#"{{range .Mounts}}{{if eq .Destination "/scratch"}}{{.Name}}{{end}}{{end}}"#);
    let run = stack.run(&["remove", "web", "--yes"]).success();
    assert!(run.stderr.contains(&format!("anonymous volume {volume}, mounted at /scratch, stays")), "{}", run.stderr);
    stack.docker(&["volume", "rm", &volume]);
}
