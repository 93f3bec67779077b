//! What an import reads: files, folders, the parts of a file that was split, and standard input.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::catalogue::io_error;
use crate::images::error::ImagesError;
use crate::images::exchange::parts::part_path;
use crate::images::names::{FIRST_PART, first_part};
use crate::images::store::archives::{self, OpenArchive};
use crate::images::store::layout::Layout;
use crate::report::{Message, Reporter};

/// One thing that is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::images) enum Input {
    /// An archive, or the folder of a layout.
    Path(PathBuf),
    /// The parts of one archive, in their order; named by the first.
    Parts(Vec<PathBuf>),
    /// Standard input, which can be read once.
    Stdin,
}

/// An opened input.
pub(in crate::images) enum Source {
    Archive(OpenArchive),
    Layout(Box<Layout>),
}

impl Input {
    /// What the arguments name: `-` is standard input; `FILE.001` stands for all the parts beside it, however many of
    /// them are named as well.
    ///
    /// # Errors
    /// A part that is missing between others; a later part, or the whole file, where the first part lies beside it.
    pub fn of(files: &[PathBuf]) -> Result<Vec<Self>, ImagesError> {
        let mut inputs: Vec<Self> = Vec::new();
        for file in files {
            if file == Path::new("-") {
                if !inputs.contains(&Self::Stdin) {
                    inputs.push(Self::Stdin);
                }
            } else if inputs.iter().any(|input| matches!(input, Self::Parts(parts) if parts.contains(file))) {
                continue;
            } else if let Some(first) = first_part(file).filter(|first| first.exists()) {
                if !files.contains(&first) {
                    return Err(not_the_first(file, message!("error-part-later", first = first.display())));
                }
            } else {
                inputs.push(match without_number(file) {
                    Some(whole) => Self::Parts(parts(file, &whole)?),
                    None if !file.exists() && part_path(file, 1).exists() => {
                        let first = part_path(file, 1);
                        return Err(not_the_first(file, message!("error-part-whole", first = first.display())));
                    }
                    None => Self::Path(file.clone()),
                });
            }
        }
        Ok(inputs)
    }

    /// What it is called: a file, the first of several parts, or `-`.
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Parts(parts) => &parts[0],
            Self::Stdin => Path::new("-"),
        }
    }

    pub fn open(&self) -> Result<Source, ImagesError> {
        let failed = |source| ImagesError::file(message!("verb-read"), self.path(), source);
        match self {
            Self::Path(path) if path.is_dir() => {
                let why = message!("store-without-index");
                let layout = Layout::open(path)?;
                layout
                    .map(|layout| Source::Layout(Box::new(layout)))
                    .ok_or_else(|| ImagesError::NotAStore { folder: path.clone(), why })
            }
            Self::Path(path) => match archives::open(path) {
                Err(_) if is_stream(path) => {
                    Err(failed(io_error(io::ErrorKind::Other, message!("error-input-stream"))))
                }
                opened => opened.map(Source::Archive).map_err(failed),
            },
            Self::Parts(parts) => archives::open_parts(parts).map(Source::Archive).map_err(failed),
            Self::Stdin => archives::open_stream(io::stdin()).map(Source::Archive).map_err(failed),
        }
    }

    /// As [`Self::open`]; waiting for standard input ends when `reporter` is asked to stop.
    pub fn open_stoppable(&self, reporter: &Reporter) -> Result<Source, ImagesError> {
        if *self != Self::Stdin {
            return self.open();
        }
        let failed = |source| ImagesError::file(message!("verb-read"), self.path(), source);
        // Not through std's own buffer: what lies in there no poll sees.
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        let waiting = StoppableInput { input: File::from(input), reporter: reporter.clone() };
        let buffered = BufReader::with_capacity(BUFFERED_BYTES, waiting);
        archives::open_stream(buffered).map(Source::Archive).map_err(failed)
    }

    /// Whether it can be read as often as one likes.
    pub fn is_readable_again(&self) -> bool {
        *self != Self::Stdin
    }

    /// Its size as it lies on the disk; `None` where nothing tells.
    pub fn size_bytes(&self) -> Option<u64> {
        let size = |path: &PathBuf| std::fs::metadata(path).ok().filter(|file| file.is_file()).map(|file| file.len());
        match self {
            Self::Path(path) => size(path),
            Self::Parts(parts) => parts.iter().map(size).sum(),
            Self::Stdin => None,
        }
    }
}

/// What is read of standard input at once.
const BUFFERED_BYTES: usize = 128 << 10;
/// So long a silent input is waited for before it is looked whether somebody asked for an end.
const LOOKED_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// An input that may be silent for as long as it likes, and is waited for until somebody asks for an end.
struct StoppableInput {
    input: File,
    reporter: Reporter,
}

impl Read for StoppableInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.reporter.asked_to_stop() {
                return Err(io_error(io::ErrorKind::Other, message!("error-stopped")));
            }
            let mut watched = [PollFd::new(&self.input, PollFlags::IN)];
            match poll(&mut watched, Some(&LOOKED_EVERY)) {
                Ok(0) | Err(Errno::INTR) => {}
                // An end and an error are read as well.
                Ok(_) => return self.input.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What can be read only once: a pipe, `<(…)` of a shell, a device.
fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

impl fmt::Display for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(formatter)
    }
}

