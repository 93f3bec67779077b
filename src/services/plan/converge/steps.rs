//! From decisions to steps, dependencies first.

use std::collections::{BTreeMap, BTreeSet};

use super::recreate_networks::{self, Vacated};
use super::replace::{self, Replacement};
use super::waits::{is_met, timeout, until};
use super::{ServicePlan, cause_of, is_done, resources};
use crate::engine::ContainerState;
use crate::manifest::model::{Condition, RestartPolicy};
use crate::services::plan::builder::{Builder, Chain, must_succeed, whatever_comes_of};
use crate::services::plan::cause::Cause;
use crate::services::plan::decide::{Change, Decision, Followup};
use crate::services::plan::remove::warn_of_volumes;
use crate::services::plan::replica::Replica;
use crate::services::plan::step::{Operation, StepId, Target, Until};
use crate::services::plan::{After, PlanInput, Warning, checks};
use crate::services::request::{Action, Dependencies, Wait};
use crate::services::snapshot::observed::ObservedContainer;

/// The containers of a service, for those that depend on it.
#[derive(Debug, Default)]
struct Ends<'a> {
    replicas: Vec<End<'a>>,
}

/// Where the steps of one replica end.
#[derive(Debug)]
struct End<'a> {
    number: u32,
    container: Container<'a>,
    /// After this step it runs; absent where it was not touched.
    up: Option<StepId>,
    /// After this step it is ready; absent where nobody waits yet.
    ready: Option<StepId>,
    /// Whether its old container may come back until it is ready.
    may_return: bool,
}

#[derive(Debug, Clone)]
enum Container<'a> {
    Absent,
    Untouched(&'a ObservedContainer),
    Touched(Target),
}

struct Assembly<'a, 'w> {
    input: &'w PlanInput<'a>,
    service_plans: &'w [ServicePlan<'a>],
    builder: &'w mut Builder,
    resources: BTreeMap<&'a str, Vec<After>>,
    vacated: Vacated,
    ends: BTreeMap<&'a str, Ends<'a>>,
    /// Service that is down for a while → the steps after which it is back.
    turns: BTreeMap<&'a str, Vec<StepId>>,
}

pub(super) fn build<'a>(input: &PlanInput<'a>, service_plans: &[ServicePlan<'a>], builder: &mut Builder) {
    let vacated = recreate_networks::build(input, service_plans, builder);
    let resources = resources::build(input, service_plans, &vacated, builder);
    let (ends, turns) = (BTreeMap::new(), BTreeMap::new());
    let mut assembly = Assembly { input, service_plans, builder, resources, vacated, ends, turns };
    for service_plan in service_plans {
        if let Some((with, provider)) = service_plan.left_running {
            let (service, with) = (service_plan.name.to_owned(), with.to_owned());
            assembly.builder.warn(Warning::NotRestarted { service, with, provider: provider.to_owned() });
        }
        assembly.service(service_plan);
    }
}

