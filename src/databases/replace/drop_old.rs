//! What becomes of a database that was replaced: backed up from under its other name, the backup proved, then dropped;
//! or kept for the way back.

use std::path::Path;

use super::lock::DatabaseLock;
use super::recovery::{self, Seen};
use crate::databases::archive::names::{self, BesideKind};
use crate::databases::containers::throwaway::ServerImage;
use crate::databases::documents::BackupDocument;
use crate::databases::dump::backup::{self, BackupSettings, Physical, Shrink};
use crate::databases::error::DatabasesError;
use crate::databases::replace::swap::renames;
use crate::databases::server::connect::Server;
use crate::databases::verify::{self, Depth, VerifySettings};
use crate::report::{Activity, Reporter};

/// What becomes of the database that is replaced.
#[derive(Debug, Clone)]
pub enum OldDatabase {
    /// It is backed up, the backup verified, and then it is dropped.
    BackUpAndDrop(BackupSettings),
    /// It stays under another name, for the way back; of several that were kept only so many (none for 0), and the others
    /// are backed up and dropped.
    Keep { count: usize, backup: BackupSettings },
    /// It is dropped without a backup, since somebody asked for that in words.
    Drop,
}

impl OldDatabase {
    /// How one that is not kept is backed up; not at all where `None`.
    fn backup(&self) -> Option<&BackupSettings> {
        match self {
            Self::BackUpAndDrop(settings) | Self::Keep { backup: settings, .. } => Some(settings),
            Self::Drop => None,
        }
    }

    /// What it is called aside.
    pub(in crate::databases) fn kind(&self) -> BesideKind {
        match self {
            Self::Keep { count: 1.., .. } => BesideKind::Kept,
            Self::Keep { count: 0, .. } | Self::BackUpAndDrop(_) | Self::Drop => BesideKind::Old,
        }
    }
}

/// A database that was replaced, and what is to become of such.
pub(in crate::databases) struct DropOld<'a> {
    pub server: &'a Server,
    /// The name that it had.
    pub database: &'a str,
    pub policy: &'a OldDatabase,
    pub reporter: &'a Reporter,
}

impl DropOld<'_> {
    /// Backs an old database up, where that is wanted, proves the backup, and drops the database.
    pub async fn run(&self, old: Physical<'_>) -> Result<Option<BackupDocument>, DatabasesError> {
        let document = match self.policy.backup() {
            None => None,
            Some(settings) => {
                renames::open(self.server, old.name).await?;
                // Whatever its size, it is what there was: refusing it would keep every later rebuild from beginning.
                let settings = BackupSettings { shrink: Shrink::Allow, ..settings.clone() };
                let made = backup::backup_as(self.server, old, self.database, &settings, self.reporter).await?;
                Some(self.prove(&made, &settings).await?)
            }
        };
        self.reporter.began(Activity::DropDatabase, self.database, None);
        match renames::drop_unless_stopped(self.server, old.name, self.reporter).await {
            Ok(()) => {
                let message = match document {
                    Some(_) => message!("databases-old-dropped"),
                    None => message!("databases-old-dropped-unsaved"),
                };
                self.reporter.done(Activity::DropDatabase, self.database, message);
                Ok(document)
            }
            Err(error) => {
                self.reporter.failed(Activity::DropDatabase, self.database, &error);
                Err(error)
            }
        }
    }

    /// A list is no verification: it is restored, and compared.
    async fn prove(&self, made: &BackupDocument, settings: &BackupSettings) -> Result<BackupDocument, DatabasesError> {
        let image = ServerImage::of(self.server).await;
        let how = VerifySettings { depth: Depth::Restore, jobs: settings.jobs, operator: settings.operator.clone() };
        verify::prove(&image, Path::new(&made.path), &how, self.reporter).await
    }

    /// Keeps the newest, and lets those go that are too many; their names.
    pub async fn thin_out(&self) -> Result<Vec<String>, DatabasesError> {
        let OldDatabase::Keep { count, .. } = self.policy else { return Ok(Vec::new()) };
        let mut kept = kept_names(self.database, &recovery::look(self.server).await?);
        kept.truncate(kept.len().saturating_sub(*count));
        for old in &kept {
            if self.reporter.asked_to_stop() {
                return Err(DatabasesError::Stopped { database: self.database.to_owned() });
            }
            let message = message!("databases-kept-too-many", name = old, database = self.database);
            self.reporter.notice(message);
            self.run(aside_since(self.database, old)).await?;
        }
        Ok(kept)
    }
}

/// A database that stands beside `database`, with the time that its name has: nobody has written to it since.
pub(in crate::databases) fn aside_since<'a>(database: &str, name: &'a str) -> Physical<'a> {
    let since = names::read_beside(database, name).and_then(|(_, stamp)| names::time_of(&stamp));
    Physical { name, since }
}

/// Lets kept databases go but for the newest `count`: each is backed up, the backup proved, and then it is dropped. Their
/// names.
pub async fn thin_out_kept(
    server: &Server,
    database: &str,
    count: usize,
    backup: &BackupSettings,
    reporter: &Reporter,
) -> Result<Vec<String>, DatabasesError> {
    let lock = DatabaseLock::take(server, database).await?;
    let policy = OldDatabase::Keep { count, backup: backup.clone() };
    let thinning = async {
        // One that an interrupted rollback had on its way is a kept one too.
        recovery::recover(server, database, reporter).await?.tell_what_waits(database, reporter);
        DropOld { server, database, policy: &policy, reporter }.thin_out().await
    };
    let gone = Box::pin(thinning).await;
    lock.release().await;
    gone
}

/// The databases that were kept when `database` was replaced, oldest first.
pub(in crate::databases) fn kept_names(database: &str, seen: &[Seen]) -> Vec<String> {
    let mut kept: Vec<(String, String)> = seen
        .iter()
        .filter_map(|seen| {
            let (kind, stamp) = names::read_beside(database, &seen.name)?;
            (kind == BesideKind::Kept).then(|| (stamp, seen.name.clone()))
        })
        .collect();
    kept.sort();
    kept.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_ones_are_told_oldest_first_and_others_left_out() {
        let name = |kind, stamp| names::beside("expert", kind, stamp);
        let (first, second) = (name(BesideKind::Kept, "20260704T101530Z"), name(BesideKind::Kept, "20260705T101530Z"));
        let others = [name(BesideKind::Old, "20260703T101530Z"), "expert".to_owned()];
        let seen: Vec<Seen> = [&second, &first, &others[0], &others[1]]
            .map(|name| Seen { name: name.clone(), allows_connections: false, is_invalid: false })
            .into();
        assert_eq!(kept_names("expert", &seen), [first, second]);
    }
}
