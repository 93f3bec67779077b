//! Networks.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::time::Instant;

use super::spec::NetworkAttachment;
use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};

/// So long a network may be held by a container that is there, and perhaps just going.
const LET_GO: Duration = Duration::from_secs(3);

/// So long an engine with much to do may take to note that none is there any more.
const ENGINE_NOTES: Duration = Duration::from_secs(10);

/// After so long what holds it is looked at.
const LETS_GO_BY_ITSELF: Duration = Duration::from_secs(1);

/// Between two tries. Mostly the engine lets go within some milliseconds of the last container's removal.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A network to create (`POST /networks/create`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    pub name: String,
    /// The engine's default (`bridge`) where `None`.
    pub driver: Option<String>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub enable_ipv6: bool,
    pub ipam_driver: Option<String>,
    pub pools: Vec<AddressPool>,
}

/// A range of addresses that a network gives out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPool {
    pub subnet: Option<String>,
    pub ip_range: Option<String>,
    pub gateway: Option<String>,
}

/// A network as the engine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkView {
    pub id: String,
    pub name: String,
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub enable_ipv6: bool,
    pub ipam_driver: Option<String>,
    pub pools: Vec<AddressPool>,
    pub subnets: Vec<String>,
}

impl NetworkView {
    /// What creates a network like it, also where the engine chose the addresses then.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec {
            name: self.name.clone(),
            driver: Some(self.driver.clone()).filter(|driver| !driver.is_empty()),
            options: self.options.clone(),
            labels: self.labels.clone(),
            internal: self.internal,
            attachable: self.attachable,
            enable_ipv6: self.enable_ipv6,
            ipam_driver: self.ipam_driver.clone(),
            pools: self.pools.clone(),
        }
    }
}

impl Engine {
    /// All networks (`GET /networks`).
    pub async fn list_networks(&self) -> Result<Vec<NetworkView>, EngineError> {
        let options = ListNetworksOptionsBuilder::default().build();
        let networks = self
            .with_timeout(self.docker().list_networks(Some(options)))
            .await
            .map_err(|error| EngineError::new(message!("verb-list-objects"), message!("object-networks"), error))?;
        Ok(networks.into_iter().map(view).collect())
    }

