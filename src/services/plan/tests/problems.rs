//! What stands in a plan's way: all of it at once.

use super::*;
use crate::engine::{self, PublishedPort};
use crate::manifest::model::{
    AddressPool, BindOptions, Device, EnvValue, Gpu, Ipam, Mount, MountKind, NamespaceMode, NetworkJoin, Port,
    Protocol, SecretSource,
};
use crate::services::{DataFolder, Gpus, HeldPort, Holder};

fn bind(source: &str, create_host_path: bool) -> Mount {
    Mount {
        kind: MountKind::Bind,
        source: Some(source.to_owned()),
        target: "/in".to_owned(),
        bind: BindOptions { propagation: None, create_host_path, ..BindOptions::default() },
        ..Mount::default()
    }
}

fn port(published: u16) -> Port {
    Port { target: 80, published: Some(published), ..Port::default() }
}

fn published(port: u16) -> PublishedPort {
    PublishedPort {
        container_port: 80,
        protocol: "tcp".to_owned(),
        host_ip: Some("0.0.0.0".to_owned()),
        host_port: Some(port),
        host_port_until: None,
    }
}

fn foreign(name: &str, ports: &[u16]) -> ForeignContainer {
    ForeignContainer {
        id: "f".repeat(64),
        name: name.to_owned(),
        published: ports.iter().map(|port| published(*port)).collect(),
        ..ForeignContainer::default()
    }
}

/// A restart stops it first: it could not start again.
#[test]
fn nothing_is_taken_down_that_shares_a_namespace_of_a_container_that_is_gone_or_down() {
    let stack = |providers: Vec<ForeignContainer>| {
        Stack::new()
            .service("a", |service| service.network_mode = Some(NamespaceMode::Container("outsider".to_owned())))
            .has("a", 1, Role::Main, |_| {})
            .with(|stack| stack.snapshot.foreign_containers = providers)
    };
    let outsider = |state| ForeignContainer { state, ..foreign("outsider", &[]) };
    for action in [Action::Start, Action::Restart] {
        let plan = |providers| text(stack(providers).plan(action, &["a"], |options| options.recreate = Recreate::All));
        let gone = plan(Vec::new());
        assert!(gone.contains("container outsider, which does not exist"), "{gone}");
        let down = plan(vec![outsider(ContainerState::Exited)]);
        assert!(down.contains("container outsider, which does not run"), "{down}");
        let up = plan(vec![outsider(ContainerState::Running)]);
        assert!(!up.contains("outsider, which"), "{up}");
    }
    let plain = text(stack(Vec::new()).plan(Action::Restart, &["a"], |_| {}));
    assert!(plain.contains("which does not exist"), "{plain}");
}

/// What runs on without them could not be started again: nothing is "as the manifest says" before that is told.
#[test]
fn a_running_container_whose_mount_or_namespace_is_gone_is_told_before_it_is_stopped() {
    let mounted = || MountView {
        kind: "bind".to_owned(),
        source: "/srv/conf".to_owned(),
        target: "/in".to_owned(),
        ..MountView::default()
    };
    let stack = || {
        Stack::new().service("b", |_| {}).service("a", |service| service.volumes.push(bind("/srv/conf", true))).has(
            "a",
            1,
            Role::Main,
            |view| {
                view.started_at = "2026-01-01T00:00:00Z".to_owned();
                view.mounts.push(mounted());
            },
        )
    };
    assert_eq!(stack().start(&["a"]), "nothing to do");
    let gone = stack().with(|stack| _ = stack.snapshot.missing_sources.insert("/srv/conf".to_owned()));
    for said in [gone.start(&["a"]), gone.restart(&["a"])] {
        assert!(said.contains("a: /srv/conf, mounted at /in, existed when p-a-1 was started, and is gone"), "{said}");
    }
    let other = gone.start(&["b"]);
    assert!(other.contains("create p-b-1"), "{other}");

    let sharer = |state| {
        let provider = ForeignContainer { state, ..foreign("outsider", &[]) };
        Stack::new()
            .service("a", |service| service.network_mode = Some(NamespaceMode::Container("outsider".to_owned())))
            .runs("a")
            .with(|stack| stack.snapshot.foreign_containers.push(provider))
    };
    assert_eq!(sharer(ContainerState::Running).start(&["a"]), "nothing to do");
    let down = sharer(ContainerState::Exited).start(&["a"]);
    assert!(down.contains("a: it shares a namespace of container outsider, which does not run"), "{down}");
    let gone = sharer(ContainerState::Running).with(|stack| stack.snapshot.foreign_containers.clear()).start(&["a"]);
    assert!(gone.contains("a: it shares a namespace of container outsider, which does not exist"), "{gone}");
}

