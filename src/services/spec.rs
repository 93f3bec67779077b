//! A service of the manifest as the engine takes it, in Compose's meaning of each field.
//!
//! Pure: what only the engine or the host knows (image IDs, namespaces of other containers, secrets, volumes that are
//! carried over) is handed in.

use std::collections::BTreeMap;

use super::fingerprint::{self, Fingerprint};
use super::labels::{self, ContainerLabels};
use crate::engine::{
    self, BindPropagation, ContainerSpec, GpuRequest, HealthSpec, LogSpec, MountSpec, NetworkAttachment, NetworkSpec,
    PublishedPort, VolumeSpec,
};
use crate::manifest::Manifest;
use crate::manifest::model::{GpuCount, Healthcheck, Mount, MountKind, NamespaceMode, RestartPolicy, Service};

/// All that a container is made of beside its service.
#[derive(Debug, Clone)]
pub struct Making<'a> {
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
    pub gpus_dropped: bool,
    /// Service → ID of the container whose namespaces are shared.
    pub providers: BTreeMap<String, String>,
}

/// The container to create.
pub fn container(making: &Making) -> ContainerSpec {
    let service = making.service;
    let strings = |list: &[String]| list.to_vec();
    ContainerSpec {
        name: making.name.clone(),
        image: making.image_id.clone(),
        platform: service.platform.clone(),
        hostname: service.hostname.clone(),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        entrypoint: service.entrypoint.as_ref().map(|words| words.0.clone()),
        command: service.command.as_ref().map(|words| words.0.clone()),
        environment: making.environment.clone(),
        labels: container_labels(making),
        tty: service.tty,
        stdin_open: service.stdin_open,
        stdin_once: false,
        auto_remove: false,
        stop_signal: service.stop_signal.clone(),
        stop_grace_period: service.stop_grace_period.map(|period| period.0),
        health: service.healthcheck.as_ref().map(health),
        expose: service.expose.iter().map(ToString::to_string).collect(),
        ports: ports(service),
        mounts: mounts(making),
        tmpfs: service.tmpfs.iter().map(|tmpfs| (tmpfs.target.clone(), tmpfs.options.clone())).collect(),
        network_mode: service.network_mode.as_ref().map(|mode| namespace(mode, &making.providers)),
        networks: networks(making.manifest, making.service_name, service),
        restart: restart(service.restart),
        gpus: if making.gpus_dropped { required_gpus(service) } else { service.gpus.iter().map(gpu).collect() },
        devices: service
            .devices
            .iter()
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
        pid_mode: service.pid.as_ref().map(|mode| namespace(mode, &making.providers)),
        ipc_mode: service.ipc.as_ref().map(|mode| namespace(mode, &making.providers)),
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

fn container_labels(making: &Making) -> BTreeMap<String, String> {
    let own = making.service.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    ContainerLabels {
        project: &making.manifest.project,
        service: making.service_name,
        number: making.number,
        fingerprint: making.fingerprint.label(),
        restart: making.service.restart,
        gpus_dropped: making.gpus_dropped,
    }
    .over(own)
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

fn ports(service: &Service) -> Vec<PublishedPort> {
    let port = |port: &crate::manifest::model::Port| PublishedPort {
        container_port: port.target,
        protocol: port.protocol.word().to_owned(),
        host_ip: port.host_ip.clone(),
        host_port: port.published,
    };
    service.ports.iter().map(port).collect()
}

fn mounts(making: &Making) -> Vec<MountSpec> {
    let mut carried = making.carried.clone();
    let mut mounts: Vec<MountSpec> = making
        .service
        .volumes
        .iter()
        .map(|mount| MountSpec {
            kind: mount_kind(making.manifest, mount, carried.remove(&mount.target)),
            target: mount.target.clone(),
            read_only: mount.read_only,
        })
        .collect();
    // What is left belongs to volumes that only the image declares.
    mounts.extend(carried.into_iter().map(|(target, volume)| MountSpec {
        kind: engine::MountKind::Volume { name: Some(volume), no_copy: false, subpath: None },
        target,
        read_only: false,
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

fn networks(manifest: &Manifest, name: &str, service: &Service) -> Vec<NetworkAttachment> {
    let attach = |key: &str| {
        let join = service.networks.get(key).cloned().unwrap_or_default();
        let mut aliases = vec![name.to_owned()];
        aliases.extend(join.aliases.into_iter().filter(|alias| alias != name));
        NetworkAttachment {
            network: manifest.network_name(key),
            aliases,
            ipv4_address: join.ipv4_address,
            ipv6_address: join.ipv6_address,
            link_local_ips: Vec::new(),
        }
    };
    service.network_keys().into_iter().map(attach).collect()
}

pub(super) fn restart(policy: RestartPolicy) -> engine::RestartPolicy {
    match policy {
        RestartPolicy::No => engine::RestartPolicy::No,
        RestartPolicy::Always => engine::RestartPolicy::Always,
        RestartPolicy::UnlessStopped => engine::RestartPolicy::UnlessStopped,
        RestartPolicy::OnFailure(attempts) => engine::RestartPolicy::OnFailure(attempts),
    }
}

/// The engine's policy in the manifest's words.
pub(super) fn policy(policy: engine::RestartPolicy) -> RestartPolicy {
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

/// The GPUs that a service can't do without.
pub(super) fn required_gpus(service: &Service) -> Vec<GpuRequest> {
    service.gpus.iter().filter(|request| request.required).map(gpu).collect()
}

/// All that it asks for.
pub(super) fn wanted_gpus(service: &Service) -> Vec<GpuRequest> {
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
