//! Plans of generated stacks, run on a world in memory: with a failure at any step and the way back, killed after any
//! step and run again, in any order that the plan allows.

mod found;
mod world;

use super::generated::config;
use super::*;
use crate::engine;
use crate::manifest::model::NamespaceMode;
use crate::services::snapshot::observe::providers;
use proptest::prelude::*;
use world::{End, World};

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
            .any(|warning| matches!(warning, Warning::NoWayBack { service: name, .. } if name == service));
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
