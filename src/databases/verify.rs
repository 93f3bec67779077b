//! Whether a dump on disk is what it was: digests of its files, an archive that `pg_restore` lists, and the proof that
//! counts, a restore into a throw-away server with every table and row compared.
//!
//! What was found is written beside the dump (`verification`). A dump is bad only when its bytes or its rows are not what
//! was written. A restore that fails in the throw-away server, for want of memory, disk, an extension or a newer image,
//! says nothing about bytes whose digests are right: it could not be tried, and no proof is lost by that.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use super::documents::{BackupDocument, VerifyReport};
use super::dump::{self, Jobs};
use super::error::{DatabasesError, in_one_line};
use super::stopping::{Wanted, in_thread, unless_stopped};
use crate::databases::archive::contents::Contents;
use crate::databases::archive::large_object_files::{Together, is_large_object};
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, Record};
use crate::databases::archive::verification::{Failure, Known, Proof, Verification};
use crate::databases::containers::helper::{Access, Helper, INSIDE, Reach, starting_beside};
use crate::databases::containers::throwaway::{self, ServerImage, Throwaway};
use crate::databases::described::inventory::{self, Inventory, TableInventory, shorten};
use crate::databases::described::properties::Properties;
use crate::databases::replace::parallel::in_parallel;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::DiskSpace;
use crate::databases::server::quoting;
use crate::fs::{Digest, HashingReader, open_regular};
use crate::report::{Activity, Listed, Message, Reporter};

/// How much is proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// Digests, and the archive's list.
    Files,
    /// These, then a restore into a throw-away server and a comparison of tables and rows.
    #[default]
    Restore,
}

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifySettings {
    pub depth: Depth,
    pub jobs: Jobs,
    /// Who does it, for the record.
    pub operator: String,
}

/// Verifies the dump in `folder` and writes the result beside it. A dump that is found bad is an `Ok` with its damage, and
/// one that could not be tried an `Ok` with the reason; an error means that the work itself could not be done.
pub async fn verify(
    image: &ServerImage,
    folder: &Path,
    settings: &VerifySettings,
    reporter: &Reporter,
) -> Result<VerifyReport, DatabasesError> {
    let begun = Instant::now();
    let Known { record, mut verification } = Known::read(folder)?;
    let subject = record.id.clone();
    reporter.began(Activity::VerifyDump, subject.as_str(), Some(record.bytes()));
    let found = match settings.depth {
        Depth::Files => check_on(image, folder, &record, reporter).await.map(|()| None),
        Depth::Restore => try_out(image, folder, &record, settings, reporter).await.map(Some),
    };
    let (at, operator) = (jiff::Timestamp::now(), settings.operator.clone());
    let duration_ms = begun.elapsed().as_millis() as u64;
    let (damage, untried) = match found {
        Ok(version) => {
            let proof = Proof { at, operator, duration_ms, server_version: version };
            let message = match settings.depth {
                Depth::Files => {
                    verification.proved_by_files(proof);
                    message!("databases-dump-intact")
                }
                Depth::Restore => {
                    verification.proved_by_restore(proof);
                    message!("databases-dump-verified", tables = record.tables.len(), rows = record.rows())
                }
            };
            reporter.done(Activity::VerifyDump, subject.as_str(), message);
            (None, None)
        }
        Err(error) => {
            let reason = in_one_line(&error);
            reporter.failed(Activity::VerifyDump, subject.as_str(), &reason);
            let failure = Failure::new(at, operator, reason.clone());
            match Verdict::of(&error) {
                Verdict::Damaged => {
                    verification.refuted(failure);
                    (Some(reason), None)
                }
                Verdict::NotTried => {
                    verification.not_tried(failure);
                    (None, Some(reason))
                }
                Verdict::None => return Err(error),
            }
        }
    };
    note(verification, folder, &subject, reporter);
    Ok(VerifyReport {
        id: record.id.clone(),
        database: record.database.clone(),
        path: folder.to_string_lossy().into_owned(),
        how: match settings.depth {
            Depth::Files => "files".to_owned(),
            Depth::Restore => "restored".to_owned(),
        },
        tables: record.tables.len() as u64,
        rows: record.rows(),
        duration_ms,
        damage,
        untried,
    })
}

