//! The networks of an old container that a plan removed, and the container in them again.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Performer;
use crate::engine::{EngineError, NetworkAttachment};
use crate::services::plan::OldNetwork;

impl Performer<'_> {
    /// Joins a container that does not run to its networks: to the network that has the name now, or to one that is created
    /// as the old one was. Nothing is done about a network that was never removed.
    pub(super) async fn rejoin(&self, id: &str, networks: &[OldNetwork]) -> Result<(), EngineError> {
        // Several containers go back at the same time, and find one network missing.
        let _alone = self.creating_networks.write().await;
        for old in networks {
            let there = self.engine.list_networks().await?;
            if there.iter().any(|network| network.id == old.id) {
                continue;
            }
            let subnets = match there.into_iter().find(|network| network.name == old.spec.name) {
                Some(network) => network.subnets,
                None => {
                    self.engine.create_network(&old.spec).await?;
                    self.reporter.notice(message!("services-network-put-back", network = &old.spec.name));
                    self.reach.lock().await.take();
                    old.spec.pools.iter().filter_map(|pool| pool.subnet.clone()).collect()
                }
            };
            self.engine.rejoin_network(id, &within(&old.attachment, &subnets)).await?;
        }
        Ok(())
    }
}

/// How a container joins a network of these subnets: an address that none of them has is left to the engine, which would
/// refuse it.
fn within(attachment: &NetworkAttachment, subnets: &[String]) -> NetworkAttachment {
    let has = |subnet: &String, address: IpAddr| subnet.parse::<IpNet>().is_ok_and(|subnet| subnet.contains(&address));
    let fits = |address: &String| {
        address.parse::<IpAddr>().is_ok_and(|address| subnets.iter().any(|subnet| has(subnet, address)))
    };
    let mut attachment = attachment.clone();
    attachment.ipv4_address = attachment.ipv4_address.filter(fits);
    attachment.ipv6_address = attachment.ipv6_address.filter(fits);
    attachment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_old_network_that_the_new_one_lacks_is_left_to_the_engine() {
        let old = NetworkAttachment {
            network: "p_front".to_owned(),
            aliases: vec!["web".to_owned()],
            ipv4_address: Some("172.30.1.9".to_owned()),
            ipv6_address: Some("fd00:1::9".to_owned()),
            ..NetworkAttachment::default()
        };
        let within = |subnets: &[&str]| {
            let subnets: Vec<String> = subnets.iter().map(|subnet| (*subnet).to_owned()).collect();
            let joined = within(&old, &subnets);
            assert_eq!(joined.aliases, old.aliases);
            (joined.ipv4_address.is_some(), joined.ipv6_address.is_some())
        };
        assert_eq!(within(&["172.30.1.0/24", "fd00:1::/64"]), (true, true));
        assert_eq!(within(&["172.31.0.0/16"]), (false, false));
        assert_eq!(within(&["172.31.0.0/16", "fd00:1::/64"]), (false, true));
    }
}
