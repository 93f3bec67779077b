//! A folder on disk, entry by entry, without what is left out of its snapshots.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use jiff::Timestamp;
use rustix::io::Errno;

use super::entry::{Content, Entry, Inside, Kind, sort};
use super::error::FoldersError;
use super::trouble::{Trouble, TroubleKind};

/// What names of ours in a data folder begin with: staging folders and unfinished files.
pub const OWN_MARK: &str = ".dpl-";

/// A folder, and what counts as being in it.
#[derive(Debug, Clone)]
pub struct Walk {
    root: PathBuf,
    excluded: Gitignore,
    /// The device to stay on.
    device: Option<u64>,
}

impl Walk {
    /// `root` must be a folder, by its canonical path.
    pub fn new(root: &Path, patterns: &[String], one_file_system: bool) -> Result<Self, FoldersError> {
        let mut excluded = GitignoreBuilder::new(root);
        for pattern in patterns {
            let added = excluded.add_line(None, pattern);
            added.map_err(|_| FoldersError::Pattern { pattern: pattern.clone() })?;
        }
        let excluded = excluded
            .build()
            .map_err(|_| FoldersError::Pattern { pattern: patterns.first().cloned().unwrap_or_default() })?;
        let metadata = fs::metadata(root).map_err(FoldersError::reading(root))?;
        Ok(Self { root: root.to_owned(), excluded, device: one_file_system.then(|| metadata.dev()) })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether something at `path` is left out: by a pattern, or since it is dpl's own. A folder that is left out is never entered,
    /// so that nobody asks for what is in it.
    pub fn leaves_out(&self, path: &Path, is_folder: bool) -> bool {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(OWN_MARK.as_bytes()) || self.excluded.matched(path, is_folder).is_ignore()
    }

    /// Whether anything but folders is in the folder at `path`, or in one below it. What can't be read may hold some.
    pub fn has_files(&self, path: &Path) -> bool {
        let Ok(entries) = fs::read_dir(path) else { return true };
        entries.flatten().any(|found| {
            let place = found.path();
            let Ok(metadata) = fs::symlink_metadata(&place) else { return false };
            if self.leaves_out(&place, metadata.is_dir()) {
                return false;
            }
            let is_elsewhere = self.device.is_some_and(|device| metadata.dev() != device);
            !metadata.is_dir() || (!is_elsewhere && self.has_files(&place))
        })
    }

    /// The entries of the folder at `path`, sorted. What vanishes meanwhile or can't be read is told and left out.
    pub fn entries(&self, path: &Path, tell: &mut dyn FnMut(Trouble)) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in fs::read_dir(path)? {
            let place = found?.path();
            let Some(name) = place.file_name() else { continue };
            let metadata = match fs::symlink_metadata(&place) {
                Ok(metadata) => metadata,
                Err(error) => {
                    tell(Trouble::of(&place, error));
                    continue;
                }
            };
            if self.leaves_out(&place, metadata.is_dir()) {
                continue;
            }
            match entry(&place, name, &metadata, tell) {
                Ok(mut entry) => {
                    let is_elsewhere = self.device.is_some_and(|device| metadata.is_dir() && metadata.dev() != device);
                    if is_elsewhere {
                        entry.kind = Kind::Folder(Inside::Nothing);
                    }
                    entries.push(entry);
                }
                Err(error) => tell(Trouble::of(&place, error)),
            }
        }
        sort(&mut entries);
        crate::failpoint!("folders.walk.listed");
        Ok(entries)
    }
}

/// What lies at `path`; links are not followed.
pub fn entry_at(path: &Path, tell: &mut dyn FnMut(Trouble)) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(path)?;
    entry(path, path.file_name().unwrap_or_default(), &metadata, tell)
}

fn entry(path: &Path, name: &OsStr, metadata: &Metadata, tell: &mut dyn FnMut(Trouble)) -> io::Result<Entry> {
    let kind = metadata.file_type();
    let device = metadata.rdev();
    let kind = match kind {
        _ if kind.is_dir() => Kind::Folder(Inside::Disk),
        _ if kind.is_symlink() => Kind::Link(fs::read_link(path)?),
        _ if kind.is_file() => Kind::File(Content::Disk),
        _ if kind.is_block_device() => Kind::Block { device },
        _ if kind.is_char_device() => Kind::Character { device },
        _ if kind.is_fifo() => Kind::Pipe,
        _ => Kind::Socket,
    };
    let attributes = attributes(path).unwrap_or_else(|error| {
        let kind = TroubleKind::Attributes(error);
        tell(Trouble { path: path.to_owned(), kind });
        Vec::new()
    });
    let is_folder = matches!(kind, Kind::Folder(_));
    let time = |seconds: i64, nanoseconds: i64| Timestamp::new(seconds, nanoseconds as i32).ok();
    Ok(Entry {
        name: name.to_owned(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: time(metadata.mtime(), metadata.mtime_nsec()),
        changed: time(metadata.ctime(), metadata.ctime_nsec()),
        size: if matches!(kind, Kind::File(_)) { metadata.len() } else { 0 },
        inode: metadata.ino(),
        device: metadata.dev(),
        links: if is_folder { 0 } else { metadata.nlink() },
        kind,
        attributes,
    })
}

/// The most that the kernel gives of names or of one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` of xattr(7)).
const LARGEST_ATTRIBUTE: usize = 64 << 10;

/// The extended attributes, access control lists among them. File systems that know none have none.
pub fn attributes(path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut names = [0; 1024];
    let listed = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => names[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut names = vec![0; LARGEST_ATTRIBUTE];
            let length = rustix::fs::llistxattr(path, &mut names)?;
            names.truncate(length);
            names
        }
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut attributes = Vec::new();
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsString::from_vec(name.to_vec());
        let mut value = vec![0; LARGEST_ATTRIBUTE];
        match rustix::fs::lgetxattr(path, &name, &mut value) {
            Ok(length) => value.truncate(length),
            // Removed since it was listed.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        }
        attributes.push((name, value));
    }
    Ok(attributes)
}
