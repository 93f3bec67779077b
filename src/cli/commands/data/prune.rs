//! `data prune`.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use serde_json::Value;

use super::place::{DataTargets, folders, open};
use crate::cli::commands::databases::rule_word;
use crate::cli::grammar::typed::typed;
use crate::cli::session::operations::{self, Operation, Shown, document, settle};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::table;
use crate::folders::{self, Access, DataPruneDocument, FoldersError, Store, short};
use crate::report::{Listed, Message, Reporter};

#[derive(Debug, Args)]
pub struct PruneSnapshotsArguments {
    #[command(flatten)]
    pub targets: DataTargets,
}

/// Removes old snapshots.
#[derive(Debug)]
struct PruneSnapshots {
    names: Vec<String>,
    /// The IDs of the snapshots that were shown as going, before the question.
    agreed: Mutex<Option<Vec<String>>>,
}

/// `dpl data prune`.
pub fn run(arguments: &PruneSnapshotsArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets.targets)?;
    let names = select::data(project.manifest(), &selectors, Unselected::Refused { command: "data prune" })?;
    operations::act(&PruneSnapshots { names, agreed: Mutex::default() }, &project, session)
}

impl PruneSnapshots {
    fn plan(&self, project: &Project, store: &Store) -> Result<DataPruneDocument, Failure> {
        Ok(folders::plan_prune(store, &folders(project, &self.names)?)?)
    }

    fn tell(&self, plan: &DataPruneDocument, session: &Session) {
        let output = &session.output;
        for folder in &plan.data {
            for kept in &folder.kept {
                let rules: Vec<&str> = kept.kept_by.iter().map(|rule| rule_word(rule, session)).collect();
                let (id, at) = (short(&kept.snapshot.id), table::time(&kept.snapshot.at));
                output.say(&message!(
                    "data-would-keep",
                    name = &folder.name,
                    id = id,
                    at = at,
                    rules = Listed::of(&rules)
                ));
            }
            for removed in &folder.removed {
                let at = table::time(&removed.at);
                output.say(&message!("data-would-remove", name = &folder.name, id = short(&removed.id), at = at));
            }
        }
    }
}

/// The IDs of what goes.
fn removed(plan: &DataPruneDocument) -> Vec<String> {
    let removed = plan.data.iter().flat_map(|folder| &folder.removed);
    removed.map(|snapshot| snapshot.id.clone()).collect()
}

impl Operation for PruneSnapshots {
    fn announcement(&self) -> Message {
        message!("will-prune-snapshots", targets = Listed::of(&self.names))
    }

    fn command(&self) -> String {
        format!("dpl data prune {}", typed(&self.names))
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn confirm(&self, project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        let plan = self.plan(project, &open(project, Access::Look)?)?;
        self.tell(&plan, session);
        let (gone, size) = (removed(&plan), table::size(plan.freed_bytes));
        session.confirm(&message!("confirm-prune-snapshots", count = gone.len(), size = size))?;
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(gone);
        Ok(())
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let plan = self.plan(project, &open(project, Access::Look)?)?;
        self.tell(&plan, session);
        Shown::of(&plan)
    }

    fn run(&self, project: &Arc<Project>, _session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        crate::failpoint!("folders.prune.shown");
        let store = open(project, Access::Exclusive)?;
        // Made again under the lock: another operator may have taken or verified a snapshot since the question. Less may go by
        // that than was shown, and nothing else.
        let mut plan = self.plan(project, &store)?;
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if agreed.is_some_and(|agreed| removed(&plan).iter().any(|id| !agreed.contains(id))) {
            return Err(FoldersError::PlanChanged.into());
        }
        settle(&plan, reporter)?;
        folders::prune(&store, &mut plan, reporter)?;
        document(&plan)
    }
}
