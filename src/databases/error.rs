//! What work on databases can end in.

use std::path::{Path, PathBuf};

use crate::databases::archive::record::RecordError;
use crate::engine::{ContainerState, EngineError};

/// An operation on a database that did not do what it was asked. Unless a variant says otherwise, the database that
/// was there before is there still, under its name and as it was.
#[derive(Debug, thiserror::Error)]
pub enum DatabasesError {
    /// Not transparent: whoever looks for the engine's error among the causes must find it.
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("there is no container {container}; start the database's service first, or give --start")]
    NoContainer { container: String },
    #[error("container {container} is {}; start the database's service first, or give --start", .state.word())]
    NotRunning { container: String, state: ContainerState },
    #[error("role `{user}` can't log in to the PostgreSQL server {server}")]
    Login {
        /// `in container shop-db-1`, `at db.example:5432`.
        server: String,
        user: String,
        #[source]
        source: Said,
    },
    #[error(
        "the server {server} answers in its own container alone, and the container that dumps or restores can't reach it: \
         let it listen on 127.0.0.1 (listen_addresses, pg_hba.conf), or put its socket's folder on a volume"
    )]
    NoWay {
        server: String,
        #[source]
        source: Said,
    },
    #[error("the server {server} is PostgreSQL {version}; dpl works with 13 and later")]
    TooOld { server: String, version: String },
    #[error("a password with a line break or a NUL in it can't be handed to PostgreSQL's programs")]
    UnusablePassword,
    #[error("can't {operation} in database `{database}`: a name, a value or a statement has a NUL in it")]
    Nul { operation: &'static str, database: String },
    #[error("there is no database `{database}` on the server {server}")]
    NotFound { database: String, server: String },
    #[error("can't {operation} in database `{database}`")]
    Sql {
        operation: &'static str,
        database: String,
        #[source]
        source: Said,
    },
    #[error("the server's answer when asked to {operation} is not what this question is answered with")]
    Answer {
        operation: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{program} of database `{database}` ended with exit code {code}")]
    Tool {
        program: &'static str,
        database: String,
        code: i64,
        #[source]
        source: Said,
    },
    /// Inside this module only: files then travel another way.
    #[error("containers of this engine don't see the folders of this machine")]
    Unseen,
    #[error("copying {} through the engine ended with exit code {code}", .folder.display())]
    CopyFailed {
        folder: PathBuf,
        code: i64,
        #[source]
        source: Said,
    },
    #[error("a throw-away server from the image of {server} did not come up")]
    Throwaway {
        server: String,
        #[source]
        source: Said,
    },
    /// Nothing is said about the dump by that.
    #[error("{id} can't be tried out here: {reason}")]
    NotTried { id: String, reason: String },
    #[error("`{database}` can't be tried out in a throw-away server: {problem}")]
    NoRoom { database: String, problem: String },
    #[error("there is no image {image} on the engine: load it first")]
    NoToolsImage { image: String },
    #[error("can't {operation} {}", .path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} does not describe a backup", .path.display())]
    Record {
        path: PathBuf,
        #[source]
        source: RecordError,
    },
    #[error("{} is damaged: {damage}; take another copy of it", .path.display())]
    Damaged { path: PathBuf, damage: String },
    #[error("{} was made by a newer pg_dump than this server's pg_restore can read; it is whole", .path.display())]
    NewerArchive {
        path: PathBuf,
        #[source]
        source: Said,
    },
    #[error(
        "`{database}` was not dumped: somebody else held a lock on one of its tables for more than {seconds} s; see \
         pg_locks and pg_stat_activity, then run it again"
    )]
    LockedByOthers {
        database: String,
        seconds: u64,
        #[source]
        source: Said,
    },
    #[error(
        "the session that held the lock on `{database}` has ended, so that another dpl may be at work on it; nothing was \
         replaced, run it again"
    )]
    LockLost { database: String },
    #[error("the dump of `{database}` is not complete, and was thrown away: {missing}")]
    Incomplete { database: String, missing: String },
    #[error(
        "the {what} of `{database}` would have {new_bytes} bytes, less than half of the last one's {old_bytes}; \
         look at the database, then run it again with --allow-shrink"
    )]
    Shrunk { what: &'static str, database: String, new_bytes: u64, old_bytes: u64 },
    #[error(
        "`{database}` has {} now, and its last {what} has them; look at the database, then run it again with --allow-shrink",
        if *.tables == 0 { "no tables" } else { "no rows" }
    )]
    Emptied { what: &'static str, database: String, tables: usize },
    #[error("the database restored from {} is not what was dumped: {difference}", .source_path.display())]
    RestoredOtherwise { source_path: PathBuf, difference: String },
    #[error(
        "the new `{database}` was given up, and is dropped again: only {free_mebibytes} MiB were left where the server keeps \
         its data ({folder}), and a full disk stops the server with all its databases; make room there, then run it again"
    )]
    DiskFull { database: String, folder: String, free_mebibytes: u64 },
    #[error(
        "`{database}` was not dumped: only {free_mebibytes} MiB are left at {}, on the disk where the server keeps its data, \
         and it ends with all its databases where that is full ({reserve_mebibytes} MiB stay free for it); make room there, \
         or name a folder on another disk", .folder.display()
    )]
    DumpDiskFull { database: String, folder: PathBuf, free_mebibytes: u64, reserve_mebibytes: u64 },
    #[error("`{database}` can't be rebuilt from {}:\n{}", .source_path.display(), lines(.problems))]
    Unfit { database: String, source_path: PathBuf, problems: Vec<String> },
    #[error("{} can't be restored: {why}", .path.display())]
    NoArchive { path: PathBuf, why: &'static str },
    #[error("{} can't be converted: psql had something to say of it", .path.display())]
    Unconvertible {
        path: PathBuf,
        #[source]
        source: Said,
    },
    #[error("{} makes several databases ({found}), and none of them is `{database}`; say which with --database", .path.display())]
    SeveralDatabases { path: PathBuf, database: String, found: String },
    #[error("patch {} can't be applied to the new `{database}`, which is dropped again", .path.display())]
    Patch {
        database: String,
        path: PathBuf,
        #[source]
        source: Said,
    },
    #[error("the patches of `{database}` can't be applied:\n{}", lines(.problems))]
    Patches { database: String, problems: Vec<String> },
    #[error("rows of `{database}` can't live on in the new one:\n{}", lines(.problems))]
    CannotPreserve { database: String, problems: Vec<String> },
    #[error("{name} was not replaced by a rebuild, so that it can't be kept for a rollback")]
    NotKept { name: String },
    #[error(
        "no replaced `{database}` is kept; `dpl db rebuild --keep-old 1` keeps one, and `dpl db restore` has the backups"
    )]
    NothingKept { database: String },
    #[error(
        "`{database}` has {count} prepared transactions, which keep it from being renamed: commit or roll them back"
    )]
    Prepared { database: String, count: u64 },
    #[error("there is no backup {id} of `{database}` below {}", .folder.display())]
    NoBackup {
        id: String,
        database: String,
        folder: PathBuf,
        /// The backup whose ID is nearest to the wrong one.
        nearest: Option<String>,
        last: Option<String>,
    },
    #[error("another dpl is at work on database `{database}`; wait until it is through")]
    Busy { database: String },
    #[error("can't {operation} the services that use database `{database}`")]
    Dependents {
        operation: &'static str,
        database: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "database `{database}` is gone, and `{old}` holds its last state: a rebuild was interrupted by hand. \
         Rename it back: ALTER DATABASE … RENAME TO …, then ALTER DATABASE … ALLOW_CONNECTIONS true"
    )]
    Orphaned { database: String, old: String },
    #[error("connections to `{database}` came back as fast as they were ended; stop what opens them and try again")]
    NeverQuiet {
        database: String,
        #[source]
        source: Box<DatabasesError>,
    },
    /// The server ended under the work; what was said first is the cause.
    #[error(
        "the server {server} ended in the middle of it (exit code {code}); `dpl logs` of its service may say why. \
         Start it with `dpl start`, then run this again: it clears up first"
    )]
    ServerEnded {
        server: String,
        code: i64,
        #[source]
        source: Box<DatabasesError>,
    },
    /// The new database is in place; what comes after the swap was not done. Running it again does that, and no more.
    #[error("`{database}` has the new data, but what follows the swap is not done")]
    AfterSwap {
        database: String,
        #[source]
        source: Box<DatabasesError>,
    },
    #[error("the statement at line {line} failed")]
    Statement {
        /// From 1, in what was given.
        line: usize,
        #[source]
        source: Said,
    },
    #[error("line {line}: {reason}")]
    NotAStatement { line: usize, reason: &'static str },
    #[error("stopped before `{database}` was changed")]
    Stopped { database: String },
}

