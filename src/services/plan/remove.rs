//! `remove`: containers, dependents first; volumes, networks and orphans only by explicit word.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Chain, must_succeed};
use super::carry::is_anonymous;
use super::cause::{Cause, Warning};
use super::step::{AnonymousVolumes, Operation, StepId};
use super::stop::{after_dependents, dependents_before_what_they_need, warn_of_dependents, warn_of_namesakes};
use super::{After, Extent, Plan, PlanInput};
use crate::manifest::mounted_volumes;
use crate::services::container::labels;
use crate::services::error::{Problem, ServicesError};
use crate::services::snapshot::observed::ObservedContainer;

pub(super) fn plan(input: &PlanInput) -> Result<Plan, ServicesError> {
    let mut builder = Builder::default();
    let chosen = input.chosen();
    let extent = &input.request.options.extent;
    // What a service needs may go down as soon as it is down itself; nobody waits for its removal but what it used.
    let mut down: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    let mut removed: Vec<StepId> = Vec::new();
    let mut gone: Vec<&ObservedContainer> = Vec::new();
    for name in dependents_before_what_they_need(input).filter(|name| chosen.contains(name)) {
        warn_of_dependents(input, name, &chosen, &mut builder);
        warn_of_namesakes(input, name, &mut builder);
        let before = after_dependents(input, name, &down);
        for seen in input.snapshot.containers.iter().filter(|seen| seen.service == name) {
            let steps = remove(&mut builder, seen, Cause::Asked, &before);
            down.entry(name).or_default().push(steps.down);
            removed.push(steps.gone);
            gone.push(seen);
        }
    }
    if extent.contains(&Extent::Orphans) {
        if let Some(why) = &input.snapshot.unread_manifest {
            return Err(ServicesError::Problems(vec![Problem::OrphansUnknown { why: why.clone() }]));
        }
        // What is an orphan here may be a service of the manifest that lies there.
        for folder in input.snapshot.other_folders.keys() {
            builder.warn(Warning::OtherFolder { folder: folder.clone() });
        }
        for seen in input.snapshot.orphans(input.manifest) {
            removed.push(remove(&mut builder, seen, Cause::Orphan, &[]).gone);
            gone.push(seen);
        }
    }
    let after: Vec<After> = removed.into_iter().map(must_succeed).collect();
    let gone_ids: BTreeSet<&str> = gone.iter().map(|seen| seen.view.id.as_str()).collect();
    let rest: Vec<&ObservedContainer> =
        input.snapshot.containers.iter().filter(|seen| !gone_ids.contains(seen.view.id.as_str())).collect();
    if let Some(why) = input.snapshot.volume_users_unknown.as_ref().filter(|_| extent.contains(&Extent::Volumes)) {
        return Err(ServicesError::Problems(vec![Problem::VolumesUnknown { why: why.clone() }]));
    }
    if !extent.contains(&Extent::Volumes) {
        warn_of_volumes(&gone, &rest, &mut builder);
    } else {
        for volume in volumes_of_manifest(input).into_iter().filter(|name| input.snapshot.volume(name).is_some()) {
            if !is_ours(input, &volume) {
                builder.warn(Warning::VolumeNotOurs { volume });
            }
        }
        for name in volumes(input, &gone, &rest) {
            builder.resource(Operation::RemoveVolume { name }, Cause::Asked, after.clone());
        }
    }
    if extent.contains(&Extent::Networks) {
        for network in networks_not_ours(input) {
            builder.warn(Warning::NetworkNotOurs { network });
        }
        for name in networks(input, &rest, &mut builder) {
            builder.resource(Operation::RemoveNetwork { name }, Cause::Asked, after.clone());
        }
    }
    Ok(builder.finish(input))
}

/// The steps after which a container is down, and after which it is gone.
struct Removal {
    down: StepId,
    gone: StepId,
}

fn remove(builder: &mut Builder, seen: &ObservedContainer, cause: Cause, before: &[After]) -> Removal {
    let mut chain = Chain::new(builder, &seen.service, seen.number, cause);
    chain.wait_for(before);
    let target = chain.builder.target(seen);
    let stopped = seen.is_up().then(|| chain.step(Operation::StopContainer { target: target.clone() }));
    // Volumes go by steps of their own, or stay.
    let gone = chain.step(Operation::RemoveContainer { target, volumes: AnonymousVolumes::Keep });
    Removal { down: stopped.unwrap_or(gone), gone }
}

