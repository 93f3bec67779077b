//! A service: one container image and how it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::devices::{Device, Gpu, Ulimit};
use super::health::{Healthcheck, Ready};
use super::network::{ExposedPort, ExtraHosts, Link, NamespaceMode, NetworkJoin, Port};
use super::storage::{Mount, Tmpfs};
use super::{ByteSize, Cpus, InvalidValue, Period, Reference, SwapLimit, is_default, text_value};

/// A service. Fields have the Compose specification's names and meanings; `groups`, `gpus[].required`, `ready` and
/// secret sources in `environment` are dpl's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Service {
    /// The image: `name:tag`; without a tag, `latest`. Neither a digest nor an ID: no engine knows those after a load.
    pub image: Reference,
    /// The container's name; `<project>-<service>-<replica>` where absent. Not with `scale`.
    #[serde(skip_serializing_if = "is_default")]
    pub container_name: Option<String>,
    /// The host name inside the container.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: Option<String>,
    /// Names under which several services are chosen at once: `@metis`.
    #[serde(skip_serializing_if = "is_default")]
    pub groups: Vec<String>,
    /// The service runs only when one of these is asked for, or when it is named itself.
    #[serde(skip_serializing_if = "is_default")]
    pub profiles: Vec<String>,
    /// Overrides the image's command: a list, or a string that is split as a shell splits words.
    #[serde(skip_serializing_if = "is_default")]
    pub command: Option<Command>,
    /// Overrides the image's entry point: a list, or a string that is split as a shell splits words.
    #[serde(skip_serializing_if = "is_default")]
    pub entrypoint: Option<Command>,
    /// Environment of the container. A value is a scalar, or a secret source that is read when the container is made.
    #[serde(skip_serializing_if = "is_default")]
    pub environment: IndexMap<String, EnvValue>,
    /// Files of `NAME=value` lines that lie under `environment`.
    #[serde(skip_serializing_if = "is_default")]
    pub env_file: Vec<EnvFile>,
    /// Variables of the manifest's own `env_file`s, for `${…}` in the service's.
    #[serde(skip)]
    pub variables: Arc<BTreeMap<String, String>>,
    /// What its `env_file`s set at an earlier time: it counts, and the files are not read.
    #[serde(skip)]
    pub past_env: Option<Arc<BTreeMap<String, String>>>,
    /// Ports of the container that the host publishes: `[ip:][host:]container[/protocol]` or the long form.
    #[serde(skip_serializing_if = "is_default")]
    pub ports: Vec<Port>,
    /// Ports that other containers may reach, not published.
    #[serde(skip_serializing_if = "is_default")]
    pub expose: Vec<ExposedPort>,
    /// Mounts: `source:target[:options]` or the long form with `type` bind, volume or tmpfs.
    #[serde(skip_serializing_if = "is_default")]
    pub volumes: Vec<Mount>,
    /// Folders in memory: `path[:options]`.
    #[serde(skip_serializing_if = "is_default")]
    pub tmpfs: Vec<Tmpfs>,
    /// Networks to join, with aliases and fixed addresses; the project's default network where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub networks: IndexMap<String, NetworkJoin>,
    /// `host`, `none`, `bridge`, `service:NAME` or `container:NAME` instead of networks.
    /// A container of this manifest is read as its service.
    #[serde(skip_serializing_if = "is_default")]
    pub network_mode: Option<NamespaceMode>,
    /// Services that must be there before this one starts.
    #[serde(skip_serializing_if = "is_default")]
    pub depends_on: IndexMap<String, Dependency>,
    /// How the engine checks that the container is well; overrides the image's own check.
    #[serde(skip_serializing_if = "is_default")]
    pub healthcheck: Option<Healthcheck>,
    /// How the service proves that it is up where there is no health check.
    #[serde(skip_serializing_if = "is_default")]
    pub ready: Option<Ready>,
    /// What the engine does when the container ends.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: RestartPolicy,
    /// GPUs: `"all"`, a number, or requests in the long form.
    #[serde(skip_serializing_if = "is_default")]
    pub gpus: Vec<Gpu>,
    /// Devices of the host: `host[:container[:permissions]]`.
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<Device>,
    /// Rules of the device cgroup: `c 42:* rmw`.
    #[serde(skip_serializing_if = "is_default")]
    pub device_cgroup_rules: Vec<String>,
    /// The engine's runtime, `runc` by its default.
    #[serde(skip_serializing_if = "is_default")]
    pub runtime: Option<String>,
    /// Size of /dev/shm.
    #[serde(skip_serializing_if = "is_default")]
    pub shm_size: Option<ByteSize>,
    /// Limits of the process: a number for both, or `soft` and `hard`.
    #[serde(skip_serializing_if = "is_default")]
    pub ulimits: IndexMap<String, Ulimit>,
    /// The most memory that the container may use.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_limit: Option<ByteSize>,
    /// Memory that is kept for it when memory is short.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_reservation: Option<ByteSize>,
    /// The most memory and swap together that the container may use; -1 for no limit. Twice `mem_limit` by the engine's default.
    #[serde(skip_serializing_if = "is_default")]
    pub memswap_limit: Option<SwapLimit>,
    /// How readily the kernel ends it when memory is short: -1000 (never) to 1000.
    #[serde(skip_serializing_if = "is_default")]
    pub oom_score_adj: Option<i64>,
    /// The most CPUs that it may use, in fractions: `1.5`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<Cpus>,
    /// The CPUs that it may run on: `0-3`, `0,2`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset: Option<String>,
    /// Its weight beside others when CPUs are short; 1024 by the engine's default.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_shares: Option<i64>,
    /// The cgroup that its own lies in.
    #[serde(skip_serializing_if = "is_default")]
    pub cgroup_parent: Option<String>,
    /// The most processes; -1 for no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub pids_limit: Option<i64>,
    /// Kernel capabilities to add.
    #[serde(skip_serializing_if = "is_default")]
    pub cap_add: Vec<String>,
    /// Kernel capabilities to drop.
    #[serde(skip_serializing_if = "is_default")]
    pub cap_drop: Vec<String>,
    /// All rights of the host.
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// Security options of the engine: `no-new-privileges:true`.
    #[serde(skip_serializing_if = "is_default")]
    pub security_opt: Vec<String>,
    /// The user, and group, that the command runs as.
    #[serde(skip_serializing_if = "is_default")]
    pub user: Option<String>,
    /// Groups that the user joins as well.
    #[serde(skip_serializing_if = "is_default")]
    pub group_add: Vec<String>,
    /// The folder that the command starts in.
    #[serde(skip_serializing_if = "is_default")]
    pub working_dir: Option<String>,
    /// The container can't write to its own file system.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Whether a small init reaps processes; the engine's default where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub init: Option<bool>,
    /// Keeps standard input open.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin_open: bool,
    /// Gives the container a terminal.
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    /// The signal that asks it to end: `SIGTERM`.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_signal: Option<String>,
    /// How long it may take to end before it is killed; 10 s by the engine's default.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_grace_period: Option<Period>,
    /// Kernel parameters of the container.
    #[serde(skip_serializing_if = "is_default")]
    pub sysctls: IndexMap<String, String>,
    /// The process namespace: `host`, `service:NAME`, `container:NAME`.
    #[serde(skip_serializing_if = "is_default")]
    pub pid: Option<NamespaceMode>,
    /// The IPC namespace: `host`, `private`, `shareable`, `none`, `service:NAME`, `container:NAME`.
    #[serde(skip_serializing_if = "is_default")]
    pub ipc: Option<NamespaceMode>,
    /// `host`: the host's own user namespace, where the engine remaps users.
    #[serde(skip_serializing_if = "is_default")]
    pub userns_mode: Option<String>,
    /// `host`: the host's own name.
    #[serde(skip_serializing_if = "is_default")]
    pub uts: Option<String>,
    /// Lines for /etc/hosts: name and addresses (`host-gateway` for the host's own).
    #[serde(skip_serializing_if = "is_default")]
    pub extra_hosts: ExtraHosts,
    /// Name servers.
    #[serde(skip_serializing_if = "is_default")]
    pub dns: Vec<String>,
    /// Domains in which names are looked up.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_search: Vec<String>,
    /// Options of the name resolver: `ndots:2`.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_opt: Vec<String>,
    /// Its MAC address; engines from 25 on.
    #[serde(skip_serializing_if = "is_default")]
    pub mac_address: Option<String>,
    /// Services that are started before it, under other names in its own networks: `SERVICE[:ALIAS]`.
    #[serde(skip_serializing_if = "is_default")]
    pub links: Vec<Link>,
    /// Labels of the container.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: IndexMap<String, String>,
    /// Annotations for the runtime; engines from 24 on.
    #[serde(skip_serializing_if = "is_default")]
    pub annotations: IndexMap<String, String>,
    /// Where its output goes.
    #[serde(skip_serializing_if = "is_default")]
    pub logging: Option<Logging>,
    /// `os/architecture[/variant]` of the image.
    #[serde(skip_serializing_if = "is_default")]
    pub platform: Option<String>,
    /// How many containers run of it; 1 where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub scale: Option<u32>,
}

