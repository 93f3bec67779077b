//! Planning: a pure function of manifest, request and snapshot. No engine, no clock, no file.
//!
//! A [`Plan`] is steps with their order and causes; [`super::execute()`] runs them and decides nothing. Everything that
//! can be known to fail is found here, all at once, before anything is touched.

mod builder;
pub(super) mod carry;
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

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use cause::{Cause, Warning};
pub use step::{
    After, AnonymousVolumes, OldNetwork, Operation, ReplicaId, STEADY_REPLACEMENT, Step, StepId, Target, Until,
};

use crate::manifest::Manifest;
use crate::manifest::graph::Graph;
use crate::services::error::ServicesError;
use crate::services::request::{Action, Dependencies, Extent, Namesakes, Recreate, Request};
use crate::services::snapshot::Snapshot;

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
    if let Some(cycle) = graph.cycles().into_iter().next() {
        return Err(ServicesError::Cycle(cycle.into_iter().map(str::to_owned).collect()));
    }
    let mut input = PlanInput { request, manifest, snapshot, graph: &graph, recreated_networks: BTreeSet::new() };
    input.recreated_networks = converge::recreated_networks(&input);
    match request.action {
        Action::Start | Action::Restart => converge::plan(&input),
        Action::Stop => Ok(stop::plan(&input)),
        Action::Remove => remove::plan(&input),
    }
}

/// What every planner stands on.
struct PlanInput<'a> {
    request: &'a Request,
    manifest: &'a Manifest,
    snapshot: &'a Snapshot,
    graph: &'a Graph<'a>,
    /// Keys of the networks that are recreated.
    recreated_networks: BTreeSet<String>,
}

impl<'a> PlanInput<'a> {
    fn chosen(&self) -> BTreeSet<&'a str> {
        self.request.selection.iter().map(String::as_str).collect()
    }
}
