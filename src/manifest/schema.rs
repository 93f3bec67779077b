//! The manifest's JSON Schema (draft 2020-12): the model's own, widened by what the reader accepts on its way there.
//!
//! Descriptions are the model's doc comments. What the reader adds: short forms, variables where a number or a truth
//! value is wanted, `null` (it removes), `x-` keys, and the keys that say how a file is read.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Manifest;
use super::model::kernel_words::{CAPABILITIES, LIMITS, SIGNALS, in_any_case};

/// The schema as a JSON document.
pub fn manifest_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Manifest>().to_value();
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        widen_definitions(definitions);
    }
    let root = schema.as_object_mut().expect("the schema of a struct is an object");
    let mut defaults = json!({ "$ref": "#/$defs/Service" });
    defaults["description"] = json!("Lies under every service, merged as RFC 7396 does.");
    let properties = root.get_mut("properties").and_then(Value::as_object_mut).expect("a struct has properties");
    let mut all = Map::new();
    all.insert("$schema".into(), json!({ "type": "string", "description": "The schema of this file, for editors." }));
    all.insert(
        "extends".into(),
        json!({ "type": "string", "description": "The manifest that this one changes (RFC 7396); a relative path belongs to this file." }),
    );
    all.insert(
        "env_file".into(),
        json!({
            "description": "Files of NAME=value lines for `${…}`; the process's environment wins over them.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        }),
    );
    all.insert("defaults".into(), defaults);
    for (key, noun) in [("secrets", "Secrets"), ("configs", "Configs")] {
        let file = json!({ "type": "string", "description": "The file that is mounted." });
        let declared = json!({ "type": "object", "properties": { "file": file } });
        let description = format!("{noun} that services are granted, by name: each a file.");
        all.insert(
            key.into(),
            json!({ "type": "object", "description": description, "additionalProperties": declared }),
        );
    }
    all.append(properties);
    root.insert("properties".into(), Value::Object(all));
    relax(&mut schema);
    schema
}

fn widen_definitions(definitions: &mut Map<String, Value>) {
    let secret = json!({
        "type": "object",
        "description": "Where a secret is kept; it is read only when it is used.",
        "properties": {
            "file": { "type": "string", "description": "A file that holds it; one newline at its end does not count." },
            "env": { "type": "string", "description": "A variable of dpl's own environment." }
        },
        "minProperties": 1
    });
    definitions.insert("SecretSource".into(), secret);
    definitions.insert(
        "EnvValue".into(),
        json!({ "anyOf": [{ "type": ["string", "number", "boolean"] }, { "$ref": "#/$defs/SecretSource" }] }),
    );
    definitions.insert("Ready".into(), ready());
    if let Some(service) = definitions.get_mut("Service").and_then(|service| service["properties"].as_object_mut()) {
        service.append(&mut granted_files());
        service.insert("deploy".into(), deploy());
        closed_words(service);
    }
    for (definition, property, forms) in short_forms() {
        let place = definitions.get_mut(definition).and_then(|definition| definition.get_mut("properties"));
        if let Some(schema) = place.and_then(|properties| properties.get_mut(property)) {
            let mut long = schema.take();
            let description = long.as_object_mut().and_then(|long| long.remove("description"));
            let mut any = vec![long];
            any.extend(forms);
            *schema = json!({ "anyOf": any });
            if let Some(description) = description {
                schema["description"] = description;
            }
            if property == "ulimits" {
                schema["propertyNames"] = json!({ "pattern": format!("^({})$", in_any_case(&LIMITS)) });
            }
        }
    }
    for (definition, required) in
        [("Port", vec!["target"]), ("Mount", vec!["type", "target"]), ("Preserve", vec!["table", "key"])]
    {
        if let Some(definition) = definitions.get_mut(definition) {
            definition["x-required"] = json!(required);
        }
    }
}

/// Fields whose words the kernel or the engine knows; a variable may stand for each.
fn closed_words(service: &mut Map<String, Value>) {
    let shaped = |shape: String| json!({ "type": "string", "pattern": format!("^({shape})$|\\$") });
    let capability =
        shaped(format!("{}|[Cc][Aa][Pp]_({})", in_any_case(&CAPABILITIES), in_any_case(&CAPABILITIES[1..])));
    let truth = "[Tt]|[Ff]|1|0|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]";
    let flag = format!("(no-new-privileges|writable-cgroups)([=:]({truth}))?");
    let seccomp = r"(unconfined|builtin|\s*\{[\s\S]*)";
    let option = format!("{flag}|disable|(label|apparmor)(=[\\s\\S]*|:[^=]*)|seccomp[=:]{seccomp}");
    let items = [("cap_add", capability.clone()), ("cap_drop", capability), ("security_opt", shaped(option))];
    for (key, schema) in items {
        service[key]["items"] = schema;
    }
    let real_time = format!("{}[+][\\s\\S]*|{}-[\\s\\S]*", in_any_case(&["RTMIN"]), in_any_case(&["RTMAX"]));
    let signal = format!("|0*[1-9][0-9]*|([Ss][Ii][Gg])?({}|{real_time})", in_any_case(&SIGNALS));
    let shared = "(service|container):[\\s\\S]+";
    let texts = [
        ("network_mode", format!("host|none|bridge|{shared}")),
        ("pid", format!("host|{shared}")),
        ("ipc", format!("host|private|shareable|none|{shared}")),
        ("userns_mode", "host".to_owned()),
        ("uts", "host".to_owned()),
        ("cpuset", "([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?".to_owned()),
        ("mac_address", "([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}".to_owned()),
        ("stop_signal", signal),
    ];
    for (key, shape) in texts {
        let description = service[key]["description"].take();
        service[key] = shaped(shape);
        service[key]["description"] = description;
    }
    for (key, first, last) in [("oom_score_adj", -1000, 1000), ("cpu_shares", 0, 262_144)] {
        service[key]["minimum"] = json!(first);
        service[key]["maximum"] = json!(last);
    }
}

/// Keys of a service that become mounts.
fn granted_files() -> Map<String, Value> {
    let grant = json!({
        "anyOf": [
            { "type": "string" },
            { "type": "object", "properties": {
                "source": { "type": "string", "description": "Its name." },
                "target": { "type": "string", "description": "Where it lies in the container." }
            } }
        ]
    });
    let describe = |what: &str| json!({ "type": "array", "items": grant, "description": what });
    let keys = [
        ("secrets", describe("Secrets that it may read, in /run/secrets where they name no other place.")),
        ("configs", describe("Configs that it may read, in / where they name no other place.")),
    ];
    keys.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect()
}

/// What of Compose's `deploy` has a meaning without Swarm: other names for fields of the service.
fn deploy() -> Value {
    let limit = json!({ "type": "object", "description": "The most that it may use.", "properties": {
        "cpus": { "type": ["string", "number"], "description": "`cpus`." },
        "memory": { "type": ["string", "integer"], "description": "`mem_limit`." },
        "pids": { "type": "integer", "description": "`pids_limit`." }
    } });
    let reservation = json!({ "type": "object", "description": "What is kept for it.", "properties": {
        "memory": { "type": ["string", "integer"], "description": "`mem_reservation`." },
        "devices": { "type": "array", "items": { "$ref": "#/$defs/Gpu" }, "description": "`gpus`." }
    } });
    json!({
        "type": "object",
        "description": "What Compose's `deploy` has without Swarm: other names for `scale`, `cpus`, `mem_limit`, `pids_limit`, `mem_reservation` and `gpus`.",
        "properties": {
            "replicas": { "type": "integer", "description": "`scale`." },
            "resources": { "type": "object", "description": "Limits and reservations.", "properties": { "limits": limit, "reservations": reservation } }
        }
    })
}

fn ready() -> Value {
    json!({
        "type": "object",
        "description": "How a service proves that it is up where its image has no health check: one of the probes.",
        "properties": {
            "tcp": { "type": "integer", "minimum": 1, "maximum": 65535, "description": "A port of the container accepts connections." },
            "http": { "$ref": "#/$defs/HttpProbe", "description": "A request to a port of the container is answered well." },
            "log": { "type": "string", "description": "A line of its log, written since the start, matches this regular expression." },
            "running_for": { "type": "string", "description": "It has run for so long without ending." },
            "completed": { "const": true, "description": "It has ended with exit code 0: a job, which runs again only when it changes." },
            "timeout": { "type": "string", "description": "How long it may take; the command's own limit where absent." }
        }
    })
}

/// Definition, property, and the forms that it may have beside its long one.
fn short_forms() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": { "type": ["string", "number"] } });
    let scalars =
        || json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } });
    let mixed = |item: &str| {
        let reference = format!("#/$defs/{item}");
        json!({ "type": "array", "items": { "anyOf": [{ "$ref": reference }, { "type": ["string", "number"] }] } })
    };
    let mut forms = vec![
        ("Service", "command", vec![text(), texts()]),
        ("Service", "entrypoint", vec![text(), texts()]),
        ("Service", "environment", vec![texts()]),
        ("Service", "env_file", vec![text(), mixed("EnvFile")]),
        ("Service", "ports", vec![mixed("Port")]),
        ("Service", "volumes", vec![mixed("Mount")]),
        ("Service", "devices", vec![mixed("Device")]),
        ("Service", "tmpfs", vec![text()]),
        ("Service", "dns", vec![text()]),
        ("Service", "dns_search", vec![text()]),
        ("Service", "dns_opt", vec![text()]),
        ("Service", "networks", vec![texts()]),
        ("Service", "depends_on", vec![texts()]),
        ("Service", "gpus", vec![text(), json!({ "type": "integer", "minimum": 1 }), json!({ "$ref": "#/$defs/Gpu" })]),
        (
            "Service",
            "ulimits",
            vec![json!({
                "type": "object",
                "additionalProperties": { "anyOf": [{ "$ref": "#/$defs/Ulimit" }, { "type": ["integer", "string", "null"] }] }
            })],
        ),
        (
            "Service",
            "extra_hosts",
            vec![texts(), json!({ "type": "object", "additionalProperties": { "type": ["string", "array", "null"] } })],
        ),
        ("Service", "cpuset", vec![json!({ "type": "integer" })]),
        ("Service", "user", vec![json!({ "type": "integer" })]),
        ("Service", "group_add", vec![texts()]),
        ("Healthcheck", "test", vec![text()]),
        ("Gpu", "device_ids", vec![texts()]),
        ("Gpu", "options", vec![scalars()]),
        ("Logging", "options", vec![texts(), scalars()]),
    ];
    for (definition, property) in [
        ("Service", "labels"),
        ("Service", "annotations"),
        ("Service", "sysctls"),
        ("Network", "labels"),
        ("Network", "driver_opts"),
        ("Volume", "labels"),
        ("Volume", "driver_opts"),
    ] {
        forms.push((definition, property, vec![texts(), scalars()]));
    }
    forms
}

