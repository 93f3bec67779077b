//! How a container differs from what the manifest wants, named field by field. Values are never part of it.

use std::collections::BTreeSet;

use crate::engine::{LimitSupport, LimitsView};
use crate::manifest::Manifest;
use crate::manifest::model::{Mount, MountKind, NamespaceMode, Service};
use crate::services::container::fingerprint::{self, Fingerprint};
use crate::services::container::labels;
use crate::services::container::spec;
use crate::services::snapshot::observed::{Gpus, Observed, ObservedContainer, Provider, Role};

/// What has drifted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    pub image: Option<ImageDrift>,
    /// Manifest fields, sorted: `command`, `environment.LOG_LEVEL`.
    pub fields: Vec<String>,
    /// Fields whose namespace is that of an earlier life of its provider, with the provider: a restart joins the
    /// namespace of today.
    pub stale_namespaces: Vec<(String, String)>,
    /// Fields whose file was put in the place of another since it was started, with the file: it has the earlier one, and a
    /// restart gives it the present one. Nothing else is to be done about it.
    pub replaced_files: Vec<(String, String)>,
    /// Whether it can't be started as it is: what it is tied to by ID is gone.
    pub blocks_start: bool,
}

/// How its image differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageDrift {
    /// The image it runs and the one that it should run, by ID.
    Changed { was: String, is: String },
    /// The engine has no image of the name that the manifest has.
    Missing { reference: String },
}

impl Drift {
    pub fn is_none(&self) -> bool {
        self.image.is_none() && self.fields.is_empty() && self.stale_namespaces.is_empty()
    }

    /// Whether only a new container puts it right; a restart policy is changed in place, and a restart joins a
    /// namespace again.
    pub fn needs_a_new_container(&self) -> bool {
        self.image.is_some() || self.fields.iter().any(|field| field != RESTART)
    }

    pub fn has_other_restart_policy(&self) -> bool {
        self.fields.iter().any(|field| field == RESTART)
    }

    /// `image` and the fields, as `status` shows them.
    pub fn names(&self) -> Vec<String> {
        let stale = self.stale_namespaces.iter().chain(&self.replaced_files).map(|(field, _)| field.clone());
        self.image.iter().map(|_| "image".to_owned()).chain(self.fields.iter().cloned()).chain(stale).collect()
    }
}

/// The field that is changed in place.
const RESTART: &str = "restart";

/// Compares a container of `service` with what is wanted.
pub fn of(manifest: &Manifest, service: &Service, seen: &ObservedContainer, observed: &Observed) -> Drift {
    let view = &seen.view;
    let image = match observed.image(&service.image) {
        None => Some(ImageDrift::Missing { reference: service.image.to_string() }),
        Some(image) if image.id == view.image_id || image.same_as.contains(&view.image_id) => None,
        Some(image) => Some(ImageDrift::Changed { was: view.image_id.clone(), is: image.id.clone() }),
    };

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
        fields.insert(RESTART.to_owned());
    }
    fields.extend(limits(service, &view.limits, observed.engine.limits));
    let namespaces = namespaces(service, seen, observed);
    fields.extend(namespaces.changed.iter().cloned());
    let mut blocks_start = !namespaces.changed.is_empty();
    if service.network_mode.is_none() {
        let names = service.network_keys().into_iter().map(|key| manifest.network_name(key));
        for name in names.filter(|name| !is_joined(name, seen, observed)) {
            blocks_start |= view.network_ids.get(&name).is_some_and(|id| !id.is_empty());
            fields.insert(format!("networks.{name}"));
        }
        for key in service.network_keys() {
            let name = manifest.network_name(key);
            if lacks_aliases(&spec::aliases(&seen.service, service, key), view.network_aliases.get(&name)) {
                fields.insert(format!("networks.{name}.aliases"));
            }
        }
    }
    if view.labels.contains_key(labels::GPUS) && observed.gpus_of(&seen.service) == Gpus::Present {
        fields.insert("gpus".to_owned());
    }
    if seen.is_up() {
        fields.extend(gone(service, seen, observed));
    }
    Drift {
        image,
        fields: fields.into_iter().collect(),
        stale_namespaces: namespaces.stale,
        replaced_files: replaced_files(service, seen, observed),
        blocks_start,
    }
}

