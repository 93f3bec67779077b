//! "As the manifest says" is said only of what is: networks, volumes, images, namespaces, data and containers that others
//! changed, took or made.

use std::process::Command;

use crate::support_engine::{Stack, docker_on, eventually};

fn one(extra: &str) -> String {
    r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, EXTRA
         "services": { "cache": { "image": "redis:7.0", "ready": { "tcp": 6379 } } } }"#
        .replace("EXTRA", extra)
}

fn discard(stack: &Stack, name: &str) {
    let _ = Command::new("docker").args(["rm", "-f", "-v", name]).env("DOCKER_HOST", &stack.engine).output();
}

#[test]
fn a_stopped_stack_starts_after_its_networks_were_pruned() {
    let stack = Stack::new(&one(""));
    stack.run(&["start"]).success();
    stack.run(&["stop", "all"]).success();
    stack.docker(&["network", "rm", &format!("{}_default", stack.project)]);
    stack.run(&["start"]).success();
    stack.run(&["plan", "--exit-code"]).success();
}

#[test]
fn networks_volumes_and_images_that_differ_are_said_by_plan_start_and_status() {
    let stack = Stack::new(&one(""));
    stack.run(&["start"]).success();
    let id = stack.inspect("cache", "{{.Id}}");
    stack.rewrite(&one(r#""networks": { "default": { "internal": true, "labels": { "tier": "1" } } },"#));
    for command in ["plan", "start"] {
        let run = stack.run(&[command]).failure(1);
        assert!(run.stderr.contains("differs from the manifest (internal, labels.tier)"), "{command}: {}", run.stderr);
    }
    let status = stack.run(&["status", "--json"]).success().json();
    let drift = status["services"][0]["drift"].to_string();
    assert!(drift.contains(&format!("networks.{}_default.internal", stack.project)), "{drift}");
    let doctor = stack.run(&["doctor"]).failure(1);
    assert!(doctor.stdout.contains("differs from the manifest (internal, labels.tier)"), "{}", doctor.stdout);

    // What was taken out of the manifest counts as what was put in.
    stack.rewrite(&one(
        r#""networks": { "default": { "driver_opts": { "com.docker.network.bridge.enable_icc": "true" } } },"#,
    ));
    stack.docker(&["rm", "-f", &id]);
    stack.docker(&["network", "rm", &format!("{}_default", stack.project)]);
    stack.run(&["start"]).success();
    stack.rewrite(&one(""));
    let run = stack.run(&["plan"]).failure(1);
    assert!(run.stderr.contains("driver_opts.com.docker.network.bridge.enable_icc"), "{}", run.stderr);

    stack.rewrite(&one("").replace("redis:7.0", "redis:gone"));
    for command in [&["restart", "cache"][..], &["plan"], &["start"]] {
        let run = stack.run(command).failure(1);
        assert!(run.stderr.contains("redis:gone"), "{command:?}: {}", run.stderr);
    }
    let status = stack.run(&["status", "--json"]).success().json();
    assert_eq!(status["services"][0]["drift"][0], "image", "{status}");
    assert_eq!(stack.inspect("cache", "{{.State.Running}}"), "true");
}

#[test]
fn a_container_of_an_image_that_was_committed_from_ours_is_not_ours() {
    let stack = Stack::new(&one(""));
    stack.run(&["start"]).success();
    let (image, name) = (format!("{}-debug:1", stack.project), format!("{}-tool", stack.project));
    stack.docker(&["commit", &stack.container("cache"), &image]);
    stack.docker(&["run", "-d", "--name", &name, &image]);
    let status = stack.run(&["status", "--json"]).success().json();
    let containers = status["services"][0]["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &status["services"][0]["drift"]), (1, &serde_json::json!([])), "{status}");
    stack.run(&["plan", "--exit-code"]).success();
    let ours = stack.inspect("cache", "{{.Config.Hostname}}");
    let run = stack.site.run(&["-f", "stack.json", "exec", "cache", "hostname"]).success();
    assert_eq!(run.stdout.trim(), ours);
    stack.run(&["remove", "cache", "--yes"]).success();
    assert_eq!(docker_on(&stack.engine, &["inspect", "-f", "{{.State.Running}}", &name]), "true");
    discard(&stack, &name);
    stack.docker(&["rmi", "-f", &image]);
}

#[test]
fn a_mounted_file_that_was_replaced_by_another_is_told_until_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.conf");
    std::fs::write(&file, "one").unwrap();
    let path = file.to_str().unwrap();
    let stack =
        Stack::new(&one("").replace("redis:7.0\",", &format!("redis:7.0\", \"volumes\": [\"{path}:/site.conf\"],")));
    stack.run(&["start"]).success();
    let plan = stack.run(&["plan"]).success();
    assert!(plan.stderr.contains("everything matches the manifest"), "{}", plan.stderr);
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, "two").unwrap();
    std::fs::rename(&fresh, &file).unwrap();
    let plan = stack.run(&["plan"]).success();
    assert!(plan.stderr.contains(&format!("{path} was replaced by another file")), "{}", plan.stderr);
    assert!(!plan.stderr.contains("everything matches the manifest"), "{}", plan.stderr);
    let status = stack.run(&["status", "--json"]).success().json();
    assert_eq!(status["services"][0]["drift"], serde_json::json!(["volumes./site.conf (replaced)"]), "{status}");
    stack.run(&["restart", "cache"]).success();
    assert_eq!(stack.docker(&["exec", &stack.container("cache"), "cat", "/site.conf"]), "two");
    let plan = stack.run(&["plan"]).success();
    assert!(plan.stderr.contains("everything matches the manifest"), "{}", plan.stderr);
}

#[test]
fn a_container_with_copied_labels_is_not_ours() {
    let stack = Stack::new(&one(""));
    stack.run(&["start"]).success();
    let labels = stack.inspect("cache", "{{range $name, $value := .Config.Labels}}{{$name}}={{$value}}\n{{end}}");
    let name = format!("{}-copy", stack.project);
    let mut run = vec!["run".to_owned(), "-d".to_owned(), "--name".to_owned(), name.clone()];
    run.extend(
        labels.lines().filter(|line| line.contains('=')).flat_map(|line| ["--label".to_owned(), line.to_owned()]),
    );
    run.extend(["redis:7.0", "sh", "-c", "echo the copy speaks; exec sleep 600"].map(str::to_owned));
    stack.docker(&run.iter().map(String::as_str).collect::<Vec<_>>());
    let status = stack.run(&["status", "--json"]).success().json();
    assert_eq!(status["services"][0]["drift"], serde_json::json!([]), "{status}");
    let entered = stack.site.run(&["-f", "stack.json", "exec", "cache", "hostname"]).success();
    assert_eq!(entered.stdout.trim(), stack.inspect("cache", "{{.Config.Hostname}}"));
    eventually("the copy has spoken", || stack.docker(&["logs", &name]).contains("the copy speaks"));
    let logs = stack.run(&["logs", "cache"]).success().stdout;
    assert!(!logs.contains("the copy speaks"), "{logs}");
    let stats = stack.run(&["stats", "--json"]).success().json();
    let measured: Vec<_> = stats["containers"].as_array().unwrap().iter().map(|container| &container["name"]).collect();
    assert_eq!(measured, [&serde_json::json!(stack.container("cache"))], "{stats}");
    stack.run(&["remove", "cache", "--yes"]).success();
    assert_eq!(docker_on(&stack.engine, &["inspect", "-f", "{{.State.Running}}", &name]), "true");
    discard(&stack, &name);
}

#[test]
fn a_mount_that_is_gone_under_a_running_container_is_said_by_status_plan_start_and_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let path = data.to_str().unwrap();
    let stack = Stack::new(&one("").replace("redis:7.0\",", &format!("redis:7.0\", \"volumes\": [\"{path}:/seen\"],")));
    stack.run(&["start"]).success();
    stack.run(&["plan", "--exit-code"]).success();
    std::fs::remove_dir(&data).unwrap();
    let status = stack.run(&["status", "--json"]).success().json();
    assert_eq!(status["services"][0]["drift"], serde_json::json!(["volumes./seen (gone)"]), "{status}");
    for command in ["plan", "start"] {
        let run = stack.run(&[command]).failure(1);
        assert!(run.stderr.contains(&format!("{path}, mounted at /seen")), "{command}: {}", run.stderr);
    }
    let doctor = stack.run(&["doctor"]).failure(1);
    let (said, made) = (format!("cache mounts {path}"), "created as an empty folder");
    assert!(doctor.stdout.contains(&said) && !doctor.stdout.contains(made), "{}", doctor.stdout);
    assert_eq!(stack.inspect("cache", "{{.State.Running}}"), "true");
    std::fs::create_dir(&data).unwrap();
    stack.run(&["restart", "cache"]).success();
}

