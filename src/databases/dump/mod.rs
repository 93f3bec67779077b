//! A database's dump into a folder: archive and record, complete and proved, or an error.
//!
//! The only place that runs pg_dump. Tables are listed in the snapshot that pg_dump works in, and their rows are counted
//! in what pg_dump wrote, which ends with a mark where it is complete; a dump whose archive lacks a table, or the end of
//! one, is an error, whatever the exit code was. The server is not asked to count: a database whose tables can be read
//! may have indexes that a query can't be planned with, more tables than one transaction can lock, or a lock that
//! somebody holds, and pg_dump copes with all of them.

pub(super) mod backup;
pub(super) mod compress;
pub(super) mod room;
pub(super) mod seed;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::num::NonZero;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use self::compress::{CompressedFile, Follower, Moved, WriterSignal};
use self::room::SharedRoom;
use crate::databases::archive::contents::{self, Contents};
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, FileEntry, Maker, RECORD_FILE, Record};
use crate::databases::archive::{large_object_files, names};
use crate::databases::containers::copy;
use crate::databases::containers::helper::{Access, Helper, INSIDE, Reach, starting_beside};
use crate::databases::described::inventory::{Inventory, Table, shorten};
use crate::databases::described::properties::Properties;
use crate::databases::error::DatabasesError;
use crate::databases::server::client::Session;
use crate::databases::server::connect::Server;
use crate::engine::ExecResult;
use crate::fs::{Mode, hash_file, sync_dir, write_durably};
use crate::report::{Activity, Reporter};

/// How much of the machine and the server a dump or a restore may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jobs(NonZero<u16>);

impl Jobs {
    /// `None` for 0.
    pub fn new(jobs: u16) -> Option<Self> {
        NonZero::new(jobs).map(Self)
    }

    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// For a restore one more than for a dump: its processes wait for the server by turns, and one that reads and unpacks
    /// leaves a core to the server.
    pub fn for_restore() -> Self {
        Self(Self::default().0.saturating_add(1))
    }
}

impl Default for Jobs {
    /// As many as the machine has cores, at most 8: a server has other work too.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(8);
        Self(NonZero::new(cores as u16).unwrap_or(NonZero::<u16>::MIN))
    }
}

/// How hard the compressor tries: 1 is fastest, 12 smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// `None` outside of 1 to 12.
    pub fn new(level: u8) -> Option<Self> {
        (1..=12).contains(&level).then_some(Self(level))
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Level {
    /// libdeflate's level 5 takes a third of zlib's time at its level 6, and the result is no larger.
    fn default() -> Self {
        Self(5)
    }
}

/// Whether the roles' password hashes are written down too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PasswordHashes {
    #[default]
    LeaveOut,
    Take,
}

/// How long somebody else's lock on a table is waited for: someone's ALTER TABLE in the way is an error after a while,
/// rather than a queue behind us without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockPatience(pub std::time::Duration);

