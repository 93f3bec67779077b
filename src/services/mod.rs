//! Services of the manifest as containers: what is there, what is to be done, doing it, and looking at it.
//!
//! [`observe()`] takes one snapshot, [`plan()`] is a pure function of it, [`execute()`] runs the plan's steps and decides
//! nothing. This room prints nothing and knows no arguments; images come from elsewhere: one that the engine lacks is a
//! problem of the plan.

mod drift;
mod error;
mod execute;
mod fingerprint;
mod gpus;
mod graph;
mod labels;
mod lines;
mod logs;
mod observe;
mod plan;
mod ready;
mod reports;
mod secrets;
mod spec;
mod status;

pub use error::{Exit, NotReady, Problem, ServiceFailure, ServicesError, StepError, WayBack};
pub use execute::{ExecuteOptions, execute};
pub use gpus::probe_gpus;
pub use logs::{LogOptions, ServiceLogLine, logs};
pub use observe::{Gpus, Snapshot, observe};
pub use plan::{
    Action, After, AnonymousVolumes, Cause, Dependencies, Extent, FailedContainers, Operation, Options, Plan, Recreate,
    Request, Step, StepId, Target, Until, Wait, Warning, plan,
};
pub use reports::{ContainerStatus, ServiceOutcome, ServiceResult, ServiceStatus, ServicesReport, StatusReport};
pub use secrets::{InputError, Inputs, read_secret};
pub use spec::not_yet;
pub use status::{report as status_report, status};
