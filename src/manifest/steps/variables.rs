//! `${…}` in strings, in Compose's meaning but for one rule: a variable without a value is an error, never an empty
//! string.

use std::collections::BTreeMap;

use crate::manifest::text::node::{Node, Text, Value};
use crate::report::Message;

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

    /// What the `env_file`s set.
    pub(in crate::manifest) fn of_files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// A variable's value, empty or not.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.process.get(name).or_else(|| self.files.get(name)).map(String::as_str)
    }
}

/// Why a string can't be filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub message: Message,
    pub help: Option<Message>,
}

/// Whose rules a string is filled in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A variable must have a value that is not empty, and a single `$` is an error.
    Manifest,
    /// A variable must be set, and a single `$` is a dollar, as Compose has it in an `env_file`.
    EnvFile,
}

/// Fills strings in.
pub(super) struct Template<'a> {
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    pub dialect: Dialect,
    /// How many bytes may still come of it: `${A}` a hundred thousand times is an attack.
    pub left: usize,
}

/// Fills the variables of every string below `node` in. What has no value becomes [`Value::Unresolved`]. `growth` is what
/// strings with variables have come to so far.
pub(in crate::manifest) fn fill_in(node: &mut Node, variables: &Variables, growth: &mut usize) {
    match &mut node.value {
        Value::String(text) if text.text.contains('$') => {
            let lookup = |name: &str| variables.get(name).map(str::to_owned);
            let left = LARGEST_GROWTH.saturating_sub(*growth);
            let mut template = Template { lookup: &lookup, dialect: Dialect::Manifest, left };
            let filled = template.fill(&text.text);
            *growth = LARGEST_GROWTH - template.left;
            node.value = match filled {
                Ok(filled) => {
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

/// A failure that `$$` may mend.
fn wrong(message: Message) -> Failure {
    Failure { message, help: Some(message!("variable-dollar")) }
}

fn too_large() -> Failure {
    Failure { message: message!("variable-growth"), help: None }
}

impl Template<'_> {
    /// The text with the values of its variables.
    pub fn fill(&mut self, text: &str) -> Result<String, Failure> {
        // Nothing is looked up any more: what is wrong is known.
        if self.left == 0 { Err(too_large()) } else { self.fill_nested(text, 0) }
    }

    fn fill_nested(&mut self, text: &str, depth: usize) -> Result<String, Failure> {
        if depth > DEEPEST_NESTING {
            return Err(wrong(message!("variable-nested")));
        }
        let mut filled = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            self.push(&mut filled, &rest[..dollar])?;
            rest = &rest[dollar + 1..];
            if let Some(tail) = rest.strip_prefix('$') {
                self.push(&mut filled, "$")?;
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix('{') {
                let end = closing_brace(tail).ok_or_else(|| wrong(message!("variable-brace")))?;
                let value = self.expression(&tail[..end], depth)?;
                self.push(&mut filled, &value)?;
                rest = &tail[end + 1..];
            } else {
                let end = name_length(rest);
                let value = match (end, self.dialect) {
                    (0, Dialect::Manifest) => {
                        return Err(wrong(message!("variable-single-dollar")));
                    }
                    (0, Dialect::EnvFile) => "$".to_owned(),
                    _ => self.value_of(&rest[..end])?,
                };
                self.push(&mut filled, &value)?;
                rest = &rest[end..];
            }
        }
        self.push(&mut filled, rest)?;
        Ok(filled)
    }

    fn push(&mut self, filled: &mut String, more: &str) -> Result<(), Failure> {
        match self.left.checked_sub(more.len()) {
            Some(left) => self.left = left,
            None => {
                self.left = 0;
                return Err(too_large());
            }
        }
        filled.push_str(more);
        Ok(())
    }

    /// What stands between the braces: `NAME`, or `NAME` with `:-`, `-`, `:?`, `?`, `:+` or `+` and a word.
    fn expression(&mut self, text: &str, depth: usize) -> Result<String, Failure> {
        let (name, operation) = text.split_at(name_length(text));
        if name.is_empty() {
            return Err(wrong(message!("variable-no-name", expression = format_args!("${{{text}}}"))));
        }
        let (empty_counts_as_unset, operation) = match operation.strip_prefix(':') {
            Some(operation) => (true, operation),
            None => (false, operation),
        };
        let present = (self.lookup)(name).filter(|value| !(empty_counts_as_unset && value.is_empty()));
        let word = operation.get(1..).unwrap_or_default();
        match (operation.chars().next(), present) {
            (None, _) if !empty_counts_as_unset => self.value_of(name),
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) => self.fill_nested(word, depth + 1),
            (Some('?'), None) => {
                let why = self.fill_nested(word, depth + 1)?;
                let message = match why.is_empty() {
                    true => message!("variable-no-value", name = name),
                    false => message!("variable-no-value-why", name = name, why = why),
                };
                Err(Failure { message, help: None })
            }
            (Some('+'), Some(_)) => self.fill_nested(word, depth + 1),
            (Some('+'), None) => Ok(String::new()),
            _ => Err(Failure {
                message: message!("variable-expression", expression = format_args!("${{{text}}}")),
                help: Some(message!("variable-forms")),
            }),
        }
    }

    fn value_of(&self, name: &str) -> Result<String, Failure> {
        match (self.lookup)(name) {
            Some(value) if !value.is_empty() || self.dialect == Dialect::EnvFile => Ok(value),
            _ => {
                let help = match self.dialect {
                    Dialect::Manifest => message!("variable-set-manifest", name = name),
                    Dialect::EnvFile => message!("variable-set-file", name = name),
                };
                Err(Failure { message: message!("variable-no-value", name = name), help: Some(help) })
            }
        }
    }
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

/// The text with its dollars doubled, so that filling it in gives the same text.
pub(super) fn escape_dollars_of(text: &str) -> String {
    text.replace('$', "$$")
}

/// Doubles the dollars of every string, so that reading a printed manifest gives the same values.
pub(in crate::manifest) fn escape_dollars(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.contains('$') => *text = escape_dollars_of(text),
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
        let variables = Variables::new(process.into());
        let lookup = |name: &str| variables.get(name).map(str::to_owned);
        let mut template = Template { lookup: &lookup, dialect: Dialect::Manifest, left: LARGEST_GROWTH };
        template.fill(text).map_err(|failure| crate::catalogue::Catalogue::english().text(&failure.message))
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
    fn one_string_grows_no_further_than_all_of_them_may() {
        let process = BTreeMap::from([("BIG".to_owned(), "x".repeat(1 << 19))]);
        let span = crate::manifest::text::source::Span { file: 0, start: 0, end: 0 };
        let mut node = Node::text(span, "${BIG}".repeat(100_000));
        let mut growth = 0;
        fill_in(&mut node, &Variables::new(process), &mut growth);
        assert!(matches!(node.value, Value::Unresolved { .. }));
    }

    #[test]
    fn endless_nesting_ends() {
        let text = format!("{}x{}", "${NONE:-".repeat(100), "}".repeat(100));
        assert!(fill(&text).is_err());
    }
}
