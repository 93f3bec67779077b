//! Bytes to nodes: strict JSON (no comments, no trailing commas), with caps, from any bytes at all.

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::node::{Entry, Node, Text, Value};
use super::problem::Problems;
use super::source::Span;

/// Half a MiB is twenty times the largest manifest known; it keeps memory flat whatever is fed in.
pub(in crate::manifest) const LARGEST_TEXT: usize = 512 * 1024;

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The document's root; `None` after a syntax error, which is reported.
pub(in crate::manifest) fn parse(file: usize, text: &str, problems: &mut Problems) -> Option<Node> {
    let span = |range: &Range| Span { file, start: range.start, end: range.end };
    match parse_to_ast(text, &CollectOptions::default(), &STRICT) {
        Ok(parsed) => match parsed.value {
            Some(value) => Some(node(file, value, problems)),
            None => {
                problems.error(Span { file, start: 0, end: text.len().min(1) }, "the file is empty, not a JSON object");
                None
            }
        },
        Err(error) => {
            let mut message = error.kind().to_string();
            if let Some(first) = message.get(..1).map(str::to_lowercase) {
                message.replace_range(..1, &first);
            }
            problems.error(span(&error.range()), format!("this is not valid JSON: {message}"));
            None
        }
    }
}

fn node(file: usize, value: ast::Value<'_>, problems: &mut Problems) -> Node {
    let range = value.range();
    let span = Span { file, start: range.start, end: range.end };
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::NumberLit(literal) => Value::Number(literal.value.to_owned()),
        ast::Value::StringLit(literal) => {
            Value::String(Text { text: literal.value.into_owned(), from_variable: false })
        }
        ast::Value::Array(array) => {
            Value::Array(array.elements.into_iter().map(|element| node(file, element, problems)).collect())
        }
        ast::Value::Object(object) => Value::Object(entries(file, object, problems)),
    };
    Node::new(span, value)
}

fn entries(file: usize, object: ast::Object<'_>, problems: &mut Problems) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(object.properties.len());
    let mut seen = std::collections::HashSet::with_capacity(object.properties.len());
    for property in object.properties {
        let range = property.name.range();
        let key_span = Span { file, start: range.start, end: range.end };
        let key = property.name.into_string();
        let value = node(file, property.value, problems);
        if seen.insert(key.clone()) {
            entries.push(Entry { key, key_span, value });
        } else {
            problems.error(key_span, format!("`{key}` is there twice in the same object"));
        }
    }
    entries
}