/// A command as a list of words. An empty `entrypoint` clears the image's own; an empty `command` has no effect, and is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Command(pub Vec<String>);

/// A value of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value itself.
    Plain(String),
    /// Where the value is read from when the container is made.
    Secret(SecretSource),
}

/// Where a secret is kept; it is read only when it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// A file that holds it; one newline at its end does not count.
    File(PathBuf),
    /// A variable of dpl's own environment.
    Env(String),
}

/// A file of `NAME=value` lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EnvFile {
    /// The file.
    pub path: PathBuf,
    /// Whether its absence is an error.
    pub required: bool,
    /// How it is read.
    #[serde(skip_serializing_if = "is_default")]
    pub format: EnvFormat,
}

/// How a file of variables is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvFormat {
    /// Quotes, `${NAME}` and comments have a meaning.
    #[default]
    Dotenv,
    /// Values are taken as they are.
    Raw,
}

/// What a dependency must have reached before the service starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its container runs.
    #[default]
    ServiceStarted,
    /// It is healthy, or ready.
    ServiceHealthy,
    /// It has ended with exit code 0.
    ServiceCompletedSuccessfully,
}

/// A service that this one needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Dependency {
    /// What must be reached.
    pub condition: Condition,
    /// Whether this service is restarted when that one is.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: bool,
    /// Whether its failure stops this one from starting.
    pub required: bool,
}

