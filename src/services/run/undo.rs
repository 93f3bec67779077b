//! The operations that would take back what was done so far, for each replica of a service.

use std::collections::{BTreeMap, BTreeSet};

use crate::services::plan::{Operation, ReplicaId, Step};

/// Per replica on which work has begun, what takes its steps back, the earliest first; nothing any more where the new container
/// has proved itself, and only has to be tidied up after.
#[derive(Debug, Default)]
pub(in crate::services) struct UndoLog {
    open: BTreeMap<ReplicaId, Vec<Vec<Operation>>>,
    /// Replicas of which something that ran was touched. A new container that was only made beside the old one is none.
    touched: BTreeSet<ReplicaId>,
}

impl UndoLog {
    /// Whether the step's replica is neither as it was nor as it is to be: an interrupt leaves it to its end. One in which
    /// things were only prepared is taken back.
    pub fn is_uncommitted(&self, step: &Step) -> bool {
        step.replica().is_some_and(|replica| self.open.contains_key(&replica) && self.touched.contains(&replica))
    }

    pub fn done(&mut self, step: &Step) {
        let Some(replica) = step.replica() else {
            return;
        };
        if step.commits || touches(&step.operation) {
            self.touched.insert(replica.clone());
        }
        if step.commits {
            self.open.insert(replica, Vec::new());
        } else {
            self.note(replica, step);
        }
    }

    /// A failed step may have had half its effect: it is taken back as well.
    pub fn failed(&mut self, step: &Step) {
        if let Some(replica) = step.replica() {
            self.note(replica, step);
        }
    }

    fn note(&mut self, replica: ReplicaId, step: &Step) {
        if !step.undo.is_empty() {
            self.open.entry(replica).or_default().push(step.undo.clone());
        }
    }

    /// What takes everything back, in the order in which it is done.
    pub fn take_undo(&mut self, step: &Step) -> Vec<Operation> {
        let undo = step.replica().and_then(|replica| self.open.remove(&replica)).unwrap_or_default();
        undo.into_iter().rev().flatten().collect()
    }
}

/// Whether an operation changes what runs, or what it is called.
fn touches(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::StopContainer { .. }
            | Operation::StartContainer { .. }
            | Operation::RestartContainer { .. }
            | Operation::UnpauseContainer { .. }
            | Operation::RenameContainer { .. }
    )
}
