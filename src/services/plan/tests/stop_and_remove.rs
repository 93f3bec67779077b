//! `stop` and `remove`.

use super::*;
use crate::manifest::model::Mount;

#[test]
fn stop_visits_dependents_before_their_dependencies() {
    golden!(Stack::three().all_run().stop(&["db", "api", "ui"]));
}

#[test]
fn stop_keeps_the_order_through_services_that_are_not_chosen() {
    golden!(Stack::three().all_run().stop(&["db", "ui"]));
}

#[test]
fn stop_of_what_does_not_run_is_nothing() {
    assert_eq!(Stack::three().all_run().stopped("ui").stop(&["ui"]), "nothing to do");
}

#[test]
fn orphans_go_alone_where_no_service_is_chosen() {
    let stack = Stack::three().service("orphan", |_| {}).all_run();
    let stack = stack.with(|stack| drop(stack.services.shift_remove("orphan")));
    let orphans = |options: &mut Options| options.extent = [Extent::Orphans].into();
    golden!(text(stack.plan(Action::Remove, &[], orphans)));
}

#[test]
fn a_removal_of_orphans_names_the_other_folder_that_containers_were_created_from() {
    let stack = Stack::three().all_run();
    let stack = stack.with(|stack| stack.snapshot.other_folders = [("host:/srv/clone".to_owned(), 0)].into());
    let plan = |extent: &[Extent]| {
        let extent = extent.iter().copied().collect();
        stack.plan(Action::Remove, &["ui"], |options| options.extent = extent).unwrap()
    };
    let warned = Warning::OtherFolder { folder: "host:/srv/clone".to_owned() };
    assert!(plan(&[Extent::Orphans]).warnings.contains(&warned));
    assert!(!plan(&[]).warnings.contains(&warned));
}

#[test]
fn remove_takes_containers_of_every_kind_and_nothing_else() {
    let stack = Stack::three().all_run().has("ui", 1, Role::Kept, |view| view.state = ContainerState::Exited).has(
        "ui",
        1,
        Role::Failed,
        |view| view.state = ContainerState::Exited,
    );
    golden!(text(stack.plan(Action::Remove, &["ui"], |_| {})));
}

#[test]
fn remove_takes_volumes_networks_and_orphans_only_by_explicit_word() {
    let mount = |key: &str| Mount { source: Some(key.to_owned()), target: format!("/{key}"), ..Mount::default() };
    let view =
        |name: &str| MountView { kind: "volume".to_owned(), name: Some(name.to_owned()), ..MountView::default() };
    let stack = Stack::new()
        .service("a", |service| service.volumes = vec![mount("own"), mount("shared"), mount("external")])
        .service("b", |service| service.volumes = vec![mount("shared")])
        .service("orphan", |_| {})
        .with(|stack| {
            for name in ["p_own", "p_shared", "external", "p_other"] {
                stack.volume(name);
            }
            stack.volumes.insert("own".to_owned(), Volume::default());
            stack.volumes.insert("shared".to_owned(), Volume::default());
            stack.volumes.insert("external".to_owned(), Volume { external: true, ..Volume::default() });
        })
        .all_run()
        .seen("a", |seen| seen.mounts = vec![view("p_own"), view("p_shared"), view("external"), view(&"a".repeat(64))])
        .seen("b", |seen| seen.mounts = vec![view("p_shared")])
        .with(|stack| drop(stack.services.shift_remove("orphan")));
    let all = |options: &mut Options| options.extent = [Extent::Volumes, Extent::Networks, Extent::Orphans].into();
    golden!(text(stack.plan(Action::Remove, &["a"], all)));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("remove_everything", text(stack.plan(Action::Remove, &["a", "b"], all)))
    });
}

