//! What can go wrong with services. Several things can be wrong at once: [`ServicesError::particulars`] has the lines
//! that belong under the error.

use std::collections::BTreeSet;
use std::time::Duration;

use super::container::environment::InputError;
use super::reports::ServicesReport;
use crate::engine::EngineError;
use crate::manifest::types::Reference;
use crate::report::in_one_line;

#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    #[error("can't see what runs of project {project}")]
    Observe { project: String, source: EngineError },
    #[error("the manifest has no service {0}")]
    UnknownService(String),
    #[error("these services need each other in a ring: {}", .0.join(", "))]
    Ring(Vec<String>),
    /// Found before anything was changed.
    #[error("{} in the way, and nothing was changed", counted(.0.len(), "problem stands", "problems stand"))]
    Problems(Vec<Problem>),
    #[error("{}", failed(.failures))]
    Failed { failures: Vec<ServiceFailure>, report: Box<ServicesReport> },
    /// The operator asked for an end; the report says what was done.
    #[error("stopped as asked; what was in hand is finished, or back as it was")]
    Interrupted { report: Box<ServicesReport> },
    #[error("can't try whether the engine gives GPUs to containers")]
    GpuProbe { source: EngineError },
    #[error("can't look at ports and folders of the engine's host")]
    Survey { source: EngineError },
    #[error("can't read the log of service {service}")]
    Log { service: String, source: EngineError },
    #[error("service {service} has no container{of_number}: `dpl start {service}` makes it")]
    NoContainer { service: String, of_number: String },
    #[error("container {container} does not run, it is {state}: `dpl start {service}` brings it up")]
    NotRunning { service: String, container: String, state: &'static str },
}

impl ServicesError {
    /// What belongs under the error's own line, one item a line, with causes.
    pub fn particulars(&self) -> Vec<String> {
        match self {
            Self::Problems(problems) => problems.iter().map(|problem| in_one_line(problem)).collect(),
            Self::Failed { failures, .. } => failures.iter().flat_map(ServiceFailure::lines).collect(),
            _ => Vec::new(),
        }
    }

    /// The images that are missing, where nothing else stands in the way: they can be loaded, and the plan made anew.
    pub fn only_missing_images(&self) -> Option<Vec<&Reference>> {
        let Self::Problems(problems) = self else {
            return None;
        };
        problems.iter().map(Problem::missing_image).collect()
    }

    /// Whether the work ended because the engine could not be reached any more.
    pub fn lost_the_engine(&self) -> bool {
        let Self::Failed { failures, .. } = self else {
            return false;
        };
        failures.iter().any(|failure| match &failure.error {
            StepError::Engine(error) | StepError::NotReady(NotReady::Engine(error)) => error.is_unreachable(),
            _ => false,
        })
    }

    /// What was done before it failed.
    pub fn report(&self) -> Option<&ServicesReport> {
        match self {
            Self::Failed { report, .. } | Self::Interrupted { report } => Some(report),
            _ => None,
        }
    }
}

