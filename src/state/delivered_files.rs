//! What `dpl files` put in place: for each folder what was delivered, what is kept beside it, and how far a swap has come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StateError;
use super::folder::{Readers, StateDir};

/// What is known of one folder of the manifest's `files`. Paths in it are texts in which bytes that are not UTF-8, and `%`, are
/// `%` and two hex digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveredFiles {
    /// The target that all of this is about.
    pub target: String,
    /// What lies there since the last apply or rollback.
    pub delivered: Option<Delivery>,
    /// What a rollback brings back.
    pub kept: Option<KeptFolder>,
    /// When what lies there now was put there (RFC 3339, UTC).
    pub swapped_at: Option<String>,
    /// What is newer than this in the folder beside the target that was replaced, was written there by others.
    pub written_after: Option<String>,
    /// A swap that was begun, and what is true when it is done.
    pub pending: Option<PendingSwap>,
    /// Services that have not been restarted since the last swap.
    pub restart_due: Vec<String>,
}

/// What was delivered, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// RFC 3339, UTC.
    pub at: String,
    /// `user@host`.
    pub by: String,
    /// The folder that it came from.
    pub from: String,
    /// Path below the target, and the content: a digest, or `link:` and what a link points to.
    pub files: BTreeMap<String, String>,
}

/// A folder that was replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptFolder {
    /// When it was replaced (RFC 3339, UTC).
    pub since: String,
    /// What had been delivered into it, where that is known.
    pub delivered: Option<Delivery>,
    pub way_back: WayBack,
}

/// How a rollback goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayBack {
    /// The folder takes the target's place.
    #[default]
    Whole,
    /// There was no target.
    Nothing,
    /// It gets this name again, beside the target, which goes.
    Renamed(String),
    /// The target can't be renamed: these steps are undone one by one.
    InPlace(Vec<InPlaceStep>),
}

/// A step inside a target that can't be renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InPlaceStep {
    /// A file or a link goes.
    Take(String),
    /// A folder goes, when nothing is left in it.
    TakeFolder(String),
    /// A folder is made.
    Make(String),
    /// A file or a link is added or replaced.
    Put(String),
    /// A folder gets another owner or other permissions.
    Settle(String),
}

/// A swap that was begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingSwap {
    pub way: SwapWay,
    /// Device and inode of the folder that takes the target's place, by which it is known again.
    pub folder: Option<(u64, u64)>,
    /// The record when it is done.
    pub delivered: Option<Delivery>,
    pub kept: Option<KeptFolder>,
    pub swapped_at: Option<String>,
    pub written_after: Option<String>,
    pub restart_due: Vec<String>,
}

/// What kind of swap it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapWay {
    /// What is staged takes the target's place.
    #[default]
    Apply,
    /// The same, and the folder of this name, which the target had before, is what it replaces.
    Move(String),
    /// What is kept takes the target's place.
    Rollback,
    /// There was no target: it goes.
    Remove,
    /// What is kept gets this name again, and the target goes.
    MoveBack(String),
    /// Step by step, inside the target.
    InPlace(Vec<InPlaceStep>),
}

/// Names of folders are letters, digits, `.`, `_` and `-`: the manifest's check says so.
fn file(name: &str) -> String {
    format!("files-{}.json", crate::fs::escape(name))
}

/// What is known of a folder; nothing before its first apply.
///
/// # Errors
/// A record that can't be read.
pub fn delivered_files(state: &StateDir, name: &str) -> Result<DeliveredFiles, StateError> {
    state.read_record(&file(name))
}

/// Writes down what is known of a folder. The project's lock must be held.
///
/// # Errors
/// A record that can't be written.
pub fn note_delivered_files(state: &StateDir, name: &str, record: &DeliveredFiles) -> Result<(), StateError> {
    state.write_record(&file(name), record, Readers::Group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&folder.path().join("stack.json"), "p");
        assert_eq!(delivered_files(&state, "conf").unwrap(), DeliveredFiles::default());
        let delivery = Delivery { at: "2026-01-01T00:00:00Z".to_owned(), ..Delivery::default() };
        let steps = vec![InPlaceStep::Take("a%FF".to_owned()), InPlaceStep::Make("b".to_owned())];
        let record = DeliveredFiles {
            target: "/srv/conf".to_owned(),
            delivered: Some(delivery.clone()),
            kept: Some(KeptFolder { way_back: WayBack::InPlace(steps.clone()), ..KeptFolder::default() }),
            swapped_at: Some("2026-01-01T00:00:02Z".to_owned()),
            written_after: Some("2026-01-01T00:00:01Z".to_owned()),
            pending: Some(PendingSwap {
                way: SwapWay::InPlace(steps),
                folder: Some((1, 2)),
                delivered: Some(delivery),
                ..PendingSwap::default()
            }),
            restart_due: vec!["web".to_owned()],
        };
        note_delivered_files(&state, "conf", &record).unwrap();
        assert_eq!(delivered_files(&state, "conf").unwrap(), record);
        assert_eq!(delivered_files(&state, "other").unwrap(), DeliveredFiles::default());
    }
}
