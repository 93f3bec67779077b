//! What `--dry-run` of an action on databases shows.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::chosen::database;
use super::dependents::users;
use super::replace::Replaced;
use super::settings::{backups_folder, seed};
use crate::cli::session::operations::{Shown, document};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::report::Listed;

/// What is done to databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Dump,
    Rebuild,
    Restore,
    Rollback,
    Backup,
}

/// A database that would be replaced, and by what.
pub struct Way {
    pub database: String,
    pub path: String,
    /// `None` where nothing goes.
    pub replaced: Option<Replaced>,
}

/// What `--dry-run` of an action on databases prints.
#[derive(Debug, Serialize)]
struct WouldDo {
    action: Act,
    databases: Vec<WouldDoTo>,
}

/// One database of it.
#[derive(Debug, Serialize)]
struct WouldDoTo {
    database: String,
    /// Where the dump comes from or goes to.
    path: String,
    /// Services that stop while the database is swapped.
    stops: Vec<String>,
}

/// The document of an action on databases that makes dumps.
pub fn plan(action: Act, names: &[String], project: &Project) -> Result<Value, Failure> {
    let mut would = WouldDo { action, databases: Vec::new() };
    for name in names {
        let path = target(action, name, project)?.display().to_string();
        would.databases.push(WouldDoTo { database: name.clone(), path, stops: Vec::new() });
    }
    document(&would)
}

fn target(action: Act, name: &str, project: &Project) -> Result<PathBuf, Failure> {
    match action {
        Act::Backup => Ok(backups_folder(project)?.path),
        _ => Ok(seed(database(project, name)?, name)?.to_owned()),
    }
}

/// `--dry-run` of an action on databases that makes dumps.
pub fn show(action: Act, names: &[String], project: &Project, session: &mut Session) -> Result<Shown, Failure> {
    for name in names {
        let path = target(action, name, project)?;
        let message = match action {
            Act::Backup => message!("would-backup", database = name, path = path.display()),
            _ => message!("would-dump", database = name, path = path.display()),
        };
        session.output.say(&message);
    }
    Shown::of(&plan(action, names, project)?)
}

/// Services that stop while a database is swapped. One that is made beside has no users yet.
fn stopped_for(name: &str, project: &Project) -> Vec<String> {
    let known = project.manifest().databases.get(name);
    known.map(|database| users(project.manifest(), database)).unwrap_or_default()
}

/// The document of what replaces databases.
pub fn plan_ways(action: Act, ways: &[Way], project: &Project) -> Result<Value, Failure> {
    let databases = ways.iter().map(|Way { database, path, .. }| WouldDoTo {
        database: database.clone(),
        path: path.clone(),
        stops: stopped_for(database, project),
    });
    document(&WouldDo { action, databases: databases.collect() })
}

/// `--dry-run` of what replaces databases.
pub fn show_ways(action: Act, ways: &[Way], project: &Project, session: &mut Session) -> Result<Shown, Failure> {
    for Way { database: name, path, replaced } in ways {
        let stops = stopped_for(name, project);
        let message = match (action, stops.is_empty()) {
            (Act::Rollback, true) => message!("would-roll-back", database = name, path = path),
            (Act::Rollback, false) => {
                message!("would-roll-back-stopping", database = name, path = path, stops = Listed::of(&stops))
            }
            (Act::Restore, true) => message!("would-restore", database = name, path = path),
            (Act::Restore, false) => {
                message!("would-restore-stopping", database = name, path = path, stops = Listed::of(&stops))
            }
            (_, true) => message!("would-rebuild", database = name, path = path),
            (_, false) => message!("would-rebuild-stopping", database = name, path = path, stops = Listed::of(&stops)),
        };
        session.output.say(&message);
        match replaced {
            Some(Replaced::Dropped) => session.output.say(&message!("would-drop", database = name)),
            Some(Replaced::Kept(0)) => session.output.say(&message!("would-keep-none", database = name)),
            Some(Replaced::Kept(count)) => {
                session.output.say(&message!("would-keep", database = name, count = count));
            }
            Some(Replaced::BackedUp) | None => {}
        }
    }
    Shown::of(&plan_ways(action, ways, project)?)
}
