//! What can go wrong with services. Several things can be wrong at once: [`ServicesError::particulars`] has the lines
//! that belong under the error. `problem` is known before anything is changed, `step` and `not_ready` are what a step ran into,
//! `failure` is what all that comes to for one service.

mod failure;
mod not_ready;
mod problem;
mod step;

use std::collections::BTreeSet;

use super::container::environment::InputError;
use super::reports::ServicesReport;
use crate::catalogue::{hint, told};
use crate::engine::{ContainerState, EngineError};
use crate::manifest::model::Reference;
use crate::report::{Listed, Message, Told};

pub use failure::{ServiceFailure, WayBack};
pub use not_ready::{Exit, NotReady};
pub use problem::Problem;
pub use step::{Stale, StepError};

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
            Self::Problems(problems) => message!("error-services-problems", count = problem::lines(problems).len()),
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
            Self::Failed { failures, .. } => {
                let of_errors = failures.iter().find_map(|failure| hint(&failure.error, as_told));
                of_errors.or_else(|| failures.iter().find_map(ServiceFailure::hint))
            }
            _ => None,
        }
    }
}

impl ServicesError {
    /// What belongs under the error's own line, one item a line, with causes; and how deep each is indented.
    pub fn particulars(&self) -> Vec<(usize, Message)> {
        match self {
            Self::Problems(problems) => problem::lines(problems).into_iter().map(|line| (0, line)).collect(),
            Self::Failed { failures, report } => {
                let lines = failures.iter().flat_map(ServiceFailure::lines);
                lines.chain(not_done(failures, report).map(|message| (0, message))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The images that are missing, where nothing else stands in the way: they can be loaded, and the plan made again.
    pub fn only_missing_images(&self) -> Option<Vec<&Reference>> {
        let Self::Problems(problems) = self else {
            return None;
        };
        problems.iter().map(Problem::missing_image).collect()
    }

    /// Whether the work ended because the engine could not be reached any more.
    pub fn lost_the_engine(&self) -> bool {
        self.ran_into(EngineError::is_unreachable)
    }

    /// Whether somebody else had the lock on the engine, or took it over, so that a service was left as it was.
    pub fn is_locked_out(&self) -> bool {
        self.ran_into(EngineError::is_locked_out)
    }

    fn ran_into(&self, is_meant: fn(&EngineError) -> bool) -> bool {
        let Self::Failed { failures, .. } = self else {
            return false;
        };
        failures.iter().any(|failure| match &failure.error {
            StepError::Engine(error) | StepError::NotReady(NotReady::Engine(error)) => is_meant(error),
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
    fn a_service_that_fails_is_told_with_where_to_look_and_a_replacement_with_how_to_go_on() {
        let hint = |error: StepError, way_back| {
            let (log, health) = (Vec::new(), Vec::new());
            let failures = vec![ServiceFailure { service: "api".to_owned(), error, way_back, log, health }];
            ServicesError::Failed { failures, report: Box::default() }.hint().map(|hint| hint.key)
        };
        let looped = || {
            let exit = Exit { code: 3, out_of_memory: false };
            StepError::NotReady(NotReady::RestartLoop { container: "p-api-1".to_owned(), restarts: 3, exit })
        };
        assert_eq!(hint(looped(), WayBack::NotNeeded), Some("hint-logs-of"));
        assert_eq!(hint(looped(), WayBack::PutBack), Some("hint-replacement-failed"));
        assert_eq!(hint(StepError::NoProvider { provider: "db".to_owned() }, WayBack::NotNeeded), None);
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
