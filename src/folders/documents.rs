//! What `--json` prints of data folders.

use schemars::JsonSchema;
use serde::Serialize;

use super::compare::{Change, Difference};
use super::repository::Snapshot;
use super::settings::{BEFORE_RESTORE, DataFolder};
use super::trouble::Trouble;
use super::verified::Verified;
use crate::catalogue::english;
use crate::report::Told as _;

/// A snapshot of a data folder.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct SnapshotDocument {
    /// 64 hexadecimal digits; the first eight are enough to name it.
    pub id: String,
    /// The data folder.
    pub data: String,
    /// When it was taken: RFC 3339, UTC.
    pub at: String,
    /// The folder on disk, as it was called then.
    pub path: String,
    pub host: String,
    pub files: u64,
    pub bytes: u64,
    /// What it added to the repository, compressed.
    pub added_bytes: u64,
    /// Whether a restore took it of what it was about to replace.
    pub before_restore: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// How it was verified: `structure`, or `data` where all of its bytes were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
}

impl SnapshotDocument {
    pub fn of(folder: &DataFolder, snapshot: &Snapshot, verified: &Verified) -> Self {
        let record = verified.of(&snapshot.id);
        Self {
            id: snapshot.id.clone(),
            data: folder.name.clone(),
            at: snapshot.time.round(jiff::Unit::Second).unwrap_or(snapshot.time).to_string(),
            path: snapshot.path.display().to_string(),
            host: snapshot.hostname.clone(),
            files: snapshot.files,
            bytes: snapshot.bytes,
            added_bytes: snapshot.added_bytes,
            before_restore: snapshot.tags.iter().any(|tag| tag == BEFORE_RESTORE),
            verified_at: record.map(|record| record.at.clone()),
            verified: record.map(|record| record.how.word().to_owned()),
        }
    }
}

/// `data list`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct DataDocument {
    /// Where the repository lies.
    pub repository: String,
    pub data: Vec<DataFolderDocument>,
    /// The oldest first.
    pub snapshots: Vec<SnapshotDocument>,
}

/// A data folder of the manifest.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct DataFolderDocument {
    pub index: usize,
    pub name: String,
    pub path: String,
    pub snapshots: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_snapshot_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verified_at: Option<String>,
}

/// `data snapshot`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct SnapshotsDocument {
    pub snapshots: Vec<SnapshotReport>,
    /// Services that stop meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<String>,
}

/// A snapshot that was taken; with `--dry-run` one that would be, without an ID.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct SnapshotReport {
    #[serde(flatten)]
    pub snapshot: SnapshotDocument,
    /// What went wrong with single files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<TroubleDocument>,
}

/// What went wrong with one file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TroubleDocument {
    pub path: String,
    pub what: String,
    /// Whether something is missing by it that was meant to be there.
    pub is_loss: bool,
}

impl TroubleDocument {
    pub fn of(trouble: &Trouble) -> Self {
        let path = trouble.path.display().to_string();
        Self { path, what: english(&trouble.message()), is_loss: trouble.is_loss() }
    }
}

/// How a state of a folder differs from an older one.
#[derive(Debug, Default, Clone, Serialize, JsonSchema)]
pub struct DifferencesDocument {
    pub added: u64,
    pub removed: u64,
    /// Other bytes, another target, another kind of thing.
    pub changed: u64,
    /// The same bytes with another owner, other permissions, times or attributes.
    pub properties: u64,
    /// Of files that are added or changed.
    pub bytes: u64,
    pub changes: Vec<DifferenceDocument>,
}

/// One place that differs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DifferenceDocument {
    /// Below the data folder; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// `added`, `removed`, `content` or `properties`.
    pub change: String,
    pub is_folder: bool,
    pub bytes: u64,
}

impl Change {
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Content => "content",
            Self::Properties => "properties",
        }
    }
}

impl DifferencesDocument {
    pub fn add(&mut self, difference: &Difference) {
        let (count, has_bytes) = match difference.change {
            Change::Added => (&mut self.added, true),
            Change::Removed => (&mut self.removed, false),
            Change::Content => (&mut self.changed, true),
            Change::Properties => (&mut self.properties, false),
        };
        *count += 1;
        self.bytes += if has_bytes { difference.bytes } else { 0 };
        self.changes.push(DifferenceDocument {
            path: match difference.path.as_os_str().is_empty() {
                true => ".".to_owned(),
                false => difference.path.display().to_string(),
            },
            change: difference.change.word().to_owned(),
            is_folder: difference.is_folder,
            bytes: difference.bytes,
        });
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// `data diff`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct DiffDocument {
    pub data: String,
    /// The older state: a snapshot's ID.
    pub from: String,
    /// The newer state: a snapshot's ID; absent for what is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(flatten)]
    pub differences: DifferencesDocument,
}

/// `data restore`: what would be done, or was.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct RestoreDocument {
    pub done: bool,
    pub data: String,
    /// The snapshot's ID.
    pub snapshot: String,
    /// The folder or file that is brought to the snapshot's state.
    pub target: String,
    /// The snapshot that was taken before of what is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_as: Option<String>,
    #[serde(flatten)]
    pub differences: DifferencesDocument,
    /// Services that stop meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<TroubleDocument>,
}

/// `data verify`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct DataVerifyDocument {
    /// The IDs of the snapshots that are verified.
    pub snapshots: Vec<String>,
    /// How many percent of the bytes are read.
    pub read_percent: f64,
    /// What is wrong; empty where nothing is.
    pub damage: Vec<String>,
}

/// `data prune`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct DataPruneDocument {
    pub done: bool,
    pub data: Vec<PrunedFolder>,
    /// What the repository's files become smaller by.
    pub freed_bytes: u64,
    pub bytes_left: u64,
}

/// What a prune keeps and removes of one data folder.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct PrunedFolder {
    pub name: String,
    pub kept: Vec<KeptSnapshot>,
    pub removed: Vec<SnapshotDocument>,
}

/// A snapshot that stays.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeptSnapshot {
    #[serde(flatten)]
    pub snapshot: SnapshotDocument,
    /// `last`, `daily`, `weekly`, `monthly`, `newest`, `last verified`.
    pub kept_by: Vec<String>,
}
