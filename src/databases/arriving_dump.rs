//! A dump on its way here from another machine, file by file: what is still missing, and its name once all of it is proved.
//!
//! What comes is as hostile as any archive from elsewhere. The record (`archive::record`) says which files there may be;
//! each is checked against it as it arrives, all of them again before the dump gets its name, and nothing else is taken.
//! What arrived stays: an interrupted transfer goes on in the middle of a file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::catalogue::io_error;
use crate::databases::archive::large_object_files::is_large_object;
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, RECORD_FILE, Record, RecordError, is_archive_file};
use crate::databases::archive::verification::{Known, Proof, Verification};
use crate::databases::documents::BackupDocument;
use crate::databases::error::DatabasesError;
use crate::databases::verify::check_files;
use crate::fs::{Digest, Hasher, Mode, create_dir_durably, sync_dir, write_durably};
use crate::report::Message;

/// The file of a dump that says what it is.
pub const BACKUP_RECORD: &str = RECORD_FILE;
/// A folder in which a dump arrives, beside its place.
const ARRIVING: &str = ".dpl-arriving-";
/// What the name of a file ends with that has not arrived whole.
const PART: &str = ".part";
/// What arrived and was not gone on with for so long goes.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// A cut of the power costs no more than this of what has arrived.
const SYNCED_EVERY: u64 = 16 << 20;

/// What is to be done about a dump that another machine has.
pub enum Arriving {
    /// It is here already.
    Here(Box<BackupDocument>),
    /// Another dump of the same ID is here.
    Other(PathBuf),
    Missing(Box<Arrival>),
}

/// A dump that is not here yet.
pub struct Arrival {
    /// Where it will lie.
    target: PathBuf,
    /// Where it lies until then.
    folder: PathBuf,
    record: Record,
    /// Held for as long as this process works in the folder.
    _lock: File,
}

/// A file that is not here yet, or only in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFile {
    /// Relative to the dump's folder.
    pub path: String,
    pub bytes: u64,
    /// So many of its first bytes are here.
    pub have: u64,
    /// Absent for one of many large objects, which have one digest together.
    digest: Option<Digest>,
}

impl MissingFile {
    /// The same file, of which another number of bytes is kept.
    pub fn going_on_from(&self, have: u64) -> Self {
        Self { have: have.min(self.have), ..self.clone() }
    }
}

impl Arrival {
    /// Begins with the dump `id`, or goes on with it. `backups` is the folder below which it gets its place; `record` the bytes
    /// of its `backup.json`.
    ///
    /// # Errors
    /// A record that is not one, or not of this dump, and folders that can't be written to.
    pub fn begin(backups: &Path, id: &str, record: &[u8]) -> Result<Arriving, DatabasesError> {
        let place = backups.join("databases").join(id);
        let wrong = |source| DatabasesError::Record { path: place.join(RECORD_FILE), source };
        let parsed = Record::parse(record).map_err(wrong)?;
        if parsed.id != id {
            return Err(wrong(RecordError::StrangeId { id: parsed.id, database: parsed.database }));
        }
        // By the record, whose parts were checked to be plain names.
        let target = backups.join("databases").join(&parsed.id);
        if target.symlink_metadata().is_ok() {
            let same = fs::read(target.join(RECORD_FILE)).is_ok_and(|own| own == record);
            return Ok(match same {
                true => Arriving::Here(Box::new(BackupDocument::new(&Known::read(&target)?, &target))),
                false => Arriving::Other(target),
            });
        }
        let home = target.parent().unwrap_or(backups);
        create_dir_durably(home).map_err(DatabasesError::file(message!("verb-create-folder"), home))?;
        clear(home);
        let stamp = parsed.id.rsplit('/').next().unwrap_or_default();
        let folder = home.join(format!("{ARRIVING}{stamp}"));
        let lock = prepare(&folder, record, parsed.archive)?;
        Ok(Arriving::Missing(Box::new(Self { target, folder, record: parsed, _lock: lock })))
    }

    /// What all of it takes.
    pub fn bytes(&self) -> u64 {
        self.record.bytes()
    }

