//! What went wrong with single files while a folder was read or written: told, and the work goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::catalogue::system_words;
use crate::report::{Message, Told};

/// One place, and what went wrong there.
#[derive(Debug)]
pub struct Trouble {
    pub path: PathBuf,
    pub kind: TroubleKind,
}

#[derive(Debug)]
pub enum TroubleKind {
    /// It was there and is not any more: not in the snapshot.
    Vanished,
    /// It changed while it was read: what the snapshot has of it may be a mixture.
    Changed,
    /// It could not be read: not in the snapshot.
    Unread(io::Error),
    /// Its extended attributes could not be read: in the snapshot without them.
    Attributes(io::Error),
    /// Its owner, permissions, attributes or times could not be set.
    Properties(io::Error),
    /// It was written after what is there was saved: it stays as it is.
    Unsaved,
    /// A socket, which only its program can make.
    Socket,
}

impl Trouble {
    /// An error of reading something that was seen in its folder.
    pub fn of(path: &Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => TroubleKind::Vanished,
            _ => TroubleKind::Unread(error),
        };
        Self { path: path.to_owned(), kind }
    }

    /// Whether something is missing by it that was meant to be there.
    pub fn is_loss(&self) -> bool {
        match self.kind {
            TroubleKind::Unread(_) | TroubleKind::Attributes(_) | TroubleKind::Properties(_) | TroubleKind::Unsaved => {
                true
            }
            TroubleKind::Vanished | TroubleKind::Changed | TroubleKind::Socket => false,
        }
    }
}

impl Told for Trouble {
    fn message(&self) -> Message {
        let path = self.path.display();
        match &self.kind {
            TroubleKind::Vanished => message!("data-vanished", path = path),
            TroubleKind::Changed => message!("data-changed-while-read", path = path),
            TroubleKind::Unread(error) => message!("data-unread", path = path, why = system_words(error)),
            TroubleKind::Attributes(error) => {
                message!("data-attributes-unread", path = path, why = system_words(error))
            }
            TroubleKind::Properties(error) => message!("data-properties-unset", path = path, why = system_words(error)),
            TroubleKind::Unsaved => message!("data-unsaved", path = path),
            TroubleKind::Socket => message!("data-socket", path = path),
        }
    }
}

/// Where the troubles of one piece of work are collected; shared by its threads.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<Vec<Trouble>>>);

impl Troubles {
    pub fn add(&self, trouble: Trouble) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(trouble);
    }

    /// All that were met, in the order of their paths.
    pub fn take(&self) -> Vec<Trouble> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_by(|one, other| one.path.cmp(&other.path));
        all
    }
}
