//! The rooms' imports run one way (docs/rooms.md): a look at every `use` line and path of the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::repository;

/// Each room, and the rooms that it may name.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    // The last one is for tests alone.
    let base = vec!["report", "fs", "failpoint", "fuzz_seeds"];
    let with = |rooms: &[&'static str]| [rooms, &base].concat();
    let low = ["manifest", "engine", "state"];
    BTreeMap::from([
        ("cli", with(&["databases", "services", "images", "manifest", "engine", "state"])),
        ("databases", with(&["services", "images", "manifest", "engine", "state"])),
        ("services", with(&low)),
        ("images", with(&low)),
        ("manifest", base.clone()),
        ("engine", base.clone()),
        ("state", base.clone()),
        ("report", vec!["failpoint"]),
        ("fs", vec!["failpoint"]),
        ("failpoint", vec![]),
        ("fuzz_seeds", vec![]),
        ("main", vec!["cli"]),
        (
            "lib",
            vec!["cli", "databases", "services", "images", "manifest", "engine", "state", "report", "fs", "failpoint"],
        ),
    ])
}

/// Crates that belong to one room.
const OWNED: [(&str, &str); 4] = [("bollard", "engine"), ("openssh", "engine"), ("clap", "cli"), ("indicatif", "cli")];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(repository().join("src")).unwrap().to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn room(name: &str) -> &str {
    name.split(['/', '.']).next().unwrap()
}

/// The stages of services, and those that each may name; tests may name all.
const STAGES: [(&str, &[&str]); 5] = [
    ("container", &[]),
    ("snapshot", &["container"]),
    ("plan", &["snapshot", "container"]),
    ("run", &["plan", "snapshot", "container"]),
    ("show", &["plan", "snapshot", "container"]),
];

#[test]
fn the_stages_of_services_name_only_earlier_ones() {
    let mut wrong = Vec::new();
    let path = regex::Regex::new(r"crate::services::([a-z]+)").unwrap();
    for (stage, may) in STAGES {
        let mut files = Vec::new();
        sources(&repository().join("src/services").join(stage), &mut files);
        assert!(files.len() > 3, "{stage}");
        for (name, text) in files.iter().filter(|(name, _)| !name.contains("/tests")) {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for found in path.captures_iter(code) {
                let there = found[1].to_owned();
                let is_stage = STAGES.iter().any(|(other, _)| *other == there);
                if is_stage && there != stage && !may.contains(&there.as_str()) {
                    wrong.push(format!("{name}: {stage} must not name {there}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_run_one_way() {
    let mut files = Vec::new();
    sources(&repository().join("src"), &mut files);
    let allowed = allowed();
    let path = regex::Regex::new(r"\b(?:crate|dpl)::([a-z_]+)(?:::|;|\b)").unwrap();
    let group = regex::Regex::new(r"\bcrate::\{([^}]*)\}").unwrap();
    let mut wrong = Vec::new();
    for (name, text) in &files {
        let here = room(name);
        let may = allowed.get(here).unwrap_or_else(|| panic!("{name} belongs to no known room"));
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let grouped = group.captures_iter(line).flat_map(|found| {
                let rooms = found.get(1).unwrap().as_str().split(',');
                rooms.map(|part| part.trim().split("::").next().unwrap().to_owned()).collect::<Vec<_>>()
            });
            let plain = path.captures_iter(line).map(|found| found[1].to_owned());
            for there in grouped.chain(plain).filter(|there| allowed.contains_key(there.as_str())) {
                if there != here && !may.contains(&there.as_str()) {
                    wrong.push(format!("{name}:{}: {here} must not name {there}", number + 1));
                }
            }
            for (owned, owner) in OWNED {
                if here != owner && line.contains(&format!("{owned}::")) {
                    wrong.push(format!("{name}:{}: only {owner} may name {owned}", number + 1));
                }
            }
            let prints = ["println!(", "eprintln!(", "print!(", "eprint!(", "process::exit"];
            if here != "cli" && prints.iter().any(|print| line.contains(print)) {
                wrong.push(format!("{name}:{}: only cli prints and ends the program", number + 1));
            }
        }
    }
    assert!(files.len() > 50);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
