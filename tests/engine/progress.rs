//! How far a transfer has come, as a person at a terminal, a log and a program see it; and how much memory it takes.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::repository;
use crate::support_engine::Stack;

const MANIFEST: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {
    "a": {"image": "PROJECT/a:1"}, "b": {"image": "PROJECT/b:1"}}}"#;

/// A stack with two images of so many megabytes each on the engine, beside `text` megabytes that compress to nothing.
fn stack(random: usize, text: usize) -> Stack {
    let stack = Stack::new(MANIFEST);
    for image in ["a", "b"] {
        let folder = stack.site.file(image);
        std::fs::create_dir(&folder).unwrap();
        let script = format!(
            "head -c {random}000000 /dev/urandom >random; head -c {text}000000 /dev/zero | tr '\\0' x >text; tar c random text"
        );
        let archive = Command::new("sh").args(["-c", &script]).current_dir(&folder).stdout(Stdio::piped()).spawn();
        let mut archive = archive.unwrap();
        let imported = Command::new("docker")
            .args(["import", "-", &format!("{}/{image}:1", stack.project)])
            .env("DOCKER_HOST", &stack.engine)
            .stdin(archive.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(archive.wait().unwrap().success() && imported.status.success(), "{imported:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }
    stack
}

fn wipe(stack: &Stack) {
    for image in ["a", "b"] {
        stack.docker(&["rmi", "--force", &format!("{}/{image}:1", stack.project)]);
    }
}

/// The JSON lines of a run, each valid by the schema.
fn lines(stderr: &str) -> Vec<Value> {
    let schema = std::fs::read_to_string(repository().join("schema/progress.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let lines = stderr.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        let problems: Vec<String> = validator.iter_errors(line).map(|problem| problem.to_string()).collect();
        assert!(problems.is_empty(), "{line}: {problems:?}");
    }
    lines
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn json_lines_tell_bytes_and_totals_and_never_run_backwards() {
    let stack = stack(20, 20);
    for command in ["save", "load"] {
        let run = stack.run(&[command, "--progress", "json"]).success();
        let lines = lines(&run.stderr);
        let planned = of(&lines, "planned");
        assert_eq!((planned.len(), planned[0]["count"].as_u64()), (1, Some(2)), "{command}: {lines:?}");
        let total = planned[0]["total_bytes"].as_u64().unwrap();
        assert!((79_000_000..82_000_000).contains(&total), "{command}: {total}");
        let advanced = of(&lines, "advanced");
        assert!(!advanced.is_empty(), "{lines:?}");
        let mut all_done = 0;
        let mut done = std::collections::HashMap::new();
        for line in &advanced {
            let bytes = line["done_bytes"].as_u64().unwrap();
            let before = done.insert(line["subject"].to_string(), bytes).unwrap_or_default();
            assert!(bytes >= before && bytes <= line["total_bytes"].as_u64().unwrap(), "{line}");
            let all = line["all"]["done_bytes"].as_u64().unwrap_or(all_done);
            assert!(all >= all_done, "{line}");
            all_done = all;
        }
        assert!(done.values().sum::<u64>() > 70_000_000, "{command}: {done:?}");
        let ended = of(&lines, "ended");
        assert!(ended.len() == 2 && ended.iter().all(|line| line["result"] == "done"), "{ended:?}");
        let words = if command == "save" { "written" } else { "sent" };
        let last = run.stderr.lines().last().unwrap();
        assert!(last.contains("2 images") && last.contains(words) && last.contains("did not have to be"), "{last}");
        wipe(&stack);
    }
}

#[test]
fn a_terminal_sees_bars_and_what_came_of_them() {
    let stack = stack(30, 30);
    for command in ["save", "load"] {
        let mut dpl = stack.site.command(&[command, "-f", "stack.json"]);
        dpl.env("TERM", "xterm-256color");
        let mut session = rexpect::session::spawn_command(dpl, Some(60_000)).unwrap();
        // Both images and all of it together, with a rate that was measured.
        let (mut screen, seen) = session.exp_regex(r"(saving|loading) [^ ]*/a:1 \[").unwrap();
        screen += &seen;
        for wanted in [r"in all \[.*[0-9] of 2, .* MB of [0-9.]+ MB", r"2 images [^\r\n]*did not have to be; [0-9.]+ s"]
        {
            let (before, seen) = session.exp_regex(wanted).unwrap();
            screen += &(before + &seen);
        }
        screen += &session.exp_eof().unwrap();
        // What came of each stays on the screen: a line of its own, once.
        let screen = console::strip_ansi_codes(&screen);
        for image in ["a", "b"] {
            let words = format!("{}/{image}:1: {}", stack.project, if command == "save" { "saved" } else { "loaded" });
            assert_eq!(screen.matches(&words).count(), 1, "{words}: {screen}");
        }
        wipe(&stack);
    }
}

#[test]
fn without_a_terminal_there_are_plain_lines_only() {
    let stack = stack(5, 5);
    for command in ["save", "load"] {
        let run = stack.run(&[command]).success();
        assert!(!run.stderr.contains(['\u{1b}', '\r']), "{:?}", run.stderr);
        for image in ["a", "b"] {
            assert_eq!(run.stderr.matches(&format!("{}/{image}:1: ", stack.project)).count(), 1, "{}", run.stderr);
        }
        let quiet = stack.run(&[command, "--quiet"]).success();
        assert_eq!(quiet.stderr, "");
        wipe(&stack);
    }
}

/// Runs the program, and gives the most memory that it ever had, in KiB.
fn peak_memory(stack: &Stack, arguments: &[&str]) -> u64 {
    let mut child = stack.site.command(&[arguments, &["-f", "stack.json", "--quiet"]].concat()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(peak).max(peak);
        std::thread::park_timeout(Duration::from_millis(3));
    }
    assert!(child.wait().unwrap().success(), "{arguments:?}");
    assert!(peak > 1000, "it was seen");
    peak
}

#[test]
fn no_transfer_takes_more_than_64_mib_whatever_it_moves() {
    // Each of them, even compressed, is larger than all the memory that is allowed: 80 MB that nothing shrinks.
    let stack = stack(80, 10);
    let mut peaks = Vec::new();
    let mut measured = |arguments: &[&str]| peaks.push((arguments.join(" "), peak_memory(&stack, arguments)));
    measured(&["save"]);
    wipe(&stack);
    measured(&["load"]);
    for format in [&["--compression", "zstd"][..], &["--compression", "gzip"], &["--threads", "8"]] {
        std::fs::remove_dir_all(stack.site.file("store")).unwrap();
        measured(&[&["save", "--format", "docker-archive"], format].concat());
    }
    for options in
        [&["--threads", "8"][..], &["--compression", "gzip", "--threads", "8"], &["--level", "7", "--threads", "8"]]
    {
        std::fs::remove_dir_all(stack.site.file("store")).unwrap();
        measured(&[&["save"], options].concat());
    }
    println!("{peaks:?}");
    // Without optimisation it has 16 MiB more of its own file in memory than the release.
    let most = if cfg!(debug_assertions) { 80 } else { 64 };
    assert!(peaks.iter().all(|(_, kib)| *kib <= most * 1024), "{peaks:?}");
    wipe(&stack);
}
