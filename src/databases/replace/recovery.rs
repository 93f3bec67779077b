//! What a killed rebuild left on the server, and what to do about it.
//!
//! Deciding is pure: databases beside another say by their names what they are. A new one was never complete, or never
//! put in place: it goes, and the present database, if it was closed for the swap, is opened again. An old one means
//! that the swap was done: it is backed up and dropped, as the killed run would have done. One that was on its way back
//! and did not arrive is kept again; one that had to go for it is kept from now on.

use serde::Deserialize;

use super::lock::DatabaseLock;
use crate::databases::archive::names::{self, BesideKind};
use crate::databases::error::{DatabasesError, in_one_line};
use crate::databases::replace::swap::renames;
use crate::databases::server::connect::Server;
use crate::report::Reporter;

/// A database as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::databases) struct Seen {
    pub name: String,
    pub allows_connections: bool,
    /// A drop of it was interrupted: nothing but another drop can be done with it (PostgreSQL's "invalid database").
    #[serde(default)]
    pub is_invalid: bool,
}

/// What has to be done before `database` is worked on again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) enum Remedy {
    /// The present database was closed for a swap that did not happen.
    Reopen,
    /// A new database that never got its place.
    Discard(String),
    /// A kept one that was on its way back: kept again, under the second name.
    KeepAgain(String, String),
    /// What a rollback replaced: the swap was done, and it is kept under the second name.
    Keep(String, String),
    /// The database that was replaced, not yet backed up and dropped.
    DropOld(String),
    /// One that could not be, and waits for a person.
    Tell(String),
}

/// What the databases on the server mean for `database`. Old ones without a present one are nothing that a killed run
/// leaves, since both renames are one transaction: then somebody must look.
pub(in crate::databases) fn plan(database: &str, seen: &[Seen]) -> Result<Vec<Remedy>, DatabasesError> {
    let present = seen.iter().find(|seen| seen.name == database);
    let beside = |wanted: BesideKind| {
        seen.iter().filter(|seen| !seen.is_invalid).filter_map(move |seen| {
            let (kind, _) = names::read_beside(database, &seen.name)?;
            (kind == wanted).then(|| seen.name.clone())
        })
    };
    if let (None, Some(old)) = (present, beside(BesideKind::Old).next()) {
        return Err(DatabasesError::Orphaned { database: database.to_owned(), old });
    }
    let new: Vec<String> = beside(BesideKind::New).collect();
    let back: Vec<String> = beside(BesideKind::Back).collect();
    let mut remedies = Vec::new();
    // Only then was it us who closed it; the site may have reasons of its own.
    if !(new.is_empty() && back.is_empty()) && present.is_some_and(|present| !present.allows_connections) {
        remedies.push(Remedy::Reopen);
    }
    remedies.extend(new.into_iter().map(Remedy::Discard));
    let is_beside = |seen: &&Seen| seen.is_invalid && names::read_beside(database, &seen.name).is_some();
    remedies.extend(seen.iter().filter(is_beside).map(|seen| Remedy::Discard(seen.name.clone())));
    let kept = |name: &str| {
        let (_, stamp) = names::read_beside(database, name)?;
        Some(names::beside(database, BesideKind::Kept, &stamp))
    };
    remedies.extend(back.into_iter().filter_map(|name| Some(Remedy::KeepAgain(name.clone(), kept(&name)?))));
    remedies.extend(beside(BesideKind::Away).filter_map(|name| Some(Remedy::Keep(name.clone(), kept(&name)?))));
    remedies.extend(beside(BesideKind::Old).map(Remedy::DropOld));
    remedies.extend(beside(BesideKind::Left).map(Remedy::Tell));
    Ok(remedies)
}

