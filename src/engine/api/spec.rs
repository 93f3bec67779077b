//! What a container is made of, in our words, and its translation for `POST /containers/create`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy as ApiRestartPolicy,
    RestartPolicyNameEnum,
};

use super::networks::map;

/// A container to create. `None` and empty mean: as the image, or the engine, has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerSpec {
    pub name: String,
    /// The image's ID: a tag may move between plan and start.
    pub image: String,
    pub platform: Option<String>,
    pub hostname: Option<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub tty: bool,
    pub stdin_open: bool,
    /// Whether the end of the first attached standard input ends the container's.
    pub stdin_once: bool,
    /// Whether the engine removes the container when it ends.
    pub auto_remove: bool,
    pub stop_signal: Option<String>,
    pub stop_grace_period: Option<Duration>,
    pub health: Option<HealthSpec>,
    /// `8080/tcp`, not published.
    pub expose: Vec<String>,
    pub ports: Vec<PublishedPort>,
    pub mounts: Vec<MountSpec>,
    /// Path → mount options, as `--tmpfs` takes them.
    pub tmpfs: BTreeMap<String, String>,
    /// `host`, `none`, `container:<id>`; `None` for the networks below.
    pub network_mode: Option<String>,
    pub networks: Vec<NetworkAttachment>,
    pub restart: RestartPolicy,
    pub gpus: Vec<GpuRequest>,
    pub devices: Vec<Device>,
    pub runtime: Option<String>,
    pub shm_size_bytes: Option<u64>,
    pub ulimits: Vec<Ulimit>,
    pub memory_bytes: Option<u64>,
    pub memory_reservation_bytes: Option<u64>,
    /// Memory and swap together; -1 for no limit.
    pub memory_swap_bytes: Option<i64>,
    pub oom_score_adj: Option<i64>,
    pub cpu_shares: Option<i64>,
    pub cgroup_parent: Option<String>,
    pub device_cgroup_rules: Vec<String>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    pub cpuset: Option<String>,
    pub pids_limit: Option<i64>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub security_opt: Vec<String>,
    pub group_add: Vec<String>,
    pub read_only: bool,
    pub init: Option<bool>,
    pub sysctls: BTreeMap<String, String>,
    pub pid_mode: Option<String>,
    pub ipc_mode: Option<String>,
    pub userns_mode: Option<String>,
    pub uts_mode: Option<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// Ignored by engines before API 1.43.
    pub annotations: BTreeMap<String, String>,
    pub logging: Option<LogSpec>,
}

/// A health check that replaces the image's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthSpec {
    /// `["CMD", …]`, `["CMD-SHELL", …]` or `["NONE"]`; empty: the image's command.
    pub test: Vec<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
    pub start_period: Option<Duration>,
    /// Ignored by engines before API 1.44.
    pub start_interval: Option<Duration>,
}

/// A container's port on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// All addresses where `None`.
    pub host_ip: Option<String>,
    /// One that the engine picks where `None`.
    pub host_port: Option<u16>,
    /// The last one of a range, of which the engine takes the first that is free.
    pub host_port_until: Option<u16>,
}

/// As `docker ps` shows it: `127.0.0.1:8080->80/tcp`, `[::]:80->80/tcp`.
impl std::fmt::Display for PublishedPort {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ip = self.host_ip.as_deref().unwrap_or_default();
        let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        let port = self.host_port.map(|port| port.to_string()).unwrap_or_default();
        write!(formatter, "{ip}:{port}->{}/{}", self.container_port, self.protocol)
    }
}