/// Walks the whole schema: what a file may leave to another is not required, every property may be `null`, a variable
/// may stand for a number or a truth value, and no unknown key is allowed.
fn relax(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(relax),
        Value::Object(object) => {
            object.remove("required");
            if let Some(required) = object.remove("x-required") {
                object.insert("required".into(), required);
            }
            // Formats and defaults of Rust's number types say nothing to an author.
            if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with(['u', 'i'])) {
                object.remove("format");
            }
            for (key, value) in object.iter_mut() {
                match value {
                    // A map from names to schemas is no schema itself: a property may well be called `required`.
                    Value::Object(named) if ["properties", "patternProperties", "$defs"].contains(&key.as_str()) => {
                        named.values_mut().for_each(relax);
                    }
                    value => relax(value),
                }
            }
            let is_struct = object.get("properties").is_some_and(Value::is_object);
            if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
                properties.values_mut().for_each(nullable);
            }
            if let Some(entry) = object.get_mut("additionalProperties").filter(|entry| entry.get("$ref").is_some()) {
                nullable(entry);
            }
            if is_struct && !object.contains_key("additionalProperties") {
                object.insert("patternProperties".into(), json!({ "^x-": true }));
                object.insert("additionalProperties".into(), json!(false));
            }
        }
        _ => {}
    }
}

