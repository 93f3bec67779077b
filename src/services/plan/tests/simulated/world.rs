//! An engine in memory: it does what a step says, or refuses it as an engine would.

use super::*;
use crate::services::run::undo::UndoLog;

/// What is there, and what has been done to it.
pub(super) struct World {
    pub(super) stack: Stack,
    pub(super) made: BTreeMap<StepId, String>,
    pub(super) chance: u64,
    pub(super) serial: usize,
    /// The step that failed, or at which the run was killed.
    pub(super) last: Option<StepId>,
    /// Services of which no new container ever gets ready.
    pub(super) unready: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Done,
    Failed,
    Skipped,
}

impl World {
    fn pick(&mut self, count: usize) -> usize {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) as usize % count
    }

    fn seen(&mut self, target: &Target) -> Option<&mut ObservedContainer> {
        let id = target.id.clone().or_else(|| self.made.get(&target.made_by?).cloned())?;
        self.stack.snapshot.containers.iter_mut().find(|seen| seen.view.id == id)
    }

    /// Does it as an engine would; an error where an engine would refuse.
    fn perform(&mut self, step: &Step, operation: &Operation) -> Result<(), String> {
        let taken: Vec<(String, String)> =
            self.stack.snapshot.containers.iter().map(|seen| (seen.view.name.clone(), seen.view.id.clone())).collect();
        match operation {
            Operation::CreateContainer { name, .. } => {
                if taken.iter().any(|(other, _)| other == name) {
                    return Err(format!("{name} is taken"));
                }
                let (service, number) = (step.service.clone().unwrap(), step.number.unwrap());
                if let Some(NamespaceMode::Service(other)) = &self.stack.services[&service].network_mode
                    && self.stack.snapshot.main(other, 1).is_none()
                {
                    return Err(format!("{other} has no container"));
                }
                self.stack = made(std::mem::take(&mut self.stack), &service, number, Role::Main);
                self.serial += 1;
                let seen = self.stack.snapshot.containers.last_mut().unwrap();
                seen.view.id = format!("{service}-{number}-made-{}", self.serial);
                seen.view.name = name.clone();
                seen.role = role(name);
                seen.view.state = ContainerState::Created;
                self.made.insert(step.id, seen.view.id.clone());
            }
            Operation::RenameContainer { target, to } => {
                let Some(seen) = self.seen(target) else { return Ok(()) };
                if taken.iter().any(|(other, id)| other == to && *id != seen.view.id) {
                    return Err(format!("{to} is taken"));
                }
                seen.view.name = to.clone();
                seen.role = role(to);
            }
            Operation::RemoveContainer { target, volumes } => {
                let found = self.seen(target).map(|seen| (seen.view.id.clone(), seen.is_up()));
                if let Some((id, is_up)) = found {
                    // Only what failed is removed by force.
                    if is_up && *volumes == AnonymousVolumes::Keep {
                        return Err(format!("{} runs and can't be removed", target.container));
                    }
                    self.stack.snapshot.containers.retain(|seen| seen.view.id != id);
                }
            }
            Operation::WaitReady { target, .. } => {
                let has_check = self.stack.services[step.service.as_ref().unwrap()].healthcheck.is_some();
                let running = self.seen(target).filter(|seen| seen.view.state == ContainerState::Running);
                let Some(seen) = running else { return Err(format!("{} does not run", target.container)) };
                seen.view.health = if has_check { HealthState::Healthy } else { HealthState::None };
            }
            Operation::RemoveNetwork { name } => {
                let mut containers = self.stack.snapshot.containers.iter();
                if let Some(seen) = containers.find(|seen| seen.is_up() && seen.view.networks.contains_key(name)) {
                    return Err(format!("{} is in network {name}", seen.view.name));
                }
                self.stack.snapshot.networks.retain(|network| network.name != *name);
            }
            Operation::CreateNetwork { key, name } => {
                self.serial += 1;
                self.stack.network(name);
                let network = self.stack.snapshot.networks.last_mut().unwrap();
                network.id = format!("network-made-{}", self.serial);
                network.internal = self.stack.networks.get(key).is_some_and(|network| network.internal);
            }
            Operation::RejoinNetworks { target, networks } => {
                for old in networks {
                    let name = &old.spec.name;
                    if !self.stack.snapshot.networks.iter().any(|network| network.name == *name) {
                        self.serial += 1;
                        self.stack.network(name);
                        let network = self.stack.snapshot.networks.last_mut().unwrap();
                        network.id = format!("network-back-{}", self.serial);
                        network.internal = old.spec.internal;
                    }
                    let there = self.stack.snapshot.networks.iter().find(|network| network.name == *name);
                    let id = there.map(|network| network.id.clone()).unwrap_or_default();
                    let Some(seen) = self.seen(target) else { return Ok(()) };
                    seen.view.network_ids.insert(name.clone(), id);
                }
            }
            operation => {
                let Some(seen) = operation.target().and_then(|target| self.seen(target)) else { return Ok(()) };
                match operation {
                    Operation::StopContainer { .. } => seen.view.state = ContainerState::Exited,
                    Operation::SetRestartPolicy { policy, .. } => seen.view.restart = spec::restart(*policy),
                    _ => {
                        let provider = seen.view.network_mode.strip_prefix("container:").map(str::to_owned);
                        let name = seen.view.name.clone();
                        let place = (seen.service.clone(), seen.number, seen.view.id.clone());
                        let joined = seen.view.network_ids.clone();
                        // Both publish the same ports, and work on the same data.
                        let mut containers = self.stack.snapshot.containers.iter();
                        if let Some(other) = containers.find(|other| {
                            other.is_up()
                                && (&other.service, other.number) == (&place.0, place.1)
                                && other.view.id != place.2
                        }) {
                            return Err(format!("{name} can't run beside {}", other.view.name));
                        }
                        // A network is known by its ID once it was joined.
                        let networks: BTreeMap<String, String> = (self.stack.snapshot.networks.iter())
                            .map(|network| (network.name.clone(), network.id.clone()))
                            .collect();
                        let is_there = |id: &String| networks.values().any(|there| there == id);
                        if let Some(gone) = joined.values().find(|id| !id.is_empty() && !is_there(id)) {
                            return Err(format!("{name}: network {gone} not found"));
                        }
                        if let Some(provider) = provider {
                            let containers = &self.stack.snapshot.containers;
                            if !containers.iter().any(|other| other.view.id == provider && other.is_up()) {
                                return Err(format!(
                                    "{name} can't join the namespace of {provider}, which does not run"
                                ));
                            }
                        }
                        let Some(seen) = operation.target().and_then(|target| self.seen(target)) else { return Ok(()) };
                        seen.view.state = ContainerState::Running;
                        for name in seen.view.networks.keys() {
                            seen.view.network_ids.insert(name.clone(), networks.get(name).cloned().unwrap_or_default());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the step waits for a new container that never gets ready. One with a check is unhealthy by then.
    fn never_gets_ready(&mut self, step: &Step) -> bool {
        let (Operation::WaitReady { target, .. }, Some(service)) = (&step.operation, &step.service) else {
            return false;
        };
        let has_check = self.stack.services[service].healthcheck.is_some();
        let is_unready = self.unready.contains(service);
        let is_new = |seen: &&mut ObservedContainer| {
            seen.view.state == ContainerState::Running && seen.view.id.contains("-made-")
        };
        let Some(seen) = self.seen(target).filter(|_| is_unready).filter(is_new) else { return false };
        if has_check {
            seen.view.health = HealthState::Unhealthy;
        }
        true
    }

    /// Takes the plan's steps in some order; at the `moment`th step that one fails, or with `kills` nothing comes after it.
    /// Waits for what never gets ready fail by themselves.
    pub(super) fn run(
        &mut self,
        plan: &Plan,
        moment: Option<usize>,
        late: bool,
        kills: bool,
    ) -> Result<Vec<End>, String> {
        let mut ends = vec![End::Open; plan.steps.len()];
        let mut undo_log = UndoLog::default();
        let mut taken = 0;
        self.made.clear();
        loop {
            let barred = |ends: &[End], step: &Step| {
                step.after
                    .iter()
                    .any(|after| matches!(ends[after.step], End::Failed | End::Skipped) && !after.whatever_comes_of_it)
            };
            let is_open = |ends: &[End], step: &Step| step.after.iter().any(|after| ends[after.step] == End::Open);
            let skipped = plan.steps.iter().find(|step| ends[step.id] == End::Open && barred(&ends, step));
            if let Some(step) = skipped {
                self.go_back(step, &mut undo_log)?;
                ends[step.id] = End::Skipped;
                continue;
            }
            let next: Vec<&Step> =
                plan.steps.iter().filter(|step| ends[step.id] == End::Open && !is_open(&ends, step)).collect();
            if next.is_empty() {
                return Ok(ends);
            }
            let step = next[self.pick(next.len())];
            let is_the_one = moment == Some(taken);
            taken += 1;
            if is_the_one {
                self.last = Some(step.id);
            }
            let is_unready = self.never_gets_ready(step);
            if !is_unready && (!is_the_one || late) {
                self.perform(step, &step.operation)?;
            }
            if is_the_one && kills {
                return Ok(ends);
            }
            if is_the_one || is_unready {
                undo_log.failed(step);
                self.go_back(step, &mut undo_log)?;
                ends[step.id] = End::Failed;
            } else {
                undo_log.done(step);
                ends[step.id] = End::Done;
            }
        }
    }

    fn go_back(&mut self, step: &Step, undo_log: &mut UndoLog) -> Result<(), String> {
        undo_log.take_undo(step).iter().try_for_each(|operation| self.perform(step, operation))
    }

    pub(super) fn plan(&self, action: Action, chosen: &[String]) -> Plan {
        let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
        self.stack.plan(action, &chosen, |_| {}).unwrap()
    }

    pub(super) fn main(&self, service: &str, number: u32) -> Option<&ObservedContainer> {
        self.stack.snapshot.main(service, number)
    }
}

fn role(name: &str) -> Role {
    let roles = [Role::Kept, Role::Next, Role::Failed];
    roles.into_iter().find(|role| name.ends_with(role.suffix())).unwrap_or(Role::Main)
}
