//! `db leftovers`: databases that stand beside others on a server, for a person to look at, drop or keep.

use super::lock::DatabaseLock;
use super::swap::renames;
use crate::databases::archive::names::{self, BesideKind};
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::report::Reporter;

/// Why a database stands beside one of the manifest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// Replaced; the next rebuild backs it up and drops it.
    Old,
    /// Replaced, and could not be backed up or dropped.
    Left,
    /// Kept for a rollback.
    Kept,
    /// Of a run that was interrupted.
    Unfinished,
}

impl LeftoverKind {
    /// The word that documents have for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Left => "left",
            Self::Kept => "kept",
            Self::Unfinished => "unfinished",
        }
    }
}

/// What `name` is to `database`; `None` for a database of its own.
pub fn leftover_kind(database: &str, name: &str) -> Option<LeftoverKind> {
    Some(match names::read_beside(database, name)?.0 {
        BesideKind::Old => LeftoverKind::Old,
        BesideKind::Left => LeftoverKind::Left,
        BesideKind::Kept => LeftoverKind::Kept,
        BesideKind::New | BesideKind::Back | BesideKind::Away => LeftoverKind::Unfinished,
    })
}

/// Drops a database, without a backup. `database` is the one that it stands beside: nobody works on that meanwhile.
pub async fn drop_leftover(
    server: &Server,
    database: &str,
    name: &str,
    reporter: &Reporter,
) -> Result<(), DatabasesError> {
    let lock = DatabaseLock::take(server, database).await?;
    let dropped = renames::drop_unless_stopped(server, name, reporter).await;
    lock.release().await;
    dropped
}

/// Keeps a replaced database for `db rollback`; its new name.
pub async fn keep_leftover(server: &Server, database: &str, name: &str) -> Result<String, DatabasesError> {
    let lock = DatabaseLock::take(server, database).await?;
    let kept = async {
        let not_kept = || DatabasesError::NotKept { name: name.to_owned() };
        let (kind, stamp) = names::read_beside(database, name).ok_or_else(not_kept)?;
        if !matches!(kind, BesideKind::Old | BesideKind::Left | BesideKind::Kept) {
            return Err(not_kept());
        }
        let kept = names::beside(database, BesideKind::Kept, &stamp);
        if kept != name {
            renames::rename(server, name, &kept).await?;
        }
        Ok(kept)
    };
    let kept = kept.await;
    lock.release().await;
    kept
}
