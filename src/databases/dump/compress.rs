//! Compression beside pg_dump: follows the files of a directory archive while they are written.
//!
//! `pg_dump -Fd -Z0 -jN` writes raw; compressing is what costs, and here it runs on all cores, in blocks, one gzip
//! member each, which `pg_restore` reads as one stream (`NNNN.dat.gz` where `NNNN.dat` is absent; pg_dump's
//! compress_io). What has been read is punched out of the raw file, so that it never takes its full size of disk; what is
//! written is synced beside the compression. On the way each file's lines are counted: a row of a table is one line.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libdeflater::{CompressionLvl, Compressor};
use rustix::fs::{FallocateFlags, inotify};

use super::{BEHIND_ROWS, Level};
use crate::databases::error::DatabasesError;
use crate::fs::{Digest, Hasher};

/// Large enough that a member's header and a fresh window cost nothing, small enough that one table fills all cores.
const BLOCK_BYTES: u64 = 1 << 20;

/// How often growing files are looked at.
const TICK: Duration = Duration::from_millis(5);

/// How much of a raw file is punched at once: block by block it costs a core 0.2 s for each GB, and so nothing.
const PUNCHED_BYTES: u64 = 16 << 20;

/// How much is written between two syncs: the last one has not much to do then.
const SYNCED_BYTES: u64 = 8 << 20;

/// What is known of the program that writes.
#[derive(Debug, Default)]
pub(in crate::databases) struct WriterSignal(AtomicU8);

impl WriterSignal {
    // 0 is what it begins with: it writes.
    const ENDED: u8 = 1;
    const FAILED: u8 = 2;

    /// It has ended well: what lies there is all there is.
    pub fn ended(&self) {
        self.0.store(Self::ENDED, Ordering::SeqCst);
    }

    /// It won't end well: leave everything.
    pub fn failed(&self) {
        self.0.store(Self::FAILED, Ordering::SeqCst);
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::databases) struct Moved {
    pub bytes: u64,
    /// Files with the rows of a table, or with large objects, that are complete.
    pub files: u64,
}

/// A compressed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) struct CompressedFile {
    /// `3318.dat.gz`.
    pub name: String,
    pub bytes: u64,
    pub sha256: Digest,
    /// Lines in what was compressed.
    pub lines: u64,
    /// Whether it ends as the rows of a table do; of large objects nothing is said by that.
    pub is_whole: bool,
}

/// A watched folder; from here on no file in it is missed.
pub(in crate::databases) struct Follower {
    folder: PathBuf,
    events: OwnedFd,
}

