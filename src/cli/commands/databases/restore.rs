//! `db restore`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::chosen::only_one;
use super::dry_run::{self, Act, Way};
use super::reach::offer_start;
use super::replace::{ReplaceOptions, Replaced, Replacing, look_at};
use super::settings::backups_folder;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::typed::quoted;
use crate::cli::session::operations::{self, Operation, Shown, Weight, databases_of, document, settle};
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::{PassedOverBecause, RebuildsDocument, find_backup, last_backup};
use crate::report::{Message, Reporter};

#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The database, and a manifest (.json)
    #[command(flatten)]
    pub targets: TargetArguments,
    /// The backup: expert/20260704T101530Z, or the time alone [default: the last one]
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
    /// A backup's folder, an archive of pg_dump (-Fc, -Fd, -Ft), or plain SQL, which is converted first [default: a
    /// backup]
    #[arg(long, value_name = "PATH", conflicts_with = "backup")]
    pub file: Option<PathBuf>,
    /// Restore into a new database of this name and replace nothing [default: it is replaced]
    #[arg(long = "as", value_name = "NEW", conflicts_with_all = ["keep_old", "no_backup"])]
    pub beside: Option<String>,
    /// Restore only what the dump holds: no patches, no rows of the present database
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub replace: ReplaceOptions,
}

impl RestoreArguments {
    fn from(&self) -> From {
        match (&self.backup, &self.file) {
            (Some(id), _) => From::Backup(id.clone()),
            (None, Some(path)) => From::File(path.clone()),
            (None, None) => From::LastBackup,
        }
    }

    fn options(&self) -> ReplaceOptions {
        ReplaceOptions { exact: self.exact, beside: self.beside.clone(), ..self.replace.clone() }
    }
}

/// Where a database is restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    LastBackup,
    Backup(String),
    File(PathBuf),
}

/// `dpl db restore`.
pub fn run(arguments: &RestoreArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, databases) =
        databases_of(&arguments.targets, session, Unselected::Refused { command: "db restore" })?;
    let database = only_one(databases, "db restore")?;
    let restore = Restore { database, from: arguments.from(), options: arguments.options() };
    operations::act(&restore, &project, session)
}

/// Restores one database.
#[derive(Debug)]
pub struct Restore {
    pub database: String,
    pub from: From,
    pub options: ReplaceOptions,
}

impl Restore {
    fn source(&self, project: &Project) -> Result<PathBuf, Failure> {
        Ok(match &self.from {
            From::LastBackup => find_backup(&backups_folder(project)?, &self.database, None)?,
            From::Backup(id) => find_backup(&backups_folder(project)?, &self.database, Some(id))?,
            From::File(path) => path.clone(),
        })
    }

    /// Newer backups that the last good one is taken before: nobody should find that out afterwards.
    fn passed_over(&self, project: &Project) -> Result<Vec<Message>, Failure> {
        if self.from != From::LastBackup {
            return Ok(Vec::new());
        }
        let last = last_backup(&backups_folder(project)?, &self.database)?;
        let passed_over = last.map(|last| last.passed_over).unwrap_or_default();
        let said = passed_over.into_iter().map(|passed| match passed.reason {
            PassedOverBecause::Unreadable(why) => {
                message!("restore-passes-unreadable", path = passed.path.display(), why = why)
            }
            PassedOverBecause::Bad => message!("restore-passes-bad", path = passed.path.display()),
            PassedOverBecause::FromTheFuture => message!("restore-passes-future", path = passed.path.display()),
        });
        Ok(said.collect())
    }

    fn way(&self, project: &Project) -> Result<Way, Failure> {
        let path = self.source(project)?.display().to_string();
        let replaced = self.options.beside.is_none().then_some(self.options.replaced());
        let database = self.options.beside.clone().unwrap_or_else(|| self.database.clone());
        Ok(Way { database, path, replaced })
    }

    fn from(&self) -> String {
        match &self.from {
            From::LastBackup => String::new(),
            From::Backup(id) => format!(" --backup {}", quoted(id)),
            From::File(path) => format!(" --file {}", quoted(&path.to_string_lossy())),
        }
    }
}

impl Operation for Restore {
    fn announcement(&self) -> Message {
        let source = match &self.from {
            From::LastBackup => None,
            From::Backup(id) => Some(id.clone()),
            From::File(path) => Some(path.display().to_string()),
        };
        match (&source, &self.options.beside) {
            (Some(_), Some(_)) => {
                message!("will-restore-beside", targets = &self.database, source = source.unwrap_or_default())
            }
            (Some(_), None) => message!("will-restore", targets = &self.database, source = source.unwrap_or_default()),
            (None, Some(_)) => message!("will-restore-last-beside", targets = &self.database),
            (None, None) => message!("will-restore-last", targets = &self.database),
        }
    }

    fn command(&self) -> String {
        format!("dpl db restore {}{}{}", quoted(&self.database), self.from(), self.options.flags())
    }

    fn advise(&self, failure: Failure) -> Failure {
        offer_start(failure, self.options.when_down())
    }

    fn weight(&self, _project: &Project) -> Weight {
        Weight::Named
    }

    /// A database beside it replaces nothing.
    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        for message in self.passed_over(project)? {
            session.output.warn(&message);
        }
        if self.options.beside.is_some() {
            return Ok(());
        }
        let source = self.source(project)?;
        self.options.ensure_own_dump(&self.database, &source, project, session)?;
        let question = match self.options.replaced() {
            Replaced::Dropped => {
                message!("confirm-restore-unsaved", database = &self.database, source = source.display())
            }
            Replaced::BackedUp | Replaced::Kept(_) => {
                message!("confirm-restore", database = &self.database, source = source.display())
            }
        };
        session.confirm_by_name(&question, &self.database)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        for message in self.passed_over(project)? {
            session.output.warn(&message);
        }
        self.options.ensure_own_dump(&self.database, &self.source(project)?, project, session)?;
        let shown = dry_run::show_ways(Act::Restore, &[self.way(project)?], project, session)?;
        look_at(&self.database, project, session)?.warn_if_unknown(&self.database, session);
        Ok(shown)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&dry_run::plan_ways(Act::Restore, &[self.way(project)?], project)?, reporter)?;
        let begun = Instant::now();
        let source = self.source(project)?;
        let mut replacing = Replacing { options: &self.options, project, session, reporter };
        let report = replacing.replace(&self.database, &source, None)?;
        let message = match (self.options.replaced(), &self.options.beside) {
            (Replaced::Kept(1..), None) => message!(
                "restore-done-kept",
                database = &report.database,
                source = &report.source,
                time = begun.elapsed().as_secs_f64()
            ),
            _ => message!(
                "restore-done",
                database = &report.database,
                source = &report.source,
                time = begun.elapsed().as_secs_f64()
            ),
        };
        if !report.finished_earlier {
            session.output.say(&message);
        }
        document(&RebuildsDocument { rebuilds: vec![report] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::databases::DatabaseCommand;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_a_restore_with_all_its_flags() {
        let lines = [
            "dpl db restore shop",
            "dpl db restore shop --backup shop/20260704T101530Z --keep-old 0 --exact --allow-shrink --again \
             --other-database --create-roles --no-owner --no-privileges --no-tablespaces --jobs 63 --start",
            "dpl db restore shop --file '/media/a b' --as shop_before --owner old=new",
            "dpl db restore shop --no-backup",
        ];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Db(DatabaseCommand::Restore(arguments)) => {
                let database = arguments.targets.targets[0].clone();
                Restore { database, from: arguments.from(), options: arguments.options() }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
