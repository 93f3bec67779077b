//! A small database's dump: as a tar through the session that holds its snapshot, without a container of its own, which
//! takes longer to start than such a database to dump.
//!
//! What pg_dump writes as a tar is a directory archive once it is unpacked (pg_dump, "--format"); compressed it is here.
//! pg_dump runs in the server's own container for a moment, and writes there no more than one table's rows at a time, for
//! which a limit is set: whatever does not fit is dumped with a helper.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};
use tokio::sync::mpsc;

use super::compress::{BLOCK_BYTES, CompressedFile, Moved, ends_whole};
use super::shared_disk::free_bytes;
use super::write::{Opened, Written, failed_query, lock_error};
use super::{DumpOrder, Level, joined};
use crate::databases::archive::contents::{self, Contents};
use crate::databases::archive::large_object_files;
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, is_archive_file};
use crate::databases::archive::tar_stream::{self, Incoming, TABLE_OF_CONTENTS};
use crate::databases::described::inventory::Inventory;
use crate::databases::error::{DatabasesError, Said};
use crate::databases::server::client::Client;
use crate::databases::server::command::{Command, CommandEnd};
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::RESERVE_BYTES;
use crate::databases::server::quoting;
use crate::databases::server::session::Session;
use crate::fs::Hasher;
use crate::report::Message;

/// So large a database may be on the server: up to here a helper's start takes longer than what it saves.
pub(in crate::databases) const SMALL_BYTES: u64 = 32 << 20;

/// What one table's rows may take in the server's container while they are on their way.
const LARGEST_FILE: u64 = 64 << 20;

/// With more the list of them alone takes a while.
pub(in crate::databases) const MOST_TABLES: usize = 1000;

/// Whether a database is dumped in this way, as far as that can be known before it is looked at.
pub(super) async fn is_small(server: &Server, database: &str, folder: &Path) -> Result<bool, DatabasesError> {
    let is_apart = crate::failpoint::pretends("databases.large") || !server.has_memory_for_tools();
    if is_apart || !fits_in_lines(&server.client, database) {
        return Ok(false);
    }
    let query = format!("SELECT to_json(pg_catalog.pg_database_size({}::name))", quoting::literal(database));
    let home = server.maintenance(database);
    let asked = server.client.query::<u64>(home, || message!("sql-ask-for-the-size-of-the-database"), &query).await;
    // One that is not there is told by the dump itself.
    let Ok(bytes) = asked else { return Ok(false) };
    // Where the disk might become full meanwhile, it has to be watched.
    let is_roomy = free_bytes(folder).is_some_and(|free| free / 2 > RESERVE_BYTES + bytes);
    Ok(bytes <= SMALL_BYTES && is_roomy)
}

fn has_nothing_but_rows(inventory: &Inventory) -> bool {
    inventory.large_objects == 0 && inventory.tables.len() <= MOST_TABLES
}

/// Whether the dump may be restored as a tar (`replace/streamed.rs`), by an earlier version of dpl too.
pub(super) fn may_come_back_as_tar(inventory: &Inventory) -> bool {
    has_nothing_but_rows(inventory) && inventory.size_bytes <= SMALL_BYTES
}

/// A line is what a session takes a command in.
pub(in crate::databases) fn fits_in_lines(client: &Client, database: &str) -> bool {
    !client.conninfo(database).contains(['\n', '\r', '\0'])
        && client.bin_dir.as_ref().is_none_or(|folder| !folder.contains(['\n', '\r']))
}

/// Dumps into the empty folder `archive_path`; `None` where it has to be done with a helper, and then the folder is empty
/// again.
pub(super) async fn write(
    opened: &mut Opened,
    client: &Client,
    order: &DumpOrder<'_>,
    archive_path: &Path,
    progress: impl Fn(Moved) + Send + 'static,
) -> Result<Option<Written>, DatabasesError> {
    if !has_nothing_but_rows(&opened.inventory) {
        return Ok(None);
    }
    let begun = std::time::Instant::now();
    let words = dump_words(client, order, &opened.snapshot);
    let command = Command { words: &words, input: b"", largest_file: Some(LARGEST_FILE) };
    let (pieces, stream) = mpsc::channel(8);
    let unpacking = {
        let (archive_path, level) = (archive_path.to_owned(), order.level);
        tokio::task::spawn_blocking(move || unpack(Incoming::new(stream), &archive_path, level, &progress))
    };
    let ended = opened.session.command(|| message!("sql-dump-the-database"), &command, pieces).await;
    let unpacked = joined(unpacking.await);
    let CommandEnd { exit_code, said } = ended?;
    if exit_code != 0 {
        if wants_a_helper(exit_code, &said) {
            empty(archive_path)?;
            return Ok(None);
        }
        let source = Said::new(&said);
        let error = DatabasesError::Tool {
            program: "pg_dump",
            database: order.recorded_as.to_owned(),
            code: exit_code,
            source,
        };
        return Err(lock_error(error, order, begun));
    }
    let Unpacked { files, table_of_contents } = unpacked?;
    // The disk has its work while the list is made.
    let syncing = {
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let archive_path = archive_path.to_owned();
        tokio::task::spawn_blocking(move || large_object_files::sync(&archive_path, &names))
    };
    let listing = list(&mut opened.session, client, &table_of_contents, order.recorded_as);
    let (synced, contents) = futures::join!(syncing, listing);
    joined(synced)?;
    Ok(Some(Written { files, contents: contents?, said: String::from_utf8_lossy(&said).into_owned() }))
}