impl Follower {
    /// Watches `folder`, which is still empty.
    pub fn watch(folder: &Path) -> Result<Self, DatabasesError> {
        let fail = |error: rustix::io::Errno| DatabasesError::file("watch", folder)(error.into());
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).map_err(fail)?;
        let wanted = inotify::WatchFlags::CREATE | inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&events, folder, wanted).map_err(fail)?;
        Ok(Self { folder: folder.to_owned(), events })
    }

    /// Compresses until the writer has ended and nothing is left; blocks its thread. `progress` hears how many raw bytes
    /// have been compressed so far. All files but `toc.dat`, which stays as it is, are safe on disk at the end.
    pub fn run(
        self,
        workers: usize,
        level: Level,
        writer: &WriterSignal,
        progress: &(dyn Fn(Moved) + Sync),
    ) -> Result<Vec<CompressedFile>, DatabasesError> {
        let pool = Pool { window: workers * 4, ..Pool::default() };
        let (to_sync, written) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let pool = &pool;
            scope.spawn(move || sync_files(&written, pool));
            for _ in 0..workers {
                let to_sync = to_sync.clone();
                scope.spawn(move || pool.work(level, to_sync, progress));
            }
            drop(to_sync);
            self.feed(pool, writer);
            pool.close();
        });
        let state = pool.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.error {
            Some(error) => Err(error),
            None => Ok(state.finished),
        }
    }

    fn feed(&self, pool: &Pool, writer: &WriterSignal) {
        let mut growing: BTreeMap<OsString, Growing> = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut space = vec![MaybeUninit::uninit(); 64 << 10];
        loop {
            // Looked at before the folder: what comes after "ended" is nothing.
            let state = writer.0.load(Ordering::SeqCst);
            if state == WriterSignal::FAILED || pool.has_failed() {
                return;
            }
            let ended = state == WriterSignal::ENDED;
            self.hear(&mut space, &mut seen, &mut growing);
            if ended && let Err(error) = self.sweep(&mut seen, &mut growing) {
                return pool.fail(error);
            }
            let mut moved = false;
            let mut complete = Vec::new();
            for (name, file) in &mut growing {
                file.closed |= ended;
                match file.submit(pool) {
                    Ok(Submitted::Nothing) => {}
                    Ok(Submitted::Some) => moved = true,
                    Ok(Submitted::All) => complete.push(name.clone()),
                    Err(error) => return pool.fail(error),
                }
            }
            for name in &complete {
                growing.remove(name);
            }
            if ended && growing.is_empty() {
                return;
            }
            if !moved && complete.is_empty() {
                std::thread::sleep(TICK);
            }
        }
    }

    /// Takes what the kernel tells. Should its queue overflow, the sweep at the end finds what was not told.
    fn hear(
        &self,
        space: &mut [MaybeUninit<u8>],
        seen: &mut HashSet<OsString>,
        growing: &mut BTreeMap<OsString, Growing>,
    ) {
        let mut reader = inotify::Reader::new(&self.events, space);
        while let Ok(event) = reader.next() {
            let Some(name) = event.file_name() else { continue };
            let name = std::ffi::OsStr::from_bytes(name.to_bytes());
            if !is_data(name) {
                continue;
            }
            if seen.insert(name.to_owned()) {
                growing.insert(name.to_owned(), Growing::new(&self.folder, name));
            }
            if event.events().contains(inotify::ReadFlags::CLOSE_WRITE)
                && let Some(file) = growing.get_mut(name)
            {
                file.closed = true;
            }
        }
    }

    fn sweep(
        &self,
        seen: &mut HashSet<OsString>,
        growing: &mut BTreeMap<OsString, Growing>,
    ) -> Result<(), DatabasesError> {
        let fail = || DatabasesError::file("list", &self.folder);
        for entry in fs::read_dir(&self.folder).map_err(fail())? {
            let name = entry.map_err(fail())?.file_name();
            if is_data(&name) && seen.insert(name.clone()) {
                growing.insert(name.clone(), Growing::new(&self.folder, &name));
            }
        }
        Ok(())
    }
}

/// Data of tables and large objects; the table of contents and the lists of large objects stay raw, since pg_restore
/// expects them so, or they are small.
fn is_data(name: &std::ffi::OsStr) -> bool {
    name != "toc.dat" && name.as_bytes().ends_with(b".dat")
}

/// A raw file, as far as it has been handed to the workers.
struct Growing {
    path: PathBuf,
    offset: u64,
    blocks: u64,
    closed: bool,
    /// Opened with the first block, so that few files are open at a time however many there are.
    file: Option<Arc<Followed>>,
}

enum Submitted {
    Nothing,
    Some,
    All,
}

impl Growing {
    fn new(folder: &Path, name: &std::ffi::OsStr) -> Self {
        Self { path: folder.join(name), offset: 0, blocks: 0, closed: false, file: None }
    }

    /// Hands over what is there in whole blocks, and when the file is complete the rest too. The last block is held
    /// back until then, so that it is known to be the last.
    fn submit(&mut self, pool: &Pool) -> Result<Submitted, DatabasesError> {
        let length = fs::metadata(&self.path).map_err(DatabasesError::file("look at", &self.path))?.len();
        let mut submitted = Submitted::Nothing;
        while length - self.offset > BLOCK_BYTES {
            self.send(pool, BLOCK_BYTES, false)?;
            submitted = Submitted::Some;
        }
        if self.closed {
            self.send(pool, length - self.offset, true)?;
            submitted = Submitted::All;
        }
        Ok(submitted)
    }