#[test]
fn ports_that_a_look_can_not_see_are_said_where_one_is_published() {
    let stack = |published: bool| {
        let stack = Stack::new().service("a", |service| service.ports.extend(published.then(|| port(8080))));
        stack.with(|stack| stack.snapshot.are_ports_unseen = true)
    };
    let warns = |published| stack(published).start(&["a"]).contains("whether other programs hold the ports");
    assert!(warns(true));
    assert!(!warns(false));
}

#[test]
fn all_problems_come_at_once() {
    let stack = Stack::new()
        .service("a", |service| {
            service.volumes.push(bind("/missing/a", false));
            service.devices.push(Device { source: "/dev/missing".to_owned(), ..Device::default() });
            service.ports.push(port(8080));
            service.gpus.push(Gpu::default());
        })
        .service("b", |service| {
            let secret = EnvValue::Secret(SecretSource::File("/missing/password".into()));
            service.environment.insert("PASSWORD".to_owned(), secret);
            service.network_mode = Some(NamespaceMode::Container("gone".to_owned()));
        })
        .service("c", |service| {
            service.networks.insert("shared".to_owned(), Default::default());
            let mut mount = Mount { source: Some("old".to_owned()), target: "/old".to_owned(), ..Mount::default() };
            mount.volume.subpath = Some("x".to_owned());
            service.volumes.push(mount);
        })
        .with(|stack| {
            stack.snapshot.images.remove("b:1");
            stack.snapshot.missing_sources.insert("/missing/a".to_owned());
            stack.snapshot.missing_devices.insert("/dev/missing".to_owned());
            stack.snapshot.foreign_containers = vec![foreign("p-c-1", &[]), foreign("web", &[8080])];
            stack.snapshot.gpus.insert("a".to_owned(), Gpus::Absent);
            stack.networks.insert("shared".to_owned(), Network { external: true, ..Network::default() });
            stack.volumes.insert("old".to_owned(), Volume { external: true, ..Volume::default() });
        });
    golden!(stack.start(&["a", "b", "c"]));
}

#[test]
fn an_image_of_another_platform_than_the_one_that_is_asked_for_is_told_where_it_is_the_only_one() {
    let said = |platform: &str, architecture: &str, has_one_platform| {
        let stack = Stack::new().service("a", |service| service.platform = Some(platform.to_owned())).with(|stack| {
            let image = stack.snapshot.images.get_mut("a:1").unwrap();
            (image.architecture, image.has_one_platform) = (architecture.to_owned(), has_one_platform);
        });
        stack.start(&["a"])
    };
    let told = "a: `platform` is linux/arm64, and the engine has a:1 for amd64";
    assert!(said("linux/arm64", "amd64", true).contains(told), "{}", said("linux/arm64", "amd64", true));
    assert!(said("arm", "amd64", true).contains("`platform` is arm, and the engine has a:1 for amd64"));
    for (platform, architecture, has_one_platform) in [
        ("aarch64", "arm64", true),
        ("linux/arm64", "amd64", false),
        ("linux/arm64", "arm64", true),
        ("linux/aarch64", "arm64", true),
        ("linux/arm/v7", "arm", true),
        ("linux", "amd64", true),
        ("linux/arm64", "", true),
    ] {
        let said = said(platform, architecture, has_one_platform);
        assert!(said.contains("create p-a-1"), "{platform}, {architecture}: {said}");
    }
}

