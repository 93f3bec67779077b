//! A service of the manifest as the engine takes it, in Compose's meaning of each field.
//!
//! Pure: what only the engine or the host knows (image IDs, namespaces of other containers, secrets, volumes that are
//! carried over) is handed in.

use std::collections::BTreeMap;

use crate::engine::{
    self, BindPropagation, ContainerSpec, GpuRequest, HealthSpec, LogSpec, MountSpec, NetworkAttachment, NetworkSpec,
    PublishedPort, VolumeSpec,
};
use crate::manifest::Manifest;
use crate::manifest::model::{
    GpuCount, Healthcheck, Link, Mount, MountKind, NamespaceMode, RestartPolicy, Service, SwapLimit,
};
use crate::services::container::fingerprint::{self, Fingerprint};
use crate::services::container::labels::{self, ContainerLabels};

/// All that a container is made of beside its service.
#[derive(Debug, Clone)]
pub struct ContainerInputs<'a> {
    pub manifest: &'a Manifest,
    pub service_name: &'a str,
    pub service: &'a Service,
    /// Which of the service's containers, from 1.
    pub number: u32,
    /// The name to make it under; a replacement gets its own only when the old container has stepped aside.
    pub name: String,
    pub image_id: String,
    pub environment: BTreeMap<String, String>,
    pub fingerprint: Fingerprint,
    /// Anonymous volumes that it takes over: path → volume.
    pub carried: BTreeMap<String, String>,
    /// The restart policy of a container that it replaces and that dpl did not make.
    pub old_restart: Option<RestartPolicy>,
    pub gpus_dropped: bool,
    /// Service → ID of the container whose namespaces are shared.
    pub providers: BTreeMap<String, String>,
}