    fn send(&mut self, pool: &Pool, length: u64, last: bool) -> Result<(), DatabasesError> {
        pool.wait_for_room();
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.file.insert(Arc::new(Followed::open(&self.path)?)).clone(),
        };
        pool.push(Block { file, index: self.blocks, offset: self.offset, length: length as usize, last });
        self.blocks += 1;
        self.offset += length;
        Ok(())
    }
}

/// A file that is being compressed.
struct Followed {
    raw_path: PathBuf,
    raw: File,
    lines: AtomicU64,
    is_whole: AtomicBool,
    target_path: PathBuf,
    target: Mutex<Target>,
}

/// The compressed file: blocks are written in their order, whichever is compressed first.
struct Target {
    file: Arc<File>,
    hasher: Hasher,
    bytes: u64,
    next: u64,
    waiting: BTreeMap<u64, (Vec<u8>, bool)>,
    /// How much of it somebody was asked to sync.
    synced: u64,
    /// How much of the raw file is gone.
    punched: u64,
}

/// What a worker has written.
#[derive(Default)]
struct Written {
    blocks: usize,
    /// A file that has something to be synced.
    to_sync: Option<ToSync>,
    finished: Option<CompressedFile>,
}

/// A file on its way to the disk.
struct ToSync {
    file: Arc<File>,
    path: PathBuf,
}

impl Followed {
    fn open(raw_path: &Path) -> Result<Self, DatabasesError> {
        let raw = OpenOptions::new().read(true).write(true).open(raw_path);
        let raw = raw.map_err(DatabasesError::file("read", raw_path))?;
        let mut target_path = raw_path.as_os_str().to_owned();
        target_path.push(".gz");
        let target_path = PathBuf::from(target_path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target_path);
        let file = file.map_err(DatabasesError::file("create", &target_path))?;
        let target = Target {
            file: Arc::new(file),
            hasher: Hasher::new(),
            bytes: 0,
            next: 0,
            waiting: BTreeMap::new(),
            synced: 0,
            punched: 0,
        };
        let (raw_path, target) = (raw_path.to_owned(), Mutex::new(target));
        Ok(Self { raw_path, raw, lines: AtomicU64::new(0), is_whole: AtomicBool::new(false), target_path, target })
    }

    /// Writes a member, and those behind it that waited for it; keeps it where others come before it.
    fn write(&self, index: u64, member: &[u8], last: bool) -> Result<Written, DatabasesError> {
        let mut target = lock(&self.target);
        let mut written = Written::default();
        if index != target.next {
            target.waiting.insert(index, (member.to_vec(), last));
            return Ok(written);
        }
        let mut is_last = self.append(&mut target, member, last, &mut written)?;
        while let Some((member, last)) = {
            let next = target.next;
            target.waiting.remove(&next)
        } {
            is_last = self.append(&mut target, &member, last, &mut written)?;
        }
        if is_last {
            fs::remove_file(&self.raw_path).map_err(DatabasesError::file("remove", &self.raw_path))?;
            let name = self.target_path.file_name().map(|name| name.to_string_lossy().into_owned());
            written.finished = Some(CompressedFile {
                name: name.unwrap_or_default(),
                bytes: target.bytes,
                sha256: std::mem::take(&mut target.hasher).finish(),
                lines: self.lines.load(Ordering::SeqCst),
                is_whole: self.is_whole.load(Ordering::SeqCst),
            });
        } else {
            self.punch(&mut target);
        }
        if is_last || target.bytes - target.synced >= SYNCED_BYTES {
            target.synced = target.bytes;
            written.to_sync = Some(ToSync { file: target.file.clone(), path: self.target_path.clone() });
        }
        Ok(written)
    }

