//! Ports of the host: who holds those that are wanted, and whether this plan frees them in time.

use super::addresses;
use crate::manifest::model::Port;
use crate::services::container::ports::{collide, described};
use crate::services::error::Problem;
use crate::services::plan::PlanInput;
use crate::services::plan::converge::ServicePlan;
use crate::services::snapshot::host::Holder;

/// Who holds a wanted port when the service comes to it.
enum Held<'a> {
    /// A container that this plan leaves as it is.
    ByContainer(&'a str),
    /// A container that this plan replaces only afterwards.
    UntilLater {
        service: &'a str,
        container: &'a str,
    },
    BySomething(&'a Holder),
}

pub(super) fn of(input: &PlanInput, service_plans: &[ServicePlan], service_plan: &ServicePlan) -> Vec<Problem> {
    // Of a range the engine takes one that is free.
    let wanted = service_plan.service.ports.iter().filter(|port| port.single_port().is_some());
    let problem = |port: &Port| {
        let service = service_plan.name.to_owned();
        let text = described(port);
        Some(match held(input, service_plans, service_plan, port)? {
            Held::ByContainer(holder) => Problem::PortTaken { service, port: text, holder: holder.to_owned() },
            Held::UntilLater { service: other, container } => {
                Problem::PortFreedLater { service, port: text, holder: container.to_owned(), other: other.to_owned() }
            }
            Held::BySomething(Holder::Process(process)) => {
                let holder = match process {
                    Some(process) => message!("holder-process", process = process),
                    None => message!("holder-unknown"),
                };
                Problem::PortHeld { service, port: text, holder }
            }
            Held::BySomething(Holder::NoSuchAddress) => {
                Problem::NoSuchAddress { service, address: port.host_ip.clone().unwrap_or_default() }
            }
        })
    };
    wanted.filter_map(problem).collect()
}

/// The services whose containers hold ports or addresses that this one wants, and give them up earlier in the plan.
pub(in crate::services::plan) fn freed_by<'a>(
    input: &PlanInput<'a>,
    service_plans: &[ServicePlan<'a>],
    service_plan: &ServicePlan,
) -> Vec<&'a str> {
    let earlier = service_plans
        .iter()
        .take_while(|other| other.name != service_plan.name)
        .filter(|other| other.makes_a_container());
    let holds = |other: &&ServicePlan| {
        let mut containers = input.snapshot.containers.iter().filter(|seen| seen.service == other.name);
        containers.any(|seen| {
            seen.held_ports().iter().any(|held| service_plan.service.ports.iter().any(|port| collide(port, held)))
                || (seen.is_up() && addresses::holds(input, service_plan, seen))
        })
    };
    earlier.filter(holds).map(|other| other.name).collect()
}

fn held<'g>(
    input: &'g PlanInput,
    service_plans: &[ServicePlan],
    service_plan: &ServicePlan,
    port: &Port,
) -> Option<Held<'g>> {
    let snapshot = input.snapshot;
    let adopted: Vec<&str> =
        service_plan.replicas.iter().filter_map(|(replica, _)| replica.main).map(|seen| &*seen.view.id).collect();
    let mut foreign_containers =
        snapshot.foreign_containers.iter().filter(|foreign| !adopted.contains(&foreign.id.as_str()));
    if let Some(foreign) = foreign_containers.find(|foreign| foreign.published.iter().any(|held| collide(port, held))) {
        return Some(Held::ByContainer(&foreign.name));
    }
    let mut ours = snapshot.containers.iter().filter(|seen| seen.service != service_plan.name);
    if let Some(seen) = ours.find(|seen| seen.held_ports().iter().any(|held| collide(port, held))) {
        let place = |name: &str| service_plans.iter().position(|other| other.name == name);
        let is_replaced = service_plans.iter().any(|other| other.name == seen.service && other.makes_a_container());
        return match is_replaced {
            // It is down for good when this one starts, or this one does not start.
            true if place(&seen.service) < place(service_plan.name) => None,
            true => Some(Held::UntilLater { service: &seen.service, container: &seen.view.name }),
            false => Some(Held::ByContainer(&seen.view.name)),
        };
    }
    let is_it = |held: &&crate::services::snapshot::host::HeldPort| {
        Some(held.port) == port.published && held.protocol == port.protocol && held.host_ip == port.host_ip
    };
    snapshot.held_ports.iter().find(is_it).map(|held| Held::BySomething(&held.by))
}
