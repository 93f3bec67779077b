//! Anonymous volumes follow a service through the replacement of its container: a recreated container would begin
//! with empty ones.

use std::collections::BTreeMap;

use crate::manifest::model::{MountKind, Service};
use crate::services::snapshot::observed::ObservedContainer;

/// Which volumes the new container takes over, and which nobody declares any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::services) struct Carried {
    /// Path in the container → volume.
    pub volumes: BTreeMap<String, String>,
    /// The same, left on the engine.
    pub left: Vec<(String, String)>,
}

/// `declared`: the paths that the new image declares as volumes.
pub(in crate::services) fn carried(service: &Service, old: &ObservedContainer, declared: &[String]) -> Carried {
    let mut carried = Carried::default();
    for mount in &old.view.mounts {
        let Some(volume) = mount.name.as_ref().filter(|name| mount.kind == "volume" && is_anonymous(name)) else {
            continue;
        };
        let stated = service.volumes.iter().find(|stated| same_path(&stated.target, &mount.target));
        let is_wanted = match stated {
            Some(stated) => stated.kind == MountKind::Volume && stated.source.is_none(),
            None => declared.iter().any(|path| same_path(path, &mount.target)),
        };
        let in_memory = service.tmpfs.iter().any(|tmpfs| same_path(&tmpfs.target, &mount.target));
        if is_wanted && !in_memory {
            let target = stated.map_or(&mount.target, |stated| &stated.target);
            carried.volumes.insert(target.clone(), volume.clone());
        } else {
            carried.left.push((mount.target.clone(), volume.clone()));
        }
    }
    carried
}

/// The engine names an anonymous volume by 64 hex digits.
pub(super) fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn same_path(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerView, MountView};
    use crate::manifest::model::Mount;
    use crate::services::snapshot::observed::Role;

    fn old(mounts: &[(&str, &str)]) -> ObservedContainer {
        let mounts = mounts.iter().map(|(name, target)| MountView {
            kind: "volume".to_owned(),
            name: Some((*name).to_owned()),
            target: (*target).to_owned(),
            ..MountView::default()
        });
        let view = ContainerView { mounts: mounts.collect(), ..ContainerView::default() };
        ObservedContainer { service: "db".to_owned(), number: 1, role: Role::Main, view }
    }

    #[test]
    fn only_anonymous_volumes_that_are_still_declared_are_taken_over() {
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let old = old(&[(&a, "/declared"), (&b, "/stated"), (&c, "/dropped"), ("p_named", "/named")]);
        let stated = Mount { target: "/stated/".to_owned(), ..Mount::default() };
        let service = Service { volumes: vec![stated], ..Service::default() };
        let carried = carried(&service, &old, &["/declared".to_owned(), "/named".to_owned()]);
        assert_eq!(carried.volumes, [("/declared".to_owned(), a), ("/stated/".to_owned(), b)].into());
        assert_eq!(carried.left, [("/dropped".to_owned(), c)]);
    }

    #[test]
    fn a_mount_of_the_manifest_takes_the_place_of_an_anonymous_volume() {
        let old = old(&[(&"a".repeat(64), "/data")]);
        let bind = Mount {
            kind: MountKind::Bind,
            source: Some("/srv".to_owned()),
            target: "/data".to_owned(),
            ..Mount::default()
        };
        let service = Service { volumes: vec![bind], ..Service::default() };
        assert!(carried(&service, &old, &["/data".to_owned()]).volumes.is_empty());
    }
}
