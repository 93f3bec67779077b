//! `start` and `restart` where something has changed.

use super::*;
use crate::manifest::model::{Command, EnvValue, NamespaceMode};
use crate::services::Gpus;

#[test]
fn a_new_image_replaces_the_container_and_keeps_the_old_one_until_it_is_ready() {
    golden!(Stack::three().all_run().new_image("api").start(&["api"]));
}

#[test]
fn a_changed_configuration_is_named_field_by_field() {
    let plain = |text: &str| EnvValue::Plain(text.to_owned());
    let stack = Stack::new()
        .service("api", |service| {
            service.environment.insert("LOG_LEVEL".to_owned(), plain("info"));
            service.environment.insert("OLD".to_owned(), plain("1"));
        })
        .runs("api")
        .change("api", |service| {
            service.environment.insert("LOG_LEVEL".to_owned(), plain("debug"));
            service.environment.shift_remove("OLD");
            service.command = Some(Command(vec!["serve".to_owned()]));
            service.groups.push("no-matter".to_owned());
        });
    let plan = stack.plan(Action::Start, &["api"], |_| {}).unwrap();
    let text = plan.steps[0].cause.to_string();
    assert_eq!(text, "configuration: command, environment.LOG_LEVEL, environment.OLD");
    assert!(!serde_json::to_string(&plan).unwrap().contains("debug"));
}

#[test]
fn limits_that_were_changed_on_the_engine_are_drift() {
    let stack = Stack::new()
        .service("api", |service| service.mem_limit = Some("1g".parse().unwrap()))
        .runs("api")
        .seen("api", |view| view.limits.memory_bytes = 2 << 30);
    let plan = stack.plan(Action::Start, &["api"], |_| {}).unwrap();
    assert_eq!(plan.steps[0].cause.to_string(), "configuration: mem_limit");
}

#[test]
fn a_limit_that_the_kernel_cannot_hold_is_no_drift() {
    let stack = Stack::new()
        .service("api", |service| service.mem_limit = Some("1g".parse().unwrap()))
        .runs("api")
        .seen("api", |view| view.limits.memory_bytes = 0)
        .with(|stack| stack.snapshot.engine.limits.memory = false);
    assert_eq!(stack.start(&["api"]), "nothing to do");
}

#[test]
fn a_restart_policy_is_changed_in_place() {
    let stack = Stack::three().all_run().change("api", |service| service.restart = RestartPolicy::Always);
    golden!(stack.start(&["api"]));
}

#[test]
fn a_container_that_left_its_network_is_recreated() {
    let stack = Stack::three().all_run().seen("api", |view| view.networks.clear());
    let plan = stack.plan(Action::Start, &["api"], |_| {}).unwrap();
    assert_eq!(plan.steps[0].cause.to_string(), "configuration: networks.p_default");
}

#[test]
fn a_stopped_old_container_is_not_started_when_its_replacement_fails() {
    golden!(Stack::three().all_run().stopped("ui").new_image("ui").start(&["ui"]));
}

#[test]
fn a_failed_replacement_can_be_kept_for_a_look() {
    let stack = Stack::new().service("api", |_| {}).runs("api").new_image("api");
    golden!(text(stack.plan(Action::Start, &["api"], |options| options.failed = FailedContainers::Keep)));
}

#[test]
fn everything_can_be_recreated() {
    let stack = Stack::new().service("api", |_| {}).runs("api");
    golden!(text(stack.plan(Action::Start, &["api"], |options| options.recreate = Recreate::All)));
}

#[test]
fn anonymous_volumes_follow_and_those_nobody_declares_are_named() {
    let volume = |character: &str, target: &str| MountView {
        kind: "volume".to_owned(),
        name: Some(character.repeat(64)),
        target: target.to_owned(),
        ..MountView::default()
    };
    let stack = Stack::new()
        .service("db", |_| {})
        .runs("db")
        .seen("db", |view| view.mounts = vec![volume("a", "/data"), volume("b", "/cache")])
        .new_image("db")
        .with(|stack| stack.snapshot.images.get_mut("db:1").unwrap().volumes = vec!["/data".to_owned()]);
    golden!(stack.start(&["db"]));
}

