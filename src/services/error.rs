//! What can go wrong with services. Several things can be wrong at once: [`ServicesError::particulars`] has the lines
//! that belong under the error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::container::environment::InputError;
use super::reports::ServicesReport;
use crate::catalogue::{hint, told};
use crate::engine::{ContainerState, EngineError};
use crate::manifest::model::Reference;
use crate::report::{Listed, Message, Told};

#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    Observe {
        project: String,
        source: EngineError,
    },
    UnknownService(String),
    Cycle(Vec<String>),
    /// Found before anything was changed.
    Problems(Vec<Problem>),
    Failed {
        failures: Vec<ServiceFailure>,
        report: Box<ServicesReport>,
    },
    /// The operator asked for an end; the report says what was done.
    Interrupted {
        report: Box<ServicesReport>,
    },
    GpuProbe {
        source: EngineError,
    },
    Survey {
        source: EngineError,
    },
    Log {
        service: String,
        source: EngineError,
    },
    NoContainer {
        service: String,
        number: Option<u32>,
    },
    NotRunning {
        service: String,
        container: String,
        state: ContainerState,
    },
}

impl Told for ServicesError {
    fn message(&self) -> Message {
        match self {
            Self::Observe { project, .. } => message!("error-services-observe", project = project),
            Self::UnknownService(name) => message!("error-services-unknown-service", name = name),
            Self::Cycle(services) => message!("error-services-cycle", services = Listed::of(services)),
            Self::Problems(problems) => message!("error-services-problems", count = problem_lines(problems).len()),
            Self::Failed { failures, .. } => failed(failures),
            Self::Interrupted { .. } => message!("error-services-interrupted"),
            Self::GpuProbe { .. } => message!("error-services-gpu-probe"),
            Self::Survey { .. } => message!("error-services-survey"),
            Self::Log { service, .. } => message!("error-services-log", service = service),
            Self::NoContainer { service, number: None } => message!("error-services-no-container", service = service),
            Self::NoContainer { service, number: Some(number) } => {
                message!("error-services-no-container-number", service = service, number = number)
            }
            Self::NotRunning { service, container, state } => {
                message!(
                    "error-services-not-running",
                    container = container,
                    state = state.message(),
                    service = service
                )
            }
        }
    }

    /// Each service has failed by itself; what helps the first of them helps all.
    fn hint(&self) -> Option<Message> {
        match self {
            Self::Failed { failures, .. } => failures.iter().find_map(|failure| hint(&failure.error, as_told)),
            _ => None,
        }
    }
}

/// A line for each problem; the file of a secret that several services lack is one problem.
fn problem_lines(problems: &[Problem]) -> Vec<Message> {
    let mut lines = Vec::new();
    let mut files: BTreeMap<&Path, (Message, BTreeSet<&str>)> = BTreeMap::new();
    for problem in problems {
        match problem {
            Problem::Input { service, source: InputError::SecretFile { path, source, .. } } => {
                let why = in_one_line(&**source);
                files.entry(path).or_insert_with(|| (why, BTreeSet::new())).1.insert(service);
            }
            problem => lines.push(in_one_line(problem)),
        }
    }
    lines.extend(files.into_iter().map(|(path, (why, services))| {
        message!("problem-secret-file", path = path.display(), why = why, services = Listed::of(services))
    }));
    lines
}