/// A mount of any kind.
#[derive(Debug, Clone, PartialEq)]
pub struct MountSpec {
    pub kind: MountKind,
    /// Absolute path inside the container.
    pub target: String,
    pub read_only: bool,
    /// `z` or `Z`: how SELinux labels it.
    pub selinux: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MountKind {
    /// A folder or file of the engine's host.
    Bind {
        source: String,
        propagation: Option<BindPropagation>,
    },
    /// A folder of the engine's host that the engine makes, as root's, when it is missing.
    BindMade {
        source: String,
        propagation: Option<BindPropagation>,
    },
    /// A volume; anonymous where the name is `None`.
    Volume {
        name: Option<String>,
        no_copy: bool,
        subpath: Option<String>,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        mode: Option<u32>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindPropagation {
    Private,
    Rprivate,
    Shared,
    Rshared,
    Slave,
    Rslave,
}

/// A network that the container joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkAttachment {
    pub network: String,
    pub aliases: Vec<String>,
    pub ipv4_address: Option<String>,
    pub ipv6_address: Option<String>,
    pub link_local_ips: Vec<String>,
    /// Ignored by engines before API 1.44.
    pub mac_address: Option<String>,
    /// `container:alias`: other names for containers, for this one alone.
    pub links: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// With a limit of attempts, or none.
    OnFailure(Option<u32>),
}

/// A request for GPUs (`HostConfig.DeviceRequests`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuRequest {
    /// Empty: whichever driver has the capabilities.
    pub driver: String,
    /// −1 for all.
    pub count: Option<i64>,
    pub device_ids: Vec<String>,
    pub capabilities: Vec<String>,
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub host_path: String,
    pub container_path: String,
    /// Some of `rwm`.
    pub permissions: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSpec {
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// The request body. Only the first network goes into it, since engines before API 1.44 refuse more; the others
    /// are joined between create and start.
    pub(in crate::engine) fn body(&self) -> ContainerCreateBody {
        let mut exposed: Vec<String> = self.expose.clone();
        exposed.extend(self.ports.iter().map(PublishedPort::key));
        exposed.sort();
        exposed.dedup();
        let endpoints = self.networks.first().map(|first| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(first.network.clone(), first.endpoint())])),
        });
        ContainerCreateBody {
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            tty: Some(self.tty),
            open_stdin: Some(self.stdin_open),
            stdin_once: Some(self.stdin_once),
            exposed_ports: (!exposed.is_empty()).then_some(exposed),
            env: Some(self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            healthcheck: self.health.as_ref().map(HealthSpec::config),
            image: Some(self.image.clone()),
            working_dir: self.working_dir.clone(),
            labels: Some(map(&self.labels)),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_grace_period.map(|period| period.as_secs_f64().ceil() as i64),
            host_config: Some(self.host_config()),
            networking_config: endpoints,
            ..Default::default()
        }
    }

    fn host_config(&self) -> HostConfig {
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for port in &self.ports {
            bindings.entry(port.key()).or_default().get_or_insert_default().push(PortBinding {
                host_ip: port.host_ip.clone(),
                host_port: port.host_port.map(|first| match port.host_port_until {
                    Some(last) => format!("{first}-{last}"),
                    None => first.to_string(),
                }),
            });
        }
        let network_mode =
            self.network_mode.clone().or_else(|| self.networks.first().map(|first| first.network.clone()));
        HostConfig {
            memory: self.memory_bytes.map(|bytes| bytes as i64),
            memory_reservation: self.memory_reservation_bytes.map(|bytes| bytes as i64),
            memory_swap: self.memory_swap_bytes,
            oom_score_adj: self.oom_score_adj,
            cpu_shares: self.cpu_shares,
            cgroup_parent: self.cgroup_parent.clone(),
            device_cgroup_rules: some(self.device_cgroup_rules.clone()),
            nano_cpus: self.nano_cpus.map(|cpus| cpus as i64),
            cpuset_cpus: self.cpuset.clone(),
            pids_limit: self.pids_limit,
            auto_remove: Some(self.auto_remove),
            devices: some(self.devices.iter().map(Device::mapping).collect()),
            device_requests: some(self.gpus.iter().map(GpuRequest::request).collect()),
            init: self.init,
            ulimits: some(
                self.ulimits
                    .iter()
                    .map(|limit| ResourcesUlimits {
                        name: Some(limit.name.clone()),
                        soft: Some(limit.soft),
                        hard: Some(limit.hard),
                    })
                    .collect(),
            ),
            log_config: self.logging.as_ref().map(|logging| HostConfigLogConfig {
                typ: Some(logging.driver.clone()),
                config: Some(map(&logging.options)),
            }),
            network_mode,
            port_bindings: (!bindings.is_empty()).then_some(bindings),
            restart_policy: Some(self.restart.policy()),
            binds: some(self.mounts.iter().filter_map(MountSpec::bind).collect()),
            mounts: some(self.mounts.iter().filter(|mount| mount.bind().is_none()).map(MountSpec::mount).collect()),
            cap_add: some(self.cap_add.clone()),
            cap_drop: some(self.cap_drop.clone()),
            dns: some(self.dns.clone()),
            dns_search: some(self.dns_search.clone()),
            dns_options: some(self.dns_options.clone()),
            annotations: (!self.annotations.is_empty()).then(|| map(&self.annotations)),
            extra_hosts: some(self.extra_hosts.clone()),
            group_add: some(self.group_add.clone()),
            ipc_mode: self.ipc_mode.clone(),
            userns_mode: self.userns_mode.clone(),
            uts_mode: self.uts_mode.clone(),
            pid_mode: self.pid_mode.clone(),
            privileged: Some(self.privileged),
            readonly_rootfs: Some(self.read_only),
            security_opt: some(self.security_opt.clone()),
            tmpfs: (!self.tmpfs.is_empty()).then(|| map(&self.tmpfs)),
            shm_size: self.shm_size_bytes.map(|bytes| bytes as i64),
            sysctls: (!self.sysctls.is_empty()).then(|| map(&self.sysctls)),
            runtime: self.runtime.clone(),
            ..Default::default()
        }
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

impl HealthSpec {
    fn config(&self) -> HealthConfig {
        let nanoseconds = |duration: Option<Duration>| duration.map(|duration| duration.as_nanos() as i64);
        HealthConfig {
            test: some(self.test.clone()),
            interval: nanoseconds(self.interval),
            timeout: nanoseconds(self.timeout),
            retries: self.retries.map(i64::from),
            start_period: nanoseconds(self.start_period),
            start_interval: nanoseconds(self.start_interval),
        }
    }
}

impl PublishedPort {
    fn key(&self) -> String {
        format!("{}/{}", self.container_port, self.protocol)
    }
}

impl MountSpec {
    /// The old notation `source:target[:options]`, with which engines of every age make a missing folder; the mounts
    /// of `mount` can since API 1.42. A path with a colon can't be written in it.
    fn bind(&self) -> Option<String> {
        let mut options = vec![if self.read_only { "ro" } else { "rw" }.to_owned()];
        let source = match &self.kind {
            MountKind::BindMade { source, propagation } => {
                options.extend(propagation.map(|propagation| propagation.api().as_ref().to_owned()));
                source
            }
            // Only the old notation can ask for SELinux's label.
            MountKind::Bind { source, propagation } if self.selinux.is_some() => {
                options.extend(propagation.map(|propagation| propagation.api().as_ref().to_owned()));
                source
            }
            MountKind::Volume { name: Some(name), no_copy, subpath: None } if self.selinux.is_some() => {
                options.extend(no_copy.then(|| "nocopy".to_owned()));
                name
            }
            _ => return None,
        };
        if source.contains(':') || self.target.contains(':') {
            return None;
        }
        options.extend(self.selinux.clone());
        Some(format!("{source}:{}:{}", self.target, options.join(",")))
    }

    fn mount(&self) -> Mount {
        let mut mount =
            Mount { target: Some(self.target.clone()), read_only: Some(self.read_only), ..Default::default() };
        match &self.kind {
            MountKind::Bind { source, propagation } => {
                mount.typ = Some(MountType::BIND);
                mount.source = Some(source.clone());
                mount.bind_options = propagation
                    .map(|propagation| MountBindOptions { propagation: Some(propagation.api()), ..Default::default() });
            }
            MountKind::BindMade { source, propagation } => {
                mount.typ = Some(MountType::BIND);
                mount.source = Some(source.clone());
                mount.bind_options = Some(MountBindOptions {
                    propagation: propagation.map(BindPropagation::api),
                    create_mountpoint: Some(true),
                    ..Default::default()
                });
            }
            MountKind::Volume { name, no_copy, subpath } => {
                mount.typ = Some(MountType::VOLUME);
                mount.source = name.clone();
                mount.volume_options = (*no_copy || subpath.is_some()).then(|| MountVolumeOptions {
                    no_copy: Some(*no_copy),
                    subpath: subpath.clone(),
                    ..Default::default()
                });
            }
            MountKind::Tmpfs { size_bytes, mode } => {
                mount.typ = Some(MountType::TMPFS);
                mount.tmpfs_options = Some(MountTmpfsOptions {
                    size_bytes: size_bytes.map(|bytes| bytes as i64),
                    mode: mode.map(i64::from),
                    options: None,
                });
            }
        }
        mount
    }
}

impl BindPropagation {
    fn api(self) -> MountBindOptionsPropagationEnum {
        match self {
            Self::Private => MountBindOptionsPropagationEnum::PRIVATE,
            Self::Rprivate => MountBindOptionsPropagationEnum::RPRIVATE,
            Self::Shared => MountBindOptionsPropagationEnum::SHARED,
            Self::Rshared => MountBindOptionsPropagationEnum::RSHARED,
            Self::Slave => MountBindOptionsPropagationEnum::SLAVE,
            Self::Rslave => MountBindOptionsPropagationEnum::RSLAVE,
        }
    }
}

impl NetworkAttachment {
    pub(in crate::engine) fn endpoint(&self) -> EndpointSettings {
        let fixed = self.ipv4_address.is_some() || self.ipv6_address.is_some() || !self.link_local_ips.is_empty();
        EndpointSettings {
            aliases: some(self.aliases.clone()),
            links: some(self.links.clone()),
            mac_address: self.mac_address.clone(),
            ipam_config: fixed.then(|| EndpointIpamConfig {
                ipv4_address: self.ipv4_address.clone(),
                ipv6_address: self.ipv6_address.clone(),
                link_local_ips: some(self.link_local_ips.clone()),
            }),
            ..Default::default()
        }
    }
}

impl RestartPolicy {
    pub(in crate::engine) fn policy(self) -> ApiRestartPolicy {
        let (name, attempts) = match self {
            Self::No => (RestartPolicyNameEnum::NO, None),
            Self::Always => (RestartPolicyNameEnum::ALWAYS, None),
            Self::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
            Self::OnFailure(attempts) => (RestartPolicyNameEnum::ON_FAILURE, attempts.map(i64::from)),
        };
        ApiRestartPolicy { name: Some(name), maximum_retry_count: attempts }
    }
}

impl GpuRequest {
    fn request(&self) -> DeviceRequest {
        DeviceRequest {
            driver: Some(self.driver.clone()),
            count: self.count,
            device_ids: some(self.device_ids.clone()),
            capabilities: (!self.capabilities.is_empty()).then(|| vec![self.capabilities.clone()]),
            options: Some(map(&self.options)),
        }
    }
}

impl Device {
    fn mapping(&self) -> DeviceMapping {
        DeviceMapping {
            path_on_host: Some(self.host_path.clone()),
            path_in_container: Some(self.container_path.clone()),
            cgroup_permissions: Some(self.permissions.clone()),
        }
    }
}