    /// The files that are missing but for large objects that the record counts together.
    ///
    /// # Errors
    /// What can't be looked at.
    pub fn missing(&self) -> Result<Vec<MissingFile>, DatabasesError> {
        let files = self.record.files.iter();
        let missing = files.map(|file| self.missing_file(&file.path, file.bytes, Some(file.sha256.clone())));
        Ok(missing.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The folder whose files the other machine has to list: that of large objects, where they are many.
    pub fn unnamed(&self) -> Option<&'static str> {
        self.record.large_object_files.as_ref().map(|_| ARCHIVE)
    }

    /// The large objects that are missing, of what the other machine lists: names and sizes.
    ///
    /// # Errors
    /// Other files than the record says.
    pub fn missing_objects(&self, listed: &[(String, u64)]) -> Result<Vec<MissingFile>, DatabasesError> {
        let Some(wanted) = &self.record.large_object_files else { return Ok(Vec::new()) };
        let named: std::collections::HashSet<&str> = self.record.files.iter().map(|file| file.path.as_str()).collect();
        let mut missing = Vec::new();
        let (mut count, mut bytes) = (0, 0_u64);
        for (name, size) in listed {
            let path = format!("{ARCHIVE}/{name}");
            if named.contains(path.as_str()) || !is_large_object(name) || !is_archive_file(&path, self.record.archive) {
                continue;
            }
            (count, bytes) = (count + 1, bytes.saturating_add(*size));
            missing.extend(self.missing_file(&path, *size, None)?);
        }
        if (count, bytes) != (wanted.count, wanted.bytes) {
            let damage = message!("damage-object-files", found = count, wanted = wanted.count);
            return Err(DatabasesError::Damaged { path: self.target.join(ARCHIVE), damage });
        }
        Ok(missing)
    }

    fn missing_file(
        &self,
        path: &str,
        bytes: u64,
        digest: Option<Digest>,
    ) -> Result<Option<MissingFile>, DatabasesError> {
        let whole = self.folder.join(path);
        if whole.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == bytes) {
            return Ok(None);
        }
        let have = self.part(path).symlink_metadata().map_or(0, |found| found.len());
        let have = if have > bytes { 0 } else { have };
        Ok(Some(MissingFile { path: path.to_owned(), bytes, have, digest }))
    }

    fn part(&self, path: &str) -> PathBuf {
        self.folder.join(format!("{path}{PART}"))
    }

    /// Opens a missing file for what is still to come of it.
    ///
    /// # Errors
    /// One that can't be opened or read.
    pub fn open(&self, file: &MissingFile) -> Result<ArrivingFile, DatabasesError> {
        let part = self.part(&file.path);
        let failed = |error| DatabasesError::file(message!("verb-write"), &part)(error);
        let mut opened = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(&part)
            .map_err(failed)?;
        opened.set_len(file.have).map_err(failed)?;
        let mut hasher = Hasher::new();
        let mut piece = vec![0; 256 << 10];
        loop {
            match opened.read(&mut piece).map_err(failed)? {
                0 => break,
                length => hasher.update(&piece[..length]),
            }
        }
        let whole = self.folder.join(&file.path);
        let (expected, written) = (file.clone(), file.have);
        Ok(ArrivingFile { file: opened, hasher, expected, written, synced: written, part, whole })
    }

    /// Proves all of it once more, and gives it its name. What is found wrong is removed, so that it is sent again.
    ///
    /// # Errors
    /// [`DatabasesError::Damaged`] for what is not as the record says.
    pub async fn finish(self, operator: &str) -> Result<BackupDocument, DatabasesError> {
        let begun = std::time::Instant::now();
        if let Err(error) = check_files(&self.folder, &self.record).await {
            if let DatabasesError::Damaged { path, .. } = &error {
                self.remove_damaged(path);
            }
            return Err(error);
        }
        let mut verification = Verification::default();
        verification.proved_by_files(Proof {
            at: jiff::Timestamp::now(),
            operator: operator.to_owned(),
            duration_ms: begun.elapsed().as_millis() as u64,
            server_version: None,
        });
        verification.write(&self.folder)?;
        let archive = self.folder.join(ARCHIVE);
        if archive.is_dir() {
            sync_dir(&archive).map_err(DatabasesError::file(message!("verb-sync"), &archive))?;
        }
        let stored = |error| DatabasesError::file(message!("verb-store-backup"), &self.target)(error);
        sync_dir(&self.folder).map_err(stored)?;
        crate::failpoint!("databases.arrival.before-name");
        fs::rename(&self.folder, &self.target).map_err(stored)?;
        crate::failpoint!("databases.arrival.after-name");
        sync_dir(self.target.parent().unwrap_or(Path::new("."))).map_err(stored)?;
        Ok(BackupDocument::new(&Known::read(&self.target)?, &self.target))
    }

