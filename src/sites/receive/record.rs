//! What is written down of what arrives. A transfer from a desk has actions of its own in the journal, which begin with the first
//! thing that gets a name here; one that is part of an action tells its reporter.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::targets::{Targets, blocking};
use crate::catalogue::english;
use crate::fs::Digest;
use crate::report::{Activity, Message, Reporter};
use crate::sites::error::{in_one_line, of_path};
use crate::state::{Journal, Lock, Operator, StateDir};

/// One who is at work is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
/// A name from the other side is no longer than that in a line of the journal.
const LONGEST_NAME: usize = 100;

/// Where what is done is written down.
pub enum Recorded {
    /// In actions of the journal that say which desk sends.
    InJournal { desk: String },
    /// By the listener of the reporter; the project's lock is held where there is a project.
    By(Reporter),
}

/// Something that is under way and written down.
#[derive(Clone)]
pub(super) enum Open {
    /// An action of the journal, with the project's lock.
    Action { journal: Arc<Journal>, _lock: Arc<Lock> },
    /// A part of an action.
    Part(Reporter),
}

impl Recorded {
    pub fn in_journal(desk: &str) -> Self {
        let plain = desk.chars().filter(|letter| !letter.is_control());
        Self::InJournal { desk: plain.take(LONGEST_NAME).collect() }
    }

    /// Takes the project's lock and writes down that `what` begins. `None` where there is no project here, and none comes.
    ///
    /// # Errors
    /// Somebody else is at work; the journal can't be written.
    pub(super) async fn open(&self, targets: &Targets, what: &str) -> Result<Option<Open>, Message> {
        let desk = match self {
            Self::InJournal { desk } => desk,
            Self::By(reporter) => return Ok(Some(Open::Part(reporter.clone()))),
        };
        let Some(Ok(loaded)) = targets.read_coming() else { return Ok(None) };
        let path = targets.place.manifest_path().unwrap_or_default();
        let files = loaded.sources.files();
        let text: String = files.iter().map(|file| Digest::of(file.text.as_bytes()).to_string()).collect();
        let state = state_of(targets, &path, &loaded.manifest.project);
        let command = format!("dpl send {what} (from {desk})");
        let place = targets.place.clone();
        let opened = blocking(move || {
            place.make_folders().map_err(|error| of_path(&place.folder, &error))?;
            let operator = Operator::of_process();
            let lock = Lock::acquire(&state, &operator, &command, PATIENCE).map_err(|error| in_one_line(&error))?;
            let digest = Digest::of(text.as_bytes());
            let journal = Journal::begin(&state, &operator, (path.as_path(), digest), "none", &command);
            let journal = Arc::new(journal.map_err(|error| in_one_line(&error))?);
            Ok(Open::Action { journal, _lock: Arc::new(lock) })
        });
        opened.await.map(Some)
    }
}

/// Writes down how it ended.
pub(super) async fn close<T>(open: Option<Open>, result: &Result<T, Message>) -> Result<(), Message> {
    let Some(Open::Action { journal, .. }) = open else { return Ok(()) };
    let error = result.as_ref().err().map(english);
    blocking(move || journal.end(u8::from(error.is_some()), error).map_err(|error| in_one_line(&error))).await
}

impl Open {
    /// Does something that is written down before and after.
    pub fn step<T>(
        open: Option<&Self>,
        activity: Activity,
        subject: &str,
        work: impl FnOnce() -> Result<T, Message>,
    ) -> Result<T, Message> {
        match open {
            None => work(),
            Some(Self::Action { journal, .. }) => {
                journal.step(activity.word(), subject).map_err(|error| in_one_line(&error))?;
                let result = work();
                let error = result.as_ref().err().map(english);
                journal.step_end(activity.word(), subject, error).map_err(|error| in_one_line(&error))?;
                result
            }
            Some(Self::Part(reporter)) => {
                reporter.began(activity, subject, None);
                let result = work();
                match &result {
                    Ok(_) => reporter.done(activity, subject, message!("send-in-place")),
                    Err(why) => reporter.failed(activity, subject, why.clone()),
                }
                result
            }
        }
    }
}

fn state_of(targets: &Targets, manifest: &Path, project: &str) -> StateDir {
    let own = || std::env::var("DPL_STATE").ok();
    let folder = targets.variables().get("DPL_STATE").cloned().or_else(own).filter(|folder| !folder.is_empty());
    match folder {
        Some(folder) => StateDir::in_folder(PathBuf::from(folder), project),
        None => StateDir::beside(manifest, project),
    }
}
