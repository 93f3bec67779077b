//! A delivery on its way: copied beside the target, verified by digest, with its owners and permissions, safe on the disk. What does
//! not change is linked, not copied.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, XattrFlags};

use super::error::FilesError;
use super::paths::Places;
use super::plan::{FolderPlan, Origin, Placed};
use super::tree::{Entry, Kind, Tree, open_itself};
use crate::fs::{Digest, Disk, HashingReader, create_dir_durably, sync_dir};
use crate::manifest::model::Owner;
use crate::report::{Activity, Meter, Reporter};

/// What is staged from where.
pub struct Staging<'a> {
    pub name: &'a str,
    pub plan: &'a FolderPlan,
    pub source: (&'a Path, &'a Tree),
    /// What lies in the target now, or under the name that it had before.
    pub present: Option<(&'a Path, &'a Tree)>,
    pub places: &'a Places,
    pub reporter: &'a Reporter,
}

/// How much is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The whole folder as it will be.
    Whole,
    /// What is added or changed, for a target that can't be renamed.
    Changes,
}

impl Staging<'_> {
    /// Stages it. What was staged before is removed.
    ///
    /// # Errors
    /// What can't be read or written, a source or a target that changed, a full disk, and a request to stop; nothing is left then.
    pub fn stage(&self, extent: Extent) -> Result<(), FilesError> {
        let home = &self.places.home;
        create_dir_durably(home).map_err(FilesError::file(home))?;
        remove_all(&self.places.staged)?;
        let needed = self.plan.copied_bytes;
        if let Some(Disk { free_bytes: free, .. }) = Disk::of(home).filter(|disk| disk.free_bytes < needed) {
            return Err(FilesError::NoSpace { path: home.clone(), needed, free });
        }
        self.reporter.began(Activity::StageFiles, self.name, Some(needed));
        let staged = self.stage_all(extent);
        match &staged {
            Ok(()) => self.reporter.done(Activity::StageFiles, self.name, message!("files-staged")),
            Err(error) => {
                self.reporter.failed(Activity::StageFiles, self.name, error);
                // What is left is removed by the next apply.
                let _ = remove_all(&self.places.staged);
            }
        }
        staged
    }

    fn stage_all(&self, extent: Extent) -> Result<(), FilesError> {
        let mut meter = self.reporter.meter(Activity::StageFiles, self.name, Some(self.plan.copied_bytes));
        let mut folders: Vec<(&Path, &Placed)> = Vec::new();
        for (path, placed) in &self.plan.result {
            if self.reporter.asked_to_stop() {
                return Err(FilesError::Stopped);
            }
            let at = self.staged(path);
            match (placed.is_folder, placed.origin) {
                (true, _) => {
                    fs::create_dir(&at).map_err(FilesError::file(&at))?;
                    folders.push((path.as_path(), placed));
                }
                (false, Origin::Delivered) => self.copy(path, placed, &at, &mut meter)?,
                (false, Origin::Present) if extent == Extent::Whole => self.link(path, &at)?,
                (false, Origin::Present) => {}
            }
            crate::failpoint!("files.stage.after-entry");
        }
        // The innermost first: a folder that may not be written to takes no more files.
        for (path, placed) in folders.iter().rev() {
            let at = self.staged(path);
            if placed.origin == Origin::Present
                && let Some((present, _)) = self.present
            {
                copy_attributes(&present.join(path), &at);
            }
            own(&at, placed.owner)?;
            fs::set_permissions(&at, fs::Permissions::from_mode(placed.mode)).map_err(FilesError::file(&at))?;
        }
        let staged = &self.places.staged;
        crate::failpoint!("files.stage.before-sync");
        // One call for all of it: a call for each of many small files takes minutes.
        let synced = open_folder(staged).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
        synced.and_then(|()| sync_dir(&self.places.home)).map_err(FilesError::file(staged))
    }

    /// Where a path lies in what is staged.
    fn staged(&self, path: &Path) -> PathBuf {
        match path.as_os_str().is_empty() {
            true => self.places.staged.clone(),
            false => self.places.staged.join(path),
        }
    }

    /// Copies a file or a link of the delivery.
    fn copy(&self, path: &Path, placed: &Placed, at: &Path, meter: &mut Meter) -> Result<(), FilesError> {
        let (root, tree) = self.source;
        let from = root.join(path);
        let changed = || FilesError::SourceChanged { path: from.clone() };
        let entry = tree.get(path).ok_or_else(changed)?;
        match &entry.kind {
            Kind::Link(to) => {
                symlink(to, at).map_err(FilesError::file(at))?;
                return own(at, placed.owner);
            }
            Kind::File => {}
            Kind::Folder | Kind::Other => return Err(FilesError::Special { path: from }),
        }
        let file = open_itself(&from).map_err(|error| match error.kind() {
            ErrorKind::NotFound => FilesError::SourceChanged { path: from.clone() },
            _ => FilesError::file(&from)(error),
        })?;
        let digest = self.copy_bytes(&file, (from.as_path(), at), placed.mode, meter)?;
        if entry.digest.as_ref() != Some(&digest) {
            return Err(changed());
        }
        own(at, placed.owner)?;
        // The owner first: a change of owner takes bits of the mode away.
        fs::set_permissions(at, fs::Permissions::from_mode(placed.mode)).map_err(FilesError::file(at))
    }

    /// Copies an open file; gives the digest of what was read.
    fn copy_bytes(
        &self,
        file: &File,
        (from, at): (&Path, &Path),
        mode: u32,
        meter: &mut Meter,
    ) -> Result<Digest, FilesError> {
        let modified = file.metadata().and_then(|metadata| metadata.modified()).map_err(FilesError::file(from))?;
        // Nobody reads it before it has its owner.
        let mut options = OpenOptions::new();
        let created = options.write(true).create_new(true).mode(mode & 0o700).open(at);
        let mut target = created.map_err(FilesError::file(at))?;
        let mut reader = HashingReader::new(meter.over(file));
        let copied = io::copy(&mut reader, &mut target);
        if self.reporter.asked_to_stop() {
            return Err(FilesError::Stopped);
        }
        copied.map_err(FilesError::file(at))?;
        let (_, digest, _) = reader.finish();
        target.set_times(FileTimes::new().set_modified(modified)).map_err(FilesError::file(at))?;
        Ok(digest)
    }

    /// Gives what lies in the target now a second name; copies it where that can't be.
    fn link(&self, path: &Path, at: &Path) -> Result<(), FilesError> {
        let Some((root, tree)) = self.present else { return Ok(()) };
        let from = root.join(path);
        let changed = || FilesError::TargetChanged { name: self.name.to_owned(), path: root.to_owned() };
        let entry = tree.get(path).ok_or_else(changed)?;
        let linked = match crate::failpoint::pretends("files.no-links") {
            true => Err(ErrorKind::Unsupported.into()),
            false => fs::hard_link(&from, at),
        };
        match linked {
            // Somebody who may write to the target could put a link to elsewhere in place of a folder of it meanwhile.
            Ok(()) => match fs::symlink_metadata(at).map(|metadata| entry.stamp.is_of(&metadata)) {
                Ok(true) => Ok(()),
                Ok(false) => Err(changed()),
                Err(error) => Err(FilesError::file(at)(error)),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Err(changed()),
            // File systems without links, files of others (fs.protected_hardlinks), and inodes with too many links.
            Err(_) => match copy_as_it_is(&from, at, entry) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => Err(changed()),
                copied => copied.map_err(FilesError::file(at)),
            },
        }
    }
}

