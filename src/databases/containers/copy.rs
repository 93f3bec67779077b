//! Files to and from a helper whose engine does not see this machine's folders: a tar stream through exec.
//!
//! What comes back is data from elsewhere: only plain files with the names of an archive's files are taken, into a
//! folder that is empty and ours, and nothing is ever unpacked by its own name and links.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::feed::{Fed, feed_exec};
use super::helper::{FILE, INSIDE};
use crate::databases::archive::large_object_files::{self, is_large_object};
use crate::databases::archive::record::{ARCHIVE, ArchiveFormat, is_archive_file};
use crate::databases::archive::tar_stream::{BLOCK, Incoming, padding};
use crate::databases::dump::BEHIND_ROWS;
use crate::databases::dump::compress::{CompressedFile, Moved, ends_whole};
use crate::databases::error::{DatabasesError, Said};
use crate::databases::server::client::Client;
use crate::engine::{ExecOutput, ExecSpec};
use crate::fs::Hasher;
use crate::report::Message;

/// How much is read or sent at once.
const CHUNK: usize = 1 << 18;

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Copies all plain files of `folder`, and of the folders in it, to [`INSIDE`]; or one file, as [`FILE`].
pub(in crate::databases) async fn send(client: &Client, folder: &Path) -> Result<(), DatabasesError> {
    let spec = ExecSpec { command: command(&["tar", "-xf", "-", "-C", INSIDE]), stdin: true, ..Default::default() };
    let session = client.engine.start_exec(&client.container, &spec).await?;
    let packed = folder.to_owned();
    let Fed { exit_code, said } = feed_exec(session, usize::MAX, move |blocks| pack(&packed, blocks)).await?;
    judge(exit_code, &said, folder)
}

fn judge(code: i64, stderr: &[u8], folder: &Path) -> Result<(), DatabasesError> {
    if code == 0 {
        return Ok(());
    }
    Err(DatabasesError::CopyFailed { folder: folder.to_owned(), code, source: Said::new(stderr) })
}

fn joined<T>(finished: Result<T, tokio::task::JoinError>) -> T {
    finished.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}

/// Writes the tar stream of a folder; ends early without an error when nobody listens any more.
fn pack(folder: &Path, blocks: &mpsc::Sender<Bytes>) -> Result<(), DatabasesError> {
    if !folder.is_dir() {
        send_file(folder, Path::new(FILE), blocks)?;
        let _ = blocks.blocking_send(Bytes::from(vec![0; 2 * BLOCK]));
        return Ok(());
    }
    let mut waiting = vec![(folder.to_owned(), PathBuf::new())];
    while let Some((path, name)) = waiting.pop() {
        for entry in fs::read_dir(&path).map_err(DatabasesError::file(message!("verb-list"), &path))? {
            let entry = entry.map_err(DatabasesError::file(message!("verb-list"), &path))?;
            let kind = entry.file_type().map_err(DatabasesError::file(message!("verb-look-at"), &entry.path()))?;
            let inside = name.join(entry.file_name());
            if kind.is_dir() {
                send_header(&inside, tar::EntryType::Directory, 0, blocks)?;
                waiting.push((entry.path(), inside));
            } else if kind.is_file() && !send_file(&entry.path(), &inside, blocks)? {
                return Ok(());
            }
        }
    }
    let _ = blocks.blocking_send(Bytes::from(vec![0; 2 * BLOCK]));
    Ok(())
}

fn send_header(
    name: &Path,
    kind: tar::EntryType,
    bytes: u64,
    blocks: &mpsc::Sender<Bytes>,
) -> Result<bool, DatabasesError> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).map_err(DatabasesError::file(message!("verb-send"), name))?;
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_mode(if kind.is_dir() { 0o700 } else { 0o600 });
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_cksum();
    Ok(blocks.blocking_send(Bytes::copy_from_slice(header.as_bytes())).is_ok())
}

