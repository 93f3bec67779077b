//! Messages in files of ours: by key and values, so that a later reader has them in their own language. For
//! `#[serde(with = "catalogue::by_key")]`; a key that is not there any more is an error.
//!
//! Documents that others read have the English text instead, which `Serialize` gives.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Catalogue, SENTENCES};
use crate::report::{Message, Value};

#[derive(Serialize, Deserialize)]
struct StoredMessage {
    key: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<(String, StoredValue)>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredValue {
    Text(String),
    /// Before a message: serde takes a list of one name for a struct whose other fields have defaults.
    List(Vec<String>),
    Message(StoredMessage),
    Several(Vec<StoredMessage>),
}

impl StoredMessage {
    fn of(message: &Message) -> Self {
        let value = |value: &Value| match value {
            Value::Text(text) => StoredValue::Text(text.clone()),
            Value::Message(message) => StoredValue::Message(Self::of(message)),
            Value::Several(messages) => StoredValue::Several(messages.iter().map(Self::of).collect()),
            Value::List(names) => StoredValue::List(names.clone()),
        };
        let values = message.values.iter().map(|(name, stored)| ((*name).to_owned(), value(stored))).collect();
        Self { key: message.key.to_owned(), values }
    }

    fn message(self) -> Option<Message> {
        let place = SENTENCES.binary_search_by(|(known, _)| (*known).cmp(self.key.as_str())).ok()?;
        let (key, [english, _]) = SENTENCES[place];
        let value = |(name, value): (String, StoredValue)| {
            let at = english.find(&format!("{{{name}"))? + 1;
            let value = match value {
                StoredValue::Text(text) => Value::Text(text),
                StoredValue::Message(stored) => Value::Message(stored.message()?),
                StoredValue::Several(stored) => {
                    Value::Several(stored.into_iter().map(Self::message).collect::<Option<_>>()?)
                }
                StoredValue::List(names) => Value::List(names),
            };
            Some((&english[at..at + name.len()], value))
        };
        Some(Message { key, values: self.values.into_iter().map(value).collect::<Option<_>>()? })
    }
}

pub fn serialize<S: Serializer>(message: &Message, serializer: S) -> Result<S::Ok, S::Error> {
    StoredMessage::of(message).serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Message, D::Error> {
    let stored = StoredMessage::deserialize(deserializer)?;
    let key = stored.key.clone();
    stored.message().ok_or_else(|| D::Error::custom(format_args!("no sentence `{key}` with these values is known")))
}

/// A message that may be missing: one that this version does not know counts as missing, as where its text stands beside it.
pub mod known {
    use super::{Deserialize, Deserializer, Message, Serializer, StoredMessage};

    pub fn serialize<S: Serializer>(message: &Option<Message>, serializer: S) -> Result<S::Ok, S::Error> {
        match message {
            Some(message) => super::serialize(message, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Message>, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(serde_json::from_value::<StoredMessage>(value).ok().and_then(StoredMessage::message))
    }
}

/// The English text: what programs read is always in English.
impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Catalogue::english().text(self))
    }
}

impl JsonSchema for Message {
    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Listed, Several};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        #[serde(with = "super")]
        why: Message,
    }

    #[test]
    fn a_message_that_was_written_down_is_the_same_when_it_is_read() {
        let inner = message!("usage-text", text = "磁盘 \"a\"");
        let several = message!("words", text = Several(vec![inner.clone(), message!("declined")]));
        let file = File { why: message!("because", what = inner, why = several) };
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<File>(&text).unwrap(), file);
        for names in [&["a"][..], &["a", "b"]] {
            let listed = File { why: message!("words", text = Listed::of(names)) };
            let text = serde_json::to_string(&listed).unwrap();
            assert_eq!(serde_json::from_str::<File>(&text).unwrap(), listed);
        }
        assert!(serde_json::from_str::<File>(r#"{"why": {"key": "of-a-later-version"}}"#).is_err());
        assert!(serde_json::from_str::<File>(r#"{"why": {"key": "words", "values": [["name", "a"]]}}"#).is_err());
    }

    #[test]
    fn documents_have_the_english_text() {
        assert_eq!(serde_json::to_string(&message!("declined")).unwrap(), "\"nothing was changed\"");
    }
}