/// As [`verify`], where nothing but a good dump will do: one that is damaged or could not be tried is an error.
pub async fn prove(
    image: &ServerImage,
    folder: &Path,
    settings: &VerifySettings,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let report = verify(image, folder, settings, reporter).await?;
    match (report.damage, report.untried) {
        (None, None) => Ok(BackupDocument::new(&Known::read(folder)?, folder)),
        (Some(damage), _) => Err(DatabasesError::Damaged { path: folder.to_owned(), damage }),
        (None, Some(reason)) => Err(DatabasesError::NotTried { id: report.id, reason }),
    }
}

/// A dump on a disk that can't be written is no worse for that.
fn note(verification: Verification, folder: &Path, subject: &str, reporter: &Reporter) {
    if let Err(error) = verification.write(folder) {
        let message = message!("databases-verification-not-noted", id = subject, reason = in_one_line(&error));
        reporter.warn(message);
    }
}

/// What an error of a verification says about the dump.
enum Verdict {
    /// Its bytes or its rows are not what was written.
    Damaged,
    /// The place where it was tried could not do it.
    NotTried,
    /// Nothing: the engine does not answer, somebody asked for an end.
    None,
}

impl Verdict {
    fn of(error: &DatabasesError) -> Self {
        match error {
            DatabasesError::Damaged { .. } | DatabasesError::RestoredOtherwise { .. } => Self::Damaged,
            DatabasesError::Tool { .. }
            | DatabasesError::Sql { .. }
            | DatabasesError::Answer { .. }
            | DatabasesError::Throwaway { .. }
            | DatabasesError::NotTried { .. }
            | DatabasesError::DiskFull { .. }
            | DatabasesError::EngineDiskFull { .. }
            | DatabasesError::NoRoom { .. }
            | DatabasesError::ServerEnded { .. } => Self::NotTried,
            _ => Self::None,
        }
    }
}

/// Restores into a throw-away server and compares; gives the server's version.
async fn try_out(
    image: &ServerImage,
    folder: &Path,
    record: &Record,
    settings: &VerifySettings,
    reporter: &Reporter,
) -> Result<String, DatabasesError> {
    unless_stopped(reporter, &record.database, check_files(folder, record)).await?;
    let throwaway = Throwaway::start(image, tried_as(record), reporter).await?;
    let work = async {
        restore(&throwaway, folder, record, settings.jobs).await?;
        crate::failpoint!("databases.verify.before-compare");
        compare(&throwaway.server, folder, record).await
    };
    let compared = throwaway.run(&record.database, reporter, work).await;
    let version = throwaway.server.version().to_owned();
    throwaway.end().await;
    compared.map(|()| version)
}

/// The database in the throw-away server has the name that it has at the site, since functions and extensions may ask for
/// it; but for those that an empty server has already.
fn tried_as(record: &Record) -> &str {
    match record.database.as_str() {
        "postgres" | "template0" | "template1" => "dpl tried out",
        name => name,
    }
}

/// What the throw-away server lacks for this dump: said before it is tried.
async fn lacks(throwaway: &Throwaway, record: &Record) -> Result<(), DatabasesError> {
    let server = &throwaway.server;
    let not_tried = |reason: Message| DatabasesError::NotTried { id: record.id.clone(), reason };
    if record.server_version_number / 10_000 > server.major() {
        let (image, dump) = (server.version(), &record.server_version);
        return Err(not_tried(message!("untried-older", image = image, dump = dump)));
    }
    let names: Vec<String> = record.extensions.iter().map(|extension| quoting::literal(&extension.name)).collect();
    let query = format!(
        "SELECT coalesce(json_agg(n), '[]') FROM pg_catalog.unnest(ARRAY[{}]::text[]) AS n \
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = n)",
        names.join(", ")
    );
    let missing: Vec<String> =
        server.client.query(server.home(), || message!("sql-look-for-the-extensions"), &query).await?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(not_tried(message!("untried-extensions", extensions = Listed::of(&missing)))),
    }
}

