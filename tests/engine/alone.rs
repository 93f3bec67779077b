//! No command needs a network but the engine's own: those where the tests run lead nowhere else (scripts/test.sh), and the tests run
//! every command.

use std::fs;
use std::path::Path;

use crate::support::repository;

#[test]
fn no_route_leads_out_of_where_the_tests_run() {
    let read = |table: &str| fs::read_to_string(format!("/proc/self/net/{table}")).unwrap();
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    // Interface, destination: proc_pid_net(5).
    let four = read("route");
    assert!(four.starts_with("Iface"), "{four}");
    let leads_out = |line: &Vec<String>| line[1] == "00000000";
    let out: Vec<_> = four.lines().skip(1).map(fields).filter(leads_out).collect();
    assert!(out.is_empty(), "{out:?}: run scripts/test.sh");
    // Destination and its prefix, source and its prefix, gateway, metric, two counts, flags, interface.
    let six = fs::read_to_string("/proc/self/net/ipv6_route").unwrap_or_default();
    let leads_out = |line: &Vec<String>| line[1] == "00" && line[9] != "lo";
    let out: Vec<_> = six.lines().map(fields).filter(leads_out).collect();
    assert!(out.is_empty(), "{out:?}: run scripts/test.sh");
}

#[test]
fn every_command_is_run_by_the_tests() {
    let mut sources = String::new();
    read_all(&repository().join("tests"), &mut sources);
    let sources: String = sources.chars().filter(|letter| !letter.is_whitespace()).collect();
    let reference = fs::read_to_string(repository().join("docs/command-line.md")).unwrap();
    let commands: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("## dpl ")).collect();
    assert!(commands.len() > 60, "{commands:?}");
    let is_run = |command: &&str| {
        let words: Vec<String> = command.split(' ').map(|word| format!("\"{word}\"")).collect();
        sources.contains(&words.join(","))
    };
    let never: Vec<&str> = commands.iter().copied().filter(|command| !is_run(command)).collect();
    assert!(never.is_empty(), "{never:?}");
}

fn read_all(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match path.extension() {
            _ if path.is_dir() => read_all(&path, sources),
            Some(extension) if extension == "rs" => sources.push_str(&fs::read_to_string(&path).unwrap()),
            _ => {}
        }
    }
}
