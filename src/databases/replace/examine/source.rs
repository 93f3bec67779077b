//! What a database is restored from: one of our folders, or an archive that stock `pg_dump` wrote.
//!
//! A folder of ours has a record that says what must come out. Of any other archive the same is found out by reading it
//! through once, in a container without a network: what it holds, for whom, and how many rows. It is read by
//! `pg_restore` alone; psql never runs what came from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::databases::archive::names;
use crate::databases::archive::record::{ARCHIVE, RECORD_FILE, Record};
use crate::databases::archive::script::{self, ScriptFacts};
use crate::databases::containers::helper::{self, Access, Helper, INSIDE, Reach};
use crate::databases::described::inventory::{Role, Table};
use crate::databases::described::properties::Properties;
use crate::databases::dump::backup::{self, BackupFolder, Existing, FoundBackups};
use crate::databases::error::{DatabasesError, Said};
use crate::databases::list::backup_stamps;
use crate::databases::replace::options::{Adaptation, Owners};
use crate::databases::server::client::chance;
use crate::databases::server::connect::Server;
use crate::databases::verify;
use crate::engine::ExecSpec;
use crate::manifest::nearest;
use crate::report::{Activity, Reporter, in_one_line};

/// What lies at a path, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A folder with a `backup.json`.
    Backup,
    /// `pg_dump -Fc`.
    Custom,
    /// `pg_dump -Fd`.
    Directory,
    /// `pg_dump -Ft`.
    Tar,
    /// SQL in plain text, or that under gzip: nothing that a server is given as it is.
    Sql,
    /// Text that something else has to make readable first.
    Packed(Packing),
    /// Nothing of these.
    Other,
}

/// How a file is packed that has to be unpacked before anything can be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Zstd,
    Xz,
    Bzip2,
    /// An archive of pg_dump's under gzip.
    GzipOfArchive,
    /// UTF-16 text, as Windows' PowerShell writes it.
    Utf16,
}

impl Packing {
    fn of(head: &[u8]) -> Option<Self> {
        let begins = |magic: &[u8]| head.starts_with(magic);
        Some(match () {
            () if begins(&[0x28, 0xb5, 0x2f, 0xfd]) => Self::Zstd,
            () if begins(&[0xfd, b'7', b'z', b'X', b'Z', 0]) => Self::Xz,
            () if begins(b"BZh") => Self::Bzip2,
            () if begins(&[0xff, 0xfe]) || begins(&[0xfe, 0xff]) => Self::Utf16,
            () => return None,
        })
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Zstd => "it is packed with zstd; unpack it first (zstd -d)",
            Self::Xz => "it is packed with xz; unpack it first (xz -d)",
            Self::Bzip2 => "it is packed with bzip2; unpack it first (bzip2 -d)",
            Self::GzipOfArchive => "it is an archive of pg_dump's under gzip; unpack it first (gzip -d)",
            Self::Utf16 => "it is text in UTF-16; convert it first (iconv -f UTF-16 -t UTF-8)",
        }
    }
}

/// Looks at what lies at `path`.
pub fn source_kind(path: &Path) -> Result<SourceKind, DatabasesError> {
    let fail = || DatabasesError::file("read", path);
    if std::fs::metadata(path).map_err(fail())?.is_dir() {
        return Ok(match (path.join(RECORD_FILE).exists(), path.join("toc.dat").exists()) {
            (true, _) => SourceKind::Backup,
            (false, true) => SourceKind::Directory,
            (false, false) => SourceKind::Other,
        });
    }
    let mut head = [0; 512];
    let read = read_some(&mut std::fs::File::open(path).map_err(fail())?, &mut head).map_err(fail())?;
    let head = &head[..read];
    if head.starts_with(b"PGDMP") {
        return Ok(SourceKind::Custom);
    }
    if head.len() == 512 && &head[257..262] == b"ustar" {
        return Ok(if head.starts_with(b"toc.dat\0") { SourceKind::Tar } else { SourceKind::Other });
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        let mut inner = [0; 512];
        let file = std::fs::File::open(path).map_err(fail())?;
        let read = read_some(&mut flate2::read::MultiGzDecoder::new(file), &mut inner).map_err(fail())?;
        return Ok(match &inner[..read] {
            inner if is_text(inner) => SourceKind::Sql,
            inner if inner.starts_with(b"PGDMP") => SourceKind::Packed(Packing::GzipOfArchive),
            _ => SourceKind::Other,
        });
    }
    if let Some(packing) = Packing::of(head) {
        return Ok(SourceKind::Packed(packing));
    }
    Ok(if is_text(head) { SourceKind::Sql } else { SourceKind::Other })
}

