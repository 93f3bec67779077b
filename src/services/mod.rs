//! Services of the manifest as containers.
//!
//! In this order: `container` says what a service is as a container; `snapshot` looks at what is there; `plan` is a pure
//! function of manifest, request and snapshot; `run` carries a plan out and decides nothing; `show` answers questions.
//! Imports run `show, run → plan → snapshot → container`. Nothing here prints or knows arguments; images come from
//! elsewhere: one that the engine lacks is a problem of the plan.

mod container;
mod error;
mod plan;
mod reports;
mod request;
mod run;
#[cfg(test)]
#[path = "../../tests/support/fake_engine.rs"]
mod scripted_engine;
mod show;
mod snapshot;

pub use container::environment::{InputError, Inputs, read_secret};
pub use error::{Exit, NotReady, Problem, ServiceFailure, ServicesError, StepError, WayBack, as_told};
pub use plan::{After, AnonymousVolumes, Cause, Operation, Plan, Step, StepId, Target, Until, Warning, plan};
pub use reports::{
    ContainerStats, ContainerStatus, OtherFolder, ServiceOutcome, ServiceResult, ServiceStatus, ServicesReport,
    StatsReport, StatusReport, Usage,
};
pub use request::{Action, Dependencies, Extent, FailedContainers, Namesakes, Options, Recreate, Request, Wait};
pub use run::executor::{ExecuteOptions, execute};
pub use run::outage::OutageWait;
pub use run::run;
pub use show::dependencies::{Dependencies as DependencyGraph, DependencyEdge, DependencyNode, dependencies};
pub use show::elsewhere::other_folders;
pub use show::enter::serving_container;
pub use show::examine::{Examination, PortHolder, examine};
pub use show::logs::{LogOptions, ServiceLogLine, logs};
pub use show::stats::{add_usage, stats};
pub use show::status::{report as status_report, status};
pub use snapshot::host::{DataFolder, HeldPort, Holder};
pub use snapshot::observe::providers;
pub use snapshot::observed::{Gpus, Observed};
pub use snapshot::{Depth, Snapshot};