#[test]
fn what_runs_on_an_image_that_the_engine_has_no_more_is_not_as_the_manifest_says() {
    let stack = Stack::three().all_run().with(|stack| drop(stack.snapshot.images.remove("db:1")));
    for plan in [stack.plan(Action::Start, &["db"], |_| {}), stack.plan(Action::Restart, &["db"], |_| {})] {
        let error = plan.unwrap_err();
        assert_eq!(error.only_missing_images().unwrap().len(), 1, "{error}");
    }
    assert_eq!(stack.start(&["api", "ui"]), "nothing to do", "it only has to run for others");
    let never = |options: &mut Options| options.recreate = Recreate::Never;
    let stack = stack.stopped("db");
    let plan = text(stack.plan(Action::Start, &["db"], never));
    assert!(plan.starts_with("0: start p-db-1"), "{plan}");
}

#[test]
fn a_line_of_a_log_that_nobody_keeps_proves_nothing() {
    let stack = Stack::new().service("a", |service| {
        let probe = crate::manifest::model::ReadyProbe::Log("ready".to_owned());
        service.ready = Some(crate::manifest::model::Ready { probe, timeout: None });
        service.logging =
            Some(crate::manifest::model::Logging { driver: Some("none".to_owned()), ..Default::default() });
    });
    let plan = stack.start(&["a"]);
    assert!(plan.contains("a: `ready.log` waits for a line"), "{plan}");
}

#[test]
fn more_processors_than_the_engine_has_are_told_before_a_container_is_created() {
    let said = |cpus: &str, there| {
        let stack = Stack::new().service("a", |service| service.cpus = Some(cpus.parse().unwrap()));
        stack.with(|stack| stack.snapshot.engine.cpus = there).start(&["a"])
    };
    assert!(said("2.5", 2).contains("a: `cpus` is 2.5, and the engine's machine has 2"), "{}", said("2.5", 2));
    for (cpus, there) in [("2", 2), ("0.5", 1), ("64", 0)] {
        assert!(said(cpus, there).contains("create p-a-1"), "{cpus} of {there}");
    }
}

#[test]
fn a_runtime_that_the_engine_does_not_have_is_named_with_those_it_has() {
    let stack = |runtime: &str| {
        let stack = Stack::new().service("a", |service| service.runtime = Some(runtime.to_owned()));
        stack.with(|stack| stack.snapshot.engine.runtimes = ["io.containerd.runc.v2", "runc"].map(str::to_owned).into())
    };
    let plan = stack("nvidia").start(&["a"]);
    assert!(plan.contains("a: the engine has no runtime nvidia (io.containerd.runc.v2, runc)"), "{plan}");
    // One that was created when the engine still had it is not started either.
    let plan = stack("nvidia").runs("a").stopped("a").start(&["a"]);
    assert!(plan.contains("a: the engine has no runtime nvidia"), "{plan}");
    assert_eq!(stack("nvidia").runs("a").start(&["a"]), "nothing to do", "what runs is left alone");
    for known in ["runc", "io.containerd.kata.v2", "/usr/local/bin/a-shim"] {
        let plan = stack(known).start(&["a"]);
        assert!(plan.contains("create p-a-1"), "{known}: {plan}");
    }
    let unsaid = stack("nvidia").with(|stack| stack.snapshot.engine.runtimes.clear());
    assert!(unsaid.start(&["a"]).contains("create p-a-1"), "an engine that does not say is asked by creating one");
}

#[test]
fn missing_images_can_be_told_from_other_problems() {
    let stack = Stack::three().with(|stack| stack.snapshot.images.clear());
    let error = stack.plan(Action::Start, &["ui"], |_| {}).unwrap_err();
    let missing: Vec<String> = error.only_missing_images().unwrap().into_iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["db:1", "api:1", "ui:1"]);
    let stack = stack.with(|stack| stack.snapshot.foreign_containers.push(foreign("p-db-1", &[])));
    assert!(stack.plan(Action::Start, &["ui"], |_| {}).unwrap_err().only_missing_images().is_none());
}

