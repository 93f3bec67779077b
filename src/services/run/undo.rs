//! The operations that would take back what was done so far, for each container of a service (service and number).

use std::collections::{BTreeMap, BTreeSet};

use crate::services::plan::{Operation, Step};

/// A service and the number of one of its containers.
type Place = (String, u32);

/// Per place on which work has begun, what takes its steps back, the earliest first; nothing any more where the new container
/// has proved itself, and only has to be tidied up after.
#[derive(Debug, Default)]
pub(in crate::services) struct UndoLog {
    open: BTreeMap<Place, Vec<Vec<Operation>>>,
    /// Places in which something that ran was touched. A new container that was only made beside the old one is none.
    touched: BTreeSet<Place>,
}

impl UndoLog {
    /// Whether the step's place is neither as it was nor as it is to be: an interrupt leaves it to its end. One in which
    /// things were only prepared is taken back.
    pub fn is_uncommitted(&self, step: &Step) -> bool {
        place(step).is_some_and(|place| self.open.contains_key(&place) && self.touched.contains(&place))
    }

    pub fn done(&mut self, step: &Step) {
        let Some(place) = place(step) else {
            return;
        };
        if step.commits || touches(&step.operation) {
            self.touched.insert(place.clone());
        }
        if step.commits {
            self.open.insert(place, Vec::new());
        } else {
            self.note(place, step);
        }
    }

    /// A failed step may have had half its effect: it is taken back as well.
    pub fn failed(&mut self, step: &Step) {
        if let Some(place) = place(step) {
            self.note(place, step);
        }
    }

    fn note(&mut self, place: Place, step: &Step) {
        if !step.undo.is_empty() {
            self.open.entry(place).or_default().push(step.undo.clone());
        }
    }

    /// What takes everything back, in the order in which it is done.
    pub fn take_undo(&mut self, step: &Step) -> Vec<Operation> {
        let undo = place(step).and_then(|place| self.open.remove(&place)).unwrap_or_default();
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

fn place(step: &Step) -> Option<Place> {
    Some((step.service.clone()?, step.number?))
}