impl Default for LockPatience {
    fn default() -> Self {
        Self(std::time::Duration::from_secs(300))
    }
}

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
            std::fs::remove_dir_all(&archive_path).map_err(DatabasesError::file("remove", &archive_path))?;
            let alone = DumpOrder { jobs: Jobs(NonZero::<u16>::MIN), ..order.clone() };
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
        .map_err(DatabasesError::file("create", &archive_path))?;
    let starting = Helper::start(server, folder, Access::Write, Reach::Server);
    if reporter.asked_to_stop() {
        return Err(DatabasesError::Stopped { database: order.recorded_as.to_owned() });
    }
    let (helper, opened) = starting_beside(starting, Opened::open(server, order)).await?;
    let properties = opened.properties.clone();
    let room = if helper.shares_folder { SharedRoom::of(server, folder).await } else { None };
    let runs_out = async {
        match &room {
            Some(room) => room.runs_out(order.recorded_as).await,
            None => std::future::pending().await,
        }
    };
    let dumped = tokio::select! {
        biased;
        error = runs_out => {
            server.cancel_statements().await;
            Err(error)
        }
        dumped = write_archive(opened, order, &helper, &archive_path, reporter) => dumped,
        () = reporter.stop_asked() => {
            server.cancel_statements().await;
            Err(DatabasesError::Stopped { database: order.recorded_as.to_owned() })
        }
    };
    let checked = match dumped {
        Ok((mut inventory, files)) => {
            let contents = list_archive(&helper, order.recorded_as).await;
            let checked = contents.and_then(|contents| count_rows(order, &contents, &mut inventory.tables, &files));
            checked.map(|()| (inventory, files))
        }
        Err(error) => Err(error),
    };
    let (inventory, followed) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            helper.end().await;
            return Err(error);
        }
    };
    // It takes as long to end as what is left to be written down.
    let listing = {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || entries(&folder, followed))
    };
    let ((), files) = futures::join!(helper.end(), listing);
    let (files, large_object_files) = large_object_files::gather(joined(files)?);
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
        properties,
        size_bytes: inventory.size_bytes,
        extensions: inventory.extensions,
        roles: inventory.roles,
        large_objects: inventory.large_objects,
        tablespaces: inventory.tablespaces,
        tables: inventory.tables,
        archive: ArchiveFormat::Directory,
        of_replaced: names::read_beside(order.recorded_as, order.database).is_some(),
        files,
        large_object_files,
    };
    sync_dir(&archive_path).map_err(DatabasesError::file("write", &archive_path))?;
    crate::failpoint!("databases.dump.before-record");
    let record_path = folder.join(RECORD_FILE);
    let text = record.to_json();
    // What can't be read back is no backup: that is to be known now.
    Record::parse(&text).map_err(|source| DatabasesError::Record { path: record_path.clone(), source })?;
    write_durably(&record_path, &text, Mode::Private).map_err(DatabasesError::file("write", &record_path))?;
    Ok(record)
}

/// A database with a snapshot held in it, in which everything else is done.
struct Opened {
    properties: Properties,
    session: Session,
    snapshot: String,
    inventory: Inventory,
}

impl Opened {
    async fn open(server: &Server, order: &DumpOrder<'_>) -> Result<Self, DatabasesError> {
        let home = server.maintenance(order.database);
        let properties = Properties::read(&server.client, home, order.database).await?.ok_or_else(|| {
            DatabasesError::NotFound { database: order.database.to_owned(), server: server.whereabouts.clone() }
        })?;
        let mut session = server.client.session(order.database).await?;
        let snapshot = export_snapshot(&mut session).await?;
        let mut inventory = Inventory::read(&mut session).await?;
        if order.hashes == PasswordHashes::Take {
            inventory.read_password_hashes(&mut session).await?;
        }
        Ok(Self { properties, session, snapshot, inventory })
    }
}

/// pg_dump and the compression beside it, in one snapshot.
async fn write_archive(
    opened: Opened,
    order: &DumpOrder<'_>,
    helper: &Helper,
    archive_path: &Path,
    reporter: &Reporter,
) -> Result<(Inventory, Vec<CompressedFile>), DatabasesError> {
    let Opened { mut session, snapshot, inventory, .. } = opened;
    let tables = inventory.tables.len() as u64;
    let progress = {
        let (reporter, subject) = (reporter.clone(), order.recorded_as.to_owned());
        move |moved: Moved| {
            reporter.advanced(Activity::DumpDatabase, subject.as_str(), moved.bytes, None);
            // Large objects have files too.
            reporter.counted(Activity::DumpDatabase, subject.as_str(), moved.files.min(tables), tables);
        }
    };
    crate::failpoint!("databases.dump.before-pg-dump");
    let work = Writing { order, helper, snapshot: &snapshot, archive_path, begun: Instant::now() };
    let written = match helper.shares_folder {
        true => work.follow(progress).await,
        false => work.fetch(progress).await,
    };
    let (written, followed) = match written {
        Ok(written) => written,
        Err(error) => {
            // A snapshot goes with its session: that this one ended is then the cause, and what pg_dump says is not.
            session.run("hold the snapshot", "SELECT;").await?;
            return Err(work.explain(error));
        }
    };
    // What was dumped in its snapshot is whole, whatever has become of it since.
    let _ = session.close().await;
    if !written.stderr.is_empty() {
        let said = String::from_utf8_lossy(&written.stderr).trim().to_owned();
        reporter.warn(message!("databases-tool-said", tool = "pg_dump", database = order.recorded_as, said = said));
    }
    Ok((inventory, followed))
}

/// pg_dump at work.
struct Writing<'a> {
    order: &'a DumpOrder<'a>,
    helper: &'a Helper,
    snapshot: &'a str,
    archive_path: &'a Path,
    begun: Instant,
}

