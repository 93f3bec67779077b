//! What is remembered between runs: the chosen manifest, who is at work, what was done, what was loaded where.
//!
//! All but the chosen manifest lies in `.dpl/` beside the manifest, in a folder for each project, shared by all who work on
//! that host. Two projects in one folder share nothing but that folder.

mod chosen;
mod deployments;
mod divide;
mod folder;
mod history;
mod journal;
mod loads;
mod lock;
mod operator;
mod stopped;

pub use chosen::{choose_manifest, chosen_manifest};
pub use deployments::{DeployedService, Deployment, Deployments};
pub use divide::undivided_manifests;
pub use folder::StateDir;
pub use history::{ActionResult, PastAction, PastStep, StepResult, history};
pub use journal::{Action, ActionEnd, Entry, Journal, StepEnd, read_journal};
pub use loads::{EngineLoads, LoadLog, LoadOrigin, LoadRecord, Loads};
pub use lock::{Holder, Lock, at_work};
pub use operator::Operator;
pub use stopped::{note_stopped_services, stopped_services};

use std::io;
use std::path::PathBuf;

/// The format of what this dpl writes. Records without a number are older ones, and are read; newer ones are refused.
const FORMAT: u32 = 1;

/// What can go wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder, or a file in it, can't be made or written.
    #[error("can't write {path}, where dpl keeps its state")]
    Write { path: PathBuf, source: io::Error },
    #[error("can't read {path}")]
    Read { path: PathBuf, source: io::Error },
    /// A record in a format that is not known here.
    #[error("{path} was written by a newer dpl (format {format}, known up to {FORMAT})")]
    Newer { path: PathBuf, format: u64 },
    /// Somebody else is at work on this project.
    #[error("{}", held_by(.0))]
    Locked(Box<Option<Holder>>),
}

fn held_by(holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) => holder.to_string(),
        None => "somebody else is at work on this project".to_owned(),
    }
}
