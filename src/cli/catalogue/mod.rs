//! The sentences and words that a person works with, one folder for each language.
//!
//! A line is `key = sentence`. `{name}` is replaced by a value, `{name:size}` by that many bytes and `{name:time}` by that
//! many seconds as people say them; `{name|one|many}` is `one` where the value is 1, else `many`. `{{` and `}}` are braces.

mod language;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use super::table;
use crate::report::Message;

pub use language::Language;

/// One text for each room, so that neither grows beyond what one reads at once.
macro_rules! texts {
    ($language:literal) => {
        &[
            include_str!(concat!("../messages/", $language, "/general.txt")),
            include_str!(concat!("../messages/", $language, "/words.txt")),
            include_str!(concat!("../messages/", $language, "/hints.txt")),
            include_str!(concat!("../messages/", $language, "/images.txt")),
            include_str!(concat!("../messages/", $language, "/services.txt")),
            include_str!(concat!("../messages/", $language, "/databases.txt")),
            include_str!(concat!("../messages/", $language, "/looking.txt")),
            include_str!(concat!("../messages/", $language, "/menu.txt")),
        ]
    };
}

const ENGLISH: &[&str] = texts!("en");
const CHINESE: &[&str] = texts!("zh");

/// The sentences of one language.
#[derive(Debug)]
pub struct Catalogue {
    sentences: HashMap<&'static str, &'static str>,
}

impl Catalogue {
    pub fn of(language: Language) -> &'static Self {
        static OF_CHINESE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue { sentences: lines(CHINESE).collect() });
        match language {
            Language::English => Self::english(),
            Language::Chinese => &OF_CHINESE,
        }
    }

    /// What programs read is in English, whoever runs them.
    pub fn english() -> &'static Self {
        static OF_ENGLISH: LazyLock<Catalogue> = LazyLock::new(|| Catalogue { sentences: lines(ENGLISH).collect() });
        &OF_ENGLISH
    }

    /// The sentence for a message. A key that is not there, which a test rules out, shows itself.
    pub fn text(&self, message: &Message) -> String {
        match self.sentences.get(message.key) {
            Some(sentence) => self.fill(sentence, &message.values),
            None => format!("{} {:?}", message.key, message.values),
        }
    }

    /// A sentence without values: a column's title, a state.
    pub fn word(&self, key: &'static str) -> &'static str {
        self.sentences.get(key).copied().unwrap_or(key)
    }

    /// The titles of a table.
    pub fn words<const N: usize>(&self, keys: [&'static str; N]) -> [&'static str; N] {
        keys.map(|key| self.word(key))
    }

    /// A duration as a person would say it: `0.4 s`, `12 s`, `3 min 20 s`.
    pub fn duration(&self, time: Duration) -> String {
        let seconds = time.as_secs_f64();
        let message = if seconds < 10.0 {
            Message::new("time-seconds").with("count", format!("{seconds:.1}"))
        } else if seconds < 100.0 {
            Message::new("time-seconds").with("count", format!("{seconds:.0}"))
        } else {
            let minutes = Message::new("time-minutes-seconds").with("minutes", time.as_secs() / 60);
            minutes.with("seconds", time.as_secs() % 60)
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
            0..100 => Message::new("time-seconds").with("count", seconds),
            100..6_000 => Message::new("time-minutes").with("count", seconds / 60),
            6_000..172_800 => Message::new("time-hours").with("count", seconds / 3_600),
            _ => Message::new("time-days").with("count", seconds / 86_400),
        };
        self.text(&message)
    }

    fn fill(&self, sentence: &str, values: &[(&'static str, String)]) -> String {
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
    fn value<'v>(&self, placeholder: &'v str, values: &'v [(&'static str, String)]) -> Cow<'v, str> {
        let mut parts = placeholder.split('|');
        let name = parts.next().unwrap_or_default();
        let (name, form) = name.split_once(':').unwrap_or((name, ""));
        let value = values.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str()).unwrap_or_default();
        match (parts.next(), parts.next(), form) {
            (Some(one), Some(many), _) => Cow::Borrowed(if value == "1" { one } else { many }),
            (_, _, "size") => table::size(value.parse().unwrap_or_default()).into(),
            (_, _, "time") => self.seconds(value.parse().unwrap_or_default()).into(),
            _ => Cow::Borrowed(value),
        }
    }
}

fn lines(texts: &'static [&'static str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, sentence)| (key.trim(), sentence.trim()))
}