#[test]
fn a_folder_of_the_short_form_is_made() {
    let stack = Stack::new()
        .service("a", |service| service.volumes.push(bind("/missing/a", true)))
        .with(|stack| stack.snapshot.missing_sources = ["/missing/a".to_owned()].into());
    golden!(stack.start(&["a"]));
}

#[test]
fn a_port_that_moves_within_the_plan_is_free() {
    let stack = Stack::new()
        .service("a", |service| service.ports.push(port(8080)))
        .service("b", |_| {})
        .runs("a")
        .seen("a", |view| view.published = vec![published(8080)])
        .change("a", |service| service.ports[0].published = Some(8081))
        .change("b", |service| service.ports.push(port(8080)));
    assert!(stack.plan(Action::Start, &["a", "b"], |_| {}).is_ok());
    golden!(stack.start(&["b"]));
}

#[test]
fn a_network_or_volume_of_another_kind_is_not_touched() {
    let stack = Stack::new()
        .service("a", |service| {
            let mount = Mount { source: Some("data".to_owned()), target: "/data".to_owned(), ..Mount::default() };
            service.volumes.push(mount);
        })
        .with(|stack| {
            stack.volume("p_data");
            stack.volumes.insert("data".to_owned(), Volume { driver: Some("nfs".to_owned()), ..Volume::default() });
            stack.networks.insert("default".to_owned(), Network { internal: true, ..Network::default() });
        });
    golden!(stack.start(&["a"]));
}

#[test]
fn an_unknown_service_and_a_ring_are_errors() {
    assert_eq!(Stack::three().start(&["dbb"]), "the manifest has no service dbb");
    let ring = Stack::three().change("db", |service| needs(service, "ui", Condition::ServiceStarted));
    assert_eq!(ring.start(&["ui"]), "these services depend on each other in a circle: db, ui, api");
}

fn held_by(process: &str) -> HeldPort {
    HeldPort { host_ip: None, port: 8080, protocol: Protocol::Tcp, by: Holder::Process(Some(process.to_owned())) }
}

#[test]
fn a_port_that_a_process_holds_stands_in_the_way_of_who_wants_just_that() {
    let stack = Stack::new()
        .service("a", |service| service.ports.push(port(8080)))
        .service("b", |service| service.ports.push(port(8081)))
        .with(|stack| stack.snapshot.held_ports.push(held_by("nginx (7)")));
    golden!(stack.start(&["a", "b"]));
}

#[test]
fn a_port_that_is_given_up_only_later_stands_in_the_way() {
    let holds = |view: &mut ContainerView| view.published = vec![published(8080)];
    let stack = Stack::new()
        .service("a", |_| {})
        .service("b", |service| service.ports.push(port(8080)))
        .all_run()
        .seen("b", holds)
        .change("a", |service| service.ports.push(port(8080)))
        .change("b", |service| service.ports.clear());
    golden!(stack.start(&["a", "b"]));
    let text = stack.change("a", |service| needs(service, "b", Condition::ServiceStarted)).start(&["a", "b"]);
    assert!(text.starts_with("0: create p-b-1.dpl-next"), "what is needed goes first: {text}");
}

#[test]
fn data_of_another_postgresql_stand_in_the_way_of_a_new_container_only() {
    let stack = Stack::new().service("db", |_| {}).runs("db").with(|stack| {
        let folder = DataFolder { place: "/srv/pg".to_owned(), written_by: "15".to_owned(), image: "17".to_owned() };
        stack.snapshot.data_folders.insert("db".to_owned(), folder);
    });
    assert!(stack.plan(Action::Restart, &["db"], |_| {}).is_ok(), "the container stays what it is");
    golden!(stack.new_image("db").start(&["db"]));
}

