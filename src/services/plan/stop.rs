//! `stop`: dependents first, in parallel where the graph allows.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Chain, must_succeed};
use super::cause::{Cause, Warning};
use super::step::{Operation, StepId};
use super::{After, Plan, PlanInput};

pub(super) fn plan(input: &PlanInput) -> Plan {
    let mut builder = Builder::default();
    let chosen = input.chosen();
    let mut ends: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    for name in dependents_before_what_they_need(input).filter(|name| chosen.contains(name)) {
        warn_of_dependents(input, name, &chosen, &mut builder);
        warn_of_namesakes(input, name, &mut builder);
        let before = after_dependents(input, name, &ends);
        for seen in input.snapshot.containers.iter().filter(|seen| seen.service == name && seen.is_up()) {
            let mut chain = Chain::new(&mut builder, name, seen.number, Cause::Asked);
            chain.wait_for(&before);
            let target = chain.builder.target(seen);
            let stopped = chain.step(Operation::StopContainer { target });
            ends.entry(name).or_default().push(stopped);
        }
    }
    builder.finish(input)
}

/// Services, those that nobody needs first.
pub(super) fn dependents_before_what_they_need<'a>(input: &PlanInput<'a>) -> impl Iterator<Item = &'a str> {
    input.graph.layers().into_iter().rev().flatten()
}

/// The steps of everything that needs a service, directly or through services that are not chosen themselves.
pub(super) fn after_dependents(input: &PlanInput, name: &str, ends: &BTreeMap<&str, Vec<StepId>>) -> Vec<After> {
    let mut after = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![name];
    while let Some(service) = open.pop() {
        for (dependent, _) in input.graph.dependents(service) {
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
pub(super) fn warn_of_dependents(input: &PlanInput, name: &str, chosen: &BTreeSet<&str>, builder: &mut Builder) {
    let runs = |service: &str| input.snapshot.runs(service);
    if !runs(name) {
        return;
    }
    let by: Vec<String> = input
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
pub(super) fn warn_of_namesakes(input: &PlanInput, name: &str, builder: &mut Builder) {
    for seen in input.snapshot.namesakes.iter().filter(|seen| seen.service == name) {
        builder.warn(Warning::NotOurs { service: name.to_owned(), container: seen.view.name.clone() });
    }
}
