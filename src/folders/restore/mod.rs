//! Brings a folder to what a snapshot has.
//!
//! Entry by entry, each compared with what is there: what is right stays untouched, a file is written beside its place and
//! renamed over it, so that at each path there is the old thing or the new one. Nothing is remembered of an interrupted restore:
//! the next one compares again and goes on.

mod write;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use self::write::{MARK, make, properties, write_file};
use super::compare::{Pair, is_on_disk, pairs};
use super::entry::{Content, Entry, Inside, Kind};
use super::error::FoldersError;
use super::repository::Reader;
use super::trouble::{Trouble, TroubleKind, Troubles};
use super::walk::{Walk, entry_at};
use crate::fs::create_dir_durably;
use crate::report::{Meter, Reporter};

/// What a restore did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub unchanged: u64,
}

/// A restore under way.
pub struct Restore<'a> {
    pub reader: &'a Reader,
    /// What counts as being in the folder: what is left out of snapshots stays as it is.
    pub walk: &'a Walk,
    pub troubles: &'a Troubles,
    pub reporter: &'a Reporter,
    pub meter: &'a mut Meter,
    pub done: Restored,
    /// Files that have several names, by what tells them apart in the snapshot: the first name of each that is in place.
    pub named: HashMap<(u64, u64), PathBuf>,
    /// When the snapshot of what is there was begun: what was written later is in no snapshot, and is neither replaced nor removed.
    pub saved_at: Option<Timestamp>,
    /// Files with several names of which this restore changed one, by device and inode: their inodes changed with it.
    pub touched: HashSet<(u64, u64)>,
}

