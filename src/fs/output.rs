//! Files that a command writes where the user says.
//!
//! What lies there is looked at first. A regular file is replaced as a whole, a link is followed, and what is neither
//! (a pipe, a device, a terminal) is written into and never replaced: a rename over `/dev/null` would break the machine.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::durable::{DurableFile, Mode, folder_of};
use crate::catalogue::io_error;

/// How an output comes to be.
pub struct OutputOptions<'a> {
    /// Who may read a new file.
    pub mode: Mode,
    /// What unfinished files are called at the beginning (see [`DurableFile::create_marked`]).
    pub mark: &'a str,
    /// Whether to stop waiting for a pipe's reader.
    pub gives_up: &'a dyn Fn() -> bool,
}

/// An output while it is written.
pub enum Output {
    /// It appears under its name at the [`Output::commit`], and leaves nothing behind without one.
    File(DurableFile),
    /// A pipe or a device, which has what was written so far.
    Stream(File),
}

/// What lies where an output is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputTarget {
    /// Nothing yet; the path is the one at the end of all links.
    New(PathBuf),
    /// A regular file, at the end of all links. It will be replaced.
    Existing(PathBuf),
    /// Something that is written into.
    Stream(PathBuf, StreamKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    Fifo,
    BlockDevice,
    /// A character device, a terminal, a socket.
    Other,
    /// A file that this process has open already (`/dev/stdout` behind `>`): others write to it as well, so that it is
    /// neither replaced nor cut.
    OpenFile,
}

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// How often a pipe without a reader is tried.
const READER_INTERVAL: Duration = Duration::from_millis(50);

impl OutputTarget {
    /// Looks at a path; follows links, those that lead to nothing yet as well.
    pub fn of(path: &Path) -> io::Result<Self> {
        // The kernel's own rules about links in other people's folders (fs.protected_symlinks) hold here too.
        let kind = match fs::metadata(path) {
            Ok(found) => Some(found.file_type()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (end, is_descriptor) = end_of_links(path)?;
        match kind {
            None => Ok(Self::New(end)),
            Some(kind) if kind.is_dir() => Err(io_error(ErrorKind::IsADirectory, message!("read-folder"))),
            Some(kind) if kind.is_file() && is_descriptor => Ok(Self::Stream(path.to_owned(), StreamKind::OpenFile)),
            Some(kind) if kind.is_file() => Ok(Self::Existing(end)),
            Some(kind) => Ok(Self::Stream(path.to_owned(), StreamKind::of(kind))),
        }
    }

    fn open(self, options: &OutputOptions) -> io::Result<Output> {
        match self {
            Self::New(path) | Self::Existing(path) => {
                DurableFile::create_marked(&path, options.mode, options.mark).map(Output::File)
            }
            Self::Stream(path, kind) => kind.open(&path, options.gives_up).map(Output::Stream),
        }
    }
}

impl StreamKind {
    fn of(kind: FileType) -> Self {
        match kind {
            _ if kind.is_fifo() => Self::Fifo,
            _ if kind.is_block_device() => Self::BlockDevice,
            _ => Self::Other,
        }
    }

    fn open(self, path: &Path, gives_up: &dyn Fn() -> bool) -> io::Result<File> {
        let opened = |flags: OFlags| {
            // A terminal does not become this process's own.
            let flags = flags | OFlags::NOCTTY;
            OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(path)
        };
        match self {
            Self::Other => opened(OFlags::empty()),
            Self::OpenFile => opened(OFlags::APPEND),
            // EXCL: fails where it is mounted (open(2)).
            Self::BlockDevice => opened(OFlags::EXCL),
            Self::Fifo => loop {
                // Without a reader a plain open would wait where no interrupt reaches it.
                match opened(OFlags::NONBLOCK) {
                    Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {}
                    Err(error) => return Err(error),
                    Ok(file) => {
                        rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
                        return Ok(file);
                    }
                }
                if gives_up() {
                    return Err(ErrorKind::Interrupted.into());
                }
                std::thread::sleep(READER_INTERVAL);
            },
        }
    }
}

/// Where the links end, and whether the last one is a descriptor of a process (`/proc/self/fd/1`).
fn end_of_links(path: &Path) -> io::Result<(PathBuf, bool)> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            // It is no link (EINVAL), or there is nothing.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok((path, false));
            }
            Err(error) => return Err(error),
            Ok(target) => {
                let folder = folder_of(&path).canonicalize()?;
                if folder.starts_with("/proc") && folder.ends_with("fd") {
                    return Ok((path, true));
                }
                path = folder.join(target);
            }
        }
    }
    Err(Errno::LOOP.into())
}

