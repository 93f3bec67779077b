//! How many containers are swapped at once.
//!
//! A replacement serves nobody between the stop of the old container and the start of the new one, and an engine's start is
//! work for its processors. With nine at once each takes nine times as long; with one a processor, each is down for no
//! longer than its own start. So new containers are created first, beside the old ones, and then swapped a few at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::services::plan::{Operation, Plan, Step, StepId};

/// A container that takes longer to stop waits for itself, not for the processors: others go on meanwhile.
pub(super) const SLOW_STOP: Duration = Duration::from_secs(1);

/// So long a swap waits for containers that are being created.
const CREATES_TAKE: Duration = Duration::from_secs(5);

type Place = (String, u32);

/// Slots for swaps. Each is taken with the stop of an old container and given back when the new one has been started.
pub(super) struct Swaps {
    slots: Arc<Semaphore>,
    held: Mutex<BTreeMap<Place, OwnedSemaphorePermit>>,
    /// The steps that stop an old container whose replacement is started next.
    begins: BTreeSet<StepId>,
    creating: AtomicUsize,
    created: Notify,
}

/// A container is being created; until this is dropped.
pub(super) struct Creating<'a>(&'a Swaps);

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        if self.0.creating.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.created.notify_waiters();
        }
    }
}

impl Swaps {
    pub fn new(plan: &Plan, at_once: usize) -> Self {
        let begins = plan.steps.iter().filter(|step| begins_swap(plan, step)).map(|step| step.id).collect();
        Self {
            slots: Arc::new(Semaphore::new(at_once.max(1))),
            held: Mutex::default(),
            begins,
            creating: AtomicUsize::new(0),
            created: Notify::new(),
        }
    }

    pub fn creating(&self) -> Creating<'_> {
        self.creating.fetch_add(1, Ordering::SeqCst);
        Creating(self)
    }

    pub fn is_begun_by(&self, step: &Step) -> bool {
        self.begins.contains(&step.id)
    }

    /// Waits for the creation of others, and for a slot.
    pub async fn begin(&self, step: &Step) {
        let Some(place) = place(step) else { return };
        let _ = tokio::time::timeout(CREATES_TAKE, self.all_created()).await;
        let permit = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(place, permit);
    }

    /// Gives the slot of a step's place back, where it has one.
    pub fn end(&self, step: &Step) {
        if let Some(place) = place(step) {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
        }
    }

    async fn all_created(&self) {
        loop {
            let changed = self.created.notified();
            if self.creating.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Whether a step stops the old container of a place whose new one is started by a later step, with nothing of other places
/// between the two: a slot that waited for others could keep them from what it waits for.
fn begins_swap(plan: &Plan, step: &Step) -> bool {
    if !matches!(step.operation, Operation::StopContainer { .. }) {
        return false;
    }
    let of_place = plan.steps[step.id + 1..].iter().filter(|later| later.is_in_the_place_of(step));
    for later in of_place {
        let waits_only_here = later.after.iter().all(|after| plan.steps[after.step].is_in_the_place_of(step));
        match &later.operation {
            _ if !waits_only_here => return false,
            Operation::StartContainer { target } => return target.made_by.is_some(),
            _ => {}
        }
    }
    false
}

fn place(step: &Step) -> Option<Place> {
    Some((step.service.clone()?, step.number?))
}
