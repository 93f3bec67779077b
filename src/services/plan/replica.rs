//! One place of a service, and every container that belongs to it.

use crate::manifest::model::RestartPolicy;
use crate::services::labels;
use crate::services::observe::{Role, Seen, Snapshot};
use crate::services::spec;

/// A service's container number N, and what earlier work may have left beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replica<'s> {
    pub number: u32,
    pub main: Option<&'s Seen>,
    pub kept: Option<&'s Seen>,
    pub next: Option<&'s Seen>,
    pub failed: Option<&'s Seen>,
}

impl<'s> Replica<'s> {
    pub fn of(snapshot: &'s Snapshot, service: &str, number: u32) -> Self {
        let of_role = |role| {
            let number_of = move |seen: &&Seen| seen.number == number;
            snapshot.of_service(service, role).find(number_of)
        };
        Self {
            number,
            main: of_role(Role::Main),
            kept: of_role(Role::Kept),
            next: of_role(Role::Next),
            failed: of_role(Role::Failed),
        }
    }

    /// Whether an earlier replacement was cut off: what is down now served before.
    pub fn was_cut_off(&self) -> bool {
        self.kept.is_some() || self.next.is_some()
    }

    /// Whether a container that steps aside is to run again when its replacement fails.
    pub fn served(&self, old: &Seen) -> bool {
        old.is_up() || self.was_cut_off()
    }

    /// The restart policy that a container gets back: the one it has, unless a cut-off replacement took it away.
    pub fn policy_of(&self, old: &Seen) -> RestartPolicy {
        let made_with = old.view.labels.get(labels::RESTART).and_then(|policy| policy.parse().ok());
        match spec::policy(old.view.restart) {
            RestartPolicy::No if self.was_cut_off() => made_with.unwrap_or(RestartPolicy::No),
            policy => policy,
        }
    }
}
