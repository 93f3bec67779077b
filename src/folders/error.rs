//! What work on data folders can end in.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::catalogue::told;
use crate::report::{Listed, Message, Told};

/// Work on data folders or their repository that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FoldersError {
    /// There is no repository at this path.
    NoRepository {
        path: PathBuf,
    },
    /// Something else is there.
    NotARepository {
        path: PathBuf,
    },
    Password {
        path: PathBuf,
    },
    /// Another program works in it: dpl or restic.
    Locked {
        path: PathBuf,
        holder: Message,
    },
    LockUnreadable {
        path: PathBuf,
    },
    /// What rustic_core says.
    Repository {
        path: PathBuf,
        #[source]
        source: Said,
    },
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    Pattern {
        pattern: String,
    },
    NotThere {
        name: String,
        path: PathBuf,
    },
    NotAFolder {
        path: PathBuf,
    },
    /// The folder has no files, and the snapshot before has some.
    Emptied {
        name: String,
        path: PathBuf,
        files: u64,
    },
    NoSnapshot {
        id: String,
    },
    Ambiguous {
        id: String,
        found: Vec<String>,
    },
    /// The snapshot has no such path.
    NotInSnapshot {
        id: String,
        path: PathBuf,
    },
    /// A restore into a folder in which something is.
    TargetInUse {
        path: PathBuf,
    },
    /// The repository lies in the folder: a snapshot would contain itself.
    HoldsRepository {
        path: PathBuf,
    },
    /// What is there could not be snapshotted whole, so that a restore would lose it.
    NotSaved {
        name: String,
        path: PathBuf,
    },
    /// The work was done, but for these files.
    Incomplete {
        name: String,
        count: usize,
    },
    Damaged {
        path: PathBuf,
        count: usize,
    },
    /// What was agreed to is not what would be done.
    PlanChanged,
    Stopped,
}

/// What a library says, in its own words.
#[derive(Debug)]
pub struct Said(pub String);

impl std::error::Error for Said {}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FoldersError {
    /// For `map_err`: an error of the file or folder at `path`.
    pub fn reading(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path: path.clone(), source }
    }

    /// Whether it says no more than that an end was asked for.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether somebody else is at work in the repository.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }
}

impl Told for FoldersError {
    fn message(&self) -> Message {
        match self {
            Self::NoRepository { path } => message!("error-data-no-repository", path = path.display()),
            Self::NotARepository { path } => message!("error-data-not-a-repository", path = path.display()),
            Self::Password { path } => message!("error-data-password", path = path.display()),
            Self::Locked { path, holder } => message!("error-data-locked", path = path.display(), holder = holder),
            Self::LockUnreadable { path } => message!("error-data-lock-unreadable", path = path.display()),
            Self::Repository { path, .. } => message!("error-data-repository", path = path.display()),
            Self::File { path, .. } => message!("error-data-file", path = path.display()),
            Self::Pattern { pattern } => message!("check-data-pattern", pattern = pattern),
            Self::NotThere { name, path } => message!("error-data-not-there", name = name, path = path.display()),
            Self::NotAFolder { path } => message!("error-data-not-a-folder", path = path.display()),
            Self::Emptied { name, path, files } => {
                message!("error-data-emptied", path = path.display(), name = name, files = files)
            }
            Self::NoSnapshot { id } => message!("error-data-no-snapshot", id = id),
            Self::Ambiguous { id, found } => message!("error-data-ambiguous", id = id, found = Listed::of(found)),
            Self::NotInSnapshot { id, path } => message!("error-data-no-path", id = id, path = path.display()),
            Self::TargetInUse { path } => message!("error-data-target", path = path.display()),
            Self::HoldsRepository { path } => message!("error-data-holds-repository", path = path.display()),
            Self::NotSaved { name, path } => message!("error-data-not-saved", name = name, path = path.display()),
            Self::Incomplete { name, count } => message!("error-data-incomplete", name = name, count = count),
            Self::Damaged { path, count } => message!("error-data-damaged", path = path.display(), count = count),
            Self::PlanChanged => message!("error-files-plan-changed"),
            Self::Stopped => message!("error-data-stopped"),
        }
    }

    fn hint(&self) -> Option<Message> {
        Some(match self {
            Self::NoRepository { .. } => message!("hint-data-init"),
            Self::Password { .. } => message!("hint-data-password"),
            Self::Locked { .. } => message!("hint-data-locked"),
            Self::LockUnreadable { path } => message!("hint-data-lock-unreadable", path = path.display()),
            Self::Repository { .. } => message!("hint-data-verify"),
            Self::Emptied { .. } => message!("hint-data-emptied"),
            Self::NoSnapshot { .. } => message!("hint-data-list"),
            Self::TargetInUse { .. } => message!("hint-data-target"),
            Self::PlanChanged => message!("hint-files-again"),
            Self::Stopped => message!("hint-data-again"),
            _ => return None,
        })
    }
}

told!(FoldersError);
