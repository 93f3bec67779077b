//! What can be done, whoever asks for it: a command, a choice of the menu, a link of a chain.
//!
//! One [`Operation`] with one set of options for all three, so that nothing does in one of them what the others do
//! differently. Each room of this folder has its own.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::arguments::TargetArguments;
use super::databases::{self, Backup, Dump, DumpOptions, Rebuild, ReplaceOptions};
use super::failure::Failure;
use super::images::{Load, Save};
use super::select::{self, Unselected};
use super::services::{Converge, awake};
use super::session::{Project, Session, WorkPlace};
use crate::databases::Shrink;
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

    /// Asks before what can't be taken back.
    fn confirm(&self, _project: &Arc<Project>, _session: &mut Session) -> Result<(), Failure> {
        Ok(())
    }

    /// Shows what would be done, from the same look that `run` takes; gives the document that `--json` prints.
    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure>;

    /// Does it; gives the document that `--json` prints.
    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure>;
}

/// What an entry of the menu applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Services,
    Databases,
}

/// An entry of the menu.
pub struct MenuEntry {
    pub number: u32,
    pub targets: TargetKind,
    kind: MenuKind,
}

#[derive(Debug, Clone, Copy)]
enum MenuKind {
    Save,
    Load,
    Restart,
    Stop,
    Dump,
    Rebuild,
    Backup,
}

/// deploy.py's numbers (docs/command-line.md, "The menu").
pub const MENU: [MenuEntry; 7] = [
    MenuEntry { number: 1, targets: TargetKind::Services, kind: MenuKind::Save },
    MenuEntry { number: 2, targets: TargetKind::Services, kind: MenuKind::Load },
    MenuEntry { number: 3, targets: TargetKind::Services, kind: MenuKind::Restart },
    MenuEntry { number: 4, targets: TargetKind::Services, kind: MenuKind::Stop },
    MenuEntry { number: 5, targets: TargetKind::Databases, kind: MenuKind::Dump },
    MenuEntry { number: 6, targets: TargetKind::Databases, kind: MenuKind::Rebuild },
    MenuEntry { number: 7, targets: TargetKind::Databases, kind: MenuKind::Backup },
];

impl MenuEntry {
    pub fn title(&self) -> Message {
        match self.kind {
            MenuKind::Save => Message::new("menu-save"),
            MenuKind::Load => Message::new("menu-load"),
            MenuKind::Restart => Message::new("menu-restart"),
            MenuKind::Stop => Message::new("menu-stop"),
            MenuKind::Dump => Message::new("menu-dump"),
            MenuKind::Rebuild => Message::new("menu-rebuild"),
            MenuKind::Backup => Message::new("menu-backup"),
        }
    }
}

/// The operation behind a number of the menu.
pub fn of_menu(number: u32, targets: &[String], project: &Project) -> Result<Box<dyn Operation>, Failure> {
    let manifest = project.manifest();
    let entry = MENU
        .iter()
        .find(|entry| entry.number == number)
        .ok_or_else(|| Failure::usage(format!("there is no action {number}: they go from 1 to {}", MENU.len())))?;
    let chosen = match entry.targets {
        TargetKind::Services => select::services(manifest, targets, Unselected::All)?,
        TargetKind::Databases => select::databases(manifest, targets, Unselected::All)?,
    };
    Ok(match entry.kind {
        MenuKind::Save => Box::new(Save { services: chosen, options: SaveOptions::default() }),
        MenuKind::Load => Box::new(Load { services: chosen, options: LoadOptions::default() }),
        MenuKind::Restart => Box::new(Converge::new(Action::Restart, awake(manifest, targets, &[], chosen)?)),
        MenuKind::Stop => Box::new(Converge::new(Action::Stop, chosen)),
        MenuKind::Dump => Box::new(Dump { databases: chosen, options: DumpOptions::default() }),
        MenuKind::Rebuild => Box::new(Rebuild { databases: chosen, options: ReplaceOptions::default() }),
        MenuKind::Backup => {
            Box::new(Backup { databases: chosen, options: DumpOptions::default(), shrink: Shrink::default() })
        }
    })
}

/// A command of the command line that is one operation, from the question before it to its document.
pub fn act(operation: &dyn Operation, project: &Arc<Project>, session: &mut Session) -> Result<u8, Failure> {
    if !session.global.dry_run {
        operation.confirm(project, session)?;
    }
    let document = perform(operation, project, session)?;
    if session.output.json {
        session.output.document(&document)?;
    }
    Ok(0)
}

/// Does it, or with `--dry-run` shows what would be done; gives the document that `--json` prints.
pub fn perform(operation: &dyn Operation, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
    if session.global.dry_run {
        return operation.show(project, session);
    }
    let place = if operation.needs_engine() { WorkPlace::Engine } else { WorkPlace::Here };
    session.change_at(place, project, &operation.command(), |session, reporter| {
        let result = operation.run(project, session, &reporter);
        if place == WorkPlace::Engine {
            databases::put_back(project, session, &reporter);
        }
        result
    })
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

/// A document as JSON.
pub fn document<T: serde::Serialize>(report: &T) -> Result<Value, Failure> {
    serde_json::to_value(report).map_err(|error| Failure::Output(error.into()))
}

/// A folder of the manifest's `paths`, which the command needs.
pub fn path<'p>(path: Option<&'p Path>, name: &str) -> Result<&'p Path, Failure> {
    path.ok_or_else(|| {
        let hint = Message::new("hint-add-path").with("name", name);
        Failure::usage_with_hint(format!("the manifest does not say where {name} lie"), hint)
    })
}