/// The container to create.
pub fn container(container_inputs: &ContainerInputs) -> ContainerSpec {
    let service = container_inputs.service;
    let strings = |list: &[String]| list.to_vec();
    ContainerSpec {
        name: container_inputs.name.clone(),
        image: container_inputs.image_id.clone(),
        platform: service.platform.clone(),
        hostname: service.hostname.clone(),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        entrypoint: service.entrypoint.as_ref().map(|words| words.0.clone()),
        command: service.command.as_ref().map(|words| words.0.clone()),
        environment: container_inputs.environment.clone(),
        labels: container_labels(container_inputs),
        tty: service.tty,
        stdin_open: service.stdin_open,
        stdin_once: false,
        auto_remove: false,
        stop_signal: service.stop_signal.clone(),
        stop_grace_period: service.stop_grace_period.map(|period| period.0),
        health: service.healthcheck.as_ref().map(health),
        expose: service.expose.iter().map(ToString::to_string).collect(),
        ports: ports(service),
        mounts: mounts(container_inputs),
        tmpfs: service.tmpfs.iter().map(|tmpfs| (tmpfs.target.clone(), tmpfs.options.clone())).collect(),
        network_mode: service.network_mode.as_ref().map(|mode| namespace(mode, &container_inputs.providers)),
        networks: networks(container_inputs.manifest, container_inputs.service_name, service),
        restart: restart(service.restart),
        gpus: device_requests(service, container_inputs.gpus_dropped),
        devices: service
            .devices
            .iter()
            .filter(|device| !device.is_cdi())
            .map(|device| engine::Device {
                host_path: device.source.clone(),
                container_path: device.target.clone(),
                permissions: device.permissions.clone(),
            })
            .collect(),
        runtime: service.runtime.clone(),
        shm_size_bytes: service.shm_size.map(|size| size.0),
        ulimits: service
            .ulimits
            .iter()
            .map(|(name, limit)| engine::Ulimit { name: name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        memory_bytes: service.mem_limit.map(|size| size.0),
        memory_reservation_bytes: service.mem_reservation.map(|size| size.0),
        memory_swap_bytes: service.memswap_limit.map(SwapLimit::bytes),
        oom_score_adj: service.oom_score_adj,
        cpu_shares: service.cpu_shares,
        cgroup_parent: service.cgroup_parent.clone(),
        device_cgroup_rules: strings(&service.device_cgroup_rules),
        userns_mode: service.userns_mode.clone(),
        uts_mode: service.uts.clone(),
        dns_search: strings(&service.dns_search),
        dns_options: strings(&service.dns_opt),
        annotations: service.annotations.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        nano_cpus: service.cpus.map(|cpus| cpus.nano),
        cpuset: service.cpuset.clone(),
        pids_limit: service.pids_limit,
        cap_add: strings(&service.cap_add),
        cap_drop: strings(&service.cap_drop),
        privileged: service.privileged,
        security_opt: strings(&service.security_opt),
        group_add: strings(&service.group_add),
        read_only: service.read_only,
        init: service.init,
        sysctls: service.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        pid_mode: service.pid.as_ref().map(|mode| namespace(mode, &container_inputs.providers)),
        ipc_mode: service.ipc.as_ref().map(|mode| namespace(mode, &container_inputs.providers)),
        extra_hosts: service
            .extra_hosts
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(move |address| format!("{name}:{address}")))
            .collect(),
        dns: strings(&service.dns),
        logging: service.logging.as_ref().map(|logging| LogSpec {
            driver: logging.driver.clone().unwrap_or_default(),
            options: logging.options.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        }),
    }
}

/// The fingerprint of a container that is made now with these variables.
pub fn fingerprint(
    manifest: &Manifest,
    service: &Service,
    environment: &BTreeMap<String, String>,
) -> std::io::Result<Fingerprint> {
    Fingerprint::new(&fingerprint::fields(manifest, service), environment.keys().cloned().collect())
}

fn container_labels(container_inputs: &ContainerInputs) -> BTreeMap<String, String> {
    let own = container_inputs.service.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    ContainerLabels {
        project: &container_inputs.manifest.project,
        service: container_inputs.service_name,
        number: container_inputs.number,
        fingerprint: container_inputs.fingerprint.label(),
        restart: container_inputs.service.restart,
        old_restart: container_inputs.old_restart,
        gpus_dropped: container_inputs.gpus_dropped,
        folder: folder(container_inputs.manifest),
    }
    .over(own)
}

/// Host and folder of a manifest, as the label of a container has them.
pub fn folder(manifest: &Manifest) -> Option<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(&manifest.folder).filter(|folder| folder.is_absolute()).map(|folder| format!("{host}:{}", folder.display()))
}

fn health(check: &Healthcheck) -> HealthSpec {
    if check.is_off() {
        return HealthSpec { test: vec!["NONE".to_owned()], ..HealthSpec::default() };
    }
    HealthSpec {
        test: check.test.clone(),
        interval: check.interval.map(|period| period.0),
        timeout: check.timeout.map(|period| period.0),
        retries: check.retries,
        start_period: check.start_period.map(|period| period.0),
        start_interval: check.start_interval.map(|period| period.0),
    }
}

/// The ports that it publishes.
pub fn ports(service: &Service) -> Vec<PublishedPort> {
    let port = |port: &crate::manifest::model::Port| PublishedPort {
        container_port: port.target,
        protocol: port.protocol.word().to_owned(),
        host_ip: port.host_ip.clone(),
        host_port: port.published,
        host_port_until: port.published_until,
    };
    service.ports.iter().map(port).collect()
}

fn mounts(container_inputs: &ContainerInputs) -> Vec<MountSpec> {
    let mut carried = container_inputs.carried.clone();
    let mut mounts: Vec<MountSpec> = container_inputs
        .service
        .volumes
        .iter()
        .map(|mount| MountSpec {
            kind: mount_kind(container_inputs.manifest, mount, carried.remove(&mount.target)),
            target: mount.target.clone(),
            read_only: mount.read_only,
            selinux: mount.bind.selinux.clone().or_else(|| mount.volume.selinux.clone()),
        })
        .collect();
    // What is left belongs to volumes that only the image declares.
    mounts.extend(carried.into_iter().map(|(target, volume)| MountSpec {
        kind: engine::MountKind::Volume { name: Some(volume), no_copy: false, subpath: None },
        target,
        read_only: false,
        selinux: None,
    }));
    mounts
}