    fn append(
        &self,
        target: &mut Target,
        member: &[u8],
        last: bool,
        written: &mut Written,
    ) -> Result<bool, DatabasesError> {
        target.file.as_ref().write_all(member).map_err(DatabasesError::file("write", &self.target_path))?;
        target.hasher.update(member);
        target.bytes += member.len() as u64;
        target.next += 1;
        written.blocks += 1;
        Ok(last)
    }

    /// Gives back the disk and the memory that the raw file's compressed blocks take; not every file system can.
    fn punch(&self, target: &mut Target) {
        let read = target.next * BLOCK_BYTES;
        if read - target.punched < PUNCHED_BYTES {
            return;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.raw, flags, target.punched, read - target.punched);
        target.punched = read;
    }
}

struct Block {
    file: Arc<Followed>,
    index: u64,
    offset: u64,
    length: usize,
    last: bool,
}

/// Blocks on their way from the follower to the workers.
#[derive(Default)]
struct Pool {
    /// How many blocks may be under way: bounds memory, and the files that are open.
    window: usize,
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Default)]
struct PoolState {
    blocks: VecDeque<Block>,
    /// Handed over and not written yet.
    under_way: usize,
    closed: bool,
    compressed_bytes: u64,
    finished: Vec<CompressedFile>,
    error: Option<DatabasesError>,
}

impl Pool {
    fn wait_for_room(&self) {
        let mut state = lock(&self.state);
        while state.under_way >= self.window && state.error.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, block: Block) {
        let mut state = lock(&self.state);
        state.under_way += 1;
        state.blocks.push_back(block);
        drop(state);
        self.changed.notify_all();
    }

    fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    fn fail(&self, error: DatabasesError) {
        lock(&self.state).error.get_or_insert(error);
        self.changed.notify_all();
    }

    fn has_failed(&self) -> bool {
        lock(&self.state).error.is_some()
    }