impl Writing<'_> {
    /// pg_dump speaks of a timeout that it has set itself.
    fn explain(&self, error: DatabasesError) -> DatabasesError {
        let patience = self.order.patience.0;
        match error {
            DatabasesError::Tool { source, .. }
                if self.begun.elapsed() >= patience && source.text().contains("Query was: LOCK TABLE") =>
            {
                let database = self.order.recorded_as.to_owned();
                DatabasesError::LockedByOthers { database, seconds: patience.as_secs(), source }
            }
            error => error,
        }
    }

    /// Writes raw into the folder that both sides see; compressed here meanwhile.
    async fn follow(
        &self,
        progress: impl Fn(Moved) + Send + Sync + 'static,
    ) -> Result<(ExecResult, Vec<CompressedFile>), DatabasesError> {
        let follower = Follower::watch(self.archive_path)?;
        let signal = Arc::new(WriterSignal::default());
        let _ended = EndFollowing(signal.clone());
        let following = {
            let (signal, level) = (signal.clone(), self.order.level);
            let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
            tokio::task::spawn_blocking(move || follower.run(workers, level, &signal, &progress))
        };
        let arguments = dump_arguments(self.helper, self.order, self.snapshot, 0);
        let writing = async {
            let result = self.helper.client.tool("pg_dump", self.order.recorded_as, &arguments).await;
            if result.is_ok() {
                signal.ended()
            } else {
                signal.failed()
            }
            result
        };
        tokio::pin!(writing, following);
        // Compression that fails (a full disk) must not wait for pg_dump: the caller ends the helper, and it with it.
        tokio::select! {
            written = &mut writing => Ok((written?, joined(following.await)?)),
            followed = &mut following => {
                let followed = joined(followed)?;
                Ok((writing.await?, followed))
            }
        }
    }

    /// Writes into the helper's own volume, compressed there, since that is less to carry; then brings it here.
    async fn fetch(
        &self,
        progress: impl Fn(Moved) + Send + Sync,
    ) -> Result<(ExecResult, Vec<CompressedFile>), DatabasesError> {
        // pg_dump's own compressor has nine levels.
        let arguments = dump_arguments(self.helper, self.order, self.snapshot, self.order.level.get().min(9));
        let written = self.helper.client.tool("pg_dump", self.order.recorded_as, &arguments).await?;
        let followed = copy::fetch(&self.helper.client, self.archive_path, &progress).await?;
        Ok((written, followed))
    }
}

fn joined<T>(finished: Result<Result<T, DatabasesError>, tokio::task::JoinError>) -> Result<T, DatabasesError> {
    finished.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}

/// Whatever becomes of the work that holds this, the thread that follows it ends.
struct EndFollowing(Arc<WriterSignal>);

impl Drop for EndFollowing {
    fn drop(&mut self) {
        self.0.failed();
    }
}

async fn export_snapshot(session: &mut Session) -> Result<String, DatabasesError> {
    session.run("begin a snapshot", "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;").await?;
    session.query("export a snapshot", "SELECT to_json(pg_export_snapshot())").await
}

fn dump_arguments(helper: &Helper, order: &DumpOrder<'_>, snapshot: &str, level: u8) -> Vec<String> {
    vec![
        "--format=directory".to_owned(),
        format!("--file={INSIDE}/{ARCHIVE}"),
        // Where the folder is shared, compressing is ours, beside it; syncing always.
        format!("--compress={level}"),
        "--no-sync".to_owned(),
        format!("--jobs={}", order.jobs.get()),
        format!("--snapshot={snapshot}"),
        format!("--lock-wait-timeout={}", order.patience.0.as_millis()),
        "--no-password".to_owned(),
        format!("--dbname={}", helper.client.conninfo(order.database)),
    ]
}

/// Lets `pg_restore` list an archive that a helper has at its folder: the proof that a stock one can read it.
pub(in crate::databases) async fn list_archive(helper: &Helper, database: &str) -> Result<Contents, DatabasesError> {
    let arguments = ["--list".to_owned(), format!("{INSIDE}/{ARCHIVE}")];
    let listing = helper.client.tool("pg_restore", database, &arguments).await?;
    Ok(contents::parse(&String::from_utf8_lossy(&listing.stdout)))
}

