//! `db …` as the operator sees it.

mod convert;
mod dependents;
mod dumps;
mod leftovers;
mod list;
mod prune;
mod reach;
mod rebuild;
mod replace;
mod restore;
mod rollback;
mod shell;
mod sql;
mod verify;
mod would;

use std::path::{Path, PathBuf};

use super::arguments::DatabaseCommand;
use super::failure::Failure;
use super::operations::{self, databases_of, path};
use super::select;
use super::select::Unselected;
use super::session::{Project, Session};
use crate::databases::{BackupFolder, BackupSettings, BadBackups, Jobs, Level, LockPatience, PasswordHashes, Shrink};
use crate::fs::follow_links;
use crate::manifest::Manifest;
use crate::manifest::model::{Database, Service};
use crate::services;
use crate::state::Operator;

pub use dependents::{forget_stopped, put_back};
pub use dumps::{Backup, Dump, DumpOptions};
pub use leftovers::LeftoversDocument;
pub use list::{backups_of, look, proof};
pub use prune::Prune;
pub use rebuild::Rebuild;
pub use replace::ReplaceOptions;
pub use restore::{From as RestoreFrom, Restore};
pub use sql::SqlReport;

use reach::WhenDown;
use replace::Additions;
use rollback::Rollback;

/// `dpl db …`.
pub fn run(command: &DatabaseCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        DatabaseCommand::List(arguments) => list::list(arguments, session),
        DatabaseCommand::Dump(arguments) => {
            let unselected = Unselected::Refused { command: "db dump" };
            let (project, databases) = databases_of(&arguments.targets, session, unselected)?;
            let options = DumpOptions::of(&arguments.options);
            let shrink = shrink(arguments.allow_shrink);
            operations::act(&Dump { databases, options, shrink }, &project, session)
        }
        DatabaseCommand::Rebuild(arguments) => {
            let unselected = Unselected::Refused { command: "db rebuild" };
            let (project, databases) = databases_of(&arguments.targets, session, unselected)?;
            let options = ReplaceOptions::of(&arguments.replace);
            operations::act(&Rebuild { databases, options }, &project, session)
        }
        DatabaseCommand::Restore(arguments) => {
            let unselected = Unselected::Refused { command: "db restore" };
            let (project, databases) = databases_of(&arguments.targets, session, unselected)?;
            let database = only_one(databases, "db restore")?;
            let from = match (&arguments.backup, &arguments.file) {
                (Some(id), _) => restore::From::Backup(id.clone()),
                (None, Some(path)) => restore::From::File(path.clone()),
                (None, None) => restore::From::LastBackup,
            };
            let additions = if arguments.exact { Additions::None } else { Additions::AsTheManifestSays };
            let beside = arguments.beside.clone();
            let options = ReplaceOptions { additions, beside, ..ReplaceOptions::of(&arguments.replace) };
            operations::act(&Restore { database, from, options }, &project, session)
        }
        DatabaseCommand::Convert(arguments) => {
            let project = session.project(None)?;
            let (database, output) = (arguments.database.clone(), arguments.output.clone());
            let convert = convert::Convert::of(&arguments.file, database, output, &project)?;
            operations::act(&convert, &project, session)
        }
        DatabaseCommand::Rollback(arguments) => {
            let unselected = Unselected::Refused { command: "db rollback" };
            let (project, databases) = databases_of(&arguments.targets, session, unselected)?;
            let when_down = if arguments.start { WhenDown::Start } else { WhenDown::Refuse };
            operations::act(&Rollback { databases, when_down }, &project, session)
        }
        DatabaseCommand::Backup(arguments) => {
            let (project, databases) = databases_of(&arguments.targets, session, Unselected::All)?;
            let options = DumpOptions::of(&arguments.options);
            let shrink = shrink(arguments.allow_shrink);
            operations::act(&Backup { databases, options, shrink }, &project, session)
        }
        DatabaseCommand::Verify(arguments) => verify::run(arguments, session),
        DatabaseCommand::Prune(arguments) => {
            let unselected = Unselected::Refused { command: "db prune" };
            let (project, databases) = databases_of(&arguments.targets, session, unselected)?;
            let bad = if arguments.remove_bad { BadBackups::Remove } else { BadBackups::Keep };
            operations::act(&Prune { databases, keep_old: arguments.keep_old, bad }, &project, session)
        }
        DatabaseCommand::Leftovers(arguments) => leftovers::run(arguments, session),
        DatabaseCommand::Sql(arguments) => sql::run(arguments, session),
        DatabaseCommand::Shell(arguments) => shell::run(arguments, session),
    }
}

/// Names as they could be typed behind a command.
fn typed(names: &[String]) -> String {
    names.iter().map(|name| leftovers::quoted(name)).collect::<Vec<_>>().join(" ")
}

/// What `--allow-shrink` says.
fn shrink(allowed: bool) -> Shrink {
    if allowed { Shrink::Allow } else { Shrink::Refuse }
}