fn mount_kind(manifest: &Manifest, mount: &Mount, carried: Option<String>) -> engine::MountKind {
    let source = mount.source.clone().unwrap_or_default();
    match mount.kind {
        MountKind::Bind => {
            let propagation = mount.bind.propagation.as_deref().and_then(propagation);
            if mount.bind.create_host_path {
                engine::MountKind::BindMade { source, propagation }
            } else {
                engine::MountKind::Bind { source, propagation }
            }
        }
        MountKind::Volume => engine::MountKind::Volume {
            name: mount.source.as_deref().map(|key| manifest.volume_name(key)).or(carried),
            no_copy: mount.volume.nocopy,
            subpath: mount.volume.subpath.clone(),
        },
        MountKind::Tmpfs => {
            engine::MountKind::Tmpfs { size_bytes: mount.tmpfs.size.map(|size| size.0), mode: mount.tmpfs.mode }
        }
    }
}

fn propagation(word: &str) -> Option<BindPropagation> {
    match word {
        "private" => Some(BindPropagation::Private),
        "rprivate" => Some(BindPropagation::Rprivate),
        "shared" => Some(BindPropagation::Shared),
        "rshared" => Some(BindPropagation::Rshared),
        "slave" => Some(BindPropagation::Slave),
        "rslave" => Some(BindPropagation::Rslave),
        _ => None,
    }
}

/// A namespace as the engine takes it: that of a service is that of its container.
fn namespace(mode: &NamespaceMode, providers: &BTreeMap<String, String>) -> String {
    match mode {
        NamespaceMode::Service(service) => {
            format!("container:{}", providers.get(service).map_or(service.as_str(), String::as_str))
        }
        other => other.to_string(),
    }
}

/// Containers of linked services under their other names.
fn links(manifest: &Manifest, service: &Service) -> Vec<String> {
    let of_link = |link: &Link| {
        let replicas = manifest.services.get(&link.service).map_or(0, Service::replicas);
        let alias = link.alias.clone();
        let container = |number| format!("{}:{alias}", manifest.container_name(&link.service, number));
        (1..=replicas).map(container).collect::<Vec<_>>()
    };
    service.links.iter().flat_map(of_link).collect()
}

/// The names under which others find a container of the service in a network.
pub(in crate::services) fn aliases(name: &str, service: &Service, key: &str) -> Vec<String> {
    let stated = service.networks.get(key).map(|join| join.aliases.as_slice()).unwrap_or_default();
    let mut aliases = vec![name.to_owned()];
    aliases.extend(stated.iter().filter(|alias| *alias != name).cloned());
    aliases
}

fn networks(manifest: &Manifest, name: &str, service: &Service) -> Vec<NetworkAttachment> {
    let links = links(manifest, service);
    // One address for the container is that of its first network, as it is on the command line.
    let first = service.network_keys().first().map(|key| (*key).to_owned());
    let attach = |key: &str| {
        let join = service.networks.get(key).cloned().unwrap_or_default();
        NetworkAttachment {
            network: manifest.network_name(key),
            aliases: aliases(name, service, key),
            ipv4_address: join.ipv4_address,
            ipv6_address: join.ipv6_address,
            link_local_ips: Vec::new(),
            mac_address: join
                .mac_address
                .or_else(|| service.mac_address.clone().filter(|_| first.as_deref() == Some(key))),
            links: links.clone(),
        }
    };
    service.network_keys().into_iter().map(attach).collect()
}

