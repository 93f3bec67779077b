//! What can be done, whoever asks for it: a command, a choice of the menu, a link of a chain.
//!
//! One [`Operation`] with one set of options for all three, so that nothing does in one of them what the others do
//! differently.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::arguments::{
    Command, CompressionChoice, DatabaseCommand, FormatChoice, SaveArguments, StartArguments, TargetArguments,
};
use super::failure::Failure;
use super::select::{self, Unselected};
use super::session::{Project, Session};
use super::{databases, images, logs, prompt, services, status};
use crate::images::{Compression, LoadOptions, SaveOptions, StoreFormat};
use crate::manifest::types::Period;
use crate::report::Message;
use crate::services::{Action, ExecuteOptions, Options};

/// Something that is to be done, with everything that it needs to be told.
#[derive(Debug, Clone)]
pub enum Operation {
    Save { services: Vec<String>, options: SaveOptions },
    Load { services: Vec<String>, options: LoadOptions },
    Converge(Converge),
    Dump { databases: Vec<String> },
    Rebuild { databases: Vec<String> },
    Backup { databases: Vec<String> },
}

/// An action on services.
#[derive(Debug, Clone)]
pub struct Converge {
    pub action: Action,
    pub services: Vec<String>,
    pub options: Options,
    pub execute: ExecuteOptions,
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

impl Converge {
    fn new(action: Action, services: Vec<String>) -> Self {
        Self { action, services, options: Options::default(), execute: ExecuteOptions::default() }
    }

    fn with(mut self, arguments: &StartArguments) -> Result<Self, Failure> {
        let timeout: Option<Period> = arguments.wait_timeout.as_deref().map(str::parse).transpose().map_err(
            |error: crate::manifest::types::InvalidValue| Failure::usage(format!("--wait-timeout: {error}")),
        )?;
        self.options.wait_timeout = timeout.map(|period| period.0);
        if let Some(parallel) = arguments.parallel.and_then(|count| NonZeroUsize::new(count as usize)) {
            self.execute.parallel = parallel;
        }
        Ok(self)
    }
}

impl Operation {
    /// The operation behind a number of the menu.
    pub fn of_menu(number: u32, targets: &[String], project: &Project) -> Result<Self, Failure> {
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
            MenuKind::Save => Self::Save { services: chosen, options: SaveOptions::default() },
            MenuKind::Load => Self::Load { services: chosen, options: LoadOptions::default() },
            MenuKind::Restart => Self::Converge(Converge::new(Action::Restart, chosen)),
            MenuKind::Stop => Self::Converge(Converge::new(Action::Stop, chosen)),
            MenuKind::Dump => Self::Dump { databases: chosen },
            MenuKind::Rebuild => Self::Rebuild { databases: chosen },
            MenuKind::Backup => Self::Backup { databases: chosen },
        })
    }

    /// What is going to be done, in one line.
    pub fn announcement(&self) -> Message {
        match self {
            Self::Save { services, .. } => Message::new("will-save").with("targets", services.join(", ")),
            Self::Load { services, .. } => Message::new("will-load").with("targets", services.join(", ")),
            Self::Converge(converge) => {
                let targets = converge.services.join(", ");
                match converge.action {
                    Action::Start => Message::new("will-start").with("targets", targets),
                    Action::Restart => Message::new("will-restart").with("targets", targets),
                    Action::Stop => Message::new("will-stop").with("targets", targets),
                    Action::Remove => Message::new("will-remove").with("targets", targets),
                }
            }
            Self::Dump { databases } => Message::new("will-dump").with("targets", databases.join(", ")),
            Self::Rebuild { databases } => Message::new("will-rebuild").with("targets", databases.join(", ")),
            Self::Backup { databases } => Message::new("will-backup").with("targets", databases.join(", ")),
        }
    }

    /// The command as it could be typed; for the journal.
    fn command(&self) -> String {
        let (command, targets) = match self {
            Self::Save { services, .. } => ("save", services),
            Self::Load { services, .. } => ("load", services),
            Self::Converge(converge) => (services::word(converge.action), &converge.services),
            Self::Dump { databases } => ("db dump", databases),
            Self::Rebuild { databases } => ("db rebuild", databases),
            Self::Backup { databases } => ("db backup", databases),
        };
        format!("dpl {command} {}", targets.join(" "))
    }
}

