//! The dependency graph of a manifest's services: order, layers, who needs whom.
//!
//! Built from `depends_on` and from namespaces that are shared (`network_mode: service:x`, `pid`, `ipc`), which bind
//! harder: a service can't be made before the one whose namespace it uses. The manifest's checks refuse rings; here a
//! ring is an answer ([`Graph::ring`]), never a panic.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::manifest::Manifest;
use crate::manifest::model::{Condition, NamespaceMode, Service};

/// How a service needs another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub condition: Condition,
    /// Whether it can't start when the other one fails.
    pub required: bool,
    /// Whether it is restarted when the other one is.
    pub restart: bool,
    /// Whether it lives in a namespace of the other's container.
    pub namespace: bool,
}

/// Services and their needs; edges run from the one that needs to the one that is needed.
#[derive(Debug)]
pub struct Graph<'m> {
    graph: DiGraph<&'m str, Need>,
    places: BTreeMap<&'m str, NodeIndex>,
}

impl<'m> Graph<'m> {
    pub fn of(manifest: &'m Manifest) -> Self {
        let mut graph = DiGraph::new();
        let places: BTreeMap<&str, NodeIndex> =
            manifest.services.names().map(|name| (name, graph.add_node(name))).collect();
        for (_, name, service) in manifest.services.iter() {
            for (other, need) in needs(service) {
                if let Some(target) = places.get(other) {
                    graph.add_edge(places[name], *target, need);
                }
            }
        }
        Self { graph, places }
    }

    /// What a service needs, in the manifest's order.
    pub fn needs(&self, service: &str) -> Vec<(&'m str, Need)> {
        self.neighbours(service, Direction::Outgoing)
    }

    /// Who needs a service.
    pub fn dependents(&self, service: &str) -> Vec<(&'m str, Need)> {
        self.neighbours(service, Direction::Incoming)
    }

    fn neighbours(&self, service: &str, direction: Direction) -> Vec<(&'m str, Need)> {
        let Some(place) = self.places.get(service) else {
            return Vec::new();
        };
        let mut found: Vec<(NodeIndex, Need)> = self
            .graph
            .edges_directed(*place, direction)
            .map(|edge| (if direction == Direction::Outgoing { edge.target() } else { edge.source() }, *edge.weight()))
            .collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(place, need)| (self.graph[place], need)).collect()
    }

    /// Everything that these services need, directly or not, without themselves.
    pub fn needed_by(&self, services: &BTreeSet<&str>) -> BTreeSet<&'m str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = services.iter().copied().collect();
        while let Some(service) = open.pop() {
            for (other, _) in self.needs(service) {
                if !services.contains(other) && found.insert(other) {
                    open.push(other);
                }
            }
        }
        found
    }

    /// Layers, dependencies first; within a layer by number. Services of a ring come last, all in one layer.
    pub fn layers(&self) -> Vec<Vec<&'m str>> {
        let mut open: BTreeMap<NodeIndex, BTreeSet<NodeIndex>> = self
            .graph
            .node_indices()
            .map(|place| (place, self.graph.neighbors(place).filter(|other| *other != place).collect()))
            .collect();
        let mut layers = Vec::new();
        while !open.is_empty() {
            let mut layer: Vec<NodeIndex> =
                open.iter().filter(|(_, needs)| needs.is_empty()).map(|(place, _)| *place).collect();
            if layer.is_empty() {
                layer = open.keys().copied().collect();
            }
            for place in &layer {
                open.remove(place);
            }
            for needs in open.values_mut() {
                needs.retain(|place| !layer.contains(place));
            }
            layers.push(layer.into_iter().map(|place| self.graph[place]).collect());
        }
        layers
    }

    /// A ring of services that need each other, if there is one.
    pub fn ring(&self) -> Option<Vec<&'m str>> {
        let mut ring = tarjan_scc(&self.graph)
            .into_iter()
            .find(|group| group.len() > 1 || group.iter().any(|place| self.graph.contains_edge(*place, *place)))?;
        ring.sort();
        Some(ring.into_iter().map(|place| self.graph[place]).collect())
    }
}