impl Restore<'_> {
    /// Brings `path` to `wanted`, a folder or a single entry of the snapshot.
    pub fn run(&mut self, wanted: &Entry, path: &Path) -> Result<(), FoldersError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        create_dir_durably(folder).map_err(FoldersError::reading(folder))?;
        let present = match entry_at(path, &mut |trouble| self.troubles.add(trouble)) {
            Ok(entry) => Some(entry),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FoldersError::reading(path)(error)),
        };
        remove_leftovers(folder);
        self.entry(present, wanted, path)?;
        let opened = fs::File::open(folder).map_err(FoldersError::reading(folder))?;
        rustix::fs::syncfs(&opened).map_err(|error| FoldersError::reading(folder)(error.into()))
    }

    fn entry(&mut self, present: Option<Entry>, wanted: &Entry, path: &Path) -> Result<(), FoldersError> {
        if self.reporter.asked_to_stop() {
            return Err(FoldersError::Stopped);
        }
        let is_there = present.is_some();
        let failed = FoldersError::reading(path);
        if let Kind::Folder(inside) = &wanted.kind {
            return match present {
                Some(present) if present.kind == Kind::Folder(Inside::Nothing) => Ok(()),
                Some(present) if present.is_folder() => self.folder(Some(&present), wanted, path),
                Some(present) => match self.remove(&present, path)? {
                    true => self.folder(None, wanted, path),
                    // It was written since it was saved, and stays.
                    false => Ok(()),
                },
                // Something was mounted there, and nothing of it is kept.
                None if *inside == Inside::Disk => Ok(()),
                None => self.folder(None, wanted, path),
            };
        }
        let present = match present {
            Some(present) if present.is_folder() => {
                if !self.remove(&present, path)? {
                    // Something that is left out of snapshots keeps the folder in place.
                    return Err(failed(io::ErrorKind::DirectoryNotEmpty.into()));
                }
                None
            }
            present => present,
        };
        let first = wanted.link_key().and_then(|key| self.named.get(&key).cloned());
        let has_changed = match (&wanted.kind, first) {
            (Kind::File(_), Some(first)) => self.link(&first, path).map_err(&failed)?,
            (Kind::File(Content::Snapshot(chunks)), None) => {
                let is_right = match &present {
                    // Another file of that name would change with this one.
                    Some(present) if present.links > 1 && wanted.links <= 1 => false,
                    Some(present) if present.is_file() => is_on_disk(self.reader, path, present, (wanted, chunks))?,
                    _ => false,
                };
                match present.filter(|_| is_right) {
                    Some(present) => {
                        let differs = !present.has_same_properties(wanted);
                        if differs {
                            self.touched.insert((present.device, present.inode));
                            properties(path, wanted, &mut |error| self.unset(path, error));
                        }
                        differs
                    }
                    None if write_file(self, path, wanted, chunks)? => true,
                    // Its other names are not made names of what stays here.
                    None => return Ok(()),
                }
            }
            (Kind::Socket, _) => {
                if present.is_none_or(|present| present.kind != Kind::Socket) {
                    self.troubles.add(Trouble { path: path.to_owned(), kind: TroubleKind::Socket });
                }
                return Ok(());
            }
            (kind, _) => match present.filter(|present| present.kind == *kind) {
                Some(present) if present.has_same_properties(wanted) => false,
                Some(_) => {
                    properties(path, wanted, &mut |error| self.unset(path, error));
                    true
                }
                None if self.is_unsaved(path) => false,
                None => {
                    make(path, wanted, &mut |error| self.unset(path, error)).map_err(&failed)?;
                    true
                }
            },
        };
        if let Some(key) = wanted.link_key() {
            self.named.entry(key).or_insert_with(|| path.to_owned());
        }
        match (is_there, has_changed) {
            (false, _) => self.done.added += 1,
            (true, true) => self.done.changed += 1,
            (true, false) => self.done.unchanged += 1,
        }
        Ok(())
    }

    /// Gives a file another name, unless it has it already.
    fn link(&mut self, first: &Path, path: &Path) -> io::Result<bool> {
        let same = |one: &fs::Metadata, other: &fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        let (there, wanted) = (fs::symlink_metadata(path), fs::symlink_metadata(first)?);
        if there.is_ok_and(|there| same(&there, &wanted)) {
            return Ok(false);
        }
        if self.is_unsaved(path) {
            return Ok(false);
        }
        self.touched.insert((wanted.dev(), wanted.ino()));
        let beside = write::beside(path);
        fs::hard_link(first, &beside)?;
        fs::rename(&beside, path)?;
        Ok(true)
    }

    fn folder(&mut self, present: Option<&Entry>, wanted: &Entry, path: &Path) -> Result<(), FoldersError> {
        let failed = FoldersError::reading(path);
        let mut entries = Vec::new();
        match present {
            None => {
                fs::create_dir(path).map_err(&failed)?;
                // Until its properties are set nobody else looks in.
                fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(&failed)?;
                self.done.added += 1;
            }
            Some(_) => {
                remove_leftovers(path);
                entries = self.walk.entries(path, &mut |trouble| self.troubles.add(trouble)).map_err(&failed)?;
            }
        }
        let mut inside = match &wanted.kind {
            Kind::Folder(Inside::Snapshot(tree)) => self.reader.entries(*tree)?,
            _ => Vec::new(),
        };
        // What is left out stays as it is, though it may be in an older snapshot.
        inside.retain(|entry| !self.walk.leaves_out(&path.join(&entry.name), entry.is_folder()));
        let mut is_touched = present.is_none_or(|present| !present.has_same_properties(wanted));
        let before = self.done;
        for pair in pairs(entries, inside) {
            match pair {
                Pair::Older(entry) => _ = self.remove(&entry, &path.join(&entry.name))?,
                Pair::Newer(entry) => self.entry(None, &entry, &path.join(&entry.name))?,
                Pair::Both(present, entry) => self.entry(Some(present), &entry, &path.join(&entry.name))?,
            }
        }
        // What was done in it changed its time.
        is_touched |= before != self.done || present.is_some_and(|present| present.modified != wanted.modified);
        if is_touched {
            properties(path, wanted, &mut |error| self.unset(path, error));
        }
        Ok(())
    }

    /// Whether what lies at a path was written since what is there was saved. It stays then, and is told.
    fn is_unsaved(&mut self, path: &Path) -> bool {
        let (Some(saved_at), Ok(metadata)) = (self.saved_at, fs::symlink_metadata(path)) else { return false };
        let inode = (metadata.dev(), metadata.ino());
        let saved_at = (saved_at.as_second(), i64::from(saved_at.subsec_nanosecond()));
        let is_unsaved = (metadata.ctime(), metadata.ctime_nsec()) > saved_at
            && !metadata.is_dir()
            && !self.touched.contains(&inode);
        match is_unsaved {
            true => self.troubles.add(Trouble { path: path.to_owned(), kind: TroubleKind::Unsaved }),
            false if metadata.nlink() > 1 => _ = self.touched.insert(inode),
            false => {}
        }
        is_unsaved
    }

    /// Removes an entry and what is in it; `false` where something that is left out of snapshots, mounted, or not saved, stays.
    fn remove(&mut self, entry: &Entry, path: &Path) -> Result<bool, FoldersError> {
        let failed = FoldersError::reading(path);
        let removed = match &entry.kind {
            Kind::Folder(Inside::Nothing) => return Ok(false),
            Kind::Folder(_) => {
                remove_leftovers(path);
                let entries = self.walk.entries(path, &mut |trouble| self.troubles.add(trouble)).map_err(&failed)?;
                for entry in entries {
                    self.remove(&entry, &path.join(&entry.name))?;
                }
                fs::remove_dir(path)
            }
            _ if self.is_unsaved(path) => return Ok(false),
            _ => fs::remove_file(path),
        };
        match removed {
            Ok(()) => self.done.removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) => {
                return Ok(false);
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(true)
    }

    fn unset(&self, path: &Path, error: io::Error) {
        self.troubles.add(Trouble { path: path.to_owned(), kind: TroubleKind::Properties(error) });
    }
}

/// Sets owner, permissions, attributes and times; what can't be set now was told when it was tried before.
pub fn set_properties(path: &Path, wanted: &Entry) {
    properties(path, wanted, &mut |_| {});
}

/// Removes what a killed restore left unfinished in a folder; what another one is writing there stays.
fn remove_leftovers(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_left(&entry.file_name())) {
        let _ = fs::remove_file(entry.path());
    }
}

/// Whether [`write::beside`] gave this name in a process that is gone. One with the number of this process counts too: nothing of
/// this one is unfinished when it looks for leftovers, and in a container all have the same number.
fn is_left(name: &OsStr) -> bool {
    let rest = name.to_str().and_then(|name| name.strip_prefix(MARK));
    let number = rest.and_then(|rest| rest.split_once('-')).and_then(|(number, _)| number.parse::<i32>().ok());
    let Some(process) = number.and_then(Pid::from_raw) else { return false };
    process == getpid() || test_kill_process(process) == Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_that_runs_is_writing_is_not_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let own = write::beside(&folder.path().join("file"));
        let named = |process: &str| folder.path().join(format!("{MARK}{process}-0"));
        let (left, running) = (named(&gone.id().to_string()), named("1"));
        let others = [running, folder.path().join(format!("{MARK}notes")), folder.path().join("file")];
        for path in others.iter().chain([&own, &left]) {
            fs::write(path, "x").unwrap();
        }
        remove_leftovers(folder.path());
        assert!(!own.exists() && !left.exists());
        assert!(others.iter().all(|path| path.exists()));
    }
}
