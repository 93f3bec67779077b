//! A file that is being compressed: its blocks in their order, what is read of it punched out, what is written on its way to
//! the disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::FallocateFlags;

use super::{BLOCK_BYTES, CompressedFile, ends_whole, lock};
use crate::databases::archive::large_object_files::is_large_object;
use crate::databases::error::DatabasesError;
use crate::fs::Hasher;

/// How much of a raw file is punched at once: block by block it costs a core 0.2 s for each GB, and so nothing.
const PUNCHED_BYTES: u64 = 16 << 20;

/// How much is written between two syncs: the last one has not much to do then.
const SYNCED_BYTES: u64 = 8 << 20;

/// A file that is being compressed.
pub(super) struct Followed {
    is_large_object: bool,
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
pub(super) struct Written {
    pub blocks: usize,
    /// A file that has something to be synced.
    pub to_sync: Option<ToSync>,
    pub finished: Option<CompressedFile>,
    /// Whether that is one of many small ones, which are synced together.
    pub is_unsynced: bool,
}

/// A file on its way to the disk.
pub(super) struct ToSync {
    pub file: Arc<File>,
    pub path: PathBuf,
}

impl Followed {
    pub fn open(raw_path: &Path) -> Result<Self, DatabasesError> {
        let raw = OpenOptions::new().read(true).write(true).open(raw_path);
        let raw = raw.map_err(DatabasesError::file(message!("verb-read"), raw_path))?;
        let mut target_path = raw_path.as_os_str().to_owned();
        target_path.push(".gz");
        let target_path = PathBuf::from(target_path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target_path);
        let file = file.map_err(DatabasesError::file(message!("verb-create"), &target_path))?;
        let target = Target {
            file: Arc::new(file),
            hasher: Hasher::new(),
            bytes: 0,
            next: 0,
            waiting: BTreeMap::new(),
            synced: 0,
            punched: 0,
        };
        let is_large_object = raw_path.file_name().is_some_and(|name| is_large_object(&name.to_string_lossy()));
        let (raw_path, target) = (raw_path.to_owned(), Mutex::new(target));
        Ok(Self {
            is_large_object,
            raw_path,
            raw,
            lines: AtomicU64::new(0),
            is_whole: AtomicBool::new(false),
            target_path,
            target,
        })
    }

    /// Reads a block, and counts its lines.
    pub fn read(&self, raw: &mut [u8], offset: u64, last: bool) -> Result<(), DatabasesError> {
        self.raw.read_exact_at(raw, offset).map_err(DatabasesError::file(message!("verb-read"), &self.raw_path))?;
        let lines = memchr::memchr_iter(b'\n', raw).count() as u64;
        self.lines.fetch_add(lines, Ordering::SeqCst);
        if last {
            self.is_whole.store(ends_whole(raw), Ordering::SeqCst);
        }
        Ok(())
    }

    /// Writes a member, and those behind it that waited for it; keeps it where others come before it.
    pub fn write(&self, index: u64, member: &[u8], last: bool) -> Result<Written, DatabasesError> {
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
            fs::remove_file(&self.raw_path).map_err(DatabasesError::file(message!("verb-remove"), &self.raw_path))?;
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
        let is_small_object = is_last && target.synced == 0 && self.is_large_object;
        if is_small_object {
            written.is_unsynced = true;
        } else if is_last || target.bytes - target.synced >= SYNCED_BYTES {
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
        target
            .file
            .as_ref()
            .write_all(member)
            .map_err(DatabasesError::file(message!("verb-write"), &self.target_path))?;
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