#[test]
fn a_volume_stays_while_a_service_that_is_not_chosen_needs_it_with_a_container_or_without() {
    let mount = Mount { source: Some("data".to_owned()), target: "/data".to_owned(), ..Mount::default() };
    let view = MountView { kind: "volume".to_owned(), name: Some("p_data".to_owned()), ..MountView::default() };
    let stack = Stack::new()
        .service("a", |service| service.volumes.push(mount.clone()))
        .service("b", |service| service.volumes.push(mount.clone()))
        .with(|stack| {
            stack.volume("p_data");
            stack.volumes.insert("data".to_owned(), Volume::default());
        })
        .runs("a")
        .seen("a", |seen| seen.mounts = vec![view.clone()]);
    let volumes = |options: &mut Options| options.extent = [Extent::Volumes].into();
    let remove = |stack: &Stack, chosen: &[&str]| text(stack.plan(Action::Remove, chosen, volumes));
    assert!(!remove(&stack, &["a"]).contains("remove volume"), "b needs it");
    assert!(remove(&stack, &["a", "b"]).contains("remove volume p_data"));
    // Another manifest names a service that uses it; its own services count once.
    let users = |users: &[&str]| -> BTreeMap<String, BTreeSet<String>> {
        [("p_data".to_owned(), users.iter().map(|user| (*user).to_owned()).collect())].into()
    };
    let stack = stack.with(|stack| stack.snapshot.volume_users = users(&["a", "b", "q/c"]));
    assert!(!remove(&stack, &["a", "b"]).contains("remove volume"), "a service of project q needs it");
    let stack = stack.with(|stack| stack.snapshot.volume_users = users(&["a", "b"]));
    assert!(remove(&stack, &["a", "b"]).contains("remove volume p_data"));
    let stack = stack.with(|stack| {
        let mounts = vec![view.clone()];
        stack.snapshot.foreign_containers.push(ForeignContainer { mounts, ..ForeignContainer::default() });
    });
    assert!(!remove(&stack, &["a", "b"]).contains("remove volume"), "a container of somebody else mounts it");
    let stack = stack.with(|stack| stack.snapshot.volume_users_unknown = Some(message!("lock-somebody")));
    assert!(remove(&stack, &["a", "b"]).contains("can't tell which volumes"));
}

#[test]
fn a_volume_that_dpl_did_not_create_stays_and_is_named() {
    let mount = Mount { source: Some("data".to_owned()), target: "/data".to_owned(), ..Mount::default() };
    let stack = Stack::new().service("a", |service| service.volumes.push(mount)).runs("a").with(|stack| {
        stack.volume("p_data");
        stack.volumes.insert("data".to_owned(), Volume::default());
    });
    let remove =
        |stack: &Stack| text(stack.plan(Action::Remove, &["a"], |options| options.extent = [Extent::Volumes].into()));
    let ours = remove(&stack);
    assert!(ours.contains("remove volume p_data") && !ours.contains("warning: "), "{ours}");
    let theirs = remove(&stack.with(|stack| stack.snapshot.volumes[0].labels.clear()));
    assert!(!theirs.contains("remove volume"), "{theirs}");
    assert!(theirs.contains("warning: volume p_data stays: dpl did not create it"), "{theirs}");
}

#[test]
fn a_network_that_a_container_of_somebody_else_is_in_stays_and_is_named() {
    let networks = |options: &mut Options| options.extent = [Extent::Networks].into();
    let stack = Stack::three().all_run();
    let all = ["db", "api", "ui"];
    let alone = text(stack.plan(Action::Remove, &all, networks));
    assert!(alone.contains("remove network p_default"), "{alone}");
    let stack = stack.with(|stack| {
        stack.snapshot.foreign_containers.push(ForeignContainer {
            id: "f".repeat(64),
            name: "guest".to_owned(),
            addresses: [("p_default".to_owned(), "172.18.0.9".to_owned())].into(),
            ..ForeignContainer::default()
        });
    });
    let shared = text(stack.plan(Action::Remove, &all, networks));
    assert!(!shared.contains("remove network"), "{shared}");
    assert!(shared.contains("warning: ") && shared.contains("guest"), "{shared}");
    // Neither does one of its own that stays.
    let part = text(stack.plan(Action::Remove, &["ui"], networks));
    assert!(!part.contains("remove network") && !part.contains("warning: "), "{part}");
    let theirs = stack.with(|stack| stack.snapshot.networks[0].labels.clear());
    let said = text(theirs.plan(Action::Remove, &all, networks));
    assert!(said.contains("warning: network p_default stays: dpl did not create it"), "{said}");
}

#[test]
fn a_container_made_by_hand_under_a_services_name_is_named_and_left() {
    let mut stack = Stack::three().all_run();
    let place = stack.snapshot.containers.iter().position(|seen| seen.service == "ui").unwrap();
    let seen = stack.snapshot.containers.remove(place);
    stack.snapshot.namesakes.push(seen);
    golden!(stack.stop(&["ui"]));
}
