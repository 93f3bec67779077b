//! What services publish and share of the network.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Checker;
use crate::manifest::model::{HostAddress, NamespaceMode, NetworkJoin, Protocol};

/// The host's address, and the service that publishes on it.
type Holder = (HostAddress, String);

impl Checker<'_> {
    /// The same port of the same address can be published once; no address means all of them.
    pub(super) fn published_ports(&mut self) {
        let mut taken: HashMap<(u16, Protocol), Vec<Holder>> = HashMap::new();
        for (name, service) in self.services() {
            for (index, port) in service.ports.iter().enumerate() {
                // Of a range the engine takes one that is free.
                let Some(published) = port.single_port() else {
                    continue;
                };
                let address = port.address();
                let others = taken.entry((published, port.protocol)).or_default();
                let clash = others.iter().find(|(other, _)| other.collides(&address));
                if let Some((_, owner)) = clash {
                    let span = self.root.place(&["services", name, "ports", &index.to_string()]);
                    let protocol = port.protocol.word();
                    let message = if owner == name {
                        message!("check-port-twice", published = published, protocol = protocol)
                    } else {
                        message!("check-port-taken", published = published, protocol = protocol, owner = owner)
                    };
                    self.problems.error(span, message);
                }
                others.push((address, name.to_owned()));
            }
        }
    }

    /// A container in another's network has no networks, ports or names of its own.
    pub(super) fn network_modes(&mut self) {
        for (name, service) in self.services() {
            let fixed = |join: &NetworkJoin| join.mac_address.is_some();
            if service.mac_address.is_some() && service.networks.values().any(fixed) {
                let span = self.root.key_place(&["services", name, "mac_address"]);
                self.problems.error(span, message!("check-mac-twice"));
            }
            let Some(mode) = &service.network_mode else {
                continue;
            };
            let mut refused = vec![
                ("networks", !service.networks.is_empty()),
                ("links", !service.links.is_empty()),
                ("mac_address", service.mac_address.is_some()),
            ];
            if !matches!(mode, NamespaceMode::Bridge) {
                refused.push(("ports", !service.ports.is_empty()));
            }
            if matches!(mode, NamespaceMode::Service(_) | NamespaceMode::Container(_)) {
                refused.push(("hostname", service.hostname.is_some()));
                refused.push(("dns", !service.dns.is_empty()));
                refused.push(("dns_search", !service.dns_search.is_empty()));
                refused.push(("dns_opt", !service.dns_opt.is_empty()));
                refused.push(("extra_hosts", !service.extra_hosts.is_empty()));
            }
            for (field, _) in refused.into_iter().filter(|(_, present)| *present) {
                let span = self.root.key_place(&["services", name, field]);
                self.problems.error(span, message!("check-mode-field", field = field, mode = mode));
            }
        }
    }

    /// The engine makes no container with anything else in the place of an address.
    pub(super) fn extra_hosts(&mut self) {
        for (name, service) in self.services() {
            for (host, addresses) in &service.extra_hosts {
                for (index, address) in addresses.iter().enumerate() {
                    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
                        let span = self.root.place(&["services", name, "extra_hosts", host, &index.to_string()]);
                        self.problems.error(span, message!("check-host-address", address = address));
                    }
                }
            }
        }
    }
}
