//! One replica of a service, and every container that belongs to it.

use crate::manifest::model::RestartPolicy;
use crate::services::container::labels;
use crate::services::container::spec;
use crate::services::snapshot::observed::{Observed, ObservedContainer, Role};

/// A service's container number N, and what earlier work may have left beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replica<'s> {
    pub number: u32,
    pub main: Option<&'s ObservedContainer>,
    pub kept: Option<&'s ObservedContainer>,
    pub next: Option<&'s ObservedContainer>,
    pub failed: Option<&'s ObservedContainer>,
    /// Whether `main` is a container that dpl did not make, and that is to be taken over.
    pub is_adopted: bool,
}

impl<'s> Replica<'s> {
    /// The policy of an old container that has no label of ours to say it.
    pub fn unlabelled_policy(&self, old: &ObservedContainer) -> Option<RestartPolicy> {
        let has_label = old.view.labels.contains_key(labels::RESTART);
        (!has_label).then(|| self.policy_of(old))
    }

    /// `adopts`: whether a container that dpl did not make may be the one that serves.
    pub fn of(snapshot: &'s Observed, service: &str, number: u32, adopts: bool) -> Self {
        let of_role = |role| {
            let number_of = move |seen: &&ObservedContainer| seen.number == number;
            snapshot.of_service(service, role).find(number_of)
        };
        let main = of_role(Role::Main);
        let namesake = snapshot.namesake(service, number).filter(|_| adopts && main.is_none());
        Self {
            number,
            main: main.or(namesake),
            is_adopted: namesake.is_some(),
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
    pub fn served(&self, old: &ObservedContainer) -> bool {
        old.is_up() || self.was_cut_off()
    }

    /// The restart policy that a container gets back: the one it has, unless a cut-off replacement took it away.
    pub fn policy_of(&self, old: &ObservedContainer) -> RestartPolicy {
        let parse = |policy: &String| policy.parse().ok();
        let replacement = || [self.next, self.main].into_iter().flatten();
        let made_with = match old.view.labels.get(labels::RESTART) {
            Some(policy) => parse(policy),
            // One that was taken over: who is to replace it has it noted.
            None => replacement().find_map(|seen| seen.view.labels.get(labels::OLD_RESTART)).and_then(parse),
        };
        match spec::policy(old.view.restart) {
            RestartPolicy::No if self.was_cut_off() => made_with.unwrap_or(RestartPolicy::No),
            policy => policy,
        }
    }
}
