//! What is to become of one replica of a service.

use super::cause::Cause;
use super::replica::Replica;
use super::{PlanInput, Recreate};
use crate::engine::{self, ContainerState};
use crate::manifest::model::{RestartPolicy, Service};
use crate::services::snapshot::drift::{self, Drift};
use crate::services::snapshot::observed::ObservedContainer;

/// What the operator, or another service's work, wants of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// Nothing, unless a service changes that it is tied to.
    Nothing,
    /// It runs, whatever its configuration.
    Run { by: String },
    /// It runs as the manifest says.
    Converge,
    /// The same, and what runs already is restarted.
    Restart,
}

/// What a change of another service does to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Nothing,
    Started,
    Restarted,
    /// It has a new container.
    Renewed,
}

/// What happens to a replica.
#[derive(Debug, Clone)]
pub(super) enum Decision<'s> {
    /// There is nothing, and nothing is wanted.
    Nothing,
    /// The container stays.
    Keep { main: &'s ObservedContainer, set_policy: Option<RestartPolicy>, followup: Followup, cause: Cause },
    /// A new container; the old one steps aside until it has proved itself.
    Make { discard: Vec<&'s ObservedContainer>, old: Option<&'s ObservedContainer>, cause: Cause },
    /// The one that was kept aside gets its place back: nothing about it is to change any more.
    PutBack { kept: &'s ObservedContainer },
    /// A replacement was begun and never seen ready: it is waited for now.
    Prove { main: &'s ObservedContainer, kept: &'s ObservedContainer },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followup {
    Nothing,
    Start,
    Restart,
    Unpause,
}

impl Decision<'_> {
    /// What it means for services that are tied to this one.
    pub fn change(&self) -> Change {
        match self {
            Self::Nothing | Self::Keep { followup: Followup::Nothing | Followup::Unpause, .. } => Change::Nothing,
            Self::Keep { followup: Followup::Start, .. } => Change::Started,
            Self::Keep { followup: Followup::Restart, .. } => Change::Restarted,
            Self::Make { .. } | Self::PutBack { .. } | Self::Prove { .. } => Change::Renewed,
        }
    }

    pub fn makes_a_container(&self) -> bool {
        matches!(self, Self::Make { .. })
    }

    /// Whether a container of this replica begins to run.
    pub fn starts(&self) -> bool {
        self.change() != Change::Nothing
    }
}

/// Decides for one replica; `is_done`: whether a container's work is done.
pub(super) fn decide<'s>(
    input: &PlanInput<'s>,
    service: &Service,
    replica: &Replica<'s>,
    goal: &Goal,
    is_done: impl Fn(&ObservedContainer) -> bool + Copy,
) -> Decision<'s> {
    let drift = |seen: &ObservedContainer| drift::of(input.manifest, service, seen, input.snapshot);
    let forced = input.request.options.recreate == Recreate::All;
    let make = |discard: Vec<&'s ObservedContainer>, old, cause| {
        let leftovers = [replica.next, replica.failed].into_iter().flatten();
        Decision::Make { discard: discard.into_iter().chain(leftovers).collect(), old, cause }
    };
    let why = |drift: Drift| if drift.is_none() { Cause::Forced } else { Cause::Drifted(drift) };
    let wants_newest =
        matches!(goal, Goal::Converge | Goal::Restart) && input.request.options.recreate != Recreate::Never;

    match (replica.main, replica.kept) {
        _ if *goal == Goal::Nothing => match replica.main {
            Some(main) => keep(replica, main, Followup::Nothing, Cause::Asked),
            None => Decision::Nothing,
        },
        (None, None) => make(Vec::new(), None, first_cause(goal)),
        (None, Some(kept)) => {
            let drift = drift(kept);
            if drift.blocks_start || (wants_newest && (forced || !drift.is_none())) {
                make(Vec::new(), Some(kept), why(drift))
            } else {
                Decision::PutBack { kept }
            }
        }
        (Some(main), kept) if replica.is_adopted => make(kept.into_iter().collect(), Some(main), Cause::Adopted),
        (Some(main), kept) if is_beyond_help(main) => make(vec![main], kept, Cause::Down),
        (Some(main), Some(kept)) if wants_newest => match drift(main) {
            drift if drift.is_none() && !forced => Decision::Prove { main, kept },
            drift if main.is_well() => make(vec![kept], Some(main), why(drift)),
            drift => make(vec![main], Some(kept), why(drift)),
        },
        (Some(main), _) if wants_newest => {
            let drift = drift(main);
            if forced || drift.needs_a_new_container() {
                return make(Vec::new(), Some(main), why(drift));
            }
            let set_policy = drift.has_other_restart_policy().then_some(service.restart);
            let (followup, cause) = running(main, goal, is_done);
            let (followup, cause) = match drift.stale_namespaces.first() {
                Some((_, provider)) if followup == Followup::Nothing => {
                    (Followup::Restart, Cause::SharesNamespaceOf(provider.clone()))
                }
                _ if set_policy.is_some() && followup == Followup::Nothing => (followup, Cause::RestartPolicy),
                _ => (followup, cause),
            };
            Decision::Keep { main, set_policy, followup, cause }
        }
        (Some(main), _) => {
            let drift = drift(main);
            if !main.is_up() && drift.blocks_start && replica.kept.is_none() {
                return make(Vec::new(), Some(main), why(drift));
            }
            let (followup, cause) = running(main, goal, is_done);
            keep(replica, main, followup, cause)
        }
    }
}

