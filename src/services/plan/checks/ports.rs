//! Ports of the host: who holds those that are wanted, and whether this plan frees them in time.

use crate::engine::PublishedPort;
use crate::manifest::model::{HostAddress, Port};
use crate::services::error::Problem;
use crate::services::plan::PlanInput;
use crate::services::plan::converge::ServicePlan;
use crate::services::snapshot::observed::ObservedContainer;
use crate::services::snapshot::survey::Holder;

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
                let holder = process.as_ref().map_or("a process".to_owned(), |process| format!("process {process}"));
                Problem::PortHeld { service, port: text, holder }
            }
            Held::BySomething(Holder::NoSuchAddress) => {
                Problem::NoSuchAddress { service, address: port.host_ip.clone().unwrap_or_default() }
            }
        })
    };
    wanted.filter_map(problem).collect()
}

/// The services whose containers hold ports that this one wants, and give them up earlier in the plan.
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
            held_by(seen).iter().any(|held| service_plan.service.ports.iter().any(|port| collide(port, held)))
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
        service_plan.places.iter().filter_map(|(replica, _)| replica.main).map(|seen| &*seen.view.id).collect();
    let mut foreign_containers =
        snapshot.foreign_containers.iter().filter(|foreign| !adopted.contains(&foreign.id.as_str()));
    if let Some(foreign) = foreign_containers.find(|foreign| foreign.published.iter().any(|held| collide(port, held))) {
        return Some(Held::ByContainer(&foreign.name));
    }
    let mut ours = snapshot.containers.iter().filter(|seen| seen.service != service_plan.name);
    if let Some(seen) = ours.find(|seen| held_by(seen).iter().any(|held| collide(port, held))) {
        let place = |name: &str| service_plans.iter().position(|other| other.name == name);
        let is_replaced = service_plans.iter().any(|other| other.name == seen.service && other.makes_a_container());
        return match is_replaced {
            // It is down for good when this one starts, or this one does not start.
            true if place(&seen.service) < place(service_plan.name) => None,
            true => Some(Held::UntilLater { service: &seen.service, container: &seen.view.name }),
            false => Some(Held::ByContainer(&seen.view.name)),
        };
    }
    let is_it = |held: &&crate::services::snapshot::survey::HeldPort| {
        Some(held.port) == port.published && held.protocol == port.protocol && held.host_ip == port.host_ip
    };
    snapshot.held_ports.iter().find(is_it).map(|held| Held::BySomething(&held.by))
}

fn described(port: &Port) -> String {
    let published = port.published.unwrap_or_default();
    match port.host_ip.as_deref() {
        Some(ip) if ip.contains(':') => format!("[{ip}]:{published}/{}", port.protocol.word()),
        Some(ip) => format!("{ip}:{published}/{}", port.protocol.word()),
        None => format!("{published}/{}", port.protocol.word()),
    }
}

/// What a container's `127.0.0.1:8080->80/tcp` says.
pub(in crate::services) fn held_by(seen: &ObservedContainer) -> Vec<PublishedPort> {
    let parse = |text: &String| {
        let (outer, inner) = text.split_once("->")?;
        let (ip, host_port) = outer.rsplit_once(':')?;
        let (container_port, protocol) = inner.split_once('/')?;
        Some(PublishedPort {
            container_port: container_port.parse().ok()?,
            protocol: protocol.to_owned(),
            host_ip: Some(ip.trim_matches(['[', ']']).to_owned()),
            host_port: host_port.parse().ok(),
            host_port_until: None,
        })
    };
    if seen.is_up() { seen.view.published.iter().filter_map(parse).collect() } else { Vec::new() }
}

/// Whether one can't be published while the other one is. A port on all addresses of a family collides with one on any of them.
pub(in crate::services) fn collide(wanted: &Port, held: &PublishedPort) -> bool {
    wanted.single_port().is_some()
        && wanted.single_port() == held.host_port
        && wanted.protocol.word() == held.protocol
        && wanted.address().collides(&HostAddress::of(held.host_ip.as_deref()))
}