/// A command of the command line, from its arguments to its output.
pub fn run_command(command: Command, session: &mut Session) -> Result<u8, Failure> {
    let (operation, project) = match command {
        Command::Plan(arguments) => return services::show_plan(&arguments, session),
        Command::Status(arguments) => return status::run(&arguments, session),
        Command::Logs(arguments) => return logs::run(&arguments, session),
        Command::Db(DatabaseCommand::List(arguments)) => return databases::list(&arguments, session),
        Command::Save(arguments) => {
            let (project, services) = services_of(&arguments.targets, session, Unselected::All)?;
            (Operation::Save { services, options: save_options(&arguments) }, project)
        }
        Command::Load(arguments) => {
            let (project, services) = services_of(&arguments.targets, session, Unselected::All)?;
            (Operation::Load { services, options: LoadOptions::default() }, project)
        }
        Command::Start(arguments) => {
            let (project, services) = services_of(&arguments.targets, session, Unselected::All)?;
            (Operation::Converge(Converge::new(Action::Start, services).with(&arguments)?), project)
        }
        Command::Restart(arguments) => {
            let unselected = Unselected::Refused { command: "restart" };
            let (project, services) = services_of(&arguments.targets, session, unselected)?;
            (Operation::Converge(Converge::new(Action::Restart, services).with(&arguments)?), project)
        }
        Command::Stop(arguments) => {
            let (project, services) = services_of(&arguments, session, Unselected::Refused { command: "stop" })?;
            (Operation::Converge(Converge::new(Action::Stop, services)), project)
        }
        Command::Remove(arguments) => {
            let (project, services) = services_of(&arguments, session, Unselected::Refused { command: "remove" })?;
            (Operation::Converge(Converge::new(Action::Remove, services)), project)
        }
        Command::Db(DatabaseCommand::Dump(arguments)) => {
            let (project, databases) = databases_of(&arguments, session, Unselected::Refused { command: "db dump" })?;
            (Operation::Dump { databases }, project)
        }
        Command::Db(DatabaseCommand::Rebuild(arguments)) => {
            let unselected = Unselected::Refused { command: "db rebuild" };
            let (project, databases) = databases_of(&arguments, session, unselected)?;
            (Operation::Rebuild { databases }, project)
        }
        Command::Db(DatabaseCommand::Backup(arguments)) => {
            let (project, databases) = databases_of(&arguments, session, Unselected::All)?;
            (Operation::Backup { databases }, project)
        }
        // What needs no operation is dispatched before; naming it here again would hide a new command.
        other => unreachable!("{other:?} is dispatched elsewhere"),
    };
    if !session.global.dry_run {
        confirm_all(std::slice::from_ref(&operation), session)?;
    }
    let document = run(&operation, &project, session)?;
    if session.output.json {
        session.output.document(&document)?;
    }
    Ok(0)
}

fn services_of(
    arguments: &TargetArguments,
    session: &mut Session,
    unselected: Unselected,
) -> Result<(Arc<Project>, Vec<String>), Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let services = select::services(project.manifest(), &selectors, unselected)?;
    Ok((project, services))
}

fn databases_of(
    arguments: &TargetArguments,
    session: &mut Session,
    unselected: Unselected,
) -> Result<(Arc<Project>, Vec<String>), Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let databases = select::databases(project.manifest(), &selectors, unselected)?;
    Ok((project, databases))
}

fn save_options(arguments: &SaveArguments) -> SaveOptions {
    SaveOptions {
        compression: match (arguments.compression, arguments.format) {
            (Some(CompressionChoice::Zstd), _) | (None, FormatChoice::Layout) => Compression::Zstd,
            // `docker load` of 20.10 reads no zstd.
            (Some(CompressionChoice::Gzip), _) | (None, FormatChoice::DockerArchive) => Compression::Gzip,
            (Some(CompressionChoice::None), _) => Compression::None,
        },
        level: arguments.level,
        threads: arguments.threads,
        format: match arguments.format {
            FormatChoice::Layout => StoreFormat::Layout,
            FormatChoice::DockerArchive => StoreFormat::DockerArchive,
        },
    }
}

/// Asks before what can't be taken back: the name of each database that is rebuilt, a yes for what is removed.
pub fn confirm_all(operations: &[Operation], session: &Session) -> Result<(), Failure> {
    let (output, yes) = (&session.output, session.global.yes);
    for operation in operations {
        match operation {
            Operation::Rebuild { databases } => {
                for name in databases {
                    let question = Message::new("confirm-rebuild").with("database", name);
                    prompt::confirm_by_name(output, yes, &question, name)?;
                }
            }
            Operation::Converge(Converge { action: Action::Remove, services, .. }) => {
                let question =
                    Message::new("confirm-remove").with("count", services.len()).with("targets", services.join(", "));
                prompt::confirm(output, yes, &question)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Does it, or with `--dry-run` shows what would be done; gives the document that `--json` prints.
pub fn run(operation: &Operation, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
    if session.global.dry_run {
        return match operation {
            Operation::Save { services, options } => images::show_save(services, options, project, session),
            Operation::Load { services, .. } => images::show_load(services, project, session),
            Operation::Converge(converge) => services::show(converge, project, session),
            Operation::Dump { .. } | Operation::Rebuild { .. } | Operation::Backup { .. } => {
                databases::show(operation, project, session)
            }
        };
    }
    session.change(project, &operation.command(), |session, reporter| match operation {
        Operation::Save { services, options } => images::save(services, options, project, session, &reporter),
        Operation::Load { services, options } => images::load(services, options, project, session, &reporter),
        Operation::Converge(converge) => services::converge(converge, project, session, &reporter),
        Operation::Dump { databases } => databases::dump(databases, project, session, &reporter),
        Operation::Rebuild { databases } => databases::rebuild(databases, project, session, &reporter),
        Operation::Backup { databases } => databases::backup(databases, project, session, &reporter),
    })
}

/// A document as JSON.
pub fn document<T: serde::Serialize>(report: &T) -> Result<Value, Failure> {
    serde_json::to_value(report).map_err(|error| Failure::Output(error.into()))
}

/// A folder of the manifest's `paths`, which the command needs.
pub fn path<'p>(path: Option<&'p Path>, name: &str) -> Result<&'p Path, Failure> {
    path.ok_or_else(|| {
        let hint = format!("add \"paths\": {{ \"{name}\": \"…\" }} to it");
        Failure::usage_with_hint(format!("the manifest does not say where {name} lie"), hint)
    })
}
