//! What an engine is and can do.

use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::SystemInfo;
use jiff::Timestamp;

use super::architecture::image_architecture;
use super::limits::timeouts::within;

/// How the engine keeps its images; it decides what a load must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageStore {
    /// The engine's own graph driver: an image's ID is the digest of its config.
    Classic,
    /// The containerd image store: an image's ID is the digest of its manifest.
    Containerd,
}

/// What `GET /info` says, as far as `dpl` uses it.
#[derive(Debug, Clone)]
pub struct EngineFacts {
    /// The engine's own identity, stable over restarts.
    pub id: String,
    /// The host's name as the engine knows it.
    pub name: String,
    pub version: String,
    pub image_store: ImageStore,
    pub storage_driver: String,
    /// Where the engine keeps its data, on its own host.
    pub root_dir: PathBuf,
    pub operating_system: String,
    /// As in an image's config (`amd64`), not as the kernel says it.
    pub architecture: String,
    pub kernel: String,
    pub cpus: u64,
    pub memory_bytes: u64,
    pub cgroup_version: String,
    pub cgroup_driver: String,
    pub logging_driver: String,
    pub runtimes: Vec<String>,
    pub warnings: Vec<String>,
    pub limits: LimitSupport,
    /// How far the engine's clock is ahead of this machine's, in milliseconds; `None` where the engine tells no time.
    pub clock_ahead_ms: Option<i64>,
}

/// Which limits the host's kernel can hold; the engine drops the others with a warning when a container is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSupport {
    pub memory: bool,
    pub cpus: bool,
    pub cpuset: bool,
    pub pids: bool,
    pub swap: bool,
    pub cpu_shares: bool,
}

impl Default for LimitSupport {
    fn default() -> Self {
        Self { memory: true, cpus: true, cpuset: true, pids: true, swap: true, cpu_shares: true }
    }
}

impl EngineFacts {
    /// The question may take as long as `limit` says.
    pub(super) async fn ask(docker: &Docker, limit: Duration) -> Result<Self, Error> {
        let (info, answered_at) = (within(limit, docker.info()).await?, Timestamp::now());
        let image_store = image_store(&info);
        let time = info.system_time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
        let limits = LimitSupport {
            memory: info.memory_limit.unwrap_or(true),
            cpus: info.cpu_cfs_quota.unwrap_or(true),
            cpuset: info.cpu_set.unwrap_or(true),
            pids: info.pids_limit.unwrap_or(true),
            swap: info.swap_limit.unwrap_or(true),
            cpu_shares: info.cpu_shares.unwrap_or(true),
        };
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Ok(Self {
            id: info.id.unwrap_or_default(),
            name: info.name.unwrap_or_default(),
            version: info.server_version.unwrap_or_default(),
            image_store,
            storage_driver: info.driver.unwrap_or_default(),
            root_dir: PathBuf::from(info.docker_root_dir.unwrap_or_default()),
            operating_system: info.operating_system.unwrap_or_default(),
            architecture: image_architecture(&info.architecture.unwrap_or_default()).to_owned(),
            kernel: info.kernel_version.unwrap_or_default(),
            cpus: info.ncpu.unwrap_or_default().max(0) as u64,
            memory_bytes: info.mem_total.unwrap_or_default().max(0) as u64,
            cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
            cgroup_driver: info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default(),
            logging_driver: info.logging_driver.unwrap_or_default(),
            runtimes,
            warnings: info.warnings.unwrap_or_default(),
            limits,
            clock_ahead_ms: time.map(|time| time.as_millisecond() - answered_at.as_millisecond()),
        })
    }

    /// The time by the engine's clock.
    pub fn now(&self) -> Timestamp {
        let ahead = jiff::SignedDuration::from_millis(self.clock_ahead_ms.unwrap_or_default());
        Timestamp::now().checked_add(ahead).unwrap_or_default()
    }
}

/// The version of the API that an engine speaks (`1.41`), as it says it; empty where it says none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiVersion(pub String);

impl ApiVersion {
    /// As numbers that can be compared; (0, 0) where the engine says none.
    pub fn numbers(&self) -> (u32, u32) {
        let mut parts = self.0.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The containerd store names its snapshotter among the driver's status lines; the classic one has no such line.
fn image_store(info: &SystemInfo) -> ImageStore {
    let containerd = info
        .driver_status
        .iter()
        .flatten()
        .any(|pair| matches!(pair.as_slice(), [key, value] if key == "driver-type" && value == "io.containerd.snapshotter.v1"));
    if containerd { ImageStore::Containerd } else { ImageStore::Classic }
}
