//! What holds for plans of any stack.

use super::*;
use proptest::prelude::*;

/// `DPL_GRAPHS` generated stacks for each property; the soak takes 10,000.
pub(super) fn config() -> ProptestConfig {
    let cases = std::env::var("DPL_GRAPHS").ok().map_or(200, |count| count.parse().expect("DPL_GRAPHS is a number"));
    // Half of the stacks are for other actions than a property is about.
    ProptestConfig { cases, max_global_rejects: cases * 4, ..ProptestConfig::default() }
}

#[derive(Debug, Clone)]
struct Shape {
    needs: Vec<(usize, usize, u8)>,
    /// Per service: 0 absent, 1 running, 2 stopped, 3 running an old image, 4 unwell.
    states: Vec<u8>,
    chosen: Vec<bool>,
    action: u8,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let needs = prop::collection::vec((0usize..12, 0usize..12, 0u8..4), 0..30);
    let states = prop::collection::vec(0u8..5, 12);
    (needs, states, prop::collection::vec(any::<bool>(), 12), 0u8..4)
        .prop_map(|(needs, states, chosen, action)| Shape { needs, states, chosen, action })
}

fn name(number: usize) -> String {
    format!("s{number:02}")
}

fn stack(shape: &Shape) -> Stack {
    let mut stack = Stack::new();
    for number in 0..12 {
        stack = stack.service(&name(number), |service| {
            let is_awaited = |(_, to, kind): &(usize, usize, u8)| *to == number && kind % 2 == 1;
            service.healthcheck = shape.needs.iter().any(is_awaited).then(check);
            for (from, to, kind) in &shape.needs {
                // To higher numbers only: no cycles.
                if *from == number && to > from {
                    let condition = [Condition::ServiceStarted, Condition::ServiceHealthy][usize::from(kind % 2)];
                    needs(service, &name(*to), condition);
                    service.depends_on[&name(*to)].restart = *kind == 3;
                }
            }
        });
    }
    for (number, state) in shape.states.iter().enumerate() {
        let name = name(number);
        stack = match state {
            0 => stack,
            2 => stack.runs(&name).stopped(&name),
            3 => stack.runs(&name).new_image(&name),
            4 => stack.runs(&name).seen(&name, |view| view.state = ContainerState::Restarting),
            _ => stack.runs(&name),
        };
    }
    stack
}

fn action(shape: &Shape) -> Action {
    [Action::Start, Action::Restart, Action::Stop, Action::Remove][usize::from(shape.action)]
}

fn planned(shape: &Shape) -> (Stack, Plan) {
    let stack = stack(shape);
    let chosen: Vec<String> = (0..12).filter(|number| shape.chosen[*number]).map(name).collect();
    let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
    let plan = stack.plan(action(shape), &chosen, |_| {}).unwrap();
    (stack, plan)
}

/// Whether `later` waits for `earlier`, directly or not.
fn waits(plan: &Plan, later: StepId, earlier: StepId) -> bool {
    plan.steps[later].after.iter().any(|after| after.step == earlier || waits(plan, after.step, earlier))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_step_waits_only_for_steps_before_it(shape in shapes()) {
        let (_, plan) = planned(&shape);
        for (place, step) in plan.steps.iter().enumerate() {
            prop_assert_eq!(step.id, place);
            prop_assert!(step.after.iter().all(|after| after.step < place));
        }
    }

    #[test]
    fn no_container_starts_before_what_its_service_needs(shape in shapes()) {
        let (stack, plan) = planned(&shape);
        let started = |service: &str| plan.steps.iter().find(|step| {
            step.service.as_deref() == Some(service) && matches!(step.operation, Operation::StartContainer { .. })
        });
        for (service, needs) in stack.services.iter().map(|(name, service)| (name, &service.depends_on)) {
            let Some(start) = started(service) else { continue };
            for other in needs.keys() {
                if let Some(first) = started(other) {
                    prop_assert!(waits(&plan, start.id, first.id), "{service} before {other}");
                }
            }
        }
    }

    #[test]
    fn no_container_stops_for_good_before_what_needs_it(shape in shapes()) {
        let (stack, plan) = planned(&shape);
        prop_assume!(matches!(plan.action, Action::Stop | Action::Remove));
        let stopped = |service: &str| plan.steps.iter().find(|step| {
            step.service.as_deref() == Some(service) && matches!(step.operation, Operation::StopContainer { .. })
        });
        for (service, needs) in stack.services.iter().map(|(name, service)| (name, &service.depends_on)) {
            let Some(stop) = stopped(service) else { continue };
            for other in needs.keys() {
                if let Some(after) = stopped(other) {
                    prop_assert!(waits(&plan, after.id, stop.id), "{other} before {service}");
                }
            }
        }
    }

    #[test]
    fn a_container_is_removed_only_when_it_was_asked_for_or_its_replacement_is_ready(shape in shapes()) {
        let (_, plan) = planned(&shape);
        prop_assume!(matches!(plan.action, Action::Start | Action::Restart));
        for step in &plan.steps {
            if let Operation::RemoveContainer { .. } = step.operation {
                let settled = plan.steps.iter().find(|other| other.service == step.service && other.commits);
                prop_assert!(settled.is_some_and(|settled| waits(&plan, step.id, settled.id)));
            }
        }
    }

    #[test]
    fn what_takes_an_old_container_away_can_be_taken_back(shape in shapes()) {
        let (_, plan) = planned(&shape);
        prop_assume!(matches!(plan.action, Action::Start | Action::Restart));
        for step in plan.steps.iter().filter(|step| step.service.is_some()) {
            let takes_away = matches!(
                step.operation,
                Operation::StopContainer { .. } | Operation::RenameContainer { .. } | Operation::SetRestartPolicy { .. }
            );
            prop_assert!(!takes_away || !step.undo.is_empty(), "{:?}", step.operation);
        }
    }

    #[test]
    fn services_that_were_neither_chosen_nor_needed_nor_tied_are_left_alone(shape in shapes()) {
        let (stack, plan) = planned(&shape);
        let manifest = stack.manifest();
        let graph = Graph::of(&manifest);
        let chosen: Vec<String> = (0..12).filter(|number| shape.chosen[*number]).map(name).collect();
        let chosen: BTreeSet<&str> = chosen.iter().map(String::as_str).collect();
        let needed = graph.needed_by(&chosen);
        let changed = plan.steps.iter().filter(|step| step.operation.changes());
        for service in changed.filter_map(|step| step.service.as_deref()) {
            let tied = graph.needs(service).iter().any(|(_, need)| need.restart);
            prop_assert!(chosen.contains(service) || needed.contains(service) || tied, "{service}");
        }
    }
}
