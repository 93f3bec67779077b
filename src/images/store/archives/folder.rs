//! The archives of a folder and of the folders below it: which there are, and which of them holds an image.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::memory::{Known, Memory, Stamp, Unusable};
use super::source::open_watched;
use super::{OldArchive, OpenArchive};
use crate::fs::Digest;
use crate::images::error::{ImagesError, in_one_line};
use crate::images::formats::platform::Platform;
use crate::images::names::{archive_name, engine_name};
use crate::images::store::layout::LAYOUT_FILE;
use crate::manifest::Reference;
use crate::report::{Activity, Message, Reporter};

const SUFFIXES: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2"];
/// `images/minerva/expert/…` is two folders deep; deeper than this lies something else.
const DEPTH_LIMIT: usize = 4;
/// A folder with more entries than this is not one for archives.
const ENTRIES_LIMIT: usize = 20_000;

/// The archives of a folder, newest first.
pub struct ArchiveFolder {
    folder: PathBuf,
    files: Vec<ArchiveFile>,
    memory: Memory,
    learned: bool,
    reporter: Reporter,
    /// Whose images are meant by an index of several platforms.
    platform: Platform,
}

struct ArchiveFile {
    /// Below the folder.
    path: PathBuf,
    /// The path as text. A path that is not UTF-8 has its digest before it, so that no two are called alike.
    name: String,
    stamp: Stamp,
}

impl ArchiveFile {
    fn of(path: PathBuf, stamp: Stamp) -> Self {
        let name = match path.to_str() {
            Some(name) => name.to_owned(),
            None => format!("%{}/{}", Digest::of(path.as_os_str().as_bytes()).hex(), path.to_string_lossy()),
        };
        Self { path, name, stamp }
    }
}

/// The archive that holds an image, and what else was seen while it was looked for.
pub struct FoundArchive {
    pub archive: OldArchive,
    /// Archives that have another image under the same name.
    pub others: Vec<PathBuf>,
    /// An archive that would have been taken before this one, is not older, and could not be read, and why: it may hold a
    /// newer image of this name.
    pub unread_before: Option<(PathBuf, Message)>,
}

/// An archive that was written after an image came into the store, and has another one under that image's name, or may have.
#[derive(Debug, Clone, PartialEq)]
pub struct NewerArchive {
    pub path: PathBuf,
    /// Why it could not be read.
    pub why_unread: Option<Message>,
}

