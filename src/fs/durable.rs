//! Replacing files so that a reader, or a machine that lost power, sees the old one or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

/// Who may read a file that `dpl` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 0600: it holds, or may hold, secrets.
    Private,
    /// 0644, less the umask.
    Shared,
    /// 0660, whatever the umask, for this group; without one, or where it can't be given, for the writer's own.
    Group(Option<u32>),
}

/// A file that appears under its name only when [`DurableFile::commit`] has made it safe on disk; dropped before
/// that, it leaves nothing behind.
pub struct DurableFile {
    file: File,
    temporary: TempPath,
    target: PathBuf,
}

impl DurableFile {
    /// Starts a file beside `target`, in the same folder, so that the rename can't cross file systems.
    ///
    /// The temporary name begins with `.dpl-tmp-`: whoever cleans up after a crash knows it by that.
    pub fn create(target: &Path, mode: Mode) -> io::Result<Self> {
        Self::create_named(target, mode, ".dpl-tmp-")
    }

    fn create_named(target: &Path, mode: Mode, prefix: &str) -> io::Result<Self> {
        let folder = folder_of(target);
        let bits = match mode {
            Mode::Private => 0o600,
            Mode::Shared => 0o644,
            Mode::Group(_) => 0o660,
        };
        // The builder's own permissions pass through the umask, as files of any other program do.
        let named = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(fs::Permissions::from_mode(bits))
            .tempfile_in(folder)?;
        let (file, temporary) = named.into_parts();
        if let Mode::Group(group) = mode {
            // Only a member may give a file to a group.
            let _ = group.map(|group| std::os::unix::fs::fchown(&file, None, Some(group)));
            file.set_permissions(fs::Permissions::from_mode(bits))?;
        }
        Ok(Self { file, temporary, target: target.to_owned() })
    }

    /// As [`DurableFile::create`] for a file in a folder that nobody cleans up: unfinished ones have names that begin
    /// with `mark`, and those that killed programs left under it are removed. A lock tells which are still written.
    pub fn create_marked(target: &Path, mode: Mode, mark: &str) -> io::Result<Self> {
        for entry in fs::read_dir(folder_of(target))? {
            let entry = entry?;
            let is_marked = entry.file_name().as_encoded_bytes().starts_with(mark.as_bytes());
            if is_marked && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
                // Whoever can't remove it can still write beside it.
                let _ = fs::remove_file(entry.path());
            }
        }
        let file = Self::create_named(target, mode, mark)?;
        // Where locks are not to be had, it is only left lying when its writer is killed.
        let _ = file.file.try_lock();
        Ok(file)
    }

    /// The open file, for writers that need it whole.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where the bytes lie until the commit.
    pub fn temporary_path(&self) -> &Path {
        &self.temporary
    }

    /// Syncs the file, gives it its name and syncs the folder.
    pub fn commit(self) -> io::Result<()> {
        let target = self.target.clone();
        self.commit_as(&target)
    }

    /// As [`DurableFile::commit`], under a name that was known only once the content was (a digest, say). It must
    /// lie on the same file system.
    pub fn commit_as(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        crate::failpoint!("fs.durable.before-rename");
        self.temporary.persist(target).map_err(|error| error.error)?;
        crate::failpoint!("fs.durable.after-rename");
        sync_dir(folder_of(target))
    }
}

impl Write for DurableFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Replaces `path` by `bytes`, durably.
pub fn write_durably(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let mut file = DurableFile::create(path, mode)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Makes a folder and those above it, and syncs the folder that each was made in.
pub fn create_dir_durably(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir_durably(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(folder_of(path)),
    }
}

/// Makes renames and removals in a folder durable.
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    let opened =
        OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::DIRECTORY.bits() as i32).open(folder)?;
    match opened.sync_all() {
        // Some network file systems can't sync a folder; the rename itself is all that they offer.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_file_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("index.json");
        write_durably(&target, b"old", Mode::Shared).unwrap();
        let mut file = DurableFile::create(&target, Mode::Shared).unwrap();
        file.write_all(b"half of the new").unwrap();
        drop(file);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn private_files_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("secret");
        write_durably(&target, b"x", Mode::Private).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