/// The folder of a backup: the last one of `database`, or the one with this ID (`expert/20260704T101530Z`, or the time
/// alone), which may be another database's.
pub fn find_backup(
    folder: impl Into<BackupFolder>,
    database: &str,
    id: Option<&str>,
) -> Result<PathBuf, DatabasesError> {
    let folder = folder.into();
    let backups = folder.path.as_path();
    let none = |id: &str| {
        let times: Vec<String> = backup_stamps(backups, database).into_iter().map(|backup| backup.time).collect();
        let wrong = id.rsplit('/').next().unwrap_or_default();
        DatabasesError::NoBackup {
            id: id.to_owned(),
            database: database.to_owned(),
            folder: backups.join("databases"),
            nearest: nearest(wrong, times.iter().map(String::as_str)).map(str::to_owned),
            last: times.last().cloned(),
        }
    };
    let Some(id) = id else {
        return last_backup(&folder, database)?.map(|last| last.path).ok_or_else(|| none("at all"));
    };
    let home = match id.split_once('/') {
        None => backup::folder_of(backups, database),
        // The name as a folder has it: nothing else comes to a path.
        Some((name, _)) if is_folder_name(name) => backups.join("databases").join(name),
        Some(_) => return Err(none(id)),
    };
    let stamp = id.rsplit('/').next().unwrap_or_default();
    let folder = home.join(stamp);
    if names::is_stamp(stamp) && folder.join(RECORD_FILE).exists() { Ok(folder) } else { Err(none(id)) }
}

/// The backup that a restore takes where none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastBackup {
    pub path: PathBuf,
    /// Newer ones that it is taken before, and why.
    pub passed_over: Vec<PassedOver>,
}

/// A backup that is newer than the one that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its folder.
    pub path: PathBuf,
    pub reason: PassedOverBecause,
}

/// Why a newer backup is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassedOverBecause {
    /// What can't be read about it.
    Unreadable(String),
    /// It was found bad.
    Bad,
    /// It is of a time that has not come yet.
    FromTheFuture,
}

/// The last backup that is not known to be bad, nor of a time that has not come yet; such a one only where there is no
/// other.
pub fn last_backup(folder: impl Into<BackupFolder>, database: &str) -> Result<Option<LastBackup>, DatabasesError> {
    let FoundBackups { backups, broken } = backup::existing(&folder.into(), database)?;
    let is_good = |backup: &Existing| backup.known.verification.failed.is_none() && !backup.is_future;
    let Some(taken) = backups.iter().rposition(is_good).or_else(|| backups.len().checked_sub(1)) else {
        return Ok(None);
    };
    let path = backups[taken].path.clone();
    let newer = |backup: &Existing| {
        let reason = match backup.is_future {
            true => PassedOverBecause::FromTheFuture,
            false => PassedOverBecause::Bad,
        };
        PassedOver { path: backup.path.clone(), reason }
    };
    let of_the_future = backups.iter().take(taken).filter(|backup| backup.is_future);
    let mut passed_over: Vec<PassedOver> = of_the_future.chain(&backups[taken + 1..]).map(newer).collect();
    // Its name is all that is known of such a one.
    let unreadable = broken.into_iter().filter(|broken| broken.path.file_name() > path.file_name());
    passed_over.extend(unreadable.map(|broken| PassedOver {
        reason: PassedOverBecause::Unreadable(in_one_line(&broken.error)),
        path: broken.path,
    }));
    Ok(Some(LastBackup { path, passed_over }))
}

/// Whether `fs::escape` could have made it.
fn is_folder_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-%".contains(&byte))
}

