//! What is to become of one container's place.

use super::cause::Cause;
use super::replica::Replica;
use super::{Ground, Recreate};
use crate::engine::ContainerState;
use crate::manifest::model::Service;
use crate::services::drift::{self, Drift};
use crate::services::observe::Seen;

/// What the operator, or another service's work, wants of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
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

/// What happens to a container's place.
#[derive(Debug, Clone)]
pub(super) enum Decision<'s> {
    /// There is nothing, and nothing is wanted.
    Nothing,
    /// The container stays.
    Keep { main: &'s Seen, set_policy: bool, then: Then, cause: Cause },
    /// A new container; the old one steps aside until it has proved itself.
    Make { discard: Vec<&'s Seen>, old: Option<&'s Seen>, cause: Cause },
    /// The one that was kept aside gets its place back: nothing about it is to change any more.
    PutBack { kept: &'s Seen },
    /// A replacement was begun and never seen ready: it is waited for now.
    Prove { main: &'s Seen, kept: &'s Seen },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    Start,
    Restart,
    Unpause,
}

impl Decision<'_> {
    /// What it means for services that are tied to this one.
    pub fn change(&self) -> Change {
        match self {
            Self::Nothing | Self::Keep { then: Then::Nothing | Then::Unpause, .. } => Change::Nothing,
            Self::Keep { then: Then::Start, .. } => Change::Started,
            Self::Keep { then: Then::Restart, .. } => Change::Restarted,
            Self::Make { .. } | Self::PutBack { .. } | Self::Prove { .. } => Change::Renewed,
        }
    }

    pub fn makes_a_container(&self) -> bool {
        matches!(self, Self::Make { .. })
    }

    /// Whether a container of this place begins to run.
    pub fn starts(&self) -> bool {
        self.change() != Change::Nothing
    }
}

/// Decides for one place; `is_one_shot`: its work is done when it has ended well.
pub(super) fn decide<'s>(
    ground: &Ground<'s>,
    service: &Service,
    replica: &Replica<'s>,
    wish: &Wish,
    is_one_shot: bool,
) -> Decision<'s> {
    let drift = |seen: &Seen| drift::of(ground.manifest, service, seen, ground.snapshot);
    let forced = ground.request.options.recreate == Recreate::All;
    let make = |discard: Vec<&'s Seen>, old, cause| {
        let leftovers = [replica.next, replica.failed].into_iter().flatten();
        Decision::Make { discard: discard.into_iter().chain(leftovers).collect(), old, cause }
    };
    let why = |drift: Drift| if drift.is_none() { Cause::Forced } else { Cause::Drifted(drift) };
    let wants_newest = matches!(wish, Wish::Converge | Wish::Restart);

    match (replica.main, replica.kept) {
        _ if *wish == Wish::Nothing => match replica.main {
            Some(main) => keep(main, Then::Nothing, Cause::Asked),
            None => Decision::Nothing,
        },
        (None, None) => make(Vec::new(), None, first_cause(wish)),
        (None, Some(kept)) => {
            let drift = drift(kept);
            if wants_newest && (forced || !drift.is_none()) {
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
            let set_policy = drift.is_restart_policy_only();
            if forced || !(drift.is_none() || set_policy) {
                return make(Vec::new(), Some(main), why(drift));
            }
            let (then, cause) = running(main, wish, is_one_shot);
            let cause = if set_policy && then == Then::Nothing { Cause::RestartPolicy } else { cause };
            Decision::Keep { main, set_policy, then, cause }
        }
        (Some(main), _) => {
            let (then, cause) = running(main, wish, is_one_shot);
            keep(main, then, cause)
        }
    }
}

/// What another service's change adds to a decision.
pub(super) fn affected<'s>(
    decision: Decision<'s>,
    replica: &Replica<'s>,
    change: Change,
    shares_namespace: bool,
    by: &str,
) -> Decision<'s> {
    let Decision::Keep { main, set_policy, then, cause } = decision else {
        return decision;
    };
    let lives = main.is_up() || then != Then::Nothing;
    match change {
        Change::Renewed if shares_namespace && lives => {
            // Where an earlier replacement was cut off, only one of its two containers can be the old one.
            let (gone, old) = match replica.kept {
                Some(kept) if main.is_well() => (Some(kept), main),
                Some(kept) => (Some(main), kept),
                None => (None, main),
            };
            let discard = [gone, replica.next, replica.failed].into_iter().flatten().collect();
            Decision::Make { discard, old: Some(old), cause: Cause::SharesNamespaceOf(by.to_owned()) }
        }
        Change::Started | Change::Restarted if shares_namespace && main.is_up() => {
            Decision::Keep { main, set_policy, then: Then::Restart, cause: Cause::SharesNamespaceOf(by.to_owned()) }
        }
        Change::Restarted | Change::Renewed if !shares_namespace && main.is_up() && then == Then::Nothing => {
            Decision::Keep { main, set_policy, then: Then::Restart, cause: Cause::RestartsWith(by.to_owned()) }
        }
        _ => Decision::Keep { main, set_policy, then, cause },
    }
}

fn keep(main: &Seen, then: Then, cause: Cause) -> Decision<'_> {
    Decision::Keep { main, set_policy: false, then, cause }
}

fn first_cause(wish: &Wish) -> Cause {
    match wish {
        Wish::Run { by } => Cause::NeededBy(by.clone()),
        _ => Cause::Missing,
    }
}

/// The engine can neither start nor stop such a container.
fn is_beyond_help(main: &Seen) -> bool {
    matches!(main.view.state, ContainerState::Dead | ContainerState::Removing)
}

fn running(main: &Seen, wish: &Wish, is_one_shot: bool) -> (Then, Cause) {
    let needed = |otherwise| match wish {
        Wish::Run { by } => Cause::NeededBy(by.clone()),
        _ => otherwise,
    };
    match main.view.state {
        ContainerState::Paused => (Then::Unpause, needed(Cause::Paused)),
        ContainerState::Running | ContainerState::Restarting => match wish {
            Wish::Restart => (Then::Restart, Cause::Asked),
            _ => (Then::Nothing, Cause::Asked),
        },
        _ if is_one_shot && is_done(main) && *wish != Wish::Restart => (Then::Nothing, Cause::Asked),
        _ => (Then::Start, needed(Cause::Down)),
    }
}

/// Whether a one-shot service has done its work.
pub(super) fn is_done(main: &Seen) -> bool {
    main.view.state == ContainerState::Exited && main.view.exit_code == 0
}
