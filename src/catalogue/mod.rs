//! Every sentence that a person reads, one folder for each language.
//!
//! `build.rs` makes the macro `message!` and the table of sentences of them: a key or a value that is not there does not
//! compile.
//!
//! A line is `key = sentence`. `{name}` is replaced by a value, `{name:size}` by that many bytes and `{name:time}` by that
//! many seconds as people say them; `{name:lines}` by several sentences, each on a line of its own; `{name|one|many}` is `one`
//! where the value is 1, else `many`. `{{` and `}}` are braces.

pub mod by_key;
mod errors;
mod language;
mod system;
#[cfg(test)]
mod tests;
mod units;

use std::borrow::Cow;
use std::time::Duration;

use crate::report::{Message, Value};

pub(crate) use errors::told;
pub use errors::{SentenceError, as_error, causes, hint, io_error, one_line};
pub use language::Language;
pub use system::system_words;
pub use units::size;

/// Every key and its sentence in English and in Chinese, sorted by key (written by `build.rs`).
static SENTENCES: &[(&str, [&str; 2])] = include!(concat!(env!("OUT_DIR"), "/sentences.rs"));

/// The English text of a message, for what programs read.
pub fn english(message: &Message) -> String {
    Catalogue::english().text(message)
}

/// The sentences of one language.
#[derive(Debug)]
pub struct Catalogue {
    language: Language,
}

impl Catalogue {
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::English => Self::english(),
            Language::Chinese => &Self { language: Language::Chinese },
        }
    }

    /// What programs read is in English, whatever the operator's language.
    pub fn english() -> &'static Self {
        &Self { language: Language::English }
    }

    pub fn language(&self) -> Language {
        self.language
    }

    /// The sentence for a message.
    pub fn text(&self, message: &Message) -> String {
        self.fill(self.sentence(message.key), &message.values)
    }

    /// A sentence without values: a column's title, a state.
    pub fn word(&self, message: Message) -> &'static str {
        self.sentence(message.key)
    }

    /// The titles of a table.
    pub fn words<const N: usize>(&self, titles: [Message; N]) -> [&'static str; N] {
        titles.map(|title| self.word(title))
    }

    /// `message!` gives only keys that are there; another one would show itself.
    fn sentence(&self, key: &'static str) -> &'static str {
        match SENTENCES.binary_search_by(|(known, _)| (*known).cmp(key)) {
            Ok(place) => SENTENCES[place].1[self.language as usize],
            Err(_) => key,
        }
    }

    /// A duration as a person would say it: `0.4 s`, `12 s`, `3 min 20 s`.
    pub fn duration(&self, time: Duration) -> String {
        let seconds = time.as_secs_f64();
        let message = if seconds < 10.0 {
            message!("time-seconds", count = format!("{seconds:.1}"))
        } else if seconds < 100.0 {
            message!("time-seconds", count = format!("{seconds:.0}"))
        } else {
            message!("time-minutes-seconds", minutes = time.as_secs() / 60, seconds = time.as_secs() % 60)
        };
        self.text(&message)
    }

    /// A duration in seconds, as [`Catalogue::duration`] says it.
    pub fn seconds(&self, seconds: f64) -> String {
        self.duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    /// How long ago something was, in the largest unit that says enough: `12 s`, `3 min`, `5 h`, `8 d`.
    pub fn ago(&self, time: Duration) -> String {
        let seconds = time.as_secs();
        let message = match seconds {
            0..100 => message!("time-seconds", count = seconds),
            100..6_000 => message!("time-minutes", count = seconds / 60),
            6_000..172_800 => message!("time-hours", count = seconds / 3_600),
            _ => message!("time-days", count = seconds / 86_400),
        };
        self.text(&message)
    }

    /// Names in one line, with what stands between them.
    pub fn list<T: AsRef<str>>(&self, names: &[T]) -> String {
        let between = match self.language {
            Language::English => ", ",
            Language::Chinese => "、",
        };
        names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(between)
    }

    /// What stands between two sentences in one line.
    fn between_sentences(&self) -> &'static str {
        match self.language {
            Language::English => "; ",
            Language::Chinese => "；",
        }
    }

    fn fill(&self, sentence: &str, values: &[(&'static str, Value)]) -> String {
        let mut filled = String::with_capacity(sentence.len() + 32);
        let mut rest = sentence;
        while let Some(place) = rest.find(['{', '}']) {
            filled.push_str(&rest[..place]);
            let brace = &rest[place..place + 1];
            rest = &rest[place + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                filled.push_str(brace);
                rest = behind;
                continue;
            }
            let Some(close) = rest.find('}').filter(|_| brace == "{") else {
                filled.push_str(brace);
                continue;
            };
            filled.push_str(&self.value(&rest[..close], values));
            rest = &rest[close + 1..];
        }
        filled.push_str(rest);
        filled
    }

    /// What stands for a placeholder: `name`, `name:size`, `name:time`, `name|one|many`.
    fn value<'v>(&self, placeholder: &'v str, values: &'v [(&'static str, Value)]) -> Cow<'v, str> {
        let mut parts = placeholder.split('|');
        let name = parts.next().unwrap_or_default();
        let (name, form) = name.split_once(':').unwrap_or((name, ""));
        let value = match values.iter().find(|(key, _)| *key == name) {
            Some((_, Value::Text(text))) => without_controls(text),
            Some((_, Value::Message(message))) => Cow::Owned(self.text(message)),
            Some((_, Value::Several(messages))) if form == "lines" => {
                Cow::Owned(messages.iter().map(|message| format!("\n  {}", self.text(message))).collect())
            }
            Some((_, Value::Several(messages))) => {
                let texts: Vec<String> = messages.iter().map(|message| self.text(message)).collect();
                Cow::Owned(texts.join(self.between_sentences()))
            }
            Some((_, Value::List(names))) => {
                let names: Vec<Cow<str>> = names.iter().map(|name| without_controls(name)).collect();
                Cow::Owned(self.list(&names))
            }
            None => Cow::Borrowed(""),
        };
        match (parts.next(), parts.next(), form) {
            (Some(one), Some(many), _) => Cow::Borrowed(if value == "1" { one } else { many }),
            (_, _, "size") => units::size(value.parse().unwrap_or_default()).into(),
            (_, _, "time") => self.seconds(value.parse().unwrap_or_default()).into(),
            _ => value,
        }
    }
}

/// Values come from elsewhere: a file's name, a container's label, a server's answer. What would move a terminal's cursor or
/// colour its text is shown, not done; lines stay lines.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_done = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(is_done) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| match is_done(letter) {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}
