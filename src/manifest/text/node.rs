//! JSON values that know where they were written.

use super::source::Span;
use crate::report::Message;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manifest) struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::manifest) enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    String(Text),
    Array(Vec<Node>),
    Object(Vec<Entry>),
    /// A string with a variable that has no value: an error only if nothing overrides it.
    Unresolved {
        message: Message,
        help: Option<Message>,
    },
    /// Something wrong that was reported already; readers pass it over in silence.
    Invalid,
}

/// A string; where a variable went into it, numbers and truth values may come out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manifest) struct Text {
    pub text: String,
    pub from_variable: bool,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manifest) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    pub fn new(span: Span, value: Value) -> Self {
        Self { span, value }
    }

    pub fn text(span: Span, text: impl Into<String>) -> Self {
        Self::new(span, Value::String(Text { text: text.into(), from_variable: false }))
    }

    pub fn number(span: Span, number: impl ToString) -> Self {
        Self::new(span, Value::Number(number.to_string()))
    }

    pub fn object(span: Span, entries: Vec<(&str, Node)>) -> Self {
        let entries = entries
            .into_iter()
            .map(|(key, value)| Entry { key: key.to_owned(), key_span: value.span, value })
            .collect();
        Self::new(span, Value::Object(entries))
    }

    /// What a person calls a value of this kind.
    pub fn kind(&self) -> Message {
        match &self.value {
            Value::Null => message!("words", text = "null"),
            Value::Bool(_) => message!("kind-bool"),
            Value::Number(_) => message!("kind-number"),
            Value::String(_) | Value::Unresolved { .. } => message!("kind-string"),
            Value::Array(_) => message!("kind-list"),
            Value::Object(_) => message!("kind-object"),
            Value::Invalid => message!("kind-wrong"),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(&text.text),
            _ => None,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Object(entries) => entries,
            _ => &[],
        }
    }

    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.value {
            Value::Object(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries_mut()?.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// The place of the value at a path of keys and list positions; of the last part of the path that exists, where
    /// it ends early.
    pub fn place(&self, path: &[&str]) -> Span {
        let mut node = self;
        for part in path {
            let next = match &node.value {
                Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => node.get(part),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.span
    }

    /// The place of the key at the end of a path.
    pub fn key_place(&self, path: &[&str]) -> Span {
        let Some((key, parents)) = path.split_last() else {
            return self.span;
        };
        let mut node = self;
        for part in parents {
            match node.get(part) {
                Some(next) => node = next,
                None => return node.span,
            }
        }
        node.entries().iter().find(|entry| entry.key == *key).map_or(node.span, |entry| entry.key_span)
    }

    /// How much memory it takes, about, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + match &self.value {
                Value::Null | Value::Bool(_) | Value::Invalid => 0,
                Value::Number(text) | Value::String(Text { text, .. }) => text.len(),
                Value::Unresolved { message, help } => {
                    message.text_bytes() + help.as_ref().map_or(0, Message::text_bytes)
                }
                Value::Array(items) => items.iter().map(Node::weight).sum(),
                Value::Object(entries) => {
                    entries.iter().map(|entry| size_of::<Entry>() + entry.key.len() + entry.value.weight()).sum()
                }
            }
    }
}
