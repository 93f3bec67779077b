//! `db list`: the databases as the server has them, and their backups.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::documents::BackupDocument;
use super::error::DatabasesError;
use crate::databases::archive::names;
use crate::databases::archive::record::Record;
use crate::databases::archive::verification::Known;
use crate::databases::dump::backup::{self, BackupFolder};
use crate::databases::server::connect::Server;

/// A database on the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerDatabase {
    pub name: String,
    /// On the server's disk, indexes included.
    pub size_bytes: u64,
    pub connections: u64,
    pub allows_connections: bool,
}

/// All databases of the server but its templates, by name; those that an interrupted rebuild left are among them (see
/// [`leftovers_of`]).
pub async fn list(server: &Server) -> Result<Vec<ServerDatabase>, DatabasesError> {
    const QUERY: &str = "SELECT coalesce(json_agg(json_build_object(
          'name', d.datname, 'size_bytes', pg_catalog.pg_database_size(d.oid),
          'connections', (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid
            AND a.pid <> pg_catalog.pg_backend_pid()),
          'allows_connections', d.datallowconn) ORDER BY d.datname), '[]')
        FROM pg_catalog.pg_database d WHERE d.datname NOT IN ('template0', 'template1')";
    server.client.query(server.home(), || message!("sql-list-the-databases"), QUERY).await
}

/// The names of those that an interrupted or a keeping rebuild of `database` left beside it.
pub fn leftovers_of(database: &str, databases: &[ServerDatabase]) -> Vec<String> {
    let beside = |candidate: &&ServerDatabase| names::read_beside(database, &candidate.name).is_some();
    databases.iter().filter(beside).map(|leftover| leftover.name.clone()).collect()
}

/// Whether one of [`leftovers_of`] was kept on purpose, for the way back.
pub fn is_kept(database: &str, name: &str) -> bool {
    names::read_beside(database, name).is_some_and(|(kind, _)| kind == names::BesideKind::Kept)
}

/// The backups of a database below `paths.backups`, oldest first; those of a time that has not come yet before all others.
pub fn backups(folder: impl Into<BackupFolder>, database: &str) -> Result<Vec<BackupDocument>, DatabasesError> {
    let found = backup::existing(&folder.into(), database)?;
    let document = |backup: &backup::Existing| BackupDocument {
        from_the_future: backup.is_future,
        ..BackupDocument::new(&backup.known, &backup.path)
    };
    Ok(found.backups.iter().map(document).collect())
}

/// A backup by its ID and the time of it as its folder has it (`20260704T101530Z`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStamp {
    pub id: String,
    pub time: String,
}

/// The backups of a database by the names of their folders, oldest first; none is opened, and what can't be read has none.
pub fn backup_stamps(folder: &Path, database: &str) -> Vec<BackupStamp> {
    let entries = std::fs::read_dir(backup::folder_of(folder, database)).into_iter().flatten().filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut times: Vec<String> = names.filter(|name| names::is_stamp(name)).collect();
    times.sort();
    times.into_iter().map(|time| BackupStamp { id: names::backup_id(database, &time), time }).collect()
}

/// What lies among the backups of a database and can't be read as one: its path, and why.
pub fn unreadable_backups(
    folder: impl Into<BackupFolder>,
    database: &str,
) -> Result<Vec<(PathBuf, DatabasesError)>, DatabasesError> {
    let found = backup::existing(&folder.into(), database)?;
    Ok(found.broken.into_iter().map(|broken| (broken.path, broken.error)).collect())
}

/// The dump in a folder: a backup or a seed, wherever it lies.
pub fn dump_at(folder: &Path) -> Result<BackupDocument, DatabasesError> {
    Ok(BackupDocument::new(&Known::read(folder)?, folder))
}

/// Where a dump of ours comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpOrigin {
    pub database: String,
    /// The project whose backup it is; a seed is nobody's alone.
    pub project: Option<String>,
    /// As [`Server::system_identifier`] says it, where it was asked.
    pub server_identifier: Option<String>,
}

/// Where the dump in `folder` comes from.
pub fn origin_of_dump(folder: &Path) -> Result<DumpOrigin, DatabasesError> {
    let Record { database, made_by, server_identifier, .. } = Record::read(folder)?;
    Ok(DumpOrigin { database, project: made_by.project, server_identifier })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::archive::names::BesideKind;

    #[test]
    fn what_was_kept_on_purpose_is_told_from_what_was_left() {
        let beside = |kind| names::beside("shop", kind, "20260704T101530Z");
        let (kept, old) = (beside(BesideKind::Kept), beside(BesideKind::Old));
        let server = |name: &str| ServerDatabase {
            name: name.to_owned(),
            size_bytes: 0,
            connections: 0,
            allows_connections: true,
        };
        let there = [server("shop"), server(&kept), server(&old)];
        assert_eq!(leftovers_of("shop", &there), [kept.clone(), old.clone()]);
        assert!(is_kept("shop", &kept) && !is_kept("shop", &old));
    }
}
