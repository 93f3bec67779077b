//! `graph`, which needs no engine.

use crate::support::Site;

const STACK: &str = r#"{
  "project": "p",
  "services": {
    "postgres": { "image": "postgres:15" },
    "migrate": { "image": "a:1", "depends_on": { "postgres": { "condition": "service_healthy" } } },
    "api": { "image": "a:1", "depends_on": {
      "postgres": { "condition": "service_healthy", "restart": true },
      "migrate": { "condition": "service_completed_successfully" } } },
    "page": { "image": "a:1", "depends_on": { "api": { "condition": "service_started", "required": false } } },
    "sidecar": { "image": "a:1", "network_mode": "service:api" },
    "alone": { "image": "a:1" }
  }
}"#;

fn drawn(arguments: &[&str]) -> String {
    let site = Site::with_manifest(STACK);
    site.run(&[&["graph", "stack.json"], arguments].concat()).success().stdout
}

#[test]
fn a_graph_is_layers_with_needs_and_conditions() {
    insta::assert_snapshot!(drawn(&[]));
}

#[test]
fn a_choice_brings_what_it_needs_and_nothing_else() {
    let text = drawn(&["migrate"]);
    assert_eq!(text, "layer 1\n +  1  postgres\n\nlayer 2\n    2  migrate\n       └─ postgres (healthy)\n");
}

#[test]
fn other_programs_read_it_too() {
    insta::assert_snapshot!(format!("{}\n{}", drawn(&["--format", "mermaid"]), drawn(&["--format", "dot"])));
    let document: serde_json::Value = serde_json::from_str(&drawn(&["--json"])).unwrap();
    assert_eq!(document["services"].as_array().unwrap().len(), 6);
    let path = crate::support::repository().join("schema/graph.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&document));
}
