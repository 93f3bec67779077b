//! Nodes to typed values, with every error and its place, not only the first.
//!
//! A field that is wrong is reported and replaced by its default; the manifest that comes of it never leaves the
//! reader when anything was reported.

mod closed_words;
mod delivered_folder;
mod devices;
mod examples;
mod health;
mod mounts;
mod ports;
mod scalars;
mod service;
mod stack;

pub(in crate::manifest) use stack::decode_manifest;

use indexmap::IndexMap;

use crate::manifest::text::node::{Entry, Node, Value};
use crate::manifest::text::problem::{Problems, Severity, nearest};
use crate::manifest::text::source::{Sources, Span};
use crate::report::Message;

/// What decoding needs beside the node.
pub(in crate::manifest) struct Context<'a> {
    pub sources: &'a Sources,
    pub problems: &'a mut Problems,
    /// For `~` in paths.
    pub home: Option<String>,
    /// The key whose value is read, where an example of it helps.
    pub key: Option<&'static str>,
}

/// A value that can be read from a node. `None` means that the problem is reported.
pub(in crate::manifest) trait Decode: Sized {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self>;
}

impl Context<'_> {
    /// Reports that a node is of the wrong kind, unless it was reported already.
    pub(in crate::manifest) fn expected(&mut self, node: &Node, wanted: Message) {
        match &node.value {
            Value::Invalid => {}
            Value::Unresolved { message, help } => {
                self.problems.add(Severity::Error, Some(node.span), message.clone(), help.clone());
            }
            _ => {
                let help = self.key.and_then(|key| examples::example(key, &wanted));
                let help = help.map(|example| message!("help-example", example = example));
                let message = message!("decode-expected", wanted = wanted, found = node.kind());
                self.problems.add(Severity::Error, Some(node.span), message, help);
            }
        }
    }

    /// Reads the value of a key.
    pub(in crate::manifest) fn within<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.key.replace(key);
        let value = read(self);
        self.key = outer;
        value
    }
}

/// The fields of an object: each is asked for once, and what nobody asked for is unknown.
pub(in crate::manifest) struct Fields<'n> {
    span: Span,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    pub(in crate::manifest) fn open(node: &'n Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Object(entries) => {
                // What stands in it belongs to its own keys.
                context.key = None;
                Some(Self { span: node.span, entries, known: Vec::new() })
            }
            _ => {
                context.expected(node, message!("kind-object"));
                None
            }
        }
    }

    pub(in crate::manifest) fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub(in crate::manifest) fn optional<T: Decode>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> Option<T> {
        self.node(key).and_then(|node| context.within(key, |context| T::decode(node, context)))
    }

    pub(in crate::manifest) fn field<T: Decode + Default>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> T {
        self.optional(key, context).unwrap_or_default()
    }

    pub(in crate::manifest) fn field_or<T: Decode>(
        &mut self,
        key: &'static str,
        default: T,
        context: &mut Context<'_>,
    ) -> T {
        self.optional(key, context).unwrap_or(default)
    }

    pub(in crate::manifest) fn required<T: Decode + Default>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> T {
        match self.node(key) {
            Some(node) => context.within(key, |context| T::decode(node, context)).unwrap_or_default(),
            None => {
                context.problems.error(self.span, message!("decode-missing", key = key));
                T::default()
            }
        }
    }

    /// Reports every key that was not asked for, except those that begin with `x-`.
    pub(in crate::manifest) fn finish(self, context: &mut Context<'_>) {
        for entry in self.entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let message = message!("decode-unknown-key", key = entry.key);
            let meant =
                || nearest(&entry.key, self.known.iter().copied()).map(|meant| message!("help-meant", meant = meant));
            match of_compose(&entry.key, &self.known).or_else(meant) {
                Some(help) => context.problems.error_with_help(entry.key_span, message, help),
                None => context.problems.error(entry.key_span, message),
            }
        }
    }
}

/// What to do instead of a key that Compose files have and manifests do not.
fn of_compose(key: &str, known: &[&str]) -> Option<Message> {
    let is_service = known.contains(&"image");
    Some(match key {
        "build" | "develop" if is_service => message!("help-no-build"),
        "pull_policy" if is_service => message!("help-no-pull"),
        "volumes_from" if is_service => message!("help-no-volumes-from"),
        "extends" if is_service => message!("help-no-extends"),
        "name" if known.contains(&"project") => message!("help-meant", meant = "project"),
        "version" if known.contains(&"project") => message!("help-no-version"),
        "include" if known.contains(&"project") => message!("help-no-include"),
        _ => return None,
    })
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Array(items) => {
                let key = context.key;
                let each = items.iter().filter_map(|item| {
                    context.key = key;
                    T::decode(item, context)
                });
                let decoded: Vec<T> = each.collect();
                Some(decoded)
            }
            _ => {
                context.expected(node, message!("kind-list"));
                None
            }
        }
    }
}

impl<T: Decode> Decode for IndexMap<String, T> {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Object(entries) => {
                let key = context.key;
                let each = entries.iter().filter_map(|entry| {
                    context.key = key;
                    Some((entry.key.clone(), T::decode(&entry.value, context)?))
                });
                Some(each.collect())
            }
            _ => {
                context.expected(node, message!("kind-object"));
                None
            }
        }
    }
}