/// Opens, drops and keeps again what a killed run left of a database, as far as that needs no backup; the rest, and the
/// words for it, are the next rebuild's. Does nothing where somebody is at work on it.
pub async fn recover_unless_busy(server: &Server, database: &str, reporter: &Reporter) -> Result<(), DatabasesError> {
    // Nothing beside it is what is found nearly always, and needs no lock.
    if plan(database, &look(server).await?).is_ok_and(|remedies| remedies.is_empty()) {
        return Ok(());
    }
    let lock = match DatabaseLock::take(server, database).await {
        Err(DatabasesError::Busy { .. }) => return Ok(()),
        lock => lock?,
    };
    let recovered = match recover(server, database, reporter).await {
        Ok(recovered) => {
            recovered.tell_what_waits(database, reporter);
            Ok(())
        }
        // For a person to judge, and a rebuild says so.
        Err(DatabasesError::Orphaned { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    lock.release().await;
    recovered
}

/// What recovery came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::databases) struct Recovered {
    /// Old databases that are still to be backed up and dropped.
    pub to_drop: Vec<String>,
    /// What an interrupted rollback had replaced already, under the name that it is kept by now.
    pub rolled_back: Option<String>,
}

impl Recovered {
    /// A caller that does not drop them says that they are there.
    pub fn tell_what_waits(&self, database: &str, reporter: &Reporter) {
        for name in &self.to_drop {
            reporter.warn(message!("databases-leftover-waits", database = database, name = name));
        }
    }
}

/// Does what needs no backup: opens what is closed, drops what was never complete, keeps what was kept.
pub(in crate::databases) async fn recover(
    server: &Server,
    database: &str,
    reporter: &Reporter,
) -> Result<Recovered, DatabasesError> {
    let mut recovered = Recovered::default();
    for remedy in plan(database, &look(server).await?)? {
        match remedy {
            Remedy::Reopen => {
                renames::open(server, database).await?;
                reporter.warn(message!("databases-reopened", database = database));
            }
            Remedy::Discard(new) => {
                // Nobody needs it, so that nothing waits for it either.
                if let Err(error) = renames::drop_aside(server, &new).await {
                    let message = message!("databases-leftover-stays", name = &new, reason = in_one_line(&error));
                    reporter.warn(message);
                    continue;
                }
                reporter.warn(message!("databases-leftover-dropped", database = database, name = new));
            }
            Remedy::KeepAgain(back, kept) => {
                renames::rename(server, &back, &kept).await?;
                reporter.warn(message!("databases-kept-again", database = database, name = kept));
            }
            Remedy::Keep(away, kept) => {
                renames::rename(server, &away, &kept).await?;
                let message = message!("databases-rolled-back-already", database = database, name = &kept);
                reporter.warn(message);
                recovered.rolled_back = Some(kept);
            }
            Remedy::DropOld(old) => recovered.to_drop.push(old),
            Remedy::Tell(left) => {
                let message = message!("databases-left-aside", name = left, database = database);
                reporter.warn(message);
            }
        }
    }
    Ok(recovered)
}

/// All databases of the server.
pub(in crate::databases) async fn look(server: &Server) -> Result<Vec<Seen>, DatabasesError> {
    const QUERY: &str = "SELECT coalesce(json_agg(json_build_object('name', datname, 'allows_connections', \
         datallowconn, 'is_invalid', datconnlimit = -2) ORDER BY datname), '[]') FROM pg_catalog.pg_database";
    server.client.query(server.home(), || message!("sql-list-the-databases"), QUERY).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, allows_connections: bool) -> Seen {
        Seen { name: name.to_owned(), allows_connections, is_invalid: false }
    }

    #[test]
    fn one_whose_drop_was_interrupted_is_just_dropped_and_one_left_aside_is_told() {
        let (old, left) = (beside(BesideKind::Old), beside(BesideKind::Left));
        let invalid = Seen { is_invalid: true, ..seen(&old, false) };
        let databases = [seen("expert", true), invalid, seen(&left, false)];
        assert_eq!(plan("expert", &databases).unwrap(), [Remedy::Discard(old), Remedy::Tell(left)]);
    }

    fn beside(kind: BesideKind) -> String {
        names::beside("expert", kind, "20260704T101530Z")
    }

    #[test]
    fn nothing_beside_it_needs_nothing() {
        let others = [
            seen("expert", false),
            seen("metis", true),
            seen(&names::beside("metis", BesideKind::New, "20260704T101530Z"), true),
        ];
        assert_eq!(plan("expert", &others).unwrap(), []);
    }

    #[test]
    fn killed_while_restoring_the_new_one_goes() {
        let new = beside(BesideKind::New);
        let databases = [seen("expert", true), seen(&new, true)];
        assert_eq!(plan("expert", &databases).unwrap(), [Remedy::Discard(new)]);
    }

    #[test]
    fn killed_while_closed_the_present_one_opens_first() {
        let new = beside(BesideKind::New);
        let databases = [seen("expert", false), seen(&new, true)];
        assert_eq!(plan("expert", &databases).unwrap(), [Remedy::Reopen, Remedy::Discard(new)]);
    }

    #[test]
    fn killed_after_the_swap_the_old_one_is_retired_and_a_kept_one_stays() {
        let old = beside(BesideKind::Old);
        let databases = [seen("expert", true), seen(&old, false), seen(&beside(BesideKind::Kept), false)];
        assert_eq!(plan("expert", &databases).unwrap(), [Remedy::DropOld(old)]);
    }

    #[test]
    fn killed_on_the_way_back_the_kept_one_is_kept_again() {
        let back = beside(BesideKind::Back);
        let databases = [seen("expert", false), seen(&back, false)];
        assert_eq!(
            plan("expert", &databases).unwrap(),
            [Remedy::Reopen, Remedy::KeepAgain(back, beside(BesideKind::Kept))]
        );
    }

    #[test]
    fn killed_behind_the_way_back_what_was_replaced_is_kept() {
        let away = beside(BesideKind::Away);
        let databases = [seen("expert", true), seen(&away, false)];
        assert_eq!(plan("expert", &databases).unwrap(), [Remedy::Keep(away, beside(BesideKind::Kept))]);
    }

    #[test]
    fn an_old_one_alone_is_for_a_person_to_judge() {
        let databases = [seen(&beside(BesideKind::Old), false)];
        assert!(matches!(plan("expert", &databases), Err(DatabasesError::Orphaned { .. })));
    }
}
