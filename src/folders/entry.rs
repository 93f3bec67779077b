//! What lies at a place of a folder, on disk or in a snapshot.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use jiff::Timestamp;

/// A file, a folder, a link, … with all that a snapshot keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub kind: Kind,
    /// The lower twelve bits of the mode: permissions, set-user-ID, set-group-ID, sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// `None` only in snapshots of other programs.
    pub modified: Option<Timestamp>,
    /// When the inode changed last.
    pub changed: Option<Timestamp>,
    /// In bytes; 0 for all but files.
    pub size: u64,
    pub inode: u64,
    /// The device that it lies on; in snapshots only of files that have several names.
    pub device: u64,
    /// How many names it has; 0 for folders.
    pub links: u64,
    /// In the order of their names, as the system lists them or the snapshot has them.
    pub attributes: Vec<(OsString, Vec<u8>)>,
}

/// What kind of thing it is, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File(Content),
    Folder(Inside),
    Link(PathBuf),
    Block { device: u64 },
    Character { device: u64 },
    Pipe,
    Socket,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Disk,
    Snapshot(Vec<Chunk>),
}

/// Where the entries of a folder are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// Read at its path.
    Disk,
    /// Another file system is mounted there, and is left out.
    Nothing,
    Snapshot(TreeName),
}

/// A piece of a file, by the digest of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk(pub [u8; 32]);

/// A folder of a snapshot, by the digest of its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeName(pub [u8; 32]);

impl Entry {
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder(_))
    }

    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    /// What tells apart a file that has several names: equal keys are one file.
    pub fn link_key(&self) -> Option<(u64, u64)> {
        (self.is_file() && self.links > 1 && self.inode != 0).then_some((self.device, self.inode))
    }

    /// Whether everything but the content is the same. Times of folders and links change by what is done in them, and names of
    /// owners differ between machines.
    pub fn has_same_properties(&self, other: &Self) -> bool {
        let is_timed = self.is_file();
        let (mut ours, mut theirs) = (self.attributes.clone(), other.attributes.clone());
        ours.sort();
        theirs.sort();
        let has_mode = !matches!(self.kind, Kind::Link(_));
        (!has_mode || self.mode == other.mode)
            && (self.uid, self.gid) == (other.uid, other.gid)
            && (!is_timed || self.modified == other.modified)
            && ours == theirs
    }
}

/// Sorts entries as snapshots have them: by the bytes of their names.
pub fn sort(entries: &mut [Entry]) {
    entries.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
}
