//! A new container: the first of its replica, or one that takes the place of an old one.
//!
//! A replacement is made beside the old container while that still serves, so that whatever is wrong with its making
//! takes nothing away. Then the old one loses its restart policy (a stopped container with `always` comes back with the
//! engine, and two would run on the same data), is stopped, loses its name, and stays until the new one has proved
//! itself. Each step carries what takes it back. One with `unless-stopped` keeps its policy, since the engine leaves down what
//! was stopped by hand (`brings_back`).

use super::ServicePlan;
use super::steps::Before;
use super::waits::until;
use crate::engine;
use crate::manifest::model::{Period, RestartPolicy};
use crate::services::plan::builder::{Chain, operations_that_restore};
use crate::services::plan::carry::carried;
use crate::services::plan::replica::Replica;
use crate::services::plan::step::{AnonymousVolumes, Operation, StepId, Target, Until};
use crate::services::plan::{PlanInput, Warning};
use crate::services::request::FailedContainers;
use crate::services::snapshot::drift;
use crate::services::snapshot::observe::providers;
use crate::services::snapshot::observed::{Gpus, ObservedContainer, Role};

/// A replica whose container changes.
pub(super) struct Replacement<'w, 'a> {
    pub input: &'w PlanInput<'a>,
    pub service_plan: &'w ServicePlan<'a>,
    pub replica: &'w Replica<'a>,
    pub before: &'w Before,
    /// The service whose namespace it is to share and that gets a new container as well: an old one that shares the old
    /// container's can't run without it.
    pub loses_provider: Option<&'a str>,
    pub until: Until,
    pub timeout: Period,
    /// Whether the plan waits until it is ready, even if nothing depends on it.
    pub follows: bool,
}

/// The steps after which it runs, and after which it is ready.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplacementEnds {
    pub up: Option<StepId>,
    pub ready: Option<StepId>,
}

impl Replacement<'_, '_> {
    pub fn wait(&self, target: Target) -> Operation {
        Operation::WaitReady { target, until: self.until.clone(), timeout: self.timeout }
    }

    /// As [`Self::wait`], where an old container goes for ever when it is over.
    fn wait_as_replacement(&self, target: Target) -> Operation {
        let until = until(self.input, self.service_plan, true);
        Operation::WaitReady { target, until, timeout: self.timeout }
    }

    /// Whether an old container can run again: not without the network that it joined, or the container whose namespace
    /// it shares.
    fn can_return(&self, old: &ObservedContainer) -> bool {
        let PlanInput { manifest, snapshot, .. } = self.input;
        let loses_provider = self.loses_provider.is_some() && shares_namespaces(old);
        !loses_provider && !drift::of(manifest, self.service_plan.service, old, snapshot).blocks_start
    }

    fn name(&self) -> String {
        self.input.manifest.container_name(self.service_plan.name, self.replica.number)
    }

    fn aside(&self, role: Role) -> String {
        aside(&self.name(), role)
    }

    /// The step that makes the container, under a name of its own until it takes its place.
    fn create(&self, chain: &mut Chain, name: String, old: Option<&ObservedContainer>) -> Target {
        let service = self.service_plan.service;
        let image = self.input.snapshot.image(&service.image).cloned().unwrap_or_default();
        let carried = old.map(|old| carried(service, old, &image.volumes)).unwrap_or_default();
        for (path, volume) in carried.left {
            chain.builder.warn(Warning::VolumeLeft { service: self.service_plan.name.to_owned(), path, volume });
        }
        let without_gpus = self.gpus(chain);
        let step = chain.step(Operation::CreateContainer {
            name: name.clone(),
            image_id: image.id,
            volumes: carried.volumes,
            without_gpus,
            old_restart: old.and_then(|old| self.replica.unlabelled_policy(old)),
        });
        Target { container: name, id: None, made_by: Some(step) }
    }

    /// The next step waits for dependencies, and for the service's turn.
    fn wait_for_others(&self, chain: &mut Chain) {
        chain.wait_for(&self.before.dependencies);
        chain.wait_for(&self.before.turn);
    }

    /// Whether GPUs that are not required are left out.
    fn gpus(&self, chain: &mut Chain) -> bool {
        let service = self.service_plan.name.to_owned();
        match self.input.snapshot.gpus_of(self.service_plan.name) {
            _ if !self.service_plan.service.wants_gpu() => false,
            Gpus::Present => false,
            Gpus::Unknown => {
                chain.builder.warn(Warning::GpuUnknown { service });
                false
            }
            Gpus::Absent | Gpus::RequiredOnly => {
                chain.builder.warn(Warning::WithoutGpu { service });
                true
            }
        }
    }

    /// What becomes of a new container that failed: it goes with the volumes made for it, or is kept for a look.
    fn give_up(&self, new: &Target) -> Vec<Operation> {
        match self.input.request.options.failed {
            FailedContainers::Remove => {
                vec![Operation::RemoveContainer { target: new.clone(), volumes: AnonymousVolumes::Remove }]
            }
            FailedContainers::Keep => vec![
                Operation::SetRestartPolicy { target: new.clone(), policy: RestartPolicy::No },
                Operation::RenameContainer { target: new.clone(), to: self.aside(Role::Failed) },
            ],
        }
    }
}

