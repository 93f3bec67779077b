//! What can be done, in each way to ask for it: a command, a choice of the menu, a link of a chain.
//!
//! One [`Operation`] with one set of options for all three, so that nothing does in one of them what the others do
//! differently. Each command has its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::select::{self, Unselected};
use super::{Project, Session, WorkPlace, lock, stopped_services};
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::text::failure::Failure;
use crate::fs::Digest;
use crate::report::{Message, Reporter};

/// Something that is to be done and changes something, with everything that it needs to be told.
pub trait Operation {
    /// What is going to be done, in one line.
    fn announcement(&self) -> Message;

    /// The command as it could be typed; for the journal.
    fn command(&self) -> String;

    /// Where it changes something; the store's own housekeeping works where no engine is.
    fn place(&self) -> WorkPlace {
        WorkPlace::Engine
    }

    /// Whether it asks what the engine is, whatever there is to do.
    fn asks_what_the_engine_is(&self) -> bool {
        false
    }

    /// How it is agreed to when its plan has been shown.
    fn weight(&self, _project: &Project) -> Weight {
        Weight::Light
    }

    /// Asks before what can't be taken back.
    fn confirm(&self, _project: &Arc<Project>, _session: &mut Session) -> Result<(), Failure> {
        Ok(())
    }

    /// Adds to an error what the flags of its command could do about it; the menu and chains have none.
    fn advise(&self, failure: Failure) -> Failure {
        failure
    }

    /// Shows what would be done, from the same look that `run` takes.
    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure>;

    /// Does it, once it has told what is settled ([`settle`]); gives the document that `--json` prints.
    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure>;
}

/// What would be done.
pub struct Shown {
    /// What `--json` prints.
    pub document: Value,
    pub has_work: bool,
    /// The images that a reference will name once it is done: reference and ID.
    pub brings: Vec<(String, String)>,
    /// What would fail, as far as looking tells: a dry run ends as the run would.
    pub failures: Vec<Failure>,
}

impl Shown {
    /// Something to do that brings no images.
    pub fn of<T: serde::Serialize>(plan: &T) -> Result<Self, Failure> {
        Ok(Self { document: document(plan)?, has_work: true, brings: Vec::new(), failures: Vec::new() })
    }

    /// The same, unless something of it would fail.
    ///
    /// # Errors
    /// All that would fail, with the document.
    pub fn or_failures(self) -> Result<Self, Failure> {
        match self.failures.is_empty() {
            true => Ok(self),
            false => Err(Failure::Some { document: self.document, failures: self.failures }),
        }
    }
}

/// How much an operation asks of an operator who agrees to its plan, in the menu and in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Enter agrees.
    Light,
    /// Something is lost with it: Enter declines.
    Heavy,
    /// Names have to be typed, as [`Operation::confirm`] asks for them.
    Named,
}

/// A command of the command line that is one operation, from the question before it to its document.
pub fn act(operation: &dyn Operation, project: &Arc<Project>, session: &mut Session) -> Result<u8, Failure> {
    if !session.global.dry_run {
        operation.confirm(project, session).map_err(|failure| operation.advise(failure))?;
    }
    let performed = perform(operation, project, session).map_err(|failure| operation.advise(failure));
    if let (true, Ok(document) | Err(Failure::Some { document, .. })) = (session.output.json, &performed) {
        session.output.document(document)?;
    }
    performed.map(|_| 0)
}

/// Does it, or with `--dry-run` shows what would be done; gives the document that `--json` prints.
pub fn perform(operation: &dyn Operation, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
    if session.global.dry_run {
        return Ok(operation.show(project, session)?.or_failures()?.document);
    }
    let place = operation.place();
    session.asks_what_the_engine_is = operation.asks_what_the_engine_is();
    session.change_at(place, project, &operation.command(), |session, reporter| {
        let result = when_the_store_is_free(session, &reporter, |session| operation.run(project, session, &reporter));
        if place == WorkPlace::Engine {
            stopped_services::put_back(project, session, &reporter);
        }
        result
    })
}

/// How often a store's lock is tried again.
const STORE_TRIED_EVERY: Duration = Duration::from_millis(200);

/// Runs what takes a store's lock before all else; with `--lock-wait`, tries again while somebody has it.
fn when_the_store_is_free<T>(
    session: &mut Session,
    reporter: &Reporter,
    mut run: impl FnMut(&mut Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let patience = lock::patience(session.global.lock_wait.as_deref())?;
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let result = run(session);
        let is_busy = result.as_ref().is_err_and(Failure::is_store_busy);
        if !is_busy || begun.elapsed() >= patience || reporter.asked_to_stop() {
            return result;
        }
        if !is_told {
            session.output.say(&message!("lock-waiting-for-store"));
            is_told = true;
        }
        std::thread::sleep(STORE_TRIED_EVERY);
    }
}

/// The services that a command names, and the project that they belong to.
pub fn services_of(
    arguments: &TargetArguments,
    session: &mut Session,
    unselected: Unselected,
) -> Result<(Arc<Project>, Vec<String>), Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let services = select::services(project.manifest(), &selectors, unselected)?;
    Ok((project, services))
}

/// The databases that a command names, and the project that they belong to.
pub fn databases_of(
    arguments: &TargetArguments,
    session: &mut Session,
    unselected: Unselected,
) -> Result<(Arc<Project>, Vec<String>), Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let databases = select::databases(project.manifest(), &selectors, unselected)?;
    Ok((project, databases))
}

/// Tells what is settled before any of it is done, by the digest of its document; the journal has it.
pub fn settle<T: serde::Serialize>(plan: &T, reporter: &Reporter) -> Result<(), Failure> {
    reporter.settled(Digest::of_json(plan).map_err(|error| Failure::Output(error.into()))?);
    Ok(())
}

/// A document as JSON.
pub fn document<T: serde::Serialize>(report: &T) -> Result<Value, Failure> {
    serde_json::to_value(report).map_err(|error| Failure::Output(error.into()))
}

/// A folder of the manifest's `paths`, which the command needs.
pub fn path<'p>(path: Option<&'p Path>, name: &str) -> Result<&'p Path, Failure> {
    path.ok_or_else(|| {
        let hint = message!("hint-add-path", name = name);
        Failure::usage_with_hint(message!("usage-no-path", name = name), hint)
    })
}
