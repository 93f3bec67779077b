//! A part of a machine in its inventory: there, not there, or not to be looked at. In the document it is two fields: the part, and why
//! there is none.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::document::{EngineInventory, StoreInventory};

/// What was found of a part of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Presence<T> {
    /// There is none, and that is as it should be.
    #[default]
    Absent,
    Present(T),
    /// Why it can't be looked at.
    Unknown(String),
}

impl<T> Presence<T> {
    /// The part, where it is there.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(part) => Some(part),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// As [`Presence::present`], to change it.
    pub fn present_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Present(part) => Some(part),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// Why it can't be looked at.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Unknown(why) => Some(why),
            Self::Absent | Self::Present(_) => None,
        }
    }

    pub(super) fn of(part: Option<T>, problem: Option<String>) -> Self {
        match (part, problem) {
            (Some(part), _) => Self::Present(part),
            (None, Some(why)) => Self::Unknown(why),
            (None, None) => Self::Absent,
        }
    }
}

/// The fields of an engine.
#[derive(Serialize, JsonSchema)]
pub(super) struct EngineFields<E = EngineInventory> {
    engine: Option<E>,
    /// Why no engine answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine_problem: Option<String>,
}

/// The fields of an image store.
#[derive(Serialize, JsonSchema)]
pub(super) struct StoreFields<S = StoreInventory> {
    /// The image store; none where the manifest names none, or can't be read.
    store: Option<S>,
    /// Why the store can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store_problem: Option<String>,
}

/// An engine as its two fields.
pub(super) mod engine_fields {
    use super::*;

    pub fn serialize<S: Serializer>(part: &Presence<EngineInventory>, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = EngineFields { engine: part.present(), engine_problem: part.problem().map(str::to_owned) };
        fields.serialize(serializer)
    }
}

/// An image store as its two fields.
pub(super) mod store_fields {
    use super::*;

    pub fn serialize<S: Serializer>(part: &Presence<StoreInventory>, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = StoreFields { store: part.present(), store_problem: part.problem().map(str::to_owned) };
        fields.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Inventory;
    use super::*;

    #[test]
    fn a_part_is_two_fields_of_the_document() {
        let store = StoreInventory { folder: "/srv/store".to_owned(), ..StoreInventory::default() };
        for (store, engine, wanted) in [
            (Presence::Absent, Presence::Unknown("no socket".to_owned()), (false, None, Some("no socket"))),
            (Presence::Unknown("a link".to_owned()), Presence::Absent, (false, Some("a link"), None)),
            (Presence::Present(store), Presence::Absent, (true, None, None)),
        ] {
            let inventory = Inventory { store, engine, ..Inventory::default() };
            let document = serde_json::to_value(&inventory).unwrap();
            let said = |key: &str| document.get(key).and_then(|why| why.as_str());
            assert_eq!((document["store"].is_object(), said("store_problem"), said("engine_problem")), wanted);
            assert!(document["engine"].is_null() && document.get("engine").is_some(), "{document}");
            assert_eq!(serde_json::from_value::<Inventory>(document).unwrap(), inventory);
        }
    }

    #[test]
    fn what_a_later_version_says_more_is_not_held() {
        let text = serde_json::to_string(&Inventory::default()).unwrap();
        // A number that serde_json only passes over: to hold it would be an error.
        let more = text.replacen('{', r#"{"more": [1e999, {"and": "more"}], "#, 1);
        assert_eq!(serde_json::from_str::<Inventory>(&more).unwrap(), Inventory::default());
    }
}
