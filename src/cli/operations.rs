//! What can be done, whoever asks for it: a command, a choice of the menu, a link of a chain.
//!
//! One [`Operation`] with one set of options for all three, so that nothing does in one of them what the others do
//! differently. Each room of this folder has its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::arguments::{LogsArguments, ManifestArguments, PlanArguments, StatusArguments, Tail, TargetArguments};
use super::databases::{self, Backup, Dump, DumpOptions, Rebuild, ReplaceOptions, Restore, RestoreFrom};
use super::failure::Failure;
use super::images::{Load, Save};
use super::prompt::{self, Unanswered};
use super::select::{self, Unselected};
use super::services::{self, Converge, awake};
use super::session::{Project, Session, WorkPlace};
use super::{doctor, lock, logs, status, terminal};
use crate::databases::Shrink;
use crate::fs::Digest;
use crate::images::{LoadOptions, SaveOptions};
use crate::report::{Message, Reporter};
use crate::services::Action;

/// Something that is to be done and changes something, with everything that it needs to be told.
pub trait Operation {
    /// What is going to be done, in one line.
    fn announcement(&self) -> Message;

    /// The command as it could be typed; for the journal.
    fn command(&self) -> String;

    /// Whether it is about an engine; the store's own housekeeping works where none is.
    fn needs_engine(&self) -> bool {
        true
    }

    /// How it is agreed to when its plan has been shown.
    fn weight(&self, _project: &Project) -> Weight {
        Weight::Light
    }

    /// Asks before what can't be taken back.
    fn confirm(&self, _project: &Arc<Project>, _session: &mut Session) -> Result<(), Failure> {
        Ok(())
    }

    /// Shows what would be done, from the same look that `run` takes; gives the document that `--json` prints.
    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure>;

    /// Whether there is anything to do, by what `show` gave.
    fn has_work(&self, _shown: &Value) -> bool {
        true
    }

    /// The images that a reference will name once it is done, by what `show` gave: reference and ID.
    fn brings(&self, _shown: &Value) -> Vec<(String, String)> {
        Vec::new()
    }

    /// What is settled before any of it is done, as the document that `show` gives; the journal has its digest. `None`
    /// where `run` tells it itself, since only it knows.
    fn settles(&self, _project: &Arc<Project>) -> Result<Option<Value>, Failure> {
        Ok(None)
    }

    /// Does it; gives the document that `--json` prints.
    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure>;
}

/// How much an operation asks of whoever agrees to its plan, in the menu and in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Enter agrees.
    Light,
    /// Something is lost with it: Enter declines.
    Heavy,
    /// Names have to be typed, as [`Operation::confirm`] asks for them.
    Named,
}

/// What an entry of the menu applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Services,
    Databases,
    /// One of them, and one of its backups.
    Backup,
    /// It is about everything.
    Nothing,
}

/// An entry of the menu.
pub struct MenuEntry {
    pub number: u32,
    pub targets: TargetKind,
    pub kind: MenuKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MenuKind {
    Save,
    Load,
    Restart,
    Stop,
    Dump,
    Rebuild,
    Backup,
    Restore,
    Status,
    Logs,
    Plan,
    Doctor,
}

impl MenuKind {
    /// Whether it only looks, and changes nothing.
    pub fn only_looks(self) -> bool {
        matches!(self, Self::Status | Self::Logs | Self::Plan | Self::Doctor)
    }
}

const fn entry(number: u32, targets: TargetKind, kind: MenuKind) -> MenuEntry {
    MenuEntry { number, targets, kind }
}

/// deploy.py's numbers, then those of dpl's own (docs/command-line.md, "The menu").
pub static MENU: [MenuEntry; 12] = [
    entry(1, TargetKind::Services, MenuKind::Save),
    entry(2, TargetKind::Services, MenuKind::Load),
    entry(3, TargetKind::Services, MenuKind::Restart),
    entry(4, TargetKind::Services, MenuKind::Stop),
    entry(5, TargetKind::Databases, MenuKind::Dump),
    entry(6, TargetKind::Databases, MenuKind::Rebuild),
    entry(7, TargetKind::Databases, MenuKind::Backup),
    entry(8, TargetKind::Backup, MenuKind::Restore),
    entry(9, TargetKind::Nothing, MenuKind::Status),
    entry(10, TargetKind::Services, MenuKind::Logs),
    entry(11, TargetKind::Services, MenuKind::Plan),
    entry(12, TargetKind::Nothing, MenuKind::Doctor),
];

impl MenuEntry {
    pub fn title(&self) -> Message {
        match self.kind {
            MenuKind::Save => message!("menu-save"),
            MenuKind::Load => message!("menu-load"),
            MenuKind::Restart => message!("menu-restart"),
            MenuKind::Stop => message!("menu-stop"),
            MenuKind::Dump => message!("menu-dump"),
            MenuKind::Rebuild => message!("menu-rebuild"),
            MenuKind::Backup => message!("menu-backup"),
            MenuKind::Restore => message!("menu-restore"),
            MenuKind::Status => message!("menu-status"),
            MenuKind::Logs => message!("menu-logs"),
            MenuKind::Plan => message!("menu-plan"),
            MenuKind::Doctor => message!("menu-doctor"),
        }
    }
}

/// The entry of a number.
pub fn entry_of(number: u32) -> Result<&'static MenuEntry, Failure> {
    let found = MENU.iter().find(|entry| entry.number == number);
    found.ok_or_else(|| no_action(&number.to_string()))
}

