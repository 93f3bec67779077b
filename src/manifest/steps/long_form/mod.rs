//! Short forms to long ones, before files are merged: lists of pairs become objects, so that they merge by key, and
//! strings that stand for something become what they stand for.
//!
//! A string whose variable has no value stays as it is: it is an error only if nothing overrides it.

mod mounts;
mod ports;

use crate::manifest::text::node::{Entry, Node, Text, Value};
use crate::manifest::text::problem::{Problems, Severity};

/// What the long form needs beside the nodes.
pub(in crate::manifest) struct Expansion<'a> {
    pub problems: &'a mut Problems,
    /// How many more values ranges of ports may make: `1-65535` a thousand times is an attack.
    pub ports_left: usize,
}

/// The most ports that ranges may stand for in one manifest.
pub(in crate::manifest) const MOST_PORTS: usize = 10_000;

/// Brings a whole file to its long form.
pub(in crate::manifest) fn expand(root: &mut Node, expansion: &mut Expansion<'_>) {
    if let Some(defaults) = root.get_mut("defaults") {
        service(defaults, expansion);
    }
    for entry in root.get_mut("services").and_then(Node::entries_mut).map(Vec::as_mut_slice).unwrap_or_default() {
        service(&mut entry.value, expansion);
    }
    for section in ["networks", "volumes"] {
        for entry in root.get_mut(section).and_then(Node::entries_mut).map(Vec::as_mut_slice).unwrap_or_default() {
            for key in ["labels", "driver_opts"] {
                if let Some(node) = entry.value.get_mut(key) {
                    pairs(node, '=', expansion);
                }
            }
        }
    }
}

