//! `start` on a stack that has not changed.

use super::*;
use crate::manifest::model::{Gpu, HttpProbe, Mount, MountKind, NamespaceMode, Period, Ready, ReadyProbe};
use crate::services::Gpus;

fn ready(probe: ReadyProbe) -> Option<Ready> {
    Some(Ready { probe, timeout: None })
}

#[test]
fn a_fresh_stack_is_made_at_once_and_started_along_the_graph() {
    golden!(Stack::three().with(|stack| stack.snapshot.networks.clear()).start(&["db", "api", "ui"]));
}

#[test]
fn a_stack_that_runs_needs_nothing() {
    golden!(Stack::three().all_run().start(&["db", "api", "ui"]));
}

#[test]
fn dependencies_that_are_down_are_started_and_not_chosen_dependents_are_left() {
    golden!(Stack::three().all_run().stopped("db").stopped("api").stopped("ui").start(&["api"]));
}

#[test]
fn what_is_started_for_another_service_is_seen_to_run_though_that_one_waits_for_its_start_alone() {
    let stack = || {
        let stack = Stack::new().service("db", |_| {});
        stack.service("a", |service| needs(service, "db", Condition::ServiceStarted))
    };
    let is_waited_for = |text: &str| text.contains("wait 2m for p-db-1: running for 250ms (a depends on it)");
    let created = stack().start(&["a"]);
    assert!(is_waited_for(&created), "{created}");
    let started = stack().all_run().stopped("db").stopped("a").start(&["a"]);
    assert!(is_waited_for(&started), "{started}");
    // What runs already was not started for it.
    assert!(!stack().all_run().stopped("a").start(&["a"]).contains("p-db-1"));
}

#[test]
fn a_drifted_dependency_that_runs_is_left_as_it_is() {
    golden!(Stack::three().all_run().new_image("db").stopped("api").start(&["api"]));
}

#[test]
fn a_dependency_that_is_not_yet_healthy_is_waited_for() {
    let stack = Stack::three().all_run().stopped("api").seen("db", |view| view.health = HealthState::Starting);
    golden!(stack.start(&["api"]));
}

#[test]
fn without_dependencies_nobody_else_is_started_or_waited_for() {
    let stack = Stack::three().all_run().stopped("db").stopped("api");
    golden!(text(stack.plan(Action::Start, &["api"], |options| options.dependencies = Dependencies::Leave)));
}

#[test]
fn without_waiting_only_dependents_wait() {
    golden!(text(Stack::three().plan(Action::Start, &["db", "api", "ui"], |options| options.wait = Wait::WhereNeeded)));
}

#[test]
fn a_dependency_that_is_not_required_is_waited_for_whatever_comes_of_it() {
    let stack = Stack::three().change("api", |service| service.depends_on["db"].required = false);
    golden!(stack.start(&["api"]));
}

#[test]
fn each_way_of_proof_has_its_wait() {
    let stack = Stack::new()
        .service("tcp", |service| service.ready = ready(ReadyProbe::Tcp(6380)))
        .service("http", |service| {
            let probe = HttpProbe { port: 80, path: "/health".to_owned(), status: None };
            service.ready = ready(ReadyProbe::Http(probe));
        })
        .service("log", |service| service.ready = ready(ReadyProbe::Log("ready to accept".to_owned())))
        .service("steady", |service| service.ready = ready(ReadyProbe::RunningFor("5s".parse().unwrap())))
        .service("image", |service| service.ready = ready(ReadyProbe::Tcp(1)))
        .service("off", |service| {
            service.healthcheck = Some(Healthcheck { disable: true, ..Healthcheck::default() });
            service.ready = Some(Ready { probe: ReadyProbe::Tcp(2), timeout: Some(Period(Duration::from_secs(7))) });
        })
        .with(|stack| stack.snapshot.images.get_mut("image:1").unwrap().healthcheck = Some(HealthTimes::default()));
    golden!(stack.start(&["tcp", "http", "log", "steady", "image", "off"]));
}

#[test]
fn the_commands_timeout_wins_over_all_others() {
    let stack = Stack::three();
    golden!(text(stack.plan(Action::Start, &["db"], |options| options.wait_timeout = Some(Duration::from_secs(9)))));
}