/// Copies what lies at a path with all that is known of it; [`ErrorKind::InvalidInput`] where another file lies there by now.
pub fn copy_as_it_is(from: &Path, at: &Path, entry: &Entry) -> io::Result<()> {
    match &entry.kind {
        Kind::Link(to) => {
            symlink(to, at)?;
            return lchown(at, Some(entry.owner.user), Some(entry.owner.group));
        }
        Kind::File => {
            let mut file = open_itself(from)?;
            if !entry.stamp.is_of(&file.metadata()?) {
                return Err(ErrorKind::InvalidInput.into());
            }
            let mut target = OpenOptions::new().write(true).create_new(true).mode(entry.mode & 0o700).open(at)?;
            io::copy(&mut file, &mut target)?;
            target.set_times(FileTimes::new().set_modified(file.metadata()?.modified()?))?;
        }
        Kind::Folder | Kind::Other => return Err(ErrorKind::Unsupported.into()),
    }
    copy_attributes(from, at);
    let metadata = fs::symlink_metadata(at)?;
    if (metadata.uid(), metadata.gid()) != (entry.owner.user, entry.owner.group) {
        lchown(at, Some(entry.owner.user), Some(entry.owner.group))?;
    }
    fs::set_permissions(at, fs::Permissions::from_mode(entry.mode))
}