/// A database of the manifest, found by its name.
fn database<'p>(project: &'p Project, name: &str) -> Result<&'p Database, Failure> {
    let found = project.manifest().databases.get(name);
    found.ok_or_else(|| Failure::usage(message!("usage-no-database", name = name)))
}

/// The one database that was chosen.
pub fn only_one(mut databases: Vec<String>, command: &str) -> Result<String, Failure> {
    let one = databases.pop().filter(|_| databases.is_empty());
    one.ok_or_else(|| Failure::usage(message!("usage-one-restore", command = command)))
}

/// The one database that a selector chooses.
fn one_database(project: &Project, selector: &str, command: &'static str) -> Result<String, Failure> {
    let mut chosen = select::databases(project.manifest(), &[selector.to_owned()], Unselected::Refused { command })?;
    match (chosen.pop(), chosen.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(Failure::usage(message!("usage-one-database", command = command, selector = selector))),
    }
}

fn operator() -> String {
    let operator = Operator::of_process();
    format!("{}@{}", operator.user, operator.host)
}

fn seed<'d>(database: &'d Database, name: &str) -> Result<&'d Path, Failure> {
    database.seed.as_deref().ok_or_else(|| {
        let hint = message!("hint-add-seed", name = name);
        Failure::usage_with_hint(message!("usage-no-seed", name = name), hint)
    })
}

/// Where a dump goes that is to lie at `path`: at the end of its links. Only files and folders are ever replaced.
fn dump_target(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: String| Failure::usage(message!("usage-dump-target", path = path.display(), why = why));
    let target = follow_links(path).map_err(|error| wrong(error.to_string()))?;
    match target.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => Err(wrong("it is a device or a pipe".to_owned())),
        _ => Ok(target),
    }
}

fn backups_folder(project: &Project) -> Result<BackupFolder, Failure> {
    let path = path(project.manifest().paths.backups.as_deref(), "backups")?.to_owned();
    Ok(BackupFolder { path, project: Some(project.manifest().project.clone()) })
}

fn backup_settings(project: &Project) -> Result<BackupSettings, Failure> {
    Ok(BackupSettings {
        folder: backups_folder(project)?,
        jobs: Jobs::default(),
        level: Level::default(),
        hashes: PasswordHashes::default(),
        shrink: Shrink::default(),
        patience: LockPatience::default(),
        operator: operator(),
    })
}

/// The services that stop while a database is swapped: those that it says, else those that depend on its server's.
fn users(manifest: &Manifest, database: &Database) -> Vec<String> {
    let mut users = match &database.used_by {
        Some(users) => users.clone(),
        None => manifest
            .services
            .iter()
            .filter(|(_, _, service)| {
                database.service.as_ref().is_some_and(|server| service.depends_on.contains_key(server))
            })
            .map(|(_, name, _)| name.to_owned())
            .collect(),
    };
    // Who lives in a namespace of one that stops is killed with it, or left in one that nobody else is in.
    loop {
        let is_user = |name: &str| users.iter().any(|user| user == name);
        let is_guest = |name: &str, service: &Service| {
            !is_user(name)
                && database.service.as_deref() != Some(name)
                && services::providers(service).into_iter().any(is_user)
        };
        let all = manifest.services.iter();
        let guests: Vec<String> =
            all.filter(|(_, name, service)| is_guest(name, service)).map(|(_, name, _)| name.to_owned()).collect();
        if guests.is_empty() {
            return users;
        }
        users.extend(guests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::NamespaceMode;

    #[test]
    fn a_dump_goes_where_links_lead_and_replaces_neither_pipes_nor_devices() {
        use std::os::unix::fs::symlink;

        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = |name: &str| here.path().join(name);
        std::fs::create_dir(there.path().join("seed")).unwrap();
        for name in ["seed", "not-yet"] {
            symlink(there.path().join(name), path(name)).unwrap();
            assert_eq!(dump_target(&path(name)).unwrap(), there.path().join(name));
        }
        assert_eq!(dump_target(&path("plain")).unwrap(), path("plain"));
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        symlink("pipe", path("to-pipe")).unwrap();
        for name in ["pipe", "to-pipe"] {
            assert_eq!(dump_target(&path(name)).unwrap_err().exit_code(), 2, "{name}");
        }
    }

    #[test]
    fn those_that_live_in_a_namespace_of_a_user_stop_and_start_with_it() {
        let of = |name: &str| Some(NamespaceMode::Service(name.to_owned()));
        let mut manifest = Manifest::default();
        for (name, service) in [
            ("db", Service::default()),
            ("api", Service::default()),
            ("side", Service { network_mode: of("api"), pid: of("api"), ..Service::default() }),
            ("probe", Service { ipc: of("side"), ..Service::default() }),
            ("other", Service { pid: of("db"), ..Service::default() }),
        ] {
            manifest.services.push(name.to_owned(), Some(service));
        }
        let used_by = Some(vec!["api".to_owned()]);
        let database = Database { service: Some("db".to_owned()), used_by, ..Database::default() };
        assert_eq!(users(&manifest, &database), ["api", "side", "probe"]);
    }
}
