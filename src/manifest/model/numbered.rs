//! A map whose entries have numbers that never shift.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Named entries in a fixed order; an entry's number is its place, from 1, and an entry that was removed (`null`)
/// leaves its number empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered<T> {
    slots: Vec<(String, Option<T>)>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<T> Numbered<T> {
    /// Appends an entry, or an empty number.
    pub fn push(&mut self, name: String, value: Option<T>) {
        self.slots.push((name, value));
    }

    /// Number, name and value of every entry that is there.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &str, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(place, (name, value))| value.as_ref().map(|value| (place + 1, name.as_str(), value)))
    }

    /// Name and value of every entry that is there, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut T)> {
        self.slots.iter_mut().filter_map(|(name, value)| value.as_mut().map(|value| (name.as_str(), value)))
    }

    /// The names of the entries that are there, by number.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(_, name, _)| name)
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        self.slots.iter().find(|(slot, _)| slot == name).and_then(|(_, value)| value.as_ref())
    }

    /// The number of the entry of that name.
    pub fn number_of(&self, name: &str) -> Option<usize> {
        self.iter().find(|(_, entry, _)| *entry == name).map(|(number, ..)| number)
    }

    /// The entry with that number; `None` also where the number is empty.
    pub fn by_number(&self, number: usize) -> Option<(&str, &T)> {
        let (name, value) = self.slots.get(number.checked_sub(1)?)?;
        value.as_ref().map(|value| (name.as_str(), value))
    }

    /// The name of an entry that was removed and left this number empty.
    pub fn removed_name(&self, number: usize) -> Option<&str> {
        let (name, value) = self.slots.get(number.checked_sub(1)?)?;
        value.is_none().then_some(name.as_str())
    }

    /// The highest number, whether empty or not; 0 where there are none.
    pub fn last_number(&self) -> usize {
        self.slots.len()
    }

    /// How many entries are there.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is neither an entry nor an empty number.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<T: Serialize> Serialize for Numbered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.slots.len()))?;
        for (name, value) in &self.slots {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<T: JsonSchema> JsonSchema for Numbered<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("NumberedOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": { "anyOf": [value, { "type": "null" }] }
        })
    }
}
