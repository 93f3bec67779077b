//! `backup.json`: what a backup or a seed is, beside its archive.
//!
//! Reading it is pure and safe for any bytes: it may come from a disk that was elsewhere. What it names as files is
//! checked here, so that nothing behind this module can be led out of the folder.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::large_object_files::LargeObjectFiles;
use super::names;
use crate::databases::described::inventory::{Extension, Givens, Role, Table};
use crate::databases::described::properties::Properties;
use crate::databases::error::DatabasesError;
use crate::fs::Digest;
use crate::report::{Message, Told};

/// The file's name in the folder of a backup or a seed.
pub(in crate::databases) const RECORD_FILE: &str = "backup.json";

/// The archive's name beside it.
pub(in crate::databases) const ARCHIVE: &str = "archive";

/// The last format that this version reads. It writes the first one unless the record says what that one can't.
const FORMAT: u32 = 2;

/// A database of 100,000 tables makes some 30 MiB.
const LARGEST_BYTES: u64 = 128 << 20;

/// A dump: where it is from, what must be in it, and the digest of each of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    /// `expert/20260704T101530Z`: also its folder below `paths.backups/databases`.
    pub id: String,
    pub database: String,
    /// RFC 3339, UTC, by this machine's clock; when the dump began, or, of a database that had been replaced before, when
    /// that was.
    pub created_at: jiff::Timestamp,
    pub duration_ms: u64,
    pub made_by: Maker,
    pub server_version: String,
    /// `150020`.
    pub server_version_number: u32,
    /// The server's system identifier (`pg_control_system()`), of a backup whose server may be asked for it. A seed is for
    /// any server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_identifier: Option<String>,
    pub properties: Properties,
    /// What it takes on the server's disk, indexes included.
    pub size_bytes: u64,
    pub extensions: Vec<Extension>,
    /// Without passwords.
    pub roles: Vec<Role>,
    pub large_objects: u64,
    /// Where objects of it lie that are not at the database's own place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Givens::is_usual")]
    pub givens: Givens,
    /// Those of the dump's own snapshot, with the rows that the archive holds of each.
    pub tables: Vec<Table>,
    pub archive: ArchiveFormat,
    /// Whether it was made of a database that a rebuild or a restore had replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_replaced: bool,
    /// All files of the archive but those below.
    pub files: Vec<FileEntry>,
    /// Many large objects; from format 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_object_files: Option<LargeObjectFiles>,
}

/// Who made it, where and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    pub dpl: String,
    pub host: String,
    pub operator: String,
    /// The project whose backup it is: several may share a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What `pg_restore` finds at `archive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveFormat {
    /// A folder (`pg_dump -Fd`).
    Directory,
    /// One file (`pg_dump -Fc`).
    Custom,
}

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the folder: `archive/3318.dat.gz`.
    pub path: String,
    pub bytes: u64,
    pub sha256: Digest,
}

/// Why bytes are not a valid `backup.json`.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    Unreadable(#[source] std::io::Error),
    TooLarge,
    Malformed(#[source] serde_json::Error),
    Newer { found: u32 },
    StrangePath { path: String },
    StrangeId { id: String, database: String },
    Nul,
    NoContents,
    Twice { path: String },
}

impl Told for RecordError {
    fn message(&self) -> Message {
        match self {
            Self::Unreadable(_) => message!("record-unreadable"),
            Self::TooLarge => message!("record-too-large", most = LARGEST_BYTES),
            Self::Malformed(_) => message!("record-malformed"),
            Self::Newer { found } => message!("record-newer", found = found, known = FORMAT),
            Self::StrangePath { path } => message!("record-strange-path", path = path),
            Self::StrangeId { id, database } => message!("record-strange-id", id = id, database = database),
            Self::Nul => message!("record-nul"),
            Self::NoContents => message!("record-no-contents"),
            Self::Twice { path } => message!("record-twice", path = path),
        }
    }
}

