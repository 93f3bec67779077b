//! The two manifests of the project, and what `list`, `config` and `schema` make of them.

use serde_json::{Value, json};

use crate::support::{Site, repository};

fn manifest(name: &str) -> String {
    repository().join("manifests").join(name).to_str().unwrap().to_owned()
}

fn schema(name: &str) -> Value {
    let path = repository().join("schema").join(format!("{name}.schema.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn assert_valid(schema: &Value, document: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn both_manifests_pass_the_check_on_a_fresh_clone() {
    for name in ["local-docker.json", "prod-docker.json"] {
        let run = Site::new().run(&["check", &manifest(name)]).success();
        assert!(run.stderr.contains("is correct: 2"), "{}", run.stderr);
    }
}

#[test]
fn services_17_to_25_and_the_databases_are_the_fields_own() {
    for name in ["local-docker.json", "prod-docker.json"] {
        let list = Site::new().run(&["list", "--json", &manifest(name)]).success().json();
        let services: Vec<(u64, &str, &str)> = list["services"]
            .as_array()
            .unwrap()
            .iter()
            .map(|service| {
                (
                    service["index"].as_u64().unwrap(),
                    service["name"].as_str().unwrap(),
                    service["image"].as_str().unwrap(),
                )
            })
            .filter(|(index, ..)| *index >= 17)
            .collect();
        assert_eq!(
            services,
            [
                (17, "expert-ui", "expert/expert_ui:latest"),
                (18, "expert-api", "expert/expert_api:latest"),
                (19, "metis-ui", "expert/metis_ui:v2.2.0"),
                (20, "metis-mt", "expert/metis_mt:v2.2.0"),
                (21, "metis-api", "expert/metis_api:v2.2.0"),
                (22, "metis_worker_manager", "metis/metis_worker_manager:v2"),
                (23, "metis_worker", "metis/metis_worker:v2"),
                (24, "metis_worker_crypt", "metis/metis_worker:crypt"),
                (25, "metis_worker_gpu", "metis/metis_worker_gpu:v1.5_no_subtask"),
            ]
        );
        let databases: Vec<&str> =
            list["databases"].as_array().unwrap().iter().map(|database| database["name"].as_str().unwrap()).collect();
        assert_eq!(databases, ["minerva", "expert", "metis"]);
        assert_eq!(list["services"].as_array().unwrap().last().unwrap()["gpu"], true);
        assert_valid(&schema("list"), &list);
    }
}

#[test]
fn the_gpu_is_required_in_prod_and_not_in_local() {
    for (name, required) in [("local-docker.json", false), ("prod-docker.json", true)] {
        let config = Site::new().run(&["config", &manifest(name)]).success().json();
        let gpu = &config["services"]["metis_worker_gpu"]["gpus"][0];
        assert_eq!(gpu["required"], required);
        assert_eq!((&gpu["driver"], &gpu["count"]), (&json!("nvidia"), &json!("all")));
    }
}

#[test]
fn both_manifests_and_their_long_forms_pass_the_schema_in_an_independent_validator() {
    let schema = schema("manifest");
    for name in ["local-docker.json", "prod-docker.json"] {
        let text = std::fs::read_to_string(manifest(name)).unwrap();
        assert_valid(&schema, &serde_json::from_str(&text).unwrap());
        let config = Site::new().run(&["config", "--show-values", &manifest(name)]).success().json();
        assert_valid(&schema, &config);
    }
}

#[test]
fn a_printed_manifest_reads_back_as_the_same() {
    for name in ["local-docker.json", "prod-docker.json"] {
        let printed = Site::new().run(&["config", "--show-values", &manifest(name)]).success();
        let site = Site::with_manifest(&printed.stdout);
        let again = site.run(&["config", "--show-values", "stack.json"]).success();
        assert_eq!(again.stdout, printed.stdout);
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = schema("manifest");
    let validator = jsonschema::validator_for(&schema).unwrap();
    for services in [
        json!({ "web": { "image": "web:1", "imagee": 1 } }),
        json!({ "web": { "image": 1 } }),
        json!({ "web": { "image": "web:1", "restart": "sometimes" } }),
        json!({ "web": { "image": "web:1", "mem_limit": "much" } }),
        json!({ "web": { "image": "web:1", "ports": [{ "target": 0 }] } }),
        json!({ "web": { "image": "web:1", "ready": { "http": { "port": 0 } } } }),
    ] {
        assert!(!validator.is_valid(&json!({ "project": "p", "services": services })), "{services}");
    }
}

#[test]
fn the_check_warns_once_of_a_secret_file_that_is_empty() {
    let site = Site::new();
    site.write(
        "stack.json",
        r#"{ "project": "p", "services": { "redis": { "image": "redis:7",
            "environment": { "PASSWORD": { "file": "secret" }, "AGAIN": { "file": "secret" } } } } }"#,
    );
    site.write("secret", "\n");
    let checked = site.run(&["check", "stack.json"]).success();
    assert_eq!(checked.stderr.matches("secret is empty").count(), 1, "{}", checked.stderr);
    assert!(checked.stderr.contains("1 warning"), "{}", checked.stderr);
    site.write("secret", "hunter2\n");
    let checked = site.run(&["check", "stack.json"]).success();
    assert!(checked.stderr.contains("0 warnings"), "{}", checked.stderr);
}

