//! `data restore`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::diff::{only_one, show, summary};
use super::place::{folder, open};
use super::snapshot::losses;
use super::users::{Meanwhile, halted_users, warn_of_users, while_halted};
use crate::cli::grammar::typed::quoted;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::folders::{self, Access, BEFORE_RESTORE, FoldersError, RestoreDocument, RestoreGoal, Store, short};
use crate::report::{Message, Reporter};

#[derive(Debug, Args)]
pub struct RestoreFolderArguments {
    /// The data folder, by name or number
    #[arg(value_name = "DATA")]
    pub data: String,
    /// A file or a folder in it [default: all]
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// The beginning of the snapshot's ID, or `latest`
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// Restore into this folder, which must not exist or be empty [default: in place]
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    /// Stop the services of used_by that run, and start them again afterwards
    #[arg(long)]
    pub stop: bool,
}

/// Restores a data folder.
#[derive(Debug)]
struct RestoreFolder {
    name: String,
    path: PathBuf,
    snapshot: String,
    to: Option<PathBuf>,
    stop: bool,
}

/// `dpl data restore`.
pub fn run(arguments: &RestoreFolderArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(None)?;
    let name = only_one(&select::data(project.manifest(), std::slice::from_ref(&arguments.data), Unselected::All)?)?;
    operations::act(&RestoreFolder::of(arguments, name)?, &project, session)
}

impl RestoreFolder {
    fn of(arguments: &RestoreFolderArguments, name: String) -> Result<Self, Failure> {
        let path = arguments.path.clone().unwrap_or_default();
        let is_below = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_below {
            return Err(Failure::usage(message!("usage-path-below", path = path.display())));
        }
        let to = arguments.to.as_ref().map(std::path::absolute).transpose().map_err(Failure::Output)?;
        Ok(Self { name, path, snapshot: arguments.snapshot.clone(), to, stop: arguments.stop })
    }

    fn goal(&self, project: &Project, store: &Store) -> Result<RestoreGoal, Failure> {
        let folder = folder(project, &self.name)?;
        let snapshot = folders::find_snapshot(store, &folder, &self.snapshot)?;
        let goal = RestoreGoal::new(&folder, snapshot, &self.path, self.to.as_deref());
        folders::refuse_bad_target(&folder, &goal)?;
        Ok(goal)
    }

    /// What would change.
    fn plan(
        &self,
        project: &Project,
        store: &Store,
        reporter: &Reporter,
    ) -> Result<(RestoreGoal, RestoreDocument), Failure> {
        let goal = self.goal(project, store)?;
        let differences = folders::plan_restore(store, &folder(project, &self.name)?, &goal, reporter)?;
        // An interrupted restore leaves nothing there that the snapshot lacks: it is somebody's.
        if !goal.is_in_place && differences.removed > 0 {
            return Err(FoldersError::TargetInUse { path: goal.target }.into());
        }
        let plan = RestoreDocument {
            data: self.name.clone(),
            snapshot: goal.snapshot.id.clone(),
            target: goal.target.display().to_string(),
            differences,
            stops: halted_users(project, std::slice::from_ref(&self.name), self.meanwhile()),
            ..RestoreDocument::default()
        };
        Ok((goal, plan))
    }

    /// What is restored beside the folder disturbs nobody.
    fn meanwhile(&self) -> Meanwhile {
        Meanwhile::of(self.stop && self.to.is_none(), false)
    }

    fn tell(&self, plan: &RestoreDocument, session: &Session) -> Result<(), Failure> {
        // Beside the folder all of it is new.
        if !session.output.json && (self.to.is_none() || session.output.verbose) {
            show(&plan.differences, session)?;
        }
        let counts = summary(&plan.differences, session);
        let message =
            message!("would-restore-folder", target = &plan.target, id = short(&plan.snapshot), counts = counts);
        session.output.say(&message);
        if !plan.stops.is_empty() {
            session.output.say(&message!("data-would-stop", services = crate::report::Listed::of(&plan.stops)));
        }
        Ok(())
    }