#[test]
fn fixed_addresses_have_to_be_in_their_network_and_free() {
    let fixed = |address: &str| NetworkJoin { ipv4_address: Some(address.to_owned()), ..NetworkJoin::default() };
    let pool = |subnet: &str| AddressPool { subnet: Some(subnet.to_owned()), ..AddressPool::default() };
    let stack = Stack::new()
        .service("outside", |service| drop(service.networks.insert("back".to_owned(), fixed("10.2.0.5"))))
        .service("taken", |service| drop(service.networks.insert("back".to_owned(), fixed("10.1.0.5"))))
        .service("bare", |service| drop(service.networks.insert("bare".to_owned(), fixed("10.3.0.5"))))
        .with(|stack| {
            let ipam = Ipam { config: vec![pool("10.1.0.0/16")], ..Ipam::default() };
            stack.networks.insert("back".to_owned(), Network { ipam, ..Network::default() });
            stack.networks.insert("bare".to_owned(), Network::default());
            stack.network("p_back");
            let network = stack.snapshot.networks.last_mut().unwrap();
            network.subnets = vec!["10.1.0.0/16".to_owned()];
            network.pools =
                vec![engine::AddressPool { subnet: Some("10.1.0.0/16".to_owned()), ..engine::AddressPool::default() }];
            let mut foreign = foreign("printer", &[]);
            foreign.addresses.insert("p_back".to_owned(), "10.1.0.5".to_owned());
            stack.snapshot.foreign_containers.push(foreign);
        });
    golden!(stack.start(&["outside", "taken", "bare"]));
}

#[test]
fn two_services_that_would_start_with_one_address_are_told_before_anything_starts() {
    let stack = |second: &str| {
        let fixed = |address: &str| NetworkJoin { ipv4_address: Some(address.to_owned()), ..NetworkJoin::default() };
        let joins = |service: &mut Service, join| drop(service.networks.insert("back".to_owned(), join));
        Stack::new().service("a", |service| joins(service, fixed("10.1.0.5"))).service("b", |service| {
            joins(service, fixed(second));
        })
    };
    let said = |second: &str, chosen: &[&str]| {
        let pool = AddressPool { subnet: Some("10.1.0.0/16".to_owned()), ..AddressPool::default() };
        let network = Network { ipam: Ipam { config: vec![pool], ..Ipam::default() }, ..Network::default() };
        stack(second).with(|stack| drop(stack.networks.insert("back".to_owned(), network))).start(chosen)
    };
    let both = said("10.1.0.5", &["a", "b"]);
    let told = "b: service a has the address 10.1.0.5 of network p_back as well; give one of them another one";
    assert_eq!(both, format!("1 problem found, and nothing was changed\n{told}"));
    for fine in [said("10.1.0.6", &["a", "b"]), said("10.1.0.5", &["b"])] {
        assert!(fine.contains("create p-b-1"), "{fine}");
    }
}

/// The old container of the one has it until it is down for good: the other one's new container waits for that.
#[test]
fn an_address_that_one_service_hands_to_another_is_free_when_that_one_starts() {
    let fixed = |address: &str| NetworkJoin { ipv4_address: Some(address.to_owned()), ..NetworkJoin::default() };
    let joins = |service: &mut Service, join| drop(service.networks.insert("back".to_owned(), join));
    let at = |view: &mut ContainerView, address: &str| {
        view.networks.insert("p_back".to_owned(), address.to_owned());
    };
    let stack = |first: &str, second: &str| {
        Stack::new()
            .service(first, |service| joins(service, NetworkJoin::default()))
            .service(second, |service| joins(service, NetworkJoin::default()))
            .with(|stack| stack.network("p_back"))
            .all_run()
            .seen("a", |view| at(view, "10.1.0.5"))
            .seen("b", |view| at(view, "10.1.0.9"))
            .change("a", |service| joins(service, fixed("10.1.0.6")))
            .change("b", |service| joins(service, fixed("10.1.0.5")))
    };
    let plan = stack("a", "b").plan(Action::Start, &["a", "b"], |_| {}).unwrap();
    let ready =
        |step: &&Step| step.service.as_deref() == Some("a") && matches!(step.operation, Operation::WaitReady { .. });
    let proved = plan.steps.iter().find(ready).unwrap().id;
    let waits =
        |step: &Step| step.service.as_deref() == Some("b") && step.after.iter().any(|after| after.step == proved);
    assert!(plan.steps.iter().any(waits), "{}", text(Ok(plan)));
    let said = stack("b", "a").start(&["a", "b"]);
    assert!(said.contains("b: address 10.1.0.5 of network p_back is in use by container p-a-1"), "{said}");
}

