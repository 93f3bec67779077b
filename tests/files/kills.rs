//! Killed at the named points of an apply and a rollback: each folder is the old one or the new one, and the next run does the rest.

use std::collections::BTreeMap;
use std::fs;

use crate::place::{apply, files, fill, look, manifest, own, site};
use crate::support::{Site, side_by_side};

const OLD: &[(&str, &str)] = &[("a.py", "1"), ("sub/b.py", "1"), ("gone/x.py", "1"), ("thing", "a file")];
const NEW: &[(&str, &str)] = &[("a.py", "2"), ("sub/b.py", "1"), ("new/c.py", "1"), ("thing/inside", "1")];

/// Points of an apply, and which of their passes.
const APPLY: [(&str, u32); 10] = [
    ("files.stage.after-entry", 1),
    ("files.stage.after-entry", 4),
    ("files.stage.before-sync", 1),
    ("files.apply.staged", 1),
    ("files.swap.noted", 1),
    ("files.swap.before-exchange", 1),
    ("files.swap.after-exchange", 1),
    ("files.swap.before-kept", 1),
    ("files.swap.before-gone", 1),
    ("files.swap.before-record", 1),
];

/// The same where the file system can't exchange two names.
const IN_TURN: [(&str, u32); 4] = [
    ("files.swap.before-exchange", 1),
    ("files.swap.old-is-aside", 1),
    ("files.swap.before-kept", 1),
    ("files.swap.before-record", 1),
];

const MOVE: [(&str, u32); 6] = [
    ("files.apply.staged", 1),
    ("files.swap.noted", 1),
    ("files.swap.before-exchange", 1),
    ("files.swap.before-replaced", 1),
    ("files.swap.before-kept", 1),
    ("files.swap.before-record", 1),
];

const ROLLBACK: [(&str, u32); 6] = [
    ("files.rollback.noted", 1),
    ("files.rollback.brought-out", 1),
    ("files.swap.before-exchange", 1),
    ("files.swap.after-exchange", 1),
    ("files.swap.before-kept", 1),
    ("files.swap.before-record", 1),
];

const MIRROR: &str = r#", "mode": "mirror", "most_removed": 100"#;

fn killed(site: &Site, (point, pass): (&str, u32), arguments: &[&str]) {
    let mut command = site.command(&[&["-f", "stack.json", "files"], arguments].concat());
    command.env("DPL_FAILPOINT", format!("{point}:{pass}"));
    let status = command.output().unwrap().status;
    assert!(status.code().is_none(), "{point}:{pass} was not passed: {status}");
}

/// A delivery beside a target, and both of their contents.
fn delivered() -> (Site, BTreeMap<String, String>, BTreeMap<String, String>) {
    let site = site(MIRROR);
    fill(&site.file("delivery"), NEW);
    fill(&site.file("data/modules"), OLD);
    let (old, new) = (look(&site.file("data/modules")), look(&site.file("delivery")));
    (site, old, new)
}

#[test]
fn an_apply_that_is_killed_anywhere_is_done_by_the_next() {
    side_by_side(2, &APPLY, |point| {
        let (site, old, new) = delivered();
        let target = site.file("data/modules");
        killed(&site, *point, &["apply", "--yes"]);
        let now = look(&target);
        assert!(now == old || now == new, "{point:?}: neither old nor new: {now:?}");
        apply(&site).success();
        assert_eq!(look(&target), new, "{point:?}");
        assert_eq!(own(&site.file("data")), [".dpl-kept-modules"], "{point:?}");
        files(&site, &["rollback", "--yes"]).success();
        assert_eq!(look(&target), old, "{point:?}");
        assert_eq!(own(&site.file("data")), [".dpl-kept-modules"], "{point:?}");
    });
}

#[test]
fn a_swap_in_two_renames_that_is_killed_is_done_by_the_next() {
    for point in IN_TURN {
        let (mut site, old, new) = delivered();
        site.set("DPL_PRETENDS", "fs.no-exchange");
        let target = site.file("data/modules");
        killed(&site, point, &["apply", "--yes"]);
        // Between the two renames there is none; never a part of one.
        let now = look(&target);
        assert!(now == old || now == new || (point.0.ends_with("old-is-aside") && !target.exists()), "{point:?}");
        apply(&site).success();
        assert_eq!(look(&target), new, "{point:?}");
        files(&site, &["rollback", "--yes"]).success();
        assert_eq!(look(&target), old, "{point:?}");
    }
}

