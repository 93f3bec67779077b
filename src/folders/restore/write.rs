//! Writes one entry beside its place and renames it there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::super::entry::{Chunk, Entry, Kind};
use super::super::error::FoldersError;
use super::super::walk::attributes;
use super::Restore;

/// What the names of unfinished entries begin with; `walk` leaves them out.
pub const MARK: &str = ".dpl-restore-";

/// Another name in the folder of `path`.
pub fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{MARK}{}-{number}", std::process::id()))
}

/// Writes a file of a snapshot; what is zero in it takes no place on the disk. `false` where what lies at its path was written since
/// it was saved, and stays.
pub fn write_file(
    restore: &mut Restore<'_>,
    path: &Path,
    wanted: &Entry,
    chunks: &[Chunk],
) -> Result<bool, FoldersError> {
    let beside = beside(path);
    let failed = FoldersError::reading(path);
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let mut file = Sparse { file: opened.map_err(&failed)?, length: 0, skipped: 0 };
    let mut write = || {
        for chunk in chunks {
            if restore.reporter.asked_to_stop() {
                return Err(FoldersError::Stopped);
            }
            let bytes = restore.reader.chunk(*chunk)?;
            file.write(&bytes).map_err(&failed)?;
            restore.meter.add(bytes.len() as u64);
        }
        file.finish().map_err(&failed)?;
        crate::failpoint!("folders.restore.file-written");
        properties(&beside, wanted, &mut |error| restore.unset(path, error));
        if restore.is_unsaved(path) {
            std::fs::remove_file(&beside).map_err(&failed)?;
            return Ok(false);
        }
        std::fs::rename(&beside, path).map_err(&failed)?;
        crate::failpoint!("folders.restore.file-renamed");
        Ok(true)
    };
    write().inspect_err(|_| _ = std::fs::remove_file(&beside))
}

/// A file in which runs of zeros become holes.
struct Sparse {
    file: File,
    /// What was given so far.
    length: u64,
    /// Zeros at the end of it that are not written.
    skipped: u64,
}

/// Holes are made of whole blocks of this size, the page of most file systems.
const BLOCK: usize = 4096;

impl Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut begin = 0;
        while begin < bytes.len() {
            // Blocks are aligned in the file, not in the piece.
            let aligned = BLOCK - usize::try_from(self.length % BLOCK as u64).unwrap_or(0);
            let mut end = bytes.len().min(begin + aligned);
            let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == 0);
            let zero = is_zero(&bytes[begin..end]);
            // One call for a run of equal blocks.
            while end < bytes.len() && is_zero(&bytes[end..bytes.len().min(end + BLOCK)]) == zero {
                end = bytes.len().min(end + BLOCK);
            }
            let part = &bytes[begin..end];
            match zero {
                true => self.skipped += part.len() as u64,
                false => {
                    self.file.write_all_at(part, self.length)?;
                    self.skipped = 0;
                }
            }
            self.length += part.len() as u64;
            begin = end;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.skipped > 0 {
            self.file.set_len(self.length)?;
        }
        self.file.flush()
    }
}

/// Makes a link, a device or a pipe.
pub fn make(path: &Path, wanted: &Entry, unset: &mut dyn FnMut(io::Error)) -> io::Result<()> {
    let beside = beside(path);
    let mode = Mode::from_raw_mode(0o600);
    match &wanted.kind {
        Kind::Link(target) => std::os::unix::fs::symlink(target, &beside)?,
        Kind::Block { device } => rustix::fs::mknodat(CWD, &beside, FileType::BlockDevice, mode, *device)?,
        Kind::Character { device } => rustix::fs::mknodat(CWD, &beside, FileType::CharacterDevice, mode, *device)?,
        _ => rustix::fs::mknodat(CWD, &beside, FileType::Fifo, mode, 0)?,
    }
    properties(&beside, wanted, unset);
    std::fs::rename(&beside, path).inspect_err(|_| _ = std::fs::remove_file(&beside))
}