    /// Creates a network (`POST /networks/create`), unless there is one of that name by then.
    ///
    /// Engines allow two networks of one name, and then start no container that names it. A request that a killed
    /// process had under way may be through only now, so that is looked at afterwards.
    pub async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let request = NetworkCreateRequest {
            name: spec.name.clone(),
            driver: spec.driver.clone(),
            internal: Some(spec.internal),
            attachable: Some(spec.attachable),
            enable_ipv6: Some(spec.enable_ipv6),
            options: Some(map(&spec.options)),
            labels: Some(map(&spec.labels)),
            ipam: (spec.ipam_driver.is_some() || !spec.pools.is_empty()).then(|| Ipam {
                driver: spec.ipam_driver.clone(),
                config: Some(
                    spec.pools
                        .iter()
                        .map(|pool| IpamConfig {
                            subnet: pool.subnet.clone(),
                            ip_range: pool.ip_range.clone(),
                            gateway: pool.gateway.clone(),
                            auxiliary_addresses: None,
                        })
                        .collect(),
                ),
                options: None,
            }),
            ..Default::default()
        };
        let created = self.with_timeout(self.docker().create_network(request)).await.map_err(|error| {
            EngineError::new(message!("verb-create-object"), message!("object-network", name = spec.name), error)
        })?;
        let is_another = |network: &NetworkView| network.name == spec.name && network.id != created.id;
        if self.list_networks().await?.iter().any(is_another) {
            self.remove_network(&created.id).await?;
        }
        Ok(())
    }

    /// Removes a network. A busy engine can hold the endpoints of containers that are gone for a moment longer, and refuses
    /// meanwhile; one that others use is refused after that time as well.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = self.with_timeout(self.docker().remove_network(name)).await else {
                return Ok(());
            };
            let error =
                EngineError::new(message!("verb-remove-object"), message!("object-network", name = name), error);
            if error.kind() != EngineErrorKind::Forbidden || begun.elapsed() >= ENGINE_NOTES {
                return Err(error);
            }
            if begun.elapsed() >= LETS_GO_BY_ITSELF {
                let is_held = self.let_go_of_the_gone(name).await?;
                if is_held && begun.elapsed() >= LET_GO {
                    return Err(error);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes endpoints off a network whose containers are gone: an engine that was killed may keep them for ever. Gives whether
    /// one is there that is not gone.
    async fn let_go_of_the_gone(&self, network: &str) -> Result<bool, EngineError> {
        let subject = || message!("object-network", name = network);
        let inspected = self.with_timeout(self.docker().inspect_network(network, None)).await;
        let endpoints =
            inspected.map_err(|error| EngineError::new(message!("verb-inspect"), subject(), error))?.containers;
        let mut is_held = false;
        for (container, endpoint) in endpoints.unwrap_or_default() {
            // The engine looks for the endpoint by the name that the container had. One without a container goes by an ID of
            // its own, which one that is just joining has for a moment as well.
            let name = endpoint.name.unwrap_or_else(|| container.clone());
            let is_gone = self.inspect_container(&name).await?.is_none()
                && (container.starts_with("ep-") || self.inspect_container(&container).await?.is_none());
            if !is_gone {
                is_held = true;
                continue;
            }
            let request = NetworkDisconnectRequest { container: name, force: Some(true) };
            // The removal tells what it is worth.
            let _ = self.with_timeout(self.docker().disconnect_network(network, request)).await;
        }
        Ok(is_held)
    }

    /// Joins a container to one more network (`POST /networks/{id}/connect`).
    pub async fn connect_network(&self, container: &str, attachment: &NetworkAttachment) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let request =
            NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(attachment.endpoint()) };
        self.with_timeout(self.docker().connect_network(&attachment.network, request)).await.map_err(|error| {
            let object = message!("object-container-network", name = container, network = attachment.network);
            EngineError::new(message!("verb-connect"), object, error)
        })
    }

    /// Joins a container that does not run to a network in the place of an earlier one of that name, which may be gone
    /// (`POST /networks/{id}/disconnect`, then `connect`): until then it asks for the earlier one by its ID.
    pub async fn rejoin_network(&self, container: &str, attachment: &NetworkAttachment) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        // One that has left already is as good, and the engine says the same of both.
        let _ = self.with_timeout(self.docker().disconnect_network(&attachment.network, request)).await;
        self.connect_network(container, attachment).await
    }
}

pub(in crate::engine) fn map(pairs: &BTreeMap<String, String>) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn view(network: bollard::models::Network) -> NetworkView {
    let ipam = network.ipam.unwrap_or_default();
    let pools = ipam.config.unwrap_or_default().into_iter();
    // Some engines show the gateway of a subnet of IPv6 that they chose themselves with the prefix of the subnet, and take it
    // only without (moby, `buildIPAMResources`).
    let address = |gateway: String| gateway.split('/').next().unwrap_or_default().to_owned();
    let pools: Vec<AddressPool> = pools
        .map(|pool| AddressPool {
            subnet: pool.subnet,
            ip_range: pool.ip_range,
            gateway: pool.gateway.map(address).filter(|gateway| !gateway.is_empty()),
        })
        .collect();
    NetworkView {
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_default(),
        driver: network.driver.unwrap_or_default(),
        labels: network.labels.unwrap_or_default().into_iter().collect(),
        options: network.options.unwrap_or_default().into_iter().collect(),
        internal: network.internal.unwrap_or_default(),
        attachable: network.attachable.unwrap_or_default(),
        enable_ipv6: network.enable_ipv6.unwrap_or_default(),
        ipam_driver: ipam.driver.filter(|driver| !driver.is_empty()),
        subnets: pools.iter().filter_map(|pool| pool.subnet.clone()).collect(),
        pools,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_an_address_as_engines_take_it() {
        let shown = |subnet: &str, gateway: &str| IpamConfig {
            subnet: Some(subnet.to_owned()),
            gateway: Some(gateway.to_owned()),
            ..IpamConfig::default()
        };
        let config =
            vec![shown("172.30.0.0/16", "172.30.0.1"), shown("fd00:1::/64", "fd00:1::1/64"), shown("::/0", "")];
        let ipam = Some(Ipam { config: Some(config), ..Ipam::default() });
        let network = view(bollard::models::Network { ipam, ..Default::default() });
        let gateways: Vec<Option<String>> = network.spec().pools.into_iter().map(|pool| pool.gateway).collect();
        assert_eq!(gateways, [Some("172.30.0.1".to_owned()), Some("fd00:1::1".to_owned()), None]);
    }
}
