//! Strings, numbers, truth values, paths, and the values that a string stands for.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Context, Decode};
use crate::manifest::model::{ByteSize, Cpus, InvalidValue, Link, Period, Reference, SwapLimit};
use crate::manifest::model::{
    Command, Condition, EnvFormat, ExposedPort, GpuCount, MountKind, NamespaceMode, Protocol, RestartPolicy, Tmpfs,
};
use crate::manifest::text::node::{Node, Value};
use crate::manifest::text::problem::nearest;
use crate::manifest::text::source::absolute;

impl Decode for String {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::String(text) if text.text.contains('\0') => {
                context.problems.error(node.span, "a NUL character can't be part of a value");
                None
            }
            Value::String(text) => Some(text.text.clone()),
            _ => {
                context.expected(node, "a string");
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
        context.expected(node, "true or false");
        None
    }
}

/// The text of a number: a JSON number, or a string that a variable went into.
fn number_text<'n>(node: &'n Node, wanted: &str, context: &mut Context<'_>) -> Option<&'n str> {
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
    ($($type:ty => $wanted:literal),* $(,)?) => {$(
        impl Decode for $type {
            fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
                let text = number_text(node, $wanted, context)?;
                let number = text.parse().ok();
                if number.is_none() {
                    context.problems.error(node.span, format!("expected {}, found {text}", $wanted));
                }
                number
            }
        }
    )*};
}

decode_integer! {
    u16 => "a whole number from 0 to 65535",
    u32 => "a whole number from 0",
    i64 => "a whole number",
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
                context.expected(node, "a string, a number or a truth value");
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
            context.problems.error(node.span, error.to_string());
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
        let error = format!("`{reference}` names an image by a registry's digest, which no engine knows after a load");
        context.problems.error_with_help(node.span, error, format!("write the tag alone: `{without}`"));
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
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("one of: {}", words.join(", ")),
    };
    context.problems.error_with_help(node.span, format!("`{text}` is not known here"), help);
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
            context.problems.error(node.span, "a path can't be empty");
            return None;
        }
        let path = match (text.strip_prefix('~'), &context.home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
            _ => text,
        };
        Some(absolute(&context.sources.file(node.span.file).folder, Path::new(&path)))
    }
}
