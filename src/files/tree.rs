//! What lies in a folder: paths, kinds, sizes, permissions, owners; contents by digest where they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::OFlags;

use super::error::FilesError;
use super::paths::{OWN_MARK, encoded, is_mounted};
use crate::fs::{Digest, HashingReader};
use crate::manifest::model::Owner;
use crate::report::Reporter;

/// What kind of thing lies at a path. Links are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File,
    Link(PathBuf),
    /// A device, a pipe, a socket.
    Other,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The lower twelve bits.
    pub mode: u32,
    pub owner: Owner,
    pub stamp: Stamp,
    /// Of a file whose content was asked for.
    pub digest: Option<Digest>,
    /// Whether the manifest leaves it out.
    pub is_excluded: bool,
}

/// What changes when a file does, its content unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    /// In bytes; 0 for all but files.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

/// A folder; itself is at the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    pub entries: BTreeMap<PathBuf, Entry>,
}

/// What becomes of what the manifest leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excluded {
    /// It is passed over: nobody delivers it.
    PassedOver,
    /// It is there and marked, with all below it: it stays.
    Marked,
}

impl Entry {
    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// What records have of a content; `None` for folders, devices, and files whose digest is not known.
    pub fn content(&self) -> Option<String> {
        match &self.kind {
            Kind::File => self.digest.as_ref().map(Digest::to_string),
            Kind::Link(to) => Some(format!("link:{}", encoded(to))),
            Kind::Folder | Kind::Other => None,
        }
    }

    /// What lies at a path itself.
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::of(path, &fs::symlink_metadata(path)?)
    }

    fn of(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_file() => Kind::File,
            kind if kind.is_symlink() => Kind::Link(fs::read_link(path)?),
            _ => Kind::Other,
        };
        Ok(Self {
            kind,
            mode: metadata.mode() & 0o7777,
            owner: Owner { user: metadata.uid(), group: metadata.gid() },
            stamp: Stamp::of(metadata),
            digest: None,
            is_excluded: false,
        })
    }
}

