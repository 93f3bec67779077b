//! How many containers are swapped at once.
//!
//! A replacement serves nobody between the stop of the old container and the start of the new one, and an engine's start is
//! work for its processors. With nine at once each takes nine times as long; with one a processor, each is down for little
//! longer than its own start. So new containers are created first, beside the old ones, and then swapped a few at a time; the
//! old ones are removed when the engine has time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::services::plan::{Operation, Plan, ReplicaId, Step, StepId};

/// A container that takes longer to stop waits for itself, not for the processors: others go on meanwhile. Where one has, the
/// rest of the stack is likely to, and nobody waits for a slot any more: nine grace periods in a row would take too long.
pub(super) const SLOW_STOP: Duration = Duration::from_secs(3);

/// As good as no bound.
const ALL: usize = 1 << 16;

/// So long what can wait waits for swaps that are under way.
const SWAPS_TAKE: Duration = Duration::from_secs(10);

/// So long a swap waits for containers that are being created.
const CREATES_TAKE: Duration = Duration::from_secs(5);

/// Slots for swaps. Each is taken with the stop of an old container and given back when the new one has been started.
pub(super) struct SwapSlots {
    slots: Arc<Semaphore>,
    held: Mutex<BTreeMap<ReplicaId, OwnedSemaphorePermit>>,
    /// The steps that stop an old container whose replacement is started next.
    begins: BTreeSet<StepId>,
    creating: AtomicUsize,
    created: Notify,
    /// SwapSlots that wait for a slot, or have one.
    under_way: AtomicUsize,
    ended: Notify,
    was_slow: AtomicBool,
}

/// A container is being created; until this is dropped.
pub(super) struct Creating<'a>(&'a SwapSlots);

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        if self.0.creating.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.created.notify_waiters();
        }
    }
}

impl SwapSlots {
    pub fn new(plan: &Plan, at_once: usize) -> Self {
        let begins = plan.steps.iter().filter(|step| begins_swap(plan, step)).map(|step| step.id).collect();
        Self {
            slots: Arc::new(Semaphore::new(at_once.max(1))),
            held: Mutex::default(),
            begins,
            creating: AtomicUsize::new(0),
            created: Notify::new(),
            under_way: AtomicUsize::new(0),
            ended: Notify::new(),
            was_slow: AtomicBool::new(false),
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
        let Some(replica) = step.replica() else { return };
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _ = tokio::time::timeout(CREATES_TAKE, reached_zero(&self.creating, &self.created)).await;
        let permit = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(replica, permit);
    }

    /// Gives the slot of a step's replica back, where it has one.
    pub fn end(&self, step: &Step) {
        if let Some(replica) = step.replica() {
            let was_held = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&replica).is_some();
            if was_held && self.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.ended.notify_waiters();
            }
        }
    }

    /// Waits until no swap is under way, for a while. The removal of an old container takes time of the engine which those that
    /// are down just then have need of, and nobody waits for it.
    pub async fn none_under_way(&self) {
        let _ = tokio::time::timeout(SWAPS_TAKE, reached_zero(&self.under_way, &self.ended)).await;
    }

    /// The stop that began a swap takes long: its slot is free, and from now on nobody waits for one.
    pub fn stops_slowly(&self, step: &Step) {
        if self.begins.contains(&step.id) && !self.was_slow.swap(true, Ordering::SeqCst) {
            self.slots.add_permits(ALL);
        }
        self.end(step);
    }
}

async fn reached_zero(count: &AtomicUsize, changes: &Notify) {
    loop {
        let changed = changes.notified();
        if count.load(Ordering::SeqCst) == 0 {
            return;
        }
        changed.await;
    }
}

