//! `stop`: dependents first, in parallel where the graph allows.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Chain, must_succeed};
use super::cause::{Cause, Warning};
use super::step::{Operation, StepId};
use super::{After, Ground, Plan};

pub(super) fn plan(ground: &Ground) -> Plan {
    let mut builder = Builder::default();
    let chosen = ground.chosen();
    let mut ends: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    for name in from_the_top(ground).filter(|name| chosen.contains(name)) {
        warn_of_dependents(ground, name, &chosen, &mut builder);
        warn_of_namesakes(ground, name, &mut builder);
        let before = dependents_first(ground, name, &ends);
        for seen in ground.snapshot.containers.iter().filter(|seen| seen.service == name && seen.is_up()) {
            let mut chain = Chain::new(&mut builder, name, seen.number, Cause::Asked);
            chain.wait_for(&before);
            let target = chain.builder.target(seen);
            let stopped = chain.step(Operation::StopContainer { target });
            ends.entry(name).or_default().push(stopped);
        }
    }
    builder.finish(ground)
}

/// Services, those that nobody needs first.
pub(super) fn from_the_top<'a>(ground: &Ground<'a>) -> impl Iterator<Item = &'a str> {
    ground.graph.layers().into_iter().rev().flatten()
}

/// The steps of everything that needs a service, directly or through services that are not chosen themselves.
pub(super) fn dependents_first(ground: &Ground, name: &str, ends: &BTreeMap<&str, Vec<StepId>>) -> Vec<After> {
    let mut after = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![name];
    while let Some(service) = open.pop() {
        for (dependent, _) in ground.graph.dependents(service) {
            if !seen.insert(dependent) {
                continue;
            }
            match ends.get(dependent) {
                Some(steps) => after.extend(steps.iter().copied().map(must_succeed)),
                None => open.push(dependent),
            }
        }
    }
    after
}

/// Names who still runs and needs the service.
pub(super) fn warn_of_dependents(ground: &Ground, name: &str, chosen: &BTreeSet<&str>, builder: &mut Builder) {
    let runs = |service: &str| ground.snapshot.runs(service);
    if !runs(name) {
        return;
    }
    let by: Vec<String> = ground
        .graph
        .dependents(name)
        .into_iter()
        .filter(|(dependent, need)| need.required && !chosen.contains(dependent) && runs(dependent))
        .map(|(dependent, _)| dependent.to_owned())
        .collect();
    if !by.is_empty() {
        builder.warn(Warning::StillNeeded { service: name.to_owned(), by });
    }
}

/// Names a container that looks as if it were the service's, and is left alone.
pub(super) fn warn_of_namesakes(ground: &Ground, name: &str, builder: &mut Builder) {
    for seen in ground.snapshot.namesakes.iter().filter(|seen| seen.service == name) {
        builder.warn(Warning::NotOurs { service: name.to_owned(), container: seen.view.name.clone() });
    }
}
