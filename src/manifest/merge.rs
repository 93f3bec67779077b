//! One manifest over another (RFC 7396, JSON Merge Patch), and `defaults` under every service.
//!
//! Two things differ from the RFC's letter: `null` stays in place as a tombstone until `defaults` has been laid under,
//! since it removes a default too; and a removed service or database keeps its number.

use std::collections::HashSet;

use super::node::{Entry, Node, Value};
use super::problem::Problems;
use super::source::Span;

/// Objects whose entries are numbered by their place.
pub(super) const NUMBERED: [&str; 2] = ["services", "databases"];

/// More values than this in all services together come from a manifest that was made to hurt.
const MOST_VALUES: usize = 30_000;

/// The tombstones that have removed something.
#[derive(Debug, Default)]
pub(super) struct Removals(HashSet<Span>);

/// Lays `patch` over `target`.
pub(super) fn merge(target: &mut Node, patch: Node, removals: &mut Removals) {
    if matches!(patch.value, Value::Null) && !matches!(target.value, Value::Null) {
        removals.0.insert(patch.span);
    }
    match (&mut target.value, patch) {
        (Value::Object(entries), Node { value: Value::Object(patches), .. }) => {
            for patch in patches {
                match entries.iter_mut().find(|entry| entry.key == patch.key) {
                    Some(entry) => {
                        entry.key_span = patch.key_span;
                        merge(&mut entry.value, patch.value, removals);
                    }
                    None => entries.push(patch),
                }
            }
        }
        (_, patch) => *target = patch,
    }
}

/// Takes `defaults` out of the root and lays it under every service.
pub(super) fn apply_defaults(root: &mut Node, removals: &mut Removals, problems: &mut Problems) {
    let Some(entries) = root.entries_mut() else {
        return;
    };
    let Some(place) = entries.iter().position(|entry| entry.key == "defaults") else {
        return;
    };
    let Entry { key_span, value: defaults, .. } = entries.remove(place);
    if !matches!(defaults.value, Value::Object(_)) {
        problems.error(defaults.span, format!("`defaults` wants an object, not {}", defaults.kind()));
        return;
    }
    let weight = defaults.count();
    let mut total = 0;
    let services = root.get_mut("services").and_then(Node::entries_mut).map(Vec::as_mut_slice).unwrap_or_default();
    for service in services.iter_mut().filter(|service| matches!(service.value.value, Value::Object(_))) {
        total += weight;
        if total > MOST_VALUES {
            problems.error(key_span, "`defaults` is too large for so many services");
            return;
        }
        let own = std::mem::replace(&mut service.value, defaults.clone());
        let span = own.span;
        merge(&mut service.value, own, removals);
        service.value.span = span;
    }
}

/// Takes the tombstones away, and warns of those that removed nothing; numbered entries keep theirs.
pub(super) fn bury(root: &mut Node, removals: &Removals, problems: &mut Problems) {
    let Some(entries) = root.entries_mut() else {
        return;
    };
    for entry in entries.iter_mut() {
        if NUMBERED.contains(&entry.key.as_str()) {
            let slots = entry.value.entries_mut().map(Vec::as_mut_slice).unwrap_or_default();
            slots.iter_mut().for_each(|slot| bury_below(&mut slot.value, removals, problems));
        } else {
            bury_below(&mut entry.value, removals, problems);
        }
    }
    remove_nulls(entries, removals, problems);
}

fn bury_below(node: &mut Node, removals: &Removals, problems: &mut Problems) {
    match &mut node.value {
        Value::Object(entries) => {
            entries.iter_mut().for_each(|entry| bury_below(&mut entry.value, removals, problems));
            remove_nulls(entries, removals, problems);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| bury_below(item, removals, problems)),
        _ => {}
    }
}

fn remove_nulls(entries: &mut Vec<Entry>, removals: &Removals, problems: &mut Problems) {
    entries.retain(|entry| {
        let is_tombstone = matches!(entry.value.value, Value::Null);
        if is_tombstone && !removals.0.contains(&entry.value.span) {
            problems.warning(entry.key_span, format!("`{}` is null, which removes nothing here", entry.key));
        }
        !is_tombstone
    });
}