/// The error for what is not the part that stands for all.
fn not_the_first(file: &Path, why: Message) -> ImagesError {
    ImagesError::file(message!("verb-read"), file, io_error(io::ErrorKind::NotFound, why))
}

/// `FILE` of `FILE.001`.
fn without_number(file: &Path) -> Option<PathBuf> {
    let stem = file.file_name()?.as_bytes().strip_suffix(FIRST_PART).filter(|stem| !stem.is_empty())?;
    Some(file.with_file_name(OsStr::from_bytes(stem)))
}

/// `FILE.001`, `FILE.002` and on, as far as there are any.
fn parts(first: &Path, whole: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let part = |number: usize| part_path(whole, number);
    let parts: Vec<PathBuf> = (1..).map(part).take_while(|path| path.exists()).collect();
    // A gap would read as a file that is cut off, and nobody would know which part to bring.
    let next = parts.len() + 1;
    if !parts.is_empty() && (next + 1..next + 10).any(|number| part(number).exists()) {
        let missing = io_error(io::ErrorKind::NotFound, message!("error-part-missing"));
        return Err(ImagesError::file(message!("verb-read"), &part(next), missing));
    }
    Ok(if parts.is_empty() { vec![first.to_owned()] } else { parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_together_and_a_gap_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["x.tar.001", "x.tar.002", "x.tar.003", "y.tar"] {
            std::fs::write(path(name), name).unwrap();
        }
        let all = ["x.tar.001", "x.tar.002", "x.tar.003"].map(path).to_vec();
        let named = [path("x.tar.001"), path("x.tar.002"), path("x.tar.003"), path("y.tar"), PathBuf::from("-")];
        let inputs = Input::of(&named).unwrap();
        assert_eq!(inputs, [Input::Parts(all.clone()), Input::Path(path("y.tar")), Input::Stdin]);
        assert_eq!(Input::of(&[path("x.tar.001")]).unwrap(), [Input::Parts(all)]);
        assert_eq!(inputs[0].size_bytes(), Some(27));
        std::fs::remove_file(path("x.tar.002")).unwrap();
        let error = Input::of(&[path("x.tar.001")]).unwrap_err().to_string();
        assert!(error.contains("x.tar.002"), "{error}");
    }

    #[test]
    fn a_later_part_and_the_whole_file_are_answered_with_the_first_part() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["x.tar.001", "x.tar.002", "alone.tar.002"] {
            std::fs::write(path(name), name).unwrap();
        }
        let said = |name: &str| {
            let error = Input::of(&[path(name)]).unwrap_err();
            crate::catalogue::english(&crate::images::error::in_one_line(&error))
        };
        let advice = format!("`dpl images import {}`", path("x.tar.001").display());
        for name in ["x.tar.002", "x.tar.003", "x.tar"] {
            assert!(said(name).contains(&path(name).display().to_string()), "{}", said(name));
            assert!(said(name).contains(&advice), "{}", said(name));
        }
        // All of them in any order are one archive.
        let all = Input::of(&[path("x.tar.002"), path("x.tar.001")]).unwrap();
        assert_eq!(all, [Input::Parts(vec![path("x.tar.001"), path("x.tar.002")])]);
        // A file that only looks like a part is read; what is wrong with it is said with what it may lack.
        assert_eq!(Input::of(&[path("alone.tar.002")]).unwrap(), [Input::Path(path("alone.tar.002"))]);
    }

    #[test]
    fn a_silent_input_is_waited_for_until_somebody_asks_for_an_end() {
        let (input, mut sender) = io::pipe().unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let reporter = Reporter::new(Vec::new(), stop.clone());
        let mut waiting = StoppableInput { input: File::from(std::os::fd::OwnedFd::from(input)), reporter };
        io::Write::write_all(&mut sender, b"some").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(waiting.read(&mut buffer).unwrap(), 4);
        let reading = std::thread::spawn(move || waiting.read(&mut buffer));
        stop.cancel();
        assert!(reading.join().unwrap().is_err());
        drop(sender);
    }

    #[test]
    fn a_pipe_is_refused_with_the_way_to_import_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("x.tar");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        let error = Input::Path(pipe).open().err().unwrap();
        let text = crate::catalogue::english(&crate::images::error::in_one_line(&error));
        assert!(text.contains("dpl images import -"), "{text}");
    }

    #[test]
    fn names_that_are_not_utf_8_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
        for name in [&b"b\xff.tar"[..], b"c\xff.tar.001", b"c\xff.tar.002"] {
            std::fs::write(path(name), name).unwrap();
        }
        let inputs = Input::of(&[path(b"b\xff.tar"), path(b"c\xff.tar.001")]).unwrap();
        let parts = [&b"c\xff.tar.001"[..], b"c\xff.tar.002"].map(path).to_vec();
        assert_eq!(inputs, [Input::Path(path(b"b\xff.tar")), Input::Parts(parts)]);
        assert_eq!(inputs[0].path(), path(b"b\xff.tar"));
        assert!(inputs.iter().all(|input| input.open().is_ok()));
    }
}
