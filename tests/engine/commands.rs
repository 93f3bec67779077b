//! Each command of the program, as an operator types it, on a real engine with stand-ins.

use std::fs;

use dpl::engine::{Address, Engine, ExecSpec};
use serde_json::Value;

use crate::support::{Run, repository};
use crate::support_engine::{PrivateEngine, Stack, docker_on, free_port};

/// Two HTTP servers behind a Redis: the API waits until Redis is healthy, the page until the API is ready.
fn shop(port: u16) -> String {
    r#"{
      "project": "PROJECT",
      "paths": { "images": "images", "backups": "backups" },
      "defaults": { "stop_grace_period": "2s", "restart": "unless-stopped" },
      "services": {
        "redis": {
          "image": "redis:7.0",
          "healthcheck": { "test": "redis-cli ping | grep -q PONG", "interval": "1s", "timeout": "2s", "retries": 20 }
        },
        "api": {
          "image": "PROJECT/api:1",
          "groups": ["shop"],
          "environment": { "LEVEL": "info" },
          "depends_on": { "redis": { "condition": "service_healthy" } },
          "ready": { "log": "ready on port" }
        },
        "page": {
          "image": "PROJECT/page:1",
          "groups": ["shop"],
          "ports": ["127.0.0.1:PORT:80"],
          "depends_on": { "api": { "condition": "service_healthy" } },
          "ready": { "http": { "port": 80, "path": "/health" } }
        }
      }
    }"#
    .replace("127.0.0.1:PORT:80", &format!("127.0.0.1:{port}:80"))
}

/// The shop with images of its own name, so that no other test minds when they go.
#[track_caller]
fn open_shop() -> (Stack, u16) {
    let port = free_port();
    let stack = Stack::new(&shop(port));
    for (name, image) in [("api", "expert/expert_api:latest"), ("page", "expert/expert_ui:latest")] {
        stack.docker(&["tag", image, &format!("{}/{name}:1", stack.project)]);
    }
    (stack, port)
}

fn close_shop(stack: &Stack) {
    let rest = ["api", "page"].map(|name| format!("{}/{name}:1", stack.project));
    let _ = stack.site.run(&["remove", "all", "--yes", "-f", "stack.json"]);
    for image in rest {
        let _ =
            std::process::Command::new("docker").args(["rmi", "-f", &image]).env("DOCKER_HOST", &stack.engine).output();
    }
}

#[track_caller]
fn assert_valid(name: &str, document: &Value) {
    let path = repository().join("schema").join(format!("{name}.schema.json"));
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{}\n{document}", errors.join("\n"));
}

fn answers(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = String::new();
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}

/// Service → state and health, from `status --json`.
#[track_caller]
fn states(stack: &Stack) -> Vec<(String, String, String)> {
    let status = stack.run(&["status", "--json"]).success().json();
    assert_valid("status", &status);
    let text = |service: &Value, key: &str| service[key].as_str().unwrap().to_owned();
    let services = status["services"].as_array().unwrap();
    services.iter().map(|service| (text(service, "name"), text(service, "state"), text(service, "health"))).collect()
}

#[test]
fn a_stack_is_started_in_order_shown_stopped_and_removed() {
    let (stack, port) = open_shop();
    let run = stack.run(&["start"]).success();
    assert!(run.stderr.contains("3 created; "), "{}", run.stderr);
    assert!(answers(port));
    let started = |service: &str| stack.inspect(service, "{{.State.StartedAt}}");
    assert!(started("redis") < started("api") && started("api") < started("page"));
    assert_eq!(
        states(&stack),
        [("redis", "running", "healthy"), ("api", "running", "none"), ("page", "running", "none")]
            .map(|(name, state, health)| (name.to_owned(), state.to_owned(), health.to_owned()))
    );
    let again = stack.run(&["start"]).success();
    assert!(again.stderr.contains("nothing had to be created, replaced or started; "), "{}", again.stderr);

    let log = stack.run(&["logs", "api"]).success();
    assert!(log.stdout.contains("ready on port"), "{}", log.stdout);

    let run = stack.run(&["stop", "@shop"]).success();
    assert!(run.stderr.contains("2 services stopped"), "{}", run.stderr);
    assert!(!answers(port));
    assert_eq!(stack.inspect("redis", "{{.State.Running}}"), "true");
    assert_eq!(stack.inspect("page", "{{.State.Running}}"), "false");

    stack.run(&["remove", "all"]).failure(2);
    stack.run(&["remove", "all", "--yes"]).success();
    let left = stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.project)]);
    assert_eq!(left, "");
    close_shop(&stack);
}

