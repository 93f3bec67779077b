//! A folder as the archiver of rustic_core reads it.
//!
//! Its own source leaves out the folder itself and those above it, matches patterns from the working folder, and tells errors to
//! a log that nobody reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustic_core::{ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::OFlags;

use super::super::entry::{Entry, Inside, Kind};
use super::super::trouble::{Trouble, TroubleKind, Troubles};
use super::super::walk::{Walk, entry_at};
use super::nodes::to_node;
use crate::report::Reporter;

/// A folder that is read, and what came of it.
pub struct FolderSource {
    pub walk: Walk,
    pub troubles: Troubles,
    /// Set when the snapshot must not be kept.
    pub give_up: Arc<AtomicBool>,
    pub reporter: Reporter,
}

impl ReadSource for FolderSource {
    type Open = OpenLater;
    type Iter = Entries;

    /// Nobody looks through the folder twice for a progress bar.
    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        Entries {
            walk: self.walk.clone(),
            troubles: self.troubles.clone(),
            give_up: self.give_up.clone(),
            reporter: self.reporter.clone(),
            above: above(self.walk.root()),
            open: Vec::new(),
        }
    }
}

/// The folder and those above it, the uppermost last.
fn above(root: &Path) -> Vec<PathBuf> {
    root.ancestors().filter(|folder| folder.parent().is_some()).map(Path::to_owned).collect()
}

/// The entries of a folder in the order in which a snapshot has them: each folder before what is in it.
pub struct Entries {
    walk: Walk,
    troubles: Troubles,
    give_up: Arc<AtomicBool>,
    reporter: Reporter,
    /// Folders above the root, and the root itself, that are still to come.
    above: Vec<PathBuf>,
    /// The folders that are open, each with what is still to come of it, the next one last.
    open: Vec<(PathBuf, Vec<Entry>)>,
}

impl Entries {
    fn enter(&mut self, path: &Path) -> io::Result<()> {
        let troubles = self.troubles.clone();
        let mut entries = self.walk.entries(path, &mut |trouble| troubles.add(trouble))?;
        entries.reverse();
        self.open.push((path.to_owned(), entries));
        Ok(())
    }

    fn source_entry(&self, path: PathBuf, entry: &Entry) -> ReadSourceEntry<OpenLater> {
        let node = to_node(entry);
        let open = entry.is_file().then(|| OpenLater {
            path: path.clone(),
            size: entry.size,
            inode: entry.inode,
            modified: entry.modified,
            troubles: self.troubles.clone(),
            reporter: self.reporter.clone(),
        });
        ReadSourceEntry { path, node, open }
    }

    /// The next folder above, or the root, which has to be readable.
    fn next_above(&mut self, path: PathBuf) -> Option<ReadSourceEntry<OpenLater>> {
        let troubles = self.troubles.clone();
        let looked = entry_at(&path, &mut |trouble| troubles.add(trouble));
        let entered = looked.and_then(|entry| {
            if self.above.is_empty() {
                self.enter(&path)?;
            }
            Ok(entry)
        });
        match entered {
            Ok(entry) => Some(self.source_entry(path, &entry)),
            Err(error) => {
                self.give_up.store(true, Ordering::SeqCst);
                self.troubles.add(Trouble { path, kind: TroubleKind::Unread(error) });
                self.above.clear();
                None
            }
        }
    }
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<OpenLater>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reporter.asked_to_stop() {
            self.give_up.store(true, Ordering::SeqCst);
        }
        if self.give_up.load(Ordering::SeqCst) {
            return None;
        }
        if let Some(path) = self.above.pop() {
            return self.next_above(path).map(Ok);
        }
        loop {
            let (folder, entries) = self.open.last_mut()?;
            let Some(entry) = entries.pop() else {
                self.open.pop();
                continue;
            };
            let path = folder.join(&entry.name);
            if matches!(entry.kind, Kind::Folder(Inside::Disk))
                && let Err(error) = self.enter(&path)
            {
                self.troubles.add(Trouble::of(&path, error));
                continue;
            }
            return Some(Ok(self.source_entry(path, &entry)));
        }
    }
}

/// A file that is opened when its turn comes.
pub struct OpenLater {
    path: PathBuf,
    size: u64,
    inode: u64,
    modified: Option<jiff::Timestamp>,
    troubles: Troubles,
    reporter: Reporter,
}

impl ReadSourceOpen for OpenLater {
    type Reader = FileReader;

    fn open(self) -> RusticResult<FileReader> {
        // What was a file when its folder was listed may be a link or a pipe by now.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&self.path).and_then(
            |file| match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::ErrorKind::NotFound.into()),
            },
        );
        match opened {
            Ok(file) => Ok(FileReader { left: self.size, file, has_changed: false, is_judged: false, of: self }),
            Err(error) => {
                let kind = error.kind();
                self.troubles.add(Trouble::of(&self.path, error));
                Err(RusticError::new(ErrorKind::InputOutput, format!("{kind}")))
            }
        }
    }
}

/// Gives as many bytes as the file had when its folder was listed, so that size and content of the snapshot belong together:
/// of one that grew its beginning, of one that shrank zeros for what is missing, as tar does. Either is told.
pub struct FileReader {
    of: OpenLater,
    file: File,
    left: u64,
    has_changed: bool,
    is_judged: bool,
}

impl FileReader {
    /// Tells once whether the file is another one than the one that was listed.
    fn judge(&mut self) {
        if self.is_judged {
            return;
        }
        self.is_judged = true;
        let is_same = self.file.metadata().is_ok_and(|metadata| {
            let modified = jiff::Timestamp::new(metadata.mtime(), metadata.mtime_nsec() as i32).ok();
            (metadata.len(), metadata.ino(), modified) == (self.of.size, self.of.inode, self.of.modified)
        });
        if self.has_changed || !is_same {
            self.of.troubles.add(Trouble { path: self.of.path.clone(), kind: TroubleKind::Changed });
        }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.of.reporter.asked_to_stop() {
            return Err(io::Error::other("stopped on request"));
        }
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            self.judge();
            return Ok(0);
        }
        let read = match self.file.read(&mut buffer[..wanted]) {
            Ok(0) => {
                self.has_changed = true;
                buffer[..wanted].fill(0);
                wanted
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let again = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                self.of.troubles.add(Trouble { path: self.of.path.clone(), kind: TroubleKind::Unread(error) });
                return Err(again);
            }
        };
        self.left -= read as u64;
        if self.left == 0 {
            self.judge();
        }
        Ok(read)
    }
}
