//! Compression beside pg_dump: follows the files of a directory archive while they are written.
//!
//! `pg_dump -Fd -Z0 -jN` writes raw; compressing is what costs, and here it runs on all cores, in blocks, one gzip
//! member each, which `pg_restore` reads as one stream (`NNNN.dat.gz` where `NNNN.dat` is absent; pg_dump's
//! compress_io). What has been read is punched out of the raw file, so that it never takes its full size of disk; what is
//! written is synced beside the compression. On the way each file's lines are counted: a row of a table is one line.

mod follow;
mod target;
mod workers;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(in crate::databases) use self::follow::Follower;
use super::{BEHIND_ROWS, Level};
use crate::fs::Digest;

/// Large enough that a member's header and a fresh window cost nothing, small enough that one table fills all cores.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

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
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::path::Path;

    use super::*;
    use crate::databases::error::DatabasesError;

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
    fn thousands_of_files_that_come_at_once_are_not_all_open() {
        let folder = tempfile::tempdir().unwrap();
        let follower = Follower::watch(folder.path()).unwrap();
        let names = (0..300).flat_map(|number| [format!("blob_{number}.dat"), format!("{number}.dat")]);
        names.for_each(|name| fs::write(folder.path().join(&name), &name).unwrap());
        let signal = WriterSignal::default();
        signal.ended();
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let few = rustix::process::Rlimit { current: Some(100), ..before };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let files = follower.run(4, Level::default(), &signal, &|_| {});
        rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
        assert_eq!(files.unwrap().len(), 600);
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
            Err(DatabasesError::File { operation, .. }) if operation == message!("verb-create")
        ));
    }
}