impl Stamp {
    /// Whether a file is the one that was looked at, whatever was written to it since.
    pub fn is_of(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: if metadata.is_file() { metadata.len() } else { 0 },
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Tree {
    /// Lists a folder.
    ///
    /// # Errors
    /// What can't be read, a file system that is mounted below it, and a request to stop.
    pub fn scan(root: &Path, patterns: &[String], excluded: Excluded, reporter: &Reporter) -> Result<Self, FilesError> {
        let metadata = fs::metadata(root).map_err(FilesError::file(root))?;
        if !metadata.is_dir() {
            return Err(FilesError::NotAFolder { path: root.to_owned() });
        }
        let patterns = gitignore(root, patterns)?;
        let mut tree = Self::default();
        tree.entries.insert(PathBuf::new(), Entry::of(root, &metadata).map_err(FilesError::file(root))?);
        let mut folders = vec![(PathBuf::new(), false)];
        while let Some((folder, is_excluded)) = folders.pop() {
            if reporter.asked_to_stop() {
                return Err(FilesError::Stopped);
            }
            let place = root.join(&folder);
            let listed = match fs::read_dir(&place) {
                Ok(listed) => listed,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.as_os_str().is_empty() => continue,
                Err(error) => return Err(FilesError::file(&place)(error)),
            };
            for found in listed {
                let found = found.map_err(FilesError::file(&place))?;
                let name = found.file_name();
                if name.as_encoded_bytes().starts_with(OWN_MARK.as_bytes()) {
                    continue;
                }
                let (path, at) = (folder.join(&name), found.path());
                let entry = found.metadata().and_then(|metadata| Entry::of(&at, &metadata));
                let mut entry = match entry {
                    Ok(entry) => entry,
                    // It went while it was looked at.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(FilesError::file(&at)(error)),
                };
                let is_folder = entry.is_folder();
                entry.is_excluded = is_excluded || patterns.matched(&path, is_folder).is_ignore();
                if entry.is_excluded && excluded == Excluded::PassedOver {
                    continue;
                }
                if is_folder {
                    if excluded == Excluded::Marked && is_mounted(&at) {
                        return Err(FilesError::Mounted { path: at });
                    }
                    folders.push((path.clone(), entry.is_excluded));
                }
                tree.entries.insert(path, entry);
            }
        }
        Ok(tree)
    }

    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Reads the files of which that is wanted, and notes their digests.
    ///
    /// # Errors
    /// A file that can't be read, and a request to stop. One that is gone by then stays without a digest.
    pub fn read_contents(
        &mut self,
        root: &Path,
        is_wanted: impl Fn(&Path, &Entry) -> bool,
        digests: &mut Digests,
        reporter: &Reporter,
    ) -> Result<(), FilesError> {
        for (path, entry) in &mut self.entries {
            if entry.kind != Kind::File || entry.digest.is_some() || !is_wanted(path, entry) {
                continue;
            }
            if reporter.asked_to_stop() {
                return Err(FilesError::Stopped);
            }
            let at = root.join(path);
            entry.digest = match digests.of(&at, &entry.stamp, reporter) {
                Ok(digest) => digest,
                Err(_) if reporter.asked_to_stop() => return Err(FilesError::Stopped),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(FilesError::file(&at)(error)),
            };
        }
        Ok(())
    }

    /// Whether the same lies in another look at it, contents unread. What is left out may be written to meanwhile.
    pub fn looks_as(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(|((path, entry), (other_path, other))| {
                // Making a link to a file changes the time at which its inode was changed, and a time of a folder tells of names.
                let properties = |entry: &Entry| (entry.mode, entry.owner, entry.stamp.size, entry.stamp.modified);
                let is_same = entry.is_excluded || entry.is_folder() || properties(entry) == properties(other);
                path == other_path && entry.kind == other.kind && is_same
            })
    }
}

/// The patterns of what is left out. The manifest's check has read each of them.
fn gitignore(root: &Path, patterns: &[String]) -> Result<Gitignore, FilesError> {
    let mut builder = GitignoreBuilder::new(root);
    for pattern in patterns {
        let added = builder.add_line(None, pattern);
        added.map_err(|_| FilesError::Pattern { pattern: pattern.clone() })?;
    }
    builder.build().map_err(|_| FilesError::Pattern { pattern: patterns.join(" ") })
}

/// Digests of files that were read before, by what changes when a file does.
#[derive(Debug, Default)]
pub struct Digests {
    known: HashMap<Stamp, Digest>,
}

/// A file that was written to so shortly before may have been written to again in the same tick of the clock.
const SETTLED_SECONDS: u64 = 2;

impl Digests {
    /// The digest of a file; `None` where it is another file by now.
    fn of(&mut self, path: &Path, stamp: &Stamp, reporter: &Reporter) -> io::Result<Option<Digest>> {
        if let Some(digest) = self.known.get(stamp) {
            return Ok(Some(digest.clone()));
        }
        let file = open_itself(path)?;
        if Stamp::of(&file.metadata()?) != *stamp {
            return Ok(None);
        }
        let mut reader = HashingReader::new(Stoppable { inner: file, reporter });
        io::copy(&mut reader, &mut io::sink())?;
        let (Stoppable { inner: file, .. }, digest, _) = reader.finish();
        let after = file.metadata()?;
        if Stamp::of(&after) != *stamp {
            return Ok(None);
        }
        let age = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.as_secs().saturating_sub(u64::try_from(stamp.changed.0).unwrap_or_default()));
        if age > SETTLED_SECONDS {
            self.known.insert(*stamp, digest.clone());
        }
        Ok(Some(digest))
    }
}

/// Opens a regular file for reading, and nothing that lies there in its place: no link is followed, no pipe waited for.
pub fn open_itself(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A reader that ends with an error when the operator asks for an end.
struct Stoppable<'r, R> {
    inner: R,
    reporter: &'r Reporter,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reporter.asked_to_stop() {
            // Not `Interrupted`: a caller that copies would only try again.
            true => Err(io::Error::other("stopped on request")),
            false => self.inner.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(root: &Path, patterns: &[&str], excluded: Excluded) -> Tree {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Tree::scan(root, &patterns, excluded, &Reporter::default()).unwrap()
    }

    fn names(tree: &Tree) -> Vec<String> {
        tree.entries.keys().map(|path| encoded(path)).collect()
    }

    #[test]
    fn links_are_not_followed_and_what_is_dpls_own_is_not_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("sub/deep")).unwrap();
        fs::write(path("sub/deep/file"), "1").unwrap();
        fs::create_dir(path(".dpl-kept-x")).unwrap();
        fs::write(path(".dpl-kept-x/old"), "1").unwrap();
        std::os::unix::fs::symlink("sub", path("link")).unwrap();
        let tree = scan(folder.path(), &[], Excluded::PassedOver);
        assert_eq!(names(&tree), ["", "link", "sub", "sub/deep", "sub/deep/file"]);
        assert_eq!(tree.get(Path::new("link")).unwrap().content().as_deref(), Some("link:sub"));
    }

    #[test]
    fn what_is_left_out_is_passed_over_or_marked_with_all_below_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("cache/deep")).unwrap();
        fs::write(folder.path().join("a.pyc"), "1").unwrap();
        fs::write(folder.path().join("keep.pyc"), "1").unwrap();
        let patterns = ["cache/", "*.pyc", "!keep.pyc"];
        let passed_over = scan(folder.path(), &patterns, Excluded::PassedOver);
        assert_eq!(names(&passed_over), ["", "keep.pyc"]);
        let marked = scan(folder.path(), &patterns, Excluded::Marked);
        let excluded = marked.entries.iter().filter(|(_, entry)| entry.is_excluded);
        let excluded: Vec<String> = excluded.map(|(path, _)| encoded(path)).collect();
        assert_eq!(excluded, ["a.pyc", "cache", "cache/deep"]);
    }

    #[test]
    fn a_digest_that_is_known_is_not_taken_for_that_of_another_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let mut digests = Digests::default();
        let mut read = || {
            let mut tree = scan(folder.path(), &[], Excluded::Marked);
            let read = tree.read_contents(folder.path(), |_, _| true, &mut digests, &Reporter::default());
            read.unwrap();
            tree.get(Path::new("file")).unwrap().digest.clone()
        };
        fs::write(&file, "one").unwrap();
        assert_eq!(read(), Some(Digest::of(b"one")));
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(read(), Some(Digest::of(b"two")));
    }
}