fn read_some(from: &mut dyn Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// An archive is never text, and SQL is never anything else.
fn is_text(head: &[u8]) -> bool {
    !head.is_empty()
        && !head.starts_with(b"PGDMP")
        && head.iter().all(|byte| *byte >= 0x20 || b"\t\n\r\x0c".contains(byte))
}

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

/// What must come out of it, and what it needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::databases) struct Expected {
    /// A backup's ID, or the path.
    pub label: String,
    /// The database that it is a dump of, where it says that.
    pub database: Option<String>,
    /// Rows of each table that has any.
    pub tables: Vec<Table>,
    /// Whether it holds rows at all: those of `--inserts` belong to no table that is known.
    pub holds_rows: bool,
    /// Whether no other tables may be there.
    pub exhaustive: bool,
    pub large_objects: Option<u64>,
    pub roles: Vec<String>,
    /// Where objects of it lie that are not at the database's own place, as far as that is known.
    pub tablespaces: Vec<String>,
    /// Those of the roles of which it says what they were.
    pub made_roles: Vec<Role>,
    pub extensions: Vec<String>,
    pub server_version: String,
    pub major: Option<u32>,
    /// What it will take on the server's disk, at least.
    pub size_bytes: u64,
    /// The archive itself.
    pub bytes: u64,
    pub properties: Option<Properties>,
    pub encoding: Option<String>,
    /// Whether the archive makes the schema `public` itself.
    pub makes_public: bool,
}

impl Expected {
    /// The roles and tablespaces that must be there for it.
    fn needs(&mut self, facts: &ScriptFacts, adaptation: &Adaptation, restorer: &str) {
        let owners = facts.owners.iter().map(|owner| adaptation.owners.of(owner, restorer).to_owned());
        let roles: BTreeSet<String> = owners.chain(facts.roles.iter().cloned()).collect();
        self.roles = roles.into_iter().collect();
        self.tablespaces = facts.tablespaces.iter().cloned().collect();
    }
}

impl Source {
    /// Finds out what it is; a folder's record is read here, nothing else.
    pub fn open(path: &Path) -> Result<Self, DatabasesError> {
        let kind = source_kind(path)?;
        let not_restorable = |why: &'static str| DatabasesError::NoArchive { path: path.to_owned(), why };
        let (folder, name, record) = match kind {
            SourceKind::Backup => (path.to_owned(), ARCHIVE.to_owned(), Some(Record::read(path)?)),
            SourceKind::Sql => {
                return Err(not_restorable("it is SQL in plain text; `dpl db convert` makes an archive of it"));
            }
            SourceKind::Packed(packing) => return Err(not_restorable(packing.advice())),
            SourceKind::Other => {
                return Err(not_restorable("it is neither a backup of dpl's nor an archive of pg_dump's"));
            }
            SourceKind::Directory => (path.to_owned(), String::new(), None),
            SourceKind::Custom | SourceKind::Tar => {
                // The file alone: what lies beside it is nobody's business.
                let path = std::fs::canonicalize(path).map_err(DatabasesError::file("find", path))?;
                (path, helper::FILE.to_owned(), None)
            }
        };
        Ok(Self { path: path.to_owned(), folder, name, kind, record })
    }