#[test]
fn a_move_that_is_killed_anywhere_is_done_by_the_next() {
    for point in MOVE {
        let site = site("");
        manifest(&site, "data/wheel", r#", "mode": "mirror", "was": ["wheels"]"#);
        fill(&site.file("delivery"), &[("a.whl", "2"), ("b.whl", "1")]);
        fill(&site.file("data/wheels"), &[("a.whl", "1"), ("b.whl", "1")]);
        let (old, new) = (look(&site.file("data/wheels")), look(&site.file("delivery")));
        killed(&site, point, &["apply", "--yes"]);
        let (before, after) = (look(&site.file("data/wheels")), look(&site.file("data/wheel")));
        assert!(before == old || after == new, "{point:?}: {before:?} {after:?}");
        assert!(after.is_empty() || after == new, "{point:?}: {after:?}");
        apply(&site).success();
        assert_eq!(look(&site.file("data/wheel")), new, "{point:?}");
        assert!(!site.file("data/wheels").exists(), "{point:?}");
        files(&site, &["rollback", "--yes"]).success();
        assert_eq!(look(&site.file("data/wheels")), old, "{point:?}");
        assert!(!site.file("data/wheel").exists(), "{point:?}");
    }
}

#[test]
fn a_rollback_that_is_killed_anywhere_is_finished_by_the_next_command() {
    side_by_side(2, &ROLLBACK, |point| {
        let (site, old, new) = delivered();
        let target = site.file("data/modules");
        apply(&site).success();
        killed(&site, *point, &["rollback", "--yes"]);
        let now = look(&target);
        assert!(now == old || now == new, "{point:?}: neither old nor new: {now:?}");
        let status = files(&site, &["status"]).success().stdout;
        assert!(status.contains("was interrupted"), "{point:?}: {status}");
        // An apply finishes the rollback first, and then delivers again: what it keeps is the old folder.
        apply(&site).success();
        assert_eq!(look(&target), new, "{point:?}");
        assert_eq!(own(&site.file("data")), [".dpl-kept-modules"], "{point:?}");
        assert_eq!(look(&site.file("data/.dpl-kept-modules")), old, "{point:?}");
    });
}

#[test]
fn steps_inside_a_target_that_are_killed_are_done_by_the_next() {
    for pass in 1..=9 {
        let (mut site, old, new) = delivered();
        site.set("DPL_PRETENDS", "files.target-mounted");
        let target = site.file("data/modules");
        let mut command = site.command(&["-f", "stack.json", "files", "apply", "--yes"]);
        command.env("DPL_FAILPOINT", format!("files.in-place.after-step:{pass}"));
        if command.output().unwrap().status.success() {
            assert!(pass > 6, "so many steps there are at least: {pass}");
            break;
        }
        let now = look(&target);
        for (path, text) in now.iter().filter(|(path, _)| !path.ends_with('/')) {
            assert!([old.get(path), new.get(path)].contains(&Some(text)), "{pass}: {path} is {text}");
        }
        apply(&site).success();
        assert_eq!(look(&target), new, "{pass}");
        assert_eq!(own(&target), [".dpl-kept"], "{pass}");
        files(&site, &["rollback", "--yes"]).success();
        assert_eq!(look(&target), old, "{pass}");
    }
}

#[test]
fn steps_inside_a_target_whose_disk_is_away_are_not_taken_for_done() {
    let (mut site, _, new) = delivered();
    site.set("DPL_PRETENDS", "files.target-mounted");
    let (target, away) = (site.file("data/modules"), site.file("away"));
    killed(&site, ("files.in-place.after-step", 2), &["apply", "--yes"]);
    // As the mount point looks while nothing is mounted there.
    fs::rename(&target, &away).unwrap();
    fs::create_dir(&target).unwrap();
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("was interrupted, and nothing of it is in"), "{}", run.stderr);
    assert!(look(&target).is_empty());
    fs::remove_dir(&target).unwrap();
    fs::rename(&away, &target).unwrap();
    apply(&site).success();
    assert_eq!(look(&target), new);
    assert_eq!(own(&target), [".dpl-kept"]);
}

#[test]
fn what_changes_while_it_is_staged_is_not_lost() {
    let (site, _, new) = delivered();
    let target = site.file("data/modules");
    // Stopped where all is staged and nothing is swapped; somebody edits the target meanwhile.
    let mut command = site.command(&["-f", "stack.json", "files", "apply", "--yes"]);
    command.env("DPL_FAILPOINT", "files.apply.staged").env("DPL_FAILPOINT_FREEZES", "1");
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
    let stopped = rustix::process::WaitIdOptions::STOPPED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(id, stopped).unwrap();
    fs::write(target.join("late"), "written meanwhile").unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::CONT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(look(&target)["late"], "written meanwhile");
    assert!(own(&site.file("data")).is_empty(), "what was staged is gone");
    apply(&site).success();
    assert_eq!(look(&target), new);
    assert_eq!(look(&site.file("data/.dpl-kept-modules"))["late"], "written meanwhile");
}
