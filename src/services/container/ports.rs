//! What a published port means: who shares one with whom, and how it is shown.

use std::net::IpAddr;

use crate::engine::PublishedPort;
use crate::manifest::model::Port;

/// Whether one can't be published while the other one is: the same number and protocol on a common address.
pub(in crate::services) fn collide(wanted: &Port, held: &PublishedPort) -> bool {
    wanted.published.is_some()
        && wanted.published == held.host_port
        && wanted.protocol.word() == held.protocol
        && Scope::of(wanted.host_ip.as_deref()).overlaps(&Scope::of(held.host_ip.as_deref()))
}

/// The addresses on which a port is published.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    /// All of both families: no address, which the engine takes as `0.0.0.0` and `::`.
    Everywhere,
    AllIpv4,
    AllIpv6,
    One(IpAddr),
    /// Not an address; the engine will say so.
    Unknown(String),
}

impl Scope {
    fn of(host_ip: Option<&str>) -> Self {
        match host_ip {
            None | Some("") => Self::Everywhere,
            Some(text) => match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) if address.is_unspecified() => Self::AllIpv4,
                Ok(IpAddr::V6(address)) if address.is_unspecified() => Self::AllIpv6,
                Ok(address) => Self::One(address),
                Err(_) => Self::Unknown(text.to_owned()),
            },
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everywhere, _) | (_, Self::Everywhere) => true,
            (Self::AllIpv4, Self::One(address)) | (Self::One(address), Self::AllIpv4) => address.is_ipv4(),
            (Self::AllIpv6, Self::One(address)) | (Self::One(address), Self::AllIpv6) => address.is_ipv6(),
            (one, other) => one == other,
        }
    }
}

/// `127.0.0.1:8080/tcp`, for a reader.
pub(in crate::services) fn described(port: &Port) -> String {
    let published = port.published.unwrap_or_default();
    match port.host_ip.as_deref() {
        Some(ip) if ip.contains(':') => format!("[{ip}]:{published}/{}", port.protocol.word()),
        Some(ip) => format!("{ip}:{published}/{}", port.protocol.word()),
        None => format!("{published}/{}", port.protocol.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::Protocol;

    fn meet(wanted: Option<&str>, held: &str) -> bool {
        let host_ip = wanted.map(str::to_owned);
        let wanted = Port { target: 80, published: Some(80), host_ip, protocol: Protocol::Tcp };
        let held = PublishedPort {
            container_port: 80,
            protocol: "tcp".to_owned(),
            host_ip: Some(held.to_owned()),
            host_port: Some(80),
        };
        collide(&wanted, &held)
    }

    #[test]
    fn ports_of_two_address_families_do_not_meet() {
        assert!(meet(None, "0.0.0.0") && meet(None, "::") && meet(None, "127.0.0.1"));
        assert!(meet(Some("0.0.0.0"), "127.0.0.1") && meet(Some("::"), "::1"));
        assert!(!meet(Some("0.0.0.0"), "::") && !meet(Some("127.0.0.1"), "::1") && !meet(Some("127.0.0.1"), "::"));
        assert!(meet(Some("127.0.0.1"), "127.0.0.1") && !meet(Some("127.0.0.1"), "127.0.0.2"));
    }
}
