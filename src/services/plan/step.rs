//! The steps of a plan: data, one engine call each.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::cause::Cause;
use crate::engine::{NetworkAttachment, NetworkSpec};
use crate::manifest::model::{HttpProbe, Period, RestartPolicy};
use crate::report::Message;

/// A step's place in its plan, from 0.
pub type StepId = usize;

/// A service and the number of one of its containers.
pub type ReplicaId = (String, u32);

/// One call to the engine, or one wait.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Step {
    pub id: StepId,
    /// The service that it belongs to; absent for networks and volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Which of the service's containers, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    #[serde(flatten)]
    pub operation: Operation,
    /// Why, as one line.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub cause: Cause,
    /// The steps that come before it.
    pub after: Vec<After>,
    /// What takes this step back, and those before it in its unit: in this order, each fine if it is so already.
    #[serde(skip)]
    pub undo: Vec<Operation>,
    /// Whether its success makes what came before it in its unit final.
    #[serde(skip)]
    pub commits: bool,
}

impl Step {
    /// The replica that it is about; `None` for networks and volumes.
    pub fn replica(&self) -> Option<ReplicaId> {
        Some((self.service.clone()?, self.number?))
    }

    /// Whether both are about one replica.
    pub fn is_of_the_replica_of(&self, other: &Self) -> bool {
        self.service.is_some() && (&self.service, self.number) == (&other.service, other.number)
    }
}

fn as_text<S: Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cause)
}

/// A step that another one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct After {
    pub step: StepId,
    /// Whether the waiting step is taken even when that one fails or is left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub whatever_comes_of_it: bool,
}

/// A container: one that is there by its ID, one that the plan makes by the step that makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Target {
    /// Its name before the step.
    pub container: String,
    #[serde(rename = "container_id", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip)]
    pub made_by: Option<StepId>,
}

/// A network that the plan removes, as it was, and how a container had joined it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldNetwork {
    pub id: String,
    pub spec: NetworkSpec,
    pub attachment: NetworkAttachment,
}

/// What is asked of the engine.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    CreateNetwork {
        key: String,
        name: String,
    },
    CreateVolume {
        key: String,
        name: String,
    },
    RemoveNetwork {
        name: String,
    },
    RemoveVolume {
        name: String,
    },
    CreateContainer {
        name: String,
        image_id: String,
        /// Anonymous volumes of the old container that the new one takes over: path → volume.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        volumes: BTreeMap<String, String>,
        /// Whether GPUs that are not required are left out, because there are none.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        without_gpus: bool,
        /// The restart policy of the old container, where that one was not made by dpl and can't say it later.
        #[serde(skip)]
        old_restart: Option<RestartPolicy>,
    },
    StartContainer {
        #[serde(flatten)]
        target: Target,
    },
    RestartContainer {
        #[serde(flatten)]
        target: Target,
    },
    UnpauseContainer {
        #[serde(flatten)]
        target: Target,
    },
    /// With the container's own grace period.
    StopContainer {
        #[serde(flatten)]
        target: Target,
    },
    RenameContainer {
        #[serde(flatten)]
        target: Target,
        to: String,
    },
    SetRestartPolicy {
        #[serde(flatten)]
        target: Target,
        policy: RestartPolicy,
    },
    RemoveContainer {
        #[serde(flatten)]
        target: Target,
        volumes: AnonymousVolumes,
    },
    WaitReady {
        #[serde(flatten)]
        target: Target,
        until: Until,
        /// Counted from the beginning of the wait.
        timeout: Period,
    },
    /// Part of a way back only, before an old container starts again: those of its networks that are gone are created as
    /// they were, and it joins what has their names now.
    #[serde(skip)]
    RejoinNetworks {
        target: Target,
        networks: Vec<OldNetwork>,
    },
}

/// What becomes of a removed container's anonymous volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnonymousVolumes {
    Keep,
    /// Those that were made for it and no other; volumes that it mounts by name stay.
    Remove,
}

/// A replacement without any proof of its own must at least live so long before the old container goes: what fails at an
/// import or at its first connection does so in the first seconds. `ready.running_for` sets another time.
pub const STEADY_REPLACEMENT: Duration = Duration::from_secs(10);

/// What a container is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// It runs, and has for so long.
    Running(Period),
    /// Its health check says healthy.
    Healthy,
    /// Its port accepts connections.
    Tcp(u16),
    /// A request to it is answered well.
    Http(HttpProbe),
    /// A line of its log matches.
    Log(String),
    /// It has ended with exit code 0.
    Completed,
}

impl Operation {
    /// The container that it is about.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::StartContainer { target }
            | Self::RestartContainer { target }
            | Self::UnpauseContainer { target }
            | Self::StopContainer { target }
            | Self::RenameContainer { target, .. }
            | Self::SetRestartPolicy { target, .. }
            | Self::RemoveContainer { target, .. }
            | Self::WaitReady { target, .. }
            | Self::RejoinNetworks { target, .. } => Some(target),
            Self::CreateNetwork { .. }
            | Self::CreateVolume { .. }
            | Self::RemoveNetwork { .. }
            | Self::RemoveVolume { .. }
            | Self::CreateContainer { .. } => None,
        }
    }

    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::WaitReady { .. })
    }

    /// The catalogue's sentence for it.
    pub fn message(&self) -> Message {
        match self {
            Self::CreateNetwork { name, .. } => message!("services-step-create-network", name = name),
            Self::CreateVolume { name, .. } => message!("services-step-create-volume", name = name),
            Self::RemoveNetwork { name } => message!("services-step-remove-network", name = name),
            Self::RemoveVolume { name } => message!("services-step-remove-volume", name = name),
            Self::CreateContainer { name, image_id, .. } => {
                message!("services-step-create-container", name = name, image = super::cause::short(image_id))
            }
            Self::StartContainer { target } => message!("services-step-start", name = &target.container),
            Self::RestartContainer { target } => message!("services-step-restart", name = &target.container),
            Self::UnpauseContainer { target } => message!("services-step-unpause", name = &target.container),
            Self::StopContainer { target } => message!("services-step-stop", name = &target.container),
            Self::RenameContainer { target, to } => {
                message!("services-step-rename", name = &target.container, to = to)
            }
            Self::SetRestartPolicy { target, policy } => {
                message!("services-step-policy", name = &target.container, policy = policy)
            }
            Self::RemoveContainer { target, .. } => {
                message!("services-step-remove", name = &target.container)
            }
            Self::WaitReady { target, until, .. } => until.message(&target.container),
            Self::RejoinNetworks { target, .. } => message!("services-step-rejoin", name = &target.container),
        }
    }
}

impl Until {
    fn message(&self, name: &str) -> Message {
        match self {
            Self::Running(period) if period.0.is_zero() => message!("services-step-wait-running", name = name),
            Self::Running(period) => message!("services-step-wait-running-for", name = name, period = period),
            Self::Healthy => message!("services-step-wait-healthy", name = name),
            Self::Tcp(port) => message!("services-step-wait-tcp", name = name, port = port),
            Self::Http(probe) => {
                message!("services-step-wait-http", name = name, path = &probe.path, port = probe.port)
            }
            Self::Log(pattern) => message!("services-step-wait-log", name = name, pattern = pattern),
            Self::Completed => message!("services-step-wait-completed", name = name),
        }
    }
}
