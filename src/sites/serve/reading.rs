//! Files of this machine for the desk: below a root that the manifest here names, and nothing but files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::time::Instant;

use super::{Writer, in_words, send_in_time};
use crate::fs::{Digest, Hasher};
use crate::report::Message;
use crate::sites::error::in_one_line;
use crate::sites::protocol::{FileHead, FileToRead, FolderAt, Frame, ProjectPlace, ReadRequest, Reply, Root};
use crate::sites::roots::inside;

/// So much of a file in one frame.
const PIECE: usize = 128 << 10;
/// So many names in one frame.
const NAMES: usize = 1000;
/// A folder with more files is not listed.
const MOST_NAMES: usize = 2_000_000;

/// The roots of a project.
struct Roots {
    backups: Option<PathBuf>,
    state: PathBuf,
}

impl Roots {
    fn of(project: &ProjectPlace) -> Result<Self, Message> {
        let loaded = project.manifest_here()?;
        let state = project.state(&loaded.manifest).path();
        Ok(Self { backups: loaded.manifest.paths.backups, state })
    }

    fn path(&self, root: Root, relative: &str) -> Result<PathBuf, Message> {
        let folder = match root {
            Root::Backups => self.backups.as_deref().ok_or_else(|| message!("usage-no-path", name = "backups"))?,
            Root::State if relative == crate::state::JOURNAL => &self.state,
            Root::State => return Err(message!("serve-not-given", path = relative)),
        };
        inside(folder, relative).map_err(|error| unreadable(relative, &error))
    }

    /// The file and what it has; `None` for one that need not be there.
    fn open(&self, wanted: &FileToRead) -> Result<Option<(File, u64)>, Message> {
        let path = self.path(wanted.root, &wanted.path)?;
        if wanted.optional && !path.exists() {
            return Ok(None);
        }
        // A pipe would be waited for.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path);
        let of = |file: File| {
            let metadata = file.metadata()?;
            match metadata.is_file() {
                true => Ok((file, metadata.len())),
                false => Err(io::Error::from(io::ErrorKind::InvalidInput)),
            }
        };
        opened.and_then(of).map(Some).map_err(|error| unreadable(&wanted.path, &error))
    }
}

fn unreadable(path: &str, error: &io::Error) -> Message {
    message!("serve-unreadable", path = path, why = in_one_line(error))
}

/// Names the files of a folder, and what each has.
pub(super) async fn names(folder: FolderAt, writer: &mut Writer) -> Result<(), Message> {
    let path = Roots::of(&folder.project)?.path(folder.root, &folder.path)?;
    let listed = blocking(move || list(&path)).await;
    let listed = listed.map_err(in_words(message!("serve-not-listed", path = folder.path)))?;
    for names in listed.chunks(NAMES) {
        send_in_time(writer, &Frame::control(&Reply::Names { names: names.to_vec() })).await?;
    }
    send_in_time(writer, &Frame::control(&Reply::Done)).await
}

fn list(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Not through links.
        let metadata = entry.metadata()?;
        if let (Ok(name), true) = (entry.file_name().into_string(), metadata.is_file()) {
            names.push((name, metadata.len()));
        }
        if names.len() > MOST_NAMES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    names.sort();
    Ok(names)
}

/// Sends what files hold, as fast as is allowed.
pub(super) async fn read(request: ReadRequest, writer: &mut Writer) -> Result<(), Message> {
    let roots = Roots::of(&request.project)?;
    let mut pace = Pace::new(request.limit);
    // The desk hears of each piece that this side is there.
    let piece_bytes = request.limit.map_or(PIECE as u64, |rate| (rate / 4).clamp(1 << 10, PIECE as u64));
    for wanted in request.files {
        let path = wanted.path.clone();
        let failed = |error: io::Error| unreadable(&path, &error);
        let Some((file, bytes)) = roots.open(&wanted)? else {
            let head = FileHead { bytes: 0, from: 0, digest: None };
            send_in_time(writer, &Frame::control(&Reply::File(head))).await?;
            send_in_time(writer, &Frame::DataEnd).await?;
            continue;
        };
        if bytes > wanted.most {
            return Err(message!("serve-too-large", path = path, bytes = bytes, most = wanted.most));
        }
        let (mut file, head) = blocking(move || prepare(file, bytes, &wanted)).await.map_err(failed)?;
        let (mut at, end) = (head.from, head.bytes);
        send_in_time(writer, &Frame::control(&Reply::File(head))).await?;
        while at < end {
            let most = (end - at).min(piece_bytes) as usize;
            let read = blocking(move || {
                let mut piece = vec![0; most];
                let length = file.read(&mut piece)?;
                piece.truncate(length);
                Ok((file, piece))
            });
            let piece;
            (file, piece) = read.await.map_err(failed)?;
            if piece.is_empty() {
                // It was cut meanwhile: the desk sees that bytes are missing.
                break;
            }
            at += piece.len() as u64;
            pace.wait(piece.len() as u64).await;
            send_in_time(writer, &Frame::Data(Bytes::from(piece))).await?;
        }
        send_in_time(writer, &Frame::DataEnd).await?;
    }
    send_in_time(writer, &Frame::control(&Reply::Done)).await
}

/// Goes to the place from which the file is sent.
fn prepare(mut file: File, bytes: u64, wanted: &FileToRead) -> io::Result<(File, FileHead)> {
    let mut from = if wanted.from <= bytes { wanted.from } else { 0 };
    if let Some(known) = wanted.known.as_ref().filter(|_| from > 0)
        && digest_of_first(&mut file, from)? != *known
    {
        from = 0;
    }
    let digest = if wanted.proved { Some(digest_of_first(&mut file, bytes)?) } else { None };
    file.seek(SeekFrom::Start(from))?;
    Ok((file, FileHead { bytes, from, digest }))
}

fn digest_of_first(file: &mut File, bytes: u64) -> io::Result<Digest> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut rest = file.take(bytes);
    loop {
        match rest.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&piece[..length]),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}

/// Keeps to a rate. What was not used in the last second is not made up for.
struct Pace {
    bytes_a_second: Option<u64>,
    /// When all that was sent would have been sent at the rate.
    due: Instant,
}

impl Pace {
    fn new(bytes_a_second: Option<u64>) -> Self {
        Self { bytes_a_second: bytes_a_second.filter(|rate| *rate > 0), due: Instant::now() }
    }

    async fn wait(&mut self, bytes: u64) {
        let Some(rate) = self.bytes_a_second else { return };
        let now = Instant::now();
        self.due = self.due.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
        self.due += Duration::from_secs_f64(bytes as f64 / rate as f64);
        tokio::time::sleep_until(self.due).await;
    }
}