#[test]
fn restart_goes_along_the_graph_and_applies_drift() {
    let stack = Stack::three().service("cache", |_| {}).all_run().new_image("api").stopped("ui");
    golden!(stack.restart(&["db", "api", "ui", "cache"]));
}

#[test]
fn restart_starts_dependencies_that_are_down_and_never_restarts_them() {
    let stack = Stack::three().all_run().stopped("db");
    golden!(stack.restart(&["ui"]));
}

#[test]
fn dependents_that_ask_for_it_are_restarted_with_their_dependency() {
    let stack = Stack::three().change("api", |service| service.depends_on["db"].restart = true).all_run();
    golden!(stack.restart(&["db"]));
    assert_eq!(stack.stopped("api").restart(&["db"]).matches("restart p-").count(), 1);
}

#[test]
fn what_shares_the_namespace_of_a_replaced_container_is_recreated() {
    let stack = Stack::new()
        .service("vpn", |_| {})
        .service("worker", |service| service.network_mode = Some(NamespaceMode::Service("vpn".to_owned())))
        .runs("vpn")
        .has("worker", 1, Role::Main, |view| view.network_mode = "container:vpn-1-0".to_owned());
    assert_eq!(stack.start(&["vpn", "worker"]), "nothing to do");
    golden!(stack.new_image("vpn").start(&["vpn"]));
}

#[test]
fn a_scaled_service_is_replaced_one_by_one() {
    let stack = Stack::new()
        .service("worker", |service| service.scale = Some(2))
        .runs("worker")
        .has("worker", 2, Role::Main, |_| {})
        .new_image("worker");
    golden!(stack.restart(&["worker"]));
}

#[test]
fn a_gpu_that_appears_is_taken_up() {
    let stack = Stack::new()
        .service("worker", |service| {
            service.gpus.push(crate::manifest::model::Gpu { required: false, ..Default::default() });
        })
        .runs("worker")
        .seen("worker", |view| drop(view.labels.insert(labels::GPUS.to_owned(), labels::GPUS_DROPPED.to_owned())));
    assert_eq!(stack.start(&["worker"]), "nothing to do");
    let plan = stack.gpus("worker", Gpus::Present).plan(Action::Start, &["worker"], |_| {});
    assert_eq!(plan.unwrap().steps[0].cause.to_string(), "configuration: gpus");
}

#[test]
fn the_same_image_under_another_id_is_no_drift() {
    let stack = Stack::three().all_run().new_image("db").with(|stack| {
        stack.snapshot.images.get_mut("db:1").unwrap().same_as.insert("db@1".to_owned());
    });
    assert_eq!(stack.start(&["db"]), "nothing to do");
}

#[test]
fn a_dead_container_is_replaced_outright() {
    let stack = Stack::new().service("api", |_| {}).runs("api").seen("api", |view| view.state = ContainerState::Dead);
    golden!(stack.start(&["api"]));
}

#[test]
fn a_renamed_container_steps_aside_under_the_new_name() {
    let stack = Stack::new()
        .service("api", |_| {})
        .runs("api")
        .change("api", |service| service.container_name = Some("gate".to_owned()));
    golden!(stack.start(&["api"]));
}

#[test]
fn a_dependent_that_restarts_does_not_wait_for_what_is_down_and_stays_down() {
    let stack = Stack::new()
        .service("db", |service| service.healthcheck = Some(check()))
        .service("queue", |_| {})
        .service("api", |service| {
            needs(service, "db", Condition::ServiceHealthy);
            needs(service, "queue", Condition::ServiceStarted);
            service.depends_on["queue"].restart = true;
        })
        .all_run()
        .stopped("db");
    golden!(stack.restart(&["queue"]));
}

