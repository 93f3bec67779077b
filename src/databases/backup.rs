//! `db backup`: `paths.backups/databases/<name>/<UTC time>/`, complete or not there.
//!
//! Owns the folder of backups: who may read it, how a backup appears in it, and what a killed run left in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::documents::BackupDocument;
use super::dump::{self, DumpOrder, Jobs, Level, PasswordHashes};
use super::error::DatabasesError;
use super::names;
use super::record::{Record, RecordError};
use super::server::Server;
use super::verification::{Known, Verification};
use crate::fs::{create_dir_durably, escape, sync_dir};
use crate::report::{Activity, Message, Reporter};

/// How and where to back up.
#[derive(Debug, Clone)]
pub struct BackupSettings {
    /// `paths.backups`.
    pub folder: PathBuf,
    pub jobs: Jobs,
    pub level: Level,
    pub hashes: PasswordHashes,
    pub shrink: Shrink,
    /// Who does it, for the record.
    pub operator: String,
}

/// What a backup of less than half of the last one's size is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shrink {
    /// A failure: databases seldom lose half of their data on purpose.
    #[default]
    Refuse,
    Allow,
}

/// Backs `database` up. On an error no backup has appeared, and those that were there are there.
pub async fn backup(
    server: &Server,
    database: &str,
    settings: &BackupSettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    backup_as(server, database, database, settings, reporter).await
}

/// Backs up the database that the server has as `physical` among the backups of `database`.
pub(super) async fn backup_as(
    server: &Server,
    physical: &str,
    database: &str,
    settings: &BackupSettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    reporter.began(Activity::DumpDatabase, database, None);
    let result = place(server, physical, database, settings, reporter).await;
    match &result {
        Ok(document) => {
            let message = Message::new("databases-backed-up").with("database", database).with("path", &document.path);
            reporter.done(Activity::DumpDatabase, database, message);
        }
        Err(error) => reporter.failed(Activity::DumpDatabase, database, error),
    }
    result
}

async fn place(
    server: &Server,
    physical: &str,
    database: &str,
    settings: &BackupSettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let home = folder_of(&settings.folder, database);
    let workshop = Workshop::open(&home)?;
    let stamp = free_stamp(&home, jiff::Timestamp::now());
    let order = DumpOrder {
        database: physical,
        recorded_as: database,
        stamp: &stamp,
        jobs: settings.jobs,
        level: settings.level,
        hashes: settings.hashes,
        operator: &settings.operator,
    };
    let record = dump::dump(server, &order, workshop.path(), reporter).await?;
    if settings.shrink == Shrink::Refuse {
        let last = existing(&settings.folder, database)?.backups.pop();
        refuse_shrunken("backup", &record, last.as_ref().map(|last| &last.known.record))?;
    }
    let target = home.join(&stamp);
    crate::failpoint!("databases.backup.before-rename");
    workshop.publish(&target)?;
    crate::failpoint!("databases.backup.after-rename");
    Ok(BackupDocument::new(&Known { record, verification: Verification::default() }, &target))
}

/// Compares like with like: a level of compression that saves more makes no database smaller.
pub(super) fn refuse_shrunken(
    what: &'static str,
    record: &Record,
    last: Option<&Record>,
) -> Result<(), DatabasesError> {
    let Some(last) = last else { return Ok(()) };
    if record.tables.is_empty() && !last.tables.is_empty() || record.rows() == 0 && last.rows() > 0 {
        return Err(DatabasesError::Emptied { what, database: record.database.clone(), tables: record.tables.len() });
    }
    let (new_bytes, old_bytes) = (record.bytes(), last.bytes());
    let (new_size, old_size) = (record.size_bytes, last.size_bytes);
    if new_bytes < old_bytes / 2 || (new_size < old_size / 2 && record.rows() < last.rows() / 2) {
        return Err(DatabasesError::Shrunk { what, database: record.database.clone(), new_bytes, old_bytes });
    }
    Ok(())
}

/// Where the backups of a database are.
pub(super) fn folder_of(backups: &Path, database: &str) -> PathBuf {
    backups.join("databases").join(escape(database))
}

/// A complete backup on disk.
#[derive(Debug, Clone)]
pub(super) struct Existing {
    pub path: PathBuf,
    pub known: Known,
}

/// A folder with the name of a backup that can't be read as one.
#[derive(Debug)]
pub(super) struct Broken {
    pub path: PathBuf,
    pub error: DatabasesError,
}

/// What lies where the backups of a database are.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Oldest first.
    pub backups: Vec<Existing>,
    /// Worth a word, and no reason to do without the others.
    pub broken: Vec<Broken>,
}

