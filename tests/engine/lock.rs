//! Two operators on one engine, each with a folder of their own, as two machines would be.

use std::process::{Child, Command, Stdio};

use crate::support::Run;
use crate::support_engine::{Stack, docker_on, eventually};

/// Two services that take their time: one after the other, each proved only when it has run for a while.
const SLOW: &str = r#"{
  "project": "PROJECT",
  "defaults": { "stop_grace_period": "1s" },
  "services": {
    "first": { "image": "redis:7.0", "ready": { "running_for": "2s" } },
    "second": {
      "image": "redis:7.0",
      "depends_on": { "first": { "condition": "service_healthy" } },
      "ready": { "running_for": "1s" }
    },
    "apart": { "image": "redis:7.0", "ready": { "running_for": "1s" } }
  }
}"#;

/// Two folders with the same manifest.
struct Operators {
    one: Stack,
    other: Stack,
}

impl Operators {
    fn new() -> Self {
        let (mut one, mut other) = (Stack::new(SLOW), Stack::new(SLOW));
        other.project = one.project.clone();
        other.rewrite(SLOW);
        for stack in [&mut one, &mut other] {
            stack.site.set("DPL_LOCK_BEAT_MS", "200").set("DPL_LOCK_STALE_MS", "1500");
        }
        Self { one, other }
    }