fn dump_words(client: &Client, order: &DumpOrder<'_>, snapshot: &str) -> Vec<String> {
    vec![
        client.program("pg_dump"),
        "--format=tar".to_owned(),
        format!("--snapshot={snapshot}"),
        format!("--lock-wait-timeout={}", order.patience.0.as_millis()),
        "--no-password".to_owned(),
        format!("--dbname={}", client.conninfo(order.database)),
    ]
}

/// Whether it failed for want of a place for what one table's rows take (pg_dump's `pg_backup_tar.c`; a shell gives 128 and
/// the signal for a program that the limit has ended). No server says these things.
fn wants_a_helper(exit_code: i64, said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    let about_files = ["temporary file", "File too large", "No space left on device", "could not write to output file"];
    exit_code > 128 || failed_query(&said).is_none() && about_files.iter().any(|words| said.contains(words))
}

fn empty(folder: &Path) -> Result<(), DatabasesError> {
    for entry in std::fs::read_dir(folder).map_err(DatabasesError::file(message!("verb-list"), folder))? {
        let path = entry.map_err(DatabasesError::file(message!("verb-list"), folder))?.path();
        std::fs::remove_file(&path).map_err(DatabasesError::file(message!("verb-remove"), &path))?;
    }
    Ok(())
}

/// Lets `pg_restore` list the archive by its table of contents, which is all that it reads for that.
pub(in crate::databases) async fn list(
    session: &mut Session,
    client: &Client,
    table_of_contents: &[u8],
    database: &str,
) -> Result<Contents, DatabasesError> {
    let words = [client.program("pg_restore"), "--format=tar".to_owned(), "--list".to_owned()];
    let tar = tar_stream::of_one(TABLE_OF_CONTENTS, table_of_contents);
    let command = Command { words: &words, input: &tar, largest_file: None };
    let (pieces, mut listing) = mpsc::channel::<Bytes>(8);
    let heard = async {
        let mut heard = Vec::new();
        while let Some(piece) = listing.recv().await {
            heard.extend_from_slice(&piece);
        }
        heard
    };
    let (ended, listing) =
        futures::join!(session.command(|| message!("sql-list-the-archive"), &command, pieces), heard);
    let CommandEnd { exit_code, said } = ended?;
    if exit_code != 0 {
        let (database, source) = (database.to_owned(), Said::new(&said));
        return Err(DatabasesError::Tool { program: "pg_restore", database, code: exit_code, source });
    }
    Ok(contents::parse(&String::from_utf8_lossy(&listing)))
}

/// What came out of the tar; not yet safe on disk.
struct Unpacked {
    files: Vec<CompressedFile>,
    table_of_contents: Vec<u8>,
}

fn unpack(
    stream: impl Read,
    archive_path: &Path,
    level: Level,
    progress: &dyn Fn(Moved),
) -> Result<Unpacked, DatabasesError> {
    let damaged = |damage: Message| DatabasesError::Damaged { path: archive_path.to_owned(), damage };
    let unreadable = |error: std::io::Error| damaged(message!("damage-from-engine", error = error));
    let mut packer = Packer::new(level);
    let mut archive = tar::Archive::new(stream);
    let (mut files, mut table_of_contents, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // A script that restores the directory archive, for people.
        if name == "restore.sql" {
            continue;
        }
        let is_expected = is_archive_file(&format!("{ARCHIVE}/{name}"), ArchiveFormat::Directory);
        if !entry.header().entry_type().is_file() || !is_expected {
            return Err(damaged(message!("damage-strange-file", path = name)));
        }
        bytes += entry.size();
        files.push(if name == TABLE_OF_CONTENTS {
            entry.read_to_end(&mut table_of_contents).map_err(unreadable)?;
            keep(&archive_path.join(&name), &name, &table_of_contents)?
        } else {
            packer.pack(&mut entry, archive_path, &name)?
        });
        progress(Moved { bytes, files: files.len() as u64 - 1 });
    }
    Ok(Unpacked { files, table_of_contents })
}

fn keep(target: &Path, name: &str, bytes: &[u8]) -> Result<CompressedFile, DatabasesError> {
    let mut file = create(target)?;
    file.write_all(bytes).map_err(DatabasesError::file(message!("verb-write"), target))?;
    let sha256 = crate::fs::Digest::of(bytes);
    Ok(CompressedFile { name: name.to_owned(), bytes: bytes.len() as u64, sha256, lines: 0, is_whole: false })
}

