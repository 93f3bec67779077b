//! The documents that `--json` prints for databases.

use schemars::JsonSchema;
use serde::Serialize;

use crate::databases::archive::verification::{Failure, Known};
use crate::report::Message;

/// What `db backup` and `db dump` made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BackupsDocument {
    pub backups: Vec<BackupDocument>,
    /// Those of which none was made; the exit code is 1 then.
    pub failed: Vec<FailedBackup>,
}

/// A database that could not be backed up or dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailedBackup {
    pub database: String,
    pub reason: String,
}

/// One backup, or one seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BackupDocument {
    /// What `db restore --backup` takes: `expert/20260704T101530Z`.
    pub id: String,
    pub database: String,
    /// The folder with `backup.json` and the archive.
    pub path: String,
    /// The archive's size in bytes.
    pub bytes: u64,
    /// The server that it was dumped from: `15.20 (Debian 15.20-0+deb12u1)`.
    pub server_version: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// How many tables it holds.
    pub tables: u64,
    /// How many rows all of them have together.
    pub rows: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What the database took on the server's disk, indexes included.
    pub database_bytes: u64,
    /// When it was last restored into a throw-away server, and found to be what was dumped: RFC 3339, UTC.
    pub verified_at: Option<String>,
    /// When its files were last read and found to be what was written: RFC 3339, UTC.
    pub checked_at: Option<String>,
    /// Why it was found bad the last time that somebody looked.
    pub found_bad: Option<Message>,
    /// Whether it is of a time that has not come yet: a clock was wrong.
    pub from_the_future: bool,
    /// Why a restore of it could not be tried the last time, which says nothing about it.
    pub untried: Option<Message>,
}

impl BackupDocument {
    pub(super) fn new(known: &Known, path: &std::path::Path) -> Self {
        let (record, verification) = (&known.record, &known.verification);
        Self {
            duration_ms: record.duration_ms,
            database_bytes: record.size_bytes,
            verified_at: verification.restored_at().map(|time| time.to_string()),
            checked_at: verification.files_at().map(|time| time.to_string()),
            found_bad: verification.failed.as_ref().map(Failure::reason),
            from_the_future: false,
            untried: verification.untried.as_ref().map(Failure::reason),
            id: record.id.clone(),
            database: record.database.clone(),
            path: path.to_string_lossy().into_owned(),
            bytes: record.bytes(),
            server_version: record.server_version.clone(),
            created_at: record.created_at.to_string(),
            tables: record.tables.len() as u64,
            rows: record.rows(),
        }
    }
}

/// What `db rebuild` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RebuildsDocument {
    pub rebuilds: Vec<RebuildReport>,
}

/// One database that was rebuilt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RebuildReport {
    pub database: String,
    /// The ID of the dump that it was rebuilt from.
    pub source: String,
    /// Whether there was none of this name before.
    pub created: bool,
    pub tables: u64,
    pub rows: u64,
    /// How long no connection to the name was possible, in milliseconds; 0 for a new database.
    pub nameless_ms: u64,
    /// How long the services that use it were stopped, in milliseconds.
    pub dependents_stopped_ms: u64,
    /// What each patch changed.
    pub patches: Vec<PatchReport>,
    /// What lives on of the database that was replaced.
    pub preserved: Vec<PreserveReport>,
    /// The backup of the database that was replaced.
    pub backup: Option<BackupDocument>,
    /// The name under which the replaced database is kept, where it is.
    pub kept_as: Option<String>,
    /// Whether nothing was rebuilt, since an earlier rebuild was still to be finished, which was done.
    pub finished_earlier: bool,
}

/// One SQL file of the site, run on a new database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PatchReport {
    pub file: String,
    /// Rows of tables.
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// Rows of one table that were carried over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PreserveReport {
    pub table: String,
    /// How many rows live on.
    pub rows: u64,
    /// How many of them were there under their key, with other values.
    pub updated: u64,
    /// How many were not there.
    pub inserted: u64,
}

/// What `db rollback` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RollbacksDocument {
    pub rollbacks: Vec<RollbackReport>,
}

/// One database that was swapped back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RollbackReport {
    pub database: String,
    /// The name under which it had been kept; empty where an interrupted rollback had been done already.
    pub source: String,
    /// The name under which what it replaced is kept now.
    pub kept_as: Option<String>,
    /// How long no connection to the name was possible, in milliseconds.
    pub nameless_ms: u64,
    /// How long the services that use it were stopped, in milliseconds.
    pub dependents_stopped_ms: u64,
}

/// A database of a server that the manifest does not have, and that stands beside none of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OtherDatabase {
    pub name: String,
    /// The service of the server, or where it is.
    pub service: String,
    /// On the server's disk, indexes included.
    pub size_bytes: u64,
}

/// What `db list` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DatabasesDocument {
    pub databases: Vec<DatabaseDocument>,
    /// What else their servers have; empty where databases were named.
    pub others: Vec<OtherDatabase>,
    pub backups: Vec<BackupDocument>,
    /// Folders among the backups that can't be read as one.
    pub unreadable: Vec<String>,
}

/// A database of the manifest, as the server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DatabaseDocument {
    /// Its number in the manifest.
    pub index: u64,
    pub name: String,
    pub service: String,
    /// Whether the server has it; unknown when the server does not run.
    pub exists: Option<bool>,
    /// On the server's disk, indexes included.
    pub size_bytes: Option<u64>,
    pub connections: Option<u64>,
    /// The ID of the last backup.
    pub last_backup: Option<String>,
    /// The ID of the last backup that was restored into a throw-away server and found good.
    pub last_verified: Option<String>,
    pub seed: Option<String>,
    /// Databases that an interrupted rebuild left beside it; the next rebuild takes care of them.
    pub leftovers: Vec<String>,
}

/// What `db verify` found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerifiesDocument {
    pub verified: Vec<VerifyReport>,
}

/// One backup or seed that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// The backup's ID.
    pub id: String,
    pub database: String,
    pub path: String,
    /// `restored` into a throw-away server and compared, or `files`: digests, and the archive's list.
    pub how: String,
    pub tables: u64,
    pub rows: u64,
    /// How long that took, in milliseconds.
    pub duration_ms: u64,
    /// What is wrong with it; `null` for a good one, and for one that could not be tried.
    pub damage: Option<Message>,
    /// Why a restore could not be tried, which says nothing about the dump.
    pub untried: Option<Message>,
}

/// What `db prune` does, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PruneDocument {
    /// Whether it was done: `false` for `--dry-run`.
    pub done: bool,
    pub databases: Vec<PruneDatabase>,
}

/// The backups of one database, as `db prune` sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PruneDatabase {
    pub database: String,
    pub kept: Vec<KeptBackup>,
    pub removed: Vec<BackupDocument>,
    /// The size of the archives that are removed.
    pub freed_bytes: u64,
    /// What interrupted runs left, and what is removed too.
    pub leftovers: Vec<String>,
    /// Folders that can't be read as backups: they stay.
    pub unreadable: Vec<String>,
    /// Databases on the server that rebuilds had kept, and that are dropped (`--keep-old`).
    pub dropped: Vec<String>,
}

/// A backup that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeptBackup {
    #[serde(flatten)]
    pub backup: BackupDocument,
    /// The rules that keep it: `newest`, `last verified`, `last`, `daily`, `weekly`, `monthly`.
    pub kept_by: Vec<String>,
}