fn nullable(property: &mut Value) {
    let Some(object) = property.as_object_mut() else {
        return;
    };
    let description = object.remove("description");
    let takes_variable = match object.get("type") {
        Some(Value::String(kind)) => ["integer", "number", "boolean"].contains(&kind.as_str()),
        Some(Value::Array(kinds)) => {
            kinds.iter().any(|kind| ["integer", "number", "boolean"].iter().any(|k| kind == k))
        }
        _ => false,
    };
    let mut any = match object.remove("anyOf") {
        Some(Value::Array(any)) if object.is_empty() => any,
        Some(any) => {
            object.insert("anyOf".into(), any);
            vec![Value::Object(std::mem::take(object))]
        }
        None => vec![Value::Object(std::mem::take(object))],
    };
    if takes_variable {
        any.push(json!({ "type": "string", "pattern": "\\$" }));
    }
    any.push(json!({ "type": "null" }));
    any.dedup();
    let mut widened = Map::new();
    if let Some(description) = description {
        widened.insert("description".into(), description);
    }
    widened.insert("anyOf".into(), Value::Array(any));
    *property = Value::Object(widened);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_of_a_service_is_described() {
        let schema = manifest_schema();
        let service = schema["$defs"]["Service"]["properties"].as_object().unwrap();
        assert!(service.len() > 50);
        for (name, property) in service {
            assert!(property["description"].is_string(), "{name}");
        }
        assert!(schema["$defs"]["Gpu"]["properties"]["required"].is_object());
    }
}