#[test]
fn restart_recreates_what_changed_and_restarts_the_rest() {
    let (stack, port) = open_shop();
    stack.run(&["start"]).success();
    let before = ["redis", "api", "page"].map(|service| stack.inspect(service, "{{.Id}} {{.State.StartedAt}}"));
    stack.rewrite(&shop(port).replace("\"info\"", "\"debug\""));

    let drift = &stack.run(&["status", "api", "--json"]).success().json()["services"][0]["drift"];
    assert_eq!(drift[0], "environment.LEVEL");
    let plan = stack.run(&["plan"]).success();
    assert!(plan.stdout.contains("configuration: environment.LEVEL"), "{}", plan.stdout);
    assert_valid("plan", &stack.run(&["plan", "--json"]).success().json());
    let dry = stack.run(&["restart", "@shop", "--dry-run"]).success();
    assert!(dry.stdout.contains("environment.LEVEL"), "{}", dry.stdout);
    assert_eq!(before[1], stack.inspect("api", "{{.Id}} {{.State.StartedAt}}"));

    let report = stack.run(&["restart", "@shop", "--json"]).success().json();
    assert_valid("services", &report);
    let after = ["redis", "api", "page"].map(|service| stack.inspect(service, "{{.Id}} {{.State.StartedAt}}"));
    let id = |text: &String| text.split(' ').next().unwrap().to_owned();
    assert_eq!(before[0], after[0], "Redis was not chosen");
    assert_ne!(id(&before[1]), id(&after[1]), "the API's environment changed");
    assert_eq!(id(&before[2]), id(&after[2]), "the page is only restarted");
    assert_ne!(before[2], after[2]);
    assert!(answers(port));
    assert_eq!(stack.inspect("api", "{{range .Config.Env}}{{println .}}{{end}}").matches("LEVEL=debug").count(), 1);
    close_shop(&stack);
}

#[test]
fn a_version_that_does_not_come_up_leaves_the_old_one_serving() {
    let (stack, port) = open_shop();
    stack.run(&["start"]).success();
    let before = stack.inspect("page", "{{.Id}}");
    let broken =
        shop(port).replace("\"ports\"", "\"entrypoint\": [\"sh\", \"-c\", \"echo broken; exit 3\"], \"ports\"");
    stack.rewrite(&broken);
    let run = stack.run(&["restart", "page"]).failure(1);
    assert!(run.stderr.contains("error: 1 service failed"), "{}", run.stderr);
    assert!(run.stderr.contains("log: broken"), "{}", run.stderr);
    assert_eq!(stack.inspect("page", "{{.Id}}"), before);
    assert!(answers(port));
    close_shop(&stack);
}

#[test]
fn the_log_has_each_call_to_the_engine_and_the_stages_of_a_save_and_a_load() {
    let mut stack = Stack::new(
        r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {"a": {"image": "redis:7.0"}}}"#,
    );
    assert!(!stack.run(&["save"]).success().stderr.contains("GET /"), "nobody asked for it");
    fs::remove_dir_all(stack.site.file("store")).unwrap();
    stack.site.set("DPL_LOG", "debug");
    for (command, stages) in [("save", &["save, look", "save, export"][..]), ("load", &["load, look"])] {
        let said = stack.run(&[command]).success().stderr;
        for stage in stages {
            assert!(said.contains(&format!("{stage} ended after ")), "{stage}: {said}");
        }
        let call = said.lines().find(|line| line.contains("GET /") && line.contains("/images/"));
        assert!(call.is_some_and(|line| line.contains(" 200 in ")), "{command}: {said}");
    }
}