#[test]
fn a_folder_that_another_container_writes_to_is_a_conflict_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let stack =
        Stack::new(&one("").replace("\"ready\"", &format!("\"volumes\": [\"{}:/data\"], \"ready\"", data.display())));
    let name = format!("{}-other", stack.project);
    stack.docker(&["run", "-d", "--name", &name, "-v", &format!("{}:/d", data.display()), "redis:7.0"]);
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains(&format!("container {name} writes to")), "{}", run.stderr);
    let doctor = stack.run(&["doctor"]).failure(1);
    assert!(doctor.stdout.contains(&format!("container {name} writes to")), "{}", doctor.stdout);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}-cache", stack.project)]), "");
    stack.docker(&["stop", "-t", "1", &name]);
    stack.docker(&["update", "--restart", "always", &name]);
    let run = stack.run(&["start"]).failure(1);
    assert!(run.stderr.contains("the engine starts it again"), "{}", run.stderr);
    stack.docker(&["update", "--restart", "no", &name]);
    stack.run(&["start"]).success();
    discard(&stack, &name);
}

#[test]
fn a_sharer_is_restarted_with_a_provider_that_somebody_restarted() {
    let text = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" }, "services": {
        "host": { "image": "expert/expert_ui:latest" },
        "guest": { "image": "redis:7.0", "network_mode": "service:host", "ready": { "tcp": 6379 } } } }"#;
    let stack = Stack::new(text);
    stack.run(&["start"]).success();
    stack.docker(&["restart", "-t", "1", &stack.container("host")]);
    stack.run(&["plan", "--exit-code"]).failure(6);
    let status = stack.run(&["status", "--json"]).success().json();
    assert_eq!(status["services"][1]["drift"][0], "network_mode", "{status}");
    let guest = stack.inspect("guest", "{{.Id}}");
    stack.run(&["start"]).success();
    assert_eq!(stack.inspect("guest", "{{.Id}}"), guest, "a restart is enough");
    stack.run(&["plan", "--exit-code"]).success();
}

