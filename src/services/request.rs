//! What is asked for: an action, the services that it is for, and how it is to be done.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Everything runs as the manifest says: created, started, or recreated where it has drifted.
    #[default]
    Start,
    /// As `start`, and what runs without drift is restarted.
    Restart,
    Stop,
    /// Containers go; volumes and networks by explicit word.
    Remove,
}

/// A wish: what to do with which services.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    pub action: Action,
    /// Names of services, as the selectors gave them; nothing is added for an empty one.
    pub selection: Vec<String>,
    pub options: Options,
}

/// How it is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub dependencies: Dependencies,
    pub recreate: Recreate,
    /// Whether networks that differ from the manifest are recreated, with everything that runs in them.
    pub recreate_networks: bool,
    pub wait: Wait,
    /// For every wait of the plan; what the manifest says, else what suits the kind of wait, where absent.
    pub wait_timeout: Option<Duration>,
    pub failed: FailedContainers,
    pub namesakes: Namesakes,
    /// IDs of containers that were seen to end well by themselves: jobs, which run again only when they change.
    pub completed: BTreeSet<String>,
    /// What `remove` takes beside containers.
    pub extent: BTreeSet<Extent>,
}

/// What becomes of dependencies that were not chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dependencies {
    /// They are started if they are down, never restarted.
    #[default]
    Start,
    /// They are left as they are, and nobody waits for them.
    Leave,
}

/// Which containers are recreated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recreate {
    #[default]
    Drifted,
    All,
    /// None that is there: what was stopped for a moment runs again as it was.
    Never,
}

/// How far an action follows what it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until every chosen service is ready.
    #[default]
    Ready,
    /// Only where a dependent, or an old container that is kept, needs to know.
    WhereNeeded,
}

/// What becomes of a container that failed to replace another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FailedContainers {
    #[default]
    Remove,
    /// It is stopped and kept for a look, as `<name>.dpl-failed`.
    Keep,
}

/// What becomes of a container that dpl did not make and that has the name of one that it is to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Namesakes {
    /// It stands in the way.
    #[default]
    Refuse,
    /// It is taken over: replaced as an old container of the service, and kept aside until the new one is ready.
    Adopt,
}

/// What `remove` takes beside the chosen services' containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Their volumes, anonymous ones too: the data in them is gone.
    Volumes,
    /// The project's networks that nothing uses any more.
    Networks,
    /// Containers of services that the manifest doesn't name.
    Orphans,
}
