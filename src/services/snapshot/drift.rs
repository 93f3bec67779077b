//! How a container differs from what the manifest wants, named field by field. Values are never part of it.

use std::collections::BTreeSet;

use crate::engine::LimitsView;
use crate::manifest::Manifest;
use crate::manifest::model::{NamespaceMode, Service};
use crate::services::container::fingerprint::{self, Fingerprint};
use crate::services::container::labels;
use crate::services::container::spec;
use crate::services::snapshot::observed::{Gpus, Observed, ObservedContainer, Role};

/// What has drifted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// The image it runs and the one that it should run, by ID.
    pub image: Option<(String, String)>,
    /// Manifest fields, sorted: `command`, `environment.LOG_LEVEL`.
    pub fields: Vec<String>,
}

impl Drift {
    pub fn is_none(&self) -> bool {
        self.image.is_none() && self.fields.is_empty()
    }

    /// Whether it is the restart policy and nothing else, which can be put right without a new container.
    pub fn is_restart_policy_only(&self) -> bool {
        self.image.is_none() && self.fields == ["restart"]
    }

    /// `image` and the fields, as `status` shows them.
    pub fn names(&self) -> Vec<String> {
        self.image.iter().map(|_| "image".to_owned()).chain(self.fields.iter().cloned()).collect()
    }
}

/// Compares a container of `service` with what is wanted.
pub fn of(manifest: &Manifest, service: &Service, seen: &ObservedContainer, observed: &Observed) -> Drift {
    let view = &seen.view;
    let image = observed
        .image(&service.image)
        .filter(|image| image.id != view.image_id && !image.same_as.contains(&view.image_id))
        .map(|image| (view.image_id.clone(), image.id.clone()));

    let mut fields = BTreeSet::new();
    if seen.role == Role::Main && view.name != manifest.container_name(&seen.service, seen.number) {
        fields.insert("container_name".to_owned());
    }
    match view.labels.get(labels::FINGERPRINT).map(|label| Fingerprint::parse(label)) {
        Some(Some(made)) => {
            fields.extend(made.differing(&fingerprint::fields(manifest, service)));
            if let Some(inputs) = observed.inputs.get(&seen.service) {
                let names = made.differing_environment(inputs, &view.environment.0);
                fields.extend(names.into_iter().map(|name| format!("environment.{name}")));
            }
        }
        _ => drop(fields.insert("fingerprint".to_owned())),
    }
    // One that is kept aside has no policy on purpose.
    if seen.role == Role::Main && view.restart != spec::restart(service.restart) {
        fields.insert("restart".to_owned());
    }
    fields.extend(limits(service, &view.limits, observed));
    fields.extend(namespaces(service, seen, observed));
    if service.network_mode.is_none() {
        let names = service.network_keys().into_iter().map(|key| manifest.network_name(key));
        fields.extend(names.filter(|name| !is_joined(name, seen, observed)).map(|name| format!("networks.{name}")));
    }
    if view.labels.contains_key(labels::GPUS) && observed.gpus_of(&seen.service) == Gpus::Present {
        fields.insert("gpus".to_owned());
    }
    Drift { image, fields: fields.into_iter().collect() }
}

/// Whether it is in the network of this name that there is now. Where somebody removed that one and made another, a
/// container still asks for the one that is gone, by its ID, and can't start. One that was joined by ID is known by it.
fn is_joined(name: &str, seen: &ObservedContainer, observed: &Observed) -> bool {
    let Some(network) = observed.network(name) else {
        return seen.view.networks.contains_key(name);
    };
    let joined = seen.view.network_ids.get(name).filter(|id| !id.is_empty());
    match joined {
        Some(id) => *id == network.id,
        None => {
            seen.view.networks.contains_key(name)
                || (!network.id.is_empty() && seen.view.networks.contains_key(&network.id))
        }
    }
}

/// What `docker update` can change. A limit that the kernel can't hold is dropped by the engine, and is no drift.
fn limits(service: &Service, actual: &LimitsView, observed: &Observed) -> Vec<String> {
    let holds = observed.engine.limits;
    let size = |size: Option<crate::manifest::types::ByteSize>| size.map_or(0, |size| size.0);
    let checks = [
        ("mem_limit", holds.memory && size(service.mem_limit) != actual.memory_bytes),
        ("mem_reservation", holds.memory && size(service.mem_reservation) != actual.memory_reservation_bytes),
        ("cpus", holds.cpus && service.cpus.map_or(0, |cpus| cpus.nano) != actual.nano_cpus),
        ("cpuset", holds.cpuset && service.cpuset.as_deref().unwrap_or_default() != actual.cpuset),
        ("pids_limit", holds.pids && service.pids_limit.filter(|limit| *limit > 0) != actual.pids),
    ];
    checks.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

/// A container that shares the namespace of one that is no more has to be made anew.
fn namespaces(service: &Service, seen: &ObservedContainer, observed: &Observed) -> Vec<String> {
    let view = &seen.view;
    let modes = [
        ("network_mode", &service.network_mode, &view.network_mode),
        ("pid", &service.pid, &view.pid_mode),
        ("ipc", &service.ipc, &view.ipc_mode),
    ];
    let stale = modes.into_iter().filter(|(_, wanted, actual)| match wanted {
        Some(NamespaceMode::Service(provider)) => {
            let shared = actual.strip_prefix("container:");
            observed.main(provider, 1).is_some_and(|provider| shared != Some(provider.view.id.as_str()))
        }
        _ => false,
    });
    stale.map(|(name, ..)| name.to_owned()).collect()
}
