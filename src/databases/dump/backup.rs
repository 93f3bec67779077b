//! `db backup`: `paths.backups/databases/<name>/<UTC time>/`, complete or not there.
//!
//! Owns the folder of backups: what is in it, and how a backup appears there (`staging`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::databases::archive::names;
use crate::databases::archive::record::{Record, RecordError};
use crate::databases::archive::staging::Staging;
use crate::databases::archive::verification::{Known, Verification};
use crate::databases::documents::BackupDocument;
use crate::databases::dump::{self, DumpOrder, Jobs, Level, LockPatience, PasswordHashes};
use crate::databases::error::{DatabasesError, DumpKind, in_one_line};
use crate::databases::server::connect::Server;
use crate::fs::{Disk, escape};
use crate::report::{Activity, Message, Reporter};

/// How and where to back up.
#[derive(Debug, Clone)]
pub struct BackupSettings {
    pub folder: BackupFolder,
    pub jobs: Jobs,
    pub level: Level,
    pub hashes: PasswordHashes,
    pub shrink: Shrink,
    pub patience: LockPatience,
    /// Who does it, for the record.
    pub operator: String,
}

/// `paths.backups`, as one project sees it: backups of others may lie in the same folder, and are not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFolder {
    pub path: PathBuf,
    /// `None` sees those of all.
    pub project: Option<String>,
}

impl From<PathBuf> for BackupFolder {
    fn from(path: PathBuf) -> Self {
        Self { path, project: None }
    }
}

impl From<&PathBuf> for BackupFolder {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&BackupFolder> for BackupFolder {
    fn from(folder: &BackupFolder) -> Self {
        folder.clone()
    }
}

impl From<&Path> for BackupFolder {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
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
    backup_as(server, Physical { name: database, since: None }, database, settings, reporter).await
}

/// A database as the server has it.
#[derive(Debug, Clone, Copy)]
pub(in crate::databases) struct Physical<'a> {
    pub name: &'a str,
    /// Since when nobody writes to it, where that is so: the time that its backup is of. What was replaced long ago must
    /// not become the newest of all backups.
    pub since: Option<jiff::Timestamp>,
}

/// Backs up a database of the server's among the backups of `database`.
pub(in crate::databases) async fn backup_as(
    server: &Server,
    physical: Physical<'_>,
    database: &str,
    settings: &BackupSettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    reporter.began(Activity::DumpDatabase, database, None);
    let result = place(server, physical, database, settings, reporter).await;
    match &result {
        Ok(document) => {
            let message = message!("databases-backed-up", path = &document.path);
            reporter.done(Activity::DumpDatabase, database, message);
        }
        Err(error) => reporter.failed(Activity::DumpDatabase, database, error),
    }
    result
}

async fn place(
    server: &Server,
    physical: Physical<'_>,
    database: &str,
    settings: &BackupSettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let home = folder_of(&settings.folder.path, database);
    let staging = Staging::open(&home)?;
    let stamp = free_stamp(&home, physical.since.unwrap_or_else(jiff::Timestamp::now));
    let order = DumpOrder {
        database: physical.name,
        since: physical.since,
        recorded_as: database,
        stamp: &stamp,
        jobs: settings.jobs,
        level: settings.level,
        hashes: settings.hashes,
        patience: settings.patience,
        operator: &settings.operator,
        project: settings.folder.project.as_deref(),
    };
    let record = dump::dump(server, &order, staging.path(), reporter).await?;
    if settings.shrink == Shrink::Refuse {
        let found = existing(&settings.folder, database)?;
        // A backup of what a rebuild replaced says that the database has been another one since.
        let last = found.last().map(|last| &last.known.record).filter(|last| !last.of_replaced);
        refuse_shrunken(DumpKind::Backup, &record, last)?;
    }
    let target = home.join(&stamp);
    crate::failpoint!("databases.backup.before-rename");
    staging.publish(&target)?;
    crate::failpoint!("databases.backup.after-rename");
    Ok(BackupDocument::new(&Known { record, verification: Verification::default() }, &target))
}

/// What would keep a backup of `database`, which has so many bytes on the server, from being written: said before the
/// database is replaced that it is to be of. Where `enough` are kept none is needed.
pub(in crate::databases) fn problem_of_place(
    folder: &BackupFolder,
    database: &str,
    bytes: u64,
    enough: usize,
) -> Option<Message> {
    let home = folder_of(&folder.path, database);
    if let Err(error) = Staging::open(&home) {
        return Some(message!("unfit-no-backup", why = in_one_line(&error)));
    }
    let free = Disk::of(&home)?.free_bytes;
    // Rows as text under gzip seldom take more than a quarter of tables and indexes.
    let wanted = bytes / 4;
    (free < wanted).then(|| {
        let (wanted, free) = (wanted.div_ceil(1 << 20), free >> 20);
        message!("unfit-backup-space", wanted = wanted, folder = home.display(), free = free, count = enough)
    })
}

