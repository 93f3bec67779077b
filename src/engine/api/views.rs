//! Containers as lists and inspects show them, in our words.

use std::collections::BTreeMap;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummaryStateEnum, EndpointSettings, HealthStatusEnum,
    HostConfig, MountPoint, RestartPolicyNameEnum,
};

use super::images::HealthTimes;
use super::spec::{NetworkAttachment, PublishedPort, RestartPolicy};
use crate::report::{Message, Told};

/// A container's life, as `State.Status` has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContainerState {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl ContainerState {
    /// Whether its processes live and go on.
    pub fn is_running(self) -> bool {
        self == Self::Running
    }

    /// The engine's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

impl Told for ContainerState {
    fn message(&self) -> Message {
        match self {
            Self::Created => message!("state-created"),
            Self::Running => message!("state-running"),
            Self::Paused => message!("state-paused"),
            Self::Restarting => message!("state-restarting"),
            Self::Removing => message!("state-removing"),
            Self::Exited => message!("state-exited"),
            Self::Dead => message!("state-dead"),
        }
    }
}

/// What a container's health check says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HealthState {
    /// The container has no health check.
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthState {
    /// The engine's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One run of a health check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthEntry {
    /// RFC 3339, by the engine's clock.
    pub started_at: String,
    pub exit_code: i64,
    pub output: String,
}

/// A mount that a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountView {
    /// `bind`, `volume`, `tmpfs`.
    pub kind: String,
    /// The volume's name; for an anonymous volume 64 hex digits.
    pub name: Option<String>,
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

/// A container's environment as the engine has it: the image's and its own. What stands in it never shows in debug
/// output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvironmentView(pub BTreeMap<String, String>);

impl std::fmt::Debug for EnvironmentView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// What `POST /containers/{id}/update` can change behind our back, as the engine has it now; 0 and empty: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsView {
    pub memory_bytes: u64,
    pub memory_reservation_bytes: u64,
    /// Billionths of a CPU.
    pub nano_cpus: u64,
    pub cpuset: String,
    /// No limit where `None`.
    pub pids: Option<i64>,
    /// Memory and swap together; -1: no limit. Where none was asked for, the engine sets what it thinks best.
    pub memory_swap_bytes: i64,
    pub cpu_shares: i64,
    /// Microseconds of CPU time in each period; another way to say what `nano_cpus` says.
    pub cpu_quota: i64,
}

/// A container as a list shows it (`GET /containers/json`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSummary {
    pub id: String,
    pub name: String,
    /// The ID of the image that it was made from.
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
    pub mounts: Vec<MountView>,
    /// Ports of the host that it holds now.
    pub published: Vec<PublishedPort>,
    /// Network name → its address there; without one while it does not run.
    pub addresses: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub created: i64,
}

/// A container as the engine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerView {
    pub id: String,
    pub name: String,
    /// The ID of the image that it was made from, which may have lost its tag since.
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
    pub health: HealthState,
    /// Oldest first; the engine keeps the last five.
    pub health_log: Vec<HealthEntry>,
    pub exit_code: i64,
    pub oom_killed: bool,
    /// What the engine said when a start failed.
    pub error: String,
    /// RFC 3339, by the engine's clock; `0001-01-01T00:00:00Z` when it never ran.
    pub started_at: String,
    pub finished_at: String,
    pub restart_count: u64,
    pub mounts: Vec<MountView>,
    /// Network name → the container's address in it, empty while it does not run.
    pub networks: BTreeMap<String, String>,
    /// Network name → the ID of the network that it joined, which may be gone; empty where the engine says none.
    pub network_ids: BTreeMap<String, String>,
    /// Network name → the names under which others find it there, beside its own; older engines add its short ID.
    pub network_aliases: BTreeMap<String, Vec<String>>,
    /// Network name → how it joined the network: names, addresses that it asked for, links. Without a MAC address, since engines
    /// show the one in use, no matter who chose it.
    pub attachments: BTreeMap<String, NetworkAttachment>,
    /// Ports of the host that it holds now, in the order of their text.
    pub published: Vec<PublishedPort>,
    pub environment: EnvironmentView,
    pub restart: RestartPolicy,
    pub limits: LimitsView,
    /// `container:<id>` where it uses another one's network; likewise the two below.
    pub network_mode: String,
    pub pid_mode: String,
    pub ipc_mode: String,
    /// The health check that the engine runs in it, its image's or its own.
    pub healthcheck: Option<HealthTimes>,
    /// Paths that its image declares as volumes.
    pub declared_volumes: Vec<String>,
    /// Whether it has a terminal: its log is then one stream without frames.
    pub tty: bool,
    /// Whether the engine removes it when it ends.
    pub auto_remove: bool,
    /// Its file system as the engine's machine has it while it runs; `None` where the engine does not say.
    pub merged_dir: Option<String>,
    /// The logging driver's name, and its options.
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
}

