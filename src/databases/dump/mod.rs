//! A database's dump into a folder: archive and record, complete and proved, or an error.
//!
//! The only place that runs pg_dump. Tables are listed in the snapshot that pg_dump works in, and their rows are counted
//! in what pg_dump wrote, which ends with a mark where it is complete; a dump whose archive lacks a table, or the end of
//! one, is an error, whatever the exit code was. The server is not asked to count: a database whose tables can be read
//! may have indexes that a query can't be planned with, more tables than one transaction can lock, or a lock that
//! somebody holds, and pg_dump copes with all of them.

pub(super) mod backup;
pub(super) mod compress;
mod count;
pub(super) mod seed;
mod settings;
pub(super) mod shared_disk;
pub(super) mod streamed;
mod write;

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Instant;

pub(super) use self::count::BEHIND_ROWS;
use self::count::{count_rows, entries};
pub use self::settings::{Jobs, Level, LockPatience, PasswordHashes};
pub(super) use self::write::list_archive;
use self::write::{Dumping, Opened, WrittenDump};
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, Maker, RECORD_FILE, Record};
use crate::databases::archive::{large_object_files, names};
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::fs::{Mode, sync_dir, write_durably};
use crate::report::Reporter;

/// What to dump.
#[derive(Clone)]
pub(in crate::databases) struct DumpOrder<'a> {
    /// The database's name on the server.
    pub database: &'a str,
    /// The name that the record gives it: another one where an old database is dumped from under its new name.
    pub recorded_as: &'a str,
    /// Since when nobody writes to it, where that is so.
    pub since: Option<jiff::Timestamp>,
    pub stamp: &'a str,
    pub jobs: Jobs,
    pub level: Level,
    pub hashes: PasswordHashes,
    pub patience: LockPatience,
    pub operator: &'a str,
    pub project: Option<&'a str>,
}

/// Dumps into `folder`, which is empty, private, and nobody else's. Everything in it is safe on disk afterwards.
pub(in crate::databases) async fn dump(
    server: &Server,
    order: &DumpOrder<'_>,
    folder: &Path,
    reporter: &Reporter,
) -> Result<Record, DatabasesError> {
    match Box::pin(dump_once(server, order, folder, reporter)).await {
        Err(error) if order.jobs.get() > 1 && lost_a_lock(&error) => {
            reporter.warn(message!("databases-dumped-alone", database = order.recorded_as));
            let archive_path = folder.join(ARCHIVE);
            std::fs::remove_dir_all(&archive_path)
                .map_err(DatabasesError::file(message!("verb-remove"), &archive_path))?;
            let alone = DumpOrder { jobs: Jobs::ONE, ..order.clone() };
            Box::pin(dump_once(server, &alone, folder, reporter)).await
        }
        dumped => dumped,
    }
}

/// Whether processes of one pg_dump got into each other's way: each takes its lock without waiting, and fails where somebody
/// who wants the table alone stands between them. A single process has one lock for all (pg_dump's `lockTableForWorker`).
fn lost_a_lock(error: &DatabasesError) -> bool {
    let DatabasesError::Tool { program: "pg_dump", source, .. } = error else { return false };
    source.text().contains("after the pg_dump parent process had gotten the initial ACCESS SHARE lock")
}