    /// The first one's command, under way and holding the lock.
    fn at_work(&self, arguments: &[&str]) -> Child {
        let mut command = self.one.site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
        let errors = std::fs::File::create(self.one.site.file("stderr")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        eventually("the lock is taken", || self.lock_is_there());
        child
    }

    fn lock_is_there(&self) -> bool {
        let name = format!("name=^/{}-dpl-lock$", self.one.project);
        !docker_on(&self.one.engine, &["ps", "-aq", "--filter", &name]).is_empty()
    }

    fn second_runs(&self) -> bool {
        let name = format!("name=^/{}$", self.one.container("second"));
        !docker_on(&self.one.engine, &["ps", "-q", "--filter", &name]).is_empty()
    }

    fn said_by_the_first(&self) -> String {
        std::fs::read_to_string(self.one.site.file("stderr")).unwrap()
    }

    fn other(&self, arguments: &[&str]) -> Run {
        self.other.run(&[arguments, &["--yes"]].concat())
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        let lock = format!("{}-dpl-lock", self.one.project);
        let _ = Command::new("docker").args(["rm", "-f", &lock]).env("DOCKER_HOST", &self.one.engine).output();
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_second_operator_on_the_engine_is_told_who_is_at_work() {
    let operators = Operators::new();
    let mut first = operators.at_work(&["start", "second"]);
    let run = operators.other(&["stop", "all"]).failure(5);
    assert!(run.stderr.contains("is working on this project: `dpl start second`"), "{}", run.stderr);
    assert!(run.stderr.contains("--lock-wait"), "{}", run.stderr);
    let status = operators.other.run(&["lock", "status", "--json"]).success().json();
    assert_eq!((&status["engine"]["alive"], &status["here"]), (&true.into(), &serde_json::Value::Null));
    assert!(first.wait().unwrap().success(), "{}", operators.said_by_the_first());
    assert!(!operators.lock_is_there());
}

/// Both looked when nobody was at work.
#[test]
fn one_who_meets_the_other_only_at_the_first_change_is_told_with_the_same_exit_code() {
    let operators = Operators::new();
    operators.other(&["start", "apart"]).success();
    let mut late = operators.other.site.command(&["restart", "apart", "-f", "stack.json"]);
    late.env("DPL_FAILPOINT", "services.execute.before-restart").env("DPL_FAILPOINT_FREEZES", "1");
    let late = late.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let process = late.id();
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    eventually("the late one is about to restart", || state().contains(") T "));
    let mut first = operators.at_work(&["start", "second"]);
    signal(&late, "-CONT");
    let output = late.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("is working on this project: `dpl start second`"), "{said}");
    assert!(first.wait().unwrap().success(), "{}", operators.said_by_the_first());
}

#[test]
fn one_who_waits_goes_on_when_the_other_is_done() {
    let operators = Operators::new();
    let mut first = operators.at_work(&["start", "second"]);
    let run = operators.other(&["stop", "all", "--lock-wait", "1m"]).success();
    assert!(run.stderr.contains("waiting for them"), "{}", run.stderr);
    assert!(run.stderr.contains("2 services stopped"), "{}", run.stderr);
    assert!(first.wait().unwrap().success());
}

#[test]
fn the_lock_of_a_killed_process_is_taken_over_at_once() {
    let operators = Operators::new();
    let mut first = operators.at_work(&["start", "second"]);
    first.kill().unwrap();
    first.wait().unwrap();
    let status = operators.other.run(&["lock", "status", "--json"]).success().json();
    assert_eq!(status["engine"]["alive"], false);
    let said = operators.other.run(&["lock", "status"]).success();
    let line = said.stdout.trim_end();
    assert!(line.starts_with("on the engine: ") && line.contains("`dpl start second` since "), "{said:?}");
    assert!(line.ends_with("gone, or silent") && line.lines().count() == 1, "{said:?}");
    let run = operators.other(&["start"]).success();
    assert!(run.stderr.contains("is gone or silent"), "{}", run.stderr);
    assert!(!operators.lock_is_there());
}

#[test]
fn a_look_while_somebody_is_at_work_says_so() {
    let operators = Operators::new();
    let mut first = operators.at_work(&["start", "second"]);
    let says_so = |stack: &Stack| {
        let said = stack.run(&["plan", "apart"]).success().stderr;
        said.contains("`dpl start second`") && said.contains("may change until that has ended")
    };
    // By the lock of this folder, and by that on the engine.
    assert!(says_so(&operators.one) && says_so(&operators.other));
    assert_eq!(first.wait().unwrap().code(), Some(0), "{}", operators.said_by_the_first());
    assert!(!says_so(&operators.one) && !says_so(&operators.other));
}

#[test]
fn a_frozen_operator_whose_lock_was_taken_over_changes_nothing_more() {
    let operators = Operators::new();
    let mut first = operators.at_work(&["start", "second"]);
    eventually("the first service runs", || {
        let name = format!("name=^/{}$", operators.one.container("first"));
        !docker_on(&operators.one.engine, &["ps", "-q", "--filter", &name]).is_empty()
    });
    signal(&first, "-STOP");
    let run = operators.other(&["start", "apart", "--lock-wait", "1m"]).success();
    assert!(run.stderr.contains("is gone or silent"), "{}", run.stderr);
    signal(&first, "-CONT");
    assert_eq!(first.wait().unwrap().code(), Some(5), "{}", operators.said_by_the_first());
    assert!(!operators.second_runs());
    assert!(
        operators.said_by_the_first().contains("was taken over or removed by somebody else"),
        "{}",
        operators.said_by_the_first()
    );
}

/// The machine sleeps for an hour by its own clock; nothing else stands still, so that only that clock can tell.
#[test]
fn an_operator_whose_machine_slept_trusts_no_lock_from_before() {
    for (slept, code) in [("0", 0), ("3600", 5)] {
        let mut operators = Operators::new();
        let file = operators.one.site.file("slept");
        std::fs::write(&file, "0").unwrap();
        // Between two heartbeats, of which the first comes at once, there is time enough, and one is trusted for long.
        let site = &mut operators.one.site;
        site.set("DPL_LOCK_BEAT_MS", "600000").set("DPL_LOCK_STALE_MS", "3600000");
        site.set("DPL_FAILPOINT_SLEPT", file.to_str().unwrap());
        let mut first = operators.at_work(&["start", "second"]);
        eventually("the first service runs", || {
            let name = format!("name=^/{}$", operators.one.container("first"));
            !docker_on(&operators.one.engine, &["ps", "-q", "--filter", &name]).is_empty()
        });
        // Somebody else has the lock meanwhile.
        let lock = format!("{}-dpl-lock", operators.one.project);
        docker_on(&operators.one.engine, &["rm", "-f", &lock]);
        docker_on(&operators.one.engine, &["create", "--name", &lock, "redis:7.0"]);
        std::fs::write(&file, slept).unwrap();
        assert_eq!(first.wait().unwrap().code(), Some(code), "slept {slept}: {}", operators.said_by_the_first());
        assert_eq!(operators.second_runs(), code == 0, "slept {slept}");
    }
}

#[test]
fn a_lock_that_somebody_tidied_away_is_made_again() {
    let operators = Operators::new();
    let mut first = operators.at_work(&["start", "second"]);
    docker_on(&operators.one.engine, &["rm", "-f", &format!("{}-dpl-lock", operators.one.project)]);
    assert!(first.wait().unwrap().success(), "{}", operators.said_by_the_first());
    assert!(operators.second_runs());
    assert!(!operators.lock_is_there());
}

#[test]
fn a_lock_that_nobody_keeps_alive_is_removed_by_hand() {
    let operators = Operators::new();
    let run = operators.other(&["lock", "release"]).success();
    assert_eq!(run.stderr, "the engine is not locked\n");
    let run = operators.other.run(&["lock", "status"]).success();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "nobody is working on this project\n"));
    assert_eq!(operators.other.run(&["lock", "status", "--json"]).success().json(), serde_json::json!({}));
    // A lock that nobody keeps alive, as a machine that lost its power leaves it.
    let name = format!("{}-dpl-lock", operators.one.project);
    let label = "dpl.lock.holder=somebody";
    docker_on(&operators.one.engine, &["create", "--name", &name, "--label", label, "redis:7.0"]);
    let status = operators.other.run(&["lock", "status", "--json"]).success().json();
    assert_eq!(status["engine"]["alive"], false, "{status}");
    operators.other(&["lock", "release"]).success();
    assert!(!operators.lock_is_there());
}

