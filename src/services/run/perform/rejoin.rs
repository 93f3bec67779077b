//! The networks of an old container that a plan removed, and the container in them again.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Performer;
use crate::engine::{AddressPool, EngineError, NetworkAttachment};
use crate::services::container::spec;
use crate::services::plan::{OldNetwork, Operation};

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
            let pools = match there.into_iter().find(|network| network.name == old.spec.name) {
                Some(network) => self.asked_for(&network.name).unwrap_or(network.pools),
                None => {
                    self.engine.create_network(&old.spec).await?;
                    self.reporter.notice(message!("services-network-put-back", network = &old.spec.name));
                    self.reach.lock().await.take();
                    old.spec.pools.clone()
                }
            };
            let subnets: Vec<String> = pools.into_iter().filter_map(|pool| pool.subnet).collect();
            self.engine.rejoin_network(id, &within(&old.attachment, &subnets)).await?;
        }
        Ok(())
    }

    /// The addresses that the plan asked for where it created a network of this name. Those that an engine chose itself are
    /// shown likewise, but a container gets none of them on request (moby, `validateEndpointSettings`).
    fn asked_for(&self, name: &str) -> Option<Vec<AddressPool>> {
        self.plan.steps.iter().find_map(|step| match &step.operation {
            Operation::CreateNetwork { key, name: created } if created == name => {
                Some(spec::network(self.manifest, key).pools)
            }
            _ => None,
        })
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
    use std::num::NonZeroUsize;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::{Address, Engine, NetworkSpec};
    use crate::manifest::Manifest;
    use crate::manifest::model::{self, Network};
    use crate::report::Reporter;
    use crate::services::plan::{Cause, Plan, Step};
    use crate::services::scripted_engine::{Answer, FakeEngine};

    #[tokio::test]
    async fn a_fixed_address_is_asked_for_where_the_plan_asked_for_its_subnet_and_not_where_the_engine_chose_it() {
        const NETWORKS: &str =
            r#"[{"Id": "new", "Name": "p_front", "IPAM": {"Config": [{"Subnet": "172.30.1.0/24"}]}}]"#;
        let old = OldNetwork {
            id: "old".to_owned(),
            spec: NetworkSpec { name: "p_front".to_owned(), ..NetworkSpec::default() },
            attachment: NetworkAttachment {
                network: "p_front".to_owned(),
                ipv4_address: Some("172.30.1.9".to_owned()),
                ..NetworkAttachment::default()
            },
        };
        let create = Step {
            id: 0,
            service: None,
            number: None,
            operation: Operation::CreateNetwork { key: "front".to_owned(), name: "p_front".to_owned() },
            cause: Cause::Missing,
            after: Vec::new(),
            undo: Vec::new(),
            commits: false,
        };
        let plan = Plan { steps: vec![create], ..Plan::default() };
        for subnet in [None, Some("172.30.1.0/24".to_owned())] {
            let folder = tempfile::tempdir().unwrap();
            let rules = vec![
                ("GET", "/networks", Answer::Json(200, NETWORKS)),
                ("POST", "/networks/p_front/disconnect", Answer::Json(200, "")),
                ("POST", "/networks/p_front/connect", Answer::Json(200, "")),
            ];
            let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
            let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
            let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
            let mut network = Network::default();
            network.ipam.config = vec![model::AddressPool { subnet: subnet.clone(), ..Default::default() }];
            manifest.networks.insert("front".to_owned(), network);
            let reporter = Reporter::new(Vec::new(), CancellationToken::new());
            let performer = Performer::new(&engine, &manifest, &plan, (NonZeroUsize::MIN, 1), &reporter);
            performer.rejoin("container", std::slice::from_ref(&old)).await.unwrap();
            let requests = fake.requests();
            let connect = requests.iter().find(|request| request.contains("/networks/p_front/connect")).unwrap();
            assert_eq!(connect.contains("172.30.1.9"), subnet.is_some(), "{requests:?}");
        }
    }

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