pub(in crate::engine) fn summary(container: bollard::models::ContainerSummary) -> ContainerSummary {
    let published = container.ports.unwrap_or_default().into_iter().filter_map(|port| {
        Some(PublishedPort {
            container_port: port.private_port,
            protocol: port.typ.map(|kind| kind.to_string()).unwrap_or_default(),
            host_ip: port.ip,
            host_port: Some(port.public_port?),
            host_port_until: None,
        })
    });
    let state = match container.state {
        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING) => ContainerState::Running,
        Some(ContainerSummaryStateEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerSummaryStateEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerSummaryStateEnum::REMOVING) => ContainerState::Removing,
        Some(ContainerSummaryStateEnum::EXITED) => ContainerState::Exited,
        Some(ContainerSummaryStateEnum::DEAD) => ContainerState::Dead,
        _ => ContainerState::Created,
    };
    ContainerSummary {
        state,
        mounts: container.mounts.unwrap_or_default().into_iter().map(mount).collect(),
        id: container.id.unwrap_or_default(),
        image_id: container.image_id.unwrap_or_default(),
        published: published.collect(),
        addresses: container
            .network_settings
            .and_then(|settings| settings.networks)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, endpoint)| Some((name, endpoint.ip_address.filter(|address| !address.is_empty())?)))
            .collect(),
        labels: container.labels.unwrap_or_default().into_iter().collect(),
        created: container.created.unwrap_or_default(),
        // Legacy links add names with a second slash; the container's own has one.
        name: container
            .names
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| name.strip_prefix('/').filter(|name| !name.contains('/')).map(str::to_owned))
            .next()
            .unwrap_or_default(),
    }
}

fn mount(mount: MountPoint) -> MountView {
    MountView {
        kind: mount.typ.map(|kind| kind.to_string()).unwrap_or_default(),
        name: mount.name.filter(|name| !name.is_empty()),
        source: mount.source.unwrap_or_default(),
        target: mount.destination.unwrap_or_default(),
        read_only: mount.rw == Some(false),
    }
}

fn limits(host: &HostConfig) -> LimitsView {
    let positive = |value: Option<i64>| value.unwrap_or_default().max(0) as u64;
    LimitsView {
        memory_bytes: positive(host.memory),
        memory_reservation_bytes: positive(host.memory_reservation),
        nano_cpus: positive(host.nano_cpus),
        cpuset: host.cpuset_cpus.clone().unwrap_or_default(),
        pids: host.pids_limit.filter(|limit| *limit > 0),
        memory_swap_bytes: host.memory_swap.unwrap_or_default(),
        cpu_shares: host.cpu_shares.unwrap_or_default(),
        cpu_quota: host.cpu_quota.unwrap_or_default(),
    }
}

fn restart_policy(host: &HostConfig) -> RestartPolicy {
    let Some(policy) = &host.restart_policy else {
        return RestartPolicy::No;
    };
    match policy.name {
        Some(RestartPolicyNameEnum::ALWAYS) => RestartPolicy::Always,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => RestartPolicy::UnlessStopped,
        Some(RestartPolicyNameEnum::ON_FAILURE) => {
            let attempts = policy.maximum_retry_count.filter(|attempts| *attempts > 0);
            RestartPolicy::OnFailure(attempts.and_then(|attempts| u32::try_from(attempts).ok()))
        }
        _ => RestartPolicy::No,
    }
}

fn environment(pairs: Vec<String>) -> EnvironmentView {
    let split = |pair: String| match pair.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (pair, String::new()),
    };
    EnvironmentView(pairs.into_iter().map(split).collect())
}