/// Compares like with like: a level of compression that saves more makes no database smaller.
pub(in crate::databases) fn refuse_shrunken(
    what: DumpKind,
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
pub(in crate::databases) fn folder_of(backups: &Path, database: &str) -> PathBuf {
    backups.join("databases").join(escape(database))
}

/// A complete backup on disk.
#[derive(Debug, Clone)]
pub(in crate::databases) struct Existing {
    pub path: PathBuf,
    pub known: Known,
    /// Of a time that has not come yet: the clock was wrong then, or is now.
    pub is_future: bool,
}

/// A folder with the name of a backup that can't be read as one.
#[derive(Debug)]
pub(in crate::databases) struct Broken {
    pub path: PathBuf,
    pub error: DatabasesError,
}

/// What lies where the backups of a database are.
#[derive(Debug, Default)]
pub(in crate::databases) struct FoundBackups {
    /// Oldest first; those from the future before all others, since nobody knows when they were made.
    pub backups: Vec<Existing>,
    /// Worth a word, and no reason to do without the others.
    pub broken: Vec<Broken>,
}

impl FoundBackups {
    /// The last one, unless it is from the future.
    pub fn last(&self) -> Option<&Existing> {
        self.backups.last().filter(|last| !last.is_future)
    }
}

/// Two machines' clocks differ by less.
const CLOCKS_APART: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// The backups of a database. A folder without the name of one is left out: it is not ours.
pub(in crate::databases) fn existing(folder: &BackupFolder, database: &str) -> Result<FoundBackups, DatabasesError> {
    let home = folder_of(&folder.path, database);
    let latest = jiff::Timestamp::now() + CLOCKS_APART;
    let is_own = |record: &Record| match (&folder.project, &record.made_by.project) {
        (Some(own), Some(theirs)) => own == theirs,
        _ => true,
    };
    let mut found = FoundBackups::default();
    let entries = match fs::read_dir(&home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(DatabasesError::file(message!("verb-list"), &home)(error)),
    };
    for entry in entries {
        let path = entry.map_err(DatabasesError::file(message!("verb-list"), &home))?.path();
        let stamp = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !names::is_stamp(&stamp) {
            continue;
        }
        match Known::read(&path) {
            Ok(known) if !is_own(&known.record) => {}
            Ok(known) if known.record.id == names::backup_id(database, &stamp) => {
                let is_future = known.record.created_at > latest;
                found.backups.push(Existing { path, known, is_future });
            }
            Ok(known) => {
                let (id, database) = (known.record.id, format!("{database} of {stamp}"));
                let source = RecordError::StrangeId { id, database };
                let error = DatabasesError::Record { path: path.clone(), source };
                found.broken.push(Broken { path, error });
            }
            Err(error) => found.broken.push(Broken { path, error }),
        }
    }
    let key = |backup: &Existing| (!backup.is_future, backup.known.record.created_at, backup.known.record.id.clone());
    found.backups.sort_by_key(key);
    found.broken.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;
    use crate::databases::archive::record::{RECORD_FILE, tests::record};

    #[test]
    fn backups_are_listed_oldest_first_and_other_folders_left_out() {
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
        let ids: Vec<String> = existing(&folder.path().into(), "expert")
            .unwrap()
            .backups
            .into_iter()
            .map(|backup| backup.known.record.id)
            .collect();
        assert_eq!(ids, ["expert/20260704T101530Z", "expert/20260705T000000Z"]);
        assert!(existing(&folder.path().into(), "metis").unwrap().backups.is_empty());
    }

    #[test]
    fn backups_of_another_project_and_of_the_future_are_no_last_ones() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder_of(folder.path(), "expert");
        for (stamp, project) in [("20260704T101530Z", "one"), ("20260705T101530Z", "two"), ("21350216T105427Z", "one")]
        {
            let created_at = names::time_of(stamp).unwrap();
            let mut record = Record { id: format!("expert/{stamp}"), created_at, ..record() };
            record.made_by.project = Some(project.to_owned());
            fs::create_dir_all(home.join(stamp)).unwrap();
            fs::write(home.join(stamp).join(RECORD_FILE), record.to_json()).unwrap();
        }
        let of = |project: &str| BackupFolder { path: folder.path().to_owned(), project: Some(project.to_owned()) };
        let last = |project: &str| existing(&of(project), "expert").unwrap().last().unwrap().known.record.id.clone();
        assert_eq!((last("one"), last("two")), ("expert/20260704T101530Z".into(), "expert/20260705T101530Z".into()));
        let all = existing(&folder.path().into(), "expert").unwrap();
        assert_eq!((all.backups.len(), all.backups[0].is_future), (3, true));
        assert!(existing(&of("three"), "expert").unwrap().last().is_none());
    }

    #[test]
    fn a_place_that_can_not_be_written_or_is_too_small_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = BackupFolder::from(folder.path());
        assert_eq!(problem_of_place(&at, "expert", 1 << 20, 1), None);
        assert!(
            problem_of_place(&at, "expert", u64::MAX, 1)
                .is_some_and(|problem| english(&problem).contains("MiB are free"))
        );
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let problem = problem_of_place(&file.into(), "expert", 1, 1).unwrap();
        assert!(english(&problem).contains("can't be backed up"), "{problem:?}");
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
        let found = existing(&folder.path().into(), "expert").unwrap();
        assert_eq!((found.backups.len(), found.broken.len()), (1, 2));
    }

    #[test]
    fn less_than_half_is_refused() {
        let (last, mut new) = (record(), record());
        let refused = |new: &Record| refuse_shrunken(DumpKind::Backup, new, Some(&last));
        assert!(refuse_shrunken(DumpKind::Backup, &new, None).is_ok());
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