/// Whether a step stops the old container of a replica whose new one is started by a later step, with nothing of other ones
/// between the two: a slot that waited for others could keep them from what it waits for.
fn begins_swap(plan: &Plan, step: &Step) -> bool {
    if !matches!(step.operation, Operation::StopContainer { .. }) {
        return false;
    }
    let of_replica = plan.steps[step.id + 1..].iter().filter(|later| later.is_of_the_replica_of(step));
    for later in of_replica {
        let waits_only_here = later.after.iter().all(|after| plan.steps[after.step].is_of_the_replica_of(step));
        match &later.operation {
            _ if !waits_only_here => return false,
            Operation::StartContainer { target } => return target.made_by.is_some(),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::plan::{After, AnonymousVolumes, Cause, Target, Until};

    /// The steps of a replacement of one replica, from `first` on: create, stop, rename, start, wait, remove.
    fn replacement(service: &str, first: StepId, before_start: &[StepId]) -> Vec<Step> {
        let old = Target { container: service.to_owned(), id: Some(service.to_owned()), made_by: None };
        let new = Target { container: service.to_owned(), id: None, made_by: Some(first) };
        let operations = [
            Operation::CreateContainer {
                name: service.to_owned(),
                image_id: String::new(),
                volumes: Default::default(),
                without_gpus: false,
                old_restart: None,
            },
            Operation::StopContainer { target: old.clone() },
            Operation::RenameContainer { target: old.clone(), to: "kept".to_owned() },
            Operation::StartContainer { target: new.clone() },
            Operation::WaitReady { target: new, until: Until::Healthy, timeout: "1m".parse().unwrap() },
            Operation::RemoveContainer { target: old, volumes: AnonymousVolumes::Keep },
        ];
        let step = |(place, operation): (usize, Operation)| {
            let others = if matches!(operation, Operation::StartContainer { .. }) { before_start } else { &[] };
            let own = (place > 0).then(|| first + place - 1);
            let after = own.into_iter().chain(others.iter().copied());
            Step {
                id: first + place,
                service: Some(service.to_owned()),
                number: Some(1),
                operation,
                cause: Cause::Forced,
                after: after.map(|step| After { step, whatever_comes_of_it: false }).collect(),
                undo: Vec::new(),
                commits: place == 4,
            }
        };
        operations.into_iter().enumerate().map(step).collect()
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan { steps, ..Plan::default() }
    }

    #[test]
    fn a_stop_begins_a_swap_where_only_the_same_replica_comes_before_the_start() {
        let mut steps = replacement("a", 0, &[]);
        // Its start waits for another replica: it could wait for one that waits for a slot.
        steps.extend(replacement("b", 6, &[4]));
        let plan = plan(steps);
        let begun: Vec<StepId> =
            plan.steps.iter().filter(|step| begins_swap(&plan, step)).map(|step| step.id).collect();
        assert_eq!(begun, [1]);
    }

    #[tokio::test]
    async fn a_slot_is_free_again_when_the_new_container_has_started_and_nobody_waits_where_stops_are_slow() {
        let mut steps = replacement("a", 0, &[]);
        steps.extend(replacement("b", 6, &[]));
        steps.extend(replacement("c", 12, &[]));
        let plan = plan(steps);
        let swaps = SwapSlots::new(&plan, 1);
        let waits = async |stop: StepId| {
            let begun = std::pin::pin!(swaps.begin(&plan.steps[stop]));
            futures::poll!(begun).is_pending()
        };
        swaps.begin(&plan.steps[1]).await;
        assert!(waits(7).await);
        swaps.end(&plan.steps[3]);
        swaps.begin(&plan.steps[7]).await;
        assert!(waits(13).await);
        swaps.stops_slowly(&plan.steps[7]);
        swaps.begin(&plan.steps[1]).await;
        swaps.begin(&plan.steps[13]).await;
    }

    #[tokio::test]
    async fn old_containers_go_when_no_swap_is_under_way_or_waits_for_a_slot() {
        let mut steps = replacement("a", 0, &[]);
        steps.extend(replacement("b", 6, &[]));
        let plan = plan(steps);
        let swaps = SwapSlots::new(&plan, 1);
        swaps.none_under_way().await;
        swaps.begin(&plan.steps[1]).await;
        let mut waits = std::pin::pin!(swaps.begin(&plan.steps[7]));
        assert!(futures::poll!(&mut waits).is_pending());
        let mut removal = std::pin::pin!(swaps.none_under_way());
        assert!(futures::poll!(&mut removal).is_pending());
        swaps.end(&plan.steps[3]);
        assert!(futures::poll!(&mut removal).is_pending(), "another one waits for its slot");
        waits.await;
        swaps.end(&plan.steps[9]);
        // A replica gives its slot back once, whatever its later steps say.
        swaps.end(&plan.steps[9]);
        removal.await;
    }

    #[tokio::test]
    async fn swaps_wait_until_everything_is_created() {
        let plan = plan(replacement("a", 0, &[]));
        let swaps = SwapSlots::new(&plan, 1);
        let creating = swaps.creating();
        let mut begun = std::pin::pin!(swaps.begin(&plan.steps[1]));
        assert!(futures::poll!(&mut begun).is_pending());
        drop(creating);
        begun.await;
    }
}
