//! What an earlier run left to be done behind its swap: the database that it replaced, not yet backed up and dropped.

use super::drop_old::{DropOld, OldDatabase, aside_since};
use super::options::{Placement, RebuildOptions, Repeat};
use super::swap::{after_swap, renames};
use crate::databases::archive::names::{self, BesideKind};
use crate::databases::documents::{BackupDocument, RebuildReport};
use crate::databases::error::{DatabasesError, in_one_line};
use crate::databases::server::connect::Server;
use crate::report::Reporter;

/// A run that finds such databases before it begins.
pub(super) struct Earlier<'a> {
    pub server: &'a Server,
    pub database: &'a str,
    pub options: &'a RebuildOptions,
    pub reporter: &'a Reporter,
}

impl Earlier<'_> {
    /// Does what was left, and gives its report where nothing else is to be done. What can't be backed up or dropped is put
    /// aside for a person, and stands in nobody's way from then on.
    pub async fn finish(&self, leftovers: &[String]) -> Result<Option<RebuildReport>, DatabasesError> {
        let mut finished = None;
        for old in leftovers {
            let Some(policy) = self.policy(old) else { continue };
            match self.drop(old, &policy).await {
                Ok(backup) => {
                    let database = self.database.to_owned();
                    finished = Some(RebuildReport { database, backup, finished_earlier: true, ..Default::default() });
                }
                Err(error) if error.is_stop() => return Err(error),
                Err(error) => {
                    let left = self.put_aside(old).await;
                    if self.options.repeat == Repeat::FinishEarlier {
                        return Err(after_swap(self.database, error));
                    }
                    self.reporter.warn(message!("databases-leftover-stays", name = left, reason = in_one_line(&error)));
                }
            }
        }
        Ok(finished.filter(|_| self.options.repeat == Repeat::FinishEarlier))
    }

    /// Somebody's only copy of the old rows, maybe: never dropped without a backup where one can be made, whatever this run
    /// was told of the database that it replaces itself, and left alone by a run that replaces nothing.
    fn policy(&self, old: &str) -> Option<OldDatabase> {
        let (message, policy) = match (&self.options.placement, &self.options.old, &self.options.leftovers) {
            (Placement::Beside(_), _, _) => {
                (message!("databases-leftover-waits", database = self.database, name = old), None)
            }
            (Placement::Replace, _, Some(settings)) => (
                message!("databases-leftover-finishing", database = self.database, name = old),
                Some(OldDatabase::BackUpAndDrop(settings.clone())),
            ),
            (Placement::Replace, OldDatabase::Drop, None) => (
                message!("databases-leftover-finishing", database = self.database, name = old),
                Some(OldDatabase::Drop),
            ),
            (Placement::Replace, _, None) => {
                (message!("databases-leftover-without-place", database = self.database, name = old), None)
            }
        };
        self.reporter.warn(message);
        policy
    }

    async fn drop(&self, old: &str, policy: &OldDatabase) -> Result<Option<BackupDocument>, DatabasesError> {
        let Self { server, database, reporter, .. } = self;
        DropOld { server, database, policy, reporter }.run(aside_since(database, old)).await
    }

    /// The name that it has from now on.
    async fn put_aside(&self, old: &str) -> String {
        let left = names::beside(self.database, BesideKind::Left, &stamp_in(self.database, old));
        // One that can't even get another name stays as it is, and is tried once more by the next run.
        let renamed = renames::rename(self.server, old, &left).await;
        let left = if renamed.is_ok() { left } else { old.to_owned() };
        self.reporter.warn(message!("databases-left-aside", name = &left, database = self.database));
        left
    }
}

/// The stamp in the name of a database beside another.
fn stamp_in(database: &str, beside: &str) -> String {
    let read = names::read_beside(database, beside);
    read.map_or_else(|| names::stamp(jiff::Timestamp::now()), |(_, stamp)| stamp)
}
