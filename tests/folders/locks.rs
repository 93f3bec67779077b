//! Two at work in one repository: dpl and restic.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{dpl, restic, restic_well, site, snapshot};
use crate::support::{PATIENCE, Site};

/// Waits until a process has stopped itself at a point.
pub fn wait_until_stopped(pid: u32) {
    let begun = Instant::now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit_once(')').unwrap().1.trim_start().chars().next();
        match state {
            Some('T') => return,
            Some('Z') => panic!("it ended and did not pass the point"),
            _ => assert!(begun.elapsed() < PATIENCE, "it does not pass the point"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn go_on(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::CONT).unwrap();
}

/// A snapshot that stands still at a point.
fn frozen(site: &Site, point: &str) -> Child {
    frozen_at(site, point, &["data", "snapshot", "expert"])
}

/// A command that stands still at a point.
pub fn frozen_at(site: &Site, point: &str, arguments: &[&str]) -> Child {
    let mut command = site.command(&[&["-f", "stack.json"], arguments].concat());
    command.env("DPL_FAILPOINT", point).env("DPL_FAILPOINT_FREEZES", "1");
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until_stopped(child.id());
    child
}

fn locks(site: &Site) -> usize {
    fs::read_dir(site.file("backups/data/locks")).unwrap().count()
}

#[test]
fn a_prune_of_restic_beside_a_snapshot_is_refused() {
    let site = site();
    site.write("data/expert/a", "a");
    snapshot(&site);
    site.write("data/expert/b", "b");
    let mut child = frozen(&site, "folders.repository.locked");
    let refused = restic(&site, &["prune"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("already locked"), "{said}");
    // Restic reads our lock: it names the process.
    assert!(said.contains(&child.id().to_string()), "{said}");
    // Reading is not kept out.
    restic_well(&site, &["ls", "latest"]);
    go_on(child.id());
    assert!(child.wait().unwrap().success());
    assert_eq!(locks(&site), 0);
    restic_well(&site, &["prune"]);
    restic_well(&site, &["check", "--read-data"]);
}

#[test]
fn an_exclusive_lock_of_restic_is_respected_and_waited_for() {
    let site = site();
    site.write("data/expert/a", "a");
    snapshot(&site);
    // Restic as it prunes, held by a password that does not come.
    let lock = site.file("backups/data/locks");
    let mut child = frozen(&site, "folders.repository.locked");
    let run = dpl(&site, &["data", "prune", "expert", "--yes"]);
    // The project's own lock comes first.
    assert_eq!(run.code, 5, "{}", run.stderr);
    let mut other = site.command(&["-f", "stack.json", "--state", "other-state", "data", "prune", "expert", "--yes"]);
    let refused = other.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("locked by"), "{said}");
    assert_eq!(fs::read_dir(&lock).unwrap().count(), 1, "a refused one leaves no lock");
    go_on(child.id());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_lock_of_a_killed_dpl_is_removed_by_the_next() {
    let site = site();
    site.write("data/expert/a", "a");
    let mut child = frozen(&site, "folders.repository.locked");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(locks(&site), 1);
    snapshot(&site);
    assert_eq!(locks(&site), 0);
    restic_well(&site, &["prune"]);
}

#[test]
fn two_projects_may_take_snapshots_at_once() {
    let site = site();
    site.write("data/expert/a", "a");
    let mut child = frozen(&site, "folders.repository.locked");
    let mut other = site.command(&["-f", "stack.json", "--state", "other-state", "data", "snapshot", "expert"]);
    assert!(other.output().unwrap().status.success());
    go_on(child.id());
    assert!(child.wait().unwrap().success());
    let listed = dpl(&site, &["data", "list", "--json"]).success().json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2);
    restic_well(&site, &["check", "--read-data"]);
}
