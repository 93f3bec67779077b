//! `db rebuild`.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::chosen::database;
use super::dry_run::{self, Act, Way};
use super::reach::offer_start;
use super::replace::{ReplaceOptions, Replaced, Replacing, look_at};
use super::settings::{present_seed, seed};
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, Weight, databases_of, document, settle};
use crate::cli::session::select::Unselected;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::{Examination, RebuildsDocument};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct RebuildArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub replace: ReplaceOptions,
}

/// `dpl db rebuild`.
pub fn run(arguments: &RebuildArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, databases) =
        databases_of(&arguments.targets, session, Unselected::Refused { command: "db rebuild" })?;
    operations::act(&Rebuild { databases, options: arguments.replace.clone() }, &project, session)
}

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
            Ok(Way { database: name.clone(), path, replaced: Some(self.options.replaced()) })
        };
        self.databases.iter().map(way).collect()
    }

    /// None is replaced before all of them can be: what is wrong with each is said. What was found out, in their order.
    fn examine_all(&self, replacing: &mut Replacing<'_>) -> Result<Vec<Option<Examination>>, Failure> {
        let mut found = Vec::new();
        let mut failed = None;
        for name in &self.databases {
            let project = replacing.project;
            match present_seed(project, name).and_then(|source| replacing.examine(name, source)) {
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
        message!("will-rebuild", targets = Listed::of(&self.databases))
    }

    fn command(&self) -> String {
        format!("dpl db rebuild {}{}", typed(&self.databases), self.options.flags())
    }

    fn advise(&self, failure: Failure) -> Failure {
        offer_start(failure, self.options.when_down())
    }

    fn weight(&self, _project: &Project) -> Weight {
        Weight::Named
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        // Nobody types a name for what can't be done.
        for name in &self.databases {
            present_seed(project, name)?;
        }
        for name in &self.databases {
            let question = match self.options.replaced() {
                Replaced::Dropped => message!("confirm-rebuild-unsaved", database = name),
                Replaced::BackedUp | Replaced::Kept(_) => message!("confirm-rebuild", database = name),
            };
            session.confirm_by_name(&question, name)?;
        }
        Ok(())
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        for name in &self.databases {
            self.options.ensure_own_dump(name, present_seed(project, name)?, project, session)?;
        }
        let shown = dry_run::show_ways(Act::Rebuild, &self.ways(project)?, project, session)?;
        for name in &self.databases {
            look_at(name, project, session)?.warn_if_unknown(name, session);
        }
        Ok(shown)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        settle(&dry_run::plan_ways(Act::Rebuild, &self.ways(project)?, project)?, reporter)?;
        let begun = Instant::now();
        let mut replacing = Replacing { options: &self.options, project, session, reporter };
        let examined = match self.databases.len() {
            1 => vec![None],
            _ => self.examine_all(&mut replacing)?,
        };
        let mut rebuilt = RebuildsDocument::default();
        for (name, examination) in self.databases.iter().zip(&examined) {
            let source = present_seed(project, name)?;
            rebuilt.rebuilds.push(replacing.replace(name, source, examination.as_ref())?);
        }
        let count = rebuilt.rebuilds.iter().filter(|report| !report.finished_earlier).count();
        let message = match self.options.replaced() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::databases::DatabaseCommand;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_a_rebuild_with_all_its_flags() {
        let lines = [
            "dpl db rebuild shop 'a b' --keep-old 2 --allow-shrink --again --other-database --create-roles --no-owner \
             --no-privileges --no-tablespaces --jobs 63 --start",
            "dpl db rebuild shop --no-backup --owner 'one two=three,four'",
            "dpl db rebuild shop --owner app",
        ];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Db(DatabaseCommand::Rebuild(arguments)) => {
                Rebuild { databases: arguments.targets.targets, options: arguments.replace }.command()
            }
            other => panic!("{other:?}"),
        });
    }
}
