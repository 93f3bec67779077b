//! The dependency graph as something to look at: the chosen services, all that they need, and how.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::manifest::Manifest;
use crate::manifest::graph::Graph;
use crate::manifest::model::Condition;
use crate::services::error::ServicesError;

/// Services and what they need of each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Dependencies {
    pub project: String,
    /// By layer, and by number within each.
    pub services: Vec<DependencyNode>,
    /// In the order of `services`, and of each one's needs in the manifest.
    pub needs: Vec<DependencyEdge>,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DependencyNode {
    pub index: usize,
    pub name: String,
    /// From 1; each layer needs only those before it.
    pub layer: usize,
    /// Whether it was chosen, not only needed by one that was.
    pub chosen: bool,
}

/// That one service needs another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DependencyEdge {
    pub service: String,
    pub needs: String,
    /// `service_started`, `service_healthy` or `service_completed_successfully`.
    pub condition: &'static str,
    /// Whether it can't start when the other one fails.
    pub required: bool,
    /// Whether it is restarted when the other one is.
    pub restart: bool,
    /// Whether it lives in a namespace of the other's container.
    pub namespace: bool,
}

/// The chosen services and everything that they need, directly or not.
pub fn dependencies(manifest: &Manifest, selection: &[String]) -> Result<Dependencies, ServicesError> {
    if let Some(unknown) = selection.iter().find(|name| manifest.services.get(name).is_none()) {
        return Err(ServicesError::UnknownService(unknown.clone()));
    }
    let graph = Graph::of(manifest);
    let chosen: BTreeSet<&str> = selection.iter().map(String::as_str).collect();
    let needed = graph.needed_by(&chosen);
    let mut found = Dependencies { project: manifest.project.clone(), ..Dependencies::default() };
    for (layer, names) in graph.layers().into_iter().enumerate() {
        for name in names.into_iter().filter(|name| chosen.contains(name) || needed.contains(name)) {
            let index = manifest.services.iter().find(|(_, other, _)| *other == name).map_or(0, |(index, ..)| index);
            let chosen = chosen.contains(name);
            found.services.push(DependencyNode { index, name: name.to_owned(), layer: layer + 1, chosen });
            found.needs.extend(graph.needs(name).into_iter().map(|(other, need)| DependencyEdge {
                service: name.to_owned(),
                needs: other.to_owned(),
                condition: match need.condition {
                    Condition::ServiceStarted => "service_started",
                    Condition::ServiceHealthy => "service_healthy",
                    Condition::ServiceCompletedSuccessfully => "service_completed_successfully",
                },
                required: need.required,
                restart: need.restart,
                namespace: need.namespace,
            }));
        }
    }
    Ok(found)
}
