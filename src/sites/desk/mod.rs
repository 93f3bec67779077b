//! The side at which the operator types.
//!
//! `remote` is a site that is connected to, `program` brings dpl there, `conversation` is one request and what comes of it,
//! `run` a command there, whatever becomes of the connection, `fetch` what is brought here.

mod conversation;
mod fetch;
mod inventory;
mod program;
mod remote;
mod run;
mod send;

pub use fetch::{FetchError, Fetched, FetchedJournal, Fetching, offered_backups};
pub use inventory::inventory;
pub use remote::{Remote, RemoteOptions};
pub use run::{RunAtSite, Said, ToSite, new_run_id, run};
pub use send::{Measured, SendOrder, Sender, Sent, measure, send};

use crate::sites::SitesError;
use crate::sites::protocol::{Facts, Reply, Request, RunSummary};
use std::path::PathBuf;

/// What is at the site, and how far its clock is ahead of this machine's, in milliseconds.
pub async fn facts(remote: &Remote, folder: Option<PathBuf>) -> Result<(Facts, i64), SitesError> {
    let mut conversation = remote.ask(&Request::Facts { folder }).await?;
    let ahead = conversation.clock_ahead_ms;
    match conversation.reply().await? {
        Reply::Facts(facts) => Ok((*facts, ahead)),
        other => Err(conversation.unexpected(&other)),
    }
}

/// The commands there that outlived their connections, the newest first.
pub async fn list_runs(remote: &Remote) -> Result<Vec<RunSummary>, SitesError> {
    let mut conversation = remote.ask(&Request::List).await?;
    match conversation.reply().await? {
        Reply::Runs { runs } => Ok(runs),
        other => Err(conversation.unexpected(&other)),
    }
}
