//! One snapshot of a database, written into an archive: as a stream where it is small, else by a helper.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;

use super::compress::{CompressedFile, Follower, Moved, WriterSignal};
use super::shared_disk::WatchedDisk;
use super::{DumpOrder, PasswordHashes, joined, streamed};
use crate::databases::archive::contents::{self, Contents};
use crate::databases::archive::header;
use crate::databases::archive::record::ARCHIVE;
use crate::databases::containers::copy;
use crate::databases::containers::helper::{Access, Helper, INSIDE, Reach, starting_beside};
use crate::databases::described::inventory::Inventory;
use crate::databases::described::properties::Properties;
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::session::Session;
use crate::engine::ExecResult;
use crate::report::{Activity, Reporter};

/// A database with a snapshot held in it, in which everything else is done.
pub(super) struct Opened {
    pub properties: Properties,
    pub session: Session,
    pub snapshot: String,
    pub inventory: Inventory,
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

async fn export_snapshot(session: &mut Session) -> Result<String, DatabasesError> {
    session.run(|| message!("sql-begin-a-snapshot"), "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;").await?;
    session.query(|| message!("sql-export-a-snapshot"), "SELECT to_json(pg_export_snapshot())").await
}

/// The archive, as it lies in its folder now.
pub(super) struct Written {
    pub files: Vec<CompressedFile>,
    pub contents: Contents,
    /// What pg_dump said and did well all the same.
    pub said: String,
}

/// A dump that is written, and what is still open.
pub(super) struct WrittenDump {
    pub opened: Opened,
    pub written: Written,
    pub helper: Option<Helper>,
}

/// A database on its way into an archive.
pub(super) struct Dumping<'a> {
    pub server: &'a Server,
    pub order: &'a DumpOrder<'a>,
    pub folder: &'a Path,
    pub archive_path: &'a Path,
    pub reporter: &'a Reporter,
}

impl Dumping<'_> {
    pub async fn run(&self) -> Result<WrittenDump, DatabasesError> {
        let Self { server, order, .. } = *self;
        let opening: BoxFuture<'_, _> = Box::pin(Opened::open(server, order));
        if !streamed::is_small(server, order.database, self.folder).await? {
            return self.with_helper(opening).await;
        }
        let mut opened = opening.await?;
        crate::failpoint!("databases.dump.before-stream");
        let progress = self.progress(&opened.inventory);
        let streaming = streamed::write(&mut opened, &server.client, order, self.archive_path, progress);
        match self.unless_stopped(None, Box::pin(streaming)).await? {
            Some(written) => Ok(WrittenDump { opened, written, helper: None }),
            None => self.with_helper(Box::pin(async { Ok(opened) })).await,
        }
    }

    /// pg_dump and the compression beside it, in one snapshot.
    async fn with_helper(
        &self,
        opening: BoxFuture<'_, Result<Opened, DatabasesError>>,
    ) -> Result<WrittenDump, DatabasesError> {
        let Self { server, folder, .. } = *self;
        let starting = Helper::start(server, folder, Access::Write, Reach::Server);
        let (helper, mut opened) = starting_beside(starting, opening).await?;
        let disk = WatchedDisk::of(server, folder, &helper).await;
        let writing = Box::pin(self.write(&mut opened, &helper));
        match self.unless_stopped(disk, writing).await {
            Ok(written) => Ok(WrittenDump { opened, written, helper: Some(helper) }),
            Err(error) => {
                helper.end().await;
                Err(error)
            }
        }
    }

    async fn write(&self, opened: &mut Opened, helper: &Helper) -> Result<Written, DatabasesError> {
        let Self { order, archive_path, .. } = *self;
        let progress = self.progress(&opened.inventory);
        crate::failpoint!("databases.dump.before-pg-dump");
        let work = Writing {
            order,
            helper,
            snapshot: &opened.snapshot,
            archive_path,
            begun: Instant::now(),
            may_come_back_as_tar: streamed::may_come_back_as_tar(&opened.inventory),
        };
        let written = match helper.shares_folder {
            true => work.follow(progress).await,
            false => work.fetch(progress).await,
        };
        let PgDumpEnded { result, files, contents } = match written {
            Ok(written) => written,
            Err(error) => {
                // A snapshot goes with its session: that this one ended is then the cause, and what pg_dump says is not.
                opened.session.run(|| message!("sql-hold-the-snapshot"), "SELECT;").await?;
                return Err(lock_error(error, order, work.begun));
            }
        };
        let said = String::from_utf8_lossy(&result.stderr).trim().to_owned();
        Ok(Written { files, contents: contents?, said })
    }

    /// The work, unless somebody asks for an end, or the disk that the server needs too is about to be full.
    async fn unless_stopped<T>(
        &self,
        disk: Option<WatchedDisk<'_>>,
        work: BoxFuture<'_, Result<T, DatabasesError>>,
    ) -> Result<T, DatabasesError> {
        let database = self.order.recorded_as;
        let runs_out = async {
            match &disk {
                Some(disk) => disk.runs_out(database).await,
                None => std::future::pending().await,
            }
        };
        let error = tokio::select! {
            biased;
            error = runs_out => error,
            worked = work => return worked,
            () = self.reporter.stop_asked() => DatabasesError::Stopped { database: database.to_owned() },
        };
        self.server.cancel_statements().await;
        Err(error)
    }

    fn progress(&self, inventory: &Inventory) -> impl Fn(Moved) + Send + Sync + use<> {
        let (reporter, subject) = (self.reporter.clone(), self.order.recorded_as.to_owned());
        let tables = inventory.tables.len() as u64;
        move |moved: Moved| {
            reporter.advanced(Activity::DumpDatabase, subject.as_str(), moved.bytes, None);
            // Large objects have files too.
            reporter.counted(Activity::DumpDatabase, subject.as_str(), moved.files.min(tables), tables);
        }
    }
}

