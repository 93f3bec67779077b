//! Whether the host's packet filter still has what the engine put into it.
//!
//! A reload of a firewall empties it behind the engine's back, and no container that publishes a port starts until the engine
//! is restarted. A container that is tried with a port tells for certain, and takes half a second and more of an engine that
//! is about to be busy. Where this process may look at the engine's own packet filter, the chains that each published port
//! goes into (moby, libnetwork/drivers/bridge/setup_ip_tables.go) answer in a few milliseconds.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::engine::Engine;

const CHAINS: [(&str, &str); 2] = [("nat", "DOCKER"), ("filter", "DOCKER")];

/// Far longer than it takes, unless somebody else holds the packet filter's lock.
const LONGEST: Duration = Duration::from_secs(2);

/// Whether all chains are there. `false` where they are not, and where that can't be told: a container has to be tried then.
pub(super) async fn is_whole(engine: &Engine) -> bool {
    if engine.shares_network().await != Some(true) {
        return false;
    }
    let has = CHAINS.map(|(table, chain)| has_chain(table, chain));
    futures::future::join_all(has).await.into_iter().all(|has| has)
}

/// As the engine itself asks (moby, libnetwork/iptables, `ExistChain`). Without root's rights there is no answer.
async fn has_chain(table: &str, chain: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("iptables");
    // The daemon's tools lie where not every user's PATH leads.
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.args(["--wait", "--table", table, "--numeric", "--list", chain]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    matches!(tokio::time::timeout(LONGEST, command.status()).await, Ok(Ok(status)) if status.success())
}
