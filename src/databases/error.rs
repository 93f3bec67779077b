//! What work on databases can end in.

use std::path::{Path, PathBuf};

pub use super::said::Said;
use crate::catalogue::told;
use crate::databases::archive::record::RecordError;
use crate::engine::{ContainerState, EngineError};
use crate::report::{Listed, Message, Several, Told};
use crate::services::ServicesError;

/// An operation on a database that did not do what it was asked. Unless a variant says otherwise, the database that
/// was there before is there still, under its name and as it was.
#[derive(Debug, thiserror::Error)]
pub enum DatabasesError {
    /// Not transparent: whoever looks for the engine's error among the causes must find it.
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

impl Told for DatabasesError {
    fn message(&self) -> Message {
        match self {
            Self::Engine(error) => error.message(),
            Self::NoContainer { container } => message!("error-databases-no-container", container = container),
            Self::NotRunning { container, state } => {
                message!("error-databases-not-running", container = container, state = state.message())
            }
            Self::Login { user, server, .. } => message!("error-databases-login", user = user, server = server),
            Self::NoWay { server, .. } => message!("error-databases-no-way", server = server),
            Self::TooOld { server, version } => message!("error-databases-too-old", server = server, version = version),
            Self::UnusablePassword => message!("error-databases-unusable-password"),
            Self::Nul { operation, database } => {
                message!("error-databases-nul", operation = operation, database = database)
            }
            Self::NotFound { database, server } => {
                message!("error-databases-not-found", database = database, server = server)
            }
            Self::Sql { operation, database, .. } => {
                message!("error-databases-sql", operation = operation, database = database)
            }
            Self::Answer { operation, .. } => message!("error-databases-answer", operation = operation),
            Self::Tool { program, database, code, .. } => {
                message!("error-databases-tool", program = program, database = database, code = code)
            }
            Self::Unseen => message!("error-databases-unseen"),
            Self::CopyFailed { folder, code, .. } => {
                message!("error-databases-copy-failed", folder = folder.display(), code = code)
            }
            Self::Throwaway { server, .. } => message!("error-databases-throwaway", server = server),
            Self::NotTried { id, reason } => message!("error-databases-not-tried", id = id, reason = reason),
            Self::NoRoom { database, problem } => {
                message!("error-databases-no-room", database = database, problem = problem)
            }
            Self::NoToolsImage { image } => message!("error-databases-no-tools-image", image = image),
            Self::File { operation, path, .. } => {
                message!("error-file", operation = operation, path = path.display())
            }
            Self::Record { path, .. } => message!("error-databases-record", path = path.display()),
            Self::Damaged { path, damage } => {
                message!("error-databases-damaged", path = path.display(), damage = damage)
            }
            Self::NewerArchive { path, .. } => message!("error-databases-newer-archive", path = path.display()),
            Self::LockedByOthers { database, seconds, .. } => {
                message!("error-databases-locked-by-others", database = database, seconds = seconds)
            }
            Self::LockLost { database } => message!("error-databases-lock-lost", database = database),
            Self::Incomplete { database, missing } => {
                message!("error-databases-incomplete", database = database, missing = missing)
            }
            Self::Shrunk { what, database, new_bytes, old_bytes } => message!(
                "error-databases-shrunk",
                what = what.message(),
                database = database,
                new_bytes = new_bytes,
                old_bytes = old_bytes
            ),
            Self::Emptied { what, database, tables: 0 } => {
                message!("error-databases-no-tables", database = database, what = what.message())
            }
            Self::Emptied { what, database, .. } => {
                message!("error-databases-no-rows", database = database, what = what.message())
            }
            Self::RestoredOtherwise { source_path, difference } => message!(
                "error-databases-restored-otherwise",
                source_path = source_path.display(),
                difference = difference
            ),
            Self::DiskFull { database, free_mebibytes, folder } => message!(
                "error-databases-disk-full",
                database = database,
                free_mebibytes = free_mebibytes,
                folder = folder
            ),
            Self::DumpDiskFull { database, free_mebibytes, folder, reserve_mebibytes } => message!(
                "error-databases-dump-disk-full",
                database = database,
                free_mebibytes = free_mebibytes,
                folder = folder.display(),
                reserve_mebibytes = reserve_mebibytes
            ),
            Self::EngineDiskFull { database, free_mebibytes, folder, reserve_mebibytes } => message!(
                "error-databases-engine-disk-full",
                database = database,
                free_mebibytes = free_mebibytes,
                folder = folder.display(),
                reserve_mebibytes = reserve_mebibytes
            ),
            Self::Unfit { database, source_path, problems } => message!(
                "error-databases-unfit",
                source_path = source_path.display(),
                database = database,
                problems = Several(problems.clone())
            ),
            Self::NoArchive { path, why } => message!("error-databases-no-archive", path = path.display(), why = why),
            Self::Unconvertible { path, .. } => message!("error-databases-unconvertible", path = path.display()),
            Self::SeveralDatabases { path, found, database } => {
                message!(
                    "error-databases-several-databases",
                    path = path.display(),
                    found = Listed::of(found),
                    database = database
                )
            }
            Self::Patch { path, database, .. } => {
                message!("error-databases-patch", path = path.display(), database = database)
            }
            Self::Patches { database, problems } => {
                message!("error-databases-patches", database = database, problems = Several(problems.clone()))
            }
            Self::CannotPreserve { database, problems } => {
                message!("error-databases-cannot-preserve", database = database, problems = Several(problems.clone()))
            }
            Self::NotKept { name } => message!("error-databases-not-kept", name = name),
            Self::NothingKept { database } => message!("error-databases-nothing-kept", database = database),
            Self::CannotRollBack { database, problems } => {
                message!("error-databases-cannot-roll-back", database = database, problems = Several(problems.clone()))
            }
            Self::NoBackup { id: Some(id), database, folder, .. } => {
                message!("error-databases-no-backup", id = id, database = database, folder = folder.display())
            }
            Self::NoBackup { id: None, database, folder, .. } => {
                message!("error-databases-no-backups", database = database, folder = folder.display())
            }
            Self::Busy { database } => message!("error-databases-busy", database = database),
            Self::Dependents { operation: DependentsOperation::Stop, database, .. } => {
                message!("error-databases-dependents-stop", database = database)
            }
            Self::Dependents { operation: DependentsOperation::Start, database, .. } => {
                message!("error-databases-dependents-start", database = database)
            }
            Self::Orphaned { database, old } => message!("error-databases-orphaned", database = database, old = old),
            Self::NeverQuiet { database, .. } => message!("error-databases-never-quiet", database = database),
            Self::ServerEnded { server, code, .. } => {
                message!("error-databases-server-ended", server = server, code = code)
            }
            Self::AfterSwap { database, .. } => message!("error-databases-after-swap", database = database),
            Self::Statement { line, .. } => message!("error-databases-statement", line = line),
            Self::NotAStatement { line, reason } => {
                message!("error-databases-not-a-statement", line = line, reason = reason)
            }
            Self::Stopped { database } => message!("error-databases-stopped", database = database),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::Patch { database, .. } | Self::Patches { database, .. } | Self::CannotPreserve { database, .. } => {
                Some(message!("hint-exact", database = database))
            }
            Self::AfterSwap { database, .. } => Some(message!("hint-after-swap", database = database)),
            Self::Login { .. } => Some(message!("hint-login")),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some(message!("hint-disk-full"))
            }
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some(message!("hint-file-absent"))
            }
            // As programs in containers say it in C's language.
            Self::Tool { source, .. } | Self::CopyFailed { source, .. }
                if source.text().contains("No space left on device") =>
            {
                Some(message!("hint-disk-full"))
            }
            Self::NoBackup { nearest: Some(meant), .. } => Some(message!("hint-backup-meant", meant = meant)),
            Self::NoBackup { last: Some(last), database, .. } => {
                Some(message!("hint-backup-last", last = last, database = database))
            }
            _ => None,
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn services_that_were_asked_to_end_while_they_stop_are_no_fault_of_the_database() {
        let stopping = |source: ServicesError| DatabasesError::Dependents {
            operation: DependentsOperation::Stop,
            database: "expert".to_owned(),
            source: Box::new(source),
        };
        assert!(stopping(ServicesError::Interrupted { report: Box::default() }).is_stop());
        assert!(!stopping(ServicesError::UnknownService("api".to_owned())).is_stop());
    }

    #[test]
    fn a_full_disk_and_a_refused_password_are_told_with_what_to_do() {
        let path = std::path::Path::new("backups");
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let full = DatabasesError::file(message!("verb-store-backup"), path)(full);
        let refused = DatabasesError::Login {
            server: message!("server-in-container", container = "db"),
            user: "app".to_owned(),
            source: Said::new(b"no"),
        };
        let dumping = DatabasesError::Tool {
            program: "pg_dump",
            database: "expert".to_owned(),
            code: 1,
            source: Said::new(b"pg_dump: error: could not write to file: No space left on device"),
        };
        let absent = DatabasesError::file(message!("verb-read"), path)(std::io::ErrorKind::NotFound.into());
        for error in [full, dumping, refused, absent] {
            assert!(error.hint().is_some(), "{error}");
        }
    }
}