/// Whether a string of the document has a NUL in it, which JSON can only say as `\u0000`. What reads SQL line by line
/// would end there, with its quotes open.
fn holds_nul(json: &[u8]) -> bool {
    const ESCAPED: &[u8] = b"\\u0000";
    // Behind an odd number of others the backslash is one that is meant as such.
    let is_escape = |at: usize| json[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0;
    json.windows(ESCAPED.len()).enumerate().any(|(at, window)| window == ESCAPED && is_escape(at))
}

impl Record {
    /// Reads and checks one.
    pub(in crate::databases) fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        if bytes.len() as u64 > LARGEST_BYTES {
            return Err(RecordError::TooLarge);
        }
        if holds_nul(bytes) {
            return Err(RecordError::Nul);
        }
        // Asked first: a newer format may have other fields, and then those are not what is wrong with it.
        let Format { format } = serde_json::from_slice(bytes).map_err(RecordError::Malformed)?;
        if format > FORMAT {
            return Err(RecordError::Newer { found: format });
        }
        let record: Self = serde_json::from_slice(bytes).map_err(RecordError::Malformed)?;
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), RecordError> {
        let stamp = self.id.rsplit('/').next().unwrap_or_default();
        if !names::is_stamp(stamp) || self.id != names::backup_id(&self.database, stamp) {
            return Err(RecordError::StrangeId { id: self.id.clone(), database: self.database.clone() });
        }
        let mut paths = std::collections::HashSet::new();
        for file in &self.files {
            if !is_archive_file(&file.path, self.archive) {
                return Err(RecordError::StrangePath { path: file.path.clone() });
            }
            if !paths.insert(file.path.as_str()) {
                return Err(RecordError::Twice { path: file.path.clone() });
            }
        }
        let contents = match self.archive {
            ArchiveFormat::Directory => "archive/toc.dat",
            ArchiveFormat::Custom => ARCHIVE,
        };
        if paths.contains(contents) { Ok(()) } else { Err(RecordError::NoContents) }
    }

    /// Reads the record in the folder of a backup or a seed.
    pub(in crate::databases) fn read(folder: &Path) -> Result<Self, DatabasesError> {
        let path = folder.join(RECORD_FILE);
        let fail = |source| DatabasesError::Record { path: path.clone(), source };
        let file = std::fs::File::open(&path).map_err(|error| fail(RecordError::Unreadable(error)))?;
        let mut bytes = Vec::new();
        // One byte more than may be, to notice that there is one.
        file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| fail(RecordError::Unreadable(error)))?;
        Self::parse(&bytes).map_err(fail)
    }

    pub(in crate::databases) fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record has only string keys");
        bytes.push(b'\n');
        bytes
    }

    /// The format of a new record: the oldest one that has what it says, so that older versions read it.
    pub(in crate::databases) fn format_for(large_object_files: Option<&LargeObjectFiles>) -> u32 {
        if large_object_files.is_some() { FORMAT } else { 1 }
    }

    /// All files together.
    pub(in crate::databases) fn bytes(&self) -> u64 {
        let named: u64 = self.files.iter().map(|file| file.bytes).sum();
        named + self.large_object_files.as_ref().map_or(0, |files| files.bytes)
    }

    pub(in crate::databases) fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// `archive`, or one plain name in it.
pub(in crate::databases) fn is_archive_file(path: &str, format: ArchiveFormat) -> bool {
    match format {
        ArchiveFormat::Custom => path == ARCHIVE,
        ArchiveFormat::Directory => path.strip_prefix("archive/").is_some_and(|name| {
            !name.is_empty()
                && !name.starts_with('.')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }),
    }
}