pub(in crate::services) fn restart(policy: RestartPolicy) -> engine::RestartPolicy {
    match policy {
        RestartPolicy::No => engine::RestartPolicy::No,
        RestartPolicy::Always => engine::RestartPolicy::Always,
        RestartPolicy::UnlessStopped => engine::RestartPolicy::UnlessStopped,
        // Without a limit, as for the engine.
        RestartPolicy::OnFailure(attempts) => {
            engine::RestartPolicy::OnFailure(attempts.filter(|attempts| *attempts > 0))
        }
    }
}

/// The engine's policy in the manifest's words.
pub(in crate::services) fn policy(policy: engine::RestartPolicy) -> RestartPolicy {
    match policy {
        engine::RestartPolicy::No => RestartPolicy::No,
        engine::RestartPolicy::Always => RestartPolicy::Always,
        engine::RestartPolicy::UnlessStopped => RestartPolicy::UnlessStopped,
        engine::RestartPolicy::OnFailure(attempts) => RestartPolicy::OnFailure(attempts),
    }
}

fn gpu(gpu: &crate::manifest::model::Gpu) -> GpuRequest {
    GpuRequest {
        driver: gpu.driver.clone().unwrap_or_default(),
        count: gpu.count.map(|count| match count {
            GpuCount::All => -1,
            GpuCount::Exactly(count) => i64::from(count),
        }),
        device_ids: gpu.device_ids.clone(),
        capabilities: gpu.capabilities.clone(),
        options: gpu.options.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// Its GPUs, and the devices that a CDI specification of the host describes.
fn device_requests(service: &Service, gpus_dropped: bool) -> Vec<GpuRequest> {
    let mut requests = if gpus_dropped { required_gpus(service) } else { wanted_gpus(service) };
    requests.extend(service.devices.iter().filter(|device| device.is_cdi()).map(|device| GpuRequest {
        driver: "cdi".to_owned(),
        device_ids: vec![device.source.clone()],
        ..GpuRequest::default()
    }));
    requests
}

/// The GPUs that a service can't do without.
pub(in crate::services) fn required_gpus(service: &Service) -> Vec<GpuRequest> {
    service.gpus.iter().filter(|request| request.required).map(gpu).collect()
}

/// All that it asks for.
pub(in crate::services) fn wanted_gpus(service: &Service) -> Vec<GpuRequest> {
    service.gpus.iter().map(gpu).collect()
}

/// A network of the manifest, to create.
pub fn network(manifest: &Manifest, key: &str) -> NetworkSpec {
    let network = manifest.networks.get(key).cloned().unwrap_or_default();
    let own = network.labels.into_iter().collect();
    NetworkSpec {
        name: manifest.network_name(key),
        driver: network.driver,
        options: network.driver_opts.into_iter().collect(),
        labels: labels::of_network(&manifest.project, key, own),
        internal: network.internal,
        attachable: network.attachable,
        enable_ipv6: network.enable_ipv6,
        ipam_driver: network.ipam.driver,
        pools: network
            .ipam
            .config
            .into_iter()
            .map(|pool| engine::AddressPool { subnet: pool.subnet, ip_range: pool.ip_range, gateway: pool.gateway })
            .collect(),
    }
}

/// A volume of the manifest, to create.
pub fn volume(manifest: &Manifest, key: &str) -> VolumeSpec {
    let volume = manifest.volumes.get(key).cloned().unwrap_or_default();
    let own = volume.labels.into_iter().collect();
    VolumeSpec {
        name: manifest.volume_name(key),
        driver: volume.driver,
        options: volume.driver_opts.into_iter().collect(),
        labels: labels::of_volume(&manifest.project, key, own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::{BindOptions, Device, Gpu, NetworkJoin, Volume, VolumeOptions};

    fn made(manifest: &Manifest, service: &Service, change: impl FnOnce(&mut ContainerInputs)) -> ContainerSpec {
        let mut container_inputs = ContainerInputs {
            manifest,
            service_name: "api",
            service,
            number: 1,
            name: "p-api-1".to_owned(),
            image_id: "sha256:1".to_owned(),
            environment: BTreeMap::new(),
            fingerprint: Fingerprint::keyed("key".to_owned(), &BTreeMap::new(), Default::default()),
            carried: BTreeMap::new(),
            old_restart: None,
            gpus_dropped: false,
            providers: BTreeMap::new(),
        };
        change(&mut container_inputs);
        container(&container_inputs)
    }

    fn project() -> Manifest {
        Manifest { project: "p".to_owned(), ..Manifest::default() }
    }

    #[test]
    fn cdi_devices_are_requested_and_the_address_is_that_of_the_first_network() {
        let device = |source: &str| Device {
            source: source.to_owned(),
            target: source.to_owned(),
            permissions: "rwm".to_owned(),
        };
        let second = NetworkJoin { mac_address: Some("02:42:ac:11:00:09".to_owned()), ..NetworkJoin::default() };
        let service = Service {
            devices: vec![device("nvidia.com/gpu=all"), device("/dev/null")],
            mac_address: Some("02:42:ac:11:00:02".to_owned()),
            networks: [("front".to_owned(), NetworkJoin::default()), ("back".to_owned(), second)].into(),
            links: vec!["db:database".parse().unwrap()],
            cgroup_parent: Some("app.slice".to_owned()),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            memswap_limit: Some("-1".parse().unwrap()),
            ..Service::default()
        };
        let mut manifest = project();
        manifest.services.push("db".to_owned(), Some(Service { scale: Some(2), ..Service::default() }));
        let spec = made(&manifest, &service, |_| {});
        assert_eq!(spec.devices.len(), 1);
        assert_eq!(
            (spec.gpus[0].driver.as_str(), &spec.gpus[0].device_ids[..]),
            ("cdi", &["nvidia.com/gpu=all".to_owned()][..])
        );
        let addresses: Vec<Option<&str>> = spec.networks.iter().map(|one| one.mac_address.as_deref()).collect();
        assert_eq!(addresses, [Some("02:42:ac:11:00:02"), Some("02:42:ac:11:00:09")]);
        assert_eq!(spec.networks[0].links, ["p-db-1:database", "p-db-2:database"]);
        assert_eq!((spec.cgroup_parent.as_deref(), spec.memory_swap_bytes), (Some("app.slice"), Some(-1)));
        assert_eq!(spec.annotations["a"], "b");
    }

    #[test]
    fn a_service_that_says_nothing_joins_the_default_network_under_its_name() {
        let spec = made(&project(), &Service::default(), |_| {});
        assert_eq!(spec.networks.len(), 1);
        assert_eq!(
            (spec.networks[0].network.as_str(), &spec.networks[0].aliases),
            ("p_default", &vec!["api".to_owned()])
        );
        assert_eq!((spec.network_mode, spec.health, spec.logging), (None, None, None));
    }

    #[test]
    fn networks_have_the_service_as_an_alias_once() {
        let join = NetworkJoin {
            aliases: vec!["api".to_owned(), "gate".to_owned()],
            ipv4_address: Some("10.0.0.5".to_owned()),
            ipv6_address: None,
            ..NetworkJoin::default()
        };
        let service = Service { networks: [("front".to_owned(), join)].into(), ..Service::default() };
        let spec = made(&project(), &service, |_| {});
        assert_eq!(spec.networks[0].network, "p_front");
        assert_eq!(spec.networks[0].aliases, ["api", "gate"]);
        assert_eq!(spec.networks[0].ipv4_address.as_deref(), Some("10.0.0.5"));
    }

    #[test]
    fn the_short_form_of_a_bind_makes_its_folder_and_the_long_form_does_not() {
        let bind = |create_host_path| Mount {
            kind: MountKind::Bind,
            source: Some("/srv".to_owned()),
            target: "/in".to_owned(),
            bind: BindOptions { propagation: Some("rslave".to_owned()), create_host_path, ..BindOptions::default() },
            ..Mount::default()
        };
        let service = Service { volumes: vec![bind(true), bind(false)], ..Service::default() };
        let spec = made(&project(), &service, |_| {});
        let (source, propagation) = ("/srv".to_owned(), Some(BindPropagation::Rslave));
        assert_eq!(spec.mounts[0].kind, engine::MountKind::BindMade { source: source.clone(), propagation });
        assert_eq!(spec.mounts[1].kind, engine::MountKind::Bind { source, propagation });
    }

    #[test]
    fn volumes_have_their_names_on_the_engine_and_anonymous_ones_are_carried_over() {
        let mount = |source: Option<&str>, target: &str| Mount {
            source: source.map(str::to_owned),
            target: target.to_owned(),
            volume: VolumeOptions { nocopy: true, subpath: None, ..VolumeOptions::default() },
            ..Mount::default()
        };
        let mut manifest = project();
        manifest.volumes.insert("data".to_owned(), Volume { external: true, ..Volume::default() });
        let volumes = vec![mount(Some("data"), "/data"), mount(Some("own"), "/own"), mount(None, "/anonymous")];
        let service = Service { volumes, ..Service::default() };
        let spec = made(&manifest, &service, |container_inputs| {
            container_inputs.carried = [("/anonymous", "aaaa"), ("/of-image", "bbbb")]
                .map(|(path, volume)| (path.to_owned(), volume.to_owned()))
                .into();
        });
        let names: Vec<(&str, Option<&str>)> = spec
            .mounts
            .iter()
            .map(|mount| match &mount.kind {
                engine::MountKind::Volume { name, .. } => (mount.target.as_str(), name.as_deref()),
                other => panic!("{other:?}"),
            })
            .collect();
        let wanted = [
            ("/data", Some("data")),
            ("/own", Some("p_own")),
            ("/anonymous", Some("aaaa")),
            ("/of-image", Some("bbbb")),
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn a_health_check_that_is_off_silences_the_images() {
        let check = Healthcheck { disable: true, test: vec!["CMD".to_owned()], ..Healthcheck::default() };
        let service = Service { healthcheck: Some(check), ..Service::default() };
        assert_eq!(made(&project(), &service, |_| {}).health.unwrap().test, ["NONE"]);
    }

    #[test]
    fn a_namespace_of_a_service_is_that_of_its_container() {
        let service = Service {
            network_mode: Some(NamespaceMode::Service("vpn".to_owned())),
            pid: Some(NamespaceMode::Host),
            ipc: Some(NamespaceMode::Container("other".to_owned())),
            ..Service::default()
        };
        let spec = made(&project(), &service, |container_inputs| {
            container_inputs.providers.insert("vpn".to_owned(), "0123abcd".to_owned());
        });
        assert_eq!(spec.network_mode.as_deref(), Some("container:0123abcd"));
        assert_eq!((spec.pid_mode.as_deref(), spec.ipc_mode.as_deref()), (Some("host"), Some("container:other")));
        assert!(spec.networks.is_empty());
    }

    #[test]
    fn gpus_are_asked_for_as_the_engine_wants_them_and_only_required_ones_where_there_are_none() {
        let request = |required| Gpu { count: Some(GpuCount::All), required, ..Gpu::default() };
        let service = Service { gpus: vec![request(false), request(true)], ..Service::default() };
        let spec = made(&project(), &service, |_| {});
        assert_eq!((spec.gpus.len(), spec.gpus[0].count, spec.gpus[0].driver.as_str()), (2, Some(-1), ""));
        assert_eq!(spec.gpus[0].capabilities, ["gpu"]);
        assert_eq!(made(&project(), &service, |container_inputs| container_inputs.gpus_dropped = true).gpus.len(), 1);
    }

    #[test]
    fn networks_and_volumes_are_labelled_as_the_projects() {
        let manifest = project();
        for labels in [network(&manifest, "default").labels, volume(&manifest, "data").labels] {
            assert!(labels::are_of(&labels, "p"));
            assert_eq!(labels.get("com.docker.compose.project").map(String::as_str), Some("p"));
        }
        assert_eq!(network(&manifest, "default").name, "p_default");
    }
}