#[test]
fn containers_of_others_under_our_names_are_shown_as_such() {
    let stack = Stack::new(&one(""));
    let name = stack.container("cache");
    stack.docker(&["run", "-d", "--name", &name, "redis:7.0"]);
    let status = stack.run(&["status", "--json"]).success().json();
    assert_eq!(status["services"][0]["state"], "foreign", "{status}");
    assert_eq!(status["services"][0]["namesakes"][0], name);
    let doctor = stack.run(&["doctor"]);
    assert!(doctor.stdout.contains(&name) && doctor.stdout.contains("--adopt"), "{}", doctor.stdout);
    discard(&stack, &name);
}

#[test]
fn doctor_leaves_the_helpers_of_a_running_action_alone() {
    let stack = Stack::new(&one(""));
    let name = format!("{}.dpl-helper-of-another-run", stack.project);
    let (project, run) = (format!("dpl.probe={}", stack.project), "dpl.probe.run=another");
    stack.docker(&["create", "--name", &name, "--label", &project, "--label", run, "redis:7.0"]);
    stack.run(&["doctor"]);
    assert_eq!(docker_on(&stack.engine, &["inspect", "-f", "{{.Name}}", &name]), format!("/{name}"));
    // One that a killed run left goes with the next action that needs a helper, which has the lock.
    eventually("it is there", || !stack.docker(&["ps", "-aq", "--filter", &format!("name={name}")]).is_empty());
    discard(&stack, &name);
}