/// A container that somebody made by hand under the name of the service's own.
fn by_hand(stack: Stack, auto_remove: bool) -> Stack {
    let mut stack = stack.runs("api");
    let mut seen = stack.snapshot.containers.pop().unwrap();
    seen.view.labels.clear();
    seen.view.restart = crate::engine::RestartPolicy::Always;
    seen.view.auto_remove = auto_remove;
    stack.snapshot.foreign_containers.push(ForeignContainer {
        id: seen.view.id.clone(),
        name: seen.view.name.clone(),
        ..ForeignContainer::default()
    });
    stack.snapshot.namesakes.push(seen);
    stack
}

#[test]
fn a_container_made_by_hand_is_kept_aside_like_any_old_one_when_it_is_taken_over() {
    let stack = by_hand(Stack::new().service("api", |_| {}), false);
    let refused = stack.start(&["api"]);
    assert!(refused.contains("`dpl start --adopt api` takes it over"), "{refused}");
    golden!(text(stack.plan(Action::Start, &["api"], |options| options.namesakes = Namesakes::Adopt)));
    let stack = by_hand(Stack::new().service("api", |_| {}), true);
    let refused = text(stack.plan(Action::Start, &["api"], |options| options.namesakes = Namesakes::Adopt));
    assert!(refused.contains("was started with --rm"), "{refused}");
}

#[test]
fn a_replacement_that_fails_leaves_its_sharers_in_the_old_containers_namespaces() {
    let stack = Stack::new()
        .service("vpn", |_| {})
        .service("worker", |service| service.pid = Some(NamespaceMode::Service("vpn".to_owned())))
        .runs("vpn")
        .has("worker", 1, Role::Main, |view| view.pid_mode = "container:vpn-1-0".to_owned());
    golden!(stack.new_image("vpn").start(&["vpn"]));
}

#[test]
fn a_container_of_a_network_that_was_recreated_is_recreated_too() {
    let joined = |id: &str| {
        let id = id.to_owned();
        move |view: &mut ContainerView| drop(view.network_ids.insert("p_default".to_owned(), id.clone()))
    };
    let stack =
        Stack::new().service("api", |_| {}).runs("api").with(|stack| stack.snapshot.networks[0].id = "n2".to_owned());
    let stack = stack.seen("api", joined("n1"));
    let plan = stack.plan(Action::Start, &["api"], |_| {}).unwrap();
    assert_eq!(plan.steps[0].cause.to_string(), "configuration: networks.p_default");
    assert_eq!(stack.seen("api", joined("n2")).start(&["api"]), "nothing to do");
}

#[test]
fn a_stopped_container_whose_network_was_pruned_is_recreated_for_its_dependents() {
    let joined = |view: &mut ContainerView| drop(view.network_ids.insert("p_default".to_owned(), "n1".to_owned()));
    let stack = Stack::three().all_run().seen("db", joined).stopped("db").with(|stack| stack.snapshot.networks.clear());
    for selection in ["db", "ui"] {
        let plan = stack.start(&[selection]);
        assert!(plan.contains("create network p_default"), "{plan}");
        assert!(plan.contains("create p-db-1.dpl-next"), "{selection}: {plan}");
    }
}

#[test]
fn a_sharer_is_restarted_when_its_provider_began_a_new_life() {
    let stack = Stack::new()
        .service("vpn", |_| {})
        .service("app", |service| service.network_mode = Some(NamespaceMode::Service("vpn".to_owned())))
        .runs("vpn")
        .has("app", 1, Role::Main, |view| {
            view.network_mode = "container:vpn-1-0".to_owned();
            view.started_at = "2026-01-01T00:00:01Z".to_owned();
        });
    let at = |time: &str| {
        let time = time.to_owned();
        move |view: &mut ContainerView| view.started_at = time.clone()
    };
    let after = |stack: Stack, time| stack.seen("vpn", at(time));
    let plan = after(stack, "2026-01-01T00:00:02Z");
    let shown = plan.start(&["app"]);
    assert!(shown.starts_with("0: restart p-app-1 (it shares a namespace of vpn)"), "{shown}");
    assert_eq!(after(plan, "2026-01-01T00:00:00Z").start(&["app"]), "nothing to do");
}

#[test]
fn a_paused_container_that_is_restarted_is_restarted() {
    let stack = Stack::new().service("api", |_| {}).runs("api");
    let plan = stack.seen("api", |view| view.state = ContainerState::Paused).restart(&["api"]);
    assert!(plan.contains("restart p-api-1"), "{plan}");
}