#[test]
fn images_are_saved_once_and_loaded_when_they_are_missing() {
    let (stack, _) = open_shop();
    let saved = stack.run(&["save", "@shop", "--json"]).success().json();
    assert_valid("save", &saved);
    let result = |document: &Value, place: usize| document["images"][place]["result"].as_str().unwrap().to_owned();
    assert_eq!((result(&saved, 0), result(&saved, 1)), ("saved".into(), "saved".into()));
    let again = stack.run(&["save", "@shop", "--json"]).success().json();
    assert_eq!((result(&again, 0), result(&again, 1)), ("unchanged".into(), "unchanged".into()));

    let reference = format!("{}/api:1", stack.project);
    stack.docker(&["rmi", &reference]);
    let loaded = stack.run(&["load", "api", "--json"]).success().json();
    assert_valid("load", &loaded);
    assert_eq!(result(&loaded, 0), "loaded");
    assert_eq!(loaded["images"][0]["layers_sent"], 0, "another name holds the layers");
    assert_eq!(stack.docker(&["image", "inspect", "--format", "{{.Id}}", &reference]), saved["images"][0]["image_id"]);
    let present = stack.run(&["load", "api", "--json"]).success().json();
    assert_eq!(result(&present, 0), "present");

    let run = stack.site.run(&["list"]).success();
    assert!(run.stderr.contains("remembered for this folder"), "load remembers: {}", run.stderr);

    stack.docker(&["rmi", &reference]);
    let run = stack.run(&["start", "api"]).success();
    assert!(run.stderr.contains(&format!("{reference}: loaded")), "start brings what is missing: {}", run.stderr);
    stack.run(&["remove", "api", "--yes"]).success();

    stack.docker(&["rmi", &reference, &format!("{}/page:1", stack.project)]);
    let run = stack.run(&["save", "@shop"]).failure(1);
    assert!(run.stderr.contains("api:1") && run.stderr.contains("page:1"), "both are named: {}", run.stderr);
    close_shop(&stack);
}

/// A database server, with a service that uses it.
const SITE_WITH_DATABASES: &str = r#"{
  "project": "PROJECT",
  "paths": { "backups": "backups" },
  "databases": {
    "expert": { "service": "db", "password": { "file": "password" }, "seed": "seeds/expert", "used_by": ["api"] },
    "数据 \"x\"; drop": { "service": "db", "seed": "seeds/odd" }
  },
  "services": {
    "db": {
      "image": "postgres:15",
      "environment": { "POSTGRES_PASSWORD": { "file": "password" } },
      "tmpfs": "/var/lib/postgresql/data",
      "stop_grace_period": "5s",
      "healthcheck": { "test": "pg_isready -U postgres -h 127.0.0.1", "interval": "1s", "retries": 30 }
    },
    "api": { "image": "expert/expert_api:latest", "depends_on": { "db": { "condition": "service_healthy" } }, "stop_grace_period": "2s" }
  }
}"#;

#[track_caller]
fn open_databases() -> Stack {
    let stack = Stack::new(SITE_WITH_DATABASES);
    stack.site.write("password", "se'cr et\n");
    stack.run(&["start"]).success();
    psql(&stack, "postgres", "CREATE DATABASE expert");
    psql(&stack, "postgres", "CREATE DATABASE \"数据 \"\"x\"\"; drop\"");
    psql(&stack, "expert", "CREATE TABLE workflow AS SELECT i, 'w' || i AS name FROM generate_series(1, 1000) i");
    stack
}

#[track_caller]
fn psql(stack: &Stack, database: &str, sql: &str) -> String {
    let container = stack.container("db");
    stack.docker(&["exec", &container, "psql", "-X", "-U", "postgres", "-d", database, "-Atc", sql])
}

