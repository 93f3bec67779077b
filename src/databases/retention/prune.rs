//! `db prune`: old backups go by the rules of `retention`, planned first.
//!
//! A backup loses its name before its files go, so that one half removed is never listed; a kill leaves a folder that
//! the next run takes for what it is.

use std::fs;
use std::path::PathBuf;

use super::{BadBackups, Candidate, Retention};
use crate::databases::archive::names;
use crate::databases::archive::staging;
use crate::databases::documents::{BackupDocument, KeptBackup, PruneDatabase};
use crate::databases::dump::backup::{self, BackupFolder, FoundBackups};
use crate::databases::error::DatabasesError;
use crate::fs::sync_dir;
use crate::report::{Activity, Reporter};

/// What pruning the backups of one database would do.
#[derive(Debug, Clone)]
pub struct PrunePlan {
    database: String,
    home: PathBuf,
    kept: Vec<KeptBackup>,
    removed: Vec<BackupDocument>,
    /// What killed runs left.
    leftovers: Vec<PathBuf>,
    /// Folders with the name of a backup that can't be read as one: they stay, for a person to look at.
    unreadable: Vec<PathBuf>,
}

/// Decides which backups of `database` below `folder` (`paths.backups`) go. Changes nothing.
pub fn plan_prune(
    folder: &BackupFolder,
    database: &str,
    retention: &Retention,
    bad: BadBackups,
) -> Result<PrunePlan, DatabasesError> {
    let FoundBackups { backups, broken, .. } = backup::existing(folder, database)?;
    let folder = &folder.path;
    let candidates: Vec<Candidate> = backups
        .iter()
        .map(|backup| Candidate {
            created_at: backup.known.record.created_at,
            restored: backup.known.verification.restored_at().is_some(),
            checked: backup.known.verification.files_at().is_some(),
            bad: backup.known.verification.failed.is_some(),
            future: backup.is_future,
        })
        .collect();
    let mut plan = PrunePlan {
        database: database.to_owned(),
        home: backup::folder_of(folder, database),
        kept: Vec::new(),
        removed: Vec::new(),
        leftovers: staging::leftovers(&backup::folder_of(folder, database))?,
        unreadable: broken.into_iter().map(|broken| broken.path).collect(),
    };
    for (backup, reasons) in backups.iter().zip(super::rules_that_keep(&candidates, retention, bad)) {
        let document = BackupDocument::new(&backup.known, &backup.path);
        if reasons.is_empty() {
            plan.removed.push(document);
        } else {
            let reasons = reasons.into_iter().map(|reason| reason.word().to_owned()).collect();
            plan.kept.push(KeptBackup { backup: document, kept_by: reasons });
        }
    }
    Ok(plan)
}

impl PrunePlan {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.leftovers.is_empty()
    }

    /// What `--json` prints for it; `done` says whether it was carried out.
    pub fn document(&self) -> PruneDatabase {
        let text = |paths: &[PathBuf]| paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        PruneDatabase {
            database: self.database.clone(),
            kept: self.kept.clone(),
            removed: self.removed.clone(),
            freed_bytes: self.removed.iter().map(|backup| backup.bytes).sum(),
            leftovers: text(&self.leftovers),
            unreadable: text(&self.unreadable),
            dropped: Vec::new(),
        }
    }

    /// Carries it out: the oldest goes first. On an error those that are left are whole.
    pub fn run(&self, reporter: &Reporter) -> Result<(), DatabasesError> {
        for backup in &self.removed {
            if reporter.asked_to_stop() {
                return Err(DatabasesError::Stopped { database: self.database.clone() });
            }
            reporter.began(Activity::RemoveBackup, backup.id.as_str(), Some(backup.bytes));
            match self.remove(backup) {
                Ok(()) => {
                    let message = message!("databases-backup-removed");
                    reporter.done(Activity::RemoveBackup, backup.id.as_str(), message);
                }
                Err(error) => {
                    reporter.failed(Activity::RemoveBackup, backup.id.as_str(), &error);
                    return Err(error);
                }
            }
        }
        if self.leftovers.is_empty() { Ok(()) } else { staging::clear(&self.home) }
    }

    fn remove(&self, backup: &BackupDocument) -> Result<(), DatabasesError> {
        let stamp = backup.id.rsplit('/').next().unwrap_or_default();
        debug_assert!(names::is_stamp(stamp), "the plan was made from folders with such names");
        let (path, aside) = (self.home.join(stamp), self.home.join(staging::temporary(&format!("gone-{stamp}"))));
        crate::failpoint!("databases.prune.before-rename");
        fs::rename(&path, &aside).map_err(DatabasesError::file(message!("verb-remove"), &path))?;
        sync_dir(&self.home).map_err(DatabasesError::file(message!("verb-remove"), &path))?;
        crate::failpoint!("databases.prune.after-rename");
        staging::remove(&aside).map_err(DatabasesError::file(message!("verb-remove"), &aside))?;
        crate::failpoint!("databases.prune.after-remove");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::archive::record::{RECORD_FILE, Record, tests::record};

    fn put(folder: &std::path::Path, day: u32) {
        let stamp = format!("202607{day:02}T000000Z");
        let created_at = format!("2026-07-{day:02}T00:00:00Z").parse().unwrap();
        let record = Record { id: format!("expert/{stamp}"), created_at, ..record() };
        let path = folder.join("databases/expert").join(stamp);
        fs::create_dir_all(path.join("archive")).unwrap();
        fs::write(path.join(RECORD_FILE), record.to_json()).unwrap();
    }

    const TWO: Retention = Retention { keep_last: 2, daily: 0, weekly: 0, monthly: 0 };

    #[test]
    fn a_plan_changes_nothing_and_running_it_removes_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        for day in 1..=4 {
            put(folder.path(), day);
        }
        let home = folder.path().join("databases/expert");
        fs::create_dir(home.join(".dpl-tmp-dump-0123")).unwrap();
        fs::create_dir(home.join("20260705T000000Z")).unwrap();
        let plan = plan_prune(&folder.path().into(), "expert", &TWO, BadBackups::Keep).unwrap();
        let document = plan.document();
        let removed: Vec<&str> = document.removed.iter().map(|backup| backup.id.as_str()).collect();
        assert_eq!(removed, ["expert/20260701T000000Z", "expert/20260702T000000Z"]);
        assert_eq!((document.leftovers.len(), document.unreadable.len(), document.freed_bytes), (1, 1, 40));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 6);
        plan.run(&Reporter::default()).unwrap();
        let again = plan_prune(&folder.path().into(), "expert", &TWO, BadBackups::Keep).unwrap();
        assert!(again.is_empty() && again.document().kept.len() == 2);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 3);
    }

    #[test]
    fn a_database_without_backups_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(plan_prune(&folder.path().into(), "expert", &TWO, BadBackups::Keep).unwrap().is_empty());
    }
}
