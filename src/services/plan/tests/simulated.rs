//! Plans of generated stacks, run on a world in memory: with a failure at any step and the way back, killed after any
//! step and run again, in any order that the plan allows.

use super::generated::config;
use super::*;
use crate::engine;
use crate::manifest::model::NamespaceMode;
use crate::services::run::undo::UndoLog;
use crate::services::snapshot::observe::providers;
use proptest::prelude::*;

const SERVICES: usize = 8;

#[derive(Debug, Clone)]
struct Shape {
    /// From, to, kind: started, healthy, restarts with, namespace.
    needs: Vec<(usize, usize, u8)>,
    /// 0 absent, 1 running, 2 stopped, 3 running an old image, 4 stopped with an old image, 5 running in two containers.
    states: Vec<u8>,
    chosen: Vec<bool>,
    action: Action,
    /// Picks among the steps that may come next.
    chance: u64,
    /// Which step fails or is the last one, counted as they are taken.
    moment: usize,
    /// Whether the step has had its effect when it fails.
    late: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let needs = prop::collection::vec((0..SERVICES, 0..SERVICES, 0u8..5), 0..14);
    let action = prop::sample::select(vec![Action::Start, Action::Restart, Action::Stop, Action::Remove]);
    let chosen = prop::collection::vec(prop::bool::weighted(0.7), SERVICES);
    let states = prop::collection::vec(0u8..6, SERVICES);
    (needs, states, chosen, action, any::<u64>(), 0usize..80, any::<bool>()).prop_map(
        |(needs, states, chosen, action, chance, moment, late)| Shape {
            needs,
            states,
            chosen,
            action,
            chance,
            moment,
            late,
        },
    )
}

fn name(number: usize) -> String {
    format!("s{number}")
}

fn stack(shape: &Shape) -> Stack {
    let mut stack = Stack::new();
    for number in 0..SERVICES {
        stack = stack.service(&name(number), |service| {
            let is_awaited = |(_, to, kind): &(usize, usize, u8)| *to == number && *kind == 1;
            service.healthcheck = shape.needs.iter().any(is_awaited).then(check);
            service.scale = (shape.states[number] == 5).then_some(2);
            for (from, to, kind) in shape.needs.iter().filter(|(from, to, _)| *from == number && to > from) {
                let other = name(*to);
                match kind {
                    4 if shape.states[*from] != 5 => service.network_mode = Some(NamespaceMode::Service(other)),
                    _ => {
                        let condition = [Condition::ServiceStarted, Condition::ServiceHealthy][usize::from(*kind == 1)];
                        needs(service, &other, condition);
                        service.depends_on[&other].restart = *kind == 2;
                    }
                }
            }
        });
    }
    // Those first whose namespaces others use.
    for number in (0..SERVICES).rev() {
        let service = name(number);
        stack = match shape.states[number] {
            0 => stack,
            5 => {
                let stack = made(stack, &service, 1, Role::Main);
                made(stack, &service, 2, Role::Main)
            }
            _ => made(stack, &service, 1, Role::Main),
        };
        if matches!(shape.states[number], 2 | 4) {
            stack = stack.stopped(&service);
        }
    }
    for number in 0..SERVICES {
        if matches!(shape.states[number], 3 | 4) {
            stack = stack.new_image(&name(number));
        }
    }
    stack
}

/// A running container as the manifest has it now.
fn made(stack: Stack, service: &str, number: u32, role: Role) -> Stack {
    let mode = match &stack.services[service].network_mode {
        Some(NamespaceMode::Service(other)) => {
            stack.snapshot.main(other, 1).map(|provider| format!("container:{}", provider.view.id))
        }
        _ => None,
    };
    stack.has(service, number, role, |view| view.network_mode = mode.unwrap_or_default())
}