#[test]
fn databases_are_dumped_rebuilt_and_backed_up() {
    let stack = open_databases();
    let run = stack.run(&["db", "dump", "expert"]).success();
    assert!(run.stderr.contains("1 database dumped"), "{}", run.stderr);
    psql(&stack, "expert", "DELETE FROM workflow WHERE i > 10; CREATE TABLE junk (x int)");

    let refused = stack.run(&["db", "rebuild", "expert"]).failure(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "10");
    stack.run(&["db", "rebuild"]).failure(2);

    let document = stack.run(&["db", "rebuild", "1", "--yes", "--json"]).success().json();
    assert_valid("db-rebuild", &document);
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "1000");
    assert_eq!(psql(&stack, "expert", "SELECT to_regclass('junk') IS NULL"), "t");
    assert_eq!(stack.inspect("api", "{{.State.Running}}"), "true");
    assert_eq!(document["rebuilds"][0]["backup"]["rows"], 10, "what was replaced has been backed up");

    let document = stack.run(&["db", "backup", "--json"]).success().json();
    assert_valid("db-backup", &document);
    let backups = document["backups"].as_array().unwrap();
    assert_eq!((backups.len(), &backups[0]["tables"], &backups[0]["rows"]), (2, &1.into(), &1000.into()));
    // What dpl wrote is read without it.
    let archive = format!(
        "{}/archive:/backup:ro",
        backups[0]["path"].as_str().unwrap().replace("SITE", &stack.site.path().to_string_lossy())
    );
    let list = stack.docker(&[
        "run",
        "--rm",
        "--user",
        "0",
        "-v",
        &archive,
        "--entrypoint",
        "pg_restore",
        "postgres:15",
        "--list",
        "/backup",
    ]);
    assert!(list.contains("TABLE DATA public workflow"), "{list}");

    let listed = stack.run(&["db", "list", "--json"]).success().json();
    assert_valid("db-list", &listed);
    assert_eq!(listed["databases"][0]["exists"], true);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 3);
}

#[test]
fn a_damaged_seed_never_reaches_the_database() {
    let stack = open_databases();
    stack.run(&["db", "dump", "expert"]).success();
    let archive = stack.site.file("seeds/expert/archive");
    let data = fs::read_dir(&archive)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains(".dat"))
        .unwrap();
    let mut bytes = fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, bytes).unwrap();
    let run = stack.run(&["db", "rebuild", "expert", "--yes"]).failure(1);
    assert!(run.stderr.contains(&*data.file_name().unwrap().to_string_lossy()), "the file is named: {}", run.stderr);
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "1000");
}

#[test]
fn of_several_databases_none_is_replaced_before_all_of_them_can_be() {
    let stack = open_databases();
    stack.run(&["db", "dump", "expert"]).success();
    psql(&stack, "expert", "DELETE FROM workflow WHERE i > 10");
    let run = stack.run(&["db", "rebuild", "all", "--yes"]).failure(1);
    assert!(run.stderr.contains("seeds/odd"), "the other one has no seed: {}", run.stderr);
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "10", "and so neither was replaced");
    stack.run(&["db", "dump", "2"]).success();
    stack.run(&["db", "rebuild", "all", "--yes"]).success();
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "1000");
}

#[test]
fn no_secret_is_seen_anywhere() {
    let stack = open_databases();
    let secret = "se'cr et";
    for arguments in [
        vec!["config", "--show-values"],
        vec!["status", "--json"],
        vec!["plan", "--json"],
        vec!["db", "backup", "-v"],
        vec!["db", "dump", "expert", "-v"],
        vec!["logs"],
    ] {
        let run = stack.run(&arguments).success();
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{arguments:?}");
    }
    let journal = fs::read_to_string(stack.site.state("journal.jsonl")).unwrap();
    let labels = stack.inspect("db", "{{json .Config.Labels}}");
    assert!(!journal.contains(secret) && !labels.contains(secret));
}

