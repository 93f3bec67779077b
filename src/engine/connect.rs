//! The connection to one engine.

use std::sync::Arc;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::address::Address;
use super::error::{EngineError, EngineErrorKind};
use super::facts::EngineFacts;

/// How long an ordinary call may take until its answer begins. Stopping a container adds its grace period.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// An upload answers only when it is through, and an export's first byte comes when the engine has spooled it all:
/// both take as long as they take, and a watchdog on the bytes notices a stall.
pub(super) const TRANSFER_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// One engine, connected: cheap to clone.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    transfers: Docker,
    address: Address,
    facts: Arc<EngineFacts>,
}

impl Engine {
    /// Connects to the engine at `address` and asks what it is.
    pub async fn connect(address: Address) -> Result<Self, EngineError> {
        let reach = |error| {
            let inner = EngineError::new("reach", format!("the Docker engine at {address}"), error);
            EngineError::other(
                EngineErrorKind::Unreachable,
                "reach",
                format!("the Docker engine at {address}"),
                inner.cause(),
            )
        };
        let seconds = CALL_TIMEOUT.as_secs();
        let docker = match address.as_str().split_once("://") {
            Some(("unix", _)) => Docker::connect_with_unix(address.as_str(), seconds, API_DEFAULT_VERSION),
            Some(("ssh", _)) => Docker::connect_with_ssh(address.as_str(), seconds, API_DEFAULT_VERSION, None),
            _ => Docker::connect_with_http(address.as_str(), seconds, API_DEFAULT_VERSION),
        }
        .map_err(reach)?;
        let docker = docker.negotiate_version().await.map_err(reach)?;
        let facts = EngineFacts::ask(&docker).await.map_err(reach)?;
        let transfers = docker.clone().with_timeout(TRANSFER_TIMEOUT);
        Ok(Self { docker, transfers, address, facts: Arc::new(facts) })
    }

    /// What the engine is and can do, as it said when the connection was made.
    pub fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) fn transfers(&self) -> &Docker {
        &self.transfers
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("address", &self.address).field("facts", &self.facts).finish()
    }
}
