//! `start` and `restart`: networks and volumes, then containers along the dependency graph.
//!
//! First each service's wish and decision, dependencies first, since what happens to one decides about those that are
//! tied to it. Then the checks. Then the steps.

mod recreate_networks;
mod replace;
mod resources;
mod steps;

mod waits;

pub(super) use recreate_networks::to_recreate as recreated_networks;
pub(super) use waits::has_no_check;

use std::collections::{BTreeMap, BTreeSet};

use super::builder::Builder;
use super::cause::{Cause, Warning};
use super::decide::{Change, Decision, Goal, Influence, affected, decide, has_ended_well};
use super::replica::Replica;
use super::{Action, Dependencies, Namesakes, Plan, PlanInput, checks};
use crate::manifest::model::{Condition, ReadyProbe, Service};
use crate::services::error::ServicesError;
use crate::services::snapshot::drift;
use crate::services::snapshot::observed::ObservedContainer;

/// What happens to a service.
#[derive(Debug)]
pub(super) struct ServicePlan<'a> {
    pub name: &'a str,
    pub service: &'a Service,
    pub is_chosen: bool,
    pub is_one_shot: bool,
    pub replicas: Vec<(Replica<'a>, Decision<'a>)>,
    /// Containers beyond `scale`.
    pub surplus: Vec<&'a ObservedContainer>,
    /// It would restart with the first of these, but can't: the second, whose namespace it shares, does not run.
    pub left_running: Option<(&'a str, &'a str)>,
}

impl ServicePlan<'_> {
    pub fn change(&self) -> Change {
        self.replicas.iter().map(|(_, decision)| decision.change()).max().unwrap_or(Change::Nothing)
    }

    pub fn makes_a_container(&self) -> bool {
        self.replicas.iter().any(|(_, decision)| decision.makes_a_container())
    }

    pub fn starts(&self) -> bool {
        self.replicas.iter().any(|(_, decision)| decision.starts())
    }
}

pub(super) fn plan(input: &PlanInput) -> Result<Plan, ServicesError> {
    let service_plans = service_plans(input);
    let mut builder = Builder::default();
    for folder in input.snapshot.other_folders.keys() {
        builder.warn(Warning::OtherFolder { folder: folder.clone() });
    }
    let problems = checks::check(input, &service_plans, &mut builder);
    if !problems.is_empty() {
        return Err(ServicesError::Problems(problems));
    }
    steps::build(input, &service_plans, &mut builder);
    Ok(builder.finish(input))
}

/// Decides about every service, dependencies first.
fn service_plans<'a>(input: &PlanInput<'a>) -> Vec<ServicePlan<'a>> {
    let chosen = input.chosen();
    let needed = match input.request.options.dependencies {
        Dependencies::Start => input.graph.needed_by(&chosen),
        Dependencies::Leave => BTreeSet::new(),
    };
    let mut service_plans: Vec<ServicePlan> = Vec::new();
    let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
    for names in input.graph.layers() {
        for name in names {
            let Some(service) = input.manifest.services.get(name) else {
                continue;
            };
            let is_chosen = chosen.contains(name);
            let goal = match (is_chosen, input.request.action) {
                (true, Action::Restart) => Goal::Restart,
                (true, _) => Goal::Converge,
                (false, _) if needed.contains(name) => Goal::Run { by: needer(input, name, &chosen, &needed) },
                (false, _) => Goal::Nothing,
            };
            let service_plan = service_plan(input, (name, service), &goal, &changes);
            changes.insert(name, service_plan.change());
            service_plans.push(service_plan);
        }
    }
    service_plans
}

