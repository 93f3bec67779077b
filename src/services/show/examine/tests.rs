//! What is said of networks and volumes, which a look at the engine alone does not show.

use super::*;
use crate::engine::{ContainerView, MountView, NetworkView, VolumeView};
use crate::manifest::model::{NetworkJoin, Reference, Service, Volume};
use crate::services::snapshot::observed::{ForeignContainer, ObservedContainer, ObservedImage};

fn manifest(services: &[(&str, Service)]) -> Manifest {
    let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
    for (name, service) in services {
        manifest.services.push((*name).to_owned(), Some(service.clone()));
    }
    manifest
}

#[test]
fn networks_of_the_manifest_that_the_engine_has_twice_are_named() {
    let mut joined = Service::default();
    joined.networks.insert("front".to_owned(), NetworkJoin::default());
    let manifest = manifest(&[("a", Service::default()), ("b", joined)]);
    let network = |name: &str| NetworkView { name: name.to_owned(), ..NetworkView::default() };
    let found = |names: &[&str]| {
        let networks = names.iter().map(|name| network(name)).collect();
        double_networks(&manifest, &Observed { networks, ..Observed::default() })
    };
    assert_eq!(found(&["p_default", "p_front", "bridge"]), [""; 0]);
    assert_eq!(found(&["p_default", "p_front", "p_default", "other", "other"]), ["p_default"]);
}

/// A volume of the project.
fn volume(name: &str) -> VolumeView {
    let labels = labels::of_volume("p", name, BTreeMap::new());
    VolumeView { name: name.to_owned(), labels, ..VolumeView::default() }
}

fn mount(name: &str) -> MountView {
    MountView { kind: "volume".to_owned(), name: Some(name.to_owned()), ..MountView::default() }
}

#[test]
fn volumes_are_dangling_that_no_container_uses_and_no_manifest_of_the_project_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest(&[("a", Service::default())]);
    manifest.folder = folder.path().to_owned();
    manifest.volumes.insert("named".to_owned(), Volume::default());
    let ours = ContainerView { mounts: vec![mount("p_used")], ..ContainerView::default() };
    let other = ForeignContainer { mounts: vec![mount("p_lent")], ..ForeignContainer::default() };
    let snapshot = Observed {
        volumes: vec![
            volume("p_used"),
            volume("p_lent"),
            volume("p_named"),
            volume("p_old"),
            VolumeView { name: "somebody's".to_owned(), ..VolumeView::default() },
        ],
        containers: vec![ObservedContainer { service: "a".to_owned(), number: 1, role: Role::Main, view: ours }],
        foreign_containers: vec![other],
        ..Observed::default()
    };
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    assert_eq!(dangling_volumes(&manifest, &snapshot), ["p_old"]);
    // Another project's says nothing of ours.
    let beside = r#"{"project": "PROJECT", "volumes": {"old": {}},
        "services": {"b": {"image": "b:1", "volumes": ["old:/data"]}}}"#;
    write("beside.json", &beside.replace("PROJECT", "q"));
    assert_eq!(dangling_volumes(&manifest, &snapshot), ["p_old"]);
    write("beside.json", &beside.replace("PROJECT", "p"));
    assert_eq!(dangling_volumes(&manifest, &snapshot), [""; 0]);
    // What a manifest that can't be read names is not known.
    write("beside.json", r#"{"project": "p", "services": {"b": {"image": 1}}}"#);
    assert_eq!(dangling_volumes(&manifest, &snapshot), [""; 0]);
}

#[test]
fn data_in_an_anonymous_volume_that_a_new_container_would_not_get_is_named() {
    let reference: Reference = "a:2".parse().unwrap();
    let manifest = manifest(&[("a", Service { image: reference.clone(), ..Service::default() })]);
    let anonymous = |letter: &str, target: &str| MountView { target: target.to_owned(), ..mount(&letter.repeat(64)) };
    let mounts = vec![anonymous("a", "/data"), anonymous("b", "/log"), mount("p_named")];
    let container = |service: &str, role| {
        let view = ContainerView { name: format!("p-{service}-1"), mounts: mounts.clone(), ..ContainerView::default() };
        ObservedContainer { service: service.to_owned(), number: 1, role, view }
    };
    let containers = vec![container("a", Role::Main), container("a", Role::Kept), container("gone", Role::Main)];
    let mut snapshot = Observed { containers, ..Observed::default() };
    // What the new image declares is not known yet.
    assert_eq!(left_volumes(&manifest, &snapshot), [""; 0]);
    let image = ObservedImage { volumes: vec!["/data/".to_owned()], ..ObservedImage::default() };
    snapshot.images.insert(reference.to_string(), image);
    assert_eq!(left_volumes(&manifest, &snapshot), ["p-a-1:/log"]);
}

#[test]
fn an_image_for_another_machine_is_told_until_a_container_was_made_of_it() {
    let mut snapshot = Observed::default();
    snapshot.engine.architecture = "amd64".to_owned();
    for (name, architecture) in [("a:1", "arm64"), ("b:1", "amd64")] {
        let (id, architecture) = (format!("{name}@1"), architecture.to_owned());
        snapshot.images.insert(name.to_owned(), ObservedImage { id, architecture, ..ObservedImage::default() });
    }
    let told = other_architectures(&snapshot);
    assert_eq!(told, BTreeMap::from([("arm64".to_owned(), BTreeSet::from(["a:1".to_owned()]))]));
    let view = ContainerView { image_id: "a:1@1".to_owned(), ..ContainerView::default() };
    snapshot.containers.push(ObservedContainer { service: "a".to_owned(), number: 1, role: Role::Main, view });
    assert!(other_architectures(&snapshot).is_empty());
}
