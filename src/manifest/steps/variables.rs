//! `${…}` in strings, in Compose's meaning but for one rule: a variable without a value is an error, never an empty
//! string.

use std::collections::BTreeMap;

use crate::manifest::text::node::{Node, Text, Value};

/// Where variables get their values: the process's environment first, then the manifest's `env_file`s.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    process: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

/// The most bytes that variables may add to a manifest.
const LARGEST_GROWTH: usize = 1 << 20;

/// `${A:-${B:-…}}` deeper than this is no honest manifest.
const DEEPEST_NESTING: usize = 16;

impl Variables {
    /// `process` is the environment that the program runs in.
    pub fn new(process: BTreeMap<String, String>) -> Self {
        Self { process, files: BTreeMap::new() }
    }

    /// The environment of this process, without what is not UTF-8.
    pub fn of_process() -> Self {
        let pairs = std::env::vars_os();
        Self::new(
            pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect(),
        )
    }

    /// Adds the lines of an `env_file`; later files win over earlier ones, the process over all.
    pub(in crate::manifest) fn add_file(&mut self, lines: impl IntoIterator<Item = (String, String)>) {
        self.files.extend(lines);
    }

    /// A variable's value, empty or not.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.process.get(name).or_else(|| self.files.get(name)).map(String::as_str)
    }
}

/// Why a string can't be filled in.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    message: String,
    help: Option<String>,
}

/// Fills the variables of every string below `node` in. What has no value becomes [`Value::Unresolved`].
pub(in crate::manifest) fn fill_in(node: &mut Node, variables: &Variables, growth: &mut usize) {
    match &mut node.value {
        Value::String(text) if text.text.contains('$') => {
            let filled = if *growth > LARGEST_GROWTH {
                Err(Failure { message: "variables make the manifest larger than 1 MiB".to_owned(), help: None })
            } else {
                fill_text(&text.text, variables, 0)
            };
            node.value = match filled {
                Ok(filled) => {
                    *growth += filled.len();
                    let from_variable = filled != text.text.replace("$$", "$");
                    Value::String(Text { text: filled, from_variable })
                }
                Err(failure) => Value::Unresolved { message: failure.message, help: failure.help },
            };
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill_in(item, variables, growth)),
        Value::Object(entries) => entries.iter_mut().for_each(|entry| fill_in(&mut entry.value, variables, growth)),
        _ => {}
    }
}

fn fill_text(text: &str, variables: &Variables, depth: usize) -> Result<String, Failure> {
    let wrong = |message: String| Failure { message, help: Some("write `$$` for a dollar sign".to_owned()) };
    if depth > DEEPEST_NESTING {
        return Err(wrong("variables are nested too deeply".to_owned()));
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        filled.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            filled.push('$');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let end = closing_brace(tail).ok_or_else(|| wrong("a `${` has no closing brace".to_owned()))?;
            filled.push_str(&expression(&tail[..end], variables, depth)?);
            rest = &tail[end + 1..];
        } else {
            let end = name_length(rest);
            if end == 0 {
                return Err(wrong("a single `$` is neither a variable nor a dollar sign".to_owned()));
            }
            filled.push_str(&value_of(&rest[..end], variables)?);
            rest = &rest[end..];
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Where the brace that was opened closes; braces in a default may nest.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(index);
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return 0;
    }
    text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_').unwrap_or(text.len())
}

/// What stands between the braces: `NAME`, or `NAME` with `:-`, `-`, `:?`, `?`, `:+` or `+` and a word.
fn expression(text: &str, variables: &Variables, depth: usize) -> Result<String, Failure> {
    let (name, operation) = text.split_at(name_length(text));
    if name.is_empty() {
        let help = Some("write `$$` for a dollar sign".to_owned());
        return Err(Failure { message: format!("`${{{text}}}` names no variable"), help });
    }
    let value = variables.get(name);
    let (empty_counts_as_unset, operation) = match operation.strip_prefix(':') {
        Some(operation) => (true, operation),
        None => (false, operation),
    };
    let present = value.filter(|value| !(empty_counts_as_unset && value.is_empty()));
    let word = operation.get(1..).unwrap_or_default();
    match operation.chars().next() {
        None if !empty_counts_as_unset => value_of(name, variables),
        Some('-') => present.map_or_else(|| fill_text(word, variables, depth + 1), |value| Ok(value.to_owned())),
        Some('?') => match present {
            Some(value) => Ok(value.to_owned()),
            None => {
                let why = fill_text(word, variables, depth + 1)?;
                let message = if why.is_empty() {
                    format!("the variable {name} has no value")
                } else {
                    format!("the variable {name} has no value: {why}")
                };
                Err(Failure { message, help: None })
            }
        },
        Some('+') => {
            if present.is_some() {
                fill_text(word, variables, depth + 1)
            } else {
                Ok(String::new())
            }
        }
        _ => {
            let message = format!("`${{{text}}}` is no variable expression");
            Err(Failure { message, help: Some("write `${NAME}`, `${NAME:-default}` or `${NAME:?why}`".to_owned()) })
        }
    }
}

fn value_of(name: &str, variables: &Variables) -> Result<String, Failure> {
    match variables.get(name) {
        Some(value) if !value.is_empty() => Ok(value.to_owned()),
        _ => Err(Failure {
            message: format!("the variable {name} has no value"),
            help: Some(format!("set it in the environment or in an env_file, or write `${{{name}:-default}}`")),
        }),
    }
}

/// Doubles the dollars of every string, so that reading a printed manifest gives the same values.
pub(in crate::manifest) fn escape_dollars(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.contains('$') => *text = text.replace('$', "$$"),
        serde_json::Value::Array(items) => items.iter_mut().for_each(escape_dollars),
        serde_json::Value::Object(entries) => entries.values_mut().for_each(escape_dollars),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        let process = [("HOST", "127.0.0.1"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        fill_text(text, &Variables::new(process.into()), 0).map_err(|failure| failure.message)
    }

    #[test]
    fn compose_forms_have_their_compose_meaning() {
        for (text, filled) in [
            ("http://${HOST}:80", "http://127.0.0.1:80"),
            ("$HOST/x", "127.0.0.1/x"),
            ("${NONE:-a}", "a"),
            ("${EMPTY:-a}", "a"),
            ("${EMPTY-a}", ""),
            ("${NONE:-}", ""),
            ("${NONE:-${HOST}}", "127.0.0.1"),
            ("${HOST:+yes}", "yes"),
            ("${NONE:+yes}", ""),
            ("cost: 5$$", "cost: 5$"),
            ("$${HOST}", "${HOST}"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn a_variable_without_value_is_never_an_empty_string() {
        assert_eq!(fill("${NONE}").unwrap_err(), "the variable NONE has no value");
        assert_eq!(fill("${EMPTY}").unwrap_err(), "the variable EMPTY has no value");
        assert_eq!(fill("${NONE:?ask the site}").unwrap_err(), "the variable NONE has no value: ask the site");
    }

    #[test]
    fn malformed_expressions_say_so() {
        for text in ["${", "${}", "$", "a$ b", "${HOST!}", "${1A}", "${HOST:}", "$1"] {
            assert!(fill(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endless_nesting_ends() {
        let text = format!("{}x{}", "${NONE:-".repeat(100), "}".repeat(100));
        assert!(fill(&text).is_err());
    }
}