#[test]
fn a_dependency_whose_replacement_was_cut_off_gets_its_policy_back() {
    let stack = Stack::three()
        .runs("db")
        .seen("db", |view| {
            view.state = ContainerState::Exited;
            view.restart = crate::engine::RestartPolicy::No;
        })
        .has("db", 1, Role::Next, |view| view.state = ContainerState::Created);
    let plan = stack.start(&["api"]);
    assert!(plan.contains("set policy of p-db-1 to unless-stopped"), "{plan}");
}

#[test]
fn a_dead_containers_anonymous_volumes_go_on_in_the_new_one() {
    let volume = "a".repeat(64);
    let stack = Stack::new()
        .service("db", |_| {})
        .runs("db")
        .with(|stack| stack.snapshot.images.get_mut("db:1").unwrap().volumes = vec!["/data".to_owned()])
        .seen("db", |view| {
            view.state = ContainerState::Dead;
            view.mounts = vec![MountView {
                kind: "volume".to_owned(),
                name: Some(volume.clone()),
                target: "/data".to_owned(),
                ..MountView::default()
            }];
        });
    let plan = stack.start(&["db"]);
    assert!(plan.contains("create p-db-1 of db@1 with /data = aaaaaa"), "{plan}");
}

#[test]
fn a_network_that_differs_is_said_of_services_that_run_as_well() {
    let stack = Stack::new().service("api", |_| {}).runs("api").with(|stack| {
        stack.networks.insert("default".to_owned(), Network { internal: true, ..Network::default() });
    });
    let plan = stack.start(&["api"]);
    assert!(plan.contains("network p_default differs from the manifest (internal)"), "{plan}");
    let twice = Stack::new().service("api", |_| {}).with(|stack| stack.network("p_default"));
    let plan = twice.start(&["api"]);
    assert!(plan.contains("the engine has two networks named p_default"), "{plan}");
}

#[test]
fn what_another_version_of_dpl_made_is_said_to_be_incomparable() {
    let stack = Stack::new().service("api", |_| {}).runs("api").seen("api", |view| {
        let label = view.labels.get_mut(labels::FINGERPRINT).unwrap();
        *label = label.replace("\"v\":1", "\"v\":2");
    });
    let plan = stack.start(&["api"]);
    assert!(plan.contains("warning: api: another version of dpl made p-api-1"), "{plan}");
}

#[test]
fn an_image_for_another_architecture_is_said_before_anything_is_stopped() {
    let image = |architecture: &'static str| {
        let stack = Stack::new().service("api", |_| {}).runs("api");
        stack.with(move |stack| {
            stack.snapshot.engine.architecture = "amd64".to_owned();
            let image = stack.snapshot.images.get_mut("api:1").unwrap();
            (image.id, image.architecture) = ("api@2".to_owned(), architecture.to_owned());
        })
    };
    let plan = image("arm64").start(&["api"]);
    assert!(plan.contains("warning: api: api:1 is an image for arm64, and the engine's machine is amd64"), "{plan}");
    for architecture in ["amd64", "386", ""] {
        let plan = image(architecture).start(&["api"]);
        assert!(!plan.contains("is an image for"), "{plan}");
    }
}

#[test]
fn a_gpu_that_is_only_had_in_part_is_taken_in_part() {
    let gpu = |required| crate::manifest::model::Gpu { required, ..Default::default() };
    let stack = Stack::new().service("worker", |service| service.gpus = vec![gpu(true), gpu(false)]);
    let plan = stack.gpus("worker", Gpus::RequiredOnly).start(&["worker"]);
    assert!(plan.contains("create p-worker-1 of worker@1 without GPUs"), "{plan}");
}

#[test]
fn a_container_that_is_being_removed_is_waited_for_and_recreated() {
    let stack =
        Stack::new().service("api", |_| {}).runs("api").seen("api", |view| view.state = ContainerState::Removing);
    golden!(stack.start(&["api"]));
}