    /// Snapshots what is there, and brings it to the snapshot's state.
    fn restore(
        &self,
        project: &Project,
        store: &Store,
        (mut goal, mut plan): (RestoreGoal, RestoreDocument),
        reporter: &Reporter,
    ) -> Result<RestoreDocument, Failure> {
        let folder = folder(project, &self.name)?;
        plan.done = true;
        if plan.differences.is_empty() {
            reporter.notice(message!("data-restore-nothing"));
            return Ok(plan);
        }
        if goal.is_in_place && folder.path.exists() {
            goal.saved_at = Some(jiff::Timestamp::now());
            let saved = folders::take_snapshot(store, &folder, &[BEFORE_RESTORE], reporter)?;
            // What can't be read can't be brought back either.
            if let Some(lost) = saved.troubles.iter().find(|trouble| trouble.is_loss) {
                let error = FoldersError::NotSaved { name: folder.name.clone(), path: lost.path.clone().into() };
                return Err(error.into());
            }
            plan.saved_as = Some(saved.snapshot.id);
        }
        crate::failpoint!("folders.restore.saved");
        plan.troubles = folders::restore(store, &folder, &goal, plan.differences.bytes, reporter)?;
        Ok(plan)
    }
}

impl Operation for RestoreFolder {
    fn announcement(&self) -> Message {
        message!("will-restore-folder", name = &self.name, id = &self.snapshot)
    }

    fn command(&self) -> String {
        let path = if self.path.as_os_str().is_empty() {
            String::new()
        } else {
            format!(" {}", quoted(&self.path.to_string_lossy()))
        };
        let to = self.to.as_ref().map(|to| format!(" --to {}", quoted(&to.to_string_lossy()))).unwrap_or_default();
        let stop = if self.stop { " --stop" } else { "" };
        format!("dpl data restore {}{path} --snapshot {}{to}{stop}", quoted(&self.name), quoted(&self.snapshot))
    }

    fn place(&self) -> WorkPlace {
        if self.meanwhile() == Meanwhile::Run { WorkPlace::Here } else { WorkPlace::Engine }
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        let (_, plan) = self.plan(project, &open(project, Access::Look)?, &Reporter::default())?;
        if plan.differences.is_empty() {
            return Ok(());
        }
        self.tell(&plan, session)?;
        session.confirm(&match self.to {
            None => message!("confirm-restore-folder", removed = plan.differences.removed, target = plan.target),
            Some(_) => message!("confirm-restore-beside", target = plan.target),
        })
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let (_, plan) = self.plan(project, &open(project, Access::Look)?, &Reporter::default())?;
        self.tell(&plan, session)?;
        Shown::of(&plan)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let store = open(project, Access::Shared)?;
        let (goal, plan) = self.plan(project, &store, reporter)?;
        settle(&plan, reporter)?;
        let stops = plan.stops.clone();
        let restored = match stops.is_empty() {
            true => {
                if goal.is_in_place {
                    warn_of_users(project, std::slice::from_ref(&self.name), session)?;
                }
                self.restore(project, &store, (goal, plan), reporter)?
            }
            false => while_halted(project, (self.meanwhile(), stops), session, reporter, |_| {
                // A service that ends may have written once more.
                let planned = self.plan(project, &store, reporter)?;
                self.restore(project, &store, planned, reporter)
            })?,
        };
        let failures = losses(std::iter::once((self.name.as_str(), &restored.troubles[..])));
        match failures.is_empty() {
            true => document(&restored),
            false => Err(Failure::Some { document: document(&restored)?, failures }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::DataCommand;
    use super::*;
    use crate::cli::commands::Command;
    use crate::cli::commands::typed_again::assert_typed_again;

    #[test]
    fn the_journal_has_a_restore_with_all_its_flags() {
        let lines = [
            "dpl data restore expert --snapshot latest --stop",
            "dpl data restore expert 'modules/a b' --snapshot 0a1b2c3d --to /srv/beside",
        ];
        assert_typed_again(&lines, &[], |command| match command {
            Command::Data(DataCommand::Restore(arguments)) => {
                let name = arguments.data.clone();
                RestoreFolder::of(&arguments, name).unwrap().command()
            }
            other => panic!("{other:?}"),
        });
    }
}