/// What a program or the server wrote on its error stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Said(String);

impl Said {
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The last lines of a program's standard error; a program that said nothing is told as such.
    pub(super) fn new(stderr: &[u8]) -> Self {
        const KEPT: usize = 4000;
        let text = String::from_utf8_lossy(stderr);
        let text = text.trim();
        if text.is_empty() {
            return Self("it gave no reason".to_owned());
        }
        let from = text.char_indices().rev().take_while(|(index, _)| text.len() - index <= KEPT).last();
        Self(text[from.map_or(0, |(index, _)| index)..].to_owned())
    }
}

impl DatabasesError {
    /// Whether it is the end that somebody asked for, and nothing else went wrong.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Stopped { .. } => true,
            Self::AfterSwap { source, .. } => source.is_stop(),
            _ => false,
        }
    }

    /// For `map_err` on file operations; `operation` and `path` finish the sentence "can't …".
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}

fn lines(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_stream_keeps_its_end() {
        let text = format!("{}末尾", "é".repeat(5000));
        let said = Said::new(text.as_bytes()).to_string();
        assert!(said.ends_with("末尾") && said.len() <= 4000, "{}", said.len());
    }

    #[test]
    fn silence_is_told() {
        assert_eq!(Said::new(b" \n").to_string(), "it gave no reason");
    }
}