    fn take(&self) -> Option<Block> {
        let mut state = lock(&self.state);
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(block) = state.blocks.pop_front() {
                return Some(block);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self, level: Level, to_sync: Sender<ToSync>, progress: &(dyn Fn(Moved) + Sync)) {
        let level = CompressionLvl::new(level.get().into()).expect("libdeflate has levels 1 to 12");
        let mut compressor = Compressor::new(level);
        let mut raw = vec![0; BLOCK_BYTES as usize];
        let mut member = vec![0; compressor.gzip_compress_bound(raw.len())];
        while let Some(block) = self.take() {
            let raw = &mut raw[..block.length];
            match compress(&block, raw, &mut member, &mut compressor) {
                Ok(written) => {
                    // Whoever takes it lives as long as there are workers.
                    let _ = written.to_sync.map(|file| to_sync.send(file));
                    let mut state = lock(&self.state);
                    state.under_way -= written.blocks;
                    state.compressed_bytes += block.length as u64;
                    state.finished.extend(written.finished);
                    let moved = Moved { bytes: state.compressed_bytes, files: state.finished.len() as u64 };
                    drop(state);
                    self.changed.notify_all();
                    progress(moved);
                }
                Err(error) => return self.fail(error),
            }
        }
    }
}

fn compress(
    block: &Block,
    raw: &mut [u8],
    member: &mut [u8],
    compressor: &mut Compressor,
) -> Result<Written, DatabasesError> {
    let file = &block.file;
    file.raw.read_exact_at(raw, block.offset).map_err(DatabasesError::file("read", &file.raw_path))?;
    let lines = memchr::memchr_iter(b'\n', raw).count() as u64;
    file.lines.fetch_add(lines, Ordering::SeqCst);
    if block.last {
        file.is_whole.store(ends_whole(raw), Ordering::SeqCst);
    }
    let length = compressor.gzip_compress(raw, member).expect("the bound is large enough for any input");
    file.write(block.index, &member[..length], block.last)
}

/// Syncs what the workers have written, until the last of them has ended.
fn sync_files(written: &Receiver<ToSync>, pool: &Pool) {
    while let Ok(ToSync { file, path }) = written.recv() {
        if let Err(error) = file.sync_data() {
            return pool.fail(DatabasesError::file("write", &path)(error));
        }
    }
}

/// Whether rows end with what stands behind them, as far as their last bytes go: the last block may be short.
pub(in crate::databases) fn ends_whole(last: &[u8]) -> bool {
    let length = last.len().min(BEHIND_ROWS.len());
    length > 0 && BEHIND_ROWS.ends_with(&last[last.len() - length..])
}

/// A worker that panicked has left an error or a hole that the checks behind notice; the lock itself is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unzip(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        flate2::read::MultiGzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Rows that don't compress to nothing, of about this many bytes.
    fn rows(bytes: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let mut row = 0_u64;
        while text.len() < bytes {
            text.extend_from_slice(format!("{row}\t{:x}\n", row.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes());
            row += 1;
        }
        text
    }

    #[test]
    fn files_are_compressed_while_they_grow_and_read_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let follower = Follower::watch(folder.path()).unwrap();
        let signal = WriterSignal::default();
        let contents = [("1.dat", rows(5 << 20)), ("2.dat", Vec::new()), ("3.dat", rows(1 << 20)), ("4.dat", rows(10))];
        let files = std::thread::scope(|scope| {
            let following = scope.spawn(|| follower.run(2, Level::default(), &signal, &|_| {}));
            for (name, bytes) in &contents {
                let mut file = File::create(folder.path().join(name)).unwrap();
                for part in bytes.chunks(300_000) {
                    file.write_all(part).unwrap();
                }
            }
            fs::write(folder.path().join("toc.dat"), b"toc\n").unwrap();
            signal.ended();
            following.join().unwrap().unwrap()
        });
        assert_eq!(files.len(), 4);
        for (name, bytes) in &contents {
            let target = format!("{name}.gz");
            let path = folder.path().join(&target);
            assert_eq!(&unzip(&path), bytes);
            let file = files.iter().find(|file| file.name == target).unwrap();
            assert_eq!(file.lines, bytes.iter().filter(|byte| **byte == b'\n').count() as u64);
            assert_eq!(crate::fs::hash_file(&path).unwrap(), (file.sha256.clone(), file.bytes));
            assert!(!folder.path().join(name).exists());
        }
        assert_eq!(fs::read(folder.path().join("toc.dat")).unwrap(), b"toc\n");
    }

    #[test]
    fn rows_that_end_too_early_are_told_from_whole_ones() {
        for (whole, rows) in [(true, &b"1\ta\n\\.\n\n\n"[..]), (true, b"\n\n"), (false, b"1\ta\n\\.\n\n"), (false, b"")]
        {
            assert_eq!(ends_whole(rows), whole, "{rows:?}");
        }
    }

    #[test]
    fn a_writer_that_fails_ends_the_following() {
        let folder = tempfile::tempdir().unwrap();
        let follower = Follower::watch(folder.path()).unwrap();
        let signal = WriterSignal::default();
        signal.failed();
        assert_eq!(follower.run(2, Level::default(), &signal, &|_| {}).unwrap(), []);
    }

    #[test]
    fn a_target_that_can_not_be_written_is_an_error_and_not_a_hang() {
        let folder = tempfile::tempdir().unwrap();
        let follower = Follower::watch(folder.path()).unwrap();
        fs::create_dir(folder.path().join("1.dat.gz")).unwrap();
        fs::write(folder.path().join("1.dat"), rows(9 << 20)).unwrap();
        let signal = WriterSignal::default();
        assert!(matches!(
            follower.run(2, Level::default(), &signal, &|_| {}),
            Err(DatabasesError::File { operation: "create", .. })
        ));
    }
}
