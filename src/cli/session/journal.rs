//! Writes the steps of an action to the journal as they are reported.

use std::sync::{Mutex, PoisonError};

use crate::catalogue::Catalogue;
use crate::report::{Event, Listener, Outcome};
use crate::state::{Journal, StateError};

/// A listener that keeps the journal. The first failure to write is kept for the end of the action.
pub struct JournalListener {
    journal: Journal,
    failure: Mutex<Option<StateError>>,
    /// The plan that was settled last, while none of it has begun: what waits for a lock settles it again at each try.
    settled: Mutex<Option<String>>,
}

impl JournalListener {
    pub fn new(journal: Journal) -> Self {
        Self { journal, failure: Mutex::new(None), settled: Mutex::new(None) }
    }

    /// Writes the end of the action; gives the first failure of all writes.
    pub fn end(&self, exit_code: u8, error: Option<String>) -> Result<(), StateError> {
        let ended = self.journal.end(exit_code, error);
        let earlier = self.failure.lock().ok().and_then(|mut failure| failure.take());
        earlier.map_or(ended, Err)
    }
}

impl JournalListener {
    /// Whether it is another one than the last.
    fn settle(&self, plan: Option<String>) -> bool {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another = *settled != plan;
        *settled = plan;
        is_another
    }
}

impl Listener for JournalListener {
    fn hear(&self, event: &Event) {
        let written = match event {
            Event::Began { activity, subject, .. } => {
                self.settle(None);
                self.journal.step(activity.word(), subject)
            }
            Event::Ended { activity, subject, outcome } => {
                let error = match outcome {
                    Outcome::Done(_) => None,
                    Outcome::Failed { reason } => Some(Catalogue::english().text(reason)),
                };
                self.journal.step_end(activity.word(), subject, error)
            }
            Event::Settled { plan } if self.settle(Some(plan.clone())) => self.journal.plan(plan),
            Event::Settled { .. }
            | Event::Planned { .. }
            | Event::Advanced { .. }
            | Event::Counted { .. }
            | Event::Notice(_)
            | Event::Detail(_)
            | Event::Warning(_) => Ok(()),
        };
        if let (Err(error), Ok(mut failure)) = (written, self.failure.lock()) {
            failure.get_or_insert(error);
        }
    }
}
