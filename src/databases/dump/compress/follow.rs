//! Hears of files while they grow, and hands what is there to the workers, block by block.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::inotify;

use super::target::Followed;
use super::workers::{Block, Pool, sync_files};
use super::{BLOCK_BYTES, CompressedFile, Level, Moved, WriterSignal};
use crate::databases::archive::large_object_files;
use crate::databases::error::DatabasesError;

/// How often growing files are looked at.
const TICK: Duration = Duration::from_millis(5);

/// A watched folder; from here on no file in it is missed.
pub(in crate::databases) struct Follower {
    folder: PathBuf,
    events: OwnedFd,
}

impl Follower {
    /// Watches `folder`, which is still empty.
    pub fn watch(folder: &Path) -> Result<Self, DatabasesError> {
        let fail = |error: rustix::io::Errno| DatabasesError::file(message!("verb-watch"), folder)(error.into());
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
        let window = workers * 4;
        let pool = Pool::new(window);
        // A disk that is slower than the compression is waited for: what waits for it is open.
        let (to_sync, written) = std::sync::mpsc::sync_channel(window);
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
        let (finished, unsynced) = pool.finish()?;
        large_object_files::sync(&self.folder, &unsynced)?;
        Ok(finished)
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
        let fail = || DatabasesError::file(message!("verb-list"), &self.folder);
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
        let length =
            fs::metadata(&self.path).map_err(DatabasesError::file(message!("verb-look-at"), &self.path))?.len();
        let mut submitted = Submitted::Nothing;
        while length - self.offset > BLOCK_BYTES {
            self.send(pool, BLOCK_BYTES, false)?;
            submitted = Submitted::Some;
        }
        if self.closed {
            self.send(pool, length - self.offset, true)?;
            // There may be thousands behind it before this one is taken off the list.
            self.file = None;
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