/// Whether it lives in namespaces of other containers. One that was made before the manifest said so does not.
fn shares_namespaces(old: &ObservedContainer) -> bool {
    let view = &old.view;
    [&view.network_mode, &view.pid_mode, &view.ipc_mode].iter().any(|mode| mode.starts_with("container:"))
}

/// Whether an engine that comes back would start the old container once it was stopped. With `unless-stopped` it does not: it
/// notes on the disk that a stop was asked for before it sends the signal (moby, daemon/kill.go and restartmanager), where
/// there was one to ask for. A change of policy is no small thing for one that runs: the engine calls its runtime for it.
pub(super) fn brings_back(policy: RestartPolicy, old: &ObservedContainer) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::UnlessStopped => !old.is_up(),
        RestartPolicy::Always | RestartPolicy::OnFailure(_) => true,
    }
}

/// What a container of this name is called in another part.
pub(super) fn aside(name: &str, role: Role) -> String {
    format!("{name}{}", role.suffix())
}

/// The first container of a replica. It is made at once, and started when its dependencies allow.
pub(super) fn first(
    chain: &mut Chain,
    with: &Replacement,
    discard: &[&ObservedContainer],
) -> (Target, ReplacementEnds) {
    chain.wait_for(&with.before.resources);
    if !discard.is_empty() || !providers(with.service_plan.service).is_empty() {
        chain.wait_for(&with.before.dependencies);
    }
    for seen in discard {
        chain.discard(seen);
    }
    // What is discarded may leave anonymous volumes with data in them.
    let before = discard.iter().copied().find(|seen| seen.role == Role::Main);
    let new = with.create(chain, with.name(), before);
    chain.wait_for(&with.before.dependencies);
    let up = chain.step(Operation::StartContainer { target: new.clone() });
    let ready = with.follows.then(|| chain.step(with.wait(new.clone())));
    (new, ReplacementEnds { up: Some(up), ready })
}

/// A container that takes the place of `old`, which serves under its name or was kept aside by an earlier run.
pub(super) fn replace(
    chain: &mut Chain,
    with: &Replacement,
    discard: &[&ObservedContainer],
    old: &ObservedContainer,
) -> (Target, ReplacementEnds) {
    chain.wait_for(&with.before.resources);
    // Beside one that serves, the new container can be made while others are still on their way. A namespace must be there.
    let is_made_early = old.role != Role::Kept
        && discard.is_empty()
        && providers(with.service_plan.service).is_empty()
        && with.input.request.options.failed == FailedContainers::Remove;
    if !is_made_early {
        with.wait_for_others(chain);
    }
    let old_target = chain.builder.target(old);
    let name = with.name();
    let mut back = match old.role {
        Role::Kept => operations_that_restore(&old_target, &name, with.replica.policy_of(old), with.can_return(old)),
        _ => Vec::new(),
    };
    if old.role == Role::Kept {
        stop_kept(chain, old);
    }
    for seen in discard {
        chain.discard(seen);
        // The name is free now: if nothing better comes, the old container has to take it.
        chain.undo(back.drain(..));
    }
    let (new, kept) = if old.role == Role::Kept {
        let new = with.create(chain, name, Some(old));
        chain.undo(with.give_up(&new));
        chain.undo(back);
        (new, old_target)
    } else {
        step_aside(chain, with, (old, &old_target), is_made_early)
    };
    try_out(chain, with, new, kept)
}

/// A new container under its own name, where the old one is aside already.
pub(super) fn in_place(
    chain: &mut Chain,
    with: &Replacement,
    kept: Target,
    old: &ObservedContainer,
) -> (Target, ReplacementEnds) {
    let new = with.create(chain, with.name(), Some(old));
    chain.undo(with.give_up(&new));
    try_out(chain, with, new, kept)
}

/// Starts the new container; the old one goes when that one has proved itself.
fn try_out(chain: &mut Chain, with: &Replacement, new: Target, kept: Target) -> (Target, ReplacementEnds) {
    let up = chain.step(Operation::StartContainer { target: new.clone() });
    chain.undo([Operation::StopContainer { target: new.clone() }]);
    let ready = chain.step(with.wait_as_replacement(new.clone()));
    chain.commit();
    chain.step(Operation::RemoveContainer { target: kept, volumes: AnonymousVolumes::Keep });
    (new, ReplacementEnds { up: Some(up), ready: Some(ready) })
}

