//! `db rebuild`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::replace::{ReplaceOptions, Replaced};
use super::would::{self, Act, Way};
use super::{database, seed};
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, Weight, document};
use crate::cli::prompt;
use crate::cli::session::{Project, Session};
use crate::databases::RebuildsDocument;
use crate::report::{Message, Reporter};

/// Rebuilds databases from their seeds.
#[derive(Debug)]
pub struct Rebuild {
    pub databases: Vec<String>,
    pub options: ReplaceOptions,
}

impl Rebuild {
    /// None is replaced before all of them can be: what is wrong with each is said.
    fn examine_all(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<(), Failure> {
        let mut failed = None;
        for name in &self.databases {
            let source = seed(database(project, name)?, name)?;
            if let Err(failure) = self.options.examine(name, source, project, session, reporter) {
                if matches!(failure, Failure::Interrupted) {
                    return Err(failure);
                }
                if let Some(earlier) = failed.replace(failure) {
                    Failure::show(&earlier, &session.output);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Operation for Rebuild {
    fn announcement(&self) -> Message {
        Message::new("will-rebuild").with("targets", self.databases.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl db rebuild {}{}", self.databases.join(" "), self.options.flags())
    }

    fn weight(&self, _project: &Project) -> Weight {
        Weight::Named
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        for name in &self.databases {
            let question = match self.options.replaced {
                Replaced::Dropped => Message::new("confirm-rebuild-unsaved"),
                Replaced::BackedUp | Replaced::Kept(_) => Message::new("confirm-rebuild"),
            };
            let question = question.with("database", name);
            prompt::confirm_by_name(session, &question, name)?;
        }
        Ok(())
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        let mut ways = Vec::new();
        for name in &self.databases {
            let path = seed(database(project, name)?, name)?.display().to_string();
            ways.push(Way { database: name.clone(), path, replaced: Some(self.options.replaced) });
        }
        would::show_ways(Act::Rebuild, ways, project, session)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        if self.databases.len() > 1 {
            self.examine_all(project, session, reporter)?;
        }
        let mut rebuilt = RebuildsDocument::default();
        for name in &self.databases {
            let source = seed(database(project, name)?, name)?;
            rebuilt.rebuilds.push(self.options.replace(name, source, project, session, reporter)?);
        }
        let message = match self.options.replaced {
            Replaced::Kept(1..) => Message::new("rebuild-done-kept").with("targets", self.databases.join(" ")),
            _ => Message::new("rebuild-done"),
        };
        let message = message.with("count", rebuilt.rebuilds.len()).with("time", begun.elapsed().as_secs_f64());
        session.output.say(&message);
        document(&rebuilt)
    }
}