/// What the engine does when a container ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again, after a restart of the engine too.
    Always,
    /// The same, unless it was stopped on purpose.
    UnlessStopped,
    /// It is started again after a failure, at most so many times.
    OnFailure(Option<u32>),
}

impl FromStr for RestartPolicy {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            "on-failure" => Ok(Self::OnFailure(None)),
            other => match other.strip_prefix("on-failure:").and_then(|count| count.parse().ok()) {
                // For the engine 0 is no limit, and its inspect says so.
                Some(0) => Ok(Self::OnFailure(None)),
                Some(count) => Ok(Self::OnFailure(Some(count))),
                None => Err(InvalidValue(message!("invalid-restart", text = text))),
            },
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => formatter.write_str("no"),
            Self::Always => formatter.write_str("always"),
            Self::UnlessStopped => formatter.write_str("unless-stopped"),
            Self::OnFailure(None) => formatter.write_str("on-failure"),
            Self::OnFailure(Some(count)) => write!(formatter, "on-failure:{count}"),
        }
    }
}

text_value!(RestartPolicy, "RestartPolicy", {
    "type": "string",
    "pattern": "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$|\\$"
});

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Logging {
    /// The engine's logging driver; the engine's default where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    /// Its options.
    #[serde(skip_serializing_if = "is_default")]
    pub options: IndexMap<String, String>,
}

impl Service {
    /// How many containers run of it.
    pub fn replicas(&self) -> u32 {
        self.scale.unwrap_or(1)
    }

    /// Whether it asks for a GPU.
    pub fn wants_gpu(&self) -> bool {
        !self.gpus.is_empty()
    }

    /// Whether it wants something of the host that may not be there: a port, or a folder.
    pub fn has_host_needs(&self) -> bool {
        let is_bind = |mount: &Mount| mount.kind == super::storage::MountKind::Bind;
        self.ports.iter().any(|port| port.published.is_some()) || self.volumes.iter().any(is_bind)
    }

    /// The namespaces that it does not get for itself, with the field that says so.
    pub fn namespaces(&self) -> impl Iterator<Item = (&'static str, &NamespaceMode)> {
        [("network_mode", &self.network_mode), ("pid", &self.pid), ("ipc", &self.ipc)]
            .into_iter()
            .filter_map(|(field, mode)| Some((field, mode.as_ref()?)))
    }

    /// The services in whose namespaces it lives: it can't be created before them. One may come several times.
    pub fn shared_namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces().filter_map(|(_, mode)| match mode {
            NamespaceMode::Service(other) => Some(other.as_str()),
            _ => None,
        })
    }

    /// The networks that it joins; the default one where it names none.
    pub fn network_keys(&self) -> Vec<&str> {
        match (&self.network_mode, self.networks.is_empty()) {
            (Some(_), _) => Vec::new(),
            (None, true) => vec![super::Manifest::DEFAULT_NETWORK],
            (None, false) => self.networks.keys().map(String::as_str).collect(),
        }
    }
}
