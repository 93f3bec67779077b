//! The chains of the field's own notes, as they are written there, on a stack with their numbers: databases 2 and 3 in one server,
//! services 17 to 25 on top of what the notes don't name.

use std::fs;

use serde_json::Value;

use crate::support::Run;
use crate::support_engine::{Stack, free_port};

const UPGRADE: [&str; 9] = [
    "expert-ui",
    "expert-api",
    "metis-ui",
    "metis-mt",
    "metis-api",
    "metis_worker_manager",
    "metis_worker",
    "metis_worker_crypt",
    "metis_worker_gpu",
];

/// As the notes write it.
const ALL: &str = "[17,18,19,20,21,22,23,24,25]";

fn manifest() -> String {
    let server = r#""postgres": { "image": "postgres:15", "environment": { "POSTGRES_PASSWORD": { "file": "password" } },
        "tmpfs": "/var/lib/postgresql/data",
        "healthcheck": { "test": "pg_isready -U postgres -h 127.0.0.1", "interval": "1s", "retries": 60 } }"#;
    let platform = (2..=16).map(|number| format!(r#""platform-{number}": {{ "image": "redis:7.0" }}"#));
    let upgrade = UPGRADE.map(|name| {
        let needs = if name == "expert-ui" { r#", "depends_on": ["expert-api"]"# } else { "" };
        format!(r#""{name}": {{ "image": "PROJECT/{name}:v2", "ready": {{ "log": "ready" }}{needs} }}"#)
    });
    let databases = ["minerva", "expert", "metis"].map(|name| {
        let users = if name == "minerva" { "[]".to_owned() } else { format!("[\"{name}-api\"]") };
        format!(r#""{name}": {{ "service": "postgres", "seed": "seeds/{name}", "used_by": {users} }}"#)
    });
    let services: Vec<String> = [server.to_owned()].into_iter().chain(platform).chain(upgrade).collect();
    format!(
        r#"{{ "project": "PROJECT", "paths": {{ "images": "images", "backups": "backups" }},
             "defaults": {{ "stop_grace_period": "1s" }},
             "databases": {{ {} }}, "services": {{ {} }} }}"#,
        databases.join(", "),
        services.join(", ")
    )
}

/// The images of the services under names of this project, so that no other test minds when they move.
fn tag(stack: &Stack, name: &str, image: &str) {
    stack.docker(&["tag", image, &format!("{}/{name}:v2", stack.project).to_lowercase()]);
}

#[track_caller]
fn psql(stack: &Stack, database: &str, sql: &str) -> String {
    let container = stack.container("postgres");
    stack.docker(&["exec", &container, "psql", "-X", "-U", "postgres", "-d", database, "-Atc", sql])
}

#[track_caller]
fn chain(stack: &Stack, text: &str) -> Run {
    stack.run(&["do", text, "--yes"]).success()
}

fn running(stack: &Stack) -> Vec<String> {
    let status = stack.run(&["status", "17..25", "--json"]).success().json();
    let services = status["services"].as_array().unwrap().iter();
    services.filter(|service| service["state"] == "running").map(|service| service["name"].to_string()).collect()
}

fn backups(stack: &Stack, database: &str) -> usize {
    fs::read_dir(stack.site.file(&format!("backups/databases/{database}"))).map_or(0, |folder| folder.flatten().count())
}

#[test]
fn each_chain_of_the_notes_does_what_the_notes_say() {
    let stack = Stack::new(&manifest());
    stack.site.write("password", "se'cr et\n");
    for name in UPGRADE {
        tag(&stack, name, "expert/expert_api:latest");
    }
    stack.run(&["start", "postgres", "17..25"]).success();
    for database in ["minerva", "expert", "metis"] {
        psql(&stack, "postgres", &format!("CREATE DATABASE {database}"));
        psql(&stack, database, "CREATE TABLE workflow AS SELECT generate_series(1, 100) AS i");
    }
    let gpu = stack.inspect("metis_worker_gpu", "{{.Id}}");

    // On local: dump the databases for the delivery, save the images.
    let run = chain(&stack, &format!("5- [2, 3] - 1 - {ALL}"));
    assert!(run.stderr.contains("2 databases dumped"), "{}", run.stderr);
    let index = fs::read_to_string(stack.site.file("images/index.json")).unwrap();
    assert_eq!(index.matches("\"org.opencontainers.image.ref.name\"").count(), 9);
    assert!(stack.site.file("seeds/expert").exists() && stack.site.file("seeds/metis").exists());
    assert!(!stack.site.file("seeds/minerva").exists());

    // On prod: back the databases up, stop the old services.
    chain(&stack, &format!("7 - [2, 3] - 4 - {ALL}"));
    assert_eq!(["minerva", "expert", "metis"].map(|name| backups(&stack, name)), [0, 1, 1]);
    assert_eq!(running(&stack), [""; 0]);

    // A new GPU worker comes with the store: loaded, and running on that image.
    tag(&stack, "metis_worker_gpu", "expert/expert_ui:latest");
    stack.run(&["save", "25"]).success();
    let new = stack.docker(&["image", "inspect", "--format", "{{.Id}}", "expert/expert_ui:latest"]);
    tag(&stack, "metis_worker_gpu", "expert/expert_api:latest");
    let plan = stack.run(&["do", "2 - 25 - 3 - 25", "--dry-run"]).success();
    assert!(plan.stdout.contains("would load") && plan.stdout.contains("image changed"), "{}", plan.stdout);
    chain(&stack, "2 - 25 - 3 - 25");
    assert_eq!(running(&stack), ["\"metis_worker_gpu\""]);
    assert_eq!(stack.inspect("metis_worker_gpu", "{{.Image}}"), new);
    assert_ne!(stack.inspect("metis_worker_gpu", "{{.Id}}"), gpu);

    // Both databases become what was delivered.
    psql(&stack, "expert", "DELETE FROM workflow");
    psql(&stack, "metis", "DROP TABLE workflow");
    chain(&stack, "6 - [2,3]");
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "100");
    assert_eq!(psql(&stack, "metis", "SELECT count(*) FROM workflow"), "100");

    // Everything is loaded and restarted; the images of stopped services were gone.
    stack.docker(&["rmi", "-f", &format!("{}/metis-ui:v2", stack.project)]);
    let run = chain(&stack, &format!("2 - {ALL} - 3 - {ALL}"));
    assert!(run.stderr.contains("1 image loaded, 8 present already"), "{}", run.stderr);
    assert_eq!(running(&stack).len(), 9);

    // The rebuild has backed up what it replaced, and this is one more.
    let before = backups(&stack, "expert");
    chain(&stack, "7 - [2,3]");
    assert_eq!((backups(&stack, "expert"), backups(&stack, "minerva")), (before + 1, 0));

    // And the way back, which the notes have not: the last backup.
    psql(&stack, "expert", "DELETE FROM workflow");
    chain(&stack, "8 - 2");
    assert_eq!(psql(&stack, "expert", "SELECT count(*) FROM workflow"), "100");

    let images = UPGRADE.map(|name| format!("{}/{name}:v2", stack.project));
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    stack.docker(&[&["rmi", "-f"], &images[..]].concat());
}

/// One service, so small that a chain of it takes no time.
const SMALL: &str = r#"{ "project": "PROJECT", "defaults": { "stop_grace_period": "1s" },
    "services": { "a": { "image": "redis:7.0" }, "b": { "image": "redis:7.0" } } }"#;

