//! `remove`: containers, dependents first; volumes, networks and orphans only by explicit word.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Chain, must_succeed};
use super::carry::is_anonymous;
use super::cause::Cause;
use super::step::{AnonymousVolumes, Operation, StepId};
use super::stop::{dependents_first, from_the_top, warn_of_dependents, warn_of_namesakes};
use super::{After, Extent, Ground, Plan};
use crate::services::labels;
use crate::services::observe::Seen;

pub(super) fn plan(ground: &Ground) -> Plan {
    let mut builder = Builder::default();
    let chosen = ground.chosen();
    let extent = &ground.request.options.extent;
    // What a service needs may go down as soon as it is down itself; nobody waits for its removal but what it used.
    let mut down: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    let mut removed: Vec<StepId> = Vec::new();
    let mut gone: Vec<&Seen> = Vec::new();
    for name in from_the_top(ground).filter(|name| chosen.contains(name)) {
        warn_of_dependents(ground, name, &chosen, &mut builder);
        warn_of_namesakes(ground, name, &mut builder);
        let before = dependents_first(ground, name, &down);
        for seen in ground.snapshot.containers.iter().filter(|seen| seen.service == name) {
            let steps = remove(&mut builder, seen, Cause::Asked, &before);
            down.entry(name).or_default().push(steps.down);
            removed.push(steps.gone);
            gone.push(seen);
        }
    }
    if extent.contains(&Extent::Orphans) {
        for seen in ground.snapshot.orphans(ground.manifest) {
            removed.push(remove(&mut builder, seen, Cause::Orphan, &[]).gone);
            gone.push(seen);
        }
    }
    let after: Vec<After> = removed.into_iter().map(must_succeed).collect();
    let gone_ids: BTreeSet<&str> = gone.iter().map(|seen| seen.view.id.as_str()).collect();
    let rest: Vec<&Seen> =
        ground.snapshot.containers.iter().filter(|seen| !gone_ids.contains(seen.view.id.as_str())).collect();
    if extent.contains(&Extent::Volumes) {
        for name in volumes(ground, &gone, &rest) {
            builder.resource(Operation::RemoveVolume { name }, Cause::Asked, after.clone());
        }
    }
    if extent.contains(&Extent::Networks) {
        for name in networks(ground, &rest) {
            builder.resource(Operation::RemoveNetwork { name }, Cause::Asked, after.clone());
        }
    }
    builder.finish(ground)
}

/// The steps after which a container is down, and after which it is gone.
struct Removal {
    down: StepId,
    gone: StepId,
}

fn remove(builder: &mut Builder, seen: &Seen, cause: Cause, before: &[After]) -> Removal {
    let mut chain = Chain::new(builder, &seen.service, seen.number, cause);
    chain.wait_for(before);
    let target = chain.builder.target(seen);
    let stopped = seen.is_up().then(|| chain.step(Operation::StopContainer { target: target.clone() }));
    // Volumes go by steps of their own, or stay.
    let gone = chain.step(Operation::RemoveContainer { target, volumes: AnonymousVolumes::Keep });
    Removal { down: stopped.unwrap_or(gone), gone }
}

/// Volumes that only the removed containers and the chosen services use: the project's own, and anonymous ones.
fn volumes(ground: &Ground, gone: &[&Seen], rest: &[&Seen]) -> BTreeSet<String> {
    let mounted =
        |seen: &Seen| -> Vec<String> { seen.view.mounts.iter().filter_map(|mount| mount.name.clone()).collect() };
    let in_use: BTreeSet<String> = rest.iter().flat_map(|seen| mounted(seen)).collect();
    let of_manifest = ground
        .request
        .selection
        .iter()
        .filter_map(|name| ground.manifest.services.get(name))
        .flat_map(|service| &service.volumes)
        .filter_map(|mount| mount.source.as_deref())
        .filter(|key| ground.manifest.volumes.get(*key).is_some_and(|volume| !volume.external))
        .map(|key| ground.manifest.volume_name(key));
    let is_ours = |name: &str| {
        ground.snapshot.volume(name).is_some_and(|volume| labels::are_of(&volume.labels, &ground.manifest.project))
    };
    let anonymous = gone.iter().flat_map(|seen| mounted(seen)).filter(|name| is_anonymous(name));
    of_manifest.filter(|name| is_ours(name)).chain(anonymous).filter(|name| !in_use.contains(name)).collect()
}

/// The project's networks in which no container of it is left.
fn networks(ground: &Ground, rest: &[&Seen]) -> Vec<String> {
    ground
        .snapshot
        .networks
        .iter()
        .filter(|network| labels::are_of(&network.labels, &ground.manifest.project))
        .map(|network| network.name.clone())
        .filter(|name| !rest.iter().any(|seen| seen.view.networks.contains_key(name)))
        .collect()
}
