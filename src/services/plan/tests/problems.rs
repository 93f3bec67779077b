//! What stands in a plan's way: all of it at once.

use super::*;
use crate::engine::PublishedPort;
use crate::manifest::model::{BindOptions, EnvValue, Gpu, Mount, MountKind, NamespaceMode, Port, SecretSource};
use crate::services::Gpus;

fn bind(source: &str, create_host_path: bool) -> Mount {
    Mount {
        kind: MountKind::Bind,
        source: Some(source.to_owned()),
        target: "/in".to_owned(),
        bind: BindOptions { propagation: None, create_host_path },
        ..Mount::default()
    }
}

fn port(published: u16) -> Port {
    Port { target: 80, published: Some(published), ..Port::default() }
}

fn stranger(name: &str, ports: &[u16]) -> Stranger {
    let published = ports.iter().map(|port| PublishedPort {
        container_port: 80,
        protocol: "tcp".to_owned(),
        host_ip: Some("0.0.0.0".to_owned()),
        host_port: Some(*port),
    });
    Stranger { id: "f".repeat(64), name: name.to_owned(), published: published.collect() }
}

#[test]
fn all_problems_come_at_once() {
    let stack = Stack::new()
        .service("a", |service| {
            service.volumes.push(bind("/missing/a", false));
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
            stack.snapshot.strangers = vec![stranger("p-c-1", &[]), stranger("web", &[8080])];
            stack.snapshot.gpus = Gpus::Absent;
            stack.networks.insert("shared".to_owned(), Network { external: true, ..Network::default() });
            stack.volumes.insert("old".to_owned(), Volume { external: true, ..Volume::default() });
        });
    golden!(stack.start(&["a", "b", "c"]));
}

#[test]
fn a_service_that_is_left_as_it_is_has_no_problems() {
    let stack = Stack::three().all_run().with(|stack| drop(stack.snapshot.images.remove("db:1")));
    assert_eq!(stack.start(&["db", "api", "ui"]), "nothing to do");
}

#[test]
fn missing_images_can_be_told_from_other_problems() {
    let stack = Stack::three().with(|stack| stack.snapshot.images.clear());
    let error = stack.plan(Action::Start, &["ui"], |_| {}).unwrap_err();
    let missing: Vec<String> = error.only_missing_images().unwrap().into_iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["db:1", "api:1", "ui:1"]);
    let stack = stack.with(|stack| stack.snapshot.strangers.push(stranger("p-db-1", &[])));
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
        .seen("a", |view| view.published = vec!["0.0.0.0:8080->80/tcp".to_owned()])
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
    assert_eq!(ring.start(&["ui"]), "these services need each other in a ring: db, api, ui");
}