    /// Where the archive is, inside a helper.
    pub fn inside(&self) -> String {
        if self.name.is_empty() { INSIDE.to_owned() } else { format!("{INSIDE}/{}", self.name) }
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
                let mut expected = recorded(record);
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
            let metadata = std::fs::metadata(&path).map_err(DatabasesError::file("look at", &path))?;
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            marks.push(Mark { path, bytes: metadata.len(), inode: metadata.ino(), changed });
        }
        marks.sort();
        Ok(marks)
    }

    /// What is known before it is read: of a folder of ours everything.
    pub fn known(&self) -> Option<Expected> {
        self.record.as_ref().map(recorded)
    }

    async fn schema_facts(&self, server: &Server, adaptation: &Adaptation) -> Result<ScriptFacts, DatabasesError> {
        let helper = Helper::start(server, &self.folder, Access::Read, Reach::Nothing).await?;
        let facts = self.schema_facts_in(&helper, adaptation).await;
        helper.end().await;
        facts
    }

    async fn schema_facts_in(&self, helper: &Helper, adaptation: &Adaptation) -> Result<ScriptFacts, DatabasesError> {
        let mut arguments = vec!["--schema-only".to_owned(), "--file=-".to_owned()];
        // Who owns what shows, and is left out of what is needed behind it.
        arguments.extend(Adaptation { owners: Owners::AsDumped, ..adaptation.clone() }.arguments());
        arguments.push(self.inside());
        let schema = helper.client.run("pg_restore", &arguments, b"").await?;
        if schema.exit_code != 0 {
            return Err(self.damaged(&schema.stderr));
        }
        Ok(script::read_schema(&String::from_utf8_lossy(&schema.stdout)))
    }

    fn damaged(&self, stderr: &[u8]) -> DatabasesError {
        DatabasesError::Damaged {
            path: self.path.clone(),
            damage: format!("pg_restore can't read it ({})", Said::new(stderr)),
        }
    }

    async fn read_through(&self, server: &Server, adaptation: &Adaptation) -> Result<Expected, DatabasesError> {
        let helper = Helper::start(server, &self.folder, Access::Read, Reach::Nothing).await?;
        let found = self.read_through_in(&helper, adaptation).await;
        helper.end().await;
        found
    }

    async fn read_through_in(&self, helper: &Helper, adaptation: &Adaptation) -> Result<Expected, DatabasesError> {
        let listing = helper.client.run("pg_restore", &["--list".to_owned(), self.inside()], b"").await?;
        if listing.exit_code != 0 {
            let said = Said::new(&listing.stderr);
            // What pg_restore says in C's language (`pg_backup_archiver.c`) of an archive whose format is newer than it.
            return Err(match said.text().contains("unsupported version (") {
                true => DatabasesError::NewerArchive { path: self.path.clone(), source: said },
                false => self.damaged(&listing.stderr),
            });
        }
        let facts = self.schema_facts_in(helper, adaptation).await?;
        let token = chance("dpl-end");
        let program = helper.client.program("pg_restore");
        let command = ["sh", "-c", COUNT, program.as_str(), &token, &self.inside()].map(str::to_owned).into();
        let spec = ExecSpec { command, environment: vec!["LC_ALL=C".to_owned()], ..Default::default() };
        let counted = helper.client.engine.exec(&helper.client.container, &spec, b"").await?;
        let rows = script::read_counts(&String::from_utf8_lossy(&counted.stdout));
        let Some(rows) = rows.filter(|rows| rows.exit_code == 0) else {
            return Err(self.damaged(&counted.stderr));
        };
        let mut expected = self.found(&String::from_utf8_lossy(&listing.stdout), &facts, rows);
        expected.needs(&facts, adaptation, &helper.client.credentials.user);
        Ok(expected)
    }

    fn found(&self, listing: &str, facts: &ScriptFacts, rows: script::Rows) -> Expected {
        let version = script::header(listing, "Dumped from database version:").unwrap_or_default();
        let total: u64 = rows.tables.values().sum();
        let tables = rows.tables.into_iter().map(|((schema, name), rows)| Table { schema, name, oid: 0, rows });
        Expected {
            label: self.path.display().to_string(),
            database: None,
            tables: tables.collect(),
            holds_rows: rows.inserts > 0 || total > 0,
            exhaustive: false,
            large_objects: None,
            roles: Vec::new(),
            tablespaces: Vec::new(),
            made_roles: Vec::new(),
            extensions: facts.extensions.iter().cloned().collect(),
            major: version.split(['.', ' ', 'd', 'b', 'r']).next().and_then(|major| major.parse().ok()),
            server_version: version,
            size_bytes: rows.bytes + BYTES_BESIDE_A_ROW * total,
            bytes: size_of(&self.path),
            properties: None,
            encoding: facts.encoding.clone(),
            makes_public: facts.makes_public,
        }
    }
}

/// A row's header and the pointer to it (PostgreSQL's "Database Page Layout"); its values take about what their text does.
const BYTES_BESIDE_A_ROW: u64 = 28;

