//! What a published port means: who shares one with whom, and how it is shown.

use crate::engine::PublishedPort;
use crate::manifest::model::{HostAddress, Port};

/// Whether one can't be published while the other one is: the same number and protocol on a common address. Of a range
/// the engine takes what is free.
pub(in crate::services) fn collide(wanted: &Port, held: &PublishedPort) -> bool {
    wanted.single_port().is_some()
        && wanted.single_port() == held.host_port
        && wanted.protocol.word() == held.protocol
        && wanted.address().collides(&HostAddress::of(held.host_ip.as_deref()))
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
        let wanted = Port { target: 80, published: Some(80), published_until: None, host_ip, protocol: Protocol::Tcp };
        let held = PublishedPort {
            container_port: 80,
            protocol: "tcp".to_owned(),
            host_ip: Some(held.to_owned()),
            host_port: Some(80),
            host_port_until: None,
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
