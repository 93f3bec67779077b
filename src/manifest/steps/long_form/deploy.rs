//! `deploy` of a service, Compose's keys for Swarm: what has a meaning without Swarm becomes the service's own fields, all else
//! is an error.

use super::Expansion;
use crate::manifest::text::node::{Entry, Node, Value};
use crate::report::Listed;

/// Where each key of `deploy` goes.
const FIELDS: [(&[&str], &str); 6] = [
    (&["replicas"], "scale"),
    (&["resources", "limits", "cpus"], "cpus"),
    (&["resources", "limits", "memory"], "mem_limit"),
    (&["resources", "limits", "pids"], "pids_limit"),
    (&["resources", "reservations", "memory"], "mem_reservation"),
    (&["resources", "reservations", "devices"], "gpus"),
];

/// Takes `deploy` out of a service and sets the fields that its keys stand for.
pub(super) fn expand(service: &mut Node, expansion: &mut Expansion<'_>) {
    let Some(entries) = service.entries_mut() else {
        return;
    };
    let Some(place) = entries.iter().position(|entry| entry.key == "deploy") else {
        return;
    };
    if matches!(entries[place].value.value, Value::Null) {
        // What it had set stands in the fields by now: null has nothing to remove.
        return;
    }
    let deploy = entries.remove(place).value;
    take(&deploy, &mut Vec::new(), entries, expansion);
}

/// Moves every key below `node`, which lies at `path`.
fn take(node: &Node, path: &mut Vec<String>, fields: &mut Vec<Entry>, expansion: &mut Expansion<'_>) {
    if !matches!(node.value, Value::Object(_)) {
        let message = message!("long-deploy", found = node.kind());
        expansion.problems.error(node.span, message);
        return;
    }
    for entry in node.entries().iter().filter(|entry| !entry.key.starts_with("x-")) {
        path.push(entry.key.clone());
        let is_at = |known: &[&str]| known.iter().eq(path.iter());
        let is_above = |known: &[&str]| known.len() > path.len() && known.iter().zip(path.iter()).all(|(a, b)| a == b);
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| is_at(known)) {
            set(field, entry, fields, expansion);
        } else if FIELDS.iter().any(|(known, _)| is_above(known)) {
            take(&entry.value, path, fields, expansion);
        } else {
            let message = message!("long-deploy-swarm", path = path.join("."));
            let known: Vec<String> = FIELDS.iter().map(|(known, _)| known.join(".")).collect();
            expansion.problems.error_with_help(
                entry.key_span,
                message,
                message!("help-deploy", known = Listed::of(&known)),
            );
        }
        path.pop();
    }
}

fn set(field: &str, entry: &Entry, fields: &mut Vec<Entry>, expansion: &mut Expansion<'_>) {
    let mut value = entry.value.clone();
    if field == "gpus" {
        devices(&mut value);
    }
    match fields.iter().find(|known| known.key == field) {
        Some(known) if known.value.value != value.value => {
            let message = message!("long-set-twice", key = entry.key, field = field);
            expansion.problems.error_with_help(entry.key_span, message, message!("help-leave-one"));
        }
        Some(_) => {}
        None => fields.push(Entry { key: field.to_owned(), key_span: entry.key_span, value }),
    }
}

/// A request for devices that says neither how many nor which means all (Compose, "deploy.resources.reservations.devices").
fn devices(node: &mut Node) {
    let Value::Array(requests) = &mut node.value else {
        return;
    };
    for request in requests {
        let is_open = request.get("count").is_none() && request.get("device_ids").is_none();
        let span = request.span;
        if let Some(entries) = request.entries_mut().filter(|_| is_open) {
            entries.push(Entry { key: "count".to_owned(), key_span: span, value: Node::text(span, "all") });
        }
    }
}
