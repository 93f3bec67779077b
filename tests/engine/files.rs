//! Services that read what a delivery brings are restarted when it is in place, also where the apply was killed before.

use serde_json::json;

use crate::support_engine::Stack;

const STACK: &str = r#"{ "project": "PROJECT", "paths": { "data": "data" }, "defaults": { "stop_grace_period": "1s" },
    "files": { "modules": { "from": "delivery", "to": "data/modules", "mode": "mirror", "restart": ["work*"] } },
    "services": {
        "worker": { "image": "redis:7.0", "volumes": ["./data/modules:/modules"] },
        "worker-idle": { "image": "redis:7.0", "volumes": ["./data/modules:/modules"] },
        "other": { "image": "redis:7.0", "volumes": ["./data/modules:/modules"] } } }"#;

fn seen(stack: &Stack, service: &str) -> String {
    stack.docker(&["exec", &stack.container(service), "cat", "/modules/a"])
}

#[test]
fn services_that_run_are_restarted_and_see_the_new_files() {
    let stack = Stack::new(STACK);
    stack.site.write("data/modules/a", "1");
    stack.site.write("delivery/a", "2");
    stack.run(&["start", "worker", "other"]).success();
    assert_eq!((seen(&stack, "worker").as_str(), seen(&stack, "other").as_str()), ("1", "1"));
    let plan = stack.run(&["files", "plan"]).success();
    assert!(plan.stderr.contains("other mount modules"), "{}", plan.stderr);
    assert!(plan.stderr.contains("restarted afterwards, where they run: worker, worker-idle"), "{}", plan.stderr);

    let done = stack.run(&["files", "apply", "--yes", "--json"]).success().json();
    assert_eq!(done["restarted"], json!(["worker"]), "{done}");
    assert_eq!((seen(&stack, "worker").as_str(), seen(&stack, "other").as_str()), ("2", "1"));
    let started = stack.inspect("worker", "{{.State.StartedAt}}");
    let again = stack.run(&["files", "apply", "--yes", "--json"]).success().json();
    assert_eq!(again["restarted"], json!([]), "{again}");
    assert_eq!(stack.inspect("worker", "{{.State.StartedAt}}"), started, "nothing changed, nothing is restarted");

    // Killed behind the swap: nobody was restarted, and the next run knows.
    stack.site.write("delivery/a", "3");
    let mut command = stack.site.command(&["-f", "stack.json", "files", "apply", "--yes"]);
    let status = command.env("DPL_FAILPOINT", "files.swap.before-record").output().unwrap().status;
    assert!(status.code().is_none(), "{status}");
    assert_eq!(seen(&stack, "worker"), "2");
    let done = stack.run(&["files", "apply", "--yes", "--json"]).success().json();
    assert_eq!(done["restarted"], json!(["worker"]), "{done}");
    assert_eq!(seen(&stack, "worker"), "3");

    let back = stack.run(&["files", "rollback", "--yes", "--json"]).success().json();
    assert_eq!(back["restarted"], json!(["worker"]), "{back}");
    assert_eq!(seen(&stack, "worker"), "2");
}
