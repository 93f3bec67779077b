//! One file on its way in: appended to what has come of it before, made safe as it grows, named once it has passed its digest.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::mpsc;

use super::Says;
use crate::catalogue::io_error;
use crate::failpoint;
use crate::fs::{Hasher, create_dir_durably, sync_dir};
use crate::sites::error::of_path;
use crate::sites::protocol::{FileOffer, FromReceiver, Sentence};

/// So much of a file is made safe on the disk at a time, while as much of it comes. A broken machine costs both at most.
const SAFE_EVERY: u64 = 8 << 20;
/// A connection that nobody has noticed to be dead holds a file for as long as a minute.
const PATIENCE: Duration = Duration::from_secs(75);
const LOOK: Duration = Duration::from_millis(100);

/// What comes of a file.
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// Where a file arrives.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// While it is not whole.
    pub part: PathBuf,
    /// Once it is.
    pub whole: PathBuf,
}

/// Takes a file in. Blocking; ends when the file is there, can't be taken, or no more comes.
pub(super) fn take(offer: &FileOffer, place: &Place, mut pieces: mpsc::Receiver<Piece>, says: &Says) {
    let file = offer.file;
    let say = |from| {
        // Where nobody says it any more, nobody hears it.
        let _ = says.send(from);
    };
    match arrive(offer, place, &mut pieces, &say) {
        Ok(Come::Whole) => say(FromReceiver::Arrived { file }),
        Ok(Come::Other) => say(FromReceiver::Differs { file }),
        Ok(Come::Part) => {}
        Err(error) => say(FromReceiver::Trouble { file, why: Sentence::from(&of_path(&place.part, &error)) }),
    }
}

/// What has come of a file.
enum Come {
    Whole,
    /// Something that does not have its digest.
    Other,
    Part,
}

fn arrive(
    offer: &FileOffer,
    place: &Place,
    pieces: &mut mpsc::Receiver<Piece>,
    say: &dyn Fn(FromReceiver),
) -> io::Result<Come> {
    let mut part = Part::open(&place.part, offer.bytes)?;
    // Another connection may have brought it while this one waited.
    if fs::metadata(&place.whole).is_ok_and(|whole| whole.is_file() && whole.len() == offer.bytes) {
        say(FromReceiver::Has { file: offer.file });
        return Ok(Come::Part);
    }
    say(FromReceiver::Wants { file: offer.file, offset: part.length });
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                if part.length + bytes.len() as u64 > offer.bytes {
                    part.discard(&place.part)?;
                    return Ok(Come::Other);
                }
                part.append(&bytes)?;
                failpoint!("sites.receive.after-piece");
            }
            Some(Piece::End) => break,
            None => {
                part.synced()?;
                part.file.sync_data()?;
                return Ok(Come::Part);
            }
        }
    }
    part.synced()?;
    if part.length != offer.bytes || part.hasher.clone().finish() != offer.digest {
        part.discard(&place.part)?;
        return Ok(Come::Other);
    }
    part.file.sync_all()?;
    failpoint!("sites.receive.before-name");
    fs::rename(&place.part, &place.whole)?;
    failpoint!("sites.receive.after-name");
    sync_dir(place.whole.parent().unwrap_or(Path::new(".")))?;
    Ok(Come::Whole)
}

