//! What is found where an earlier run was killed: running again converges.

use super::*;

fn api() -> Stack {
    Stack::new().service("api", |_| {})
}

fn created(view: &mut ContainerView) {
    view.state = ContainerState::Created;
}

fn kept(view: &mut ContainerView) {
    view.state = ContainerState::Exited;
    view.restart = crate::engine::RestartPolicy::No;
}

#[test]
fn a_replacement_that_was_only_made_is_recreated() {
    let stack = api().runs("api").new_image("api").has("api", 1, Role::Next, created);
    golden!(stack.start(&["api"]));
}

#[test]
fn a_replacement_that_nobody_wants_any_more_is_removed() {
    let stack = api().runs("api").has("api", 1, Role::Next, created);
    golden!(stack.start(&["api"]));
}

#[test]
fn an_old_container_that_was_stopped_for_its_replacement_gets_its_policy_back() {
    let stack = api().runs("api").seen("api", kept).has("api", 1, Role::Next, created);
    golden!(stack.start(&["api"]));
}

#[test]
fn an_old_container_without_a_replacement_in_its_place_steps_aside_for_a_new_one() {
    let stack = api().has("api", 1, Role::Kept, kept).new_image("api").has("api", 1, Role::Next, created);
    golden!(stack.start(&["api"]));
}

#[test]
fn an_old_container_that_is_wanted_as_it_is_gets_its_place_back() {
    let stack = api().has("api", 1, Role::Kept, kept).has("api", 1, Role::Next, created);
    golden!(stack.start(&["api"]));
}

#[test]
fn a_replacement_that_was_never_seen_ready_is_given_its_time() {
    let stack = api().has("api", 1, Role::Kept, kept).new_image("api").runs("api");
    golden!(stack.start(&["api"]));
}

#[test]
fn a_replacement_that_was_never_started_is_started_and_given_its_time() {
    let stack = api().has("api", 1, Role::Kept, kept).new_image("api").has("api", 1, Role::Main, created);
    golden!(stack.start(&["api"]));
}

#[test]
fn a_well_replacement_that_has_drifted_again_is_itself_the_old_one() {
    let stack = api().has("api", 1, Role::Kept, kept).runs("api").new_image("api");
    golden!(stack.start(&["api"]));
}

#[test]
fn an_unwell_replacement_that_has_drifted_again_goes_and_the_kept_one_stays_the_old_one() {
    let stack = api()
        .has("api", 1, Role::Kept, kept)
        .has("api", 1, Role::Main, |view| view.state = ContainerState::Restarting)
        .new_image("api");
    golden!(stack.start(&["api"]));
}

#[test]
fn a_dependency_that_was_kept_aside_gets_its_place_back() {
    let stack = api()
        .service("ui", |service| needs(service, "api", Condition::ServiceStarted))
        .has("api", 1, Role::Kept, kept)
        .new_image("api");
    golden!(stack.start(&["ui"]));
}

#[test]
fn a_failed_one_that_was_kept_for_a_look_is_only_named() {
    let stack = api().runs("api").has("api", 1, Role::Failed, kept);
    golden!(stack.start(&["api"]));
}
