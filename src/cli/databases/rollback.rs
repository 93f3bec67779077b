//! `db rollback`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::dependents::Users;
use super::reach::{WhenDown, connect, reach};
use super::would::{self, Act, Way};
use super::{database, typed, users};
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, digest, document};
use crate::cli::prompt;
use crate::cli::session::{Project, Session};
use crate::databases::{self, DatabasesError, RollbacksDocument};
use crate::report::{Message, Reporter};

/// Swaps databases back to what was kept of them last.
#[derive(Debug)]
pub struct Rollback {
    pub databases: Vec<String>,
    pub when_down: WhenDown,
}

impl Rollback {
    /// What each would go back to. Nothing is started for a question.
    fn kept(&self, project: &Arc<Project>, session: &mut Session) -> Result<Vec<String>, Failure> {
        let last = |name: &String| {
            let last = kept_of(name, project, session)?.pop();
            Ok(last.ok_or_else(|| DatabasesError::NothingKept { database: name.clone() })?)
        };
        self.databases.iter().map(last).collect()
    }
}

/// The databases that are kept beside one, oldest first; its server must be up.
pub(super) fn kept_of(name: &str, project: &Project, session: &mut Session) -> Result<Vec<String>, Failure> {
    let engine = session.engine()?;
    let database = database(project, name)?;
    session.runtime()?.block_on(async {
        let server = connect(&engine, project.manifest(), database).await?;
        Ok(databases::kept_databases(&server, name).await?)
    })
}

impl Operation for Rollback {
    fn announcement(&self) -> Message {
        message!("will-roll-back", targets = self.databases.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl db rollback {}", typed(&self.databases))
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if session.global.yes {
            return Ok(());
        }
        for (name, kept) in self.databases.iter().zip(self.kept(project, session)?) {
            let question = message!("confirm-roll-back", database = name, name = kept);
            prompt::confirm_by_name(session, &question, name)?;
        }
        Ok(())
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        let kept = self.kept(project, session)?;
        let ways = self.databases.iter().zip(kept);
        let ways = ways.map(|(name, path)| Way { database: name.clone(), path, replaced: None }).collect::<Vec<_>>();
        would::show_ways(Act::Rollback, &ways, project, session)
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
                    reporter.settled(digest(&would::plan_ways(Act::Rollback, &[way], project)?)?);
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
