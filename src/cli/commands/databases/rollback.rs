//! `db rollback`.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::chosen::database;
use super::dependents::{Users, users};
use super::dry_run::{self, Act, Way};
use super::reach::{WhenDown, kept_beside, offer_start, reach};
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, databases_of, document, settle};
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::{self, DatabasesError, RollbacksDocument};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct RollbackArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Start the database's service if it does not run
    #[arg(long)]
    pub start: bool,
}

/// `dpl db rollback`.
pub fn run(arguments: &RollbackArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, databases) =
        databases_of(&arguments.targets, session, Unselected::Refused { command: "db rollback" })?;
    operations::act(&Rollback { databases, when_down: WhenDown::of(arguments.start) }, &project, session)
}

/// Swaps databases back to what was kept of them last.
#[derive(Debug)]
pub struct Rollback {
    pub databases: Vec<String>,
    pub when_down: WhenDown,
}

impl Rollback {
    /// What each would go back to. Nothing is started for a question.
    fn targets(&self, project: &Arc<Project>, session: &mut Session) -> Result<Vec<String>, Failure> {
        let last = |name: &String| {
            let last = kept_beside(name, project, session)?.pop();
            Ok(last.ok_or_else(|| DatabasesError::NothingKept { database: name.clone() })?)
        };
        self.databases.iter().map(last).collect()
    }
}

impl Operation for Rollback {
    fn announcement(&self) -> Message {
        message!("will-roll-back", targets = Listed::of(&self.databases))
    }

    fn command(&self) -> String {
        let start = if self.when_down == WhenDown::Start { " --start" } else { "" };
        format!("dpl db rollback {}{start}", typed(&self.databases))
    }

    fn advise(&self, failure: Failure) -> Failure {
        offer_start(failure, self.when_down)
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if session.global.yes {
            return Ok(());
        }
        for (name, kept) in self.databases.iter().zip(self.targets(project, session)?) {
            let question = message!("confirm-roll-back", database = name, name = kept);
            session.confirm_by_name(&question, name)?;
        }
        Ok(())
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let kept = self.targets(project, session)?;
        let ways = self.databases.iter().zip(kept);
        let ways = ways.map(|(name, path)| Way { database: name.clone(), path, replaced: None }).collect::<Vec<_>>();
        dry_run::show_ways(Act::Rollback, &ways, project, session)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        let mut done = RollbacksDocument::default();
        for name in &self.databases {
            let database = database(project, name)?;
            let dependents = Users::new(&engine, project, users(project.manifest(), database), reporter);
            let report = runtime.block_on(async {
                let server = reach(&engine, project, database, self.when_down, reporter).await?;
                if let Some(path) = databases::kept_databases(&server, name).await?.pop() {
                    let way = Way { database: name.clone(), path, replaced: None };
                    settle(&dry_run::plan_ways(Act::Rollback, &[way], project)?, reporter)?;
                }
                Ok::<_, Failure>(databases::rollback(&server, name, &dependents, reporter).await?)
            })?;
            let message = match report.source.is_empty() {
                true => message!("roll-back-finished", database = name),
                false => message!(
                    "roll-back-one",
                    database = name,
                    source = &report.source,
                    nameless = report.nameless_ms,
                    stopped = report.dependents_stopped_ms as f64 / 1000.0
                ),
            };
            session.output.say(&message);
            if let Some(kept) = &report.kept_as {
                session.output.say(&message!("roll-back-kept", name = kept));
            }
            done.rollbacks.push(report);
        }
        let message = message!("roll-back-done", count = done.rollbacks.len(), time = begun.elapsed().as_secs_f64());
        session.output.say(&message);
        document(&done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::databases::DatabaseCommand;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_a_rollback_with_all_its_flags() {
        let lines = ["dpl db rollback shop 'a b'", "dpl db rollback shop --start"];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Db(DatabaseCommand::Rollback(arguments)) => {
                let when_down = WhenDown::of(arguments.start);
                Rollback { databases: arguments.targets.targets, when_down }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
