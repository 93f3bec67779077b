//! The connection to one engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use tokio::sync::OnceCell;

use super::address::Address;
use super::error::EngineError;
use super::facts::{ApiVersion, EngineFacts, ImageStore};
use super::limits::stall::StallLimits;
use super::limits::timeouts::{CALL_TIMEOUT, within};
use super::lock::LockKeeper;
use super::transport::Transport;

/// An upload answers only when it is through, and an export's first byte comes when the engine has spooled it all:
/// both take as long as they take, and a watchdog on the bytes notices a stall.
pub(super) const TRANSFER_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// An engine that stops many containers before it starts again takes this long, and one that takes longer has a reason
/// that an operator should see.
const PATIENCE: Duration = Duration::from_secs(120);

/// One engine, connected: cheap to clone.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    transfers: Docker,
    transport: Transport,
    address: Address,
    api: ApiVersion,
    /// Asked for when they are first needed: an engine runs other programs to answer.
    facts: Arc<OnceCell<EngineFacts>>,
    /// Asked before every change.
    keeper: Option<Arc<LockKeeper>>,
    stall_limits: StallLimits,
    patience: Duration,
}

impl Engine {
    /// Connects to the engine at `address`, which has to answer (`GET /_ping`).
    pub async fn connect(address: Address) -> Result<Self, EngineError> {
        Self::connect_within(address, StallLimits::default()).await
    }

    /// As [`Engine::connect`]; neither this nor any later call or transfer may be silent for longer than `limits` says.
    pub async fn connect_within(address: Address, limits: StallLimits) -> Result<Self, EngineError> {
        let reach = |error| unreachable(&address, error);
        let call_limit = call_limit(limits);
        let transport = Transport::new(&address).map_err(|error| reach(error.into()))?;
        // The client counts whole seconds.
        let docker = transport.client(call_limit.as_secs().max(1)).map_err(reach)?;
        within(call_limit, docker.ping()).await.map_err(reach)?;
        let api = match transport.api_version() {
            Some(version) => ApiVersion(version.to_owned()),
            // Only some proxies keep it to themselves. An engine runs three programs to answer this.
            None => {
                ApiVersion(within(call_limit, docker.version()).await.map_err(reach)?.api_version.unwrap_or_default())
            }
        };
        let transfers = docker.clone().with_timeout(TRANSFER_TIMEOUT);
        let facts = Arc::default();
        Ok(Self {
            docker,
            transfers,
            transport,
            address,
            api,
            facts,
            keeper: None,
            stall_limits: limits,
            patience: PATIENCE,
        })
    }

    /// The version of the API that the engine speaks.
    pub fn api(&self) -> &ApiVersion {
        &self.api
    }

    /// What the engine is and can do, as it said when it was first asked (`GET /info`).
    pub async fn facts(&self) -> Result<&EngineFacts, EngineError> {
        let asked = self.facts.get_or_try_init(|| EngineFacts::ask(&self.docker, self.call_limit())).await;
        asked.map_err(|error| unreachable(&self.address, error))
    }

    /// How the engine keeps its images.
    pub async fn image_store(&self) -> Result<ImageStore, EngineError> {
        Ok(self.facts().await?.image_store)
    }

    /// The folder where the engine keeps its data, when it runs on this machine: an engine behind a Unix socket that
    /// calls itself by this host's name (a socket may lead to another machine too).
    pub async fn local_root_dir(&self) -> Result<Option<&Path>, EngineError> {
        let facts = self.facts().await?;
        let here = rustix::system::uname();
        let is_here =
            self.address.as_str().starts_with("unix://") && here.nodename().to_bytes() == facts.name.as_bytes();
        Ok((is_here && facts.root_dir.is_dir()).then_some(facts.root_dir.as_path()))
    }

    pub fn stall_limits(&self) -> StallLimits {
        self.stall_limits
    }

    /// How long an ordinary call may take.
    pub(super) fn call_limit(&self) -> Duration {
        call_limit(self.stall_limits)
    }

    /// Lets the engine be away for so long in the middle of work before that ends.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long one who is at work waits for the engine to come back.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the engine answers at all (`GET /_ping`).
    pub async fn ping(&self) -> Result<(), EngineError> {
        let asked = self.with_timeout(self.docker.ping()).await;
        asked.map(drop).map_err(|error| {
            EngineError::new(message!("verb-reach"), message!("object-engine-at", address = self.address), error)
        })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn with_keeper(&self, keeper: Arc<LockKeeper>) -> Self {
        Self { keeper: Some(keeper), ..self.clone() }
    }

    /// Whether it works under the project's lock: then nobody else of dpl changes anything of the project.
    pub fn holds_lock(&self) -> bool {
        self.keeper.is_some()
    }

    pub(super) fn keeper(&self) -> Option<&LockKeeper> {
        self.keeper.as_deref()
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn transfers(&self) -> &Docker {
        &self.transfers
    }
}

/// `DPL_STALL_TIMEOUT` below 120 s also shortens ordinary calls.
fn call_limit(limits: StallLimits) -> Duration {
    CALL_TIMEOUT.min(limits.working)
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("address", &self.address).field("facts", &self.facts).finish()
    }
}

/// Whatever goes wrong at the first questions: nobody who could be worked with answers there.
fn unreachable(address: &Address, error: bollard::errors::Error) -> EngineError {
    let subject = message!("object-engine-at", address = address);
    EngineError::new(message!("verb-reach"), subject, error).unreachable().at(address)
}