#[cfg(test)]
pub(in crate::databases) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A small record that is all right.
    pub(in crate::databases) fn record() -> Record {
        Record {
            format: 1,
            id: "expert/20260704T101530Z".to_owned(),
            database: "expert".to_owned(),
            created_at: "2026-07-04T10:15:30Z".parse().unwrap(),
            duration_ms: 1200,
            made_by: Maker {
                dpl: "0.1.0".to_owned(),
                host: "local".to_owned(),
                operator: "engineer".to_owned(),
                project: None,
            },
            server_version: "15.20".to_owned(),
            server_version_number: 150_020,
            server_identifier: None,
            properties: Properties { owner: "postgres".to_owned(), ..Default::default() },
            size_bytes: 8192,
            extensions: Vec::new(),
            roles: Vec::new(),
            large_objects: 0,
            tablespaces: Vec::new(),
            givens: Givens::default(),
            tables: vec![Table { schema: "public".to_owned(), name: "档案".to_owned(), oid: 16386, rows: 3 }],
            archive: ArchiveFormat::Directory,
            of_replaced: false,
            files: ["archive/toc.dat", "archive/3318.dat.gz"]
                .map(|path| FileEntry { path: path.to_owned(), bytes: 10, sha256: Digest::of(path.as_bytes()) })
                .into(),
            large_object_files: None,
        }
    }

    fn with_path(path: &str) -> Result<Record, RecordError> {
        let mut record = record();
        record.files[1].path = path.to_owned();
        Record::parse(&record.to_json())
    }

    #[test]
    fn a_nul_is_refused_and_text_that_only_looks_like_one_is_not() {
        let with = |name: &str| Record { server_version: name.to_owned(), ..record() }.to_json();
        assert!(matches!(Record::parse(&with("a\0b")), Err(RecordError::Nul)));
        assert!(matches!(Record::parse(&with("a\\\0b")), Err(RecordError::Nul)));
        assert!(Record::parse(&with("a\\u0000b")).is_ok());
    }

    #[test]
    fn what_was_written_reads_back() {
        assert_eq!(Record::parse(&record().to_json()).unwrap(), record());
        assert_eq!((record().bytes(), record().rows()), (20, 3));
    }

    #[test]
    fn fields_of_a_later_version_of_the_same_format_do_no_harm() {
        let mut value: serde_json::Value = serde_json::from_slice(&record().to_json()).unwrap();
        value["note"] = "x".into();
        assert_eq!(Record::parse(value.to_string().as_bytes()).unwrap(), record());
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        assert!(matches!(Record::parse(br#"{"format":3,"other":1}"#), Err(RecordError::Newer { found: 3 })));
        assert!(matches!(Record::parse(b"{}"), Err(RecordError::Malformed(_))));
        assert!(matches!(Record::parse(b""), Err(RecordError::Malformed(_))));
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for path in
            ["", "archive/", "archive/..", "archive/../x", "/etc/passwd", "archive/a/b", "archive/.x", "archive"]
        {
            assert!(matches!(with_path(path), Err(RecordError::StrangePath { .. })), "{path}");
        }
        assert!(matches!(with_path("archive/toc.dat"), Err(RecordError::Twice { .. })));
    }

    #[test]
    fn an_id_of_another_database_is_refused() {
        for id in ["other/20260704T101530Z", "../20260704T101530Z", "expert/..", "expert"] {
            let record = Record { id: id.to_owned(), ..record() };
            assert!(matches!(Record::parse(&record.to_json()), Err(RecordError::StrangeId { .. })), "{id}");
        }
    }

    #[test]
    fn an_archive_without_contents_is_refused() {
        let record = Record { files: Vec::new(), ..record() };
        assert!(matches!(Record::parse(&record.to_json()), Err(RecordError::NoContents)));
    }

    #[test]
    fn too_many_bytes_and_deep_nesting_are_refused() {
        assert!(matches!(Record::parse(&vec![b' '; LARGEST_BYTES as usize + 1]), Err(RecordError::TooLarge)));
        assert!(Record::parse("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::parse(&bytes);
        }
    }
}
