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
fn a_container_made_by_hand_under_a_services_name_is_named_and_left() {
    let mut stack = Stack::three().all_run();
    let place = stack.snapshot.containers.iter().position(|seen| seen.service == "ui").unwrap();
    let seen = stack.snapshot.containers.remove(place);
    stack.snapshot.namesakes.push(seen);
    golden!(stack.stop(&["ui"]));
}