fn attachment(network: &str, endpoint: &EndpointSettings) -> NetworkAttachment {
    let asked = endpoint.ipam_config.clone().unwrap_or_default();
    NetworkAttachment {
        network: network.to_owned(),
        aliases: endpoint.aliases.clone().unwrap_or_default(),
        ipv4_address: asked.ipv4_address.filter(|address| !address.is_empty()),
        ipv6_address: asked.ipv6_address.filter(|address| !address.is_empty()),
        link_local_ips: asked.link_local_ips.unwrap_or_default(),
        mac_address: None,
        links: endpoint.links.clone().unwrap_or_default(),
    }
}

pub(in crate::engine) fn view(answer: ContainerInspectResponse) -> ContainerView {
    let state = answer.state.unwrap_or_default();
    let health = state.health.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let log = host.log_config.clone().unwrap_or_default();
    let network_settings = answer.network_settings.unwrap_or_default();
    let mut published: Vec<PublishedPort> = network_settings
        .ports
        .unwrap_or_default()
        .into_iter()
        .flat_map(|(inner, bindings)| {
            let (container_port, protocol) = inner.split_once('/').unwrap_or((&inner, "tcp"));
            let (container_port, protocol) = (container_port.parse().unwrap_or_default(), protocol.to_owned());
            bindings.unwrap_or_default().into_iter().map(move |binding| PublishedPort {
                container_port,
                protocol: protocol.clone(),
                host_ip: binding.host_ip,
                host_port: binding.host_port.and_then(|port| port.parse().ok()),
                host_port_until: None,
            })
        })
        .collect();
    published.sort_by_key(ToString::to_string);
    let endpoints = network_settings.networks.unwrap_or_default();
    ContainerView {
        merged_dir: answer.graph_driver.and_then(|driver| driver.data.get("MergedDir").cloned()),
        id: answer.id.unwrap_or_default(),
        name: answer.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image_id: answer.image.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        state: match state.status {
            Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
            Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
            Some(ContainerStateStatusEnum::REMOVING) => ContainerState::Removing,
            Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
            Some(ContainerStateStatusEnum::DEAD) => ContainerState::Dead,
            _ => ContainerState::Created,
        },
        health: match health.status {
            Some(HealthStatusEnum::STARTING) => HealthState::Starting,
            Some(HealthStatusEnum::HEALTHY) => HealthState::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => HealthState::Unhealthy,
            _ => HealthState::None,
        },
        health_log: health
            .log
            .unwrap_or_default()
            .into_iter()
            .map(|entry| HealthEntry {
                started_at: entry.start.map(|time| time.to_string()).unwrap_or_default(),
                exit_code: entry.exit_code.unwrap_or_default(),
                output: entry.output.unwrap_or_default(),
            })
            .collect(),
        exit_code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        finished_at: state.finished_at.unwrap_or_default(),
        restart_count: answer.restart_count.unwrap_or_default().max(0) as u64,
        mounts: answer.mounts.unwrap_or_default().into_iter().map(mount).collect(),
        network_ids: endpoints
            .iter()
            .filter_map(|(name, endpoint)| Some((name.clone(), endpoint.network_id.clone()?)))
            .collect(),
        network_aliases: endpoints
            .iter()
            .map(|(name, endpoint)| (name.clone(), endpoint.aliases.clone().unwrap_or_default()))
            .collect(),
        attachments: endpoints.iter().map(|(name, endpoint)| (name.clone(), attachment(name, endpoint))).collect(),
        networks: endpoints
            .into_iter()
            .map(|(name, endpoint)| (name, endpoint.ip_address.unwrap_or_default()))
            .collect(),
        published,
        auto_remove: host.auto_remove.unwrap_or_default(),
        restart: restart_policy(&host),
        limits: limits(&host),
        network_mode: host.network_mode.unwrap_or_default(),
        pid_mode: host.pid_mode.unwrap_or_default(),
        ipc_mode: host.ipc_mode.unwrap_or_default(),
        healthcheck: config.healthcheck.as_ref().and_then(super::images::health_times),
        declared_volumes: config.volumes.unwrap_or_default(),
        tty: config.tty.unwrap_or_default(),
        log_driver: log.typ.unwrap_or_default(),
        log_options: log.config.unwrap_or_default().into_iter().collect(),
        environment: environment(config.env.unwrap_or_default()),
    }
}