/// What another service's change does to one that needs it.
pub(super) struct Influence<'i> {
    pub change: Change,
    pub shares_namespace: bool,
    /// The container that is there can't be started again as it is: what it shares belongs to a container that is gone.
    pub blocks_start: bool,
    pub by: &'i str,
}

/// What another service's change adds to a decision.
pub(super) fn affected<'s>(decision: Decision<'s>, replica: &Replica<'s>, influence: &Influence<'_>) -> Decision<'s> {
    let Influence { change, shares_namespace, blocks_start, by } = *influence;
    let renewed = |main: Option<&'s ObservedContainer>, kept: Option<&'s ObservedContainer>| {
        // Where an earlier replacement was cut off, only one of its two containers can be the old one.
        let (gone, old) = match (main, kept) {
            (Some(main), Some(kept)) if main.is_well() => (Some(kept), Some(main)),
            (main, Some(kept)) => (main, Some(kept)),
            (main, None) => (None, main),
        };
        let discard = [gone, replica.next, replica.failed].into_iter().flatten().collect();
        Decision::Make { discard, old, cause: Cause::SharesNamespaceOf(by.to_owned()) }
    };
    let loses_namespace = change == Change::Renewed && shares_namespace;
    let (main, set_policy, followup, cause) = match decision {
        Decision::Keep { main, set_policy, followup, cause } => (main, set_policy, followup, cause),
        Decision::PutBack { kept } if loses_namespace => return renewed(None, Some(kept)),
        Decision::Prove { main, kept } if loses_namespace => return renewed(Some(main), Some(kept)),
        decision => return decision,
    };
    let lives = main.is_up() || followup != Followup::Nothing;
    match change {
        Change::Renewed if shares_namespace && lives => renewed(Some(main), replica.kept),
        // It runs on in the namespace of a provider that an earlier run replaced: a restart would not find that one.
        Change::Started | Change::Restarted if shares_namespace && blocks_start && main.is_up() => {
            renewed(Some(main), replica.kept)
        }
        Change::Started | Change::Restarted if shares_namespace && main.is_up() => Decision::Keep {
            main,
            set_policy,
            followup: Followup::Restart,
            cause: Cause::SharesNamespaceOf(by.to_owned()),
        },
        Change::Restarted | Change::Renewed if !shares_namespace && main.is_up() && followup == Followup::Nothing => {
            Decision::Keep { main, set_policy, followup: Followup::Restart, cause: Cause::RestartsWith(by.to_owned()) }
        }
        _ => Decision::Keep { main, set_policy, followup, cause },
    }
}

/// A replacement that was cut off may have taken its policy: it gets that back with the next start.
fn keep<'s>(replica: &Replica<'s>, main: &'s ObservedContainer, followup: Followup, cause: Cause) -> Decision<'s> {
    let lost = replica.was_cut_off() && main.view.restart == engine::RestartPolicy::No;
    let policy = Some(replica.policy_of(main)).filter(|policy| lost && *policy != RestartPolicy::No);
    Decision::Keep { main, set_policy: policy.filter(|_| followup != Followup::Nothing), followup, cause }
}

fn first_cause(goal: &Goal) -> Cause {
    match goal {
        Goal::Run { by } => Cause::NeededBy(by.clone()),
        _ => Cause::Missing,
    }
}

/// The engine can neither start nor stop such a container.
fn is_beyond_help(main: &ObservedContainer) -> bool {
    matches!(main.view.state, ContainerState::Dead | ContainerState::Removing)
}

fn running(main: &ObservedContainer, goal: &Goal, is_done: impl Fn(&ObservedContainer) -> bool) -> (Followup, Cause) {
    let needed = |otherwise| match goal {
        Goal::Run { by } => Cause::NeededBy(by.clone()),
        _ => otherwise,
    };
    match main.view.state {
        ContainerState::Paused if *goal == Goal::Restart => (Followup::Restart, Cause::Asked),
        ContainerState::Paused => (Followup::Unpause, needed(Cause::Paused)),
        ContainerState::Running | ContainerState::Restarting => match goal {
            Goal::Restart => (Followup::Restart, Cause::Asked),
            _ => (Followup::Nothing, Cause::Asked),
        },
        _ if is_done(main) && *goal != Goal::Restart => (Followup::Nothing, Cause::Asked),
        _ => (Followup::Start, needed(Cause::Down)),
    }
}

/// Whether it has ended well.
pub(super) fn has_ended_well(main: &ObservedContainer) -> bool {
    main.view.state == ContainerState::Exited && main.view.exit_code == 0
}
