//! What a database is restored from: one of our folders, or an archive that stock `pg_dump` wrote.
//!
//! A folder of ours has a record that says what must come out. Of any other archive the same is found out by reading it
//! through once, in a container without a network: what it holds, for whom, and how many rows. It is read by
//! `pg_restore` alone; psql never runs what came from elsewhere.

mod choice;
mod expected;
mod kind;
mod read_through;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use self::choice::{LastBackup, PassedOver, PassedOverBecause, find_backup, last_backup};
pub(in crate::databases) use self::expected::{Expected, by_name};
pub use self::kind::{SourceKind, source_kind};
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, RECORD_FILE, Record};
use crate::databases::containers::helper::{self, INSIDE};
use crate::databases::error::DatabasesError;
use crate::databases::replace::options::Adaptation;
use crate::databases::server::connect::Server;
use crate::databases::verify;
use crate::report::{Activity, Message, Reporter};

/// An archive that can be restored.
#[derive(Debug, Clone)]
pub(in crate::databases) struct Source {
    /// What people named.
    pub path: PathBuf,
    /// The folder that a helper sees, or the one file.
    pub folder: PathBuf,
    /// The archive's name inside a helper.
    name: String,
    kind: SourceKind,
    record: Option<Record>,
}

/// A file as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::databases) struct Mark {
    path: PathBuf,
    bytes: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Source {
    /// Finds out what it is; a folder's record is read here, nothing else.
    pub fn open(path: &Path) -> Result<Self, DatabasesError> {
        let kind = source_kind(path)?;
        let not_restorable = |why: Message| DatabasesError::NoArchive { path: path.to_owned(), why };
        let (folder, name, record) = match kind {
            SourceKind::Backup => (path.to_owned(), ARCHIVE.to_owned(), Some(Record::read(path)?)),
            SourceKind::Sql => {
                return Err(not_restorable(message!("source-sql")));
            }
            SourceKind::Packed(packing) => return Err(not_restorable(packing.advice())),
            SourceKind::Other => {
                return Err(not_restorable(message!("source-unknown")));
            }
            SourceKind::Directory => (path.to_owned(), String::new(), None),
            SourceKind::Custom | SourceKind::Tar => {
                // The file alone: what lies beside it is nobody's business.
                let path = std::fs::canonicalize(path).map_err(DatabasesError::file(message!("verb-find"), path))?;
                (path, helper::FILE.to_owned(), None)
            }
        };
        Ok(Self { path: path.to_owned(), folder, name, kind, record })
    }

    /// Where the archive is, inside a helper.
    pub fn inside(&self) -> String {
        if self.name.is_empty() { INSIDE.to_owned() } else { format!("{INSIDE}/{}", self.name) }
    }

    /// Whether it is a folder of ours, with a directory archive.
    pub fn is_ours(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.archive == ArchiveFormat::Directory)
    }

    /// A tar is read from its beginning to its end: several can't at once.
    pub fn can_be_read_in_parallel(&self) -> bool {
        self.kind != SourceKind::Tar
    }

    /// Reads all of it: digests where there are some, the whole archive through `pg_restore` where not. What it needs is
    /// told as it is restored.
    pub async fn verify(
        &self,
        server: &Server,
        adaptation: &Adaptation,
        reporter: &Reporter,
    ) -> Result<Expected, DatabasesError> {
        tokio::select! {
            read = self.read(server, adaptation, reporter) => read,
            () = reporter.stop_asked() => Err(DatabasesError::Stopped { database: self.path.display().to_string() }),
        }
    }

    async fn read(
        &self,
        server: &Server,
        adaptation: &Adaptation,
        reporter: &Reporter,
    ) -> Result<Expected, DatabasesError> {
        match &self.record {
            Some(record) => {
                verify::verify_digests(&self.folder, record, reporter).await?;
                let mut expected = Expected::recorded(record);
                if !adaptation.is_none() {
                    // The record does not tell owners from others.
                    let facts = self.schema_facts(server, adaptation).await?;
                    expected.needs(&facts, adaptation, &server.client.credentials.user);
                }
                Ok(expected)
            }
            None => {
                let subject = self.path.display().to_string();
                reporter.began(Activity::VerifyDump, subject.as_str(), None);
                let found = self.read_through(server, adaptation).await;
                match &found {
                    Ok(expected) => {
                        let message = message!("databases-archive-read", tables = expected.tables.len());
                        reporter.done(Activity::VerifyDump, subject, message);
                    }
                    Err(error) => reporter.failed(Activity::VerifyDump, subject, error),
                }
                found
            }
        }
    }

    /// What tells that nobody has touched it: name, size, number and time of change of each of its files.
    pub fn marks(&self) -> Result<Vec<Mark>, DatabasesError> {
        let files: Vec<PathBuf> = match (self.kind, &self.record) {
            (_, Some(record)) => {
                let files = match record.large_object_files {
                    None => record.files.iter().map(|file| self.folder.join(&file.path)).collect(),
                    // The record does not name them one by one.
                    Some(_) => files_in(&self.folder.join(ARCHIVE))?,
                };
                files.into_iter().chain([self.folder.join(RECORD_FILE)]).collect()
            }
            (SourceKind::Directory, None) => files_in(&self.folder)?,
            _ => vec![self.folder.clone()],
        };
        let mut marks = Vec::new();
        for path in files {
            // A link is as good as what it leads to.
            let metadata = std::fs::metadata(&path).map_err(DatabasesError::file(message!("verb-look-at"), &path))?;
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            marks.push(Mark { path, bytes: metadata.len(), inode: metadata.ino(), changed });
        }
        marks.sort();
        Ok(marks)
    }

    /// What is known before it is read: of a folder of ours everything.
    pub fn known(&self) -> Option<Expected> {
        self.record.as_ref().map(Expected::recorded)
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, DatabasesError> {
    let fail = || DatabasesError::file(message!("verb-look-at"), folder);
    let entries = std::fs::read_dir(folder).map_err(fail())?;
    entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(fail())
}