#[test]
fn values_of_the_environment_are_masked_and_secrets_are_never_read() {
    let site = Site::with_manifest(
        r#"{ "project": "p", "services": { "web": { "image": "web:1", "environment": {
            "PLAIN": "plain-value", "SECRET": { "file": "secret" } } } } }"#,
    );
    site.write("secret", "secret-value");
    let masked = site.run(&["config", "stack.json"]).success();
    assert!(!masked.stdout.contains("plain-value") && !masked.stdout.contains("secret-value"));
    let shown = site.run(&["config", "--show-values", "stack.json"]).success();
    assert!(shown.stdout.contains("plain-value") && !shown.stdout.contains("secret-value"));
}

#[test]
fn what_prod_removes_keeps_its_number_empty() {
    let site = Site::with_manifest(
        r#"{ "extends": "base.json", "services": { "b": null, "d": { "image": "d:1" }, "a": { "image": "a:2" } } }"#,
    );
    site.write(
        "base.json",
        r#"{ "project": "p", "services": { "a": { "image": "a:1" }, "b": { "image": "b:1" }, "c": { "image": "c:1" } } }"#,
    );
    let run = site.run(&["list", "stack.json"]).success();
    assert_eq!(run.stdout, "NO  SERVICE  IMAGE  GROUPS\n 1  a        a:2\n 3  c        c:1\n 4  d        d:1\n");
    let run = site.run(&["list", "stack.json", "2"]).failure(2);
    assert_eq!(run.stderr, "error: number 2 is empty: `b` was removed\n");
}

#[test]
fn extends_merges_long_forms_and_paths_belong_to_their_file() {
    let site = Site::with_manifest(
        r#"{ "extends": "base/base.json", "services": { "web": {
            "environment": { "A": null, "C": "3" }, "ports": ["127.0.0.1:90:80"],
            "volumes": ["./mine:/mine"], "labels": null, "depends_on": { "db": { "condition": "service_healthy" } } } } }"#,
    );
    site.write(
        "base/base.json",
        r#"{ "project": "p", "env_file": "site.env", "paths": { "data": "${ROOT}/data" },
            "defaults": { "restart": "always", "logging": { "options": { "max-size": "10m" } } },
            "services": { "db": { "image": "db:1", "volumes": ["./store:/store"], "restart": "no" },
              "web": { "image": "web:${TAG:-1}", "environment": ["A=1", "B=2"], "ports": ["80:80", "81:81"],
                       "labels": ["x=y"], "depends_on": ["db"] } } }"#,
    );
    site.write("base/site.env", "ROOT=../root\n");
    let config = site.run(&["config", "--show-values", "stack.json"]).success().json();
    let folder = site.path().to_str().unwrap().to_owned();
    let text = config.to_string().replace(&folder, "SITE");
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["paths"]["data"], "SITE/root/data");
    assert_eq!(config["services"]["db"]["volumes"][0]["source"], "SITE/base/store");
    assert_eq!(config["services"]["db"]["restart"], json!(null));
    let web = &config["services"]["web"];
    assert_eq!(web["image"], "web:1");
    assert_eq!(web["environment"], json!({ "B": "2", "C": "3" }));
    assert_eq!(web["ports"], json!([{ "target": 80, "published": 90, "host_ip": "127.0.0.1", "protocol": "tcp" }]));
    assert_eq!(web["volumes"][0]["source"], "SITE/mine");
    assert_eq!(web["labels"], json!(null));
    assert_eq!(web["restart"], "always");
    assert_eq!(web["logging"], json!({ "options": { "max-size": "10m" } }));
    assert_eq!(web["depends_on"], json!({ "db": { "condition": "service_healthy", "required": true } }));
}