#[test]
fn a_chain_does_its_links_in_order_and_says_what_remains() {
    let (stack, port) = open_shop();
    stack.run(&["save", "@shop"]).success();
    stack.run(&["do", "2 - [2, 3] - 3 - [1,2,3] ", "--yes"]).success();
    assert!(answers(port));

    let run = stack.run(&["do", "4 - 3 - 2 - 1 - 3 - 3", "--yes"]).failure(1);
    let remains = "this remains to be done: dpl do \"2 - 1 - 3 - 3\" -f stack.json\n";
    assert!(run.stderr.contains(remains), "{}", run.stderr);
    assert!(!answers(port), "the first link was done, and none behind the failed one");

    let run = stack.run(&["do", "2 - 25"]).failure(2);
    assert_eq!(run.stderr, "error: service 25 does not exist: the numbers go from 1 to 3\n");
    stack.run(&["do", "9 - 1"]).failure(2);
    stack.run(&["do", "13 - 1"]).failure(2);
    let journal = journal(&stack);
    let begins: Vec<&str> = journal
        .iter()
        .filter(|entry| entry["entry"] == "begin")
        .map(|entry| entry["command"].as_str().unwrap())
        .collect();
    assert_eq!(begins[1], "dpl do \"2 - [2, 3] - 3 - [1,2,3]\"");
    close_shop(&stack);
}

