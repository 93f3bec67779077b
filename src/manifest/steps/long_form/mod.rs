//! Short forms to long ones, before files are merged: lists of pairs become objects, so that they merge by key, and
//! strings that stand for something become what they stand for.
//!
//! A string whose variable has no value stays as it is: it is an error only if nothing overrides it.

mod deploy;
mod files;
mod mounts;
mod pairs;
mod ports;

pub(in crate::manifest) use files::grant_files;
pub(in crate::manifest) use pairs::{Splitting, split_lists};

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

/// Brings a whole file to its long form. Variables are filled in, and [`split_lists`] has run before that.
pub(in crate::manifest) fn expand(root: &mut Node, expansion: &mut Expansion<'_>) {
    if let Some(defaults) = root.get_mut("defaults") {
        service(defaults, expansion);
    }
    for entry in root.get_mut("services").and_then(Node::entries_mut).map(Vec::as_mut_slice).unwrap_or_default() {
        service(&mut entry.value, expansion);
    }
}

type Rule = fn(&mut Node, &mut Expansion<'_>);

/// How each field of a service that has a short form gets its long one.
const RULES: [(&str, Rule); 17] = [
    ("command", words),
    ("entrypoint", words),
    ("env_file", env_files),
    ("ports", ports::published),
    ("expose", ports::exposed),
    ("volumes", mounts::volumes),
    ("devices", mounts::devices),
    ("tmpfs", |node, _| listed(node)),
    ("dns", |node, _| listed(node)),
    ("dns_search", |node, _| listed(node)),
    ("dns_opt", |node, _| listed(node)),
    ("networks", |node, expansion| names(node, |_| Vec::new(), expansion)),
    ("depends_on", |node, expansion| {
        names(node, |name| vec![("condition", Node::text(name.span, "service_started"))], expansion);
    }),
    ("healthcheck", healthcheck),
    ("gpus", gpus),
    ("ulimits", ulimits),
    ("extra_hosts", extra_hosts),
];

fn service(node: &mut Node, expansion: &mut Expansion<'_>) {
    deploy::expand(node, expansion);
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
            expansion.problems.error(span, message!("long-open-quote"));
            Value::Invalid
        }
    };
}

/// A list of names becomes an object with `value` for each.
fn names(node: &mut Node, value: fn(&Node) -> Vec<(&'static str, Node)>, expansion: &mut Expansion<'_>) {
    let Value::Array(items) = &mut node.value else {
        return;
    };
    let mut entries = Vec::with_capacity(items.len());
    for item in items.iter_mut() {
        let span = item.span;
        match std::mem::replace(&mut item.value, Value::Invalid) {
            Value::String(Text { text, .. }) => {
                entries.push(Entry { key: text, key_span: span, value: Node::object(span, value(item)) });
            }
            // Without its name nothing could override it.
            Value::Unresolved { message, help } => {
                expansion.problems.add(Severity::Error, Some(span), message, help);
            }
            Value::Invalid => {}
            other => {
                let kind = Node::new(span, other).kind();
                expansion.problems.error(span, message!("long-expected-name", kind = kind));
            }
        }
    }
    node.value = Value::Object(entries);
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

/// A single address becomes a list of one; brackets around an IPv6 address are no part of it.
fn extra_hosts(node: &mut Node, _: &mut Expansion<'_>) {
    for entry in node.entries_mut().map(Vec::as_mut_slice).unwrap_or_default() {
        listed(&mut entry.value);
        let Value::Array(addresses) = &mut entry.value.value else {
            continue;
        };
        for address in addresses {
            if let Value::String(text) = &mut address.value {
                text.text = text.text.trim_matches(['[', ']']).to_owned();
            }
        }
    }
}