/// What failed, each service once.
fn failed(failures: &[ServiceFailure]) -> String {
    let services: BTreeSet<&str> = failures.iter().map(|failure| failure.service.as_str()).collect();
    let resources = failures.iter().filter(|failure| failure.service.is_empty()).count();
    let services = services.iter().filter(|service| !service.is_empty()).count();
    let of_services = counted(services, "service", "services");
    let of_resources = counted(resources, "network or volume", "networks or volumes");
    match (services, resources) {
        (_, 0) => format!("{of_services} failed"),
        (0, _) => format!("{of_resources} failed"),
        _ => format!("{of_services} and {of_resources} failed"),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Something that would make a plan fail, known beforehand.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Problem {
    #[error("{service}: the engine has no image {reference}: load, pull or build it")]
    ImageMissing { service: String, reference: Reference },
    #[error(
        "{services}: the image {id}, which {reference} named then, is no longer in the engine: load the delivery that brought it, and roll back again"
    )]
    PastImageGone { services: String, reference: String, id: String },
    #[error(
        "{service}: a container named {container} exists, and dpl did not make it: `dpl start --adopt {service}` takes it over"
    )]
    NameTaken { service: String, container: String },
    #[error("{service}: container {container} is project {project}'s: give one of the two another container_name")]
    NameOfProject { service: String, container: String, project: String },
    #[error("{service}: container {container} is service {other}'s: give one of the two another container_name")]
    NameOfService { service: String, container: String, other: String },
    #[error(
        "{service}: container {container} was started with --rm, so nothing could bring it back: stop it yourself first"
    )]
    NamesakeVanishes { service: String, container: String },
    #[error("{service}: port {port} of the host is held by container {holder}")]
    PortTaken { service: String, port: String, holder: String },
    #[error(
        "{service}: port {port} of the host is held by container {holder}, which gives it up only later: stop {other} first"
    )]
    PortFreedLater { service: String, port: String, holder: String, other: String },
    #[error("{service}: port {port} of the host is held by {holder}")]
    PortHeld { service: String, port: String, holder: String },
    #[error(
        "the engine can't publish any port now: the host's packet filter was probably reloaded; restart the engine (`systemctl restart docker`), which puts its rules back"
    )]
    NoPortsPublished,
    #[error("{service}: the host has no address {address} to publish a port on")]
    NoSuchAddress { service: String, address: String },
    #[error(
        "{service}: network {network} gives out fixed addresses like {address} only with a subnet of its own (ipam)"
    )]
    AddressWithoutSubnet { service: String, address: String, network: String },
    #[error("{service}: address {address} is not in network {network}, which has {subnets}")]
    AddressOutside { service: String, address: String, network: String, subnets: String },
    #[error("{service}: address {address} of network {network} is container {holder}'s")]
    AddressTaken { service: String, address: String, network: String, holder: String },
    #[error(
        "{service}: the data in {folder} were written by PostgreSQL {written_by}, and {reference} is PostgreSQL {image}: back them up with the old image, and restore into an empty folder"
    )]
    OtherPostgres { service: String, folder: String, written_by: String, image: String, reference: Reference },
    #[error("{service}: {path} does not exist, and is to be mounted at {target}: make it, or set create_host_path")]
    SourceMissing { service: String, path: String, target: String },
    #[error(
        "{service}: {path}, mounted at {target}, was there when {container} was started, and is gone: put it back, or make it anew yourself"
    )]
    SourceVanished { service: String, path: String, target: String, container: String },
    #[error("which containers no manifest of the project names can't be said: {why}")]
    OrphansUnknown { why: String },
    #[error("{service}: its environment can't be made")]
    Input { service: String, source: InputError },
    #[error("{service}: the engine can't give it the GPU that it requires")]
    GpuMissing { service: String },
    #[error("{service}: {field} needs an engine with API {api}, and this one is older")]
    EngineTooOld { service: String, field: &'static str, api: &'static str },
    #[error("{service}: it shares a namespace of container {container}, which does not exist")]
    NamespaceMissing { service: String, container: String },
    #[error("network {name} is external and does not exist: make it, or drop `external`")]
    NetworkMissing { name: String },
    #[error(
        "network {name} differs from the manifest ({fields}): `--recreate-networks` recreates it with the containers in it"
    )]
    NetworkDiffers { name: String, fields: String },
    #[error("network {name} can't be recreated: container {container} is in it; stop that one, or disconnect it")]
    NetworkInUse { name: String, container: String },
    #[error("network {name} differs from the manifest, and dpl did not make it: remove it yourself, or set `external`")]
    NetworkNotOurs { name: String },
    #[error(
        "{service}: `ready.log` waits for a line, and its logging driver `none` keeps none: choose another proof or another driver"
    )]
    LogNotKept { service: String },
    #[error(
        "{service}: it waits until {other} is healthy, and neither the manifest nor image {reference} has a check: give {other} a `healthcheck` or `ready`, or wait for `service_started`"
    )]
    NothingProvesHealth { service: String, other: String, reference: Reference },
    #[error("the engine has two networks named {name}: remove one of them by its ID")]
    NetworkTwice { name: String },
    #[error(
        "{service}: container {container} writes to {data} as well: stop it, or give the service a place of its own"
    )]
    DataInUse { service: String, data: String, container: String },
    #[error(
        "{service}: container {container} writes to {data} as well, and the engine starts it again (restart: always): remove it, or `docker update --restart no {container}`"
    )]
    DataOfReturning { service: String, data: String, container: String },
    #[error("{service}: service {other} writes to {data} as well, which holds a database server's data")]
    DatabaseShared { service: String, data: String, other: String },
    #[error("volume {name} is external and does not exist: make it, or drop `external`")]
    VolumeMissing { name: String },
    #[error(
        "volume {name} differs from the manifest ({fields}): dpl does not touch the data in it; name another volume, or remove this one yourself"
    )]
    VolumeDiffers { name: String, fields: String },
}

impl Problem {
    fn missing_image(&self) -> Option<&Reference> {
        match self {
            Self::ImageMissing { reference, .. } => Some(reference),
            _ => None,
        }
    }
}

