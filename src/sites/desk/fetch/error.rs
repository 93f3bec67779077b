//! Why something could not be brought here.

use std::io;
use std::path::PathBuf;

use crate::databases::DatabasesError;
use crate::report::{Message, Told};
use crate::sites::SitesError;

/// Why something could not be brought here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    Site(#[source] SitesError),
    Dump(#[source] DatabasesError),
    File {
        path: PathBuf,
        source: io::Error,
    },
    NoRoom {
        folder: PathBuf,
        wanted: u64,
        free: u64,
    },
    /// Another backup of this ID is here.
    Other {
        path: PathBuf,
    },
    /// The journal that came is not the one that the site has.
    Journal,
    Stopped,
}

impl Told for FetchError {
    fn message(&self) -> Message {
        match self {
            Self::Site(error) => error.message(),
            Self::Dump(error) => error.message(),
            Self::File { path, .. } => message!("fetch-file", path = path.display()),
            Self::NoRoom { folder, wanted, free } => {
                message!("fetch-no-room", folder = folder.display(), wanted = wanted, free = free)
            }
            Self::Other { path } => message!("fetch-other", path = path.display()),
            Self::Journal => message!("fetch-journal-digest"),
            Self::Stopped => message!("failure-interrupted"),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::Site(error) if error.is_unreachable() => Some(message!("hint-fetch-again")),
            Self::Other { .. } => Some(message!("hint-fetch-other")),
            _ => None,
        }
    }
}

impl From<SitesError> for FetchError {
    fn from(error: SitesError) -> Self {
        Self::Site(error)
    }
}

impl From<DatabasesError> for FetchError {
    fn from(error: DatabasesError) -> Self {
        Self::Dump(error)
    }
}
