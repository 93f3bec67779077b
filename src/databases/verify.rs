//! Whether a dump on disk is what it was: digests of its files, and an archive that `pg_restore` lists.

use std::collections::HashSet;
use std::path::Path;

use super::documents::BackupDocument;
use super::dump;
use super::error::DatabasesError;
use super::helper::{Access, Helper, Reach};
use super::inventory::shorten;
use super::record::{ARCHIVE, ArchiveFormat, Record};
use super::server::Server;
use crate::fs::hash_file;
use crate::report::{Activity, Message, Reporter};

/// Reads every file of the dump in `folder`, compares digests, and lets the server's own `pg_restore` list the
/// archive. Nothing is restored, and nothing is written.
pub async fn verify_files(
    server: &Server,
    folder: &Path,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let record = Record::read(folder)?;
    let subject = record.id.clone();
    reporter.began(Activity::VerifyDump, subject.as_str(), Some(record.bytes()));
    match check(server, folder, &record).await {
        Ok(()) => {
            let message = Message::new("databases-dump-intact").with("id", &subject);
            reporter.done(Activity::VerifyDump, subject, message);
            Ok(BackupDocument::new(&record, folder))
        }
        Err(error) => {
            reporter.failed(Activity::VerifyDump, subject, &error);
            Err(error)
        }
    }
}

pub(super) async fn check(server: &Server, folder: &Path, record: &Record) -> Result<(), DatabasesError> {
    check_files(folder, record).await?;
    let helper = Helper::start(server, folder, Access::Read, Reach::Nothing).await?;
    let contents = dump::list_archive(&helper, &record.database).await;
    helper.end().await;
    let contents = contents?;
    let missing = record.tables.iter().filter(|table| !contents.table_data.contains_key(&table.oid));
    match shorten(missing.map(|table| format!("table {}.{} is not in it", table.schema, table.name)).collect()) {
        None => Ok(()),
        Some(damage) => Err(DatabasesError::Damaged { path: folder.join(ARCHIVE), damage }),
    }
}

/// Digests and sizes alone, and that there is no file that the record does not name: `pg_restore` would take a `.dat`
/// beside a `.dat.gz`.
pub(super) async fn check_files(folder: &Path, record: &Record) -> Result<(), DatabasesError> {
    let (folder, record) = (folder.to_owned(), record.clone());
    let checked = tokio::task::spawn_blocking(move || check_files_now(&folder, &record)).await;
    checked.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}

fn check_files_now(folder: &Path, record: &Record) -> Result<(), DatabasesError> {
    let damaged =
        |path: &Path, damage: &str| DatabasesError::Damaged { path: path.to_owned(), damage: damage.to_owned() };
    for file in &record.files {
        let path = folder.join(&file.path);
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(damaged(&path, "it is missing")),
            Err(error) => return Err(DatabasesError::file("look at", &path)(error)),
        };
        if !metadata.is_file() {
            return Err(damaged(&path, "it is no plain file"));
        }
        if metadata.len() != file.bytes {
            let damage = format!("it has {} bytes instead of {}", metadata.len(), file.bytes);
            return Err(damaged(&path, &damage));
        }
        let (sha256, _) = hash_file(&path).map_err(DatabasesError::file("read", &path))?;
        if sha256 != file.sha256 {
            return Err(damaged(&path, "its content has another digest than it was written with"));
        }
    }
    if record.archive == ArchiveFormat::Directory {
        let archive = folder.join(ARCHIVE);
        let named: HashSet<&str> = record.files.iter().map(|file| file.path.as_str()).collect();
        for entry in std::fs::read_dir(&archive).map_err(DatabasesError::file("list", &archive))? {
            let name = entry.map_err(DatabasesError::file("list", &archive))?.file_name();
            if !named.contains(format!("{ARCHIVE}/{}", name.to_string_lossy()).as_str()) {
                return Err(damaged(&archive.join(name), "it does not belong to the archive"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::databases::record::{FileEntry, tests::record};
    use crate::fs::Digest;

    fn dump() -> (tempfile::TempDir, Record) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(ARCHIVE)).unwrap();
        let files = ["archive/toc.dat", "archive/1.dat.gz"].map(|path| {
            fs::write(folder.path().join(path), path).unwrap();
            FileEntry { path: path.to_owned(), bytes: path.len() as u64, sha256: Digest::of(path.as_bytes()) }
        });
        (folder, Record { files: files.into(), ..record() })
    }

    fn damage(folder: &Path, record: &Record) -> String {
        match check_files_now(folder, record) {
            Err(DatabasesError::Damaged { damage, .. }) => damage,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_untouched_dump_passes() {
        let (folder, record) = dump();
        check_files_now(folder.path(), &record).unwrap();
    }

    #[test]
    fn a_flipped_bit_a_cut_and_a_missing_file_are_found() {
        let (folder, record) = dump();
        let path = folder.path().join("archive/1.dat.gz");
        fs::write(&path, b"archive/1.dat.gy").unwrap();
        assert_eq!(damage(folder.path(), &record), "its content has another digest than it was written with");
        fs::write(&path, b"archive/1").unwrap();
        assert_eq!(damage(folder.path(), &record), "it has 9 bytes instead of 16");
        fs::remove_file(&path).unwrap();
        assert_eq!(damage(folder.path(), &record), "it is missing");
    }

    #[test]
    fn a_link_and_a_file_too_many_are_found() {
        let (folder, record) = dump();
        fs::write(folder.path().join("archive/1.dat"), b"other rows").unwrap();
        assert_eq!(damage(folder.path(), &record), "it does not belong to the archive");
        fs::remove_file(folder.path().join("archive/1.dat")).unwrap();
        fs::rename(folder.path().join("archive/1.dat.gz"), folder.path().join("x")).unwrap();
        std::os::unix::fs::symlink("../x", folder.path().join("archive/1.dat.gz")).unwrap();
        assert_eq!(damage(folder.path(), &record), "it is no plain file");
    }
}