/// The backups of a database. A folder without the name of one is left out: it is not ours.
pub(super) fn existing(backups: &Path, database: &str) -> Result<Shelf, DatabasesError> {
    let home = folder_of(backups, database);
    let mut shelf = Shelf::default();
    let entries = match fs::read_dir(&home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(shelf),
        Err(error) => return Err(DatabasesError::file("list", &home)(error)),
    };
    for entry in entries {
        let path = entry.map_err(DatabasesError::file("list", &home))?.path();
        let stamp = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !names::is_stamp(&stamp) {
            continue;
        }
        match Known::read(&path) {
            Ok(known) if known.record.id == names::backup_id(database, &stamp) => {
                shelf.backups.push(Existing { path, known });
            }
            Ok(known) => {
                let (id, database) = (known.record.id, format!("{database} of {stamp}"));
                let source = RecordError::StrangeId { id, database };
                let error = DatabasesError::Record { path: path.clone(), source };
                shelf.broken.push(Broken { path, error });
            }
            Err(error) => shelf.broken.push(Broken { path, error }),
        }
    }
    let key = |backup: &Existing| (backup.known.record.created_at, backup.known.record.id.clone());
    shelf.backups.sort_by_key(key);
    shelf.broken.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(shelf)
}

/// The stamp of a time, with a count behind it when that second has a backup already.
fn free_stamp(home: &Path, time: jiff::Timestamp) -> String {
    let stamp = names::stamp(time);
    let free = |stamp: &String| !home.join(stamp).exists();
    (1..100)
        .map(|count| if count == 1 { stamp.clone() } else { format!("{stamp}-{count}") })
        .find(free)
        .unwrap_or(stamp)
}

/// Nothing else that dpl writes begins so: what is cleared away is this room's.
const TEMPORARY: &str = ".dpl-tmp-dump-";

/// A private folder beside the place that its content is meant for. Dropped unpublished, it is removed; after a kill
/// the next run removes it, since nobody holds its lock any more.
pub(super) struct Workshop {
    path: PathBuf,
    /// Held while this process works in it.
    _lock: File,
    published: bool,
}

