//! What differs between two states of a folder: two snapshots, or a snapshot and what is there.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::entry::{Chunk, Content, Entry, Inside, Kind};
use super::error::FoldersError;
use super::repository::Reader;
use super::trouble::Troubles;
use super::walk::Walk;

/// One place that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Below the folder.
    pub path: PathBuf,
    pub change: Change,
    pub is_folder: bool,
    /// Of the newer state; of the older one where it is removed.
    pub bytes: u64,
}

/// What became of it from the older state to the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// Other bytes, another target, another kind of thing.
    Content,
    /// The same bytes with another owner, other permissions, times or attributes.
    Properties,
}

/// Where a state of a folder is read.
#[derive(Debug, Clone, Copy)]
pub enum Side<'a> {
    Snapshot(&'a Reader),
    Disk { walk: &'a Walk, troubles: &'a Troubles },
}

impl Side<'_> {
    /// What is in `folder`, which lies at `path`.
    pub fn entries(self, folder: &Entry, path: &Path) -> Result<Vec<Entry>, FoldersError> {
        match (self, &folder.kind) {
            (Self::Snapshot(reader), Kind::Folder(Inside::Snapshot(tree))) => reader.entries(*tree),
            (Self::Disk { walk, troubles }, Kind::Folder(Inside::Disk)) => {
                walk.entries(path, &mut |trouble| troubles.add(trouble)).map_err(FoldersError::reading(path))
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// Two states of a folder.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    pub older: Side<'a>,
    pub newer: Side<'a>,
    pub reader: &'a Reader,
    /// Where the folder lies on disk.
    pub root: &'a Path,
}

impl Comparison<'_> {
    /// All that differs below the folder, in the order of a snapshot; `tell` may end it.
    pub fn run(
        self,
        (older, newer): (&Entry, &Entry),
        tell: &mut dyn FnMut(Difference) -> Result<(), FoldersError>,
    ) -> Result<(), FoldersError> {
        self.folder(Path::new(""), (older, newer), tell)
    }

    /// As [`Comparison::run`] for two things of any kind, themselves included; where there is no older one, all of the newer one
    /// is added.
    pub fn whole(
        self,
        older: Option<&Entry>,
        newer: &Entry,
        tell: &mut dyn FnMut(Difference) -> Result<(), FoldersError>,
    ) -> Result<(), FoldersError> {
        let here = Path::new("");
        let difference =
            |change| Difference { path: PathBuf::new(), change, is_folder: newer.is_folder(), bytes: newer.size };
        let Some(older) = older else {
            tell(difference(Change::Added))?;
            return self.inside(here, newer, (self.newer, Change::Added), tell);
        };
        if let Some(change) = self.change(self.root, older, newer)? {
            tell(difference(change))?;
        }
        match (older.is_folder(), newer.is_folder()) {
            (true, true) => self.folder(here, (older, newer), tell),
            (true, false) => self.inside(here, older, (self.older, Change::Removed), tell),
            (false, true) => self.inside(here, newer, (self.newer, Change::Added), tell),
            (false, false) => Ok(()),
        }
    }

    fn folder(
        self,
        place: &Path,
        (older, newer): (&Entry, &Entry),
        tell: &mut dyn FnMut(Difference) -> Result<(), FoldersError>,
    ) -> Result<(), FoldersError> {
        if let (Kind::Folder(Inside::Snapshot(one)), Kind::Folder(Inside::Snapshot(other))) = (&older.kind, &newer.kind)
            && one == other
        {
            return Ok(());
        }
        // What is mounted there is left out of both.
        if [older, newer].iter().any(|entry| entry.kind == Kind::Folder(Inside::Nothing)) {
            return Ok(());
        }
        let path = self.root.join(place);
        for pair in pairs(self.entries(self.older, older, &path)?, self.entries(self.newer, newer, &path)?) {
            match pair {
                Pair::Older(entry) => self.all(place, &entry, (self.older, Change::Removed), tell)?,
                Pair::Newer(entry) => self.all(place, &entry, (self.newer, Change::Added), tell)?,
                Pair::Both(older, newer) => {
                    let below = place.join(&newer.name);
                    let change = self.change(&self.root.join(&below), &older, &newer)?;
                    if let Some(change) = change {
                        let (is_folder, bytes) = (newer.is_folder(), newer.size);
                        tell(Difference { path: below.clone(), change, is_folder, bytes })?;
                    }
                    match (older.is_folder(), newer.is_folder()) {
                        (true, true) => self.folder(&below, (&older, &newer), tell)?,
                        (true, false) => self.inside(&below, &older, (self.older, Change::Removed), tell)?,
                        (false, true) => self.inside(&below, &newer, (self.newer, Change::Added), tell)?,
                        (false, false) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// What is left out of the folder on disk counts in no snapshot either: it may have been left in when that was taken.
    fn entries(self, side: Side<'_>, folder: &Entry, path: &Path) -> Result<Vec<Entry>, FoldersError> {
        let mut entries = side.entries(folder, path)?;
        if let (Side::Disk { walk, .. }, _) | (_, Side::Disk { walk, .. }) = (self.older, self.newer) {
            entries.retain(|entry| !walk.leaves_out(&path.join(&entry.name), entry.is_folder()));
        }
        Ok(entries)
    }

    /// An entry that only one state has, and all that is in it.
    fn all(
        self,
        place: &Path,
        entry: &Entry,
        (side, change): (Side<'_>, Change),
        tell: &mut dyn FnMut(Difference) -> Result<(), FoldersError>,
    ) -> Result<(), FoldersError> {
        let path = place.join(&entry.name);
        tell(Difference { path: path.clone(), change, is_folder: entry.is_folder(), bytes: entry.size })?;
        self.inside(&path, entry, (side, change), tell)
    }

    fn inside(
        self,
        place: &Path,
        folder: &Entry,
        (side, change): (Side<'_>, Change),
        tell: &mut dyn FnMut(Difference) -> Result<(), FoldersError>,
    ) -> Result<(), FoldersError> {
        for entry in self.entries(side, folder, &self.root.join(place))? {
            self.all(place, &entry, (side, change), tell)?;
        }
        Ok(())
    }

    /// What became of an entry that both states have; folders are compared by their properties alone.
    fn change(self, path: &Path, older: &Entry, newer: &Entry) -> Result<Option<Change>, FoldersError> {
        let is_same = match (&older.kind, &newer.kind) {
            (Kind::Folder(_), Kind::Folder(_)) => true,
            (Kind::File(one), Kind::File(other)) => match (one, other) {
                (Content::Snapshot(one), Content::Snapshot(other)) => one == other,
                (Content::Disk, Content::Snapshot(chunks)) => is_on_disk(self.reader, path, older, (newer, chunks))?,
                (Content::Snapshot(chunks), Content::Disk) => is_on_disk(self.reader, path, newer, (older, chunks))?,
                (Content::Disk, Content::Disk) => false,
            },
            (one, other) => one == other,
        };
        Ok(match is_same {
            false => Some(Change::Content),
            true if !older.has_same_properties(newer) => Some(Change::Properties),
            true => None,
        })
    }
}

/// Whether the file at `path`, which looks like `disk`, has the bytes of a snapshot. One whose inode has not changed since is
/// not read.
pub fn is_on_disk(
    reader: &Reader,
    path: &Path,
    disk: &Entry,
    (kept, chunks): (&Entry, &[Chunk]),
) -> Result<bool, FoldersError> {
    if disk.size != kept.size {
        return Ok(false);
    }
    let identity = |entry: &Entry| (entry.inode, entry.changed, entry.modified);
    if kept.changed.is_some() && identity(disk) == identity(kept) {
        return Ok(true);
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FoldersError::reading(path)(error)),
    };
    let mut bytes = Vec::new();
    for chunk in chunks {
        bytes.resize(usize::try_from(reader.chunk_bytes(*chunk)?).unwrap_or_default(), 0);
        match file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(FoldersError::reading(path)(error)),
        }
        if Sha256::digest(&bytes)[..] != chunk.0 {
            return Ok(false);
        }
    }
    let mut more = [0];
    Ok(file.read(&mut more).map_err(FoldersError::reading(path))? == 0)
}

/// An entry of one of two folders, or of both under one name.
pub enum Pair {
    Older(Entry),
    Newer(Entry),
    Both(Entry, Entry),
}

/// Pairs entries of two sorted folders by their names.
pub fn pairs(older: Vec<Entry>, newer: Vec<Entry>) -> impl Iterator<Item = Pair> {
    let (mut older, mut newer) = (older.into_iter().peekable(), newer.into_iter().peekable());
    std::iter::from_fn(move || {
        let order = match (older.peek(), newer.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.name.as_encoded_bytes().cmp(other.name.as_encoded_bytes()),
        };
        match order {
            Ordering::Less => older.next().map(Pair::Older),
            Ordering::Greater => newer.next().map(Pair::Newer),
            Ordering::Equal => older.next().zip(newer.next()).map(|(one, other)| Pair::Both(one, other)),
        }
    })
}
