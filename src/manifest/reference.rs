//! `docs/manifest-reference.md`, made from the schema's own descriptions; a test keeps it current.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::manifest_schema;

const HEAD: &str = "\
# Every key of the manifest

Made from `schema/manifest.schema.json`, whose words are those of the program itself; a test compares them. Any key may be `null`,
which removes what the extended file says there; a number or a truth value may be a `${VARIABLE}`; keys that begin with `x-` are
yours. [manifest.md](manifest.md) explains how files are merged, and where dpl differs from Compose.
";

/// The reference as Markdown.
fn reference(schema: &Value) -> String {
    let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
    let mut text = HEAD.to_owned();
    section(&mut text, "The file", schema, &definitions);
    for (name, definition) in &definitions {
        if definition.get("properties").is_some() {
            section(&mut text, name, definition, &definitions);
        }
    }
    text
}

fn section(text: &mut String, title: &str, schema: &Value, definitions: &Map<String, Value>) {
    let _ = write!(text, "\n## {title}\n\n{}\n\n| key | value | meaning |\n|---|---|---|\n", described(schema));
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let must = if required.contains(&key.as_str()) { " (required)" } else { "" };
        let meaning = cell(described(property));
        let _ = writeln!(text, "| `{key}`{must} | {} | {meaning} |", cell(&kind(property, definitions)));
    }
}

fn described(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// What a table's cell can hold: one line without a column's border.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// What a value may be, in words.
fn kind(schema: &Value, definitions: &Map<String, Value>) -> String {
    let mut kinds: Vec<String> = Vec::new();
    collect(schema, definitions, &mut kinds);
    match kinds.split_last() {
        None => "anything".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
    }
}

fn collect(schema: &Value, definitions: &Map<String, Value>, kinds: &mut Vec<String>) {
    let mut add = |kind: String| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    // Said once for all keys, in the head.
    let is_variable = schema["pattern"] == "\\$";
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        match definitions.get(name) {
            Some(definition) if definition.get("properties").is_some() => {
                add(format!("[{name}](#{})", name.to_lowercase()));
            }
            Some(definition) => collect(definition, definitions, kinds),
            None => add(name.to_owned()),
        }
    } else if let Some(values) = schema["enum"].as_array() {
        values.iter().for_each(|value| add(literal(value)));
    } else if let Some(value) = schema.get("const") {
        add(literal(value));
    } else if let Some(any) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        any.iter().for_each(|schema| collect(schema, definitions, kinds));
    } else if !is_variable {
        let types: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        for kind in types {
            match kind {
                "null" => {}
                "array" => add(format!("list of {}", nested(&schema["items"], definitions))),
                "object" if schema["additionalProperties"].is_object() => {
                    add(format!("map of {}", nested(&schema["additionalProperties"], definitions)));
                }
                "string" => add("text".to_owned()),
                "boolean" => add("true or false".to_owned()),
                kind => add(kind.to_owned()),
            }
        }
    }
}

fn literal(value: &Value) -> String {
    format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn nested(schema: &Value, definitions: &Map<String, Value>) -> String {
    let kind = kind(schema, definitions);
    if kind.contains(" or ") || kind.contains(", ") { format!("({kind})") } else { kind }
}

/// `DPL_WRITE_SCHEMAS=1 cargo test --lib the_reference_in_the_folder` writes it again.
#[test]
fn the_reference_in_the_folder_is_the_schemas_own() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest-reference.md");
    let text = reference(&manifest_schema());
    if std::env::var_os("DPL_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
}

#[test]
fn every_key_is_described() {
    let schema = manifest_schema();
    let mut missing = Vec::new();
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, definition) in definitions.iter().chain([(&"the file".to_owned(), &schema)]) {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            if described(property).is_empty() {
                missing.push(format!("{name}: {key}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
