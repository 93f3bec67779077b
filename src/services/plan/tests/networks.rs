//! Networks that are recreated.

use super::*;

/// `ui → api → db` in the network `front`, which was made with another driver; `apart` is elsewhere.
pub(super) fn stack() -> Stack {
    let mut stack = Stack::three().service("apart", |_| {});
    for name in ["db", "api", "ui"] {
        stack = stack.change(name, |service| drop(service.networks.insert("front".to_owned(), Default::default())));
    }
    stack.network("p_front");
    stack.all_run().with(|stack| {
        stack.networks.insert("front".to_owned(), Network { internal: true, ..Network::default() });
    })
}

fn recreate(stack: &Stack, chosen: &[&str]) -> String {
    text(stack.plan(Action::Start, chosen, |options| options.recreate_networks = true))
}

#[test]
fn a_network_that_differs_is_recreated_with_everything_in_it() {
    let said = stack().start(&["ui"]);
    assert!(said.contains("network p_front differs from the manifest (internal): `--recreate-networks`"), "{said}");
    golden!(recreate(&stack(), &["ui"]));
}

/// The engine refuses it only when the old network is gone.
#[test]
fn a_subnet_that_another_network_of_the_engine_has_is_told_before_anything_is_removed() {
    let with = |subnet: &str, change: fn(&mut Stack)| {
        let pool = crate::manifest::model::AddressPool { subnet: Some(subnet.to_owned()), ..Default::default() };
        let ipam = crate::manifest::model::Ipam { config: vec![pool], ..Default::default() };
        let bridge = NetworkView {
            name: "bridge".to_owned(),
            driver: "bridge".to_owned(),
            subnets: vec!["172.17.0.0/16".to_owned()],
            ..NetworkView::default()
        };
        let stack = stack().with(|stack| {
            stack.networks.insert("front".to_owned(), Network { ipam, ..Network::default() });
            stack.snapshot.networks.push(bridge);
        });
        recreate(&stack.with(change), &["ui"])
    };
    for subnet in ["172.17.0.0/16", "172.17.4.0/24", "172.16.0.0/12"] {
        let said = with(subnet, |_| {});
        let told = format!("network p_front can't have the subnet {subnet}: network bridge has 172.17.0.0/16");
        assert!(said.contains(&told), "{said}");
    }
    let free = with("172.18.0.0/16", |_| {});
    assert!(free.contains("remove network p_front"), "{free}");
    // One that is made for the first time as well.
    let fresh = with("172.17.4.0/24", |stack| stack.snapshot.networks.retain(|network| network.name != "p_front"));
    assert!(fresh.contains("can't have the subnet 172.17.4.0/24"), "{fresh}");
}

#[test]
fn a_network_of_which_no_chosen_service_is_part_stays() {
    assert_eq!(recreate(&stack(), &["apart"]), "nothing to do");
}

#[test]
fn a_network_that_others_use_or_made_stays() {
    let guest = |state| {
        move |stack: &mut Stack| {
            let addresses = [("p_front".to_owned(), "172.19.0.9".to_owned())].into();
            let foreign =
                ForeignContainer { name: "guest".to_owned(), state, addresses, ..ForeignContainer::default() };
            stack.snapshot.foreign_containers.push(foreign);
        }
    };
    // One that is down could not be started any more without the network that it joined.
    for state in [ContainerState::Running, ContainerState::Exited] {
        let said = recreate(&stack().with(guest(state)), &["ui"]);
        assert!(said.contains("network p_front can't be recreated: container guest is in it"), "{said}");
    }
    let others = |stack: &mut Stack| stack.snapshot.networks.iter_mut().for_each(|network| network.labels.clear());
    let told = "network p_front differs from the manifest (internal), and dpl did not create it";
    let said = recreate(&stack().with(others), &["ui"]);
    assert!(said.contains(told), "{said}");
    let said = stack().with(others).start(&["ui"]);
    assert!(said.contains(told) && !said.contains("--recreate-networks"), "no flag helps: {said}");
}

#[test]
fn two_new_networks_of_one_range_are_told_before_the_first_is_made() {
    let with = |subnet: &str, driver: Option<&str>| {
        let network = |subnet: &str| {
            let pool = crate::manifest::model::AddressPool { subnet: Some(subnet.to_owned()), ..Default::default() };
            let ipam = crate::manifest::model::Ipam { config: vec![pool], ..Default::default() };
            Network { ipam, ..Network::default() }
        };
        let join = |service: &mut Service, key: &str| {
            service.networks.insert(key.to_owned(), Default::default());
        };
        Stack::new().service("a", |service| join(service, "x")).service("b", |service| join(service, "y")).with(
            |stack| {
                stack.networks.insert("x".to_owned(), network("10.91.0.0/16"));
                let other = Network { driver: driver.map(str::to_owned), ..network(subnet) };
                stack.networks.insert("y".to_owned(), other);
            },
        )
    };
    let said = with("10.91.1.0/24", None).start(&["a", "b"]);
    let told = "network p_y can't have the subnet 10.91.1.0/24: network p_x has 10.91.0.0/16";
    assert!(said.contains(told) && !said.contains("network p_x can't"), "once: {said}");
    for fine in [with("10.92.0.0/16", None), with("10.91.0.0/16", Some("macvlan"))] {
        let said = fine.start(&["a", "b"]);
        assert!(said.contains("create network p_y"), "{said}");
    }
    let alone = with("10.91.1.0/24", None).start(&["b"]);
    assert!(alone.contains("create network p_y"), "the other one is not made: {alone}");
}

/// The engine removes no network that a running container is in.
#[test]
fn what_leaves_a_network_with_its_replacement_steps_aside_before_the_network_goes() {
    let stack = stack().change("api", |service| service.networks.clear());
    let plan = recreate(&stack, &["ui", "api"]);
    let place = |step: &str| plan.find(step).unwrap_or_else(|| panic!("{step}: {plan}"));
    assert!(place(": stop p-api-1 (") < place(": remove network p_front"), "{plan}");
    assert!(plan.contains("back: join p-api-1 to p_front"), "{plan}");
}

#[test]
fn what_is_down_in_it_is_left_down_unless_it_was_chosen() {
    let stack = stack().stopped("db");
    let plan = recreate(&stack, &["api"]);
    assert!(!plan.contains(": stop p-db-1 ("), "{plan}");
    // It is needed, and has joined the network that goes.
    assert!(plan.contains("create p-db-1"), "{plan}");
    let plan = recreate(&stack.change("api", |service| service.depends_on.clear()), &["api"]);
    assert!(!plan.contains("p-db-1"), "{plan}");
}
