//! Lists of `name=value` to objects, before variables are filled in: the name is known as it is written, so that another
//! file can override a value whose variable is not set.

use std::collections::HashSet;

use crate::manifest::steps::variables::{Variables, escape_dollars_of, fill_in};
use crate::manifest::text::node::{Entry, Node, Text, Value};
use crate::manifest::text::problem::{Problems, Severity};

/// What splitting needs beside the nodes.
pub(in crate::manifest) struct Splitting<'a> {
    pub variables: &'a Variables,
    pub problems: &'a mut Problems,
    /// What strings with variables have come to so far.
    pub growth: &'a mut usize,
}

/// What a pair without `=` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alone {
    /// An error: dpl takes nothing from its own environment unless it is written.
    Environment,
    /// A label with an empty value.
    Empty,
    /// An error: an option has a value.
    Option,
}

/// Splits every list of pairs of a whole file.
pub(in crate::manifest) fn split_lists(root: &mut Node, splitting: &mut Splitting<'_>) {
    if let Some(defaults) = root.get_mut("defaults") {
        service(defaults, splitting);
    }
    for entry in entries(root, "services") {
        service(&mut entry.value, splitting);
    }
    for section in ["networks", "volumes"] {
        for entry in entries(root, section) {
            split(&mut entry.value, "labels", Alone::Empty, splitting);
            split(&mut entry.value, "driver_opts", Alone::Option, splitting);
        }
    }
}

fn entries<'n>(root: &'n mut Node, section: &str) -> &'n mut [Entry] {
    root.get_mut(section).and_then(Node::entries_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

fn service(node: &mut Node, splitting: &mut Splitting<'_>) {
    split(node, "environment", Alone::Environment, splitting);
    split(node, "labels", Alone::Empty, splitting);
    split(node, "annotations", Alone::Empty, splitting);
    split(node, "sysctls", Alone::Option, splitting);
    if let Some(logging) = node.get_mut("logging") {
        split(logging, "options", Alone::Option, splitting);
    }
    if let Some(hosts) = node.get_mut("extra_hosts") {
        extra_hosts(hosts, splitting);
    }
}

/// A list of `name=value` becomes an object.
fn split(parent: &mut Node, key: &str, alone: Alone, splitting: &mut Splitting<'_>) {
    let Some(node) = parent.get_mut(key) else {
        return;
    };
    let Value::Array(items) = &mut node.value else {
        return;
    };
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
    let mut seen: HashSet<String> = HashSet::with_capacity(items.len());
    for item in items.iter_mut() {
        let span = item.span;
        let Some(text) = written(item, &['='], "NAME=value", splitting) else {
            continue;
        };
        let (name, value) = match (text.split_once('='), alone) {
            (Some((name, value)), _) => (name, value),
            (None, Alone::Empty) => (text.as_str(), ""),
            (None, Alone::Environment) => {
                let help = message!("help-env-own", text = text);
                splitting.problems.error_with_help(span, message!("long-no-value", text = text), help);
                continue;
            }
            (None, Alone::Option) => {
                let help = message!("help-env-value", text = text);
                splitting.problems.error_with_help(span, message!("long-no-value", text = text), help);
                continue;
            }
        };
        if !seen.insert(name.to_owned()) {
            splitting.problems.error(span, message!("long-twice", name = name));
        } else {
            entries.push(Entry { key: name.to_owned(), key_span: span, value: Node::text(span, value) });
        }
    }
    node.value = Value::Object(entries);
}

/// `name=address` or `name:address` becomes a name with its addresses.
fn extra_hosts(node: &mut Node, splitting: &mut Splitting<'_>) {
    let Value::Array(items) = &mut node.value else {
        return;
    };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items.iter_mut() {
        let span = item.span;
        let Some(text) = written(item, &['=', ':'], "NAME=ADDRESS", splitting) else {
            continue;
        };
        let Some((name, address)) = text.split_once(['=', ':']) else {
            splitting.problems.error(span, message!("long-expected-pair"));
            continue;
        };
        let address = Node::text(span, address);
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
}

/// An item as it is written. One whose name has a variable in it is filled in now, and its dollars are doubled again, since
/// values are filled in later; where that can't be done nothing could override it, and it is reported.
fn written(item: &mut Node, separators: &[char], wanted: &str, splitting: &mut Splitting<'_>) -> Option<String> {
    let has_variable_name = |text: &Text| text.text.split(separators).next().unwrap_or_default().contains('$');
    match &item.value {
        Value::String(text) if !has_variable_name(text) => return Some(text.text.clone()),
        Value::String(_) => fill_in(item, splitting.variables, splitting.growth),
        Value::Invalid => return None,
        _ => {
            splitting.problems.error(item.span, message!("decode-expected", wanted = wanted, found = item.kind()));
            return None;
        }
    }
    match &item.value {
        Value::String(text) => Some(escape_dollars_of(&text.text)),
        Value::Unresolved { message, help } => {
            splitting.problems.add(Severity::Error, Some(item.span), message.clone(), help.clone());
            None
        }
        _ => None,
    }
}