#[test]
fn a_chain_needs_an_answer_and_says_which_flag_gives_it() {
    let stack = Stack::new(SMALL);
    let run = stack.run(&["do", "3 - 1"]).failure(2);
    assert!(run.stderr.contains("can't ask without a terminal: Go on?"), "{}", run.stderr);
    assert!(run.stderr.contains("give --yes"), "{}", run.stderr);
    assert_eq!(run.stdout, "", "nobody looks where nobody can answer");
    let run = stack.run(&["do", "3 - 1 - 11 - 1", "--yes"]).failure(2);
    assert!(run.stderr.contains("action 11 only looks"), "{}", run.stderr);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.project)]), "");
}

#[test]
fn steps_come_from_a_file_with_remarks() {
    let stack = Stack::new(SMALL);
    stack.site.write("steps.txt", "# the whole of it\n3 - [1, 2]   # start\n\n4 - 2 - 3 -\n1\n");
    let run = stack.run(&["do", "--file", "steps.txt", "--yes"]).success();
    for link in ["3 - [1, 2]: restart a, b", "4 - 2: stop b", "3 - 1: restart a"] {
        assert!(run.stderr.contains(link), "{}", run.stderr);
    }
    let running = |service: &str| stack.inspect(service, "{{.State.Running}}");
    assert_eq!((running("a"), running("b")), ("true".to_owned(), "false".to_owned()));
    let run = stack.run(&["do", "--file", "nowhere.txt", "--yes"]).failure(2);
    assert!(run.stderr.contains("can't read the steps in nowhere.txt"), "{}", run.stderr);
    stack.run(&["do", "3 - 1", "--file", "steps.txt", "--yes"]).failure(2);
}

#[test]
fn what_an_earlier_link_clears_away_is_only_a_warning() {
    let port = free_port();
    let service = |name: &str, port: Option<u16>| {
        let ports = port.map_or(String::new(), |port| format!(r#", "ports": ["127.0.0.1:{port}:6379"]"#));
        format!(r#""{name}": {{ "image": "redis:7.0"{ports} }}"#)
    };
    let manifest = |a: Option<u16>, b: Option<u16>| {
        let services = [service("a", a), service("b", b)].join(", ");
        format!(
            r#"{{ "project": "PROJECT", "defaults": {{ "stop_grace_period": "1s" }}, "services": {{ {services} }} }}"#
        )
    };
    let stack = Stack::new(&manifest(Some(port), None));
    stack.run(&["start", "a"]).success();
    // The port goes over to the other one, while the old container still holds it.
    stack.rewrite(&manifest(None, Some(port)));
    stack.run(&["do", "3 - b", "--yes"]).failure(1);
    let run = stack.run(&["do", "4 - a - 3 - b", "--yes"]).success();
    assert!(run.stderr.contains("warning: 3 - b, as it stands now: "), "{}", run.stderr);
    assert!(run.stderr.contains("what comes before it may change that"), "{}", run.stderr);
    assert_eq!(stack.inspect("b", "{{.State.Running}}"), "true");
}

#[test]
fn what_can_be_known_to_be_impossible_is_found_before_the_first_link() {
    let stack = Stack::new(SMALL);
    let run = stack.run(&["do", "3 - 1 - 2 - 1", "--yes"]).failure(2);
    assert!(run.stderr.contains("does not say where the images are"), "{}", run.stderr);
    assert_eq!(stack.docker(&["ps", "-aq", "--filter", &format!("name={}", stack.project)]), "");
}

#[test]
fn the_document_of_a_chain_has_that_of_each_link() {
    let stack = Stack::new(SMALL);
    let document = stack.run(&["do", "3 - a - 4 - a", "--yes", "--json"]).success().json();
    let links: Vec<&Value> = document["links"].as_array().unwrap().iter().collect();
    assert_eq!((links[0]["action"].as_u64(), links[1]["action"].as_u64()), (Some(3), Some(4)));
    assert_eq!(links[0]["result"]["services"][0]["result"], "created");
    assert_eq!(links[1]["result"]["services"][0]["result"], "stopped");
}