impl<'a> Assembly<'a, '_> {
    fn service(&mut self, service_plan: &ServicePlan<'a>) {
        let dependencies = if service_plan.starts() { self.dependencies(service_plan) } else { Vec::new() };
        let earlier = self.earlier_turns(service_plan);
        let mut ends = Ends::default();
        let mut previous: Option<StepId> = None;
        for (replica, decision) in &service_plan.replicas {
            let before = Before {
                resources: self.resources.get(service_plan.name).cloned().unwrap_or_default(),
                dependencies: dependencies.clone(),
                // A service's containers take turns, so that it is never down as a whole.
                turn: earlier.iter().copied().chain(previous.map(must_succeed)).collect(),
            };
            let end = self.steps_of(service_plan, replica, decision, &before);
            if self.takes_turns(decision) {
                previous = end.ready.or(end.up);
                // Where running is all the proof there is, those that need it need not wait to see it go on.
                let runs = matches!(until(self.input, service_plan, false), Until::Running(_))
                    && service_plan.service.ready.is_none();
                let has_no_proof = runs && !end.may_return;
                let last = if has_no_proof { end.up } else { previous };
                self.turns.entry(service_plan.name).or_default().extend(last.or(previous));
            }
            ends.replicas.push(end);
        }
        for seen in &service_plan.surplus {
            let mut chain = Chain::new(
                self.builder,
                service_plan.name,
                seen.number,
                Cause::Surplus { scale: service_plan.service.replicas() },
            );
            chain.discard(seen);
        }
        let is_surplus = |id: &str| service_plan.surplus.iter().any(|seen| seen.view.id == id);
        let rest: Vec<_> = self.input.snapshot.containers.iter().filter(|seen| !is_surplus(&seen.view.id)).collect();
        warn_of_volumes(&service_plan.surplus, &rest, self.builder);
        self.ends.insert(service_plan.name, ends);
    }

    /// Whether a decision takes something down for a while.
    fn takes_turns(&self, decision: &Decision) -> bool {
        match decision {
            Decision::Keep { followup, .. } => *followup == Followup::Restart,
            Decision::Make { old, .. } => old.is_some(),
            _ => false,
        }
    }

    /// A restart goes along the dependency graph: a service is taken down when those that it needs, directly or through
    /// others that stay as they are, are back. So nothing is down together with what it needs, and a stack with
    /// dependencies never as a whole. What became of them does not decide: it runs without them as well as before.
    fn earlier_turns(&self, service_plan: &ServicePlan) -> Vec<After> {
        if self.input.request.action != Action::Restart {
            return Vec::new();
        }
        let mut after = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![service_plan.name];
        while let Some(service) = open.pop() {
            for (other, _) in self.input.graph.needs(service) {
                if !seen.insert(other) {
                    continue;
                }
                match self.turns.get(other) {
                    Some(steps) => after.extend(steps.iter().copied().map(whatever_comes_of)),
                    None => open.push(other),
                }
            }
        }
        after
    }

    /// The steps after which a service may start.
    fn dependencies(&mut self, service_plan: &ServicePlan<'a>) -> Vec<After> {
        let chosen = self.input.chosen();
        let leave = self.input.request.options.dependencies == Dependencies::Leave;
        let mut after = Vec::new();
        for (other, need) in self.input.graph.needs(service_plan.name) {
            if leave && !chosen.contains(other) && !need.namespace {
                continue;
            }
            let steps = match need.condition {
                Condition::ServiceStarted => self.up(other),
                Condition::ServiceHealthy | Condition::ServiceCompletedSuccessfully => {
                    self.ready(other, service_plan.name)
                }
            };
            let wait = if need.required { must_succeed } else { whatever_comes_of };
            after.extend(steps.into_iter().map(wait));
        }
        // A port or an address that another service gives up is free once that one's old container can't come back.
        for other in checks::freed_by(self.input, self.service_plans, service_plan) {
            let ends = self.ends.get(other).map(|ends| ends.replicas.as_slice()).unwrap_or_default();
            after.extend(ends.iter().filter_map(|end| end.ready.or(end.up)).map(must_succeed));
        }
        after
    }

    /// The steps after which a service runs, and stays what it is then.
    fn up(&self, service: &str) -> Vec<StepId> {
        let ends = self.ends.get(service).map(|ends| ends.replicas.as_slice()).unwrap_or_default();
        ends.iter().filter_map(|end| if end.may_return { end.ready } else { end.up }).collect()
    }

    /// The steps after which a service is ready; they are added where nobody has waited for it so far.
    fn ready(&mut self, service: &str, by: &str) -> Vec<StepId> {
        let Some(service_plan) = self.service_plans.iter().find(|service_plan| service_plan.name == service) else {
            return Vec::new();
        };
        let Some(mut ends) = self.ends.remove(service_plan.name) else {
            return Vec::new();
        };
        let until = until(self.input, service_plan, false);
        for end in ends.replicas.iter_mut().filter(|end| end.ready.is_none()) {
            let target = match &end.container {
                Container::Absent => continue,
                // One that is down and stays down can't be waited for.
                Container::Untouched(seen) if is_met(seen, &until) || !seen.is_up() => continue,
                Container::Untouched(seen) => self.builder.target(seen),
                Container::Touched(target) => target.clone(),
            };
            let mut chain = Chain::new(self.builder, service_plan.name, end.number, Cause::NeededBy(by.to_owned()));
            chain.wait_for(&end.up.map(must_succeed).into_iter().collect::<Vec<_>>());
            let timeout = timeout(self.input, service_plan, &until);
            end.ready = Some(chain.step(Operation::WaitReady { target, until: until.clone(), timeout }));
        }
        let steps = ends.replicas.iter().filter_map(|end| end.ready).collect();
        self.ends.insert(service_plan.name, ends);
        steps
    }

    /// The service whose namespace this one shares and whose container is another one afterwards.
    fn lost_provider(&self, service_plan: &ServicePlan<'a>) -> Option<&'a str> {
        let needs = self.input.graph.needs(service_plan.name).into_iter().filter(|(_, need)| need.namespace);
        let is_renewed = |name: &str| {
            let mut plans = self.service_plans.iter();
            plans.any(|other| other.name == name && other.change() == Change::Renewed)
        };
        needs.map(|(name, _)| name).find(|name| is_renewed(name))
    }

    /// The steps of one replica.
    fn steps_of(
        &mut self,
        service_plan: &ServicePlan<'a>,
        replica: &Replica<'a>,
        decision: &Decision<'a>,
        before: &Before,
    ) -> End<'a> {
        let cause = cause_of(decision);
        // Also what was started only for another service: that one may wait for its start alone, and nobody would see it end.
        let follows = self.input.request.options.wait == Wait::Ready;
        let until = until(self.input, service_plan, false);
        let replacement = Replacement {
            input: self.input,
            service_plan,
            replica,
            before,
            loses_provider: self.lost_provider(service_plan),
            until: until.clone(),
            timeout: timeout(self.input, service_plan, &until),
            follows,
        };
        let mut chain = Chain::new(self.builder, service_plan.name, replica.number, cause);
        let end = match decision {
            Decision::Nothing => End::of(replica.number, Container::Absent),
            Decision::Keep { main, set_policy, followup, .. } => {
                keep(&mut chain, &replacement, main, *set_policy, *followup)
            }
            Decision::Make { discard, old: None, .. } => {
                let (target, ends) = replace::first(&mut chain, &replacement, discard);
                End { up: ends.up, ready: ends.ready, ..End::of(replica.number, Container::Touched(target)) }
            }
            Decision::Make { discard, old: Some(old), .. } => {
                let (target, ends) = match self.vacated.of(service_plan.name, replica.number) {
                    Some(vacated) => recreate_networks::refill(&mut chain, &replacement, vacated, old),
                    None => replace::replace(&mut chain, &replacement, discard, old),
                };
                End::replaced(replica.number, target, ends)
            }
            Decision::PutBack { kept } => {
                let (target, ends) = replace::put_back(&mut chain, &replacement, kept);
                End { up: ends.up, ready: ends.ready, ..End::of(replica.number, Container::Touched(target)) }
            }
            Decision::Prove { main, kept } => {
                let (target, ends) = replace::prove(&mut chain, &replacement, main, kept);
                End::replaced(replica.number, target, ends)
            }
        };
        let still_failed = replica.failed.filter(|_| service_plan.is_chosen && !decision.makes_a_container());
        if let Some(failed) = still_failed {
            let container = failed.view.name.clone();
            self.builder.warn(Warning::FailedKept { service: service_plan.name.to_owned(), container });
        }
        end
    }
}

