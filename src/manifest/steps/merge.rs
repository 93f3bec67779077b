//! One manifest over another (RFC 7396, JSON Merge Patch), and `defaults` under every service.
//!
//! Two things differ from the RFC's letter: `null` stays in place until `defaults` has been laid under,
//! since it removes a default too; and a removed service, database or data folder keeps its number.

use std::collections::HashSet;

use crate::manifest::text::node::{Entry, Node, Value};
use crate::manifest::text::problem::Problems;
use crate::manifest::text::source::Span;

/// Objects whose entries are numbered by their place.
pub(in crate::manifest) const NUMBERED: [&str; 3] = ["services", "databases", "data"];

/// What `ready` can try, one of them at a time.
pub(in crate::manifest) const PROBES: [&str; 5] = ["tcp", "http", "log", "running_for", "completed"];

/// What `defaults` may come to in all services together, in bytes: more comes from a manifest that was made to hurt.
const MOST_BYTES: usize = 16 << 20;

/// The nulls that have removed something.
#[derive(Debug, Default)]
pub(in crate::manifest) struct EffectiveNulls(HashSet<Span>);

/// Lays `patch` over `target`.
pub(in crate::manifest) fn merge(target: &mut Node, patch: Node, effective: &mut EffectiveNulls) {
    if matches!(patch.value, Value::Null) && !matches!(target.value, Value::Null) {
        effective.0.insert(patch.span);
    }
    match (&mut target.value, patch) {
        (Value::Object(entries), Node { value: Value::Object(patches), .. }) => {
            for patch in patches {
                match entries.iter_mut().find(|entry| entry.key == patch.key) {
                    Some(entry) => {
                        if patch.key == "ready" {
                            drop_other_probe(&mut entry.value, &patch.value);
                        }
                        entry.key_span = patch.key_span;
                        merge(&mut entry.value, patch.value, effective);
                    }
                    None => entries.push(patch),
                }
            }
        }
        (_, patch) => *target = patch,
    }
}

/// A probe of `ready` takes the place of the one below it: both together would be none.
fn drop_other_probe(target: &mut Node, patch: &Node) {
    let is_probe = |entry: &Entry| PROBES.contains(&entry.key.as_str()) && !matches!(entry.value.value, Value::Null);
    if patch.entries().iter().any(is_probe)
        && let Some(entries) = target.entries_mut()
    {
        entries.retain(|entry| !is_probe(entry) || patch.get(&entry.key).is_some());
    }
}

/// Takes `defaults` out of the root and lays it under every service.
pub(in crate::manifest) fn apply_defaults(root: &mut Node, effective: &mut EffectiveNulls, problems: &mut Problems) {
    let Some(entries) = root.entries_mut() else {
        return;
    };
    let Some(place) = entries.iter().position(|entry| entry.key == "defaults") else {
        return;
    };
    let Entry { key_span, value: defaults, .. } = entries.remove(place);
    if !matches!(defaults.value, Value::Object(_)) {
        problems.error(defaults.span, message!("merge-defaults", kind = defaults.kind()));
        return;
    }
    let weight = defaults.weight();
    let mut total = 0;
    let services = root.get_mut("services").and_then(Node::entries_mut).map(Vec::as_mut_slice).unwrap_or_default();
    for service in services.iter_mut().filter(|service| matches!(service.value.value, Value::Object(_))) {
        total += weight;
        if total > MOST_BYTES {
            problems.error(key_span, message!("merge-defaults-large"));
            return;
        }
        let own = std::mem::replace(&mut service.value, defaults.clone());
        let span = own.span;
        merge(&mut service.value, own, effective);
        service.value.span = span;
    }
}

/// Drops the remaining nulls, warning about any that overrode nothing. Nulls directly under `services`, `databases` and `data` stay:
/// they keep the number reserved.
pub(in crate::manifest) fn drop_nulls(root: &mut Node, effective: &EffectiveNulls, problems: &mut Problems) {
    let Some(entries) = root.entries_mut() else {
        return;
    };
    for entry in entries.iter_mut() {
        if NUMBERED.contains(&entry.key.as_str()) {
            let slots = entry.value.entries_mut().map(Vec::as_mut_slice).unwrap_or_default();
            slots.iter_mut().for_each(|slot| drop_nulls_below(&mut slot.value, effective, problems));
        } else {
            drop_nulls_below(&mut entry.value, effective, problems);
        }
    }
    remove_nulls(entries, effective, problems);
}

fn drop_nulls_below(node: &mut Node, effective: &EffectiveNulls, problems: &mut Problems) {
    match &mut node.value {
        Value::Object(entries) => {
            entries.iter_mut().for_each(|entry| drop_nulls_below(&mut entry.value, effective, problems));
            remove_nulls(entries, effective, problems);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_nulls_below(item, effective, problems)),
        _ => {}
    }
}

fn remove_nulls(entries: &mut Vec<Entry>, effective: &EffectiveNulls, problems: &mut Problems) {
    entries.retain(|entry| {
        let is_null = matches!(entry.value.value, Value::Null);
        if is_null && !effective.0.contains(&entry.value.span) {
            problems.warning(entry.key_span, message!("merge-null", key = entry.key));
        }
        !is_null
    });
}
