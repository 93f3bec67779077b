//! Which services begin to run, or may, when a request is carried out: only for those does a plan need to know what the
//! engine's host has to give.
//!
//! Wider than the plan where the two could differ: a look too much costs a moment, one too little a failed start.

use std::collections::BTreeSet;

use super::observed::{Observed, ObservedContainer, Role};
use super::resources::network_drift;
use super::{drift, gpus};
use crate::manifest::Manifest;
use crate::manifest::graph::Graph;
use crate::manifest::model::Service;
use crate::services::request::{Action, Dependencies, Recreate, Request};

/// A service that begins to run, or may.
#[derive(Clone, Copy)]
pub(super) struct Starting<'a> {
    pub name: &'a str,
    pub service: &'a Service,
    /// Whether it gets a new container.
    pub is_made: bool,
}

/// In the manifest's order.
pub(super) fn starting<'m>(request: &Request, manifest: &'m Manifest, observed: &Observed) -> Vec<Starting<'m>> {
    let graph = Graph::of(manifest);
    let chosen: BTreeSet<&str> = request.selection.iter().map(String::as_str).collect();
    let needed = match request.options.dependencies {
        Dependencies::Start => graph.needed_by(&chosen),
        Dependencies::Leave => BTreeSet::new(),
    };
    let mut found: Vec<Starting> = Vec::new();
    for name in graph.layers().into_iter().flatten() {
        let Some(service) = manifest.services.get(name) else {
            continue;
        };
        let look = Look { request, manifest, observed, name, service };
        let is_chosen = chosen.contains(name);
        let needs = graph.needs(name);
        let changes = |other: &str| found.iter().any(|starting| starting.name == other);
        let shares = needs.iter().any(|(other, need)| need.namespace && changes(other));
        let follows = needs.iter().any(|(other, need)| need.restart && changes(other));
        let is_made = shares
            || look.loses_network()
            || (is_chosen && look.is_made())
            || (needed.contains(name) && look.has_none());
        let starts = is_made
            || follows
            || (is_chosen && (request.action == Action::Restart || gpus::waits_for_one(name, service, observed)))
            || ((is_chosen || needed.contains(name)) && !look.runs());
        if starts {
            found.push(Starting { name, service, is_made });
        }
    }
    found.sort_by_key(|starting| manifest.services.names().position(|name| name == starting.name));
    found
}

struct Look<'a> {
    request: &'a Request,
    manifest: &'a Manifest,
    observed: &'a Observed,
    name: &'a str,
    service: &'a Service,
}

impl Look<'_> {
    fn mains(&self) -> impl Iterator<Item = &ObservedContainer> {
        (1..=self.service.replicas()).filter_map(|number| self.observed.main(self.name, number))
    }

    /// Whether a container of it is missing.
    fn has_none(&self) -> bool {
        self.mains().count() < self.service.replicas() as usize
    }

    fn runs(&self) -> bool {
        !self.has_none() && self.mains().all(|seen| seen.is_up())
    }

    /// Whether it runs in a network that may be recreated.
    fn loses_network(&self) -> bool {
        let differs = |key: &&str| !network_drift(self.manifest, key, self.observed).is_empty();
        self.request.options.recreate_networks
            && self.mains().any(ObservedContainer::is_up)
            && self.service.network_keys().iter().any(differs)
    }

    fn is_made(&self) -> bool {
        let is_cut_off =
            self.observed.containers.iter().any(|seen| seen.service == self.name && seen.role != Role::Main);
        self.request.options.recreate == Recreate::All
            || self.has_none()
            || is_cut_off
            || self.mains().any(|seen| !drift::of(self.manifest, self.service, seen, self.observed).is_none())
    }
}