type Rule = fn(&mut Node, &mut Expansion<'_>);

/// How each field of a service that has a short form gets its long one.
const RULES: [(&str, Rule); 19] = [
    ("command", words),
    ("entrypoint", words),
    ("environment", |node, expansion| pairs(node, '=', expansion)),
    ("labels", |node, expansion| pairs(node, '=', expansion)),
    ("sysctls", |node, expansion| pairs(node, '=', expansion)),
    ("env_file", env_files),
    ("ports", ports::published),
    ("expose", ports::exposed),
    ("volumes", mounts::volumes),
    ("devices", mounts::devices),
    ("tmpfs", |node, _| listed(node)),
    ("dns", |node, _| listed(node)),
    ("networks", |node, _| names(node, |_| Vec::new())),
    ("depends_on", |node, _| names(node, |name| vec![("condition", Node::text(name.span, "service_started"))])),
    ("healthcheck", healthcheck),
    ("gpus", gpus),
    ("ulimits", ulimits),
    ("extra_hosts", extra_hosts),
    ("logging", |node, expansion| {
        if let Some(options) = node.get_mut("options") {
            pairs(options, '=', expansion);
        }
    }),
];

fn service(node: &mut Node, expansion: &mut Expansion<'_>) {
    for (key, rule) in RULES {
        if let Some(field) = node.get_mut(key) {
            rule(field, expansion);
        }
    }
}

/// A string is split as a shell splits words.
fn words(node: &mut Node, expansion: &mut Expansion<'_>) {
    let span = node.span;
    let Some(text) = node.as_text() else {
        return;
    };
    node.value = match shell_words::split(text) {
        Ok(words) => Value::Array(words.into_iter().map(|word| Node::text(span, word)).collect()),
        Err(_) => {
            expansion.problems.error(span, "a quote in this command has no end");
            Value::Invalid
        }
    };
}

/// A list of `name=value` becomes an object.
fn pairs(node: &mut Node, separator: char, expansion: &mut Expansion<'_>) {
    let Value::Array(items) = &mut node.value else {
        return;
    };
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
    for item in items.iter_mut() {
        let span = item.span;
        match &item.value {
            Value::String(Text { text, from_variable }) => match text.split_once(separator) {
                Some((name, value)) => {
                    let value = Text { text: value.to_owned(), from_variable: *from_variable };
                    let value = Node::new(span, Value::String(value));
                    if entries.iter().any(|entry| entry.key == name) {
                        expansion.problems.error(span, format!("`{name}` is there twice in the same list"));
                    } else {
                        entries.push(Entry { key: name.to_owned(), key_span: span, value });
                    }
                }
                None => {
                    let help = format!("write `{text}=${{{text}}}` for the value of dpl's own environment");
                    expansion.problems.error_with_help(span, format!("`{text}` has no value"), help);
                }
            },
            Value::Unresolved { .. } => {
                // Its name can't be known, so nothing could override it.
                let value = std::mem::replace(&mut item.value, Value::Invalid);
                if let Value::Unresolved { message, help } = value {
                    expansion.problems.add(Severity::Error, Some(span), message, help);
                }
            }
            _ => expansion.problems.error(span, format!("expected NAME=value, found {}", item.kind())),
        }
    }
    node.value = Value::Object(entries);
}

/// A list of names becomes an object with `value` for each.
fn names(node: &mut Node, value: fn(&Node) -> Vec<(&'static str, Node)>) {
    let Value::Array(items) = &node.value else {
        return;
    };
    if !items.iter().all(|item| item.as_text().is_some()) {
        // Decoding reports the item that is no name.
        return;
    }
    let entries = items.iter().map(|item| Entry {
        key: item.as_text().unwrap_or_default().to_owned(),
        key_span: item.span,
        value: Node::object(item.span, value(item)),
    });
    node.value = Value::Object(entries.collect());
}

/// A single string becomes a list of one.
fn listed(node: &mut Node) {
    if matches!(node.value, Value::String(_) | Value::Unresolved { .. }) {
        let item = Node::new(node.span, std::mem::replace(&mut node.value, Value::Null));
        node.value = Value::Array(vec![item]);
    }
}

fn env_files(node: &mut Node, _: &mut Expansion<'_>) {
    listed(node);
    let Value::Array(items) = &mut node.value else {
        return;
    };
    for item in items.iter_mut().filter(|item| item.as_text().is_some()) {
        let path = item.clone();
        *item = Node::object(item.span, vec![("path", path)]);
    }
}

/// `test` as a string is a line for the shell.
fn healthcheck(node: &mut Node, _: &mut Expansion<'_>) {
    let Some(test) = node.get_mut("test") else {
        return;
    };
    if test.as_text().is_some() {
        let line = test.clone();
        test.value = Value::Array(vec![Node::text(test.span, "CMD-SHELL"), line]);
    }
}

/// `"all"` or a number becomes a request for so many; one request becomes a list of one.
fn gpus(node: &mut Node, _: &mut Expansion<'_>) {
    match &node.value {
        Value::String(_) | Value::Number(_) => {
            let count = node.clone();
            node.value = Value::Array(vec![Node::object(node.span, vec![("count", count)])]);
        }
        Value::Object(_) => node.value = Value::Array(vec![node.clone()]),
        _ => {}
    }
}

/// A number is both the soft and the hard limit.
fn ulimits(node: &mut Node, _: &mut Expansion<'_>) {
    for entry in node.entries_mut().map(Vec::as_mut_slice).unwrap_or_default() {
        if matches!(entry.value.value, Value::Number(_) | Value::String(_)) {
            let limit = entry.value.clone();
            entry.value = Node::object(limit.span, vec![("soft", limit.clone()), ("hard", limit)]);
        }
    }
}

/// `name=address` or `name:address` becomes a name with its addresses.
fn extra_hosts(node: &mut Node, expansion: &mut Expansion<'_>) {
    if let Value::Array(items) = &node.value {
        let mut entries: Vec<Entry> = Vec::new();
        for item in items {
            let span = item.span;
            let Some((name, address)) = item.as_text().and_then(|text| text.split_once(['=', ':'])) else {
                expansion.problems.error(span, "expected `NAME=ADDRESS`");
                continue;
            };
            let address = Node::text(span, address.trim_matches(['[', ']']));
            match entries.iter_mut().find(|entry| entry.key == name).map(|entry| &mut entry.value.value) {
                Some(Value::Array(addresses)) => addresses.push(address),
                _ => entries.push(Entry {
                    key: name.to_owned(),
                    key_span: span,
                    value: Node::new(span, Value::Array(vec![address])),
                }),
            }
        }
        node.value = Value::Object(entries);
        return;
    }
    for entry in node.entries_mut().map(Vec::as_mut_slice).unwrap_or_default() {
        listed(&mut entry.value);
    }
}
