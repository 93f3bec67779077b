//! Single stacks, with which a plan or its way back was wrong once.

use super::*;

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
fn a_sharer_of_a_provider_that_does_not_run_is_not_restarted_with_another() {
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

#[test]
fn a_cut_off_sharer_of_a_cut_off_provider_is_replaced_again() {
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
        // What joined a network asks for it by its ID.
        let id = || "front-old".to_owned();
        let stack = chosen.iter().fold(networks::stack(), |stack, service| {
            stack.seen(service, |view| drop(view.network_ids.insert("p_front".to_owned(), id())))
        });
        let stack = stack.with(|stack| {
            let mut networks = stack.snapshot.networks.iter_mut();
            networks.find(|network| network.name == "p_front").unwrap().id = id();
        });
        World { stack, made, chance: 7, serial: 0, last: None, unready }
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
    // And one in which a step fails, the removal and the creation of the network among them: each service serves, by its old
    // container unless the new one was proved.
    for (moment, late) in (0..steps).flat_map(|moment| [(moment, false), (moment, true)]) {
        let mut world = fresh();
        let before = serving(&world);
        let first = plan(&world);
        let ends = world.run(&first, Some(moment), late, false).unwrap();
        for (service, number, id, policy) in &before {
            let of_service = first.steps.iter().filter(|step| step.service.as_ref() == Some(service));
            let is_proved = of_service.filter(|step| step.commits).any(|step| ends[step.id] == End::Done);
            let main = world.main(service, *number).unwrap();
            assert!(main.is_up(), "failed at {moment}, {late}: {service} is down");
            assert_eq!(main.view.restart, *policy, "failed at {moment}, {late}: {service}");
            assert_eq!(main.view.id == *id, !is_proved, "failed at {moment}, {late}: {service}");
        }
        let again = plan(&world);
        world.run(&again, None, false, false).unwrap_or_else(|error| panic!("failed at {moment}, {late}: {error}"));
        settled(&world, &chosen).unwrap_or_else(|error| panic!("failed at {moment}, {late}: {error}"));
    }
}

/// The middle one of three has a container that was made before it was to share the last one's namespace, and a sharer: it
/// can run again, and its sharer in it.
#[test]
fn a_container_that_shares_no_namespace_yet_can_return_with_its_sharer() {
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

/// Three services, each in the namespace of the next: the sharer of a provider that was down ran on.
#[test]
fn a_sharer_that_outlived_its_provider_comes_to_its_end_after_a_kill_at_any_step() {
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
