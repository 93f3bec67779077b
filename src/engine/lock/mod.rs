//! One writer at a time on an engine, whichever machine it works from.
//!
//! The lock is a container of a fixed name that is made and never started: making it is atomic, since names are taken
//! once. Its labels say who holds it; a number in it that counts up while the work goes on is the holder's heartbeat. It is
//! made by the first call that changes something, so that work that finds nothing to do costs nothing, and looked
//! after by every later one: an operation that has lost it makes no further change. One call may be under way at that moment,
//! since engines know no fencing.

mod container;
mod keeper;
mod moment;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(super) use keeper::LockKeeper;

use super::client::Engine;
use super::error::EngineError;
use crate::report::Message;

/// Whose lock it is to be, and how to deal with the one who has it.
#[derive(Clone)]
pub struct LockRequest {
    /// The container's name.
    pub name: String,
    /// Labels of the container, beside the holder's.
    pub labels: BTreeMap<String, String>,
    /// Who asks; what another one reads when the lock is taken. Opaque here.
    pub holder: String,
    /// Whether the holder of this text is gone, as far as this machine knows by itself.
    pub is_gone: fn(&str) -> bool,
    /// The holder's text as an error says it.
    pub describe: fn(&str) -> Message,
    /// How long to wait for one who is at work.
    pub patience: Duration,
    /// Called with what is worth a line.
    pub notify: Arc<dyn Fn(LockNews) + Send + Sync>,
    pub timing: LockTiming,
}

/// How often a holder shows that it is alive, and when it no longer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTiming {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Without a heartbeat for so long, by the clock of the one who watches, the holder is taken to be gone. A holder
    /// trusts a heartbeat for a third of it.
    pub stale: Duration,
}

impl Default for LockTiming {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(2), stale: Duration::from_secs(60) }
    }
}

/// What happens around a lock that somebody else has, with the holder's own text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockNews {
    /// Somebody has it; whether they are alive is being watched.
    Watching { holder: String },
    /// They are at work, and are waited for.
    Waiting { holder: String },
    /// They are gone, and the lock was taken over.
    TakenOver { holder: String },
}

/// A lock as anybody can see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockView {
    /// The container's ID.
    pub id: String,
    /// The holder's own text.
    pub holder: String,
    /// Counts up while the holder is alive; `None` before the first one.
    pub heartbeat: Option<u64>,
}

impl Engine {
    /// This engine for work that changes something under a lock, which the first change takes.
    pub fn locked(&self, request: LockRequest) -> Self {
        self.with_keeper(Arc::new(LockKeeper::new(self.clone(), request)))
    }

    /// The lock of that name, if anybody has it; takes nothing.
    pub async fn look_at_lock(&self, name: &str) -> Result<Option<LockView>, EngineError> {
        self.read_lock(name).await
    }

    /// Removes a lock, whatever process holds it, by the container's ID: a newer one of that name stays.
    pub async fn break_lock(&self, id: &str) -> Result<(), EngineError> {
        self.remove_lock(id).await
    }

    /// To be called by work before it begins to change something, where it has a better way to end than in the middle
    /// of its calls; every changing call asks by itself.
    pub async fn ensure_locked(&self) -> Result<(), EngineError> {
        match self.keeper() {
            Some(keeper) => keeper.ensure().await,
            None => Ok(()),
        }
    }

    /// To be called before work looks at the engine to plan what it will do: waits for, or refuses, while somebody else
    /// is at work. Takes nothing when nobody is.
    pub async fn wait_for_other_operators(&self) -> Result<(), EngineError> {
        match self.keeper() {
            Some(keeper) => keeper.wait_for_other_operators().await,
            None => Ok(()),
        }
    }

    /// The error that ends work whose lock somebody took over; `None` as long as it may go on.
    pub async fn lock_lost(&self) -> Option<EngineError> {
        match self.keeper() {
            Some(keeper) => keeper.lost_now().await,
            None => None,
        }
    }

    /// Gives the lock back, if the work took one.
    pub async fn release_lock(&self) -> Result<(), EngineError> {
        match self.keeper() {
            Some(keeper) => keeper.release().await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for LockRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LockRequest").field("name", &self.name).field("holder", &self.holder).finish()
    }
}