async fn restore(throwaway: &Throwaway, folder: &Path, record: &Record, jobs: Jobs) -> Result<(), DatabasesError> {
    let (server, name) = (&throwaway.server, tried_as(record));
    let properties = Properties { tablespace: "pg_default".to_owned(), ..record.properties.clone() };
    let preparing = async {
        lacks(throwaway, record).await?;
        if let Some(space) = DiskSpace::of(server, "pg_default").await?
            && let Some(problem) = space.problem(server, record.size_bytes).await?
        {
            return Err(DatabasesError::NoRoom { database: record.database.clone(), problem });
        }
        throwaway::create_roles(throwaway, &record.roles, record.properties.roles().into_iter()).await?;
        let create = properties.create(name);
        server.client.execute(server.home(), || message!("sql-create-a-database"), &create).await?;
        Ok::<(), DatabasesError>(())
    };
    let starting = Helper::start(server, folder, Access::Read, Reach::Server);
    let (helper, ()) = starting_beside(Box::pin(starting), Box::pin(preparing)).await?;
    crate::failpoint!("databases.verify.before-restore");
    let restored = async {
        is_listed(&dump::list_archive(&helper, &record.database).await?, folder, record)?;
        let arguments = |jobs: u16| {
            vec![
                "--exit-on-error".to_owned(),
                "--no-password".to_owned(),
                // The server that it came from may have had others.
                "--no-tablespaces".to_owned(),
                format!("--jobs={jobs}"),
                format!("--dbname={}", helper.client.conninfo(name)),
                format!("{INSIDE}/{ARCHIVE}"),
            ]
        };
        if jobs.get() > 1 {
            let parallel = arguments(jobs.get());
            let restoring = helper.client.tool("pg_restore", &record.database, &parallel);
            if !in_parallel(server, name, restoring).await?.needs_order() {
                return Ok(());
            }
            let again = format!("DROP DATABASE {0} WITH (FORCE); {1}", quoting::ident(name), properties.create(name));
            server.client.execute(server.home(), || message!("sql-create-a-database"), &again).await?;
        }
        helper.client.tool("pg_restore", &record.database, &arguments(1)).await.map(drop)
    };
    let restored = restored.await;
    helper.end().await;
    restored
}

async fn compare(server: &Server, folder: &Path, record: &Record) -> Result<(), DatabasesError> {
    let mut session = server.client.session(tried_as(record)).await?;
    let mut restored = TableInventory::read(&mut session).await?;
    Inventory::count(&mut session, &mut restored.tables).await?;
    session.close().await?;
    let mut difference = inventory::difference(&record.tables, &restored.tables);
    if difference.is_none() && restored.large_objects != record.large_objects {
        let (found, wanted) = (restored.large_objects, record.large_objects);
        difference = Some(message!("difference-large-objects", found = found, wanted = wanted));
    }
    match difference {
        None => Ok(()),
        Some(difference) => Err(DatabasesError::RestoredOtherwise { source_path: folder.to_owned(), difference }),
    }
}

/// Reads every file of the dump in `folder`, compares digests, and lets the server's own `pg_restore` list the
/// archive. Nothing is restored, and nothing is written.
pub async fn verify_files(
    server: &Server,
    folder: &Path,
    reporter: &Reporter,
) -> Result<BackupDocument, DatabasesError> {
    let known = Known::read(folder)?;
    let subject = known.record.id.clone();
    reporter.began(Activity::VerifyDump, subject.as_str(), Some(known.record.bytes()));
    match check(server, folder, &known.record, reporter).await {
        Ok(()) => {
            let message = message!("databases-dump-intact");
            reporter.done(Activity::VerifyDump, subject, message);
            Ok(BackupDocument::new(&known, folder))
        }
        Err(error) => {
            reporter.failed(Activity::VerifyDump, subject, &error);
            Err(error)
        }
    }
}

/// Reads every file of the dump in `folder` and compares digests and sizes. For who restores it: `pg_restore` reads its list
/// then, and what comes out is compared.
pub(super) async fn verify_digests(folder: &Path, record: &Record, reporter: &Reporter) -> Result<(), DatabasesError> {
    let subject = record.id.as_str();
    reporter.began(Activity::VerifyDump, subject, Some(record.bytes()));
    let checked = check_files(folder, record).await;
    match &checked {
        Ok(()) => {
            reporter.done(Activity::VerifyDump, subject, message!("databases-dump-intact"));
        }
        Err(error) => reporter.failed(Activity::VerifyDump, subject, error),
    }
    checked
}

async fn check(server: &Server, folder: &Path, record: &Record, reporter: &Reporter) -> Result<(), DatabasesError> {
    check_on(&ServerImage::without_preload(server), folder, record, reporter).await
}

