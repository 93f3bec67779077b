//! Which backup is restored: the last good one, or the one that is named.

use std::path::PathBuf;

use crate::databases::archive::names;
use crate::databases::archive::record::RECORD_FILE;
use crate::databases::dump::backup::{self, BackupFolder, Existing, FoundBackups};
use crate::databases::error::{DatabasesError, in_one_line};
use crate::databases::list::backup_stamps;
use crate::manifest::nearest;
use crate::report::Message;

/// The folder of a backup: the last one of `database`, or the one with this ID (`expert/20260704T101530Z`, or the time
/// alone), which may be another database's.
pub fn find_backup(
    folder: impl Into<BackupFolder>,
    database: &str,
    id: Option<&str>,
) -> Result<PathBuf, DatabasesError> {
    let folder = folder.into();
    let backups = folder.path.as_path();
    let none = |id: Option<&str>| {
        let times: Vec<String> = backup_stamps(backups, database).into_iter().map(|backup| backup.time).collect();
        let wrong = id.and_then(|id| id.rsplit('/').next());
        DatabasesError::NoBackup {
            id: id.map(str::to_owned),
            database: database.to_owned(),
            folder: backups.join("databases"),
            nearest: wrong.and_then(|wrong| nearest(wrong, times.iter().map(String::as_str))).map(str::to_owned),
            last: times.last().cloned(),
        }
    };
    let Some(id) = id else {
        return last_backup(&folder, database)?.map(|last| last.path).ok_or_else(|| none(None));
    };
    let home = match id.split_once('/') {
        None => backup::folder_of(backups, database),
        // The name as a folder has it: nothing else comes to a path.
        Some((name, _)) if is_folder_name(name) => backups.join("databases").join(name),
        Some(_) => return Err(none(Some(id))),
    };
    let stamp = id.rsplit('/').next().unwrap_or_default();
    let folder = home.join(stamp);
    if names::is_stamp(stamp) && folder.join(RECORD_FILE).exists() { Ok(folder) } else { Err(none(Some(id))) }
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
    Unreadable(Message),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::databases::archive::record::Record;

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
        let failure = Failure::new(jiff::Timestamp::now(), String::new(), message!("declined"));
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
}