fn recorded(record: &Record) -> Expected {
    Expected {
        label: record.id.clone(),
        database: Some(record.database.clone()),
        tables: record.tables.clone(),
        holds_rows: record.rows() > 0,
        exhaustive: true,
        large_objects: Some(record.large_objects),
        roles: record.roles.iter().map(|role| role.name.clone()).collect(),
        tablespaces: record.tablespaces.clone(),
        made_roles: record.roles.clone(),
        extensions: record.extensions.iter().map(|extension| extension.name.clone()).collect(),
        server_version: record.server_version.clone(),
        major: Some(record.server_version_number / 10_000),
        size_bytes: record.size_bytes,
        bytes: record.bytes(),
        properties: Some(record.properties.clone()),
        encoding: None,
        makes_public: false,
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, DatabasesError> {
    let fail = || DatabasesError::file("look at", folder);
    let entries = std::fs::read_dir(folder).map_err(fail())?;
    entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(fail())
}

/// For progress only: what can't be looked at has no size.
fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// `$0` is pg_restore, `$1` the word that tells its exit code from a row, `$2` the archive. Rows are counted where they
/// are, since the engine's stream would be the bottleneck.
const COUNT: &str = r#"{ "$0" --data-only --file=- "$2"; echo "$1 $?"; } | awk -v end="$1" '
  index($0, end " ") == 1 { print "exit\t" substr($0, length(end) + 2); next }
  inside && $0 == "\\." { print rows "\t" head; inside = 0; next }
  inside { rows++; bytes += length($0) + 1; next }
  /^COPY .* FROM stdin;$/ { inside = 1; rows = 0; head = $0 }
  /^INSERT INTO / { inserts++ }
  END { printf "inserts\t%.0f\nbytes\t%.0f\n", inserts, bytes }'"#;

/// Tables of a restored database by schema and name.
pub(in crate::databases) fn by_name(tables: &[Table]) -> BTreeMap<(&str, &str), u64> {
    tables.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table.rows)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn newer_backups_that_are_not_taken_are_told_with_the_reason() {
        use crate::databases::archive::record::tests::record;
        use crate::databases::archive::verification::{Failure, Verification};
        let folder = tempfile::tempdir().unwrap();
        let make = |stamp: &str| {
            let home = backup::folder_of(folder.path(), "expert").join(stamp);
            std::fs::create_dir_all(&home).unwrap();
            let created_at = names::time_of(stamp).unwrap();
            let record = Record { id: format!("expert/{stamp}"), created_at, ..record() };
            std::fs::write(home.join(RECORD_FILE), record.to_json()).unwrap();
            home
        };
        let good = make("20260704T000000Z");
        assert_eq!(last_backup(folder.path(), "expert").unwrap().unwrap().passed_over, []);
        let bad = make("20260705T000000Z");
        let mut verification = Verification::default();
        let failure = Failure { at: jiff::Timestamp::now(), operator: String::new(), reason: "noise".to_owned() };
        verification.refuted(failure);
        verification.write(&bad).unwrap();
        let unreadable = make("20260706T000000Z");
        std::fs::write(unreadable.join(RECORD_FILE), b"{").unwrap();
        let future = make("21350704T000000Z");
        let LastBackup { path, passed_over } = last_backup(folder.path(), "expert").unwrap().unwrap();
        assert_eq!(path, good);
        let why = |path: &Path| passed_over.iter().find(|over| over.path == path).map(|over| over.reason.clone());
        assert_eq!(why(&bad), Some(PassedOverBecause::Bad));
        assert_eq!(why(&future), Some(PassedOverBecause::FromTheFuture));
        assert!(matches!(why(&unreadable), Some(PassedOverBecause::Unreadable(_))));
        assert_eq!(passed_over.len(), 3);
    }

    #[test]
    fn a_file_is_known_by_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            source_kind(&path).unwrap()
        };
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let mut tar = vec![0; 1024];
        tar[..7].copy_from_slice(b"toc.dat");
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(kind("a.sql", b"PGDMP\x01\x0e"), SourceKind::Custom);
        assert_eq!(kind("a.dump", b"--\n-- PostgreSQL database dump\n"), SourceKind::Sql);
        assert_eq!(kind("b", &gzip(b"SELECT '\xe6\xa1\xa3';")), SourceKind::Sql);
        assert_eq!(kind("c", &gzip(b"PGDMP\x01")), SourceKind::Packed(Packing::GzipOfArchive));
        assert_eq!(kind("f", b"\xff\xfeS\0"), SourceKind::Packed(Packing::Utf16));
        assert_eq!(kind("d", &tar), SourceKind::Tar);
        tar[0] = b'x';
        assert_eq!(kind("d", &tar), SourceKind::Other);
        assert_eq!(kind("e", b""), SourceKind::Other);
        assert_eq!(kind("f", b"\x7fELF\x00"), SourceKind::Other);
        assert_eq!(source_kind(folder.path()).unwrap(), SourceKind::Other);
        std::fs::write(folder.path().join("toc.dat"), b"x").unwrap();
        assert_eq!(source_kind(folder.path()).unwrap(), SourceKind::Directory);
        std::fs::write(folder.path().join("backup.json"), b"x").unwrap();
        assert_eq!(source_kind(folder.path()).unwrap(), SourceKind::Backup);
    }
}