impl<'a> End<'a> {
    fn of(number: u32, container: Container<'a>) -> Self {
        Self { number, container, up: None, ready: None, may_return: false }
    }

    fn replaced(number: u32, target: Target, ends: replace::ReplacementEnds) -> Self {
        Self { up: ends.up, ready: ends.ready, may_return: true, ..Self::of(number, Container::Touched(target)) }
    }
}

/// What comes before a container's steps.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub resources: Vec<After>,
    pub dependencies: Vec<After>,
    /// What it needs and is down for a while as well, and the service's container before.
    pub turn: Vec<After>,
}

fn keep<'a>(
    chain: &mut Chain,
    with: &Replacement<'_, 'a>,
    main: &'a ObservedContainer,
    set_policy: Option<RestartPolicy>,
    followup: Followup,
) -> End<'a> {
    if let Some(next) = with.replica.next.filter(|_| with.service_plan.is_chosen) {
        let cause = std::mem::replace(chain.cause_mut(), Cause::CutOff);
        chain.discard(next);
        *chain.cause_mut() = cause;
    }
    if let Some(policy) = set_policy {
        let target = chain.builder.target(main);
        let cause = std::mem::replace(chain.cause_mut(), Cause::RestartPolicy);
        chain.step(Operation::SetRestartPolicy { target, policy });
        *chain.cause_mut() = cause;
    }
    let number = with.replica.number;
    if followup == Followup::Nothing {
        let is_settled = main.is_well() || is_done(with.input, main, with.service_plan.is_one_shot);
        if !with.service_plan.is_chosen || !with.follows || is_settled {
            return End::of(number, Container::Untouched(main));
        }
        *chain.cause_mut() = Cause::NotReady;
        let target = chain.builder.target(main);
        let ready = chain.step(with.wait(target.clone()));
        return End { up: None, ready: Some(ready), ..End::of(number, Container::Touched(target)) };
    }
    let target = chain.builder.target(main);
    chain.wait_for(&with.before.resources);
    chain.wait_for(&with.before.dependencies);
    if main.view.state == ContainerState::Paused {
        chain.step(Operation::UnpauseContainer { target: target.clone() });
    }
    match followup {
        Followup::Start => drop(chain.step(Operation::StartContainer { target: target.clone() })),
        Followup::Restart => {
            chain.wait_for(&with.before.turn);
            chain.step(Operation::RestartContainer { target: target.clone() });
        }
        Followup::Unpause | Followup::Nothing => {}
    }
    let up = chain.last();
    let ready = with.follows.then(|| chain.step(with.wait(target.clone())));
    End { up, ready, ..End::of(number, Container::Touched(target)) }
}
