//! Forty manifests in the shapes of well-known stacks (`tests/corpus`): dpl reads each, prints what reads back as the same, and means
//! what Docker Compose means by the same JSON.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::support::{Site, compose_command, repository};

fn corpus() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(repository().join("tests/corpus")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 40, "{} manifests", files.len());
    files
}

fn site(file: &Path) -> Site {
    let site = Site::with_manifest(&std::fs::read_to_string(file).unwrap());
    site.write(".env", "A=1\n");
    site.write("db.env", "PASSWORD=pa$$word\nDERIVED=\"${PASSWORD}!\"\n");
    site
}

fn config(site: &Site) -> Value {
    let run = site.run(&["config", "--show-values", "stack.json"]).success();
    serde_json::from_str(&run.stdout.replace("SITE", &site.path().to_string_lossy())).unwrap()
}

#[test]
fn every_manifest_is_right_and_printed_reads_back_as_the_same() {
    for file in corpus() {
        let site = site(&file);
        let printed = config(&site);
        site.write("stack.json", &printed.to_string());
        assert_eq!(config(&site), printed, "{}", file.display());
    }
}

/// Every key that a manifest has is in the schema, in the reader's own form.
#[test]
fn every_manifest_passes_the_schema() {
    let schema = std::fs::read_to_string(repository().join("schema/manifest.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for file in corpus() {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in [serde_json::from_str(&text).unwrap(), config(&site(&file))] {
            let errors: Vec<String> =
                validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{}: {}", file.display(), errors.join("\n"));
        }
    }
}

#[test]
fn compose_means_the_same_by_the_same_json() {
    let command = compose_command().expect("this test needs Docker Compose 2: run scripts/test.sh, which brings it");
    for file in corpus() {
        let site = site(&file);
        let ours = config(&site);
        let theirs = compose(&site, &command);
        for (name, service) in ours["services"].as_object().unwrap() {
            let (ours, theirs) = (our_view(service, &ours), their_view(&theirs["services"][name], &theirs));
            for (field, value) in &ours {
                assert_eq!(Some(value), theirs.get(field), "{}: {name}.{field}", file.display());
            }
        }
    }
}

/// The same manifest as Compose prints it.
fn compose(site: &Site, command: &[&str]) -> Value {
    let text = std::fs::read_to_string(site.file("stack.json")).unwrap();
    let mut stack: Value = serde_json::from_str(&text).unwrap();
    stack["name"] = stack["project"].take();
    stack.as_object_mut().unwrap().remove("project");
    site.write("compose.json", &stack.to_string());
    let output = Command::new(command[0])
        .args(&command[1..])
        .args(["-f", "compose.json", "--profile", "*", "config", "--format", "json"])
        .current_dir(site.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Fields that both print, in one spelling.
fn our_view(service: &Value, _: &Value) -> Map<String, Value> {
    let mut view = Map::new();
    view.insert("image".into(), json!(with_tag(service["image"].as_str().unwrap())));
    for key in SAME {
        if let Some(value) = service.get(*key) {
            view.insert((*key).into(), value.clone());
        }
    }
    view.insert("ports".into(), ports(service));
    view.insert("mounts".into(), mounts(service));
    for (key, value) in sizes(service) {
        view.insert(key, value);
    }
    view
}

fn their_view(service: &Value, stack: &Value) -> Map<String, Value> {
    let mut view = Map::new();
    view.insert("image".into(), json!(with_tag(service["image"].as_str().unwrap())));
    for key in SAME {
        if let Some(value) = service.get(*key) {
            view.insert((*key).into(), value.clone());
        }
    }
    let mut with_files = service.clone();
    let mut volumes = service["volumes"].as_array().cloned().unwrap_or_default();
    for (kind, folder) in [("secrets", "/run/secrets/"), ("configs", "/")] {
        for grant in service[kind].as_array().into_iter().flatten() {
            let source = grant["source"].as_str().unwrap();
            let target = grant["target"].as_str().unwrap_or(source);
            let target = if target.starts_with('/') { target.to_owned() } else { format!("{folder}{target}") };
            volumes.push(
                json!({ "type": "bind", "source": stack[kind][source]["file"], "target": target, "read_only": true }),
            );
        }
    }
    with_files["volumes"] = volumes.into();
    view.insert("ports".into(), ports(service));
    view.insert("mounts".into(), mounts(&with_files));
    let deploy = &service["deploy"]["resources"];
    for (key, path) in [
        ("mem_limit", &deploy["limits"]["memory"]),
        ("mem_reservation", &deploy["reservations"]["memory"]),
        ("pids_limit", &deploy["limits"]["pids"]),
    ] {
        if !path.is_null() {
            with_files[key] = path.clone();
        }
    }
    for (key, value) in sizes(&with_files) {
        view.insert(key, value);
    }
    view
}

/// Keys whose values both print in the same form.
const SAME: &[&str] = &[
    "command",
    "entrypoint",
    "hostname",
    "user",
    "working_dir",
    "privileged",
    "read_only",
    "tty",
    "stdin_open",
    "init",
    "cap_add",
    "cap_drop",
    "security_opt",
    "group_add",
    "dns",
    "dns_search",
    "dns_opt",
    "network_mode",
    "pid",
    "ipc",
    "uts",
    "userns_mode",
    "runtime",
    "cgroup_parent",
    "device_cgroup_rules",
    "mac_address",
    "annotations",
    "labels",
    "sysctls",
    "oom_score_adj",
    "cpu_shares",
    "stop_signal",
    "logging",
];

fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Target, published, address and protocol of each port, as text.
fn ports(service: &Value) -> Value {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut ports: Vec<String> = service["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            let address = port["host_ip"].as_str().unwrap_or_default();
            format!("{} {} {} {}", text(&port["target"]), text(&port["published"]), address, text(&port["protocol"]))
        })
        .collect();
    ports.sort();
    ports.into()
}

/// Kind, source, target and whether it is read-only of each mount.
fn mounts(service: &Value) -> Value {
    let mut mounts: Vec<String> = service["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|mount| {
            let text = |key: &str| mount[key].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
            let label = mount["bind"]["selinux"].as_str().unwrap_or_default();
            let label = if mount["type"] == "bind" { label } else { "" };
            format!("{} {} {} {} {label}", text("type"), text("source"), text("target"), mount["read_only"] == true)
        })
        .collect();
    mounts.sort();
    mounts.into()
}

/// Sizes in bytes, whichever program printed them.
fn sizes(service: &Value) -> Vec<(String, Value)> {
    let keys = ["mem_limit", "mem_reservation", "memswap_limit", "shm_size"];
    let bytes = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match text.parse::<dpl::manifest::model::SwapLimit>() {
            Ok(limit) => json!(limit.bytes()),
            Err(error) => panic!("{text}: {error}"),
        }
    };
    keys.iter().filter_map(|key| Some(((*key).to_owned(), bytes(service.get(*key)?)))).collect()
}