/// pg_dump speaks of a timeout that it has set itself.
pub(super) fn lock_error(error: DatabasesError, order: &DumpOrder<'_>, begun: Instant) -> DatabasesError {
    let patience = order.patience.0;
    match error {
        DatabasesError::Tool { source, .. }
            if begun.elapsed() >= patience
                && failed_query(&source.text()).is_some_and(|query| query.starts_with("LOCK TABLE")) =>
        {
            let database = order.recorded_as.to_owned();
            DatabasesError::LockedByOthers { database, seconds: patience.as_secs(), source }
        }
        error => error,
    }
}

/// The query that failed, where pg_dump names one: from 15 on in a line of its own that begins with a capital letter.
pub(super) fn failed_query(said: &str) -> Option<&str> {
    ["Query was: ", "query was: "].iter().find_map(|words| said.split_once(words)).map(|(_, query)| query)
}

/// pg_dump at work.
struct Writing<'a> {
    order: &'a DumpOrder<'a>,
    helper: &'a Helper,
    snapshot: &'a str,
    archive_path: &'a Path,
    begun: Instant,
    /// Then its head stays as pg_dump writes it.
    may_come_back_as_tar: bool,
}

/// What came of a pg_dump that has ended well.
struct PgDumpEnded {
    result: ExecResult,
    files: Vec<CompressedFile>,
    contents: Result<Contents, DatabasesError>,
}

impl Writing<'_> {
    /// Writes raw into the folder that both sides see; compressed here meanwhile.
    async fn follow(&self, progress: impl Fn(Moved) + Send + Sync + 'static) -> Result<PgDumpEnded, DatabasesError> {
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
        let (result, files, contents) = tokio::select! {
            written = &mut writing => {
                let written = written?;
                // While the rest is compressed.
                let (followed, contents) = futures::join!(following, self.list());
                (written, joined(followed)?, contents)
            }
            followed = &mut following => {
                let followed = joined(followed)?;
                (writing.await?, followed, self.list().await)
            }
        };
        Ok(PgDumpEnded { result, files, contents })
    }

    /// Lists what pg_dump has written into the folder that both sides see. The helper has no more to do then.
    async fn list(&self) -> Result<Contents, DatabasesError> {
        if !self.may_come_back_as_tar {
            header::say_gzip(self.archive_path, self.order.level.get())?;
        }
        let contents = list_archive(self.helper, self.order.recorded_as).await?;
        self.helper.stop().await;
        Ok(contents)
    }

    /// Writes into the helper's own volume, compressed there, since that is less to carry; then brings it here.
    async fn fetch(&self, progress: impl Fn(Moved) + Send + Sync) -> Result<PgDumpEnded, DatabasesError> {
        // pg_dump's own compressor has nine levels.
        let arguments = dump_arguments(self.helper, self.order, self.snapshot, self.order.level.get().min(9));
        let result = self.helper.client.tool("pg_dump", self.order.recorded_as, &arguments).await?;
        let files = copy::fetch(&self.helper.client, self.archive_path, &progress).await?;
        let contents = list_archive(self.helper, self.order.recorded_as).await;
        Ok(PgDumpEnded { result, files, contents })
    }
}

/// Whatever becomes of the work that holds this, the thread that follows it ends.
struct EndFollowing(Arc<WriterSignal>);

impl Drop for EndFollowing {
    fn drop(&mut self) {
        self.0.failed();
    }
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