impl Workshop {
    /// Makes one in `home`, and `home` itself, and clears away what killed runs left there.
    pub fn open(home: &Path) -> Result<Self, DatabasesError> {
        create_private(home)?;
        clear(home)?;
        for _ in 0..100 {
            let token = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
            let path = home.join(format!("{TEMPORARY}{token:016x}"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let lock = File::open(&path).map_err(DatabasesError::file("open", &path))?;
                    // Some network file systems can't lock a folder; then nobody clears it away either.
                    let _ = lock.try_lock();
                    return Ok(Self { path, _lock: lock, published: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(DatabasesError::file("create", &path)(error)),
            }
        }
        Err(DatabasesError::file("create a folder in", home)(io::ErrorKind::AlreadyExists.into()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. Nothing of that name may be there.
    pub fn publish(mut self, target: &Path) -> Result<(), DatabasesError> {
        let fail = || DatabasesError::file("put a backup at", target);
        sync_dir(&self.path).map_err(fail())?;
        fs::rename(&self.path, target).map_err(fail())?;
        self.published = true;
        sync_dir(target.parent().unwrap_or(Path::new("."))).map_err(fail())
    }

    /// Puts it where something is already, in one step, and removes what was there. A folder in which nobody but this
    /// process works can't be replaced by a plain rename unless it is empty.
    pub fn exchange(mut self, target: &Path) -> Result<(), DatabasesError> {
        let fail = || DatabasesError::file("replace", target);
        sync_dir(&self.path).map_err(fail())?;
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &self.path, rustix::fs::CWD, target, flags)
            .map_err(|error| fail()(error.into()))?;
        sync_dir(target.parent().unwrap_or(Path::new("."))).map_err(fail())?;
        crate::failpoint!("databases.seed.before-old-removed");
        // From here on the folder's own name holds what was replaced.
        self.published = true;
        remove(&self.path).map_err(DatabasesError::file("remove", &self.path))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: the next run clears it away.
            let _ = remove(&self.path);
        }
    }
}

/// A name that [`clear`] takes for something unfinished.
pub(super) fn temporary(token: &str) -> String {
    format!("{TEMPORARY}{token}")
}

/// Removes a file or a folder; one that is gone already, or going, is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = fs::symlink_metadata(path)
        .and_then(|metadata| if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Temporary folders whose makers are dead.
pub(super) fn leftovers(home: &Path) -> Result<Vec<PathBuf>, DatabasesError> {
    let entries = match fs::read_dir(home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DatabasesError::file("list", home)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(DatabasesError::file("list", home))?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
        if ours && File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes them.
pub(super) fn clear(home: &Path) -> Result<(), DatabasesError> {
    for path in leftovers(home)? {
        remove(&path).map_err(DatabasesError::file("remove", &path))?;
    }
    Ok(())
}

/// Makes a folder and those above it that only their owner can read; one that is there stays as it is.
fn create_private(path: &Path) -> Result<(), DatabasesError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The two folders that are ours; what is above them belongs to the site.
    let above = parent.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir_durably(above).map_err(DatabasesError::file("create", above))?;
    for folder in [parent, path] {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DatabasesError::file("create", folder)(error)),
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(parent).map_err(DatabasesError::file("create", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::databases::record::{RECORD_FILE, tests::record};

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_workshop_is_private_and_leaves_nothing_unless_published() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder_of(folder.path(), "档");
        drop(Workshop::open(&home).unwrap());
        assert_eq!(names_in(&home), Vec::<String>::new());
        let workshop = Workshop::open(&home).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(workshop.path()), mode(&home)), (0o700, 0o700));
        workshop.publish(&home.join("20260704T101530Z")).unwrap();
        assert_eq!(names_in(&home), ["20260704T101530Z"]);
    }

    #[test]
    fn what_a_dead_run_left_goes_and_a_living_ones_stays() {
        let folder = tempfile::tempdir().unwrap();
        let living = Workshop::open(folder.path()).unwrap();
        fs::create_dir(folder.path().join(".dpl-tmp-dump-0000000000000000")).unwrap();
        let next = Workshop::open(folder.path()).unwrap();
        let mut left =
            [living.path(), next.path()].map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        left.sort();
        assert_eq!(names_in(folder.path()), left);
    }

    #[test]
    fn an_exchange_replaces_a_full_folder_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for old_is_folder in [true, false] {
            let target = folder.path().join(format!("seed-{old_is_folder}"));
            if old_is_folder {
                fs::create_dir(&target).unwrap();
                fs::write(target.join("old"), b"x").unwrap();
            } else {
                fs::write(&target, b"x").unwrap();
            }
            let workshop = Workshop::open(folder.path()).unwrap();
            fs::write(workshop.path().join("new"), b"y").unwrap();
            workshop.exchange(&target).unwrap();
            assert_eq!(names_in(&target), ["new"]);
        }
        assert_eq!(names_in(folder.path()), ["seed-false", "seed-true"]);
    }

    #[test]
    fn backups_are_listed_oldest_first_and_strangers_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder_of(folder.path(), "expert");
        for (stamp, time) in
            [("20260705T000000Z", "2026-07-05T00:00:00Z"), ("20260704T101530Z", "2026-07-04T10:15:30Z")]
        {
            let record = Record { id: format!("expert/{stamp}"), created_at: time.parse().unwrap(), ..record() };
            fs::create_dir_all(home.join(stamp)).unwrap();
            fs::write(home.join(stamp).join(RECORD_FILE), record.to_json()).unwrap();
        }
        fs::create_dir(home.join("by-hand")).unwrap();
        let ids: Vec<String> = existing(folder.path(), "expert")
            .unwrap()
            .backups
            .into_iter()
            .map(|backup| backup.known.record.id)
            .collect();
        assert_eq!(ids, ["expert/20260704T101530Z", "expert/20260705T000000Z"]);
        assert!(existing(folder.path(), "metis").unwrap().backups.is_empty());
    }

    #[test]
    fn one_unreadable_backup_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder_of(folder.path(), "expert");
        for (stamp, text) in [
            ("20260704T101530Z", record().to_json()),
            ("20260705T101530Z", b"{".to_vec()),
            ("20260706T101530Z", record().to_json()),
        ] {
            fs::create_dir_all(home.join(stamp)).unwrap();
            fs::write(home.join(stamp).join(RECORD_FILE), text).unwrap();
        }
        let shelf = existing(folder.path(), "expert").unwrap();
        assert_eq!((shelf.backups.len(), shelf.broken.len()), (1, 2));
    }

    #[test]
    fn less_than_half_is_refused() {
        let (last, mut new) = (record(), record());
        let refused = |new: &Record| refuse_shrunken("backup", new, Some(&last));
        assert!(refuse_shrunken("backup", &new, None).is_ok());
        assert!(refused(&new).is_ok());
        new.files[1].bytes = 0;
        assert!(refused(&new).is_ok());
        new.files[0].bytes = 9;
        assert!(matches!(refused(&new), Err(DatabasesError::Shrunk { .. })));
        let mut empty = record();
        empty.tables.iter_mut().for_each(|table| table.rows = 0);
        assert!(matches!(refused(&empty), Err(DatabasesError::Emptied { tables: 1.., .. })));
        empty.tables.clear();
        assert!(refused(&empty).unwrap_err().to_string().contains("has no tables now"));
    }

    #[test]
    fn a_second_backup_in_the_same_second_gets_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let time: jiff::Timestamp = "2026-07-04T10:15:30Z".parse().unwrap();
        fs::create_dir(folder.path().join("20260704T101530Z")).unwrap();
        assert_eq!(free_stamp(folder.path(), time), "20260704T101530Z-2");
    }
}