/// A service's needs; one that is named twice is needed as the stricter of both says.
fn needs(service: &Service) -> Vec<(&str, Need)> {
    let mut needs: Vec<(&str, Need)> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| {
            let need = Need {
                condition: dependency.condition,
                required: dependency.required,
                restart: dependency.restart,
                namespace: false,
            };
            (name.as_str(), need)
        })
        .collect();
    for mode in [&service.network_mode, &service.pid, &service.ipc].into_iter().flatten() {
        let NamespaceMode::Service(other) = mode else {
            continue;
        };
        match needs.iter_mut().find(|(name, _)| name == other) {
            Some((_, need)) => *need = Need { required: true, restart: true, namespace: true, ..*need },
            None => {
                let condition = Condition::ServiceStarted;
                needs.push((other, Need { condition, required: true, restart: true, namespace: true }));
            }
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::Dependency;
    use proptest::prelude::*;

    fn manifest(services: &[(&str, &[&str])]) -> Manifest {
        let mut manifest = Manifest::default();
        for (name, needs) in services {
            let depends_on = needs
                .iter()
                .map(|name| ((*name).to_owned(), Dependency { required: true, ..Dependency::default() }))
                .collect();
            manifest.services.push((*name).to_owned(), Some(Service { depends_on, ..Service::default() }));
        }
        manifest
    }

    #[test]
    fn layers_put_dependencies_first_and_keep_the_manifest_order_within() {
        let manifest =
            manifest(&[("ui", &["api"]), ("api", &["db", "cache"]), ("cache", &[]), ("db", &[]), ("job", &["db"])]);
        assert_eq!(Graph::of(&manifest).layers(), [vec!["cache", "db"], vec!["api", "job"], vec!["ui"]]);
    }

    #[test]
    fn needs_are_followed_to_the_end_and_leave_out_the_chosen() {
        let manifest = manifest(&[("ui", &["api"]), ("api", &["db"]), ("db", &[]), ("other", &["db"])]);
        let graph = Graph::of(&manifest);
        assert_eq!(graph.needed_by(&BTreeSet::from(["ui"])), BTreeSet::from(["api", "db"]));
        assert_eq!(graph.needed_by(&BTreeSet::from(["ui", "db"])), BTreeSet::from(["api"]));
        assert_eq!(graph.dependents("db").iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["api", "other"]);
    }

    #[test]
    fn a_shared_namespace_is_a_hard_need() {
        let mut manifest = manifest(&[("vpn", &[])]);
        let service = Service { network_mode: Some(NamespaceMode::Service("vpn".to_owned())), ..Service::default() };
        manifest.services.push("worker".to_owned(), Some(service));
        let needs = Graph::of(&manifest).needs("worker");
        assert_eq!(needs.len(), 1);
        assert!(needs[0].1.namespace && needs[0].1.required && needs[0].1.restart);
    }

    #[test]
    fn a_ring_is_found_and_does_not_hang_the_layers() {
        let manifest = manifest(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &[])]);
        let graph = Graph::of(&manifest);
        assert_eq!(graph.ring(), Some(vec!["a", "b", "c"]));
        assert_eq!(graph.layers(), [vec!["d"], vec!["a", "b", "c"]]);
        let manifest = self::manifest(&[("self", &["self"])]);
        assert_eq!(Graph::of(&manifest).ring(), Some(vec!["self"]));
    }

    proptest! {
        #[test]
        fn no_service_lies_in_a_layer_before_what_it_needs(edges in prop::collection::vec((0usize..30, 0usize..30), 0..120)) {
            let names: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
            let mut manifest = Manifest::default();
            for (number, name) in names.iter().enumerate() {
                // Edges to higher numbers only: no rings.
                let depends_on = edges
                    .iter()
                    .filter(|(from, to)| *from == number && to > from)
                    .map(|(_, to)| (names[*to].clone(), Dependency::default()))
                    .collect();
                manifest.services.push(name.clone(), Some(Service { depends_on, ..Service::default() }));
            }
            let graph = Graph::of(&manifest);
            prop_assert_eq!(graph.ring(), None);
            let layers = graph.layers();
            let layer = |name: &str| layers.iter().position(|layer| layer.contains(&name)).unwrap();
            for name in &names {
                for (other, _) in graph.needs(name) {
                    prop_assert!(layer(other) < layer(name));
                }
            }
            prop_assert_eq!(layers.iter().map(Vec::len).sum::<usize>(), names.len());
        }
    }
}
