//! The documents that `--json` prints for databases.

use schemars::JsonSchema;
use serde::Serialize;

use super::record::Record;

/// What `db backup` and `db dump` made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BackupsDocument {
    pub backups: Vec<BackupDocument>,
}

/// One backup, or one seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
}

impl BackupDocument {
    pub(super) fn new(record: &Record, path: &std::path::Path) -> Self {
        Self {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
    /// The backup of the database that was replaced.
    pub backup: Option<BackupDocument>,
    /// The name under which the replaced database is kept, where it is.
    pub kept_as: Option<String>,
}

/// What `db list` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DatabasesDocument {
    pub databases: Vec<DatabaseDocument>,
    pub backups: Vec<BackupDocument>,
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
    pub seed: Option<String>,
    /// Databases that an interrupted rebuild left beside it; the next rebuild takes care of them.
    pub leftovers: Vec<String>,
}