/// Sets owner, attributes, permissions and times, in this order: a new owner takes set-user-ID bits and capabilities away,
/// access control lists change the permissions, and all of it changes no times that are set last.
pub fn properties(path: &Path, wanted: &Entry, unset: &mut dyn FnMut(io::Error)) {
    let mut judge = |result: Result<(), Errno>| {
        if let Err(error) = result {
            unset(error.into());
        }
    };
    let owner = (rustix::fs::Uid::from_raw(wanted.uid), rustix::fs::Gid::from_raw(wanted.gid));
    judge(rustix::fs::chownat(CWD, path, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW));
    judge(set_attributes(path, wanted));
    if !matches!(wanted.kind, Kind::Link(_)) {
        judge(set_mode(path, wanted.mode));
    }
    if let Some(modified) = wanted.modified {
        let time = Timespec { tv_sec: modified.as_second(), tv_nsec: modified.subsec_nanosecond().into() };
        // Before 1970 the fraction counts backwards from the next second.
        let time = match time.tv_nsec < 0 {
            true => Timespec { tv_sec: time.tv_sec - 1, tv_nsec: time.tv_nsec + 1_000_000_000 },
            false => time,
        };
        let times = Timestamps { last_access: time, last_modification: time };
        judge(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW));
    }
}

/// Sets the permissions of what lies at a path itself. chmod(2) follows links, and all who may write to the folder could put one
/// there while root restores.
fn set_mode(path: &Path, mode: u32) -> Result<(), Errno> {
    let itself = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&itself)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    let mode = Mode::from_raw_mode(mode);
    // A descriptor that opens nothing takes no fchmod(2), and fchmodat2(2) is of Linux 6.6.
    match rustix::fs::chmodat(CWD, format!("/proc/self/fd/{}", itself.as_raw_fd()), mode, AtFlags::empty()) {
        // Without /proc.
        Err(Errno::NOENT) => rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()),
        set => set,
    }
}

/// Gives it the attributes of the snapshot and no others.
fn set_attributes(path: &Path, wanted: &Entry) -> Result<(), Errno> {
    let present = attributes(path).unwrap_or_default();
    for (name, _) in present.iter().filter(|(name, _)| !wanted.attributes.iter().any(|(kept, _)| kept == name)) {
        match rustix::fs::lremovexattr(path, name) {
            // Labels that the system gives to everything.
            Err(_) if name.as_bytes().starts_with(b"security.") => {}
            Err(Errno::NODATA) => {}
            removed => removed?,
        }
    }
    for attribute in wanted.attributes.iter().filter(|attribute| !present.contains(attribute)) {
        rustix::fs::lsetxattr(path, &attribute.0, &attribute.1, XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn permissions_are_not_set_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mode = |name: &str| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777;
        std::fs::write(path("secret"), "").unwrap();
        set_mode(&path("secret"), 0o600).unwrap();
        std::os::unix::fs::symlink("secret", path("link")).unwrap();
        assert_eq!(set_mode(&path("link"), 0o777), Err(Errno::LOOP));
        assert_eq!(mode("secret"), 0o600);
        std::fs::create_dir(path("folder")).unwrap();
        set_mode(&path("folder"), 0o1750).unwrap();
        assert_eq!(mode("folder"), 0o1750);
    }

    #[test]
    fn zeros_become_holes_wherever_the_pieces_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = vec![0; 3 << 20];
        whole[..5].copy_from_slice(b"begin");
        whole[(1 << 20) + 7] = 9;
        for piece in [1 << 20, 4096, 5000, 77_777] {
            let path = folder.path().join(piece.to_string());
            let mut sparse = Sparse { file: File::create(&path).unwrap(), length: 0, skipped: 0 };
            whole.chunks(piece).for_each(|bytes| sparse.write(bytes).unwrap());
            sparse.finish().unwrap();
            assert!(std::fs::read(&path).unwrap() == whole, "{piece}");
            assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 100_000, "{piece}");
        }
    }
}
