//! The dependency graph of a manifest's services: order, layers, who needs whom.
//!
//! Built from `depends_on` and from namespaces that are shared (`network_mode: service:x`, `pid`, `ipc`), which bind
//! harder: a service can't be created before the one whose namespace it uses. A cycle is an answer here
//! ([`Graph::cycles`]), never a panic; the manifest's checks refuse it.

use std::collections::{BTreeMap, BTreeSet};

use super::Manifest;
use super::model::{Condition, Service};

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

/// Services and their needs. Services are numbered by their place in the manifest, from 0, removed ones left out.
#[derive(Debug)]
pub struct Graph<'m> {
    names: Vec<&'m str>,
    places: BTreeMap<&'m str, usize>,
    needs: Vec<Vec<(usize, Need)>>,
    dependents: Vec<Vec<(usize, Need)>>,
}

impl<'m> Graph<'m> {
    pub fn of(manifest: &'m Manifest) -> Self {
        let names: Vec<&str> = manifest.services.names().collect();
        let places: BTreeMap<&str, usize> = names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
        let mut all_needs = vec![Vec::new(); names.len()];
        let mut dependents = vec![Vec::new(); names.len()];
        for (place, (_, _, service)) in manifest.services.iter().enumerate() {
            for (other, need) in needs(service) {
                if let Some(target) = places.get(other) {
                    all_needs[place].push((*target, need));
                    dependents[*target].push((place, need));
                }
            }
        }
        Self { names, places, needs: all_needs, dependents }
    }

    /// What a service needs, in the manifest's order.
    pub fn needs(&self, service: &str) -> Vec<(&'m str, Need)> {
        self.named(&self.needs, service)
    }

    /// Who needs a service, in the manifest's order.
    pub fn dependents(&self, service: &str) -> Vec<(&'m str, Need)> {
        self.named(&self.dependents, service)
    }

    fn named(&self, edges: &[Vec<(usize, Need)>], service: &str) -> Vec<(&'m str, Need)> {
        let Some(place) = self.places.get(service) else {
            return Vec::new();
        };
        let mut found = edges[*place].clone();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(place, need)| (self.names[place], need)).collect()
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

    /// Layers, dependencies first; within a layer by number. Services of a cycle come last, all in one layer.
    pub fn layers(&self) -> Vec<Vec<&'m str>> {
        let others =
            |place: usize| self.needs[place].iter().map(|(other, _)| *other).filter(move |other| *other != place);
        let mut missing: Vec<usize> = (0..self.names.len()).map(|place| others(place).count()).collect();
        let mut layers = Vec::new();
        let mut layer: Vec<usize> = (0..self.names.len()).filter(|place| missing[*place] == 0).collect();
        let mut left = self.names.len();
        while !layer.is_empty() {
            left -= layer.len();
            let mut next = BTreeSet::new();
            for place in &layer {
                for (dependent, _) in self.dependents[*place].iter().filter(|(dependent, _)| dependent != place) {
                    missing[*dependent] -= 1;
                    if missing[*dependent] == 0 {
                        next.insert(*dependent);
                    }
                }
            }
            layers.push(std::mem::replace(&mut layer, next.into_iter().collect()));
        }
        if left > 0 {
            layers.push((0..self.names.len()).filter(|place| missing[*place] > 0).collect());
        }
        layers.into_iter().map(|layer| layer.into_iter().map(|place| self.names[place]).collect()).collect()
    }

    /// Rings of services that need each other, each once, in the order of the needs; the first service is not repeated at
    /// the end. Empty if and only if there is none.
    pub fn cycles(&self) -> Vec<Vec<&'m str>> {
        let mut cycles = Vec::new();
        let mut visits = vec![Visit::New; self.names.len()];
        for start in 0..self.names.len() {
            if visits[start] != Visit::New {
                continue;
            }
            visits[start] = Visit::Open;
            // An explicit stack, with how many needs of each were followed: a chain of a thousand services must not
            // exhaust the call stack.
            let mut path: Vec<(usize, usize)> = vec![(start, 0)];
            while let Some((place, followed)) = path.last_mut() {
                let place = *place;
                let Some((next, _)) = self.needs[place].get(*followed) else {
                    visits[place] = Visit::Done;
                    path.pop();
                    continue;
                };
                *followed += 1;
                match visits[*next] {
                    Visit::Done => {}
                    Visit::Open => {
                        let from = path.iter().position(|(place, _)| place == next).unwrap_or_default();
                        cycles.push(path[from..].iter().map(|(place, _)| self.names[*place]).collect());
                    }
                    Visit::New => {
                        visits[*next] = Visit::Open;
                        path.push((*next, 0));
                    }
                }
            }
        }
        cycles
    }
}

/// How far the search for cycles has come with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    New,
    Open,
    Done,
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
    for link in &service.links {
        if !needs.iter().any(|(name, _)| *name == link.service) {
            let condition = Condition::ServiceStarted;
            needs.push((&link.service, Need { condition, required: true, restart: false, namespace: false }));
        }
    }
    for other in service.shared_namespaces() {
        match needs.iter_mut().find(|(name, _)| *name == other) {
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
    use crate::manifest::model::{Dependency, NamespaceMode};
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
        assert_eq!(graph.cycles(), [["a", "b", "c"]]);
        assert_eq!(graph.layers(), [vec!["d"], vec!["a", "b", "c"]]);
        let manifest = self::manifest(&[("self", &["self"])]);
        assert_eq!(Graph::of(&manifest).cycles(), [["self"]]);
    }

    proptest! {
        #[test]
        fn no_service_lies_in_a_layer_before_what_it_needs(edges in prop::collection::vec((0usize..30, 0usize..30), 0..120)) {
            let names: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
            let mut manifest = Manifest::default();
            for (number, name) in names.iter().enumerate() {
                // Edges to higher numbers only: no cycles.
                let depends_on = edges
                    .iter()
                    .filter(|(from, to)| *from == number && to > from)
                    .map(|(_, to)| (names[*to].clone(), Dependency::default()))
                    .collect();
                manifest.services.push(name.clone(), Some(Service { depends_on, ..Service::default() }));
            }
            let graph = Graph::of(&manifest);
            prop_assert!(graph.cycles().is_empty());
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