/// Gives what was just made to its owner, unless it is theirs already.
pub fn own(at: &Path, owner: Option<Owner>) -> Result<(), FilesError> {
    let Some(owner) = owner else { return Ok(()) };
    let metadata = fs::symlink_metadata(at).map_err(FilesError::file(at))?;
    if (metadata.uid(), metadata.gid()) == (owner.user, owner.group) {
        return Ok(());
    }
    lchown(at, Some(owner.user), Some(owner.group)).map_err(|source| match source.kind() {
        ErrorKind::PermissionDenied => FilesError::Owner { path: at.to_owned(), owner, source },
        _ => FilesError::file(at)(source),
    })
}

/// The most that the kernel gives of names or of one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` of xattr(7)).
const LARGEST_ATTRIBUTES: usize = 64 << 10;

/// Copies extended attributes, access control lists and labels among them, as far as the file system and the user's rights allow.
pub fn copy_attributes(from: &Path, at: &Path) {
    let mut names = vec![0_u8; LARGEST_ATTRIBUTES];
    let Ok(length) = rustix::fs::llistxattr(from, &mut names) else { return };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; LARGEST_ATTRIBUTES];
        if let Ok(length) = rustix::fs::lgetxattr(from, name, &mut value) {
            let _ = rustix::fs::lsetxattr(at, name, &value[..length], XattrFlags::empty());
        }
    }
}

/// Opens a folder itself, for calls that take one; a link to one is refused.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

/// Lets the owner of a folder and of those below it remove what is in them.
fn make_writable(folder: &Path) -> io::Result<()> {
    let mode = fs::symlink_metadata(folder)?.mode() & 0o7777;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes what lies at a path and everything below it; nothing may lie there.
///
/// # Errors
/// What can't be removed.
pub fn remove_all(path: &Path) -> Result<(), FilesError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => match fs::remove_dir_all(path) {
            // Deliveries may have folders that nobody but root may write to.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                make_writable(path).and_then(|()| fs::remove_dir_all(path))
            }
            removed => removed,
        },
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FilesError::file(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_another_one_by_now_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/file"), "mine").unwrap();
        let entry = Entry::at(&path("sub/file")).unwrap();
        copy_as_it_is(&path("sub/file"), &path("first"), &entry).unwrap();
        assert_eq!(fs::read_to_string(path("first")).unwrap(), "mine");
        // A folder on the way becomes a link to one that others may not read.
        fs::rename(path("sub"), path("aside")).unwrap();
        fs::create_dir(path("secret")).unwrap();
        fs::write(path("secret/file"), "secret").unwrap();
        symlink("secret", path("sub")).unwrap();
        let refused = copy_as_it_is(&path("sub/file"), &path("second"), &entry).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(!path("second").exists());
    }
}