/// The path at the end of all links, whether or not there is something; for outputs that are folders.
///
/// # Errors
/// Links that go in a circle or may not be followed.
pub fn follow_links(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => end_of_links(path).map(|(end, _)| end),
    }
}

impl Output {
    /// Opens what lies at `path`, or starts a new file.
    ///
    /// # Errors
    /// As opening it. A folder is an error, a device that is mounted, and links that go in a circle.
    /// [`ErrorKind::Interrupted`] where it was given up.
    pub fn create(path: &Path, options: &OutputOptions) -> io::Result<Self> {
        OutputTarget::of(path)?.open(options)
    }

    /// All is written: a file gets its name.
    pub fn commit(self) -> io::Result<()> {
        match self {
            Self::File(file) => file.commit(),
            Self::Stream(file) => match file.sync_all() {
                // Pipes and most devices have nothing to sync.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
                synced => synced,
            },
        }
    }
}

impl Write for Output {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(buffer),
            Self::Stream(file) => file.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(file) => file.flush(),
        }
    }
}

/// Writes `bytes` to `path`, by the same rules.
pub fn write_output(path: &Path, bytes: &[u8], options: &OutputOptions) -> io::Result<()> {
    let mut output = Output::create(path, options)?;
    output.write_all(bytes)?;
    output.commit()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::{CWD, makedev, mknodat};

    use super::*;

    fn written(path: &Path) -> io::Result<()> {
        let options = OutputOptions { mode: Mode::Shared, mark: ".dpl-test-", gives_up: &|| true };
        write_output(path, b"new", &options)
    }

    fn make(path: &Path, kind: rustix::fs::FileType, device: u64) {
        mknodat(CWD, path, kind, rustix::fs::Mode::from_bits_truncate(0o600), device).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_is_followed_whether_or_not_there_is_something_at_its_end() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        fs::write(there.path().join("old"), b"old").unwrap();
        for name in ["old", "not-yet"] {
            let (second, first) = (here.path().join(format!("{name}-2")), here.path().join(name));
            symlink(there.path().join(name), &second).unwrap();
            symlink(second.file_name().unwrap(), &first).unwrap();
            assert_eq!(follow_links(&first).unwrap(), there.path().join(name));
            written(&first).unwrap();
            assert_eq!(fs::read(there.path().join(name)).unwrap(), b"new", "{name}");
            assert!(fs::symlink_metadata(&first).unwrap().is_symlink());
        }
        assert_eq!(names(there.path()), ["not-yet", "old"]);
        assert_eq!(names(here.path()), ["not-yet", "not-yet-2", "old", "old-2"]);
        symlink("circle", here.path().join("circle")).unwrap();
        assert!(written(&here.path().join("circle")).is_err());
        symlink("nowhere/file", here.path().join("lost")).unwrap();
        assert_eq!(written(&here.path().join("lost")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_device_is_written_into_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let null = folder.path().join("null");
        make(&null, rustix::fs::FileType::CharacterDevice, makedev(1, 3));
        let before = fs::metadata(&null).unwrap();
        written(&null).unwrap();
        symlink(&null, folder.path().join("link")).unwrap();
        written(&folder.path().join("link")).unwrap();
        let after = fs::symlink_metadata(&null).unwrap();
        assert_eq!((after.rdev(), after.ino()), (before.rdev(), before.ino()));
        assert_eq!(names(folder.path()), ["link", "null"]);
    }

    #[test]
    fn a_pipe_gets_all_bytes_and_a_wait_for_its_reader_can_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        make(&pipe, rustix::fs::FileType::Fifo, 0);
        assert_eq!(written(&pipe).unwrap_err().kind(), ErrorKind::Interrupted);
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        let options = OutputOptions { mode: Mode::Shared, mark: ".dpl-test-", gives_up: &|| false };
        // More than a pipe holds: it must wait for the reader in the middle.
        write_output(&pipe, &vec![7; 1 << 20], &options).unwrap();
        assert_eq!(reader.join().unwrap().len(), 1 << 20);
        assert_eq!(names(folder.path()), ["pipe"]);
    }

    #[test]
    fn a_file_that_is_open_already_is_neither_replaced_nor_cut() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"head ").unwrap();
        written(Path::new(&format!("/dev/fd/{}", file.as_raw_fd()))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"head new");
    }

    #[test]
    fn folders_are_refused_and_regular_files_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(written(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        let path = folder.path().join("file");
        written(&path).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        assert_eq!(OutputTarget::of(&path).unwrap(), OutputTarget::Existing(path.clone()));
        written(&path).unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), before, "a reader of the old file keeps it whole");
    }
}