#[test]
fn a_name_that_is_another_projects_or_services_is_never_taken_over() {
    let adopt = |options: &mut Options| options.namesakes = Namesakes::Adopt;
    let stack = Stack::new().service("api", |_| {}).service("ui", |_| {}).with(|stack| {
        let mut other = foreign("p-api-1", &[]);
        other.project = Some("q".to_owned());
        stack.snapshot.foreign_containers.push(other);
    });
    let stack = stack.runs("ui").seen("ui", |view| view.name = "gate".to_owned());
    let stack = stack.change("api", |_| {}).service("gate", |service| service.container_name = Some("gate".to_owned()));
    golden!(text(stack.plan(Action::Start, &["api", "gate"], adopt)));
}

#[test]
fn a_container_of_somebody_else_under_a_name_that_a_replacement_needs_is_told_before() {
    for aside in ["p-api-1.dpl-next", "p-api-1.dpl-kept"] {
        let with = |stack: &mut Stack| stack.snapshot.foreign_containers.push(foreign(aside, &[]));
        let first = Stack::new().service("api", |_| {}).with(with);
        assert!(first.start(&["api"]).contains("create p-api-1 of"), "a first container needs no other name");
        let said = first.runs("api").new_image("api").start(&["api"]);
        assert!(said.contains(&format!("dpl needs the name {aside}")), "{said}");
    }
}

#[test]
fn an_environment_that_can_t_be_read_is_told_of_what_runs_and_stands_in_the_way_of_a_new_container() {
    let file = || crate::manifest::model::EnvFile {
        path: "/nowhere/x.env".into(),
        required: true,
        ..crate::manifest::model::EnvFile::default()
    };
    let stack = Stack::new().service("a", |_| {}).runs("a").change("a", |service| service.env_file.push(file()));
    let plan = stack.plan(Action::Start, &["a"], |_| {}).unwrap();
    assert!(plan.is_empty());
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("/nowhere/x.env"), "{warnings:?}");
    assert!(stack.new_image("a").start(&["a"]).contains("its environment can't be read"));
}

#[test]
fn an_empty_folder_never_takes_the_place_of_one_with_data() {
    let stack = Stack::new()
        .service("db", |service| service.volumes.push(bind("/clone/data", true)))
        .runs("db")
        .with(|stack| stack.snapshot.missing_sources = ["/clone/data".to_owned()].into());
    let had = |source: &'static str| {
        move |view: &mut ContainerView| {
            let (kind, source, target) = ("bind".to_owned(), source.to_owned(), "/in".to_owned());
            view.started_at = "2026-01-01T00:00:00Z".to_owned();
            view.mounts = vec![MountView { kind, source, target, ..MountView::default() }];
        }
    };
    let said = stack.seen("db", had("/srv/stack/data")).new_image("db").start(&["db"]);
    assert!(said.contains("/clone/data") && said.contains("p-db-1 has /srv/stack/data there"), "{said}");
    let fresh = Stack::new().service("db", |_| {}).runs("db");
    let fresh = fresh.with(|stack| stack.snapshot.other_folders = [("host:/srv/stack".to_owned(), 0)].into());
    assert!(fresh.start(&["db"]).contains("created from host:/srv/stack"));
}