#[test]
fn volumes_and_networks_are_made_once_before_who_needs_them() {
    let mount = |key: &str| Mount {
        kind: MountKind::Volume,
        source: Some(key.to_owned()),
        target: "/data".to_owned(),
        ..Mount::default()
    };
    let stack = Stack::new()
        .service("a", |service| {
            service.volumes.push(mount("data"));
            service.networks.insert("back".to_owned(), Default::default());
        })
        .service("b", |service| {
            service.volumes.push(mount("data"));
            service.networks.insert("back".to_owned(), Default::default());
            service.networks.insert("default".to_owned(), Default::default());
        })
        .service("not-chosen", |service| service.volumes.push(mount("other")))
        .with(|stack| {
            stack.networks.insert("back".to_owned(), Network::default());
            stack.volumes.insert("data".to_owned(), Volume { name: Some("named".to_owned()), ..Volume::default() });
            stack.volumes.insert("other".to_owned(), Volume::default());
        });
    golden!(stack.start(&["a", "b"]));
}

#[test]
fn a_one_shot_service_runs_once() {
    let stack = Stack::new()
        .service("migrate", |service| service.restart = RestartPolicy::No)
        .service("api", |service| needs(service, "migrate", Condition::ServiceCompletedSuccessfully));
    golden!(stack.start(&["migrate", "api"]));
    let done = stack.runs("migrate").stopped("migrate");
    let text = done.start(&["migrate", "api"]);
    assert!(!text.contains("migrate"), "{text}");
}

#[test]
fn a_one_shot_service_that_failed_runs_again() {
    let stack = Stack::new()
        .service("migrate", |service| service.restart = RestartPolicy::No)
        .service("api", |service| needs(service, "migrate", Condition::ServiceCompletedSuccessfully))
        .runs("migrate")
        .stopped("migrate")
        .seen("migrate", |view| view.exit_code = 3);
    golden!(stack.start(&["api"]));
}

#[test]
fn scale_adds_and_takes_away() {
    let stack = Stack::new().service("worker", |service| service.scale = Some(3)).runs("worker");
    golden!(stack.start(&["worker"]));
    let stack = stack
        .has("worker", 2, Role::Main, |_| {})
        .has("worker", 3, Role::Main, |view| view.state = ContainerState::Exited)
        .change("worker", |service| service.scale = Some(1));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("scale_takes_away", stack.start(&["worker"]))
    });
}

#[test]
fn anonymous_volumes_of_containers_beyond_the_scale_are_named() {
    let volume = "a".repeat(64);
    let stack = Stack::new().service("worker", |service| service.scale = Some(2)).runs("worker").has(
        "worker",
        2,
        Role::Main,
        |view| {
            let mount = MountView {
                kind: "volume".to_owned(),
                name: Some(volume.clone()),
                target: "/data".to_owned(),
                ..MountView::default()
            };
            view.mounts.push(mount);
        },
    );
    let text = stack.change("worker", |service| service.scale = Some(1)).start(&["worker"]);
    assert!(text.contains("remove p-worker-2") && text.contains(&format!("anonymous volume {volume}")), "{text}");
}

#[test]
fn a_paused_container_goes_on() {
    let stack = Stack::three().all_run().seen("db", |view| view.state = ContainerState::Paused);
    golden!(stack.start(&["db"]));
}

#[test]
fn a_chosen_service_that_is_unwell_is_waited_for() {
    let stack = Stack::three()
        .all_run()
        .seen("db", |view| view.health = HealthState::Unhealthy)
        .seen("ui", |view| view.state = ContainerState::Restarting);
    let plan = stack.plan(Action::Start, &["db", "api", "ui"], |_| {});
    assert!(!plan.as_ref().unwrap().changes_anything());
    golden!(text(plan));
}

#[test]
fn a_shared_namespace_is_made_after_its_provider_runs() {
    let stack = Stack::new().service("vpn", |_| {}).service("worker", |service| {
        service.network_mode = Some(NamespaceMode::Service("vpn".to_owned()));
    });
    golden!(stack.start(&["worker"]));
}

#[test]
fn a_gpu_that_is_not_required_is_left_out_where_there_is_none() {
    let stack = Stack::new()
        .service("worker", |service| service.gpus.push(Gpu { required: false, ..Gpu::default() }))
        .gpus("worker", Gpus::Absent);
    golden!(stack.start(&["worker"]));
}