/// Every table that the snapshot has must be in the archive, to its end; gives each its rows.
fn count_rows(
    order: &DumpOrder<'_>,
    contents: &Contents,
    tables: &mut [Table],
    files: &[CompressedFile],
) -> Result<(), DatabasesError> {
    let files: BTreeMap<&str, &CompressedFile> = files.iter().map(|file| (file.name.as_str(), file)).collect();
    let mut missing = Vec::new();
    for table in tables {
        match rows_of(contents, &files, table) {
            Ok(rows) => table.rows = rows,
            Err(what) => missing.push(what),
        }
    }
    match shorten(missing) {
        None => Ok(()),
        Some(missing) => Err(DatabasesError::Incomplete { database: order.recorded_as.to_owned(), missing }),
    }
}

/// What `COPY` writes behind the rows: `\.` and two empty lines (pg_dump's `dumpTableData_copy`).
pub(in crate::databases) const BEHIND_ROWS: &[u8; 5] = b"\\.\n\n\n";
const LINES_BEHIND_ROWS: u64 = 3;

/// How many rows of a table the archive holds; what is missing of them in words.
fn rows_of(contents: &Contents, files: &BTreeMap<&str, &CompressedFile>, table: &Table) -> Result<u64, String> {
    let name = format!("{}.{}", table.schema, table.name);
    let Some(dump_id) = contents.table_data.get(&table.oid) else {
        return Err(format!("the rows of table {name} are not in it"));
    };
    let Some(file) = files.get(format!("{dump_id}.dat.gz").as_str()) else {
        return Err(format!("the file with the rows of table {name} is not in it"));
    };
    match file.lines.checked_sub(LINES_BEHIND_ROWS) {
        Some(rows) if file.is_whole => Ok(rows),
        _ => Err(format!("the rows of table {name} end too early in it")),
    }
}

/// All files of the archive with their digests: those that were compressed have theirs already.
fn entries(folder: &Path, followed: Vec<CompressedFile>) -> Result<Vec<FileEntry>, DatabasesError> {
    let archive_path = folder.join(ARCHIVE);
    let mut known: BTreeMap<String, CompressedFile> =
        followed.into_iter().map(|file| (file.name.clone(), file)).collect();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&archive_path).map_err(DatabasesError::file("list", &archive_path))? {
        let path = entry.map_err(DatabasesError::file("list", &archive_path))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (bytes, sha256) = match known.remove(&name) {
            Some(file) => (file.bytes, file.sha256),
            None => {
                let synced = std::fs::File::open(&path).and_then(|file| file.sync_all());
                synced.map_err(DatabasesError::file("write", &path))?;
                make_private(&path)?;
                let (sha256, bytes) = hash_file(&path).map_err(DatabasesError::file("read", &path))?;
                (bytes, sha256)
            }
        };
        files.push(FileEntry { path: format!("{ARCHIVE}/{name}"), bytes, sha256 });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn make_private(path: &Path) -> Result<(), DatabasesError> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) {
        // A file system without permissions (FAT, some network shares), or one where somebody else is told to be the owner.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => Ok(()),
        set => set.map_err(DatabasesError::file("set the permissions of", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(oid: u32, rows: u64) -> Table {
        Table { schema: "public".to_owned(), name: format!("t{oid}"), oid, rows }
    }

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

    #[test]
    fn rows_are_counted_and_a_missing_table_file_or_end_is_found() {
        let contents = Contents { table_data: BTreeMap::from([(1, 101), (2, 102), (3, 103), (5, 105), (6, 106)]) };
        let file = |id: u32, lines, is_whole| CompressedFile {
            name: format!("{id}.dat.gz"),
            bytes: 1,
            sha256: crate::fs::Digest::of(b""),
            lines,
            is_whole,
        };
        let files = [file(101, 8, true), file(103, 3, true), file(105, 8, false), file(106, 2, true)];
        let files = files.iter().map(|file| (file.name.as_str(), file)).collect();
        let rows = |oid| rows_of(&contents, &files, &table(oid, 0));
        assert_eq!((rows(1), rows(3)), (Ok(5), Ok(0)));
        assert_eq!(rows(2).unwrap_err(), "the file with the rows of table public.t2 is not in it");
        assert_eq!(rows(4).unwrap_err(), "the rows of table public.t4 are not in it");
        for cut in [5, 6] {
            assert_eq!(rows(cut).unwrap_err(), format!("the rows of table public.t{cut} end too early in it"));
        }
    }
}