#[test]
fn a_container_of_somebody_else_under_the_name_of_the_lock_is_no_lock_and_stays() {
    let operators = Operators::new();
    let name = format!("{}-dpl-lock", operators.one.project);
    docker_on(&operators.one.engine, &["create", "--name", &name, "redis:7.0"]);
    let asked: [&[&str]; 3] = [&["lock", "status"], &["lock", "release", "--yes"], &["start", "apart", "--yes"]];
    for arguments in asked {
        let said = operators.other.run(arguments).failure(1).stderr;
        assert!(said.contains("is not a lock of dpl") && !said.contains("somebody@"), "{arguments:?}: {said}");
        assert!(operators.lock_is_there(), "{arguments:?}");
    }
}

#[test]
fn a_note_of_stopped_services_that_a_newer_dpl_wrote_is_said_by_each_command_that_changes_something() {
    let operators = Operators::new();
    operators.other(&["start", "apart"]).success();
    let note = operators.other.site.state("stopped.json");
    std::fs::write(&note, r#"{"format": 99, "services": ["second"]}"#).unwrap();
    for command in ["start", "restart"] {
        let said = operators.other(&[command, "apart"]).success().stderr;
        assert!(said.contains("what an interrupted action had stopped is not known"), "{command}: {said}");
    }
    std::fs::remove_file(&note).unwrap();
    let said = operators.other(&["start", "apart"]).success().stderr;
    assert!(!said.contains("is not known"), "{said}");
}

#[test]
fn ctrl_c_ends_the_wait_for_a_lock_at_once() {
    let operators = Operators::new();
    let name = format!("{}-dpl-lock", operators.one.project);
    docker_on(&operators.one.engine, &["create", "--name", &name, "--label", "dpl.lock.holder=somebody", "redis:7.0"]);
    let mut command = operators.other.site.command(&["start", "--yes", "-f", "stack.json"]);
    // Without a beat it would be taken over only after a minute.
    command.env_remove("DPL_LOCK_STALE_MS");
    let errors = operators.other.site.file("stderr");
    let mut waiting = command.stderr(std::fs::File::create(&errors).unwrap()).spawn().unwrap();
    eventually("the lock is watched", || std::fs::read_to_string(&errors).unwrap().contains("watching"));
    signal(&waiting, "-INT");
    eventually("it has ended", || waiting.try_wait().unwrap().is_some());
    assert_eq!(waiting.wait().unwrap().code(), Some(130), "{}", std::fs::read_to_string(&errors).unwrap());
    assert!(operators.lock_is_there());
}

#[test]
fn projects_that_are_the_first_on_an_engine_at_the_same_time_all_get_their_locks() {
    let one = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
        "services": { "a": { "image": "redis:7.0" } } }"#;
    let stacks: Vec<Stack> = (0..4).map(|_| Stack::new(one)).collect();
    for _ in 0..3 {
        // What no lock has been made of yet.
        let image = ["image", "rm", "--force", "dpl-lock:1"];
        let _ = Command::new("docker").args(image).env("DOCKER_HOST", &stacks[0].engine).output();
        std::thread::scope(|scope| {
            for stack in &stacks {
                scope.spawn(|| stack.run(&["start", "--force-recreate"]).success());
            }
        });
    }
}
