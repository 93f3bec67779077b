//! What the journal and the files beside it hold, and for whom.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use dpl::fs::Digest;
use serde_json::{Value, json};

use crate::harness::{run, run_command, run_to_point};
use crate::hostile::build::{Image, image_rules};
use crate::support::Site;
use crate::support_fake_engine::{Answer, FakeEngine};

const MANIFEST: &str = r#"{"project": "p", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;

fn site() -> (Site, FakeEngine) {
    let mut site = Site::with_manifest(MANIFEST);
    let mut rules = image_rules(&Image::new("good"));
    // It takes everything and keeps nothing.
    rules.push(("GET", "/images/json", Answer::Json(200, "[]")));
    rules.push(("POST", "/images/load", Answer::Json(200, r#"{"stream":"Loaded image: a:1\n"}"#)));
    let engine = FakeEngine::start(&site.file("docker.sock"), rules);
    site.set("DOCKER_HOST", &engine.address);
    (site, engine)
}

fn entries(site: &Site) -> Vec<Value> {
    let text = fs::read_to_string(site.state("journal.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_action_is_in_the_journal_with_all_that_was_known_of_it() {
    let (mut site, engine) = site();
    let planned = run(&site, &["save", "--dry-run", "--json"]).success("the plan");
    let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
    assert!(!site.state("journal.jsonl").exists(), "a plan is no action");
    site.set("USER", "root").set("SUDO_USER", "li").set("SSH_CLIENT", "192.0.2.7 50022 22");
    run(&site, &["save", "a"]).success("the save");
    let entries = entries(&site);
    let kinds: Vec<&str> = entries.iter().map(|entry| entry["entry"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["begin", "plan", "step", "step-end", "end"]);
    let begin = &entries[0];
    let manifest = Digest::of(Digest::of(MANIFEST.as_bytes()).to_string().as_bytes()).to_string();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(begin["number"], 1);
    assert_eq!((&begin["user"], &begin["ssh_client"]), (&json!("li"), &json!("192.0.2.7")));
    assert_eq!((&begin["host"], &begin["version"]), (&json!(host.trim()), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!((&begin["manifest_digest"], &begin["engine"]), (&json!(manifest), &json!(engine.address)));
    assert_eq!((&begin["manifest"], &begin["command"]), (&json!(site.file("stack.json")), &json!("dpl save a")));
    // The plan that was carried out is the one that was shown.
    assert_eq!(entries[1]["digest"], Digest::of(planned["images"].to_string().as_bytes()).to_string());
    assert_eq!((&entries[2]["activity"], &entries[2]["subject"]), (&json!("save-image"), &json!("a:1")));
    assert_eq!((&entries[4]["exit_code"], &entries[4]["error"]), (&json!(0), &Value::Null));

    run(&site, &["do", "1 - 1"]).success("a chain");
    let shown = run(&site, &["history", "show", "2"]).success("the history");
    assert!(shown.stdout.contains("dpl do \"1 - 1\"") && shown.stdout.contains("li@"), "{}", shown.stdout);
    let history = run(&site, &["history", "--json"]).success("the history");
    let history: Value = serde_json::from_str(&history.stdout).unwrap();
    assert_eq!(history["actions"][0]["plan_digests"], json!([entries[1]["digest"]]));
}

#[test]
fn what_pruning_was_going_to_do_is_in_the_journal() {
    let (site, _engine) = site();
    run(&site, &["save", "a"]).success("the save");
    let planned = run(&site, &["images", "prune", "--dry-run", "--json"]).success("the plan").stdout;
    run(&site, &["images", "prune"]).success("the prune");
    let entry = entries(&site).into_iter().rfind(|entry| entry["entry"] == "plan").unwrap();
    let planned: Value = serde_json::from_str(&planned).unwrap();
    assert_eq!((&entry["action"], &entry["digest"]), (&json!(2), &json!(Digest::of_json(&planned).unwrap())));
}

#[test]
fn an_action_that_was_cut_off_shows_the_step_that_it_was_in() {
    let (site, _engine) = site();
    run_to_point(&site, &["save"], "images.save.before-index").killed("the save");
    let history = run(&site, &["history", "--json"]).success("the history");
    let history: Value = serde_json::from_str(&history.stdout).unwrap();
    let action = &history["actions"][0];
    assert_eq!((&action["result"], &action["ended_at"]), (&json!("cut-off"), &Value::Null));
    assert_eq!((&action["steps"][0]["subject"], &action["steps"][0]["result"]), (&json!("a:1"), &json!("open")));
    let shown = run(&site, &["history", "show", "1"]).success("the history");
    assert!(shown.stdout.contains("cut off"), "{}", shown.stdout);
}

#[test]
fn files_are_for_their_owner_alone_where_they_may_hold_secrets_and_the_umask_counts() {
    for umask in ["022", "077", "002", "000"] {
        let (site, _engine) = site();
        let program = site.command(&["save", "--yes", "-f", "stack.json"]);
        let with_umask = |arguments: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", "umask $0; exec \"$@\"", umask]).arg(program.get_program()).args(arguments);
            command.current_dir(site.path()).env_clear();
            command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
            run_command(&site, command)
        };
        with_umask(&["save", "-f", "stack.json"]).success(umask);
        with_umask(&["use", "stack.json"]).success(umask);
        // It ends because the fake keeps nothing; what it is going to load has been written down before.
        with_umask(&["load", "-f", "stack.json"]);
        let modes: BTreeMap<String, u32> = files_below(site.path()).collect();
        let taken = u32::from_str_radix(umask, 8).unwrap();
        let of = |end: &str| {
            let found = modes.iter().find(|(path, _)| path.ends_with(end));
            *found.unwrap_or_else(|| panic!("no {end}: {modes:?}")).1
        };
        assert_eq!([of("/journal.jsonl"), of("/loads.json"), of("/lock")], [0o660; 3], "{umask}: {modes:?}");
        let shared = 0o644 & !taken;
        assert_eq!([of("store/index.json"), of("store/oci-layout"), of("dpl/manifests.json")], [shared; 3], "{umask}");
        let blobs: Vec<u32> =
            modes.iter().filter(|(path, _)| path.contains("/blobs/")).map(|(_, mode)| *mode).collect();
        assert!(blobs.len() >= 3 && blobs.iter().all(|mode| *mode == shared), "{umask}: {modes:?}");
    }
}

fn files_below(folder: &std::path::Path) -> impl Iterator<Item = (String, u32)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                files.push((path.display().to_string(), metadata.permissions().mode() & 0o7777));
            }
        }
    }
    files.into_iter()
}