fn journal(stack: &Stack) -> Vec<Value> {
    let text = fs::read_to_string(stack.site.state("journal.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn menu(stack: &Stack, input: &str, flags: &[&str]) -> Run {
    stack.site.run_with_input(&[&["stack.json"], flags].concat(), input)
}

#[test]
fn the_menu_takes_deploy_pys_numbers_from_a_pipe() {
    let (stack, port) = open_shop();
    stack.run(&["save", "@shop"]).success();
    let run = menu(&stack, "2\n3\n3\n1..3\n0\n", &["--yes"]).success();
    assert!(run.stderr.contains("1  save images to the image store"), "{}", run.stderr);
    assert!(run.stderr.contains("\n 3  page"), "{}", run.stderr);
    assert!(answers(port));

    // An empty line goes back, the end of the input leaves.
    menu(&stack, "4\n\n0\n", &[]).success();
    menu(&stack, "", &[]).success();
    assert!(answers(port));

    // What fails ends the run, so that nothing behind it is done.
    let run = menu(&stack, "2\n1\n4\n3\n0\n", &["--yes"]).failure(1);
    assert!(run.stderr.contains("redis:7.0"), "{}", run.stderr);
    assert!(answers(port));
    let run = menu(&stack, "expert\n", &[]).failure(2);
    assert!(run.stderr.contains("`expert` is not an action: give a number from 1 to 14"), "{}", run.stderr);
    let run = menu(&stack, "15\n", &[]).failure(2);
    assert!(
        run.stderr.ends_with("error: action 15 does not exist: the numbers go from 1 to 14, and 0 leaves\n"),
        "{}",
        run.stderr
    );
    // What changes something wants to be answered, and there is nobody to ask.
    let run = menu(&stack, "4\n3\n0\n", &[]).failure(2);
    assert!(run.stderr.contains("give --yes to answer yes"), "{}", run.stderr);
    assert!(answers(port));
    // What only looks asks nothing.
    let run = menu(&stack, "9\n10\n2\n11\n3\n０\n", &[]).success();
    for shown in ["running, healthy", "ready on port", "nothing to do"] {
        assert!(run.stdout.contains(shown) || run.stderr.contains(shown), "{}{}", run.stdout, run.stderr);
    }
    let run = menu(&stack, "3\n26\n", &["--yes"]).failure(2);
    assert!(run.stderr.ends_with("error: service 26 does not exist: the numbers go from 1 to 3\n"), "{}", run.stderr);
    close_shop(&stack);
}

#[test]
fn one_operator_at_a_time_and_the_second_is_told_who() {
    let (stack, _) = open_shop();
    stack.run(&["start", "redis"]).success();
    let file = fs::OpenOptions::new().read(true).write(true).open(stack.site.state("lock")).unwrap();
    file.lock().unwrap();
    let run = stack.run(&["stop", "redis"]).failure(5);
    assert!(run.stderr.contains("is working on this project: `dpl start redis` since"), "{}", run.stderr);
    assert_eq!(stack.inspect("redis", "{{.State.Running}}"), "true");
    stack.run(&["status"]).success();
    file.unlock().unwrap();
    stack.run(&["stop", "redis"]).success();
    close_shop(&stack);
}

#[test]
fn the_journal_has_begin_steps_and_end_of_every_action() {
    let (stack, _) = open_shop();
    stack.run(&["start", "redis"]).success();
    stack.run(&["load", "redis"]).failure(1);
    let entries = journal(&stack);
    let kinds: Vec<&str> = entries.iter().map(|entry| entry["entry"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("begin", "end"));
    assert_eq!((&entries[0]["number"], &entries[0]["command"]), (&1.into(), &"dpl start redis".into()));
    let steps = |what: &str| entries.iter().filter(|entry| entry["entry"] == what && entry["action"] == 1).count();
    assert!(steps("step") >= 3 && steps("step") == steps("step-end"));
    let last = entries.last().unwrap();
    assert_eq!((&last["action"], &last["exit_code"]), (&2.into(), &1.into()));
    close_shop(&stack);
}

#[test]
fn doctor_looks_at_the_engine_and_the_disks() {
    let (stack, _) = open_shop();
    let report = stack.run(&["doctor", "--json"]);
    let document = report.json();
    assert_valid("doctor", &document);
    let names: Vec<&str> =
        document["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in ["engine", "api", "image store", "storage driver", "engine's disk", "images' disk", "state"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let engine = docker_on(&stack.engine, &["version", "--format", "{{.Server.Version}}"]);
    assert!(document["checks"][0]["found"].as_str().unwrap().starts_with(&engine));
    close_shop(&stack);
}

/// A worker that wants a GPU, and has no program to run without one.
fn worker(required: bool) -> String {
    r#"{ "project": "PROJECT", "services": { "gpu": { "image": "expert/expert_api:latest", "stop_grace_period": "1s",
        "gpus": [{ "driver": "nvidia", "count": "all", "capabilities": ["gpu"], "required": REQUIRED }] } } }"#
        .replace("REQUIRED", &required.to_string())
}

#[test]
fn a_gpu_is_asked_for_where_there_is_one_and_refused_beforehand_where_it_is_required_and_missing() {
    let without = Stack::new(&worker(true));
    let run = without.run(&["start"]).failure(1);
    assert!(run.stderr.contains("gpu: the engine can't provide the GPU that it requires"), "{}", run.stderr);
    assert_eq!(without.docker(&["ps", "-aq", "--filter", &format!("name={}", without.project)]), "");
    without.rewrite(&worker(false));
    let run = without.run(&["start"]).success();
    assert!(run.stderr.contains("warning: gpu runs without the GPU that it asks for"), "{}", run.stderr);

    let engine = PrivateEngine::start(&["--gpu"]);
    let image = std::process::Command::new("sh")
        .arg("-c")
        .arg("docker -H \"$1\" save expert/expert_api:latest | docker -H \"$2\" load")
        .args(["sh", &without.engine, &engine.address])
        .output()
        .unwrap();
    assert!(image.status.success(), "{}", String::from_utf8_lossy(&image.stderr));
    let with = Stack::on(&engine.address, &worker(true));
    with.run(&["start"]).success();
    let requests = with.inspect("gpu", "{{json .HostConfig.DeviceRequests}}");
    assert!(requests.contains("\"Count\":-1") && requests.contains("[\"gpu\"]"), "{requests}");
}

#[test]
fn what_a_rebuild_stopped_runs_again_without_the_gpu_and_on_its_old_image_whatever_its_name_leads_to_now() {
    let stack = Stack::new(
        r#"{ "project": "PROJECT", "paths": { "backups": "backups" },
          "databases": { "shop": { "service": "db", "user": "postgres", "seed": "seeds/shop", "used_by": ["app"] } },
          "services": {
            "db": { "image": "postgres:15", "ready": { "tcp": 5432 },
                    "environment": { "POSTGRES_HOST_AUTH_METHOD": "trust" } },
            "app": { "image": "PROJECT/app:1", "stop_signal": "SIGKILL", "ready": { "running_for": "500ms" },
              "gpus": [{ "driver": "nvidia", "count": "all", "capabilities": ["gpu"], "required": false }] } } }"#,
    );
    let image = format!("{}/app:1", stack.project);
    stack.docker(&["tag", "expert/expert_api:latest", &image]);
    stack.run(&["start"]).success();
    stack.docker(&["exec", &stack.container("db"), "createdb", "-U", "postgres", "shop"]);
    stack.run(&["db", "dump", "shop"]).success();
    let life = || stack.inspect("app", "{{.Id}} {{.Image}} {{.State.Running}}");
    let (before, started) = (life(), stack.inspect("app", "{{.State.StartedAt}}"));
    assert!(before.ends_with(" true"), "{before}");
    stack.docker(&["tag", "expert/expert_ui:latest", &image]);
    let run = stack.run(&["db", "rebuild", "shop", "--yes"]).success();
    assert_eq!(life(), before, "{}", run.stderr);
    assert_ne!(stack.inspect("app", "{{.State.StartedAt}}"), started, "it was stopped meanwhile");
    let requests = stack.inspect("app", "{{json .HostConfig.DeviceRequests}}");
    assert!(!requests.contains("gpu"), "{requests}");
    stack.docker(&["image", "rm", &image]);
}