/// `false` when nobody listens any more.
fn send_file(path: &Path, name: &Path, blocks: &mpsc::Sender<Bytes>) -> Result<bool, DatabasesError> {
    let fail = || DatabasesError::file(message!("verb-read"), path);
    let mut file = File::open(path).map_err(fail())?;
    let length = file.metadata().map_err(fail())?.len();
    if !send_header(name, tar::EntryType::Regular, length, blocks)? {
        return Ok(false);
    }
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; left.min(CHUNK as u64) as usize];
        file.read_exact(&mut chunk).map_err(fail())?;
        left -= chunk.len() as u64;
        if blocks.blocking_send(chunk.into()).is_err() {
            return Ok(false);
        }
    }
    Ok(blocks.blocking_send(vec![0; padding(length)].into()).is_ok())
}

/// Brings the directory archive that a program wrote at `INSIDE/archive` to the empty folder `archive_path`, each file
/// private, safe on disk, with its digest, and the lines of compressed ones counted.
pub(in crate::databases) async fn fetch(
    client: &Client,
    archive_path: &Path,
    progress: &(dyn Fn(Moved) + Sync),
) -> Result<Vec<CompressedFile>, DatabasesError> {
    let spec = ExecSpec { command: command(&["tar", "-cf", "-", "-C", INSIDE, ARCHIVE]), ..Default::default() };
    let mut session = client.engine.start_exec(&client.container, &spec).await?;
    let (blocks, waiting) = mpsc::channel::<Bytes>(8);
    let done = Arc::new(AtomicU64::new(0));
    let writing = {
        let (archive_path, done) = (archive_path.to_owned(), done.clone());
        let stream = Incoming::new(waiting);
        tokio::task::spawn_blocking(move || unpack(stream, &archive_path, &done))
    };
    let mut stderr = Vec::new();
    let mut bytes = 0;
    while let Some(chunk) = session.output.next().await {
        match chunk? {
            ExecOutput::Stdout(chunk) => {
                bytes += chunk.len() as u64;
                // The other side ends only with an error, which it tells.
                let _ = blocks.send(chunk).await;
                progress(Moved { bytes, files: done.load(Ordering::SeqCst) });
            }
            ExecOutput::Stderr(bytes) => stderr.extend_from_slice(&bytes),
        }
    }
    drop(blocks);
    let unpacked = joined(writing.await);
    judge(session.exit_code().await?, &stderr, archive_path)?;
    unpacked
}

fn unpack(stream: impl Read, archive_path: &Path, done: &AtomicU64) -> Result<Vec<CompressedFile>, DatabasesError> {
    let damaged = |damage: Message| DatabasesError::Damaged { path: archive_path.to_owned(), damage };
    let unreadable = |error: io::Error| damaged(message!("damage-from-engine", error = error));
    let mut archive = tar::Archive::new(stream);
    let mut files: BTreeMap<String, CompressedFile> = BTreeMap::new();
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type().is_dir() && path.trim_end_matches('/') == ARCHIVE {
            continue;
        }
        if !entry.header().entry_type().is_file() || !is_archive_file(&path, ArchiveFormat::Directory) {
            return Err(damaged(message!("damage-strange-file", path = path)));
        }
        let name = path[ARCHIVE.len() + 1..].to_owned();
        let file = take(&mut entry, &archive_path.join(&name), &name)?;
        done.fetch_add(u64::from(name.ends_with(".gz")), Ordering::SeqCst);
        files.insert(name, file);
    }
    let objects: Vec<String> = files.keys().filter(|name| is_large_object(name)).cloned().collect();
    large_object_files::sync(archive_path, &objects)?;
    Ok(files.into_values().collect())
}

fn take(entry: &mut impl Read, target: &Path, name: &str) -> Result<CompressedFile, DatabasesError> {
    let fail = || DatabasesError::file(message!("verb-write"), target);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(fail())?;
    let mut hasher = Hasher::new();
    let mut lines = name.ends_with(".gz").then(|| MultiGzDecoder::new(Lines::default()));
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let length = match entry.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(DatabasesError::file(message!("verb-receive"), target)(error)),
        };
        file.write_all(&chunk[..length]).map_err(fail())?;
        hasher.update(&chunk[..length]);
        bytes += length as u64;
        if let Some(lines) = &mut lines {
            lines.write_all(&chunk[..length]).map_err(DatabasesError::file(message!("verb-decompress"), target))?;
        }
    }
    if !is_large_object(name) {
        file.sync_all().map_err(fail())?;
    }
    let Lines { count, last } = match lines {
        Some(lines) => lines.finish().map_err(DatabasesError::file(message!("verb-decompress"), target))?,
        None => Lines::default(),
    };
    let is_whole = ends_whole(&last);
    Ok(CompressedFile { name: name.to_owned(), bytes, sha256: hasher.finish(), lines: count, is_whole })
}