async fn check_on(
    image: &ServerImage,
    folder: &Path,
    record: &Record,
    reporter: &Reporter,
) -> Result<(), DatabasesError> {
    unless_stopped(reporter, &record.database, check_files(folder, record)).await?;
    let helper = Helper::start_on(&image.helper_place(), folder, Access::Read).await?;
    let listing = dump::list_archive(&helper, &record.database);
    let contents = unless_stopped(reporter, &record.database, listing).await;
    helper.end().await;
    is_listed(&contents?, folder, record)
}

fn is_listed(contents: &Contents, folder: &Path, record: &Record) -> Result<(), DatabasesError> {
    let missing = record.tables.iter().filter(|table| !contents.table_data.contains_key(&table.oid));
    match shorten(missing.map(|table| message!("damage-table", schema = table.schema, table = table.name)).collect()) {
        None => Ok(()),
        Some(damage) => Err(DatabasesError::Damaged { path: folder.join(ARCHIVE), damage }),
    }
}

/// Digests and sizes alone, and that there is no file that the record does not name: `pg_restore` would take a `.dat`
/// beside a `.dat.gz`.
pub(super) async fn check_files(folder: &Path, record: &Record) -> Result<(), DatabasesError> {
    let (folder, record) = (folder.to_owned(), record.clone());
    in_thread(move |wanted| check_files_now(&folder, &record, wanted)).await
}

/// Ends early when nobody waits for the answer any more.
fn check_files_now(folder: &Path, record: &Record, wanted: &Wanted) -> Result<(), DatabasesError> {
    let hash = |path: &Path| {
        wanted.go_on(&record.database)?;
        let hashed = hash_while(path, wanted);
        // What was read until nobody waited any more is no fault of the file's.
        wanted.go_on(&record.database)?;
        hashed.map_err(DatabasesError::file(message!("verb-read"), path))
    };
    let damaged = |path: &Path, damage: Message| DatabasesError::Damaged { path: path.to_owned(), damage };
    for file in &record.files {
        let path = folder.join(&file.path);
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged(&path, message!("damage-file-missing")));
            }
            Err(error) => return Err(DatabasesError::file(message!("verb-look-at"), &path)(error)),
        };
        if !metadata.is_file() {
            return Err(damaged(&path, message!("damage-not-plain")));
        }
        if metadata.len() != file.bytes {
            let damage = message!("damage-file-size", found = metadata.len(), wanted = file.bytes);
            return Err(damaged(&path, damage));
        }
        let (sha256, _) = hash(&path)?;
        if sha256 != file.sha256 {
            return Err(damaged(&path, message!("damage-file-digest")));
        }
    }
    if record.archive == ArchiveFormat::Directory {
        let archive = folder.join(ARCHIVE);
        let named: HashSet<&str> = record.files.iter().map(|file| file.path.as_str()).collect();
        let mut large_objects = Together::default();
        for entry in std::fs::read_dir(&archive).map_err(DatabasesError::file(message!("verb-list"), &archive))? {
            let name = entry.map_err(DatabasesError::file(message!("verb-list"), &archive))?.file_name();
            let (path, name) = (archive.join(&name), name.to_string_lossy());
            if named.contains(format!("{ARCHIVE}/{name}").as_str()) {
                continue;
            }
            if record.large_object_files.is_none() || !is_large_object(&name) || !is_plain_file(&path)? {
                return Err(damaged(&path, message!("damage-not-of-archive")));
            }
            let (sha256, bytes) = hash(&path)?;
            large_objects.add(&name, bytes, &sha256);
        }
        if let Some(wanted) = &record.large_object_files {
            let found = large_objects.finish();
            if found.count != wanted.count {
                let damage = message!("damage-object-files", found = found.count, wanted = wanted.count);
                return Err(damaged(&archive, damage));
            }
            if found != *wanted {
                return Err(damaged(&archive, message!("damage-object-digest")));
            }
        }
    }
    Ok(())
}

fn hash_while(path: &Path, wanted: &Wanted) -> std::io::Result<(Digest, u64)> {
    let mut reader = HashingReader::new(wanted.reader(open_regular(path)?));
    std::io::copy(&mut reader, &mut std::io::sink())?;
    let (_, digest, bytes) = reader.finish();
    Ok((digest, bytes))
}

fn is_plain_file(path: &Path) -> Result<bool, DatabasesError> {
    let metadata = std::fs::symlink_metadata(path).map_err(DatabasesError::file(message!("verb-look-at"), path))?;
    Ok(metadata.is_file())
}

#[cfg(test)]
mod tests;
