//! Fixed addresses: whether the network has them to give, and nobody else has them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::services::error::Problem;
use crate::services::plan::PlanInput;
use crate::services::plan::converge::ServicePlan;
use crate::services::snapshot::observed::{ObservedContainer, Role};

pub(super) fn of(input: &PlanInput, service_plans: &[ServicePlan], service_plan: &ServicePlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for key in service_plan.service.network_keys() {
        let Some(join) = service_plan.service.networks.get(key) else {
            continue;
        };
        for address in [&join.ipv4_address, &join.ipv6_address].into_iter().flatten() {
            problems.extend(problem(input, service_plans, service_plan, key, address));
        }
    }
    problems
}

fn problem(
    input: &PlanInput,
    service_plans: &[ServicePlan],
    service_plan: &ServicePlan,
    key: &str,
    address: &str,
) -> Option<Problem> {
    let (service, network) = (service_plan.name.to_owned(), input.manifest.network_name(key));
    let address_text = address.to_owned();
    let wanted: IpAddr = address.parse().ok()?;
    let actual = input.snapshot.network(&network);
    let own = input.manifest.networks.get(key);
    if actual.is_none()
        && own.is_none_or(|own| !own.external && own.ipam.config.iter().all(|pool| pool.subnet.is_none()))
    {
        return Some(Problem::AddressWithoutSubnet { service, address: address_text, network });
    }
    let stated = || own.into_iter().flat_map(|own| &own.ipam.config).filter_map(|pool| pool.subnet.clone());
    let subnets: Vec<String> = actual.map_or_else(|| stated().collect(), |actual| actual.subnets.clone());
    if !subnets.is_empty() && !subnets.iter().any(|subnet| contains(subnet, wanted)) {
        return Some(Problem::AddressOutside { service, address: address_text, network, subnets });
    }
    // Of two that would start with it the second is told.
    let wants_it = |other: &&ServicePlan| {
        let join = other.service.networks.get(key);
        let mut addresses = join.into_iter().flat_map(|join| [&join.ipv4_address, &join.ipv6_address]).flatten();
        addresses.any(|address| address.parse::<IpAddr>().is_ok_and(|address| address == wanted))
    };
    let earlier = service_plans.iter().take_while(|other| other.name != service_plan.name);
    if let Some(other) = earlier.filter(|other| other.starts()).find(wants_it) {
        let other = other.name.to_owned();
        return Some(Problem::AddressTwice { service, other, address: address_text, network });
    }
    let has_it = |held: Option<&String>| held.and_then(|held| held.parse::<IpAddr>().ok()) == Some(wanted);
    // In a network that is recreated everything is down before anything starts.
    let is_recreated = input.recreated_networks.contains(key);
    let goes = |seen: &ObservedContainer| {
        let is_replaced = |other: &ServicePlan| other.name == seen.service && other.makes_a_container();
        let mut earlier = service_plans.iter().take_while(|other| is_recreated || other.name != service_plan.name);
        seen.service == service_plan.name || (seen.role == Role::Main && earlier.any(is_replaced))
    };
    let adopted =
        |id: &str| service_plan.replicas.iter().any(|(replica, _)| replica.main.is_some_and(|seen| seen.view.id == id));
    let foreign_containers = input.snapshot.foreign_containers.iter().filter(|foreign| !adopted(&foreign.id));
    let foreign_containers =
        foreign_containers.filter(|foreign| has_it(foreign.addresses.get(&network))).map(|foreign| &foreign.name);
    let ours = input.snapshot.containers.iter().filter(|seen| has_it(seen.view.networks.get(&network)) && !goes(seen));
    let holder = foreign_containers.chain(ours.map(|seen| &seen.view.name)).next()?;
    Some(Problem::AddressTaken { service, address: address_text, network, holder: holder.clone() })
}

/// Whether a container has an address now that a service is to have.
pub(super) fn holds(input: &PlanInput, service_plan: &ServicePlan, seen: &ObservedContainer) -> bool {
    service_plan.service.network_keys().into_iter().any(|key| {
        let join = service_plan.service.networks.get(key);
        let held = seen.view.networks.get(&input.manifest.network_name(key));
        let held = held.and_then(|held| held.parse::<IpAddr>().ok());
        let mut wanted = join.into_iter().flat_map(|join| [&join.ipv4_address, &join.ipv6_address]).flatten();
        held.is_some() && wanted.any(|wanted| wanted.parse::<IpAddr>().ok() == held)
    })
}

/// Whether a subnet in CIDR notation has an address. One that can't be read can't speak against it.
fn contains(subnet: &str, address: IpAddr) -> bool {
    subnet.parse::<IpNet>().map_or(true, |subnet| subnet.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_the_addresses_that_share_its_prefix() {
        let has = |subnet, address: &str| contains(subnet, address.parse().unwrap());
        assert!(has("172.30.0.0/16", "172.30.255.9") && !has("172.30.0.0/16", "172.31.0.1"));
        assert!(has("10.0.0.8/30", "10.0.0.11") && !has("10.0.0.8/30", "10.0.0.12"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("10.0.0.0/8", "fd00::1"));
        assert!(has("fd00:1::/64", "fd00:1::5") && !has("fd00:1::/64", "fd00:2::5"));
        assert!(has("no subnet", "10.0.0.1"));
    }
}
