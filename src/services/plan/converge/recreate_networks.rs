//! Networks that are recreated (`--recreate-networks`): what runs in them is stopped and steps aside first, since the engine
//! removes no network that is in use and keeps a container in the network that it joined.
//!
//! The way back: a network that was removed is created as it was, unless there is another of its name by then, and the old
//! containers join it (`Operation::RejoinNetworks`).

use std::collections::{BTreeMap, BTreeSet};

use super::ServicePlan;
use super::replace::{Replacement, aside, brings_back, restarts_of_sharers};
use crate::engine::NetworkAttachment;
use crate::manifest::model::{RestartPolicy, Service};
use crate::services::plan::PlanInput;
use crate::services::plan::builder::{Builder, Chain, must_succeed, operations_that_restore};
use crate::services::plan::cause::{Cause, Warning};
use crate::services::plan::decide::Decision;
use crate::services::plan::replica::Replica;
use crate::services::plan::step::{OldNetwork, Operation, ReplicaId, StepId, Target};
use crate::services::plan::stop::{after_dependents, dependents_before_what_they_need};
use crate::services::snapshot::observed::{ObservedContainer, Role};
use crate::services::snapshot::resources::network_drift;

/// What has stepped aside, and the networks that are gone then.
#[derive(Debug, Default)]
pub(super) struct Vacated {
    /// The old container of each under its name aside, and the last step of it so far.
    replicas: BTreeMap<ReplicaId, (Target, Option<StepId>)>,
    /// Network → the step that removes it.
    pub removed: BTreeMap<String, StepId>,
}

impl Vacated {
    pub fn of(&self, service: &str, number: u32) -> Option<&(Target, Option<StepId>)> {
        self.replicas.get(&(service.to_owned(), number))
    }
}

/// The networks that differ from the manifest, of the services that were chosen, by their keys.
pub(in crate::services::plan) fn to_recreate(input: &PlanInput) -> BTreeSet<String> {
    if !input.request.options.recreate_networks {
        return BTreeSet::new();
    }
    let chosen = input.request.selection.iter().filter_map(|name| input.manifest.services.get(name));
    let keys: BTreeSet<&str> = chosen.flat_map(Service::network_keys).collect();
    let differs = |key: &&str| !network_drift(input.manifest, key, input.snapshot).is_empty();
    keys.into_iter().filter(differs).map(str::to_owned).collect()
}

/// The first network of a service that is recreated.
pub(super) fn network_of(service: &Service, recreated: &BTreeSet<String>) -> Option<String> {
    service.network_keys().into_iter().find(|key| recreated.contains(*key)).map(str::to_owned)
}

/// The first network that is recreated and that a container is in.
fn joined(input: &PlanInput, old: &ObservedContainer) -> Option<String> {
    let is_in = |key: &&String| old.view.networks.contains_key(&input.manifest.network_name(key));
    input.recreated_networks.iter().find(is_in).cloned()
}

/// Stops what runs in these networks, those first that depend on others, and removes the networks.
pub(super) fn build(input: &PlanInput, service_plans: &[ServicePlan], builder: &mut Builder) -> Vacated {
    let mut vacated = Vacated::default();
    if input.recreated_networks.is_empty() {
        return vacated;
    }
    let mut down: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    for name in dependents_before_what_they_need(input) {
        let Some(service_plan) = service_plans.iter().find(|plan| plan.name == name) else {
            continue;
        };
        let before = after_dependents(input, name, &down);
        for (replica, decision) in &service_plan.replicas {
            let Decision::Make { discard, old: Some(old), .. } = decision else {
                continue;
            };
            // The manifest may have taken the service out of the network since.
            let key = network_of(service_plan.service, &input.recreated_networks).or_else(|| joined(input, old));
            let Some(key) = key else {
                continue;
            };
            let cause = Cause::NetworkRecreated(input.manifest.network_name(&key));
            let mut chain = Chain::new(builder, name, replica.number, cause);
            chain.wait_for(&before);
            let kept = step_aside(&mut chain, input, service_plan, (replica, discard, old));
            let last = chain.last();
            down.entry(name).or_default().extend(last);
            vacated.replicas.insert((name.to_owned(), replica.number), (kept, last));
        }
    }
    let after: Vec<_> = vacated.replicas.values().filter_map(|(_, last)| *last).map(must_succeed).collect();
    for key in &input.recreated_networks {
        let name = input.manifest.network_name(key);
        let fields = network_drift(input.manifest, key, input.snapshot);
        let services: BTreeSet<String> = vacated.replicas.keys().map(|(service, _)| service.clone()).collect();
        let services = services.into_iter().collect();
        builder.warn(Warning::NetworkRecreated { network: name.clone(), services });
        let operation = Operation::RemoveNetwork { name: name.clone() };
        let step = builder.resource(operation, Cause::NetworkDiffers(fields), after.clone());
        vacated.removed.insert(name, step);
    }
    vacated
}

