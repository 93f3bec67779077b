//! Networks and volumes that are there, and are not what the manifest wants.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::manifest::model::{MountKind, Network};
use crate::services::container::labels;
use crate::services::error::Problem;
use crate::services::plan::PlanInput;
use crate::services::plan::converge::ServicePlan;
use crate::services::snapshot::resources::{network_drift, volume_drift};

/// Also of services that run and stay: what they are in is not what the manifest says.
pub(super) fn networks(input: &PlanInput, service_plans: &[ServicePlan]) -> Vec<Problem> {
    let plans = service_plans.iter().filter(|plan| plan.is_chosen || plan.starts());
    let keys: BTreeSet<&str> = plans.flat_map(|plan| plan.service.network_keys()).collect();
    let problem = |key: &str| {
        let name = input.manifest.network_name(key);
        let is_external = input.manifest.networks.get(key).is_some_and(|network| network.external);
        match input.snapshot.networks.iter().filter(|network| network.name == name).count() {
            0 if is_external => return Some(Problem::NetworkMissing { name }),
            0 => return overlapping(input, &keys, key, name),
            1 => {}
            _ => return Some(Problem::NetworkTwice { name }),
        }
        let fields = network_drift(input.manifest, key, input.snapshot);
        if input.recreated_networks.contains(key) {
            let in_the_way = in_the_way(input, service_plans, name.clone(), fields);
            return in_the_way.or_else(|| overlapping(input, &keys, key, name));
        }
        if fields.is_empty() {
            return None;
        }
        Some(match is_ours(input, &name) {
            true => Problem::NetworkDiffers { name, fields },
            // No flag recreates it.
            false => Problem::NetworkNotOurs { name, fields },
        })
    };
    keys.iter().copied().filter_map(problem).collect()
}

fn is_ours(input: &PlanInput, network: &str) -> bool {
    let network = input.snapshot.network(network);
    network.is_some_and(|network| labels::are_of(&network.labels, &input.manifest.project))
}

/// Another network of the engine, or one that the same plan creates, whose addresses a network that is to be made would have:
/// the engine refuses that only when the earlier one of the name is gone. Ranges of other drivers are apart.
fn overlapping(input: &PlanInput, keys: &BTreeSet<&str>, key: &str, name: String) -> Option<Problem> {
    let wanted = input.manifest.networks.get(key)?;
    let is_bridge = |driver: Option<&str>| driver.is_none_or(|driver| driver == "bridge");
    let shares_ranges = |network: &Network| {
        is_bridge(network.driver.as_deref()) && network.ipam.driver.as_deref().is_none_or(|driver| driver == "default")
    };
    if !shares_ranges(wanted) {
        return None;
    }
    // What goes in the same plan is in nobody's way.
    let goes = |other: &str| input.recreated_networks.iter().any(|key| input.manifest.network_name(key) == other);
    let others =
        input.snapshot.networks.iter().filter(|other| is_bridge(Some(other.driver.as_str())) && !goes(&other.name));
    let others = others.flat_map(|other| other.subnets.iter().map(move |taken| (other.name.clone(), taken.clone())));
    let is_made =
        |key: &str, name: &str| input.snapshot.network(name).is_none() || input.recreated_networks.contains(key);
    // Of two that are made the second is told.
    let planned = keys.iter().take_while(|other| **other != key).flat_map(|other| {
        let name = input.manifest.network_name(other);
        let network = input.manifest.networks.get(*other).filter(|network| !network.external && shares_ranges(network));
        let pools = network.filter(|_| is_made(other, &name)).map(|network| network.ipam.config.as_slice());
        let subnets = pools.unwrap_or_default().iter().filter_map(|pool| pool.subnet.clone());
        subnets.map(|taken| (name.clone(), taken)).collect::<Vec<_>>()
    });
    let others: Vec<(String, String)> = others.chain(planned).collect();
    let mut subnets = wanted.ipam.config.iter().filter_map(|pool| pool.subnet.as_ref());
    let clash = |subnet: &String| {
        let range: IpNet = subnet.parse().ok()?;
        let overlaps =
            |taken: &String| taken.parse::<IpNet>().is_ok_and(|taken| taken.contains(&range) || range.contains(&taken));
        let (other, taken) = others.iter().find(|(_, taken)| overlaps(taken))?;
        Some((subnet.clone(), other.clone(), taken.clone()))
    };
    let (subnet, other, taken) = subnets.find_map(clash)?;
    Some(Problem::SubnetTaken { name, subnet, other, taken })
}

/// What keeps a network from being removed: only what the plan replaces may be in it.
fn in_the_way(input: &PlanInput, service_plans: &[ServicePlan], name: String, fields: Vec<String>) -> Option<Problem> {
    let snapshot = input.snapshot;
    if !is_ours(input, &name) {
        return Some(Problem::NetworkNotOurs { name, fields });
    }
    let goes = |service: &str| service_plans.iter().any(|plan| plan.name == service && plan.makes_a_container());
    // One that is down as well: it asks for the network by its ID, and could not be started any more.
    let foreign =
        snapshot.foreign_containers.iter().filter(|other| other.addresses.contains_key(&name)).map(|other| &other.name);
    let ours = snapshot.containers.iter().filter(|seen| seen.is_up() && !goes(&seen.service));
    let ours = ours.filter(|seen| seen.view.networks.contains_key(&name)).map(|seen| &seen.view.name);
    let container = foreign.chain(ours).next()?.clone();
    Some(Problem::NetworkInUse { name, container })
}

pub(super) fn volumes(input: &PlanInput, service_plans: &[ServicePlan]) -> Vec<Problem> {
    let plans = service_plans.iter().filter(|plan| plan.is_chosen || plan.starts());
    let mounts = plans.flat_map(|plan| &plan.service.volumes).filter(|mount| mount.kind == MountKind::Volume);
    let keys: BTreeSet<&str> = mounts.filter_map(|mount| mount.source.as_deref()).collect();
    let problem = |key: &str| {
        let name = input.manifest.volume_name(key);
        let is_external = input.manifest.volumes.get(key).is_some_and(|volume| volume.external);
        if input.snapshot.volume(&name).is_none() {
            return is_external.then_some(Problem::VolumeMissing { name });
        }
        let fields = volume_drift(input.manifest, key, input.snapshot);
        (!fields.is_empty()).then_some(Problem::VolumeDiffers { name, fields })
    };
    keys.into_iter().filter_map(problem).collect()
}
