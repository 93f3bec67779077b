//! `secrets` and `configs` from files: a service that is granted one mounts the file, read-only, as Compose does without Swarm.

use super::Expansion;
use crate::manifest::text::node::{Entry, Node, Value};
use crate::report::Message;

/// A kind of granted files: its key, and where they lie in the container.
struct Kind {
    key: &'static str,
    folder: &'static str,
    field: fn(&str) -> Message,
    without_file: fn() -> Message,
    not_a_name: fn(Message) -> Message,
    unknown: fn(&str) -> Message,
}

const KINDS: [Kind; 2] = [
    Kind {
        key: "secrets",
        folder: "/run/secrets/",
        field: |key| message!("long-secret-field", key = key),
        without_file: || message!("long-secret-file"),
        not_a_name: |found| message!("long-secret-name", found = found),
        unknown: |name| message!("long-no-secret", name = name),
    },
    Kind {
        key: "configs",
        folder: "/",
        field: |key| message!("long-config-field", key = key),
        without_file: || message!("long-config-file"),
        not_a_name: |found| message!("long-config-name", found = found),
        unknown: |name| message!("long-no-config", name = name),
    },
];

/// Takes `secrets` and `configs` out of a merged manifest, and gives the services that name them mounts. Gives all files that
/// are declared, each with whether it is a secret.
pub(in crate::manifest) fn grant_files(root: &mut Node, expansion: &mut Expansion<'_>) -> Vec<(bool, Node)> {
    let mut all = Vec::new();
    for kind in KINDS {
        let declared = take(root, kind.key).map(|node| files(&node, &kind, expansion)).unwrap_or_default();
        let services = root.get_mut("services").and_then(Node::entries_mut).map(Vec::as_mut_slice).unwrap_or_default();
        for service in services {
            let Some(grants) = take(&mut service.value, kind.key) else {
                continue;
            };
            let Value::Array(grants) = &grants.value else {
                let message = message!("long-expects-list", key = kind.key, found = grants.kind());
                expansion.problems.error(grants.span, message);
                continue;
            };
            let mounts: Vec<Node> =
                grants.iter().filter_map(|grant| mount(grant, &kind, &declared, expansion)).collect();
            append(&mut service.value, mounts);
        }
        let is_secret = kind.key == "secrets";
        all.extend(declared.into_iter().filter_map(|(_, file)| Some((is_secret, file?))));
    }
    all
}

fn take(node: &mut Node, key: &str) -> Option<Node> {
    let entries = node.entries_mut()?;
    let place = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(place).value).filter(|node| !matches!(node.value, Value::Null | Value::Invalid))
}

/// The files by name.
fn files(node: &Node, kind: &Kind, expansion: &mut Expansion<'_>) -> Vec<(String, Option<Node>)> {
    if !matches!(node.value, Value::Object(_)) {
        expansion.problems.error(node.span, message!("long-expects-object", key = kind.key, found = node.kind()));
    }
    let named = node.entries().iter().filter(|entry| !entry.key.starts_with("x-")).map(|entry| {
        for other in entry.value.entries().iter().filter(|other| other.key != "file" && !other.key.starts_with("x-")) {
            let message = (kind.field)(&other.key);
            expansion.problems.error_with_help(other.key_span, message, message!("help-write-file"));
        }
        let file = entry.value.get("file").cloned();
        if file.is_none() {
            expansion.problems.error(entry.value.span, (kind.without_file)());
        }
        (entry.key.clone(), file)
    });
    named.collect()
}

/// The mount that a grant stands for.
fn mount(
    grant: &Node,
    kind: &Kind,
    declared: &[(String, Option<Node>)],
    expansion: &mut Expansion<'_>,
) -> Option<Node> {
    let span = grant.span;
    let (name, target) = match &grant.value {
        Value::Object(entries) => {
            let known = |entry: &&Entry| ["source", "target"].contains(&entry.key.as_str());
            for other in entries.iter().filter(|entry| !known(entry) && !entry.key.starts_with("x-")) {
                let message = message!("long-grant-field", key = other.key);
                expansion.problems.error(other.key_span, message);
            }
            (grant.get("source").and_then(Node::as_text), grant.get("target").and_then(Node::as_text))
        }
        _ => (grant.as_text(), None),
    };
    let Some(name) = name else {
        expansion.problems.error(span, (kind.not_a_name)(grant.kind()));
        return None;
    };
    let Some((_, file)) = declared.iter().find(|(known, _)| known == name) else {
        let help = message!("help-name-with-file", key = kind.key);
        expansion.problems.error_with_help(span, (kind.unknown)(name), help);
        return None;
    };
    let target = match target {
        Some(target) if target.starts_with('/') => target.to_owned(),
        target => format!("{}{}", kind.folder, target.unwrap_or(name)),
    };
    Some(Node::object(
        span,
        vec![
            ("type", Node::text(span, "bind")),
            // The file keeps its place, so that a relative path belongs to the manifest that it is written in.
            ("source", file.clone()?),
            ("target", Node::text(span, target)),
            ("read_only", Node::new(span, Value::Bool(true))),
        ],
    ))
}

fn append(service: &mut Node, mounts: Vec<Node>) {
    let span = service.span;
    let Some(entries) = service.entries_mut().filter(|_| !mounts.is_empty()) else {
        return;
    };
    match entries.iter_mut().find(|entry| entry.key == "volumes") {
        Some(Entry { value: Node { value: Value::Array(volumes), .. }, .. }) => volumes.extend(mounts),
        // Something that is not a list is reported when it is decoded.
        Some(Entry { value: Node { value: value @ Value::Null, .. }, .. }) => *value = Value::Array(mounts),
        Some(_) => {}
        None => entries.push(Entry {
            key: "volumes".to_owned(),
            key_span: span,
            value: Node::new(span, Value::Array(mounts)),
        }),
    }
}