fn step_aside(
    chain: &mut Chain,
    input: &PlanInput,
    service_plan: &ServicePlan,
    (replica, discard, old): (&Replica, &[&ObservedContainer], &ObservedContainer),
) -> Target {
    let target = chain.builder.target(old);
    let policy = replica.policy_of(old);
    let name = input.manifest.container_name(service_plan.name, replica.number);
    let rejoin = rejoins(input, old, &target);
    let mut back: Vec<Operation> = match old.role {
        // The name is free when the unproved one is gone: if nothing better comes, the old container has to take it.
        Role::Kept if !old.is_up() => {
            let named = Target { container: name.clone(), ..target.clone() };
            let restored = operations_that_restore(&target, &name, policy, false).into_iter();
            restored.chain(rejoin.clone()).chain([Operation::StartContainer { target: named }]).collect()
        }
        _ => Vec::new(),
    };
    for seen in discard {
        chain.discard(seen);
        chain.undo(back.drain(..));
    }
    if old.role == Role::Main && brings_back(policy, old) {
        chain.step(Operation::SetRestartPolicy { target: target.clone(), policy: RestartPolicy::No });
        chain.undo([Operation::SetRestartPolicy { target: target.clone(), policy }]);
    }
    if old.is_up() {
        chain.step(Operation::StopContainer { target: target.clone() });
        chain.undo(rejoin.clone());
        chain.undo([Operation::StartContainer { target: target.clone() }]);
        let restarts = restarts_of_sharers(chain, input, service_plan.name, replica.number);
        chain.undo(restarts);
    }
    if old.role != Role::Main {
        return target;
    }
    let kept = Target { container: aside(&name, Role::Kept), ..target.clone() };
    chain.step(Operation::RenameContainer { target, to: kept.container.clone() });
    chain.undo([Operation::RenameContainer { target: kept.clone(), to: old.view.name.clone() }]);
    if !old.is_up() {
        chain.undo(rejoin);
    }
    kept
}

/// What lets an old container start again though the networks that it joined were removed.
fn rejoins(input: &PlanInput, old: &ObservedContainer, target: &Target) -> Option<Operation> {
    let names = input.recreated_networks.iter().map(|key| input.manifest.network_name(key));
    let networks = names.filter(|name| old.view.networks.contains_key(name)).filter_map(|name| {
        let network = input.snapshot.network(&name)?;
        let attachment = old.view.attachments.get(&name).cloned();
        let attachment = attachment.unwrap_or_else(|| NetworkAttachment { network: name, ..Default::default() });
        Some(OldNetwork { id: network.id.clone(), spec: network.spec(), attachment })
    });
    let networks: Vec<OldNetwork> = networks.collect();
    (!networks.is_empty()).then(|| Operation::RejoinNetworks { target: target.clone(), networks })
}

/// The new container of a replica whose old one has stepped aside.
pub(super) fn refill(
    chain: &mut Chain,
    with: &Replacement,
    (kept, last): &(Target, Option<StepId>),
    old: &ObservedContainer,
) -> (Target, super::replace::ReplacementEnds) {
    chain.wait_for(&with.before.resources);
    chain.wait_for(&with.before.dependencies);
    chain.wait_for(&last.map(must_succeed).into_iter().collect::<Vec<_>>());
    super::replace::in_place(chain, with, kept.clone(), old)
}