async fn dump_once(
    server: &Server,
    order: &DumpOrder<'_>,
    folder: &Path,
    reporter: &Reporter,
) -> Result<Record, DatabasesError> {
    let (created_at, begun) = (order.since.unwrap_or_else(jiff::Timestamp::now), Instant::now());
    let archive_path = folder.join(ARCHIVE);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&archive_path)
        .map_err(DatabasesError::file(message!("verb-create"), &archive_path))?;
    if reporter.asked_to_stop() {
        return Err(DatabasesError::Stopped { database: order.recorded_as.to_owned() });
    }
    let dumping = Dumping { server, order, folder, archive_path: &archive_path, reporter };
    let WrittenDump { opened, written, helper } = dumping.run().await?;
    let Opened { properties, mut session, mut inventory, .. } = opened;
    if !written.said.is_empty() {
        let said = &written.said;
        reporter.warn(message!("databases-tool-said", tool = "pg_dump", database = order.recorded_as, said = said));
    }
    let counted = count_rows(order, &written.contents, &mut inventory.tables, &written.files);
    // Before it goes: another one would be a program more to start.
    let server_identifier = match order.project {
        Some(_) => server.system_identifier_in(&mut session).await,
        None => None,
    };
    // Both take as long to end as what is left to be written down. What was dumped in its snapshot is whole, whatever has
    // become of that since.
    let ended = async {
        let helper_ended = async {
            if let Some(helper) = helper {
                helper.end().await;
            }
        };
        let _ = futures::join!(session.close(), helper_ended);
    };
    let recorded = async move {
        let files = {
            let folder = folder.to_owned();
            let listing = move || counted.and_then(|()| entries(&folder, written.files));
            joined(tokio::task::spawn_blocking(listing).await)?
        };
        let (files, large_object_files) = large_object_files::gather(files);
        let record = Record {
            format: Record::format_for(large_object_files.as_ref()),
            id: names::backup_id(order.recorded_as, order.stamp),
            database: order.recorded_as.to_owned(),
            created_at,
            duration_ms: begun.elapsed().as_millis() as u64,
            made_by: Maker {
                dpl: env!("CARGO_PKG_VERSION").to_owned(),
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                operator: order.operator.to_owned(),
                project: order.project.map(str::to_owned),
            },
            server_version: server.version.clone(),
            server_version_number: server.version_number,
            server_identifier,
            properties,
            size_bytes: inventory.size_bytes,
            extensions: inventory.extensions,
            roles: inventory.roles,
            large_objects: inventory.large_objects,
            tablespaces: inventory.tablespaces,
            givens: inventory.givens,
            tables: inventory.tables,
            archive: ArchiveFormat::Directory,
            of_replaced: names::read_beside(order.recorded_as, order.database).is_some(),
            files,
            large_object_files,
        };
        write_record(&record, folder)?;
        Ok::<_, DatabasesError>(record)
    };
    let ((), record) = futures::join!(ended, recorded);
    record
}

/// Behind the archive in the same folder: a folder without one is no dump.
fn write_record(record: &Record, folder: &Path) -> Result<(), DatabasesError> {
    let archive_path = folder.join(ARCHIVE);
    sync_dir(&archive_path).map_err(DatabasesError::file(message!("verb-write"), &archive_path))?;
    crate::failpoint!("databases.dump.before-record");
    let record_path = folder.join(RECORD_FILE);
    let text = record.to_json();
    // What can't be read back is no backup: that is to be known now.
    Record::parse(&text).map_err(|source| DatabasesError::Record { path: record_path.clone(), source })?;
    write_durably(&record_path, &text, Mode::Private)
        .map_err(DatabasesError::file(message!("verb-write"), &record_path))
}

fn joined<T>(finished: Result<Result<T, DatabasesError>, tokio::task::JoinError>) -> Result<T, DatabasesError> {
    finished.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_lost_to_somebody_in_between_is_told_from_other_failures() {
        let said = |text: &str| DatabasesError::Tool {
            program: "pg_dump",
            database: "d".to_owned(),
            code: 1,
            source: crate::databases::error::Said::new(text.as_bytes()),
        };
        let lost = "pg_dump: error: could not obtain lock on relation \"public.t\"\nThis usually means that someone requested an \
             ACCESS EXCLUSIVE lock on the table after the pg_dump parent process had gotten the initial ACCESS SHARE lock on the \
             table.";
        assert!(lost_a_lock(&said(lost)));
        assert!(!lost_a_lock(&said("pg_dump: error: query failed: ERROR:  permission denied for table t")));
    }
}
