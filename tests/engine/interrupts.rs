//! Ctrl-C in the middle of services: what it leaves, and that what is said is what the engine shows.

use std::process::{Command, Stdio};

use crate::support_engine::{Stack, eventually};

const THREE: &str = r#"{ "project": "PROJECT", "services": {
    "a": { "image": "expert/expert_ui:latest", "stop_signal": "SIGKILL", "environment": { "RELEASE": "1" } },
    "b": { "image": "expert/expert_ui:latest", "stop_signal": "SIGKILL", "environment": { "RELEASE": "1" } },
    "c": { "image": "expert/expert_ui:latest", "stop_signal": "SIGKILL", "environment": { "RELEASE": "1" } } } }"#;

const ALL: [&str; 3] = ["a", "b", "c"];

/// A container's ID and when it was started.
fn containers(stack: &Stack) -> [String; 3] {
    ALL.map(|service| stack.inspect(service, "{{.Id}} {{.State.StartedAt}} {{.State.Running}}"))
}

/// Runs a command that stands still at a point, presses Ctrl-C there, and gives the exit code and what was said.
#[track_caller]
fn interrupted_at(stack: &Stack, point: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let said = std::fs::File::create(stack.site.file("said")).unwrap();
    let mut command = stack.site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
    command.env("DPL_FAILPOINT", point).env("DPL_FAILPOINT_FREEZES", "1");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let process = child.id();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    eventually("it has come to the point", || state().contains(") T "));
    for signal in ["-INT", "-CONT"] {
        assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
    }
    eventually("it has ended", || child.try_wait().unwrap().is_some());
    let said = std::fs::read_to_string(stack.site.file("said")).unwrap();
    (child.wait().unwrap().code(), said)
}

/// The services that a line names.
fn named<'t>(said: &'t str, line: &str) -> Vec<&'t str> {
    let targets = said.lines().find_map(|said| said.strip_prefix(line)?.strip_prefix(": "));
    targets.map(|targets| targets.split(", ").collect()).unwrap_or_default()
}

#[test]
fn before_the_first_container_is_stopped_ctrl_c_changes_nothing_that_runs() {
    let stack = Stack::new(THREE);
    stack.run(&["start"]).success();
    let before = containers(&stack);
    stack.rewrite(&THREE.replace(r#""1""#, r#""2""#));
    // One at a time: the others wait for their turn when the end is asked for.
    let (code, said) = interrupted_at(&stack, "services.execute.before-create", &["start", "--parallel", "1"]);
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(containers(&stack), before, "{said}");
    assert_eq!(named(&said, "left as they were"), ALL, "{said}");
    let filter = format!("name={}-", stack.project);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &filter]).lines().count(), 3, "nothing that was prepared stays");
}

#[test]
fn the_replacement_in_hand_is_finished_no_other_begins_and_that_is_said() {
    let stack = Stack::new(THREE);
    stack.run(&["start"]).success();
    let before = containers(&stack);
    stack.rewrite(&THREE.replace(r#""1""#, r#""2""#));
    let (code, said) = interrupted_at(&stack, "services.execute.after-stop", &["start", "--parallel", "1"]);
    let after = containers(&stack);
    let is_left = |place: &usize| before[*place] == after[*place];
    let (left, changed): (Vec<usize>, Vec<usize>) = (0..3).partition(is_left);
    let names = |places: &[usize]| places.iter().map(|place| ALL[*place]).collect::<Vec<_>>();
    assert!(!changed.is_empty(), "the one that was stopped has its successor: {said}");
    assert_eq!(code, Some(if left.is_empty() { 0 } else { 130 }), "{said}");
    assert_eq!(said.contains("came too late"), left.is_empty(), "{said}");
    if !left.is_empty() {
        assert_eq!(named(&said, "left as they were"), names(&left), "{said}");
        assert_eq!(named(&said, "changed"), names(&changed), "{said}");
    }
    assert!(after.iter().all(|container| container.ends_with("true")), "{after:?} {said}");
    let filter = format!("name={}-", stack.project);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &filter]).lines().count(), 3, "{said}");
}

#[test]
fn what_was_restarted_and_not_waited_for_is_not_said_to_be_as_it_was() {
    let never = THREE.replace(r#""stop_signal""#, r#""ready": { "log": "never", "timeout": "10m" }, "stop_signal""#);
    let stack = Stack::new(THREE);
    stack.run(&["start"]).success();
    stack.rewrite(&never);
    let before = containers(&stack);
    let (code, said) =
        interrupted_at(&stack, "services.execute.before-restart", &["restart", "--parallel", "1", "a", "b"]);
    let after = containers(&stack);
    assert_eq!(code, Some(130), "{said}");
    let (restarted, left) = if before[0] == after[0] { ("b", "a") } else { ("a", "b") };
    assert_eq!(named(&said, "changed, and not waited for until they are ready"), [restarted], "{said}");
    assert_eq!(named(&said, "left as they were"), [left], "{said}");
    assert_eq!(usize::from(before[0] == after[0]) + usize::from(before[1] == after[1]), 1, "{before:?} {after:?}");
}