/// Counts lines, and keeps nothing but the last few bytes.
#[derive(Default)]
struct Lines {
    count: u64,
    last: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.last.extend_from_slice(&buffer[buffer.len().saturating_sub(BEHIND_ROWS.len())..]);
        self.last.drain(..self.last.len().saturating_sub(BEHIND_ROWS.len()));
        self.count += buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Digest;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What `pack` makes of a folder.
    fn packed(folder: &Path) -> Vec<u8> {
        let (sender, mut receiver) = mpsc::channel(1 << 10);
        pack(folder, &sender).unwrap();
        drop(sender);
        let mut bytes = Vec::new();
        while let Some(block) = receiver.blocking_recv() {
            bytes.extend_from_slice(&block);
        }
        bytes
    }

    #[test]
    fn an_archive_goes_there_and_comes_back_with_digests_and_lines() {
        let [from, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        fs::create_dir(from.path().join(ARCHIVE)).unwrap();
        let rows = gzip(&[b"1\t2\n".repeat(200_000), BEHIND_ROWS.to_vec()].concat());
        fs::write(from.path().join("archive/1.dat.gz"), &rows).unwrap();
        fs::write(from.path().join("archive/toc.dat"), b"toc\n").unwrap();
        let files = unpack(&packed(from.path())[..], to.path(), &AtomicU64::new(0)).unwrap();
        let known: Vec<(&str, u64, bool)> =
            files.iter().map(|file| (file.name.as_str(), file.lines, file.is_whole)).collect();
        assert_eq!(known, [("1.dat.gz", 200_003, true), ("toc.dat", 0, false)]);
        assert_eq!((files[0].bytes, files[0].sha256.clone()), (rows.len() as u64, Digest::of(&rows)));
        assert_eq!(fs::read(to.path().join("1.dat.gz")).unwrap(), rows);
    }

    #[test]
    fn of_a_file_nothing_goes_there_but_the_file() {
        let from = tempfile::tempdir().unwrap();
        fs::write(from.path().join("secret"), b"not for anybody").unwrap();
        fs::write(from.path().join("expert.dump"), b"PGDMP").unwrap();
        let bytes = packed(&from.path().join("expert.dump"));
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<PathBuf> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into()).collect();
        assert_eq!(names, [Path::new(FILE)]);
    }

    #[test]
    fn entries_that_want_out_of_the_folder_are_refused() {
        for name in ["archive/../x", "x", "archive/a/b", "archive/.x"] {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(0);
            header.set_cksum();
            let folder = tempfile::tempdir().unwrap();
            let stream = [header.as_bytes(), &[0; 1024][..]].concat();
            assert!(
                matches!(unpack(&stream[..], folder.path(), &AtomicU64::new(0)), Err(DatabasesError::Damaged { .. })),
                "{name}"
            );
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
        }
        let mut link = tar::Header::new_gnu();
        link.set_path("archive/1.dat").unwrap();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_link_name("/etc/passwd").unwrap();
        link.set_size(0);
        link.set_cksum();
        let folder = tempfile::tempdir().unwrap();
        let stream = [link.as_bytes(), &[0; 1024][..]].concat();
        assert!(matches!(unpack(&stream[..], folder.path(), &AtomicU64::new(0)), Err(DatabasesError::Damaged { .. })));
    }

    #[test]
    fn a_stream_that_is_cut_off_is_an_error() {
        let [from, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        fs::create_dir(from.path().join(ARCHIVE)).unwrap();
        fs::write(from.path().join("archive/toc.dat"), vec![7; 4000]).unwrap();
        let stream = packed(from.path());
        assert!(unpack(&stream[..2000], to.path(), &AtomicU64::new(0)).is_err());
    }
}
