//! Replacing files so that a reader, or a machine that lost power, sees the old one or the new one, never a part.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
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

/// What becomes of what has a file's name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replaced,
    Refused,
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
    /// The temporary name begins with [`TEMPORARY_MARK`]: cleaning up after a crash finds it by that.
    pub fn create(target: &Path, mode: Mode) -> io::Result<Self> {
        Self::create_named(target, mode, TEMPORARY_MARK)
    }

    fn create_named(target: &Path, mode: Mode, prefix: &str) -> io::Result<Self> {
        let folder = folder_of(target);
        let bits = match mode {
            Mode::Private => 0o600,
            Mode::Shared => 0o644,
            Mode::Group(_) => 0o660,
        };
        // What the system says, without the path of the unfinished file, which nobody knows.
        let mut refused = None;
        let named = tempfile::Builder::new()
            .prefix(prefix)
            .make_in(folder, |path| {
                // The mode passes through the umask, as that of any other program's files does.
                let file = OpenOptions::new().read(true).write(true).create_new(true).mode(bits).open(path);
                file.inspect_err(|error| refused = error.raw_os_error())
            })
            .map_err(|error| refused.map_or(error, io::Error::from_raw_os_error))?;
        let (file, temporary) = named.into_parts();
        if let Mode::Group(group) = mode {
            // Only a member may give a file to a group.
            let _ = group.map(|group| std::os::unix::fs::fchown(&file, None, Some(group)));
            set_mode(&file, bits)?;
        }
        Ok(Self { file, temporary, target: target.to_owned() })
    }

    /// As [`DurableFile::create`] for a file in a folder that nobody cleans up: unfinished ones have names that begin
    /// with `mark`, and those that killed programs left under it are removed. A lock tells which are still written.
    pub fn create_marked(target: &Path, mode: Mode, mark: &str) -> io::Result<Self> {
        remove_leftovers(folder_of(target), mark);
        for _ in 0..MARKED_TRIES {
            let file = Self::create_named(target, mode, mark)?;
            match file.file.try_lock() {
                // Another process that looks for leftovers took it for one before it was locked.
                Err(TryLockError::WouldBlock) => {}
                Ok(()) if !is_at(&file.file, &file.temporary) => {}
                // Where locks are not to be had, it is only left lying when its writer is killed.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
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
        self.name(target, Existing::Replaced)
    }

    /// As [`DurableFile::commit`], and an error of the kind `AlreadyExists` where anything has its name: a link that leads
    /// nowhere too.
    pub fn commit_new(self) -> io::Result<()> {
        let target = self.target.clone();
        self.name(&target, Existing::Refused)
    }

    fn name(self, target: &Path, existing: Existing) -> io::Result<()> {
        self.file.sync_all()?;
        crate::failpoint!("fs.durable.before-rename");
        let named = match existing {
            Existing::Replaced => self.temporary.persist(target),
            Existing::Refused => self.temporary.persist_noclobber(target),
        };
        named.map_err(|error| error.error)?;
        crate::failpoint!("fs.durable.after-rename");
        match sync_dir(folder_of(target)) {
            // A folder that one may write to and not list (a drop box) can't be opened; its file system can be synced.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(rustix::fs::syncfs(&self.file)?),
            synced => synced,
        }
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

/// What the names of unfinished files begin with.
pub const TEMPORARY_MARK: &str = ".dpl-tmp-";

/// How often a file is begun under another name when somebody takes it for a leftover.
const MARKED_TRIES: u32 = 100;

/// Replaces `path` by `bytes`, durably.
pub fn write_durably(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let mut file = DurableFile::create(path, mode)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Writes `bytes` to a file that is not there yet, durably: nothing is replaced, as [`DurableFile::commit_new`] says.
pub fn write_new_durably(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let mut file = DurableFile::create(path, mode)?;
    file.write_all(bytes)?;
    file.commit_new()
}

/// As [`write_durably`], in a folder that has no other writers of [`DurableFile::create`], and that nobody else cleans up:
/// what killed processes left there unfinished is removed.
pub fn write_durably_alone(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let mut file = DurableFile::create_marked(path, mode, TEMPORARY_MARK)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Gives a file of ours its mode, as far as its file system knows such: FAT and some network shares do not, and others say
/// that the file is somebody else's. Its name is not looked up again: in a folder that others write to, another file may have
/// it by now.
pub fn set_mode(file: &File, bits: u32) -> io::Result<()> {
    let set = match crate::failpoint::pretends("fs.no-modes") {
        true => Err(io::ErrorKind::Unsupported.into()),
        false => file.set_permissions(fs::Permissions::from_mode(bits)),
    };
    match set {
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => Ok(()),
        set => set,
    }
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
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits() as i32).open(folder)?;
    match opened.sync_all() {
        // Some network file systems can't sync a folder; the rename itself is all that they offer.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

/// Removes what killed programs left in a folder of any kind: other users' pipes and links may have such names too.
/// What can't be listed or removed stays: a file can be written beside it.
fn remove_leftovers(folder: &Path, mark: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let marked = entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(mark.as_bytes()));
    // A pipe would be waited for: only what is listed as a regular file is opened, and nothing else in its place.
    for entry in marked.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
        let path = entry.path();
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path);
        let Ok(file) = opened else { continue };
        // The lock is held until it is gone.
        if file.try_lock().is_ok() && is_at(&file, &path) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether an open file is the one that lies at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(opened), Ok(found)) => (opened.dev(), opened.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

pub(super) fn folder_of(path: &Path) -> &Path {
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
    fn a_new_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write_new_durably(&file, b"first", Mode::Private).unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for path in [&file, &link] {
            let error = write_new_durably(path, b"second", Mode::Private).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&file).unwrap(), b"first");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("nowhere"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else_is_touched_or_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path(".mark-left"), b"x").unwrap();
        fs::write(path("kept"), b"x").unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path(".mark-pipe"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        std::os::unix::fs::symlink("kept", path(".mark-link")).unwrap();
        let first = DurableFile::create_marked(&path("first"), Mode::Shared, ".mark-").unwrap();
        let mut second = DurableFile::create_marked(&path("second"), Mode::Shared, ".mark-").unwrap();
        second.write_all(b"whole").unwrap();
        first.commit().unwrap();
        second.commit().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".mark-link", ".mark-pipe", "first", "kept", "second"]);
        assert_eq!(fs::read(path("second")).unwrap(), b"whole");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_no_unfinished_file() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            DurableFile::create_marked(&folder.path().join("gone/x.tar"), Mode::Shared, ".mark-").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(".mark-"), "{error}");
    }

    #[test]
    fn a_file_that_a_killed_writer_left_goes_with_the_next_write_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut left = DurableFile::create(&folder.path().join("record"), Mode::Private).unwrap();
        left.write_all(b"half").unwrap();
        let DurableFile { temporary, .. } = left;
        temporary.keep().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_durably_alone(&folder.path().join("record"), b"whole", Mode::Private).unwrap();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["record"]);
    }

    /// Cleaners and writers in one folder at once.
    #[test]
    fn a_file_that_has_just_been_begun_is_not_taken_for_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let threads = (0..4).map(|thread| {
            let target = folder.path().join(format!("file-{thread}"));
            std::thread::spawn(move || {
                for _ in 0..200 {
                    DurableFile::create_marked(&target, Mode::Shared, ".mark-").unwrap().commit().unwrap();
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_folder_that_its_file_system_does_not_sync_is_no_failure() {
        // As some network file systems, proc has no fsync for folders.
        let proc = Path::new("/proc");
        assert_eq!(File::open(proc).unwrap().sync_all().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        sync_dir(proc).unwrap();
    }

    #[test]
    fn a_file_is_given_its_mode_whatever_has_its_name_by_now() {
        let folder = tempfile::tempdir().unwrap();
        let (name, other) = (folder.path().join("begun"), folder.path().join("other"));
        let file = File::create(&name).unwrap();
        fs::write(&other, b"secret").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink(&other, &name).unwrap();
        set_mode(&file, 0o660).unwrap();
        let mode = |metadata: fs::Metadata| metadata.permissions().mode() & 0o777;
        assert_eq!(mode(fs::metadata(&other).unwrap()), 0o600);
        assert_eq!(mode(file.metadata().unwrap()), 0o660);
    }

    #[test]
    fn private_files_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("secret");
        write_durably(&target, b"x", Mode::Private).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