fn service_plan<'a>(
    input: &PlanInput<'a>,
    (name, service): (&'a str, &'a Service),
    goal: &Goal,
    changes: &BTreeMap<&str, Change>,
) -> ServicePlan<'a> {
    let is_one_shot = is_one_shot(input, name, service);
    let is_chosen = matches!(goal, Goal::Converge | Goal::Restart);
    let wanted = service.replicas();
    let numbers: BTreeSet<u32> = match goal {
        // Nothing new is made of a service that nobody asked for.
        Goal::Nothing => {
            input.snapshot.containers.iter().filter(|seen| seen.service == name).map(|seen| seen.number).collect()
        }
        _ => (1..=wanted).collect(),
    };
    // What lives on in the namespace of a container that has ended could not be started again.
    let needs = input.graph.needs(name);
    let ended = needs.iter().find(|(provider, need)| {
        let change = changes.get(provider).copied().unwrap_or(Change::Nothing);
        need.namespace && change == Change::Nothing && !input.snapshot.runs(provider)
    });
    let mut left_running = None;
    let replicas = numbers
        .into_iter()
        .map(|number| {
            let adopts = *goal != Goal::Nothing && input.request.options.namesakes == Namesakes::Adopt;
            let replica = Replica::of(input.snapshot, name, number, adopts);
            let decision = decide(input, service, &replica, goal, |seen| is_done(input, seen, is_one_shot));
            let drift = |seen| drift::of(input.manifest, service, seen, input.snapshot);
            let blocks_start = replica.main.is_some_and(|main| drift(main).blocks_start);
            let decision = needs.iter().fold(decision, |decision, &(other, need)| {
                let change = changes.get(other).copied().unwrap_or(Change::Nothing);
                let follows = need.restart && input.request.options.dependencies == Dependencies::Start;
                let restarts = follows && !need.namespace && matches!(change, Change::Restarted | Change::Renewed);
                if let Some((provider, _)) = ended.filter(|_| restarts && *goal == Goal::Nothing) {
                    if replica.main.is_some_and(ObservedContainer::is_up) {
                        left_running = Some((other, *provider));
                    }
                    decision
                } else if need.namespace || follows {
                    let influence = Influence { change, shares_namespace: need.namespace, blocks_start, by: other };
                    affected(decision, &replica, &influence)
                } else {
                    decision
                }
            });
            let decision = renew_for_network(input, service, &replica, decision);
            (replica, decision)
        })
        .collect();
    let surplus = match goal {
        Goal::Converge | Goal::Restart => {
            input.snapshot.containers.iter().filter(|seen| seen.service == name && seen.number > wanted).collect()
        }
        _ => Vec::new(),
    };
    ServicePlan { name, service, is_chosen, is_one_shot, replicas, surplus, left_running }
}

/// What runs in a network that is recreated gets a new container, chosen or not; so does what would be started in it.
fn renew_for_network<'s>(
    input: &PlanInput<'s>,
    service: &Service,
    replica: &Replica<'s>,
    decision: Decision<'s>,
) -> Decision<'s> {
    let Some(network) = recreate_networks::network_of(service, &input.recreated_networks) else {
        return decision;
    };
    let lives = replica.main.is_some_and(ObservedContainer::is_up) || decision.starts();
    let leftovers = [replica.next, replica.failed].into_iter().flatten();
    match (replica.main, replica.kept, decision) {
        // A decision that makes one knows best which of the two is the old one.
        (_, _, decision @ (Decision::Make { .. } | Decision::Nothing)) => decision,
        // One that was never proved is not the one to go back to.
        (Some(main), Some(kept), _) if lives && !main.is_well() => Decision::Make {
            discard: leftovers.chain([main]).collect(),
            old: Some(kept),
            cause: Cause::NetworkRecreated(input.manifest.network_name(&network)),
        },
        (Some(main), kept, _) if lives => Decision::Make {
            discard: leftovers.chain(kept).collect(),
            old: Some(main),
            cause: Cause::NetworkRecreated(input.manifest.network_name(&network)),
        },
        (None, Some(kept), _) => Decision::Make {
            discard: leftovers.collect(),
            old: Some(kept),
            cause: Cause::NetworkRecreated(input.manifest.network_name(&network)),
        },
        (_, _, decision) => decision,
    }
}

/// Whether the service's work is done when it has ended: it says so itself, or another service waits for its end.
fn is_one_shot(input: &PlanInput, name: &str, service: &Service) -> bool {
    let awaits_end =
        |(_, need): (&str, crate::manifest::graph::Need)| need.condition == Condition::ServiceCompletedSuccessfully;
    let says_so = service.ready.as_ref().is_some_and(|ready| matches!(ready.probe, ReadyProbe::Completed(_)));
    says_so || input.graph.dependents(name).into_iter().any(awaits_end)
}

/// Whether a container's work is done: a job's that ended well. A server that was stopped may have ended well too, so of
/// one that does not say what it is, somebody must have seen the end.
pub(super) fn is_done(input: &PlanInput, seen: &ObservedContainer, is_one_shot: bool) -> bool {
    has_ended_well(seen) && (is_one_shot || input.request.options.completed.contains(&seen.view.id))
}

/// The first service that is chosen, or needed itself, and needs this one.
fn needer(input: &PlanInput, name: &str, chosen: &BTreeSet<&str>, needed: &BTreeSet<&str>) -> String {
    let dependents = input.graph.dependents(name);
    let by = dependents
        .iter()
        .find(|(other, _)| chosen.contains(other))
        .or_else(|| dependents.iter().find(|(other, _)| needed.contains(other)));
    by.map(|(other, _)| (*other).to_owned()).unwrap_or_default()
}

/// The cause of a replica's steps.
pub(super) fn cause_of(decision: &Decision) -> Cause {
    match decision {
        Decision::Nothing => Cause::Asked,
        Decision::Keep { cause, .. } | Decision::Make { cause, .. } => cause.clone(),
        Decision::PutBack { .. } | Decision::Prove { .. } => Cause::CutOff,
    }
}