/// What is there, and what has been done to it.
struct World {
    stack: Stack,
    made: BTreeMap<StepId, String>,
    chance: u64,
    serial: usize,
    /// The step that failed, or at which the run was killed.
    last: Option<StepId>,
    /// Services of which no new container ever gets ready.
    unready: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
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
    fn run(&mut self, plan: &Plan, moment: Option<usize>, late: bool, kills: bool) -> Result<Vec<End>, String> {
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

    fn plan(&self, action: Action, chosen: &[String]) -> Plan {
        let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
        self.stack.plan(action, &chosen, |_| {}).unwrap()
    }

    fn main(&self, service: &str, number: u32) -> Option<&ObservedContainer> {
        self.stack.snapshot.main(service, number)
    }
}

fn role(name: &str) -> Role {
    let roles = [Role::Kept, Role::Next, Role::Failed];
    roles.into_iter().find(|role| name.ends_with(role.suffix())).unwrap_or(Role::Main)
}

fn chosen(shape: &Shape) -> Vec<String> {
    (0..SERVICES).filter(|number| shape.chosen[*number]).map(name).collect()
}

fn world(shape: &Shape) -> World {
    let (stack, chance) = (stack(shape), shape.chance);
    World { stack, made: BTreeMap::new(), chance, serial: 0, last: None, unready: BTreeSet::new() }
}

/// A container that serves: its service and number, its ID and restart policy.
type Serving = (String, u32, String, engine::RestartPolicy);

/// What served before.
fn serving(world: &World) -> Vec<Serving> {
    let mains = world.stack.snapshot.containers.iter().filter(|seen| seen.role == Role::Main && seen.is_up());
    mains.map(|seen| (seen.service.clone(), seen.number, seen.view.id.clone(), seen.view.restart)).collect()
}

/// Everything chosen runs as the manifest says, nothing is left beside it, and a plan finds nothing more to do.
fn settled(world: &World, chosen: &[String]) -> Result<(), String> {
    for service in chosen {
        for number in 1..=world.stack.services[service].replicas() {
            let Some(main) = world.main(service, number) else { return Err(format!("{service} has no container")) };
            if !main.is_up() || main.view.restart != engine::RestartPolicy::UnlessStopped {
                return Err(format!("{service} is not as it should be: {:?}", main.view));
            }
        }
        let beside =
            world.stack.snapshot.containers.iter().find(|seen| seen.service == *service && seen.role != Role::Main);
        if let Some(beside) = beside {
            return Err(format!("{} is left", beside.view.name));
        }
    }
    let again = world.plan(Action::Start, chosen);
    if again.changes_anything() { Err(format!("there is more to do: {}", text(Ok(again)))) } else { Ok(()) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_order_that_a_plan_allows_leads_to_its_end(shape in shapes()) {
        let mut world = world(&shape);
        let chosen = chosen(&shape);
        let plan = world.plan(shape.action, &chosen);
        let ends = world.run(&plan, None, false, false).map_err(TestCaseError::fail)?;
        prop_assert!(ends.iter().all(|end| *end == End::Done));
        match shape.action {
            Action::Start | Action::Restart => settled(&world, &chosen).map_err(TestCaseError::fail)?,
            Action::Stop => prop_assert!(chosen.iter().all(|name| !world.stack.snapshot.runs(name))),
            Action::Remove => {
                prop_assert!(world.stack.snapshot.containers.iter().all(|seen| !chosen.contains(&seen.service)));
            }
        }
    }

    #[test]
    fn whatever_fails_every_service_serves_as_before_or_by_a_container_that_was_proved(shape in shapes()) {
        prop_assume!(matches!(shape.action, Action::Start | Action::Restart));
        let mut world = world(&shape);
        let chosen = chosen(&shape);
        let before = serving(&world);
        let plan = world.plan(shape.action, &chosen);
        let ends = world.run(&plan, Some(shape.moment), shape.late, false).map_err(TestCaseError::fail)?;
        serves_and_comes_to_the_end(&mut world, (&plan, &ends), &before, &chosen)?;
    }

    #[test]
    fn what_never_gets_ready_takes_no_service_away(
        shape in shapes(),
        unready in prop::collection::vec(prop::bool::weighted(0.4), SERVICES),
    ) {
        prop_assume!(matches!(shape.action, Action::Start | Action::Restart));
        let mut world = world(&shape);
        world.unready = (0..SERVICES).filter(|number| unready[*number]).map(name).collect();
        let chosen = chosen(&shape);
        let before = serving(&world);
        let plan = world.plan(shape.action, &chosen);
        let ends = world.run(&plan, None, false, false).map_err(TestCaseError::fail)?;
        world.unready.clear();
        serves_and_comes_to_the_end(&mut world, (&plan, &ends), &before, &chosen)?;
    }

    #[test]
    fn a_run_that_is_killed_anywhere_loses_nothing_and_the_next_one_comes_to_the_end(shape in shapes()) {
        prop_assume!(matches!(shape.action, Action::Start | Action::Restart));
        let steps = world(&shape).plan(shape.action, &chosen(&shape)).steps.len();
        // At one step of each stack; the soak kills at every one.
        let moments = match std::env::var_os("DPL_EVERY_STEP") {
            Some(_) => 0..steps,
            None => {
                let moment = shape.moment % steps.max(1);
                moment..moment + 1
            }
        };
        for moment in moments {
            killed_and_run_again(&Shape { moment, late: shape.late ^ (moment % 2 == 1), ..shape.clone() })?;
        }
    }
}

/// After a run in which steps failed, every service serves, by the container that it had or by one that was proved, and
/// nothing runs beside that. Another run, in which nothing fails, comes to the end.
fn serves_and_comes_to_the_end(
    world: &mut World,
    (plan, ends): (&Plan, &[End]),
    before: &[Serving],
    chosen: &[String],
) -> Result<(), TestCaseError> {
    let shown = || text(Ok(plan.clone()));
    let has_failed = |step: &Step| ends[step.id] == End::Failed;
    let is_proved = |step: &Step| step.commits && ends[step.id] == End::Done;
    for (service, number, id, policy) in before {
        // One that was only to be restarted may be down when exactly that failed.
        let restart_failed = plan.steps.iter().any(|step| {
            has_failed(step)
                && step.service.as_ref() == Some(service)
                && matches!(step.operation, Operation::RestartContainer { .. })
        });
        let was_settled = plan
            .steps
            .iter()
            .any(|step| is_proved(step) && (step.service.as_ref(), step.number) == (Some(service), Some(*number)));
        let Some(main) = world.main(service, *number) else {
            return Err(TestCaseError::fail(format!("{service} {number} is gone\n{}", shown())));
        };
        // Nothing runs again in the namespace of a container that is gone for good.
        let lost_provider = providers(&world.stack.services[service])
            .into_iter()
            .any(|provider| plan.steps.iter().any(|step| is_proved(step) && step.service.as_deref() == Some(provider)));
        // The plan says beforehand where there is no way back.
        let was_said = plan
            .warnings
            .iter()
            .any(|warning| matches!(warning, Warning::NoWayBack { service: guest, .. } if guest == service));
        let is_excused = restart_failed || lost_provider || was_said;
        prop_assert!(main.is_up() || is_excused, "{service} is down\n{}", shown());
        prop_assert_eq!(main.view.restart, *policy);
        prop_assert_eq!(main.view.id == *id, !was_settled, "{}", service);
        let kept = world.stack.snapshot.of_service(service, Role::Kept).any(|seen| seen.number == *number);
        prop_assert!(!kept || was_settled, "{} is still aside", service);
    }
    // Nothing runs beside the container that serves.
    let doubled = world.stack.snapshot.containers.iter().find(|seen| seen.role != Role::Main && seen.is_up());
    prop_assert!(doubled.is_none(), "{doubled:?}");
    let again = world.plan(Action::Start, chosen);
    world.run(&again, None, false, false).map_err(TestCaseError::fail)?;
    settled(world, chosen).map_err(TestCaseError::fail)?;
    Ok(())
}

#[test]
fn a_replacement_that_never_gets_ready_fails_alone_and_the_old_container_serves() {
    // The first one waits until the last one is healthy; both have a new image.
    let shape = Shape {
        needs: vec![(0, 7, 1)],
        states: vec![3, 0, 0, 0, 0, 0, 0, 3],
        chosen: vec![true, false, false, false, false, false, false, true],
        action: Action::Start,
        chance: 0,
        moment: 0,
        late: false,
    };
    let mut world = World { unready: ["s7".to_owned()].into(), ..world(&shape) };
    let before = serving(&world);
    let plan = world.plan(Action::Start, &chosen(&shape));
    let ends = world.run(&plan, None, false, false).unwrap();
    let failed: Vec<String> =
        plan.steps.iter().filter(|step| ends[step.id] == End::Failed).map(|step| line(&step.operation)).collect();
    assert!(failed.len() == 1 && failed[0].ends_with("for p-s7-1: healthy"), "{failed:?}");
    assert_eq!(serving(&world), before);
}

#[test]
fn a_guest_of_a_provider_that_does_not_run_is_not_restarted_with_another() {
    let shape = Shape {
        needs: vec![(0, 1, 2), (0, 4, 4)],
        states: vec![1, 3, 0, 0, 2, 0, 0, 1],
        chosen: vec![false, true, false, false, false, false, false, false],
        action: Action::Start,
        chance: 0,
        moment: 0,
        late: false,
    };
    let mut world = world(&shape);
    let plan = world.plan(Action::Start, &chosen(&shape));
    world.run(&plan, None, false, false).unwrap();
    assert!(world.stack.snapshot.runs("s0"));
    let said = |warning: &Warning| matches!(warning, Warning::NotRestarted { service, .. } if service == "s0");
    assert!(plan.warnings.iter().any(said), "{}", text(Ok(plan)));
}

/// Kills a run and makes another one, which must come to the end.
fn killed_and_run_again(shape: &Shape) -> Result<(), TestCaseError> {
    let mut world = world(shape);
    let chosen = chosen(shape);
    let before = serving(&world);
    let plan = world.plan(shape.action, &chosen);
    let ends = world.run(&plan, Some(shape.moment), shape.late, true).map_err(TestCaseError::fail)?;
    for (service, number, id, _) in &before {
        let was_settled = plan.steps.iter().any(|step| {
            step.commits
                && ends[step.id] == End::Done
                && (step.service.as_deref(), step.number) == (Some(service), Some(*number))
        });
        // A wait that was over when the process was killed proves as much.
        let last_wait = shape.late
            && world.last.is_some_and(|last| {
                let step = &plan.steps[last];
                step.commits && (step.service.as_deref(), step.number) == (Some(service), Some(*number))
            });
        let is_there = world.stack.snapshot.containers.iter().any(|seen| seen.view.id == *id);
        prop_assert!(is_there || was_settled || last_wait, "{service} {number} is lost\n{}", text(Ok(plan)));
    }
    let again = world.plan(Action::Start, &chosen);
    world.run(&again, None, false, false).map_err(TestCaseError::fail)?;
    settled(&world, &chosen).map_err(TestCaseError::fail)?;
    Ok(())
}

#[test]
fn a_cut_off_guest_of_a_cut_off_provider_is_replaced_again() {
    let shape = Shape {
        needs: vec![(0, 7, 0), (4, 7, 4), (3, 4, 0)],
        states: vec![2, 0, 1, 0, 2, 1, 3, 3],
        chosen: vec![true, false, false, true, false, false, true, true],
        action: Action::Start,
        chance: 10_408_383_939_064_442_328,
        moment: 20,
        late: false,
    };
    killed_and_run_again(&shape).unwrap();
}

/// A run that recreates a network is killed at every step, before and after its effect: the next one comes to the end.
#[test]
fn a_network_that_is_recreated_survives_a_kill_at_every_step() {
    let chosen: Vec<String> = ["db", "api", "ui"].map(str::to_owned).into();
    let names: Vec<&str> = chosen.iter().map(String::as_str).collect();
    let plan =
        |world: &World| world.stack.plan(Action::Start, &names, |options| options.recreate_networks = true).unwrap();
    let fresh = || {
        let (made, unready) = (BTreeMap::new(), BTreeSet::new());
        World { stack: networks::stack(), made, chance: 7, serial: 0, last: None, unready }
    };
    let steps = plan(&fresh()).steps.len();
    for (moment, late) in (0..steps).flat_map(|moment| [(moment, false), (moment, true)]) {
        let mut world = fresh();
        let first = plan(&world);
        world.run(&first, Some(moment), late, true).unwrap();
        let again = plan(&world);
        world.run(&again, None, false, false).unwrap_or_else(|error| panic!("killed at {moment}, {late}: {error}"));
        settled(&world, &chosen).unwrap_or_else(|error| panic!("killed at {moment}, {late}: {error}"));
        assert!(world.stack.snapshot.networks.iter().any(|network| network.name == "p_front" && network.internal));
    }
    // And one in which a step fails: up to the removal everything is back as it was.
    let removal =
        plan(&fresh()).steps.iter().position(|step| matches!(step.operation, Operation::RemoveNetwork { .. }));
    for moment in 0..=removal.unwrap() {
        let mut world = fresh();
        let before = serving(&world);
        let first = plan(&world);
        world.run(&first, Some(moment), false, false).unwrap();
        assert_eq!(serving(&world), before, "failed at {moment}");
    }
}

/// The middle one of three has a container that was made before it was to share the last one's namespace, and a guest: it
/// can run again, and its guest in it.
#[test]
fn a_container_that_shares_no_namespace_yet_can_return_with_its_guest() {
    let shape = |moment| Shape {
        needs: vec![(1, 6, 4), (3, 6, 0), (6, 7, 4)],
        states: vec![0, 1, 0, 0, 1, 0, 1, 0],
        chosen: vec![false, false, false, true, true, false, false, false],
        action: Action::Restart,
        chance: 268_008_501_951_047_735,
        moment,
        late: false,
    };
    let steps = world(&shape(0)).plan(Action::Restart, &chosen(&shape(0))).steps.len();
    for moment in 0..steps {
        let shape = shape(moment);
        let mut world = world(&shape);
        let before = serving(&world);
        let plan = world.plan(Action::Restart, &chosen(&shape));
        let ends = world.run(&plan, Some(moment), false, false).unwrap();
        let proved = plan
            .steps
            .iter()
            .any(|step| step.commits && step.service.as_deref() == Some("s6") && ends[step.id] == End::Done);
        if !proved {
            assert!(
                world.stack.snapshot.runs("s6") && world.stack.snapshot.runs("s1"),
                "failed at {moment}: {before:?}"
            );
        }
    }
}

/// Three services, each in the namespace of the next: the guest of a provider that was down ran on.
#[test]
fn a_guest_that_outlived_its_provider_comes_to_its_end_after_a_kill_at_any_step() {
    let shape = |moment, late| Shape {
        needs: vec![(5, 7, 4), (2, 5, 4), (0, 2, 0)],
        states: vec![0, 1, 1, 0, 1, 2, 0, 4],
        chosen: vec![true, false, false, false, false, false, false, true],
        action: Action::Start,
        chance: 48_311_449,
        moment,
        late,
    };
    let steps = world(&shape(0, false)).plan(Action::Start, &chosen(&shape(0, false))).steps.len();
    for (moment, late) in (0..steps).flat_map(|moment| [(moment, false), (moment, true)]) {
        let shape = shape(moment, late);
        let mut world = world(&shape);
        let first = world.plan(Action::Start, &chosen(&shape));
        world.run(&first, Some(moment), late, true).unwrap();
        let again = world.plan(Action::Start, &chosen(&shape));
        world.run(&again, None, false, false).unwrap_or_else(|error| panic!("killed at {moment}, {late}: {error}"));
        settled(&world, &chosen(&shape)).unwrap_or_else(|error| panic!("killed at {moment}, {late}: {error}"));
    }
}
