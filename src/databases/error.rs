//! What work on databases can end in.

mod sentences;

use std::path::{Path, PathBuf};

pub use super::said::Said;
use crate::catalogue::told;
use crate::databases::archive::record::RecordError;
use crate::engine::{ContainerState, EngineError};
use crate::report::{Message, Told};
use crate::services::ServicesError;

/// An operation on a database that did not do what it was asked. Unless a variant says otherwise, the database that
/// was there before is there still, under its name and as it was.
#[derive(Debug, thiserror::Error)]
pub enum DatabasesError {
    /// Not transparent: a search for the engine's error among the causes must find it.
    Engine(#[from] EngineError),
    NoContainer {
        container: String,
    },
    NotRunning {
        container: String,
        state: ContainerState,
    },
    Login {
        /// `in container shop-db-1`, `at db.example:5432`.
        server: Message,
        user: String,
        #[source]
        source: Said,
    },
    NoWay {
        server: Message,
        #[source]
        source: Said,
    },
    TooOld {
        server: Message,
        version: String,
    },
    UnusablePassword,
    Nul {
        operation: Message,
        database: String,
    },
    NotFound {
        database: String,
        server: Message,
    },
    Sql {
        operation: Message,
        database: String,
        #[source]
        source: Said,
    },
    Answer {
        operation: Message,
        #[source]
        source: serde_json::Error,
    },
    Tool {
        program: &'static str,
        database: String,
        code: i64,
        #[source]
        source: Said,
    },
    /// Inside this module only: files then travel another way.
    Unseen,
    CopyFailed {
        folder: PathBuf,
        code: i64,
        #[source]
        source: Said,
    },
    Throwaway {
        server: Message,
        #[source]
        source: Said,
    },
    /// Nothing is said about the dump by that.
    NotTried {
        id: String,
        reason: Message,
    },
    NoRoom {
        database: String,
        problem: Message,
    },
    NoToolsImage {
        image: String,
    },
    File {
        operation: Message,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    Record {
        path: PathBuf,
        #[source]
        source: RecordError,
    },
    Damaged {
        path: PathBuf,
        damage: Message,
    },
    NewerArchive {
        path: PathBuf,
        #[source]
        source: Said,
    },
    LockedByOthers {
        database: String,
        seconds: u64,
        #[source]
        source: Said,
    },
    LockLost {
        database: String,
    },
    Incomplete {
        database: String,
        missing: Message,
    },
    Shrunk {
        what: DumpKind,
        database: String,
        new_bytes: u64,
        old_bytes: u64,
    },
    Emptied {
        what: DumpKind,
        database: String,
        tables: usize,
    },
    RestoredOtherwise {
        source_path: PathBuf,
        difference: Message,
    },
    DiskFull {
        database: String,
        folder: String,
        free_mebibytes: u64,
    },
    DumpDiskFull {
        database: String,
        folder: PathBuf,
        free_mebibytes: u64,
        reserve_mebibytes: u64,
    },
    /// A dump on a volume, or a throw-away server.
    EngineDiskFull {
        database: String,
        folder: PathBuf,
        free_mebibytes: u64,
        reserve_mebibytes: u64,
    },
    Unfit {
        database: String,
        source_path: PathBuf,
        problems: Vec<Message>,
    },
    NoArchive {
        path: PathBuf,
        why: Message,
    },
    Unconvertible {
        path: PathBuf,
        #[source]
        source: Said,
    },
    SeveralDatabases {
        path: PathBuf,
        database: String,
        found: Vec<String>,
    },
    Patch {
        database: String,
        path: PathBuf,
        #[source]
        source: Said,
    },
    Patches {
        database: String,
        problems: Vec<Message>,
    },
    CannotPreserve {
        database: String,
        problems: Vec<Message>,
    },
    NotKept {
        name: String,
    },
    NothingKept {
        database: String,
    },
    CannotRollBack {
        database: String,
        problems: Vec<Message>,
    },
    NoBackup {
        /// The one that was named; `None` where the database has no backup at all.
        id: Option<String>,
        database: String,
        folder: PathBuf,
        /// The backup whose ID is nearest to the wrong one.
        nearest: Option<String>,
        last: Option<String>,
    },
    Busy {
        database: String,
    },
    Dependents {
        operation: DependentsOperation,
        database: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    Orphaned {
        database: String,
        old: String,
    },
    NeverQuiet {
        database: String,
        #[source]
        source: Box<DatabasesError>,
    },
    /// The server ended under the work; what was said first is the cause.
    ServerEnded {
        server: Message,
        code: i64,
        #[source]
        source: Box<DatabasesError>,
    },
    /// The new database is in place; what comes after the swap was not done. Running it again does that, and no more.
    AfterSwap {
        database: String,
        #[source]
        source: Box<DatabasesError>,
    },
    Statement {
        /// From 1, in what was given.
        line: usize,
        #[source]
        source: Said,
    },
    NotAStatement {
        line: usize,
        reason: Message,
    },
    Stopped {
        database: String,
    },
}

told!(
    DatabasesError, RecordError, Said;
    crate::services::as_told, crate::images::as_told
);

/// What is being done with SQL: finishes the sentence "can't …".
pub(in crate::databases) type Operation = fn() -> Message;

/// Of what kind a dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpKind {
    Backup,
    Seed,
}

impl Told for DumpKind {
    fn message(&self) -> Message {
        match self {
            Self::Backup => message!("noun-backup"),
            Self::Seed => message!("noun-seed"),
        }
    }
}

/// What is done to the services that use a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DependentsOperation {
    Stop,
    Start,
}

impl DatabasesError {
    /// The same, of a database that is called `name` for now, by the name that people know it by.
    pub(in crate::databases) fn shown_as(self, name: &str, known: &str) -> Self {
        let inside = |source: Box<Self>| Box::new(source.shown_as(name, known));
        match self {
            Self::Sql { operation, database, source } if database == name => {
                Self::Sql { operation, database: known.to_owned(), source }
            }
            Self::NeverQuiet { database, source } => Self::NeverQuiet { database, source: inside(source) },
            Self::ServerEnded { server, code, source } => Self::ServerEnded { server, code, source: inside(source) },
            Self::AfterSwap { database, source } => Self::AfterSwap { database, source: inside(source) },
            error => error,
        }
    }

    /// Whether it is the end that somebody asked for, and nothing else went wrong.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Stopped { .. } => true,
            Self::AfterSwap { source, .. } => source.is_stop(),
            // The code that stops them is told too.
            Self::Dependents { source, .. } => {
                let cause = source.downcast_ref::<ServicesError>();
                matches!(cause, Some(ServicesError::Interrupted { .. }))
            }
            _ => false,
        }
    }

    /// For `map_err` on file operations; `operation` and `path` finish the sentence "can't …".
    pub(super) fn file(operation: Message, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}

#[cfg(test)]
mod tests;
