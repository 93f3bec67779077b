//! Where an engine is, seen from this process.

use jiff::Timestamp;
use tokio::net::UnixStream;

use super::client::Engine;
use super::error::EngineError;

impl Engine {
    /// The time by the engine's clock: this machine's, where the engine is seen to be a process of it.
    pub async fn now(&self) -> Result<Timestamp, EngineError> {
        match self.shares_network().await {
            Some(true) => Ok(Timestamp::now()),
            _ => Ok(self.facts().await?.now()),
        }
    }

    /// Whether it publishes ports in this process's own network namespace; `None` where nothing tells.
    ///
    /// An engine of another machine does not. One on a socket of this machine may run in a namespace of its own
    /// (rootless, or behind a tunnel): the process at the other end of the socket tells, where it may be looked at.
    pub async fn shares_network(&self) -> Option<bool> {
        let Some(socket) = self.address().socket() else {
            return Some(false);
        };
        let peer = UnixStream::connect(socket).await.ok()?.peer_cred().ok()?.pid().filter(|pid| *pid > 0)?;
        let name = tokio::fs::read_to_string(format!("/proc/{peer}/comm")).await.unwrap_or_default();
        if name.trim() == "ssh" {
            return Some(false);
        }
        let theirs = tokio::fs::read_link(format!("/proc/{peer}/ns/net")).await.ok()?;
        let ours = tokio::fs::read_link("/proc/self/ns/net").await.ok()?;
        Some(theirs == ours)
    }
}
