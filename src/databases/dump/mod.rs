//! A database's dump into a folder: archive and record, complete and proved, or an error.
//!
//! The only place that runs pg_dump. Rows are counted by the server in the snapshot that pg_dump works in, and again in
//! what pg_dump wrote; a dump whose archive lacks a table or a row is an error, whatever the exit code was.

pub(super) mod backup;
pub(super) mod compress;
pub(super) mod seed;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use self::compress::{CompressedFile, Follower, Moved, WriterSignal};
use crate::databases::archive::contents::{self, Contents};
use crate::databases::archive::names;
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, FileEntry, Maker, RECORD_FILE, Record};
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

/// What to dump.
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
    let dumped = tokio::select! {
        dumped = write_archive(opened, order, &helper, &archive_path, reporter) => dumped,
        () = reporter.stop_asked() => {
            server.cancel_statements().await;
            Err(DatabasesError::Stopped { database: order.recorded_as.to_owned() })
        }
    };
    let checked = match dumped {
        Ok((inventory, files)) => {
            let contents = list_archive(&helper, order.recorded_as).await;
            contents.and_then(|contents| check(order, &contents, &inventory, &files)).map(|()| (inventory, files))
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
    let files = joined(files)?;
    let record = Record {
        format: Record::current_format(),
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
        of_replaced: order.since.is_some(),
        files,
    };
    sync_dir(&archive_path).map_err(DatabasesError::file("write", &archive_path))?;
    crate::failpoint!("databases.dump.before-record");
    let record_path = folder.join(RECORD_FILE);
    write_durably(&record_path, &record.to_json(), Mode::Private)
        .map_err(DatabasesError::file("write", &record_path))?;
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

/// pg_dump, the compression beside it and the counting, all at once in one snapshot.
async fn write_archive(
    opened: Opened,
    order: &DumpOrder<'_>,
    helper: &Helper,
    archive_path: &Path,
    reporter: &Reporter,
) -> Result<(Inventory, Vec<CompressedFile>), DatabasesError> {
    let Opened { mut session, snapshot, mut inventory, .. } = opened;
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
    let work = Writing { order, helper, snapshot: &snapshot, archive_path };
    let (written, followed) = {
        let counting = Inventory::count(&mut session, &mut inventory.tables);
        match helper.shares_folder {
            true => work.follow(counting, progress).await?,
            false => work.fetch(counting, progress).await?,
        }
    };
    session.close().await?;
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
}

impl Writing<'_> {
    /// Writes raw into the folder that both sides see; compressed here meanwhile.
    async fn follow(
        &self,
        counting: impl Future<Output = Result<(), DatabasesError>>,
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
        let both = async {
            let (written, counted) = futures::join!(writing, counting);
            written.and_then(|result| counted.map(|()| result))
        };
        tokio::pin!(both, following);
        // Compression that fails (a full disk) must not wait for pg_dump: the caller ends the helper, and it with it.
        tokio::select! {
            written = &mut both => Ok((written?, joined(following.await)?)),
            followed = &mut following => {
                let followed = joined(followed)?;
                Ok((both.await?, followed))
            }
        }
    }

    /// Writes into the helper's own volume, compressed there, since that is less to carry; then brings it here.
    async fn fetch(
        &self,
        counting: impl Future<Output = Result<(), DatabasesError>>,
        progress: impl Fn(Moved) + Send + Sync,
    ) -> Result<(ExecResult, Vec<CompressedFile>), DatabasesError> {
        // pg_dump's own compressor has nine levels.
        let arguments = dump_arguments(self.helper, self.order, self.snapshot, self.order.level.get().min(9));
        let writing = self.helper.client.tool("pg_dump", self.order.recorded_as, &arguments);
        let (written, counted) = futures::join!(writing, counting);
        let written = written?;
        counted?;
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
    // One process counts, beside those of pg_dump: the server has other work.
    let begin = "SET max_parallel_workers_per_gather = 0; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;";
    session.run("begin a snapshot", begin).await?;
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
        // Someone's ALTER TABLE in the way: an error after a while is better than a queue behind us without end.
        "--lock-wait-timeout=300000".to_owned(),
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

/// Every table that the snapshot has must be in the archive with every row.
fn check(
    order: &DumpOrder<'_>,
    contents: &Contents,
    inventory: &Inventory,
    files: &[CompressedFile],
) -> Result<(), DatabasesError> {
    let lines: BTreeMap<&str, u64> = files.iter().map(|file| (file.name.as_str(), file.lines)).collect();
    let missing = inventory.tables.iter().filter_map(|table| missing_in(contents, &lines, table)).collect();
    match shorten(missing) {
        None => Ok(()),
        Some(missing) => Err(DatabasesError::Incomplete { database: order.recorded_as.to_owned(), missing }),
    }
}

/// What `COPY` writes behind the rows: `\.` and two empty lines (pg_dump's `dumpTableData_copy`).
const LINES_AFTER_ROWS: u64 = 3;

fn missing_in(contents: &Contents, lines: &BTreeMap<&str, u64>, table: &Table) -> Option<String> {
    let name = format!("{}.{}", table.schema, table.name);
    let Some(dump_id) = contents.table_data.get(&table.oid) else {
        return Some(format!("the rows of table {name} are not in it"));
    };
    let Some(lines) = lines.get(format!("{dump_id}.dat.gz").as_str()) else {
        return Some(format!("the file with the rows of table {name} is not in it"));
    };
    let rows = lines.saturating_sub(LINES_AFTER_ROWS);
    (rows != table.rows).then(|| format!("{rows} of the {} rows of table {name} are in it", table.rows))
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
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(DatabasesError::file("set the permissions of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(oid: u32, rows: u64) -> Table {
        Table { schema: "public".to_owned(), name: format!("t{oid}"), oid, rows }
    }

    #[test]
    fn a_missing_table_file_or_row_is_found() {
        let contents = Contents { table_data: BTreeMap::from([(1, 101), (2, 102), (3, 103)]) };
        let lines = BTreeMap::from([("101.dat.gz", 8), ("103.dat.gz", 3)]);
        let words = |oid, rows| missing_in(&contents, &lines, &table(oid, rows));
        assert_eq!(words(1, 5), None);
        assert_eq!(words(3, 0), None);
        assert_eq!(words(1, 6).unwrap(), "5 of the 6 rows of table public.t1 are in it");
        assert_eq!(words(2, 0).unwrap(), "the file with the rows of table public.t2 is not in it");
        assert_eq!(words(4, 0).unwrap(), "the rows of table public.t4 are not in it");
    }
}