/// What was typed is no entry's number.
pub fn no_action(typed: &str) -> Failure {
    Failure::usage(message!("usage-no-such-action", typed = typed, last = MENU.len()))
}

/// The operation behind a number that changes something; `backup` is the one to restore, the last one where absent.
pub fn change(
    kind: MenuKind,
    targets: &[String],
    backup: Option<String>,
    project: &Project,
) -> Result<Box<dyn Operation>, Failure> {
    let manifest = project.manifest();
    let services = || select::services(manifest, targets, Unselected::All);
    let databases = || select::databases(manifest, targets, Unselected::All);
    Ok(match kind {
        MenuKind::Save => Box::new(Save { services: services()?, options: SaveOptions::default() }),
        MenuKind::Load => Box::new(Load { services: services()?, options: LoadOptions::default() }),
        MenuKind::Restart => {
            let selection = select::service_selection(manifest, targets, Unselected::All)?;
            Box::new(Converge::new(Action::Restart, awake(manifest, selection, &[])?))
        }
        MenuKind::Stop => Box::new(Converge::new(Action::Stop, services()?)),
        MenuKind::Dump => {
            Box::new(Dump { databases: databases()?, options: DumpOptions::default(), shrink: Shrink::default() })
        }
        MenuKind::Rebuild => Box::new(Rebuild { databases: databases()?, options: ReplaceOptions::default() }),
        MenuKind::Backup => {
            Box::new(Backup { databases: databases()?, options: DumpOptions::default(), shrink: Shrink::default() })
        }
        MenuKind::Restore => Box::new(Restore {
            database: databases::only_one(databases()?, "db restore")?,
            from: backup.map_or(RestoreFrom::LastBackup, RestoreFrom::Backup),
            options: ReplaceOptions::default(),
        }),
        MenuKind::Status | MenuKind::Logs | MenuKind::Plan | MenuKind::Doctor => {
            return Err(Failure::usage(message!("usage-only-looks")));
        }
    })
}

/// So many lines of each log the menu shows first.
const LOG_TAIL: u64 = 50;

/// What a number shows that only looks, as its command does; gives the exit code.
pub fn look(kind: MenuKind, targets: &[String], session: &mut Session) -> Result<u8, Failure> {
    let targets = TargetArguments { targets: targets.to_vec() };
    session.look(|session| match kind {
        MenuKind::Status => {
            status::run(&StatusArguments { targets, stats: false, by_group: false, watch: false }, session)
        }
        MenuKind::Logs => {
            // Without a terminal there is nobody who would end it.
            let follow = terminal::is_interactive();
            let look = LogsArguments { follow, tail: Some(Tail::Lines(LOG_TAIL)), ..LogsArguments::of(targets) };
            if follow {
                session.output.say(&message!("menu-logs-end"));
            }
            logs::run(&look, session)
        }
        MenuKind::Doctor => doctor::run(&ManifestArguments { manifest: None }, session),
        _ => services::show_plan(&PlanArguments::of(targets), session),
    })
}

/// What came of a plan that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    GoOn,
    /// There is nothing to agree to.
    NothingToDo,
}

/// Shows the plan of an operation and asks whether to go on; with `--yes` it goes on at once.
pub fn agree(operation: &dyn Operation, project: &Arc<Project>, session: &mut Session) -> Result<Agreed, Failure> {
    if session.global.yes {
        return Ok(Agreed::GoOn);
    }
    let question = message!("agree");
    // Nobody looks for long where nobody can answer.
    prompt::must_be_able_to_ask(&question)?;
    let shown = session.look(|session| operation.show(project, session))?;
    if !operation.has_work(&shown) {
        return Ok(Agreed::NothingToDo);
    }
    match operation.weight(project) {
        Weight::Light => prompt::agree(session, &question, Unanswered::Yes)?,
        Weight::Heavy => prompt::agree(session, &question, Unanswered::No)?,
        Weight::Named => operation.confirm(project, session)?,
    }
    Ok(Agreed::GoOn)
}

/// A command of the command line that is one operation, from the question before it to its document.
pub fn act(operation: &dyn Operation, project: &Arc<Project>, session: &mut Session) -> Result<u8, Failure> {
    if !session.global.dry_run {
        operation.confirm(project, session)?;
    }
    let performed = perform(operation, project, session);
    if let (true, Ok(document) | Err(Failure::Some { document, .. })) = (session.output.json, &performed) {
        session.output.document(document)?;
    }
    performed.map(|_| 0)
}

/// Does it, or with `--dry-run` shows what would be done; gives the document that `--json` prints.
pub fn perform(operation: &dyn Operation, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
    if session.global.dry_run {
        return operation.show(project, session);
    }
    let place = if operation.needs_engine() { WorkPlace::Engine } else { WorkPlace::Here };
    session.change_at(place, project, &operation.command(), |session, reporter| {
        if let Some(plan) = operation.settles(project)? {
            reporter.settled(digest(&plan)?);
        }
        let result = when_the_store_is_free(session, &reporter, |session| operation.run(project, session, &reporter));
        if place == WorkPlace::Engine {
            databases::put_back(project, session, &reporter);
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
    let patience = lock::patience(session)?;
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

/// The digest of a plan's steps.
pub fn digest<T: serde::Serialize>(steps: &T) -> Result<Digest, Failure> {
    Digest::of_json(steps).map_err(|error| Failure::Output(error.into()))
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
