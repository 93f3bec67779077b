//! What is remembered between runs: the chosen manifest, who is at work, what was done, what was loaded where.
//!
//! All but the chosen manifest lies in `.dpl/` beside the manifest, in a folder for each project, shared by all who work on
//! that host. Two projects in one folder share nothing but that folder.

mod delivered_files;
mod deployments;
mod folder;
mod history;
mod journal;
mod loads;
mod lock;
mod older_records;
mod operator;
mod receipts;
mod remembered_manifest;
mod stopped;

pub use delivered_files::{
    DeliveredFiles, Delivery, InPlaceStep, KeptFolder, PendingSwap, SwapWay, WayBack, delivered_files,
    note_delivered_files,
};
pub use deployments::{DeployedService, Deployment, Deployments};
pub use folder::StateDir;
pub use history::{ActionResult, PastAction, PastStep, StepResult, history, was_broken_off_since};
pub use journal::{Action, ActionEnd, Entry, FILE as JOURNAL, Journal, StepEnd, damaged_lines, read_journal};
pub use loads::{EngineLoads, LoadLog, LoadOrigin, LoadRecord, Loads};
pub use lock::{Holder, Lock, at_work};
pub use older_records::undivided_manifests;
pub use operator::Operator;
pub use receipts::{Receipt, add_receipt, newest_release, receipts};
pub use remembered_manifest::{choose_manifest, chosen_manifest};
pub use stopped::{note_stopped_services, stopped_services};

use std::io;
use std::path::PathBuf;

use crate::catalogue::told;
use crate::fs::lock_hint;
use crate::report::{Message, Told};

/// The format of what this dpl writes. Records without a number are older ones, and are read; newer ones are refused.
const FORMAT: u32 = 1;

/// What can go wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder, or a file in it, can't be made or written.
    Write {
        path: PathBuf,
        source: io::Error,
    },
    Read {
        path: PathBuf,
        source: io::Error,
    },
    /// A record in a format that is not known here.
    Newer {
        path: PathBuf,
        format: u64,
    },
    /// Somebody else is working on this project.
    Locked(Box<Option<Holder>>),
}

impl Told for StateError {
    fn message(&self) -> Message {
        match self {
            Self::Write { path, .. } => message!("error-state-write", path = path.display()),
            Self::Read { path, .. } => message!("error-state-read", path = path.display()),
            Self::Newer { path, format } => {
                message!("error-state-newer", path = path.display(), format = format, known = FORMAT)
            }
            Self::Locked(holder) => match holder.as_ref() {
                Some(holder) => holder.message(),
                None => message!("lock-somebody"),
            },
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::Locked(_) => Some(message!("hint-locked")),
            Self::Newer { .. } => Some(message!("hint-state-newer")),
            // It is there, and is no JSON of ours.
            Self::Read { path, source }
                if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                let path_shown = path.display();
                match path.file_name().is_some_and(|name| name == deployments::FILE) {
                    true => Some(message!("hint-deployments-damaged", path = path_shown)),
                    false => Some(message!("hint-state-damaged", path = path_shown)),
                }
            }
            Self::Write { source, .. } | Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Some(message!("hint-state-permission")),
                io::ErrorKind::ReadOnlyFilesystem => Some(message!("hint-state-read-only")),
                _ => lock_hint(source),
            },
        }
    }
}

told!(StateError; crate::fs::as_told);
