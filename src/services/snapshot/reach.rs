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
        let shares = engine.shares_network().await;
        if shares == Some(false) {
            return Ok(Self::default());
        }
        Ok(Self::of(&engine.list_networks().await?, &interfaces().await, shares == Some(true)))
    }

    /// Whether the engine publishes its ports where this process is. Where nothing tells for sure, an engine on a socket
    /// of this machine does, unless it has networks of its own of which nothing is seen here.
    pub async fn shares_network(engine: &Engine, networks: &[NetworkView]) -> bool {
        match engine.shares_network().await {
            Some(shares) => shares,
            None => {
                let is_own = |network: &&NetworkView| network.driver == "bridge" && network.name != DEFAULT_BRIDGE;
                !networks.iter().any(|network| is_own(&network))
                    || !Self::of(networks, &interfaces().await, false).networks.is_empty()
            }
        }
    }

    /// `is_here`: whether the engine is known to have its networks here.
    fn of(networks: &[NetworkView], interfaces: &str, is_here: bool) -> Self {
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
        if is_here || !reachable.is_empty() {
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

/// Where the file does not exist, nothing is reachable by address.
async fn interfaces() -> String {
    tokio::fs::read_to_string("/proc/self/net/dev").await.unwrap_or_default()
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
        let reach = Reach::of(&networks, INTERFACES, false);
        assert_eq!(reach.address(&container("p_default", "172.18.0.2")), Some("172.18.0.2".parse().unwrap()));
        assert_eq!(reach.address(&container("q_default", "172.18.0.2")), None);
        assert_eq!(reach.address(&container("p_default", "")), None);
        assert_eq!(reach.address(&container("host", "")), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn another_engines_docker0_proves_nothing() {
        let reach = Reach::of(&[network("bridge", "aaaa")], INTERFACES, true);
        assert!(reach.address(&container("bridge", "172.17.0.2")).is_some(), "its own is known to be here");
        let reach = Reach::of(&[network("bridge", "aaaa")], INTERFACES, false);
        assert_eq!(reach.address(&container("bridge", "172.17.0.2")), None);
        assert_eq!(reach.address(&container("host", "")), None);
    }
}
