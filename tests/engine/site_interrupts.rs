//! Ctrl-C at the desk while something changes at a site: it reaches the command there, which stops where that is safe, and says at
//! the desk what it has left as it was.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::at_sites::Sites;
use crate::looking::{exit_code, terminal_in};
use crate::support_engine::{Stack, eventually};

const TWO: &str = r#"{ "project": "PROJECT", "services": {
    "a": { "image": "redis:7.0", "stop_signal": "SIGKILL" }, "b": { "image": "redis:7.0", "stop_signal": "SIGKILL" } } }"#;

/// One of two services is restarted, and never ready: the other one's turn does not come.
const RESTART: [&str; 8] = ["on", "site", "restart", "a", "b", "--parallel", "1", "--yes"];

/// A site at which a restart stands still before the first container.
fn standing_still() -> Sites {
    let stack = Stack::new(TWO);
    stack.run(&["start"]).success();
    stack.rewrite(&TWO.replace(r#""stop_signal""#, r#""ready": { "log": "never", "timeout": "10m" }, "stop_signal""#));
    let sites = Sites::of(stack, "");
    let point = r#"{"DPL_FAILPOINT": "services.execute.before-restart", "DPL_FAILPOINT_FREEZES": "1"}"#;
    sites.write(&format!(r#", "variables": {point}"#));
    sites
}

/// When each container was started.
fn started(sites: &Sites) -> [String; 2] {
    ["a", "b"].map(|service| sites.stack.inspect(service, "{{.State.StartedAt}}"))
}

/// The process at the site that stands still.
fn frozen(folder: &Path) -> Option<u32> {
    let folder = fs::canonicalize(folder).unwrap();
    fs::read_dir("/proc").unwrap().flatten().find_map(|process| {
        let number = process.file_name().to_str()?.parse().ok()?;
        let is_there = fs::read_link(process.path().join("cwd")).ok()? == folder;
        let state = fs::read_to_string(process.path().join("stat")).ok()?;
        (is_there && state.contains(") T ")).then_some(number)
    })
}

/// Whether Ctrl-C has come to a process that stands still.
fn is_interrupted(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap_or_default();
    // SIGINT is the second signal.
    u64::from_str_radix(pending.trim(), 16).unwrap_or_default() & 2 != 0
}

fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// Waits for the process at the site, lets Ctrl-C come to it, and lets it go on.
fn goes_on(sites: &Sites, press: impl FnOnce()) {
    let folder = sites.stack.site.path();
    eventually("the restart stands still", || frozen(folder).is_some());
    let process = frozen(folder).unwrap();
    press();
    eventually("Ctrl-C has come to it", || is_interrupted(process));
    signal(process, "-CONT");
}

/// One was restarted, the other is as it was, and the site has the exit code.
#[track_caller]
fn is_stopped_safely(sites: &Sites, before: &[String; 2]) {
    let after = started(sites);
    let restarted = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(restarted, 1, "{before:?} {after:?}");
    sites.write("");
    let runs = sites.run(&["--json", "on", "site", "attach", "--list"]).success().json();
    assert_eq!(runs[0]["code"], 130, "{runs}");
    eventually("nothing of dpl is left there", || sites.processes_there().is_empty());
}

#[test]
fn ctrl_c_in_a_terminal_of_the_desk_stops_a_restart_at_the_site_safely() {
    let sites = standing_still();
    let before = started(&sites);
    // Without a terminal an unknown host is accepted; at one ssh would ask.
    sites.run(&["sites", "--check", "site"]).success();
    let mut session = terminal_in(&sites.desk, &RESTART, 121, 31);
    goes_on(&sites, || session.send_control('c').unwrap());
    session.exp_string("left as they were").unwrap();
    assert_eq!(exit_code(&session), 130);
    is_stopped_safely(&sites, &before);
}

#[test]
fn a_signal_to_the_desk_without_a_terminal_stops_a_restart_at_the_site_safely() {
    let sites = standing_still();
    let before = started(&sites);
    let (mut desk, said) = sites.begin(&RESTART);
    goes_on(&sites, || signal(desk.id(), "-INT"));
    let code = desk.wait().unwrap().code();
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("left as they were") && said.contains("not waited for until they are ready"), "{said}");
    is_stopped_safely(&sites, &before);
}
