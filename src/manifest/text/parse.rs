//! Bytes to nodes: strict JSON (no comments, no trailing commas), with caps, from any bytes at all.

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, ParseStringErrorKind, parse_to_ast};

use super::node::{Entry, Node, Text, Value};
use super::problem::Problems;
use super::source::Span;
use crate::report::Message;

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
                problems.error(Span { file, start: 0, end: text.len().min(1) }, message!("parse-empty"));
                None
            }
        },
        Err(error) => {
            problems.error(
                span(&error.range()),
                message!("parse-not-json", message = syntax_error(error.kind(), &text[error.range().start..])),
            );
            None
        }
    }
}

/// What is wrong, in the reader's language: the parser has its kinds in English alone.
fn syntax_error(kind: &ParseErrorKind, there: &str) -> Message {
    use ParseErrorKind as Kind;

    // A word is one token of the parser's, of which it names the first letter.
    let is_word = there.starts_with(|first: char| first.is_alphabetic() || first == '_');

    if let Kind::UnexpectedToken | Kind::UnexpectedTokenInObject = kind
        && let Some((wide, plain)) = full_width(there)
    {
        return message!("json-full-width", wide = wide, plain = plain);
    }
    match kind {
        Kind::UnexpectedToken | Kind::UnexpectedTokenInObject if there.starts_with('#') => message!("json-comment"),
        Kind::CommentsNotAllowed => message!("json-comment"),
        Kind::UnterminatedCommentBlock => message!("json-comment-open"),
        Kind::ExpectedComma => message!("json-comma-missing"),
        Kind::UnexpectedComma => message!("json-comma-too-many"),
        Kind::TrailingCommasNotAllowed => message!("json-comma-trailing"),
        Kind::ExpectedColonAfterObjectKey => message!("json-colon-missing"),
        Kind::UnexpectedColon => message!("json-colon"),
        Kind::ExpectedStringObjectProperty => message!("json-name"),
        Kind::ExpectedObjectValue => message!("json-value-missing"),
        Kind::BareDecimalPointNumbersNotAllowed
        | Kind::ExpectedDigit
        | Kind::ExpectedDigitFollowingNegativeSign
        | Kind::ExpectedPlusMinusOrDigitInNumberLiteral
        | Kind::HexadecimalNumbersNotAllowed
        | Kind::NonFiniteNumbersNotAllowed
        | Kind::UnaryPlusNumbersNotAllowed => message!("json-number"),
        Kind::SingleQuotedStringsNotAllowed => message!("json-quotes"),
        Kind::MultipleRootJsonValues => message!("json-several"),
        Kind::UnexpectedCloseBrace => message!("json-brace"),
        Kind::UnexpectedCloseBracket => message!("json-bracket"),
        Kind::UnexpectedWord => message!("json-word"),
        Kind::UnexpectedToken if is_word => message!("json-word"),
        Kind::UnexpectedToken | Kind::UnexpectedTokenInObject => message!("json-character"),
        Kind::UnterminatedArray => message!("json-array-open"),
        Kind::UnterminatedObject => message!("json-object-open"),
        Kind::NestingDepthExceeded => message!("json-too-deep"),
        Kind::String(kind) => match kind {
            ParseStringErrorKind::UnterminatedStringLiteral => message!("json-text-open"),
            ParseStringErrorKind::ExpectedFourHexDigits => message!("json-hex"),
            ParseStringErrorKind::InvalidUnicodeEscapeSequence(digits) => message!("json-unicode", digits = digits),
            ParseStringErrorKind::InvalidEscapeInSingleQuoteString
            | ParseStringErrorKind::InvalidEscapeInDoubleQuoteString
            | ParseStringErrorKind::ExpectedTwoHexDigits
            | ParseStringErrorKind::InvalidEscape => message!("json-escape"),
        },
        // The deserializer's own, which is not used here.
        #[allow(
            unreachable_patterns,
            reason = "a feature of the crate, which another dependency may turn on, adds a kind"
        )]
        other => message!("words", text = other),
    }
}

/// A character that a Chinese keyboard, or a word processor, writes in the place of one of JSON's, and that one.
fn full_width(there: &str) -> Option<(char, char)> {
    let wide = there.chars().next()?;
    let plain = match wide {
        '：' => ':',
        '，' | '、' => ',',
        '“' | '”' | '„' | '＂' => '"',
        '｛' => '{',
        '｝' => '}',
        '［' | '【' => '[',
        '］' | '】' => ']',
        _ => return None,
    };
    Some((wide, plain))
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
            problems.error(key_span, message!("parse-twice", key = key));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Value as MessageValue;

    /// The key of what is wrong with a text.
    fn wrong(text: &str) -> &'static str {
        let mut problems = Problems::default();
        assert!(parse(0, text, &mut problems).is_none(), "{text}");
        let message = problems.into_sorted().remove(0).message;
        match message.values.into_iter().next() {
            Some((_, MessageValue::Message(why))) => why.key,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_json_is_told_by_a_sentence_of_ours() {
        for text in [
            "{ /* note",
            r#"{"a": 1 "b": 2}"#,
            r#"{"a": [1,, 2]}"#,
            r#"{"a" 1}"#,
            "{a: 1}",
            r#"{"a": }"#,
            r#"{"a":"#,
            r#"{"a": .5}"#,
            r#"{"a": 0x1}"#,
            r#"{"a": +1}"#,
            r#"{"a": -}"#,
            r#"{"a": NaN}"#,
            "{'a': 1}",
            r#"{"a": 1} {}"#,
            "}",
            "]",
            r#"{"a": ["b"}"#,
            r#"{"a": [1"#,
            r#"{"a": 1"#,
            r#"{"a": "b"#,
            r#"{"a": "\x"}"#,
            r#"{"a": "\u12"}"#,
            r#"{"a": "\uD800"}"#,
        ] {
            assert!(wrong(text).starts_with("json-"), "{text}: {}", wrong(text));
        }
        for (text, key) in
            [("{ // note\n}", "json-comment"), (r#"{"a": 1,}"#, "json-comma-trailing"), (r#"{"a": shop}"#, "json-word")]
        {
            assert_eq!(wrong(text), key, "{text}");
        }
    }

    #[test]
    fn punctuation_of_another_keyboard_is_told_with_the_right_one() {
        for text in [
            r#"{"a"：1}"#,
            r#"{"a": 1，"b": 2}"#,
            r#"{"a": 1、"b": 2}"#,
            r#"{"a": “b”}"#,
            r#"{“a”: 1}"#,
            r#"｛"a": 1}"#,
            r#"{"a": ［1]}"#,
        ] {
            assert_eq!(wrong(text), "json-full-width", "{text}");
        }
        assert_eq!(wrong("# note\n{}"), "json-comment");
        assert_eq!(wrong(r#"{"a": ~}"#), "json-character");
    }
}