impl ArchiveFolder {
    /// Lists the archives; opens none.
    pub fn open(folder: &Path) -> Result<Self, ImagesError> {
        let mut listed = Listed { files: Vec::new(), entries: 0 };
        listed.list(folder, Path::new(""), 0)?;
        let mut files = listed.files;
        files.sort_by(|one, other| {
            let newer = other.stamp.modified_nanoseconds.cmp(&one.stamp.modified_nanoseconds);
            newer.then_with(|| one.name.cmp(&other.name))
        });
        let memory = Memory::read(folder);
        let (folder, reporter, platform) = (folder.to_owned(), Reporter::default(), Platform::host());
        Ok(Self { folder, files, memory, learned: false, reporter, platform })
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Tells `reporter` when an archive is read through, and stops reading when it is asked to.
    pub fn with_reporter(mut self, reporter: &Reporter) -> Self {
        self.reporter = reporter.clone();
        self
    }

    /// Takes the images for `platform` where an archive has those of several; without this, this machine's.
    pub fn for_platform(self, platform: &Platform) -> Self {
        Self { platform: platform.clone(), ..self }
    }

    /// The newest archive that holds an image under this reference: among those with its name first, then among all.
    /// `unreadable` gets each archive that could not be read on the way, and why.
    pub fn find(
        &mut self,
        reference: &Reference,
        unreadable: &mut Vec<(PathBuf, Message)>,
    ) -> Result<Option<FoundArchive>, ImagesError> {
        let Some(wanted) = engine_name(reference) else {
            return Ok(None);
        };
        let (named, others): (Vec<usize>, Vec<usize>) =
            (0..self.files.len()).partition(|at| is_named_for(&self.files[*at].name, reference));
        let mut found: Option<FoundArchive> = None;
        // What may hold the image, and could not be read before one was found.
        let mut unread: Vec<(usize, Message)> = Vec::new();
        for (at, is_named) in named.into_iter().map(|at| (at, true)).chain(others.into_iter().map(|at| (at, false))) {
            // Once there is one, others are only looked at where that costs nothing.
            if found.is_some() && !is_named && !self.is_cheap(at) {
                continue;
            }
            match self.read(at) {
                Ok(archive) => match (&mut found, archive.image(&wanted).map(|image| image.config_digest.clone())) {
                    (None, Some(_)) => {
                        let unread_before = self.newest_of(std::mem::take(&mut unread), at);
                        found = Some(FoundArchive { archive, others: Vec::new(), unread_before });
                    }
                    (Some(found), Some(id)) => {
                        let same = found.archive.image(&wanted).is_some_and(|image| image.config_digest == id);
                        if !same {
                            found.others.push(archive.path);
                        }
                    }
                    (_, None) => {
                        if let Some(why) = archive.why_damaged(&wanted) {
                            unread.push((at, why.clone()));
                            note_unreadable(unreadable, &archive.path, why);
                        }
                    }
                },
                Err(error @ ImagesError::Interrupted { .. }) => return Err(error),
                Err(error) if error.is_another_kind_of_file() && !is_named => {}
                Err(error) => {
                    let (path, why) = (self.path(at), in_one_line(&error));
                    // A link that leads nowhere holds no image, nor does an archive of other things.
                    if !error.has_only_others() && path.exists() {
                        unread.push((at, why.clone()));
                    }
                    note_unreadable(unreadable, &path, &why);
                }
            }
        }
        Ok(found)
    }

    /// The newest of these that is not older than the archive at `found`.
    fn newest_of(&self, unread: Vec<(usize, Message)>, found: usize) -> Option<(PathBuf, Message)> {
        let written = |at: usize| self.files[at].stamp.modified_nanoseconds;
        let not_older = unread.into_iter().filter(|(at, _)| written(*at) >= written(found));
        not_older.min_by_key(|(at, _)| *at).map(|(at, why)| (self.path(at), why))
    }

    /// The newest archive that was written after `seconds` (since 1970) and has another image under this reference, or
    /// may have: one with its name that nobody has read yet or that can't be read.
    pub fn newer(
        &mut self,
        reference: &Reference,
        seconds: i64,
        is_it: impl Fn(&OldArchive) -> bool,
    ) -> Option<NewerArchive> {
        let wanted = engine_name(reference)?;
        for at in 0..self.files.len() {
            let modified = self.files[at].stamp.modified_nanoseconds / 1_000_000_000;
            if i64::try_from(modified).is_ok_and(|modified| modified <= seconds) {
                return None;
            }
            let is_named = is_named_for(&self.files[at].name, reference);
            let may_differ = match self.is_cheap(at) {
                false => is_named.then_some(None),
                true => match self.read(at) {
                    Ok(archive) => match archive.image(&wanted) {
                        Some(_) => (!is_it(&archive)).then_some(None),
                        None => archive.why_damaged(&wanted).cloned().map(Some),
                    },
                    Err(ImagesError::Interrupted { .. }) => None,
                    Err(error) => (is_named && !error.has_only_others()).then(|| Some(in_one_line(&error))),
                },
            };
            if let Some(why_unread) = may_differ {
                return Some(NewerArchive { path: self.path(at), why_unread });
            }
        }
        None
    }

    /// What one file of the folder holds; `None` where there is none or it can't be read.
    pub fn read_file(&mut self, path: &Path) -> Option<OldArchive> {
        let at = (0..self.files.len()).find(|at| self.path(*at) == path)?;
        self.read(at).ok()
    }

    /// Whether there is an archive that is named like this reference's.
    pub fn has_named(&self, reference: &Reference) -> bool {
        self.files.iter().any(|file| is_named_for(&file.name, reference))
    }

    /// Lists the folder again, with all that is known of its archives.
    pub fn list_again(&self) -> Result<Self, ImagesError> {
        let listed = Self::open(&self.folder)?;
        let (reporter, platform) = (self.reporter.clone(), self.platform.clone());
        Ok(Self { memory: self.memory.clone(), learned: self.learned, reporter, platform, ..listed })
    }

    /// What each archive of the folder holds, or why that can't be said; newest first.
    pub fn read_all(&mut self) -> Vec<(PathBuf, Result<OldArchive, ImagesError>)> {
        (0..self.files.len()).map(|at| (self.path(at), self.read(at))).collect()
    }

    fn path(&self, at: usize) -> PathBuf {
        self.folder.join(&self.files[at].path)
    }

    /// Whether an archive's documents are known, or can be had without unpacking all of it.
    fn is_cheap(&self, at: usize) -> bool {
        let ArchiveFile { name, stamp, .. } = &self.files[at];
        self.memory.get(name, stamp, &self.platform).is_some()
            || (name.ends_with(".tar") && matches!(super::open(&self.path(at)), Ok(OpenArchive::Raw(_))))
    }

    fn read(&mut self, at: usize) -> Result<OldArchive, ImagesError> {
        let ArchiveFile { path, name, stamp } = &self.files[at];
        let path = self.folder.join(path);
        match self.memory.get(name, stamp, &self.platform) {
            Some(Known::Images { images, damaged, has_other_platforms }) => {
                return Ok(OldArchive { path, images, damaged, has_other_platforms });
            }
            Some(Known::Unusable(Unusable { why, is_another_kind, has_only_others })) => {
                return Err(ImagesError::UnusableArchive { path, why, is_another_kind, has_only_others });
            }
            None => {}
        }
        let subject = path.display().to_string();
        let failed = |source| ImagesError::file(message!("verb-read"), &path, source);
        let meter = self.reporter.meter(Activity::ReadArchive, &subject, Some(stamp.size_bytes));
        let opened = open_watched(&path, Some(meter)).map_err(failed)?;
        let takes_long = matches!(opened, OpenArchive::Packed(_));
        if takes_long {
            self.reporter.began(Activity::ReadArchive, &subject, Some(stamp.size_bytes));
        }
        let read = OldArchive::read_opened(&path, opened, &self.platform);
        if takes_long {
            match &read {
                Ok(archive) => {
                    let message = message!("archive-read", images = archive.images.len());
                    self.reporter.done(Activity::ReadArchive, &subject, message);
                }
                Err(_) if self.reporter.asked_to_stop() => {
                    self.reporter.failed(Activity::ReadArchive, &subject, &ImagesError::Stopped);
                }
                Err(error) => self.reporter.failed(Activity::ReadArchive, &subject, error),
            }
        }
        let (name, stamp) = (name.clone(), *stamp);
        match read {
            Ok(archive) => {
                self.learned |= self.memory.add(&name, stamp, &self.platform, &archive);
                Ok(archive)
            }
            Err(_) if self.reporter.asked_to_stop() => Err(ImagesError::Interrupted { done: 0, all: 1 }),
            Err(error) => {
                // What the disk did may be another thing the next time; what the file holds stays so.
                if let ImagesError::Archive { source, .. } = &error
                    && source.is_about_content()
                {
                    let is_another_kind = error.is_another_kind_of_file();
                    let has_only_others = error.has_only_others();
                    let unusable = Unusable { why: in_one_line(source), is_another_kind, has_only_others };
                    self.memory.add_unusable(&name, stamp, &self.platform, unusable);
                    self.learned = true;
                }
                Err(error)
            }
        }
    }

    /// Whether an archive had to be read.
    #[cfg(test)]
    pub fn has_learned(&self) -> bool {
        self.learned
    }

    /// Writes down what was learned.
    pub fn remember(self) {
        if self.learned {
            let is_present = |name: &str| self.files.iter().any(|file| file.name == name);
            self.memory.write(&self.folder, is_present);
        }
    }
}

struct Listed {
    files: Vec<ArchiveFile>,
    entries: usize,
}

impl Listed {
    /// Lists what lies in a folder and below it; a folder that is a layout of its own holds only blobs.
    fn list(&mut self, folder: &Path, below: &Path, depth: usize) -> Result<(), ImagesError> {
        let failed = |source| ImagesError::file(message!("verb-list"), folder, source);
        let listed = match fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Somebody else's folder below ours: it is not ours to read.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for file in listed {
            let file = file.map_err(failed)?;
            self.entries += 1;
            let below = below.join(file.file_name());
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || self.entries > ENTRIES_LIMIT {
                continue;
            }
            let path = file.path();
            if file.file_type().map_err(failed)?.is_dir() {
                let is_layout = (depth == 0 && name == "blobs") || path.join(LAYOUT_FILE).exists();
                if depth < DEPTH_LIMIT && !is_layout {
                    self.list(&path, &below, depth + 1)?;
                }
            } else if SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
                && let Some(stamp) = stamp(&path)
            {
                self.files.push(ArchiveFile::of(below, stamp));
            }
        }
        Ok(())
    }
}

/// Adds an archive that could not be read, each once.
fn note_unreadable(unreadable: &mut Vec<(PathBuf, Message)>, path: &Path, why: &Message) {
    if !unreadable.iter().any(|(known, _)| known == path) {
        unreadable.push((path.to_owned(), why.clone()));
    }
}

fn is_named_for(file: &str, reference: &Reference) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let stem = name.strip_prefix(&archive_name(reference));
    stem.is_some_and(|rest| SUFFIXES.contains(&rest))
}

/// `None` for what is not a file. A link that can't be followed (a loop, a folder of somebody else's) stands for itself: who
/// reads it is told why it can't be read, and the others are read.
fn stamp(path: &Path) -> Option<Stamp> {
    match fs::metadata(path) {
        Ok(metadata) => metadata.is_file().then(|| Stamp::of(&metadata).ok()).flatten(),
        // A link that leads nowhere, or a file that was there a moment ago.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Stamp::of(&fs::symlink_metadata(path).ok()?).ok(),
    }
}
