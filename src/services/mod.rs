//! Services of the manifest as containers: what is there, what is to be done, doing it, and looking at it.
//!
//! [`observe()`] takes one snapshot, [`plan()`] is a pure function of it, [`execute()`] runs the plan's steps and decides
//! nothing. This room prints nothing and knows no arguments; images come from elsewhere: one that the engine lacks is a
//! problem of the plan.

mod dependencies;
mod drift;
mod enter;
mod error;
mod examine;
mod execute;
mod fingerprint;
mod helper;
mod host;
mod labels;
mod lines;
mod logs;
mod observe;
mod patience;
mod plan;
mod ready;
mod reports;
mod run;
mod secrets;
mod spec;
mod stats;
mod status;

pub use dependencies::{Dependencies as DependencyGraph, DependencyEdge, DependencyNode, dependencies};
pub use enter::serving_container;
pub use error::{Exit, NotReady, Problem, ServiceFailure, ServicesError, StepError, WayBack};
pub use examine::{Examination, PortHolder, examine};
pub use execute::{ExecuteOptions, execute};
pub use host::{DataFolder, HeldPort, Holder, Survey, survey};
pub use logs::{LogOptions, ServiceLogLine, logs};
pub use observe::{Gpus, Snapshot, observe, providers, suppose_image};
pub use patience::Patience;
pub use plan::{
    Action, After, AnonymousVolumes, Cause, Dependencies, Extent, FailedContainers, Namesakes, Operation, Options,
    Plan, Recreate, Request, Step, StepId, Target, Until, Wait, Warning, plan,
};
pub use reports::{
    ContainerStats, ContainerStatus, ServiceOutcome, ServiceResult, ServiceStatus, ServicesReport, StatsReport,
    StatusReport, Usage,
};
pub use run::run;
pub use secrets::{InputError, Inputs, read_secret};
pub use stats::{add_usage, stats};
pub use status::{report as status_report, status};