/// Names the anonymous volumes that no container has any more.
pub(super) fn warn_of_volumes(gone: &[&ObservedContainer], rest: &[&ObservedContainer], builder: &mut Builder) {
    for seen in gone {
        for mount in &seen.view.mounts {
            let is_used = |other: &&ObservedContainer| other.view.mounts.iter().any(|used| used.name == mount.name);
            let Some(volume) = mount.name.as_ref().filter(|name| is_anonymous(name) && !rest.iter().any(is_used))
            else {
                continue;
            };
            let (service, path, volume) = (seen.service.clone(), mount.target.clone(), volume.clone());
            builder.warn(Warning::VolumeStays { service, path, volume });
        }
    }
}

/// Volumes that only the removed containers and the chosen services use: the project's own, and anonymous ones. A service
/// needs its volumes whether it has a container now or not.
fn volumes(input: &PlanInput, gone: &[&ObservedContainer], rest: &[&ObservedContainer]) -> BTreeSet<String> {
    let mounted = |seen: &ObservedContainer| -> Vec<String> {
        seen.view.mounts.iter().filter_map(|mount| mount.name.clone()).collect()
    };
    let chosen = input.chosen();
    let others = input.manifest.services.iter().filter(|(_, name, _)| !chosen.contains(name));
    let of_others = others.flat_map(|(_, _, service)| mounted_volumes(input.manifest, service));
    let elsewhere = input.snapshot.volume_users.iter();
    let elsewhere = elsewhere.filter(|(_, users)| users.iter().any(|user| !chosen.contains(user.as_str())));
    let foreign = input.snapshot.foreign_containers.iter().flat_map(|other| &other.mounts);
    let in_use: BTreeSet<String> = rest
        .iter()
        .flat_map(|seen| mounted(seen))
        .chain(of_others)
        .chain(elsewhere.map(|(volume, _)| volume.clone()))
        .chain(foreign.filter_map(|mount| mount.name.clone()))
        .collect();
    let ours = volumes_of_manifest(input).into_iter().filter(|name| is_ours(input, name));
    let anonymous = gone.iter().flat_map(|seen| mounted(seen)).filter(|name| is_anonymous(name));
    ours.chain(anonymous).filter(|name| !in_use.contains(name)).collect()
}

/// The volumes that the chosen services mount, and that are the manifest's to make.
fn volumes_of_manifest(input: &PlanInput) -> BTreeSet<String> {
    input
        .request
        .selection
        .iter()
        .filter_map(|name| input.manifest.services.get(name))
        .flat_map(|service| &service.volumes)
        .filter_map(|mount| mount.source.as_deref())
        .filter(|key| input.manifest.volumes.get(*key).is_some_and(|volume| !volume.external))
        .map(|key| input.manifest.volume_name(key))
        .collect()
}

/// Networks of the chosen services that dpl did not make, under names that it would give to its own.
fn networks_not_ours(input: &PlanInput) -> BTreeSet<String> {
    let selection = input.request.selection.iter();
    let services = selection.filter_map(|name| input.manifest.services.get(name));
    let keys: BTreeSet<&str> = services.flat_map(|service| service.network_keys()).collect();
    let is_external = |key: &str| input.manifest.networks.get(key).is_some_and(|network| network.external);
    let names = keys.into_iter().filter(|key| !is_external(key)).map(|key| input.manifest.network_name(key));
    let is_theirs = |name: &String| {
        let network = input.snapshot.network(name);
        network.is_some_and(|network| !labels::are_of(&network.labels, &input.manifest.project))
    };
    names.filter(is_theirs).collect()
}

fn is_ours(input: &PlanInput, volume: &str) -> bool {
    input.snapshot.volume(volume).is_some_and(|volume| labels::are_of(&volume.labels, &input.manifest.project))
}

/// The project's networks in which no container is left, of it or of others.
fn networks(input: &PlanInput, rest: &[&ObservedContainer], builder: &mut Builder) -> Vec<String> {
    let ours = input.snapshot.networks.iter();
    let ours = ours.filter(|network| labels::are_of(&network.labels, &input.manifest.project));
    let mut free = Vec::new();
    for network in ours.map(|network| network.name.clone()) {
        if rest.iter().any(|seen| seen.view.networks.contains_key(&network)) {
            continue;
        }
        let mut foreign = input.snapshot.foreign_containers.iter();
        match foreign.find(|other| other.addresses.contains_key(&network)) {
            Some(other) => builder.warn(Warning::NetworkStays { network, container: other.name.clone() }),
            None => free.push(network),
        }
    }
    free
}