/// A step that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Not transparent: whoever looks for the engine's error among the causes must find it.
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("can't get random numbers for the labels of container {container}")]
    Random { container: String, source: std::io::Error },
    #[error("container {container} {what} since the plan was made: look again, and run it again")]
    Stale { container: String, what: &'static str },
    #[error("what was begun could not be taken back: container {container} is left")]
    LeftBehind { container: String },
    #[error("service {provider}, whose namespace it shares, has no container")]
    NoProvider { provider: String },
    /// The operator asked for an end before its turn had come.
    #[error("an end was asked for before it was begun")]
    NotBegun,
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

/// Why a container does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("container {container} has ended with {exit}")]
    Ended { container: String, exit: Exit },
    #[error("container {container} restarts again and again: {restarts} times so far, last with {exit}")]
    RestartLoop { container: String, restarts: u64, exit: Exit },
    #[error("the health check of container {container} says unhealthy")]
    Unhealthy { container: String },
    #[error("container {container} is not ready after {} s: {last}", .waited.as_secs())]
    TimedOut { container: String, waited: Duration, last: String },
    #[error("container {container} was removed while it was waited for")]
    Gone { container: String },
    #[error("`{pattern}` is no regular expression")]
    Pattern { pattern: String, source: regex::Error },
    #[error(
        "nothing can be tried on container {container}: it is not reachable from here, and no image of the project has a shell with curl, nc, wget or bash"
    )]
    OutOfReach { container: String },
    #[error("the operator asked for an end while container {container} was waited for")]
    Interrupted { container: String },
    /// Not transparent: whoever looks for the engine's error among the causes must find it.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    pub out_of_memory: bool,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "exit code {}", self.code)?;
        let signal = match self.code - 128 {
            2 => " (SIGINT)",
            3 => " (SIGQUIT)",
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            7 => " (SIGBUS)",
            8 => " (SIGFPE)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            13 => " (SIGPIPE)",
            15 => " (SIGTERM)",
            _ => "",
        };
        formatter.write_str(signal)?;
        if self.out_of_memory { formatter.write_str(", out of memory") } else { Ok(()) }
    }
}

/// What became of the container that was to be replaced.
#[derive(Debug)]
pub enum WayBack {
    /// Nothing had been taken away.
    NotNeeded,
    /// It is there again, as it was.
    PutBack,
    /// It has its place again, and does not run; `error` says why, where its start failed.
    Down { container: String, error: Option<StepError> },
    /// It could not be put back: what it is called now, and why.
    Failed { container: String, error: Option<StepError> },
    /// Nothing is missing of what was there, and the new container could not be put away.
    Left { container: String, error: StepError },
    /// Somebody removed it meanwhile: the new one is left, where there is one.
    OldGone { left: Option<String> },
}

impl WayBack {
    /// The container that is not as it was before, where there is one to look at.
    pub(super) fn container(&self) -> Option<&str> {
        match self {
            Self::NotNeeded | Self::PutBack => None,
            Self::Down { container, .. } | Self::Failed { container, .. } | Self::Left { container, .. } => {
                Some(container)
            }
            Self::OldGone { left } => left.as_deref(),
        }
    }

    fn line(&self) -> Option<String> {
        let why = |error: &Option<StepError>| {
            error.as_ref().map_or(String::new(), |error| format!(": {}", in_one_line(error)))
        };
        Some(match self {
            Self::NotNeeded => return None,
            Self::PutBack => "the old container is back as it was".to_owned(),
            Self::Down { container, error } => {
                format!("the old container is back as {container}, and does not run{}", why(error))
            }
            Self::Failed { container, error } => {
                format!("the old container is kept as {container} and could not be put back{}", why(error))
            }
            Self::Left { container, error } => {
                format!("the new container {container} is left and could not be removed: {}", in_one_line(error))
            }
            Self::OldGone { left: Some(left) } => {
                format!("somebody removed the old container meanwhile, so the new one is left as {left}")
            }
            Self::OldGone { left: None } => {
                "somebody removed the old container meanwhile, and the new one is gone too: `dpl start` makes another"
                    .to_owned()
            }
        })
    }
}

/// A service on which the plan failed.
#[derive(Debug)]
pub struct ServiceFailure {
    /// Empty for networks and volumes.
    pub service: String,
    pub error: StepError,
    pub way_back: WayBack,
    /// The last lines of the failed container's log, secrets masked.
    pub log: Vec<String>,
    /// What its health check said last, secrets masked.
    pub health: Vec<String>,
}

impl ServiceFailure {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.service.as_str() {
            "" => in_one_line(&self.error),
            service => format!("{service}: {}", in_one_line(&self.error)),
        }];
        lines.extend(self.health.iter().map(|line| format!("  health check: {line}")));
        lines.extend(self.log.iter().map(|line| format!("  log: {line}")));
        lines.extend(self.way_back.line().map(|line| format!("  {line}")));
        lines
    }
}