fn create(target: &Path) -> Result<std::fs::File, DatabasesError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target);
    created.map_err(DatabasesError::file(message!("verb-create"), target))
}

/// Compresses one file after the other.
struct Packer {
    compressor: Compressor,
    raw: Vec<u8>,
    member: Vec<u8>,
}

impl Packer {
    fn new(level: Level) -> Self {
        let level = CompressionLvl::new(level.get().into()).expect("libdeflate has levels 1 to 12");
        let mut compressor = Compressor::new(level);
        let member = vec![0; compressor.gzip_compress_bound(BLOCK_BYTES as usize)];
        Self { compressor, raw: vec![0; BLOCK_BYTES as usize], member }
    }

    /// Writes `NAME.gz`; each block is a member.
    fn pack(&mut self, from: &mut impl Read, folder: &Path, name: &str) -> Result<CompressedFile, DatabasesError> {
        let name = format!("{name}.gz");
        let target = folder.join(&name);
        let fail = || DatabasesError::file(message!("verb-write"), &target);
        let mut file = create(&target)?;
        let (mut hasher, mut bytes, mut lines, mut end) = (Hasher::new(), 0, 0, Vec::new());
        loop {
            let filled = tar_stream::fill(from, &mut self.raw)
                .map_err(DatabasesError::file(message!("verb-receive"), &target))?;
            // One without content is a member too.
            if filled == 0 && bytes > 0 {
                break;
            }
            let raw = &self.raw[..filled];
            lines += memchr::memchr_iter(b'\n', raw).count() as u64;
            end = raw[raw.len().saturating_sub(super::BEHIND_ROWS.len())..].to_vec();
            let length =
                self.compressor.gzip_compress(raw, &mut self.member).expect("the bound is large enough for any input");
            file.write_all(&self.member[..length]).map_err(fail())?;
            hasher.update(&self.member[..length]);
            bytes += length as u64;
            if filled < self.raw.len() {
                break;
            }
        }
        Ok(CompressedFile { name, bytes, sha256: hasher.finish(), lines, is_whole: ends_whole(&end) })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::fs::Digest;

    fn unzip(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_tar_becomes_a_directory_archive_with_digests_and_lines() {
        let folder = tempfile::tempdir().unwrap();
        let large = [b"1\trow\n".repeat(300_000), super::super::BEHIND_ROWS.to_vec()].concat();
        let members = [
            ("toc.dat", &b"toc"[..]),
            ("7.dat", &large),
            ("8.dat", b"\\.\n\n\n"),
            ("9.dat", b""),
            ("restore.sql", b"x"),
        ];
        let mut tar = Vec::new();
        for (name, bytes) in members {
            tar_stream::append(&mut tar, name, bytes);
        }
        tar.extend_from_slice(&[0; 1024]);
        let unpacked = unpack(&tar[..], folder.path(), Level::default(), &|_| {}).unwrap();
        assert_eq!(unpacked.table_of_contents, b"toc");
        let known: Vec<_> = unpacked.files.iter().map(|file| (file.name.as_str(), file.lines, file.is_whole)).collect();
        assert_eq!(
            known,
            [("toc.dat", 0, false), ("7.dat.gz", 300_003, true), ("8.dat.gz", 3, true), ("9.dat.gz", 0, false)]
        );
        assert_eq!(unzip(&folder.path().join("7.dat.gz")), large);
        assert_eq!(unzip(&folder.path().join("9.dat.gz")), b"");
        for file in &unpacked.files {
            let bytes = std::fs::read(folder.path().join(&file.name)).unwrap();
            assert_eq!((file.bytes, &file.sha256), (bytes.len() as u64, &Digest::of(&bytes)));
        }
        assert!(!folder.path().join("restore.sql").exists());
    }

    #[test]
    fn a_tar_that_is_cut_off_or_has_strange_names_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut tar = Vec::new();
        tar_stream::append(&mut tar, "7.dat", &[b'x'; 4000]);
        assert!(unpack(&tar[..2000], folder.path(), Level::default(), &|_| {}).is_err());
        let mut strange = Vec::new();
        tar_stream::append(&mut strange, "../7.dat", b"x");
        let refused = unpack(&strange[..], folder.path(), Level::default(), &|_| {});
        assert!(matches!(refused, Err(DatabasesError::Damaged { .. })));
    }

    #[test]
    fn what_has_no_place_in_the_servers_container_is_dumped_with_a_helper() {
        assert!(wants_a_helper(153, b""));
        assert!(wants_a_helper(1, b"pg_dump: error: could not generate temporary file name: Read-only file system"));
        let locked =
            b"pg_dump: error: query failed: ERROR: canceling statement\npg_dump: detail: Query was: LOCK TABLE x";
        assert!(!wants_a_helper(1, locked));
        let before_15 = b"pg_dump: error: query failed: ERROR: could not write: No space left on device\n\
            pg_dump: error: query was: COPY t TO stdout";
        assert!(!wants_a_helper(1, before_15));
        assert!(!wants_a_helper(1, b"pg_dump: error: connection to server failed"));
    }
}
