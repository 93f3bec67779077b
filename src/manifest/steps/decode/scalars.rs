//! Strings, numbers, truth values, paths, and the values that a string stands for.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Context, Decode};
use crate::manifest::model::{
    ByteSize, Command, Condition, Cpus, DeliveryMode, EnvFormat, ExposedPort, FileMode, GpuCount, InvalidValue, Link,
    MountKind, NamespaceMode, Owner, Period, Protocol, Reference, RestartPolicy, SwapLimit, Tmpfs,
};
use crate::manifest::text::node::{Node, Value};
use crate::manifest::text::problem::nearest;
use crate::manifest::text::source::absolute;
use crate::report::{Listed, Message, Told as _};

impl Decode for String {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::String(text) if text.text.contains('\0') => {
                context.problems.error(node.span, message!("env-nul"));
                None
            }
            Value::String(text) => Some(text.text.clone()),
            _ => {
                context.expected(node, message!("kind-string"));
                None
            }
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => return Some(*value),
            Value::String(text) if text.from_variable => match text.text.as_str() {
                "true" | "yes" | "on" | "1" => return Some(true),
                "false" | "no" | "off" | "0" => return Some(false),
                _ => {}
            },
            _ => {}
        }
        context.expected(node, message!("kind-true-false"));
        None
    }
}

/// The text of a number: a JSON number, or a string that a variable went into.
fn number_text<'n>(node: &'n Node, wanted: Message, context: &mut Context<'_>) -> Option<&'n str> {
    match &node.value {
        Value::Number(number) => Some(number),
        Value::String(text) if text.from_variable => Some(text.text.trim()),
        _ => {
            context.expected(node, wanted);
            None
        }
    }
}

macro_rules! decode_integer {
    ($($type:ty => $wanted:expr),* $(,)?) => {$(
        impl Decode for $type {
            fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
                let text = number_text(node, $wanted, context)?;
                let number = text.parse().ok();
                if number.is_none() {
                    context.problems.error(node.span, message!("decode-expected", wanted = $wanted, found = text));
                }
                number
            }
        }
    )*};
}

decode_integer! {
    u16 => message!("kind-u16"),
    u32 => message!("kind-u32"),
    i64 => message!("kind-i64"),
}

/// Any scalar as text, as Compose takes values of `environment`, `labels` and options.
pub(super) struct Scalar(pub String);

impl Decode for Scalar {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Number(number) => Some(Self(number.clone())),
            Value::Bool(value) => Some(Self(value.to_string())),
            Value::String(_) => String::decode(node, context).map(Self),
            _ => {
                context.expected(node, message!("kind-scalar"));
                None
            }
        }
    }
}

/// Reads a value from its text: a string, or also a number where that has a meaning.
fn from_text<T: FromStr<Err = InvalidValue>>(node: &Node, context: &mut Context<'_>, numbers: Numbers) -> Option<T> {
    let text = match (&node.value, numbers) {
        (Value::Number(number), Numbers::Allowed) => number.clone(),
        _ => String::decode(node, context)?,
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            context.problems.error(node.span, error.message());
            None
        }
    }
}

#[derive(Clone, Copy)]
enum Numbers {
    Allowed,
    Refused,
}

macro_rules! decode_text {
    ($numbers:ident: $($type:ty),* $(,)?) => {$(
        impl Decode for $type {
            fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
                from_text(node, context, Numbers::$numbers)
            }
        }
    )*};
}

decode_text!(Allowed: ByteSize, SwapLimit, Cpus, GpuCount, ExposedPort, Period);
decode_text!(Refused: Link, RestartPolicy, NamespaceMode, Protocol, Tmpfs);
decode_text!(Refused: FileMode, Owner);

impl Decode for Reference {
    /// Without a digest: an engine knows a registry's digest only of what it pulled or built itself, so that after a load
    /// no such reference would be found.
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let reference: Self = from_text(node, context, Numbers::Refused)?;
        if reference.digest().is_none() {
            return Some(reference);
        }
        let without = match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.name()),
            None => format!("{}:TAG", reference.name()),
        };
        let error = message!("decode-image-digest", reference = reference);
        context.problems.error_with_help(node.span, error, message!("help-tag-alone", without = without));
        None
    }
}

impl Decode for Command {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let words: Vec<Scalar> = Vec::decode(node, context)?;
        Some(Self(words.into_iter().map(|word| word.0).collect()))
    }
}

/// A word out of a fixed choice.
fn choice<T: Copy>(node: &Node, choices: &[(&'static str, T)], context: &mut Context<'_>) -> Option<T> {
    let text = String::decode(node, context)?;
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let help = match nearest(&text, words.iter().copied()) {
        Some(meant) => message!("help-meant", meant = meant),
        None => message!("help-one-of", words = Listed::of(&words)),
    };
    context.problems.error_with_help(node.span, message!("decode-unknown-word", text = text), help);
    None
}

impl Decode for Condition {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let choices = [
            ("service_started", Self::ServiceStarted),
            ("service_healthy", Self::ServiceHealthy),
            ("service_completed_successfully", Self::ServiceCompletedSuccessfully),
        ];
        choice(node, &choices, context)
    }
}

impl Decode for EnvFormat {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        choice(node, &[("dotenv", Self::Dotenv), ("raw", Self::Raw)], context)
    }
}

impl Decode for DeliveryMode {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        choice(node, &[("mirror", Self::Mirror), ("merge", Self::Merge), ("add", Self::Add)], context)
    }
}

impl Decode for MountKind {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        choice(node, &[("bind", Self::Bind), ("volume", Self::Volume), ("tmpfs", Self::Tmpfs)], context)
    }
}

/// A path on this machine, relative to the folder of the file that it is written in; `~/` is the home folder.
impl Decode for PathBuf {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, context)?;
        if text.is_empty() {
            context.problems.error(node.span, message!("decode-empty-path"));
            return None;
        }
        let path = match (text.strip_prefix('~'), &context.home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
            _ => text,
        };
        Some(absolute(&context.sources.file(node.span.file).folder, Path::new(&path)))
    }
}