/// Whether it is in the network of this name that there is now. A container asks for the network that it joined by its
/// ID: where somebody removed that one, it can't start, whether there is another of the name by now or not. One that
/// was joined by ID is known by it.
fn is_joined(name: &str, seen: &ObservedContainer, observed: &Observed) -> bool {
    let is_named = seen.view.networks.contains_key(name);
    let joined = seen.view.network_ids.get(name).filter(|id| !id.is_empty());
    match (observed.network(name), joined) {
        (None, joined) => is_named && joined.is_none(),
        (Some(network), Some(id)) => *id == network.id,
        (Some(network), None) => is_named || (!network.id.is_empty() && seen.view.networks.contains_key(&network.id)),
    }
}

/// Whether others don't find it in a network under a name that it is to have: an operator who connected it again by hand gave
/// it none. Nothing is said of a network that it is not in.
fn lacks_aliases(wanted: &[String], actual: Option<&Vec<String>>) -> bool {
    actual.is_some_and(|actual| wanted.iter().any(|alias| !actual.contains(alias)))
}

/// Whether a container has other limits than its service, as far as an engine could hold them all.
pub fn has_other_limits(service: &Service, actual: &LimitsView) -> bool {
    !limits(service, actual, LimitSupport::default()).is_empty()
}

/// What `docker update` can change. A limit that the kernel can't hold is dropped by the engine, and is no drift.
fn limits(service: &Service, actual: &LimitsView, holds: LimitSupport) -> Vec<String> {
    let size = |size: Option<crate::manifest::model::ByteSize>| size.map_or(0, |size| size.0);
    // Without one of its own, the engine allows as much swap as memory, or any where the kernel counts none.
    let swap = match service.memswap_limit {
        Some(limit) => vec![limit.bytes()],
        None => vec![0, -1, i64::try_from(actual.memory_bytes.saturating_mul(2)).unwrap_or(i64::MAX)],
    };
    let has_quota = actual.nano_cpus == 0 && actual.cpu_quota > 0;
    let checks = [
        ("memswap_limit", holds.swap && holds.memory && !swap.contains(&actual.memory_swap_bytes)),
        ("cpu_shares", holds.cpu_shares && service.cpu_shares.unwrap_or_default() != actual.cpu_shares),
        ("mem_limit", holds.memory && size(service.mem_limit) != actual.memory_bytes),
        ("mem_reservation", holds.memory && size(service.mem_reservation) != actual.memory_reservation_bytes),
        ("cpus", holds.cpus && (has_quota || service.cpus.map_or(0, |cpus| cpus.nano) != actual.nano_cpus)),
        ("cpuset", holds.cpuset && service.cpuset.as_deref().unwrap_or_default() != actual.cpuset),
        ("pids_limit", holds.pids && service.pids_limit.filter(|limit| *limit > 0) != actual.pids),
    ];
    checks.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

/// What it stands on and would not find again: a mounted source, or a container whose namespace it shares. Nothing of it
/// shows before the next start, which fails.
fn gone(service: &Service, seen: &ObservedContainer, observed: &Observed) -> Vec<String> {
    let is_missing = |source: &String| observed.missing_sources.contains(source) && seen.has_mounted(source);
    let vanished = |mount: &&Mount| mount.kind == MountKind::Bind && mount.source.as_ref().is_some_and(is_missing);
    let mounts = service.volumes.iter().filter(vanished).map(|mount| format!("volumes.{} (gone)", mount.target));
    let modes = service.namespaces().filter_map(|(field, mode)| match mode {
        NamespaceMode::Container(name) => match observed.provider(name) {
            Provider::Gone => Some(format!("{field} (gone)")),
            Provider::Down => Some(format!("{field} (down)")),
            Provider::Ours | Provider::Up => None,
        },
        _ => None,
    });
    mounts.chain(modes).collect()
}

/// Files that it had mounted when it was started, and in whose place there are others by now.
fn replaced_files(service: &Service, seen: &ObservedContainer, observed: &Observed) -> Vec<(String, String)> {
    let Some(started) = seen.view.started_at.parse::<jiff::Timestamp>().ok().filter(|_| seen.is_up()) else {
        return Vec::new();
    };
    let binds = service.volumes.iter().filter(|mount| mount.kind == MountKind::Bind);
    let replaced = binds.filter_map(|mount| {
        let source = mount.source.as_ref().filter(|source| seen.has_mounted(source))?;
        let is_other = observed.sources.is_replaced_since(source, started);
        is_other.then(|| (format!("volumes.{} (replaced)", mount.target), source.clone()))
    });
    replaced.collect()
}

#[derive(Default)]
struct Namespaces {
    /// Fields whose provider is another container by now: only a new container can share with that one.
    changed: Vec<String>,
    /// Field and provider, where the provider has been started since.
    stale: Vec<(String, String)>,
}

/// Namespaces that are shared with containers that are gone, or began a new life: those are no longer the same.
fn namespaces(service: &Service, seen: &ObservedContainer, observed: &Observed) -> Namespaces {
    let view = &seen.view;
    let modes = [
        ("network_mode", &service.network_mode, &view.network_mode),
        ("pid", &service.pid, &view.pid_mode),
        ("ipc", &service.ipc, &view.ipc_mode),
    ];
    let mut found = Namespaces::default();
    for (field, wanted, actual) in modes {
        let (name, provider) = match wanted {
            Some(NamespaceMode::Service(name)) => (name, observed.main(name, 1).map(|seen| &seen.view)),
            Some(NamespaceMode::Container(name)) => (name, observed.providers.get(name)),
            _ => continue,
        };
        let (Some(provider), Some(shared)) = (provider, actual.strip_prefix("container:")) else {
            continue;
        };
        if shared != provider.id && shared != name {
            found.changed.push(field.to_owned());
        } else if seen.is_up() && started_after(&provider.started_at, &view.started_at) {
            found.stale.push((field.to_owned(), name.clone()));
        }
    }
    found
}

/// Whether one moment of the engine's clock (RFC 3339) is after the other; unknown where one can't be read.
fn started_after(one: &str, other: &str) -> bool {
    let moment = |text: &str| text.parse::<jiff::Timestamp>().ok();
    matches!((moment(one), moment(other)), (Some(one), Some(other)) if one > other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerState, ContainerView, NetworkView};
    use crate::services::snapshot::observed::{ForeignContainer, ObservedImage};

    fn container(service: &str, view: ContainerView) -> ObservedContainer {
        ObservedContainer { service: service.to_owned(), number: 1, role: Role::Main, view }
    }

    fn joined(id: &str) -> ObservedContainer {
        let name = "p_default".to_owned();
        let (networks, ids) = ([(name.clone(), String::new())].into(), [(name, id.to_owned())].into());
        container("a", ContainerView { networks, network_ids: ids, ..ContainerView::default() })
    }

    #[test]
    fn a_container_whose_network_is_gone_has_drifted_until_it_joins_one() {
        let mut observed = Observed::default();
        assert!(!is_joined("p_default", &joined("n1"), &observed), "the network was pruned");
        assert!(is_joined("p_default", &joined(""), &observed), "it was created and never started");
        observed.networks.push(NetworkView { id: "n2".to_owned(), name: "p_default".to_owned(), ..Default::default() });
        assert!(!is_joined("p_default", &joined("n1"), &observed), "there is another one of the name");
        assert!(is_joined("p_default", &joined("n2"), &observed));
    }

    #[test]
    fn a_container_that_was_connected_again_by_hand_has_lost_its_names() {
        let manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let service = Service { image: "a:1".parse().unwrap(), ..Service::default() };
        let of = |aliases: &[&str]| {
            let mut seen = joined("n1");
            let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
            seen.view.network_aliases.insert("p_default".to_owned(), aliases);
            let network = NetworkView { id: "n1".to_owned(), name: "p_default".to_owned(), ..Default::default() };
            let observed = Observed { networks: vec![network], ..Observed::default() };
            super::of(&manifest, &service, &seen, &observed).fields
        };
        let field = "networks.p_default.aliases".to_owned();
        assert!(of(&[]).contains(&field) && of(&["0123456789ab"]).contains(&field));
        assert!(!of(&["a", "0123456789ab"]).contains(&field));
    }

    #[test]
    fn every_limit_that_docker_update_changes_is_compared() {
        let service = |text: &str| Service { mem_limit: Some(text.parse().unwrap()), ..Service::default() };
        let plain = LimitsView { memory_bytes: 1 << 30, memory_swap_bytes: 2 << 30, ..LimitsView::default() };
        let of = |service: &Service, actual: LimitsView| limits(service, &actual, LimitSupport::default());
        let bounded = service("1g");
        assert_eq!(of(&bounded, plain.clone()), [""; 0]);
        assert_eq!(of(&bounded, LimitsView { memory_swap_bytes: 3 << 30, ..plain.clone() }), ["memswap_limit"]);
        assert_eq!(of(&bounded, LimitsView { cpu_shares: 512, ..plain.clone() }), ["cpu_shares"]);
        assert_eq!(of(&bounded, LimitsView { cpu_quota: 50_000, ..plain.clone() }), ["cpus"]);
        let own = Service { memswap_limit: Some("1g".parse().unwrap()), cpu_shares: Some(512), ..bounded };
        assert_eq!(of(&own, plain.clone()), ["memswap_limit", "cpu_shares"]);
        let made = LimitsView { memory_swap_bytes: 1 << 30, cpu_shares: 512, ..plain };
        assert_eq!(of(&own, made), [""; 0]);
    }

    #[test]
    fn a_sharer_follows_its_provider_into_a_new_life() {
        let at = |time: &str, id: &str, mode: &str| ContainerView {
            id: id.to_owned(),
            state: ContainerState::Running,
            started_at: format!("2026-01-01T00:00:{time}Z"),
            network_mode: mode.to_owned(),
            ..ContainerView::default()
        };
        let service = |mode| Service { network_mode: Some(mode), ..Service::default() };
        let of_service = service(NamespaceMode::Service("vpn".to_owned()));
        let mut observed = Observed::default();
        observed.containers.push(container("vpn", at("05.5", "v1", "bridge")));
        let look =
            |sharer: ContainerView, observed: &Observed| namespaces(&of_service, &container("app", sharer), observed);
        assert!(look(at("06", "a", "container:v1"), &observed).stale.is_empty());
        let stale = look(at("05.25", "a", "container:v1"), &observed);
        assert_eq!(stale.stale, [("network_mode".to_owned(), "vpn".to_owned())]);
        assert_eq!(look(at("06", "a", "container:v0"), &observed).changed, ["network_mode"]);

        let of_container = service(NamespaceMode::Container("outsider".to_owned()));
        observed.providers.insert("outsider".to_owned(), at("09", "o2", "bridge"));
        let look = |mode| namespaces(&of_container, &container("app", at("07", "a", mode)), &observed);
        assert_eq!(look("container:o1").changed, ["network_mode"]);
        assert_eq!(look("container:o2").stale.len(), 1);
    }

    #[test]
    fn what_a_running_container_stands_on_and_is_gone_is_drift() {
        let mount = Mount {
            kind: MountKind::Bind,
            source: Some("/srv/conf".to_owned()),
            target: "/conf".to_owned(),
            ..Mount::default()
        };
        let outsider = NamespaceMode::Container("outsider".to_owned());
        let service = Service { volumes: vec![mount], network_mode: Some(outsider), ..Service::default() };
        let mounted = crate::engine::MountView {
            kind: "bind".to_owned(),
            source: "/srv/conf".to_owned(),
            target: "/conf".to_owned(),
            ..Default::default()
        };
        let view = |state| ContainerView {
            state,
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            mounts: vec![mounted.clone()],
            ..ContainerView::default()
        };
        let manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let told = |state, observed: &Observed| {
            let fields = of(&manifest, &service, &container("a", view(state)), observed).fields;
            fields.into_iter().filter(|field| field.ends_with(')')).collect::<Vec<_>>()
        };
        let up = ContainerState::Running;
        let foreign = |state| ForeignContainer { name: "outsider".to_owned(), state, ..ForeignContainer::default() };
        let mut observed = Observed { foreign_containers: vec![foreign(up)], ..Observed::default() };
        assert_eq!(told(up, &observed), [""; 0]);
        observed.missing_sources.insert("/srv/conf".to_owned());
        observed.foreign_containers = vec![foreign(ContainerState::Exited)];
        assert_eq!(told(up, &observed), ["network_mode (down)", "volumes./conf (gone)"]);
        observed.foreign_containers.clear();
        assert_eq!(told(up, &observed), ["network_mode (gone)", "volumes./conf (gone)"]);
        assert_eq!(told(ContainerState::Exited, &observed), [""; 0], "one that is down stands on nothing");
    }

    #[test]
    fn a_file_that_came_after_the_start_of_a_container_that_has_it_mounted_is_drift_that_a_restart_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        if file.path().metadata().unwrap().created().is_err() {
            return;
        }
        let source = file.path().to_str().unwrap().to_owned();
        let kind = MountKind::Bind;
        let mount = Mount { kind, source: Some(source.clone()), target: "/conf".to_owned(), ..Mount::default() };
        let service = Service { volumes: vec![mount], ..Service::default() };
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        manifest.services.push("a".to_owned(), Some(service.clone()));
        let mut observed = Observed::default();
        observed.sources.look_at(&manifest, &[]);
        let of = |year: u32, state| {
            let mounted = crate::engine::MountView {
                kind: "bind".to_owned(),
                source: source.clone(),
                target: "/conf".to_owned(),
                ..Default::default()
            };
            let started_at = format!("{year}-01-01T00:00:00Z");
            let view = ContainerView { state, started_at, mounts: vec![mounted], ..ContainerView::default() };
            of(&manifest, &service, &container("a", view), &observed)
        };
        let replaced = of(2001, ContainerState::Running);
        assert_eq!(replaced.replaced_files, [("volumes./conf (replaced)".to_owned(), source.clone())]);
        assert!(replaced.names().contains(&"volumes./conf (replaced)".to_owned()));
        assert!(!replaced.fields.iter().any(|field| field.starts_with("volumes")), "no new container is made for it");
        assert!(of(2999, ContainerState::Running).replaced_files.is_empty());
        assert!(of(2001, ContainerState::Exited).replaced_files.is_empty(), "it begins with the present one");
    }

    #[test]
    fn an_image_that_the_engine_lacks_is_drift() {
        let manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let service = Service { image: "web:gone".parse().unwrap(), ..Service::default() };
        let seen = container("a", ContainerView { image_id: "one".to_owned(), ..ContainerView::default() });
        let mut observed = Observed::default();
        let drift = |observed: &Observed| of(&manifest, &service, &seen, observed).image;
        assert_eq!(drift(&observed), Some(ImageDrift::Missing { reference: "web:gone".to_owned() }));
        let image = |id: &str| ObservedImage { id: id.to_owned(), ..ObservedImage::default() };
        observed.images.insert("web:gone".to_owned(), image("one"));
        assert_eq!(drift(&observed), None);
        observed.images.insert("web:gone".to_owned(), image("two"));
        assert_eq!(drift(&observed), Some(ImageDrift::Changed { was: "one".to_owned(), is: "two".to_owned() }));
    }
}
