//! `db restore`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::backups_folder;
use super::leftovers::quoted;
use super::replace::{ReplaceOptions, Replaced, Replacing};
use super::would::{self, Act, Way};
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, Weight, document};
use crate::cli::prompt;
use crate::cli::session::{Project, Session};
use crate::databases::{Identity, PassedOverBecause, RebuildsDocument, find_backup, last_backup};
use crate::report::{Message, Reporter};

/// Where a database is restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    LastBackup,
    Backup(String),
    File(PathBuf),
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
        let replaced = self.options.beside.is_none().then_some(self.options.replaced);
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

    fn weight(&self, _project: &Project) -> Weight {
        Weight::Named
    }

    /// A database beside it replaces nothing.
    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if self.options.beside.is_some() {
            return Ok(());
        }
        for message in self.passed_over(project)? {
            session.output.warn(&message);
        }
        let source = self.source(project)?;
        let question = match self.options.replaced {
            Replaced::Dropped => {
                message!("confirm-restore-unsaved", database = &self.database, source = source.display())
            }
            Replaced::BackedUp | Replaced::Kept(_) => {
                message!("confirm-restore", database = &self.database, source = source.display())
            }
        };
        prompt::confirm_by_name(session, &question, &self.database)
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        for message in self.passed_over(project)? {
            session.output.warn(&message);
        }
        would::show_ways(Act::Restore, &[self.way(project)?], project, session)
    }

    fn settles(&self, project: &Arc<Project>) -> Result<Option<Value>, Failure> {
        would::plan_ways(Act::Restore, &[self.way(project)?], project).map(Some)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let source = self.source(project)?;
        // Who names a backup by its ID names its database too.
        let mut options = self.options.clone();
        if matches!(&self.from, From::Backup(id) if id.contains('/')) {
            options.identity = Identity::Any;
        }
        let mut replacing = Replacing { options: &options, project, session, reporter };
        let report = replacing.replace(&self.database, &source, None)?;
        let message = match (self.options.replaced, &self.options.beside) {
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