/// Makes the new container beside the old one, then swaps their names.
fn step_aside(
    chain: &mut Chain,
    with: &Replacement,
    (old, old_target): (&ObservedContainer, &Target),
    is_made_early: bool,
) -> (Target, Target) {
    let keep_failed = with.input.request.options.failed == FailedContainers::Keep;
    let name = with.name();
    let next = with.create(chain, with.aside(Role::Next), Some(old));
    if !keep_failed {
        chain.undo(with.give_up(&next));
    }
    if is_made_early {
        with.wait_for_others(chain);
    }
    let policy = with.replica.policy_of(old);
    if brings_back(policy, old) {
        chain.step(Operation::SetRestartPolicy { target: old_target.clone(), policy: RestartPolicy::No });
        chain.undo([Operation::SetRestartPolicy { target: old_target.clone(), policy }]);
    }
    if old.is_up() {
        chain.step(Operation::StopContainer { target: old_target.clone() });
    }
    if with.replica.served(old) {
        if with.can_return(old) {
            chain.undo([Operation::StartContainer { target: old_target.clone() }]);
            let restarts = restarts_of_sharers(chain, with.input, with.service_plan.name, with.replica.number);
            chain.undo(restarts);
        } else if let Some(provider) = with.loses_provider {
            let (service, provider) = (with.service_plan.name.to_owned(), provider.to_owned());
            chain.builder.warn(Warning::NoWayBack { service, provider });
        }
    }
    let aside = with.aside(Role::Kept);
    chain.step(Operation::RenameContainer { target: old_target.clone(), to: aside.clone() });
    let kept = Target { container: aside, ..old_target.clone() };
    chain.undo([Operation::RenameContainer { target: kept.clone(), to: old.view.name.clone() }]);
    chain.step(Operation::RenameContainer { target: next.clone(), to: name.clone() });
    let new = Target { container: name, ..next.clone() };
    if keep_failed {
        chain.undo(with.give_up(&new));
    } else {
        chain.undo([Operation::RenameContainer { target: new.clone(), to: next.container.clone() }]);
    }
    (new, kept)
}

/// A container that was kept aside may run all the same: somebody started it, or the engine brought it back. It must not
/// work on the same data as the new one, and could not be removed.
fn stop_kept(chain: &mut Chain, kept: &ObservedContainer) {
    if !kept.is_up() {
        return;
    }
    let target = chain.builder.target(kept);
    if kept.view.restart != engine::RestartPolicy::No {
        chain.step(Operation::SetRestartPolicy { target: target.clone(), policy: RestartPolicy::No });
    }
    chain.step(Operation::StopContainer { target });
}

/// What lives in the old container's namespaces has lost them when that one was stopped: it is restarted into them when
/// the old one is back.
pub(super) fn restarts_of_sharers(chain: &mut Chain, input: &PlanInput, service: &str, number: u32) -> Vec<Operation> {
    let sharers = input.graph.dependents(service).into_iter().filter(|(_, need)| need.namespace);
    let running = sharers
        .filter(|_| number == 1)
        .flat_map(|(name, _)| input.snapshot.of_service(name, Role::Main))
        .filter(|seen| seen.is_up());
    running.map(|seen| Operation::RestartContainer { target: chain.builder.target(seen) }).collect()
}

/// The container that an interrupted run kept aside gets its place back.
pub(super) fn put_back(chain: &mut Chain, with: &Replacement, kept: &ObservedContainer) -> (Target, ReplacementEnds) {
    chain.wait_for(&with.before.resources);
    chain.wait_for(&with.before.dependencies);
    for seen in [with.replica.next].into_iter().flatten() {
        chain.discard(seen);
    }
    let target = chain.builder.target(kept);
    let name = with.name();
    for operation in operations_that_restore(&target, &name, with.replica.policy_of(kept), true) {
        chain.step(operation);
    }
    let up = chain.last();
    let target = Target { container: name, ..target };
    let ready = with.follows.then(|| chain.step(with.wait(target.clone())));
    (target, ReplacementEnds { up, ready })
}

/// A replacement that nobody has seen ready is given its time now; the old container goes or comes back.
pub(super) fn prove(
    chain: &mut Chain,
    with: &Replacement,
    main: &ObservedContainer,
    kept: &ObservedContainer,
) -> (Target, ReplacementEnds) {
    chain.wait_for(&with.before.resources);
    chain.wait_for(&with.before.dependencies);
    for seen in [with.replica.next, with.replica.failed].into_iter().flatten() {
        chain.discard(seen);
    }
    stop_kept(chain, kept);
    let new = chain.builder.target(main);
    let kept_target = chain.builder.target(kept);
    let mut undo = vec![Operation::StopContainer { target: new.clone() }];
    undo.extend(with.give_up(&new).into_iter().map(|operation| match operation {
        // It may have run for long, and written to volumes of its own.
        Operation::RemoveContainer { target, .. } => {
            Operation::RemoveContainer { target, volumes: AnonymousVolumes::Keep }
        }
        operation => operation,
    }));
    undo.extend(operations_that_restore(
        &kept_target,
        &with.name(),
        with.replica.policy_of(kept),
        with.can_return(kept),
    ));
    if !main.is_up() {
        chain.step(Operation::StartContainer { target: new.clone() });
        chain.undo(undo.drain(..));
    }
    let up = chain.last();
    let ready = chain.step(with.wait_as_replacement(new.clone()));
    chain.undo(undo);
    chain.commit();
    chain.step(Operation::RemoveContainer { target: kept_target, volumes: AnonymousVolumes::Keep });
    (new, ReplacementEnds { up: up.or(Some(ready)), ready: Some(ready) })
}
