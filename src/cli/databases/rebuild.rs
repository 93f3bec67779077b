//! `db rebuild`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::replace::{ReplaceOptions, Replaced, Replacing};
use super::would::{self, Act, Way};
use super::{database, seed, typed};
use crate::cli::failure::Failure;
use crate::cli::operations::{Operation, Weight, document};
use crate::cli::prompt;
use crate::cli::session::{Project, Session};
use crate::databases::{Examination, RebuildsDocument};
use crate::report::{Message, Reporter};

/// Rebuilds databases from their seeds.
#[derive(Debug)]
pub struct Rebuild {
    pub databases: Vec<String>,
    pub options: ReplaceOptions,
}

impl Rebuild {
    fn ways(&self, project: &Project) -> Result<Vec<Way>, Failure> {
        let way = |name: &String| {
            let path = seed(database(project, name)?, name)?.display().to_string();
            Ok(Way { database: name.clone(), path, replaced: Some(self.options.replaced) })
        };
        self.databases.iter().map(way).collect()
    }

    /// None is replaced before all of them can be: what is wrong with each is said. What was found out, in their order.
    fn examine_all(&self, replacing: &mut Replacing<'_>) -> Result<Vec<Option<Examination>>, Failure> {
        let mut found = Vec::new();
        let mut failed = None;
        for name in &self.databases {
            let source = seed(database(replacing.project, name)?, name)?;
            match replacing.examine(name, source) {
                Ok(examination) => found.push(examination),
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                Err(failure) => {
                    if let Some(earlier) = failed.replace(failure) {
                        Failure::show(&earlier, &replacing.session.output);
                    }
                }
            }
        }
        failed.map_or(Ok(found), Err)
    }
}

impl Operation for Rebuild {
    fn announcement(&self) -> Message {
        message!("will-rebuild", targets = self.databases.join(", "))
    }

    fn command(&self) -> String {
        format!("dpl db rebuild {}{}", typed(&self.databases), self.options.flags())
    }

    fn weight(&self, _project: &Project) -> Weight {
        Weight::Named
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        for name in &self.databases {
            let question = match self.options.replaced {
                Replaced::Dropped => message!("confirm-rebuild-unsaved", database = name),
                Replaced::BackedUp | Replaced::Kept(_) => message!("confirm-rebuild", database = name),
            };
            prompt::confirm_by_name(session, &question, name)?;
        }
        Ok(())
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        would::show_ways(Act::Rebuild, &self.ways(project)?, project, session)
    }

    fn settles(&self, project: &Arc<Project>) -> Result<Option<Value>, Failure> {
        would::plan_ways(Act::Rebuild, &self.ways(project)?, project).map(Some)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let begun = Instant::now();
        let mut replacing = Replacing { options: &self.options, project, session, reporter };
        let examined = match self.databases.len() {
            1 => vec![None],
            _ => self.examine_all(&mut replacing)?,
        };
        let mut rebuilt = RebuildsDocument::default();
        for (name, examination) in self.databases.iter().zip(&examined) {
            let source = seed(database(project, name)?, name)?;
            rebuilt.rebuilds.push(replacing.replace(name, source, examination.as_ref())?);
        }
        let count = rebuilt.rebuilds.iter().filter(|report| !report.finished_earlier).count();
        let message = match self.options.replaced {
            Replaced::Kept(1..) => message!(
                "rebuild-done-kept",
                count = count,
                time = begun.elapsed().as_secs_f64(),
                targets = self.databases.join(" ")
            ),
            _ => message!("rebuild-done", count = count, time = begun.elapsed().as_secs_f64()),
        };
        if count > 0 {
            session.output.say(&message);
        }
        document(&rebuilt)
    }
}
