//! What dumps and restores are told: by flags, by the manifest, by who runs them.

use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;

use super::chosen::database;
use crate::cli::grammar::values::number;
use crate::cli::session::Project;
use crate::cli::session::operations::path;
use crate::cli::text::failure::Failure;
use crate::databases::{
    BackupFolder, BackupSettings, DatabasesError, Jobs, Level, LockPatience, PasswordHashes, Shrink,
};
use crate::fs::follow_links;
use crate::manifest::model::Database;
use crate::state::Operator;

/// The value of `--jobs`.
pub fn jobs() -> impl TypedValueParser<Value = Jobs> {
    number(1..=64).map(|jobs| Jobs::new(jobs).expect("a number from 1 to 64 is one of jobs"))
}

/// The value of `--level`.
pub fn level() -> impl TypedValueParser<Value = Level> {
    number(1..=12).map(|level| Level::new(level).expect("a number from 1 to 12 is a level"))
}

/// What `--allow-shrink` says.
pub fn shrink(allowed: bool) -> Shrink {
    if allowed { Shrink::Allow } else { Shrink::Refuse }
}

/// Who runs this, and where.
pub fn operator() -> String {
    let operator = Operator::of_process();
    format!("{}@{}", operator.user, operator.host)
}

/// Where the manifest says that a database's seed lies.
pub fn seed<'d>(database: &'d Database, name: &str) -> Result<&'d Path, Failure> {
    database.seed.as_deref().ok_or_else(|| {
        let hint = message!("hint-add-seed", name = name);
        Failure::usage_with_hint(message!("usage-no-seed", name = name), hint)
    })
}

/// As [`seed`], for what reads it.
pub fn present_seed<'p>(project: &'p Project, name: &str) -> Result<&'p Path, Failure> {
    let path = seed(database(project, name)?, name)?;
    match path.metadata() {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            let hint = message!("hint-make-seed", name = name, path = path.display());
            let error = DatabasesError::File { operation: message!("verb-read"), path: path.to_owned(), source };
            Err(Failure::from(error).with_hint(hint))
        }
        _ => Ok(path),
    }
}

/// Where a dump goes that is to lie at `path`: at the end of its links. Only files and folders are ever replaced.
pub fn dump_target(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: String| Failure::usage(message!("usage-dump-target", path = path.display(), why = why));
    let target = follow_links(path).map_err(|error| wrong(error.to_string()))?;
    match target.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => Err(wrong("it is a device or a pipe".to_owned())),
        _ => Ok(target),
    }
}

/// Where the project's backups lie.
pub fn backups_folder(project: &Project) -> Result<BackupFolder, Failure> {
    let path = path(project.manifest().paths.backups.as_deref(), "backups")?.to_owned();
    Ok(BackupFolder { path, project: Some(project.manifest().project.clone()) })
}

/// How a backup is made where no flag says it otherwise.
pub fn backup_settings(project: &Project) -> Result<BackupSettings, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
