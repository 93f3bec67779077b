//! Snapshots and restores of data folders beside services that use them.

use crate::support_engine::Stack;

const SITE: &str = r#"{
  "project": "PROJECT",
  "paths": { "backups": "backups" },
  "repository": { "password": { "file": "secrets/repository" } },
  "data": { "expert": { "path": "data/expert", "used_by": ["api"] } },
  "services": {
    "api": { "image": "expert/expert_api:latest", "stop_grace_period": "1s" },
    "page": { "image": "expert/expert_ui:latest", "stop_grace_period": "1s" }
  }
}"#;

fn opened() -> Stack {
    let stack = Stack::new(SITE);
    stack.site.write("data/expert/a", "a");
    stack.run(&["data", "init", "--yes"]).success();
    stack.run(&["start"]).success();
    stack
}

fn started(stack: &Stack, service: &str) -> String {
    stack.inspect(service, "{{.State.Running}} {{.State.StartedAt}}")
}

#[test]
fn services_of_used_by_are_warned_of_or_stopped_for_a_snapshot_and_run_again() {
    let stack = opened();
    let (api, page) = (started(&stack, "api"), started(&stack, "page"));
    let warned = stack.run(&["data", "snapshot"]).success();
    assert!(warned.stderr.contains("--stop") && warned.stderr.contains("api"), "{}", warned.stderr);
    assert_eq!(started(&stack, "api"), api);
    let taken = stack.run(&["data", "snapshot", "--stop", "--json"]).success().json();
    assert_eq!(taken["stops"], serde_json::json!(["api"]));
    let again = started(&stack, "api");
    assert!(again.starts_with("true") && again != api, "{again}, {api} before");
    assert_eq!(started(&stack, "page"), page);
    stack.site.write("data/expert/a", "changed");
    stack.run(&["data", "restore", "expert", "--snapshot", "latest", "--stop", "--yes"]).success();
    assert!(started(&stack, "api").starts_with("true") && started(&stack, "api") != again);
    assert_eq!(std::fs::read_to_string(stack.site.file("data/expert/a")).unwrap(), "a");
    let before = started(&stack, "api");
    stack.run(&["data", "snapshot", "--pause"]).success();
    assert_eq!(started(&stack, "api"), before, "paused, not stopped");
    assert_eq!(stack.inspect("api", "{{.State.Status}}"), "running");
    // What did not run is not started.
    stack.run(&["stop", "api"]).success();
    stack.run(&["data", "snapshot", "--stop"]).success();
    assert!(started(&stack, "api").starts_with("false"));
    let doctor = stack.run(&["doctor", "--json"]);
    let checks = doctor.json()["checks"].clone();
    let snapshots = checks.as_array().unwrap().iter().find(|check| check["name"] == "snapshots").cloned();
    let found = snapshots.unwrap_or_else(|| panic!("{checks}"));
    assert!(found["verdict"] == "ok" && found["found"].as_str().unwrap().contains("expert"), "{found}");
}

#[test]
fn a_service_that_a_killed_snapshot_left_down_is_started_by_the_next_command() {
    let stack = opened();
    let mut command = stack.site.command(&["-f", "stack.json", "data", "snapshot", "--stop"]);
    command.env("DPL_FAILPOINT", "folders.walk.listed:1");
    assert!(command.output().unwrap().status.code().is_none());
    assert!(started(&stack, "api").starts_with("false"));
    stack.run(&["restart", "page"]).success();
    assert!(started(&stack, "api").starts_with("true"));
    stack.run(&["data", "snapshot", "--stop"]).success();
    assert!(started(&stack, "api").starts_with("true"));
    let mut command = stack.site.command(&["-f", "stack.json", "data", "snapshot", "--pause"]);
    command.env("DPL_FAILPOINT", "folders.walk.listed:1");
    assert!(command.output().unwrap().status.code().is_none());
    assert_eq!(stack.inspect("api", "{{.State.Status}}"), "paused");
    stack.run(&["restart", "page"]).success();
    assert_eq!(stack.inspect("api", "{{.State.Status}}"), "running");
}
