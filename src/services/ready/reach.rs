//! Which containers can be reached from where dpl runs.
//!
//! An address alone proves nothing: two engines on one machine give out the same ones. A bridge is named after its
//! network's ID, so a network whose bridge this process sees is this engine's, and reachable.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::engine::{ContainerView, Engine, EngineError, NetworkView};

/// The networks of an engine that are reachable from here.
#[derive(Debug, Default)]
pub struct Reach {
    networks: BTreeSet<String>,
}

/// The option that gives a bridge a name of its own (Docker's bridge driver).
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The engine's default network: its bridge is always called `docker0`, which proves nothing by itself.
const DEFAULT_BRIDGE: &str = "bridge";

impl Reach {
    /// Compares the engine's networks with this process's network interfaces.
    pub async fn find(engine: &Engine) -> Result<Self, EngineError> {
        if !engine.address().is_local() {
            return Ok(Self::default());
        }
        // Where there is no such file, nothing is reachable by address.
        let interfaces = tokio::fs::read_to_string("/proc/self/net/dev").await.unwrap_or_default();
        Ok(Self::of(&engine.list_networks().await?, &interfaces))
    }

    fn of(networks: &[NetworkView], interfaces: &str) -> Self {
        let present: BTreeSet<&str> =
            interfaces.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
        let bridge = |network: &NetworkView| match network.options.get(BRIDGE_NAME) {
            Some(name) => name.clone(),
            None => format!("br-{}", network.id.get(..12).unwrap_or(&network.id)),
        };
        let mut reachable: BTreeSet<String> = networks
            .iter()
            .filter(|network| network.driver == "bridge" && network.name != DEFAULT_BRIDGE)
            .filter(|network| present.contains(bridge(network).as_str()))
            .map(|network| network.name.clone())
            .collect();
        if !reachable.is_empty() {
            // The same engine's, then: its default bridge and its host's own addresses are here as well.
            reachable.extend([DEFAULT_BRIDGE.to_owned(), "host".to_owned()]);
        }
        Self { networks: reachable }
    }

    /// An address under which this process reaches the container.
    pub fn address(&self, view: &ContainerView) -> Option<IpAddr> {
        view.networks.iter().filter(|(network, _)| self.networks.contains(*network)).find_map(|(network, address)| {
            if network == "host" { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { address.parse().ok() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERFACES: &str = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n docker0: 1 2\nbr-0123456789ab: 3 4\n";

    fn network(name: &str, id: &str) -> NetworkView {
        NetworkView { name: name.to_owned(), id: id.to_owned(), driver: "bridge".to_owned(), ..NetworkView::default() }
    }

    fn container(network: &str, address: &str) -> ContainerView {
        ContainerView { networks: [(network.to_owned(), address.to_owned())].into(), ..ContainerView::default() }
    }

    #[test]
    fn only_networks_whose_bridge_is_here_are_reachable() {
        let networks = [network("p_default", "0123456789abcdef"), network("q_default", "ffff56789abcdef0")];
        let reach = Reach::of(&networks, INTERFACES);
        assert_eq!(reach.address(&container("p_default", "172.18.0.2")), Some("172.18.0.2".parse().unwrap()));
        assert_eq!(reach.address(&container("q_default", "172.18.0.2")), None);
        assert_eq!(reach.address(&container("p_default", "")), None);
        assert_eq!(reach.address(&container("host", "")), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn another_engines_docker0_proves_nothing() {
        let reach = Reach::of(&[network("bridge", "aaaa")], INTERFACES);
        assert_eq!(reach.address(&container("bridge", "172.17.0.2")), None);
        assert_eq!(reach.address(&container("host", "")), None);
    }
}
