//! `start` and `restart`: networks and volumes, then containers along the dependency graph.
//!
//! First each service's wish and decision, dependencies first, since what happens to one decides about those that are
//! tied to it. Then the checks. Then the steps.

mod replace;
mod resources;
mod steps;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use super::builder::Builder;
use super::cause::Cause;
use super::decide::{Change, Decision, Wish, affected, decide};
use super::replica::Replica;
use super::{Action, Dependencies, Ground, Namesakes, Plan, checks};
use crate::manifest::model::{Condition, Service};
use crate::services::error::ServicesError;
use crate::services::observe::Seen;

/// What happens to a service.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub name: &'a str,
    pub service: &'a Service,
    pub is_chosen: bool,
    pub is_one_shot: bool,
    pub places: Vec<(Replica<'a>, Decision<'a>)>,
    /// Containers beyond `scale`.
    pub surplus: Vec<&'a Seen>,
}

impl Work<'_> {
    pub fn change(&self) -> Change {
        self.places.iter().map(|(_, decision)| decision.change()).max().unwrap_or(Change::Nothing)
    }

    pub fn makes_a_container(&self) -> bool {
        self.places.iter().any(|(_, decision)| decision.makes_a_container())
    }

    pub fn starts(&self) -> bool {
        self.places.iter().any(|(_, decision)| decision.starts())
    }
}

pub(super) fn plan(ground: &Ground) -> Result<Plan, ServicesError> {
    let works = works(ground);
    let mut builder = Builder::default();
    let problems = checks::check(ground, &works, &mut builder);
    if !problems.is_empty() {
        return Err(ServicesError::Problems(problems));
    }
    steps::build(ground, &works, &mut builder);
    Ok(builder.finish(ground))
}

/// Decides about every service, dependencies first.
fn works<'a>(ground: &Ground<'a>) -> Vec<Work<'a>> {
    let chosen = ground.chosen();
    let needed = match ground.request.options.dependencies {
        Dependencies::Start => ground.graph.needed_by(&chosen),
        Dependencies::Leave => BTreeSet::new(),
    };
    let mut works: Vec<Work> = Vec::new();
    let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
    for names in ground.graph.layers() {
        for name in names {
            let Some(service) = ground.manifest.services.get(name) else {
                continue;
            };
            let is_chosen = chosen.contains(name);
            let wish = match (is_chosen, ground.request.action) {
                (true, Action::Restart) => Wish::Restart,
                (true, _) => Wish::Converge,
                (false, _) if needed.contains(name) => Wish::Run { by: needer(ground, name, &chosen, &needed) },
                (false, _) => Wish::Nothing,
            };
            let work = work(ground, (name, service), &wish, &changes);
            changes.insert(name, work.change());
            works.push(work);
        }
    }
    works
}

fn work<'a>(
    ground: &Ground<'a>,
    (name, service): (&'a str, &'a Service),
    wish: &Wish,
    changes: &BTreeMap<&str, Change>,
) -> Work<'a> {
    let is_one_shot = is_one_shot(ground, name);
    let is_chosen = matches!(wish, Wish::Converge | Wish::Restart);
    let wanted = service.replicas();
    let numbers: BTreeSet<u32> = match wish {
        // Nothing new is made of a service that nobody asked for.
        Wish::Nothing => {
            ground.snapshot.containers.iter().filter(|seen| seen.service == name).map(|seen| seen.number).collect()
        }
        _ => (1..=wanted).collect(),
    };
    let places = numbers
        .into_iter()
        .map(|number| {
            let adopts = *wish != Wish::Nothing && ground.request.options.namesakes == Namesakes::Adopt;
            let replica = Replica::of(ground.snapshot, name, number, adopts);
            let decision = decide(ground, service, &replica, wish, is_one_shot);
            let decision = ground.graph.needs(name).into_iter().fold(decision, |decision, (other, need)| {
                let change = changes.get(other).copied().unwrap_or(Change::Nothing);
                let follows = need.restart && ground.request.options.dependencies == Dependencies::Start;
                if need.namespace || follows {
                    affected(decision, &replica, change, need.namespace, other)
                } else {
                    decision
                }
            });
            (replica, decision)
        })
        .collect();
    let surplus = match wish {
        Wish::Converge | Wish::Restart => {
            ground.snapshot.containers.iter().filter(|seen| seen.service == name && seen.number > wanted).collect()
        }
        _ => Vec::new(),
    };
    Work { name, service, is_chosen, is_one_shot, places, surplus }
}

/// Whether somebody waits for the service to end: then its work is done when it has.
fn is_one_shot(ground: &Ground, name: &str) -> bool {
    let awaits_end =
        |(_, need): (&str, crate::manifest::graph::Need)| need.condition == Condition::ServiceCompletedSuccessfully;
    ground.graph.dependents(name).into_iter().any(awaits_end)
}

/// The first service that is chosen, or needed itself, and needs this one.
fn needer(ground: &Ground, name: &str, chosen: &BTreeSet<&str>, needed: &BTreeSet<&str>) -> String {
    let dependents = ground.graph.dependents(name);
    let by = dependents
        .iter()
        .find(|(other, _)| chosen.contains(other))
        .or_else(|| dependents.iter().find(|(other, _)| needed.contains(other)));
    by.map(|(other, _)| (*other).to_owned()).unwrap_or_default()
}

/// The cause of a place's steps.
pub(super) fn cause_of(decision: &Decision) -> Cause {
    match decision {
        Decision::Nothing => Cause::Asked,
        Decision::Keep { cause, .. } | Decision::Make { cause, .. } => cause.clone(),
        Decision::PutBack { .. } | Decision::Prove { .. } => Cause::CutOff,
    }
}
