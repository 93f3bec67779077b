//! What work on delivered folders can end in.

use std::io;
use std::path::{Path, PathBuf};

use super::plan::LocalEdit;
use crate::catalogue::told;
use crate::manifest::model::Owner;
use crate::report::{Message, Several, Told};
use crate::state::StateError;

/// So many differences are named in an error; `status` names all.
const MOST_NAMED: usize = 10;

/// Work on delivered folders that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    NoSource {
        name: String,
        path: PathBuf,
    },
    NotAFolder {
        path: PathBuf,
    },
    /// A mirror of it would remove everything.
    EmptySource {
        name: String,
        path: PathBuf,
    },
    /// A device, a pipe or a socket is to be delivered.
    Special {
        path: PathBuf,
    },
    Pattern {
        pattern: String,
    },
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The target, links followed, lies where it may not lie.
    Outside {
        name: String,
        path: PathBuf,
    },
    /// A file system is mounted below the target.
    Mounted {
        path: PathBuf,
    },
    SourceChanged {
        path: PathBuf,
    },
    TargetChanged {
        name: String,
        path: PathBuf,
    },
    /// A swap inside the target was cut off, and nothing of it lies there now.
    TargetAway {
        name: String,
        path: PathBuf,
    },
    /// Somebody changed what was delivered, and nobody said what becomes of it.
    LocalEdits {
        name: String,
        edits: Vec<LocalEdit>,
    },
    /// What was agreed to is not what would be done.
    PlanChanged,
    NoSpace {
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    Owner {
        path: PathBuf,
        owner: Owner,
        #[source]
        source: io::Error,
    },
    NothingKept {
        name: String,
    },
    KeptGone {
        name: String,
        path: PathBuf,
    },
    /// A folder with the name of one that is kept, and no record of it.
    KeptUnknown {
        name: String,
        path: PathBuf,
    },
    /// A file in what is kept was written after that was replaced.
    KeptWritten {
        name: String,
        path: PathBuf,
        kept: PathBuf,
    },
    State(StateError),
    Stopped,
}

impl FilesError {
    /// For `map_err`: an error of what lies at `path`.
    pub fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path: path.clone(), source }
    }

    /// Whether it says no more than that an end was asked for.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

impl From<StateError> for FilesError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl Told for FilesError {
    fn message(&self) -> Message {
        match self {
            Self::NoSource { name, path } => message!("error-files-no-source", name = name, path = path.display()),
            Self::NotAFolder { path } => message!("error-files-not-a-folder", path = path.display()),
            Self::EmptySource { name, path } => {
                message!("error-files-empty-source", path = path.display(), name = name)
            }
            Self::Special { path } => message!("error-files-special", path = path.display()),
            Self::Pattern { pattern } => message!("check-data-pattern", pattern = pattern),
            Self::File { path, .. } => message!("error-files-file", path = path.display()),
            Self::Outside { name, path } => message!("error-files-outside", name = name, path = path.display()),
            Self::Mounted { path } => message!("error-files-mounted", path = path.display()),
            Self::SourceChanged { path } => message!("error-files-source-changed", path = path.display()),
            Self::TargetChanged { name, path } => {
                message!("error-files-target-changed", path = path.display(), name = name)
            }
            Self::TargetAway { name, path } => message!("error-files-target-away", name = name, path = path.display()),
            Self::LocalEdits { name, edits } => {
                let mut lines: Vec<Message> = edits.iter().take(MOST_NAMED).map(LocalEdit::message).collect();
                if edits.len() > MOST_NAMED {
                    lines.push(message!("files-local-more", count = edits.len() - MOST_NAMED));
                }
                message!("error-files-local", count = edits.len(), name = name, edits = Several(lines))
            }
            Self::PlanChanged => message!("error-files-plan-changed"),
            Self::NoSpace { path, needed, free } => {
                message!("error-files-no-space", path = path.display(), free = free, needed = needed)
            }
            Self::Owner { path, owner, .. } => message!("error-files-owner", path = path.display(), owner = owner),
            Self::NothingKept { name } => message!("error-files-nothing-kept", name = name),
            Self::KeptGone { name, path } => message!("error-files-kept-gone", name = name, path = path.display()),
            Self::KeptUnknown { name, path } => {
                message!("error-files-kept-unknown", path = path.display(), name = name)
            }
            Self::KeptWritten { name, path, kept } => {
                message!("error-files-kept-written", path = path.display(), name = name, kept = kept.display())
            }
            Self::State(error) => error.message(),
            Self::Stopped => message!("error-files-stopped"),
        }
    }

    fn hint(&self) -> Option<Message> {
        Some(match self {
            Self::NoSource { .. } => message!("hint-files-no-source"),
            Self::Outside { .. } => message!("help-files-outside"),
            Self::Mounted { .. } => message!("hint-files-mounted"),
            Self::SourceChanged { .. } | Self::TargetChanged { .. } => message!("hint-files-again"),
            Self::TargetAway { .. } => message!("hint-files-target-away"),
            Self::LocalEdits { name, .. } => message!("hint-files-local", name = name),
            Self::PlanChanged | Self::Stopped => message!("hint-files-again"),
            Self::NoSpace { .. } => message!("hint-files-space"),
            Self::Owner { .. } => message!("hint-files-owner"),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => message!("hint-disk-full"),
            Self::KeptUnknown { path, .. } => message!("hint-files-kept-unknown", path = path.display()),
            Self::KeptWritten { kept, .. } => message!("hint-files-kept-written", kept = kept.display()),
            Self::State(error) => return error.hint(),
            _ => return None,
        })
    }
}

told!(FilesError; crate::state::as_told);