#[test]
fn a_runtime_that_the_engine_does_not_have_is_named_with_what_to_do() {
    let manifest = worker(true).replace("\"stop_grace_period\"", "\"runtime\": \"nvidia\", \"stop_grace_period\"");
    let stack = Stack::new(&manifest);
    for command in [&["plan"][..], &["start"]] {
        let run = stack.run(command).failure(1);
        let said = "gpu: the engine has no runtime nvidia (";
        assert!(run.stderr.contains(said) && run.stderr.contains("nvidia-ctk"), "{command:?}: {}", run.stderr);
        assert!(!run.stderr.contains("can't try"), "{command:?}: {}", run.stderr);
    }
    let document = stack.run(&["doctor", "--json"]).failure(1).json();
    let checks = document["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "runtime").unwrap_or_else(|| panic!("{document}"));
    assert_eq!(check["verdict"], "problem", "{check}");
    assert!(check["found"].as_str().unwrap().starts_with("gpu: the engine has no runtime nvidia; it has "), "{check}");
    assert!(check["found"].as_str().unwrap().contains("runc"), "{check}");
    assert!(check["advice"].as_str().unwrap().contains("restart the engine"), "{check}");
    assert!(checks.iter().all(|check| check["name"] != "gpu"), "{document}");
}

/// An engine may keep taking what nobody reads, or stop taking it: the command's end counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ends_before_it_has_read_its_input_is_judged_by_its_exit_code() {
    let manifest = r#"{"project": "PROJECT", "services": {"a": {"image": "redis:7.0", "stop_signal": "SIGKILL"}}}"#;
    let stack = Stack::new(manifest);
    stack.run(&["start"]).success();
    let engine = Engine::connect(Address::resolve(Some(&stack.engine)).unwrap()).await.unwrap();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let spec = ExecSpec { command: words(&["sh", "-c", "echo out; exit 3"]), stdin: true, ..ExecSpec::default() };
    let input = vec![b'x'; 64 << 20];
    let container = stack.container("a");
    let running = engine.exec(&container, &spec, &input);
    let result = tokio::time::timeout(std::time::Duration::from_secs(60), running).await.expect("it ends").unwrap();
    assert_eq!((result.exit_code, result.stdout.as_slice()), (3, &b"out\n"[..]));
}
