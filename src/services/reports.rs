//! What actions on services and `status` give back: the documents behind `--json`.

use schemars::JsonSchema;
use serde::Serialize;

use super::request::Action;

/// What an action did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServicesReport {
    pub project: String,
    pub action: Action,
    /// The services that the plan touched, by number.
    pub services: Vec<ServiceResult>,
    /// Networks and volumes that were made or removed.
    pub resources: Vec<String>,
    /// Whether the engine went away in the middle, and came back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub engine_was_away: bool,
}

impl ServicesReport {
    /// The same, where those of these services that were left open turned out to be as they were asked for.
    pub(super) fn closed(mut self, found_done: impl Fn(&str) -> bool) -> Self {
        let outcome = match self.action {
            Action::Start | Action::Restart => ServiceOutcome::Waited,
            Action::Stop => ServiceOutcome::Stopped,
            Action::Remove => ServiceOutcome::Removed,
        };
        for service in self.services.iter_mut().filter(|service| service.result.is_open() && found_done(&service.name))
        {
            service.result = outcome;
        }
        self
    }

    /// Adds what a later look did: what was done stays done, what was not may be now.
    pub(super) fn absorb(&mut self, later: Self) {
        for new in later.services {
            match self.services.iter_mut().find(|service| service.name == new.name) {
                None => self.services.push(new),
                Some(old) => {
                    old.milliseconds += new.milliseconds;
                    let was_open = old.result.is_open() || old.result == ServiceOutcome::Waited;
                    if was_open || new.result == ServiceOutcome::Failed {
                        old.result = new.result;
                    }
                }
            }
        }
        let new: Vec<String> = later.resources.into_iter().filter(|name| !self.resources.contains(name)).collect();
        self.resources.extend(new);
        self.engine_was_away |= later.engine_was_away;
    }
}

/// What became of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServiceResult {
    pub name: String,
    pub result: ServiceOutcome,
    /// Why, as the plan had it.
    pub cause: String,
    /// From the first step to the last, in milliseconds.
    pub milliseconds: u64,
}

/// How it ended for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceOutcome {
    /// It was there, and was started.
    Started,
    /// It got its first container.
    Created,
    /// A new container took the place of the old one.
    Recreated,
    Restarted,
    Stopped,
    Removed,
    /// It was only waited for, or changed in place.
    #[serde(rename = "settled")]
    Waited,
    /// It failed; where something had been taken away, it is back.
    Failed,
    /// Something that it needs failed, or the operator asked for an end: it is as it was.
    Skipped,
    /// The operator asked for an end: it is changed, and whether it is ready was not waited for.
    Unproven,
    /// The operator asked for an end: some of it is changed, and the rest is as it was.
    Partly,
}

impl ServiceOutcome {
    /// Whether something is left to do for it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Failed | Self::Skipped | Self::Unproven | Self::Partly)
    }
}

/// Another folder that containers of a project were created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherFolder {
    /// `HOST:FOLDER`.
    pub folder: String,
    /// When the last of them was created, in seconds since 1970.
    pub last_created: i64,
}

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct StatusReport {
    pub project: String,
    /// The chosen services, by number.
    pub services: Vec<ServiceStatus>,
    /// Containers of the project whose services the manifest doesn't name.
    pub orphans: Vec<ContainerStatus>,
    #[serde(skip)]
    pub other_folders: Vec<OtherFolder>,
}

/// The state of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ServiceStatus {
    pub index: usize,
    pub name: String,
    pub groups: Vec<String>,
    pub image: String,
    /// `running`, `exited`, … as the engine says; `missing` without a container, `foreign` where dpl did not make the
    /// one of its name; `partial` where its containers differ.
    pub state: String,
    /// `healthy`, `unhealthy`, `starting` or `none`; the worst of its containers.
    pub health: String,
    /// `image`, and the manifest's fields in which its containers differ from what is wanted; `replacement` where an
    /// interrupted one left a container beside, `environment (unreadable)` where a file or a secret of it can't be read.
    pub drift: Vec<String>,
    /// RFC 3339, by the engine's clock: when the latest of its containers came into its state. Absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Containers that serve, of those that should.
    pub running: usize,
    pub wanted: usize,
    pub containers: Vec<ContainerStatus>,
    /// Containers that dpl did not make, under names that containers of the service are to have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namesakes: Vec<String>,
}

/// The state of one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ContainerStatus {
    pub name: String,
    pub id: String,
    /// Which of its service's containers, from 1.
    pub number: u32,
    /// `main`, `kept` (replaced, its replacement not yet proved), `next` (a replacement not yet begun), `failed`.
    pub role: String,
    pub state: String,
    pub health: String,
    pub image_id: String,
    /// RFC 3339, by the engine's clock; absent where it never ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Absent while it runs and where it never ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    pub oom_killed: bool,
    /// How often the engine has started it again since it was last started on purpose.
    pub restarts: u64,
    /// `127.0.0.1:8080->80/tcp`.
    pub ports: Vec<String>,
    /// The part of an old request that had to be left out: `gpus`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// What it uses, where that was asked for and it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Usage {
    /// Of one CPU: 100 where it keeps one busy, 200 for two.
    pub cpu_percent: f64,
    /// Without the cache that the kernel would give up first.
    pub memory_bytes: u64,
    /// Its own limit, else the host's memory.
    pub memory_limit_bytes: u64,
    /// Over all networks, since it started.
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Over all disks, since it started.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// What the chosen services use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct StatsReport {
    pub project: String,
    /// The chosen services' containers that serve, by number.
    pub containers: Vec<ContainerStats>,
}

/// What one container uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ContainerStats {
    pub index: usize,
    pub service: String,
    /// Which of the service's containers, from 1.
    pub number: u32,
    pub name: String,
    pub id: String,
    /// Absent where it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}