    /// What stays would be found wrong again. Nothing but what is ours lies in the folder.
    fn remove_damaged(&self, path: &Path) {
        if path.starts_with(&self.folder) && path != self.folder {
            // What can't be removed is an error of the next run.
            let _ = match path.is_dir() {
                true => fs::remove_dir_all(path).and_then(|()| make_private(path)),
                false => fs::remove_file(path),
            };
        }
    }
}

/// A file that is arriving.
pub struct ArrivingFile {
    file: File,
    hasher: Hasher,
    expected: MissingFile,
    written: u64,
    synced: u64,
    part: PathBuf,
    whole: PathBuf,
}

impl ArrivingFile {
    /// Takes its next bytes.
    ///
    /// # Errors
    /// More bytes than it has, and a disk that does not take them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DatabasesError> {
        if self.written + bytes.len() as u64 > self.expected.bytes {
            return Err(self.damaged(message!("damage-file-longer", wanted = self.expected.bytes)));
        }
        let failed = |error| DatabasesError::file(message!("verb-write"), &self.part)(error);
        self.file.write_all(bytes).map_err(failed)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNCED_EVERY {
            self.file.sync_data().map_err(failed)?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Proves it, and gives it its name in the folder of the dump that is not here yet.
    ///
    /// # Errors
    /// One that is not as the record says; it is sent again from its beginning then.
    pub fn finish(self) -> Result<(), DatabasesError> {
        if self.written != self.expected.bytes {
            return Err(self.damaged(message!("damage-file-size", found = self.written, wanted = self.expected.bytes)));
        }
        let found = self.hasher.clone().finish();
        if self.expected.digest.as_ref().is_some_and(|wanted| *wanted != found) {
            return Err(self.damaged(message!("damage-file-digest")));
        }
        let failed = |error| DatabasesError::file(message!("verb-write"), &self.part)(error);
        self.file.sync_data().map_err(failed)?;
        crate::failpoint!("databases.arrival.before-file");
        fs::rename(&self.part, &self.whole).map_err(failed)
    }

    fn damaged(&self, damage: Message) -> DatabasesError {
        // What stays would be gone on with.
        let _ = fs::remove_file(&self.part);
        DatabasesError::Damaged { path: self.whole.clone(), damage }
    }
}

/// Makes the folder, or goes on with the one that is there and of the same record; locks it.
fn prepare(folder: &Path, record: &[u8], archive: ArchiveFormat) -> Result<File, DatabasesError> {
    let failed = |error| DatabasesError::file(message!("verb-create-folder"), folder)(error);
    make_private(folder).map_err(failed)?;
    let lock = File::open(folder).map_err(failed)?;
    if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
        let busy = io_error(io::ErrorKind::ResourceBusy, message!("arrival-busy"));
        return Err(DatabasesError::file(message!("verb-lock"), folder)(busy));
    }
    let own = folder.join(RECORD_FILE);
    if !fs::read(&own).is_ok_and(|known| known == record) {
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
            if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(failed)?;
        }
        write_durably(&own, record, Mode::Private).map_err(DatabasesError::file(message!("verb-write"), &own))?;
    }
    if archive == ArchiveFormat::Directory {
        make_private(&folder.join(ARCHIVE)).map_err(failed)?;
    }
    Ok(lock)
}

fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Removes what nobody goes on with. What can't be removed is tried again next time.
fn clear(home: &Path) {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    let arriving = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(ARRIVING.as_bytes()));
    for path in arriving.map(|entry| entry.path()) {
        let changed = |path: &Path| fs::symlink_metadata(path).and_then(|found| found.modified()).ok();
        let inside = fs::read_dir(path.join(ARCHIVE)).into_iter().flatten().flatten().map(|entry| entry.path());
        let newest = inside.chain([path.clone(), path.join(ARCHIVE)]).filter_map(|path| changed(&path)).max();
        let is_old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > KEPT);
        if newest.is_some_and(is_old) && File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::archive::record::FileEntry;
    use crate::databases::archive::record::tests::record;

    const CONTENTS: &[u8] = b"PGDMP contents";
    const ROWS: &[u8] = b"rows of a table";

    fn dump() -> Record {
        let file = |path: &str, bytes: &[u8]| FileEntry {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes),
        };
        Record { files: vec![file("archive/toc.dat", CONTENTS), file("archive/1.dat.gz", ROWS)], ..record() }
    }

    fn missing(backups: &Path, record: &Record) -> Arrival {
        match Arrival::begin(backups, &record.id, &record.to_json()).unwrap() {
            Arriving::Missing(arrival) => *arrival,
            _ => panic!("it is here"),
        }
    }

    fn take(arrival: &Arrival, path: &str, bytes: &[u8]) -> Result<(), DatabasesError> {
        let missing = arrival.missing().unwrap();
        let file = missing.iter().find(|file| file.path == path).unwrap();
        let mut file = arrival.open(file)?;
        file.write(bytes)?;
        file.finish()
    }

    #[tokio::test]
    async fn a_dump_gets_its_name_when_all_of_it_is_proved() {
        let folder = tempfile::tempdir().unwrap();
        let record = dump();
        let target = folder.path().join("databases").join(&record.id);
        let arrival = missing(folder.path(), &record);
        take(&arrival, "archive/toc.dat", CONTENTS).unwrap();
        assert!(matches!(arrival.finish("me").await, Err(DatabasesError::Damaged { .. })));
        assert!(!target.exists());
        let arrival = missing(folder.path(), &record);
        assert_eq!(arrival.missing().unwrap().len(), 1, "what is here is not sent again");
        take(&arrival, "archive/1.dat.gz", ROWS).unwrap();
        let document = arrival.finish("me").await.unwrap();
        assert_eq!(document.path, target.to_string_lossy());
        assert!(document.checked_at.is_some());
        let again = Arrival::begin(folder.path(), &record.id, &record.to_json()).unwrap();
        assert!(matches!(again, Arriving::Here(_)));
        let other = Record { duration_ms: 7, ..record };
        let other = Arrival::begin(folder.path(), &other.id, &other.to_json()).unwrap();
        assert!(matches!(other, Arriving::Other(_)));
    }

    #[test]
    fn a_file_goes_on_in_its_middle_and_a_wrong_one_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let arrival = missing(folder.path(), &dump());
        let rows = |arrival: &Arrival| {
            let missing = arrival.missing().unwrap();
            missing.into_iter().find(|file| file.path == "archive/1.dat.gz").unwrap()
        };
        arrival.open(&rows(&arrival)).unwrap().write(&ROWS[..4]).unwrap();
        assert_eq!(rows(&arrival).have, 4);
        let mut file = arrival.open(&rows(&arrival)).unwrap();
        file.write(&ROWS[4..]).unwrap();
        file.finish().unwrap();
        assert_eq!(arrival.missing().unwrap().len(), 1);
        assert!(take(&arrival, "archive/toc.dat", b"PGDMP c0ntents").is_err());
        assert!(take(&arrival, "archive/toc.dat", b"PGDMP contents and more").is_err());
        assert!(take(&arrival, "archive/toc.dat", b"PGDMP").is_err());
        assert!(arrival.missing().unwrap().iter().all(|file| file.have == 0));
    }

    #[test]
    fn a_record_of_another_dump_and_one_that_leads_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let begin = |id: &str, record: &Record| Arrival::begin(folder.path(), id, &record.to_json());
        assert!(begin("expert/20260101T000000Z", &dump()).is_err());
        let mut leads = dump();
        leads.files[1].path = "archive/../../x".to_owned();
        assert!(begin(&dump().id, &leads).is_err());
        let id = "../20260704T101530Z";
        assert!(begin(id, &Record { id: id.to_owned(), ..dump() }).is_err());
        assert!(Arrival::begin(folder.path(), "expert/20260704T101530Z", b"[").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_do_not_take_one_dump_at_once_and_what_is_abandoned_goes() {
        let folder = tempfile::tempdir().unwrap();
        let first = missing(folder.path(), &dump());
        assert!(Arrival::begin(folder.path(), &dump().id, &dump().to_json()).is_err());
        let place = first.folder.clone();
        drop(first);
        let old = SystemTime::now() - KEPT - Duration::from_secs(60);
        for path in [place.join(ARCHIVE), place.clone()] {
            File::open(path).unwrap().set_modified(old).unwrap();
        }
        clear(place.parent().unwrap());
        assert!(!place.exists());
    }
}