/// What has come of a file so far, open and locked.
struct Part {
    file: File,
    hasher: Hasher,
    length: u64,
    /// So much of it is on the disk, or is being made safe there.
    safe: u64,
    /// What makes it safe meanwhile: the next bytes need not wait for the disk.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Part {
    /// Opens what is there of a file of so many bytes, and reads it.
    fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        create_dir_durably(path.parent().unwrap_or(Path::new(".")))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let begun = Instant::now();
        let mut file = loop {
            let file = options.open(path)?;
            match file.try_lock() {
                // The process that had it may have finished, or removed it, meanwhile.
                Ok(()) if is_at(&file, path) => break file,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => {
                    return Err(io_error(io::ErrorKind::WouldBlock, message!("receive-busy")));
                }
                // Where locks are not to be had, two that send the same at once spoil it, and its digest shows it.
                Err(TryLockError::Error(_)) => break file,
            }
        };
        if file.metadata()?.len() > bytes {
            file.set_len(0)?;
        }
        let mut hasher = Hasher::new();
        let mut length = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => {
                    hasher.update(&buffer[..read]);
                    length += read as u64;
                }
            }
        }
        file.seek(io::SeekFrom::Start(length))?;
        Ok(Self { file, hasher, length, safe: length, syncing: None })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        if self.length - self.safe >= SAFE_EVERY {
            self.synced()?;
            let file = self.file.try_clone()?;
            self.syncing = Some(thread::Builder::new().spawn(move || file.sync_data())?);
            self.safe = self.length;
        }
        Ok(())
    }

    /// Waits until what is being made safe is.
    fn synced(&mut self) -> io::Result<()> {
        match self.syncing.take().map(JoinHandle::join) {
            Some(Ok(synced)) => synced,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }

    fn discard(&self, path: &Path) -> io::Result<()> {
        self.file.set_len(0)?;
        fs::remove_file(path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The lock goes with the last one who has the file open. What can't be made safe has been said, or is not asked for any more.
        let _ = self.syncing.take().map(JoinHandle::join);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(open), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Digest;
    use crate::sites::protocol::Target;

    fn said(offer: &FileOffer, place: &Place, pieces: Vec<Piece>) -> Vec<String> {
        let (sender, receiver) = mpsc::channel(16);
        for piece in pieces {
            sender.try_send(piece).unwrap_or_else(|_| panic!("too many"));
        }
        drop(sender);
        let (says, mut said) = mpsc::unbounded_channel();
        take(offer, place, receiver, &says);
        drop(says);
        std::iter::from_fn(|| said.try_recv().ok()).map(|from| serde_json::to_string(&from).unwrap()).collect()
    }

    #[test]
    fn a_file_goes_on_where_it_was_broken_off_and_is_named_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { part: folder.path().join("in/x.part"), whole: folder.path().join("in/x") };
        let offer = FileOffer { file: 3, target: Target::Images, digest: Digest::of(b"one two"), bytes: 7 };
        let piece = |text: &'static str| Piece::Bytes(Bytes::from_static(text.as_bytes()));
        assert_eq!(said(&offer, &place, vec![piece("one")]), [r#"{"from":"wants","file":3,"offset":0}"#]);
        assert!(!place.whole.exists());
        let rest = said(&offer, &place, vec![piece(" two"), Piece::End]);
        assert_eq!(rest, [r#"{"from":"wants","file":3,"offset":3}"#, r#"{"from":"arrived","file":3}"#]);
        assert_eq!(fs::read(&place.whole).unwrap(), b"one two");
        assert_eq!(said(&offer, &place, vec![]), [r#"{"from":"has","file":3}"#]);
    }

    #[test]
    fn a_file_that_is_made_safe_several_times_while_it_comes_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { part: folder.path().join("x.part"), whole: folder.path().join("x") };
        let piece = Bytes::from(vec![7_u8; SAFE_EVERY as usize / 2 + 1]);
        let all = piece.repeat(7);
        let offer = FileOffer { file: 3, target: Target::Images, digest: Digest::of(&all), bytes: all.len() as u64 };
        let mut pieces: Vec<Piece> = (0..7).map(|_| Piece::Bytes(piece.clone())).collect();
        let rest = pieces.split_off(4);
        assert_eq!(said(&offer, &place, pieces), [r#"{"from":"wants","file":3,"offset":0}"#]);
        // Who goes on with it need not wait: nobody has it open any more.
        let said = said(&offer, &place, rest.into_iter().chain([Piece::End]).collect());
        let offset = 4 * piece.len();
        assert_eq!(said[0], format!(r#"{{"from":"wants","file":3,"offset":{offset}}}"#));
        assert_eq!(said[1], r#"{"from":"arrived","file":3}"#);
        assert!(fs::read(&place.whole).unwrap() == all);
    }

    #[test]
    fn what_is_something_else_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { part: folder.path().join("x.part"), whole: folder.path().join("x") };
        let offer = FileOffer { file: 3, target: Target::Images, digest: Digest::of(b"one two"), bytes: 7 };
        for wrong in ["one twO", "short", "longer than it should be"] {
            let come = said(&offer, &place, vec![Piece::Bytes(Bytes::from(wrong)), Piece::End]);
            assert_eq!(come.last().unwrap(), r#"{"from":"differs","file":3}"#, "{wrong}");
            assert!(!place.whole.exists() && !place.part.exists());
        }
        // A part that is longer than the file is another file's.
        fs::write(&place.part, "much more than seven bytes").unwrap();
        assert_eq!(said(&offer, &place, vec![])[0], r#"{"from":"wants","file":3,"offset":0}"#);
    }
}
