//! What can be chosen by a number, in the menu and in a chain: what changes something, and what only looks.

use std::sync::Arc;

use clap::FromArgMatches;

use crate::catalogue::Language;
use crate::cli::ask::prompt::{Unanswered, must_be_able_to_ask};
use crate::cli::ask::terminal;
use crate::cli::commands::databases::{self, Backup, Dump, DumpOptions, Rebuild, ReplaceOptions, Restore, RestoreFrom};
use crate::cli::commands::doctor;
use crate::cli::commands::images::{Load, Save};
use crate::cli::commands::logs::{self, LogsArguments, Tail};
use crate::cli::commands::services::PlanArguments;
use crate::cli::commands::services::{self, Converge, awake};
use crate::cli::commands::status::{self, StatusArguments};
use crate::cli::commands::{self, Arguments};
use crate::cli::grammar::arguments::{ManifestArguments, TargetArguments};
use crate::cli::session::operations::{Operation, Weight};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::Shrink;
use crate::images::{LoadOptions, SaveOptions};
use crate::report::Message;
use crate::services::Action;

/// What an entry of the menu applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Services,
    Databases,
    /// One of them, and one of its backups.
    Backup,
    /// It is about everything.
    Nothing,
    /// A site.
    Site,
    /// A site, and services.
    SiteAndServices,
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
    Send,
    AtSite,
}

impl MenuKind {
    /// Whether it only looks, and changes nothing.
    pub fn only_looks(self) -> bool {
        matches!(self, Self::Status | Self::Logs | Self::Plan | Self::Doctor)
    }

    /// Whether nothing is lost by it that a manifest and images can't bring back.
    pub fn replaces_no_data(self) -> bool {
        matches!(self, Self::Save | Self::Load | Self::Restart | Self::Stop | Self::Backup)
    }

    /// Whether it is about another machine: a command of its own, that asks what it has to.
    pub fn is_elsewhere(self) -> bool {
        matches!(self, Self::Send | Self::AtSite)
    }
}

const fn entry(number: u32, targets: TargetKind, kind: MenuKind) -> MenuEntry {
    MenuEntry { number, targets, kind }
}

/// deploy.py's numbers, then those of dpl's own (docs/command-line.md, "The menu").
pub static MENU: [MenuEntry; 14] = [
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
    entry(13, TargetKind::SiteAndServices, MenuKind::Send),
    entry(14, TargetKind::Site, MenuKind::AtSite),
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
            MenuKind::Send => message!("menu-send"),
            MenuKind::AtSite => message!("menu-at-site"),
        }
    }
}

/// The entry of a number.
pub fn entry_of(number: u32) -> Result<&'static MenuEntry, Failure> {
    let found = MENU.iter().find(|entry| entry.number == number);
    found.ok_or_else(|| no_action(&number.to_string()))
}

/// As [`entry_of`], for what may stand in a chain: an action that changes something.
pub fn changing(number: u32) -> Result<&'static MenuEntry, Failure> {
    let entry = entry_of(number)?;
    match entry.kind.only_looks() {
        _ if entry.kind.is_elsewhere() => Err(Failure::usage(message!("usage-action-elsewhere", action = number))),
        true => {
            let (first, last) = chain_actions();
            let hint = message!("hint-chain-actions", first = first, last = last);
            Err(Failure::usage_with_hint(message!("usage-action-looks", action = number), hint))
        }
        false => Ok(entry),
    }
}

/// The first and the last number of an action that can stand in a chain.
fn chain_actions() -> (u32, u32) {
    let may_stand = |entry: &&MenuEntry| !entry.kind.only_looks() && !entry.kind.is_elsewhere();
    let numbers = MENU.iter().filter(may_stand).map(|entry| entry.number);
    numbers.fold((u32::MAX, 0), |(first, last), number| (first.min(number), last.max(number)))
}

/// What was typed is no entry's number.
pub fn no_action(typed: &str) -> Failure {
    let is_number = !typed.chars().any(char::is_alphabetic);
    Failure::usage(match is_number {
        true => message!("usage-no-such-action", typed = typed, last = MENU.len()),
        false => message!("menu-not-an-action", typed = typed, last = MENU.len()),
    })
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
        MenuKind::Status | MenuKind::Logs | MenuKind::Plan | MenuKind::Doctor | MenuKind::Send | MenuKind::AtSite => {
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

/// What a number does with another machine: the command that could be typed; gives the exit code.
pub fn elsewhere(kind: MenuKind, site: &str, targets: &[String], session: &mut Session) -> Result<u8, Failure> {
    let word = if kind == MenuKind::Send { "send" } else { "on" };
    let words = ["dpl", word, site].into_iter().chain(targets.iter().map(String::as_str));
    let parsed = commands::grammar(Language::English)
        .try_get_matches_from(words)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed.map(|arguments| arguments.command) {
        Ok(Some(command)) => commands::dispatch(command, session),
        Ok(None) => Ok(0),
        Err(error) => Err(Failure::usage(message!("usage-text", text = error))),
    }
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
    must_be_able_to_ask(&question)?;
    let shown = session.look(|session| operation.show(project, session)?.or_failures())?;
    if !shown.has_work {
        return Ok(Agreed::NothingToDo);
    }
    match operation.weight(project) {
        Weight::Light => session.agree(&question, Unanswered::Yes)?,
        Weight::Heavy => session.agree(&question, Unanswered::No)?,
        Weight::Named => operation.confirm(project, session)?,
    }
    Ok(Agreed::GoOn)
}
