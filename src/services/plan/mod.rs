//! Planning: a pure function of manifest, request and snapshot. No engine, no clock, no file.
//!
//! A [`Plan`] is steps with their order and causes; [`super::execute()`] runs them and decides nothing. Everything that
//! can be known to fail is found here, all at once, before anything is touched.

mod builder;
mod carry;
mod cause;
mod checks;
mod converge;
mod decide;
mod remove;
mod replica;
mod step;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use cause::{Cause, Warning};
pub(in crate::services) use checks::{collide, held_by};
pub use step::{After, AnonymousVolumes, Operation, Step, StepId, Target, Until};

use super::error::ServicesError;
use super::observe::Snapshot;
use crate::manifest::Manifest;
use crate::manifest::graph::Graph;

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Everything runs as the manifest says: made, started, or made anew where it has drifted.
    #[default]
    Start,
    /// As `start`, and what runs without drift is restarted.
    Restart,
    Stop,
    /// Containers go; volumes and networks by explicit word.
    Remove,
}

/// A wish: what to do with which services.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    pub action: Action,
    /// Names of services, as the selectors gave them; nothing is added for an empty one.
    pub selection: Vec<String>,
    pub options: Options,
}

/// How it is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub dependencies: Dependencies,
    pub recreate: Recreate,
    pub wait: Wait,
    /// For every wait of the plan; what the manifest says, else what suits the kind of wait, where absent.
    pub wait_timeout: Option<Duration>,
    pub failed: FailedContainers,
    pub namesakes: Namesakes,
    /// What `remove` takes beside containers.
    pub extent: BTreeSet<Extent>,
}

/// What becomes of dependencies that were not chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dependencies {
    /// They are started if they are down, never restarted.
    #[default]
    Start,
    /// They are left as they are, and nobody waits for them.
    Leave,
}

/// Which containers are made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recreate {
    #[default]
    Drifted,
    All,
}

/// How far an action follows what it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until every chosen service is ready.
    #[default]
    Ready,
    /// Only where a dependent, or an old container that is kept, needs to know.
    WhereNeeded,
}

/// What becomes of a container that failed to replace another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FailedContainers {
    #[default]
    Remove,
    /// It is stopped and kept for a look, as `<name>.dpl-failed`.
    Keep,
}

/// What becomes of a container that dpl did not make and that has the name of one that it is to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Namesakes {
    /// It stands in the way.
    #[default]
    Refuse,
    /// It is taken over: replaced as an old container of the service, and kept aside until the new one is ready.
    Adopt,
}

/// What `remove` takes beside the chosen services' containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Their volumes, anonymous ones too: the data in them is gone.
    Volumes,
    /// The project's networks that nothing uses any more.
    Networks,
    /// Containers of services that the manifest doesn't name.
    Orphans,
}

/// What is to be done, step by step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    pub project: String,
    pub action: Action,
    pub steps: Vec<Step>,
    /// What the operator should know, as lines.
    #[serde(serialize_with = "as_lines")]
    #[schemars(with = "Vec<String>")]
    pub warnings: Vec<Warning>,
    /// What the plan takes for granted of the containers that it touches.
    #[serde(skip)]
    pub expected: Vec<Expected>,
}

/// A container as the snapshot had it: another one now means that the plan is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub id: String,
    pub name: String,
    pub is_up: bool,
}

fn as_lines<S: Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(ToString::to_string))
}

impl Plan {
    /// Whether there is nothing to do and nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether anything would change; waiting changes nothing.
    pub fn changes_anything(&self) -> bool {
        self.steps.iter().any(|step| step.operation.changes())
    }

    /// The services that it touches, in the order in which they are touched first.
    pub fn services(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for service in self.steps.iter().filter_map(|step| step.service.as_deref()) {
            if !names.contains(&service) {
                names.push(service);
            }
        }
        names
    }
}

/// Makes the plan, or says everything that stands in its way.
pub fn plan(request: &Request, manifest: &Manifest, snapshot: &Snapshot) -> Result<Plan, ServicesError> {
    if let Some(unknown) = request.selection.iter().find(|name| manifest.services.get(name).is_none()) {
        return Err(ServicesError::UnknownService(unknown.clone()));
    }
    let graph = Graph::of(manifest);
    if let Some(ring) = graph.rings().into_iter().next() {
        return Err(ServicesError::Ring(ring.into_iter().map(str::to_owned).collect()));
    }
    let ground = Ground { request, manifest, snapshot, graph: &graph };
    match request.action {
        Action::Start | Action::Restart => converge::plan(&ground),
        Action::Stop => Ok(stop::plan(&ground)),
        Action::Remove => Ok(remove::plan(&ground)),
    }
}

/// What every planner stands on.
struct Ground<'a> {
    request: &'a Request,
    manifest: &'a Manifest,
    snapshot: &'a Snapshot,
    graph: &'a Graph<'a>,
}

impl<'a> Ground<'a> {
    fn chosen(&self) -> BTreeSet<&'a str> {
        self.request.selection.iter().map(String::as_str).collect()
    }
}