impl ServicesError {
    /// What belongs under the error's own line, one item a line, with causes; and how deep each is indented.
    pub fn particulars(&self) -> Vec<(usize, Message)> {
        match self {
            Self::Problems(problems) => problem_lines(problems).into_iter().map(|line| (0, line)).collect(),
            Self::Failed { failures, report } => {
                let lines = failures.iter().flat_map(ServiceFailure::lines);
                lines.chain(not_done(failures, report).map(|message| (0, message))).collect()
            }
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

/// The services that were left out because of what failed; nobody should have to find that out.
fn not_done(failures: &[ServiceFailure], report: &ServicesReport) -> Option<Message> {
    let failed = |name: &str| failures.iter().any(|failure| failure.service == name);
    let open = report.services.iter().filter(|service| service.result.is_open() && !failed(&service.name));
    let names: Vec<&str> = open.map(|service| service.name.as_str()).collect();
    (!names.is_empty()).then(|| message!("error-services-not-done", services = Listed::of(&names)))
}

/// What failed, each service once.
fn failed(failures: &[ServiceFailure]) -> Message {
    let services: BTreeSet<&str> = failures.iter().map(|failure| failure.service.as_str()).collect();
    let resources = failures.iter().filter(|failure| failure.service.is_empty()).count();
    match services.iter().filter(|service| !service.is_empty()).count() {
        0 => message!("error-services-failed-resources", resources = resources),
        services if resources == 0 => message!("error-services-failed", services = services),
        services => message!("error-services-failed-both", services = services, resources = resources),
    }
}

told!(
    ServicesError, Problem, StepError, NotReady, InputError;
    crate::engine::as_told, crate::manifest::as_told, crate::state::as_told
);

/// Something that would make a plan fail, known beforehand.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Problem {
    ImageMissing { service: String, reference: Reference },
    PastImageGone { services: Vec<String>, reference: String, id: String },
    NameTaken { service: String, container: String },
    NameOfProject { service: String, container: String, project: String },
    NameOfService { service: String, container: String, other: String },
    NameAsideTaken { service: String, container: String },
    NamesakeVanishes { service: String, container: String },
    PortTaken { service: String, port: String, holder: String },
    PortFreedLater { service: String, port: String, holder: String, other: String },
    PortHeld { service: String, port: String, holder: Message },
    NoPortsPublished,
    NoSuchAddress { service: String, address: String },
    AddressWithoutSubnet { service: String, address: String, network: String },
    AddressOutside { service: String, address: String, network: String, subnets: Vec<String> },
    AddressTaken { service: String, address: String, network: String, holder: String },
    OtherPostgres { service: String, folder: String, written_by: String, image: String, reference: Reference },
    SourceMissing { service: String, path: String, target: String },
    DeviceMissing { service: String, path: String },
    SourceVanished { service: String, path: String, target: String, container: String },
    SourceMoved { service: String, path: String, target: String, container: String, was: String },
    OrphansUnknown { why: Message },
    VolumesUnknown { why: Message },
    Input { service: String, source: InputError },
    GpuMissing { service: String },
    RuntimeMissing { service: String, runtime: String, known: Vec<String> },
    EngineTooOld { service: String, field: &'static str, api: &'static str },
    NamespaceMissing { service: String, container: String },
    NamespaceDown { service: String, container: String },
    NetworkMissing { name: String },
    NetworkDiffers { name: String, fields: Vec<String> },
    NetworkInUse { name: String, container: String },
    NetworkNotOurs { name: String },
    LogNotKept { service: String },
    NothingProvesHealth { service: String, other: String, reference: Reference },
    NetworkTwice { name: String },
    DataInUse { service: String, data: String, container: String },
    DataOfReturning { service: String, data: String, container: String },
    DatabaseShared { service: String, data: String, other: String },
    VolumeMissing { name: String },
    VolumeDiffers { name: String, fields: Vec<String> },
}

impl Told for Problem {
    fn message(&self) -> Message {
        match self {
            Self::ImageMissing { service, reference } => {
                message!("problem-image-missing", service = service, reference = reference)
            }
            Self::PastImageGone { services, id, reference } => {
                message!("problem-past-image-gone", services = Listed::of(services), id = id, reference = reference)
            }
            Self::NameTaken { service, container } => {
                message!("problem-name-taken", service = service, container = container)
            }
            Self::NameOfProject { service, container, project } => {
                message!("problem-name-of-project", service = service, container = container, project = project)
            }
            Self::NameOfService { service, container, other } => {
                message!("problem-name-of-service", service = service, container = container, other = other)
            }
            Self::NamesakeVanishes { service, container } => {
                message!("problem-namesake-vanishes", service = service, container = container)
            }
            Self::PortTaken { service, port, holder } => {
                message!("problem-port-taken", service = service, port = port, holder = holder)
            }
            Self::PortFreedLater { service, port, holder, other } => {
                message!("problem-port-freed-later", service = service, port = port, holder = holder, other = other)
            }
            Self::PortHeld { service, port, holder } => {
                message!("problem-port-held", service = service, port = port, holder = holder)
            }
            Self::NoPortsPublished => message!("problem-no-ports-published"),
            Self::NoSuchAddress { service, address } => {
                message!("problem-no-such-address", service = service, address = address)
            }
            Self::AddressWithoutSubnet { service, network, address } => {
                message!("problem-address-without-subnet", service = service, network = network, address = address)
            }
            Self::AddressOutside { service, address, network, subnets } => message!(
                "problem-address-outside",
                service = service,
                address = address,
                network = network,
                subnets = Listed::of(subnets)
            ),
            Self::AddressTaken { service, address, network, holder } => message!(
                "problem-address-taken",
                service = service,
                address = address,
                network = network,
                holder = holder
            ),
            Self::OtherPostgres { service, folder, written_by, reference, image } => message!(
                "problem-other-postgres",
                service = service,
                folder = folder,
                written_by = written_by,
                reference = reference,
                image = image
            ),
            Self::DeviceMissing { service, path } => message!("problem-device-missing", service = service, path = path),
            Self::SourceMissing { service, path, target } => {
                message!("problem-source-missing", service = service, path = path, target = target)
            }
            Self::SourceVanished { service, path, target, container } => message!(
                "problem-source-vanished",
                service = service,
                path = path,
                target = target,
                container = container
            ),
            Self::SourceMoved { service, path, target, container, was } => message!(
                "problem-source-moved",
                service = service,
                path = path,
                target = target,
                container = container,
                was = was
            ),
            Self::OrphansUnknown { why } => message!("problem-orphans-unknown", why = why),
            Self::NameAsideTaken { service, container } => {
                message!("problem-name-aside-taken", service = service, container = container)
            }
            Self::VolumesUnknown { why } => message!("problem-volumes-unknown", why = why),
            Self::Input { service, .. } => message!("problem-input", service = service),
            Self::GpuMissing { service } => message!("problem-gpu-missing", service = service),
            Self::RuntimeMissing { service, runtime, known } => {
                message!("problem-runtime-missing", service = service, runtime = runtime, known = Listed::of(known))
            }
            Self::EngineTooOld { service, field, api } => {
                message!("problem-engine-too-old", service = service, field = field, api = api)
            }
            Self::NamespaceMissing { service, container } => {
                message!("problem-namespace-missing", service = service, container = container)
            }
            Self::NamespaceDown { service, container } => {
                message!("problem-namespace-down", service = service, container = container)
            }
            Self::NetworkMissing { name } => message!("problem-network-missing", name = name),
            Self::NetworkDiffers { name, fields } => {
                message!("problem-network-differs", name = name, fields = Listed::of(fields))
            }
            Self::NetworkInUse { name, container } => {
                message!("problem-network-in-use", name = name, container = container)
            }
            Self::NetworkNotOurs { name } => message!("problem-network-not-ours", name = name),
            Self::LogNotKept { service } => message!("problem-log-not-kept", service = service),
            Self::NothingProvesHealth { service, other, reference } => {
                message!("problem-nothing-proves-health", service = service, other = other, reference = reference)
            }
            Self::NetworkTwice { name } => message!("problem-network-twice", name = name),
            Self::DataInUse { service, container, data } => {
                message!("problem-data-in-use", service = service, container = container, data = data)
            }
            Self::DataOfReturning { service, container, data } => {
                message!("problem-data-of-returning", service = service, container = container, data = data)
            }
            Self::DatabaseShared { service, other, data } => {
                message!("problem-database-shared", service = service, other = other, data = data)
            }
            Self::VolumeMissing { name } => message!("problem-volume-missing", name = name),
            Self::VolumeDiffers { name, fields } => {
                message!("problem-volume-differs", name = name, fields = Listed::of(fields))
            }
        }
    }
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
    Engine(#[from] EngineError),
    Input(#[from] InputError),
    Random {
        container: String,
        source: std::io::Error,
    },
    Stale {
        container: String,
        how: Stale,
    },
    LeftBehind {
        container: String,
    },
    NoProvider {
        provider: String,
    },
    /// The operator asked for an end before its turn had come.
    NotBegun,
    NotReady(#[from] NotReady),
}

impl Told for StepError {
    fn message(&self) -> Message {
        match self {
            Self::Engine(error) => error.message(),
            Self::Input(error) => error.message(),
            Self::Random { container, .. } => message!("error-step-random", container = container),
            Self::Stale { container, how } => how.message(container),
            Self::LeftBehind { container } => message!("error-step-left-behind", container = container),
            Self::NoProvider { provider } => message!("error-step-no-provider", provider = provider),
            Self::NotBegun => message!("error-step-not-begun"),
            Self::NotReady(error) => error.message(),
        }
    }
}

/// What became of a container after the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    Removed,
    Renamed,
    Started,
    /// The step is not one that makes a container.
    NotToBeMade,
    WithoutService,
}

impl Stale {
    fn message(self, container: &str) -> Message {
        match self {
            Self::Removed => message!("error-step-stale-removed", container = container),
            Self::Renamed => message!("error-step-stale-renamed", container = container),
            Self::Started => message!("error-step-stale-started", container = container),
            Self::NotToBeMade => message!("error-step-stale-not-made", container = container),
            Self::WithoutService => message!("error-step-stale-no-service", container = container),
        }
    }
}

/// Why a container does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    Ended {
        container: String,
        exit: Exit,
    },
    RestartLoop {
        container: String,
        restarts: u64,
        exit: Exit,
    },
    Unhealthy {
        container: String,
    },
    TimedOut {
        container: String,
        waited: Duration,
        last: Message,
    },
    Gone {
        container: String,
    },
    Pattern {
        pattern: String,
        source: regex::Error,
    },
    OutOfReach {
        container: String,
    },
    Interrupted {
        container: String,
    },
    /// Not transparent: whoever looks for the engine's error among the causes must find it.
    Engine(#[from] EngineError),
}

impl Told for NotReady {
    fn message(&self) -> Message {
        match self {
            Self::Ended { container, exit } => {
                message!("not-ready-ended", container = container, exit = exit.message())
            }
            Self::RestartLoop { container, restarts, exit } => {
                message!("not-ready-restart-loop", container = container, restarts = restarts, exit = exit.message())
            }
            Self::Unhealthy { container } => message!("not-ready-unhealthy", container = container),
            Self::TimedOut { container, waited, last } => {
                message!("not-ready-timed-out", container = container, waited = waited.as_secs(), last = last)
            }
            Self::Gone { container } => message!("not-ready-gone", container = container),
            Self::Pattern { pattern, .. } => message!("not-ready-pattern", pattern = pattern),
            Self::OutOfReach { container } => message!("not-ready-out-of-reach", container = container),
            Self::Interrupted { container } => message!("not-ready-interrupted", container = container),
            Self::Engine(error) => error.message(),
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    pub out_of_memory: bool,
}

impl Told for Exit {
    fn message(&self) -> Message {
        let signal = match self.code - 128 {
            2 => "SIGINT",
            3 => "SIGQUIT",
            4 => "SIGILL",
            6 => "SIGABRT",
            7 => "SIGBUS",
            8 => "SIGFPE",
            9 => "SIGKILL",
            11 => "SIGSEGV",
            13 => "SIGPIPE",
            15 => "SIGTERM",
            _ => "",
        };
        match (signal, self.out_of_memory) {
            ("", false) => message!("exit-code", code = self.code),
            ("", true) => message!("exit-code-memory", code = self.code),
            (signal, false) => message!("exit-signal", code = self.code, signal = signal),
            (signal, true) => message!("exit-signal-memory", code = self.code, signal = signal),
        }
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
    /// It has its place again and runs, and its health check fails.
    Unhealthy { container: String },
    /// It has its place again and runs; its health check has not answered yet.
    Starting { container: String },
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
            Self::Down { container, .. }
            | Self::Unhealthy { container }
            | Self::Starting { container }
            | Self::Failed { container, .. }
            | Self::Left { container, .. } => Some(container),
            Self::OldGone { left } => left.as_deref(),
        }
    }

    fn line(&self) -> Option<Message> {
        let with_why = |message: Message, error: &Option<StepError>| match error {
            Some(error) => message!("because", what = message, why = in_one_line(error)),
            None => message,
        };
        Some(match self {
            Self::NotNeeded => return None,
            Self::PutBack => message!("way-back-done"),
            Self::Down { container, error } => with_why(message!("way-back-down", container = container), error),
            Self::Unhealthy { container } => message!("way-back-unhealthy", container = container),
            Self::Starting { container } => message!("way-back-starting", container = container),
            Self::Failed { container, error } => with_why(message!("way-back-failed", container = container), error),
            Self::Left { container, error } => {
                message!("because", what = message!("way-back-left", container = container), why = in_one_line(error))
            }
            Self::OldGone { left: Some(left) } => message!("way-back-old-gone", left = left),
            Self::OldGone { left: None } => message!("way-back-both-gone"),
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
    fn lines(&self) -> Vec<(usize, Message)> {
        let error = in_one_line(&self.error);
        let headline = match self.service.as_str() {
            "" => error,
            service => message!("because", what = service, why = error),
        };
        let mut lines = vec![(0, headline)];
        lines.extend(self.health.iter().map(|line| (1, message!("failure-health-line", line = line))));
        lines.extend(self.log.iter().map(|line| (1, message!("failure-log-line", line = line))));
        lines.extend(self.way_back.line().map(|line| (1, line)));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;
    use crate::services::reports::{ServiceOutcome, ServiceResult};

    #[test]
    fn services_and_resources_that_failed_are_counted_each_by_itself() {
        let failure = |service: &str| {
            let error = StepError::LeftBehind { container: String::new() };
            let (log, health) = (Vec::new(), Vec::new());
            ServiceFailure { service: service.to_owned(), error, way_back: WayBack::NotNeeded, log, health }
        };
        let said =
            |services: &[&str]| english(&failed(&services.iter().map(|service| failure(service)).collect::<Vec<_>>()));
        assert_eq!(said(&["", ""]), "2 networks or volumes failed");
        assert_eq!(said(&["db", "db"]), "1 service failed");
        assert_eq!(said(&["db", "api", ""]), "2 services and 1 network or volume failed");
    }

    #[test]
    fn what_was_left_out_because_of_a_failure_is_named() {
        let result =
            |name: &str, result| ServiceResult { name: name.to_owned(), result, cause: String::new(), milliseconds: 1 };
        let services = vec![
            result("db", ServiceOutcome::Failed),
            result("api", ServiceOutcome::Skipped),
            result("ui", ServiceOutcome::Partly),
            result("redis", ServiceOutcome::Started),
        ];
        let report = |services| Box::new(ServicesReport { services, ..ServicesReport::default() });
        let failures = || {
            let error = StepError::LeftBehind { container: "p-db-1".to_owned() };
            let (log, health) = (Vec::new(), Vec::new());
            vec![ServiceFailure { service: "db".to_owned(), error, way_back: WayBack::NotNeeded, log, health }]
        };
        let last = |report| {
            let particulars = ServicesError::Failed { failures: failures(), report }.particulars();
            english(&particulars.last().unwrap().1)
        };
        assert_eq!(last(report(services.clone())), "not finished because of that: api, ui");
        assert!(last(report(services[..1].to_vec())).starts_with("db: "));
    }
}
