//! What a killed rebuild left on the server, and what to do about it.
//!
//! Deciding is pure: databases beside another say by their names what they are. A new one was never complete, or never
//! put in place: it goes, and the present database, if it was closed for the swap, is opened again. An old one means
//! that the swap was done: it is backed up and dropped, as the killed run would have done.

use serde::Deserialize;

use super::error::DatabasesError;
use super::names::{self, BesideKind};
use super::server::Server;

/// A database as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Seen {
    pub name: String,
    pub allows_connections: bool,
}

/// What has to be done before `database` is worked on again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The present database was closed for a swap that did not happen.
    Reopen,
    /// A new database that never got its place.
    Discard(String),
    /// The database that was replaced, not yet backed up and dropped.
    Retire(String),
}

/// What the databases on the server mean for `database`. Old ones without a present one are nothing that a killed run
/// leaves, since both renames are one transaction: then somebody must look.
pub(super) fn plan(database: &str, seen: &[Seen]) -> Result<Vec<Remedy>, DatabasesError> {
    let present = seen.iter().find(|seen| seen.name == database);
    let beside = |wanted: BesideKind| {
        seen.iter().filter_map(move |seen| {
            let (kind, _) = names::read_beside(database, &seen.name)?;
            (kind == wanted).then(|| seen.name.clone())
        })
    };
    if let (None, Some(old)) = (present, beside(BesideKind::Old).next()) {
        return Err(DatabasesError::Orphaned { database: database.to_owned(), old });
    }
    let new: Vec<String> = beside(BesideKind::New).collect();
    let mut remedies = Vec::new();
    // Only then was it us who closed it; the site may have reasons of its own.
    if !new.is_empty() && present.is_some_and(|present| !present.allows_connections) {
        remedies.push(Remedy::Reopen);
    }
    remedies.extend(new.into_iter().map(Remedy::Discard));
    remedies.extend(beside(BesideKind::Old).map(Remedy::Retire));
    Ok(remedies)
}

/// All databases of the server.
pub(super) async fn look(server: &Server) -> Result<Vec<Seen>, DatabasesError> {
    const QUERY: &str = "SELECT coalesce(json_agg(json_build_object('name', datname, 'allows_connections', \
         datallowconn) ORDER BY datname), '[]') FROM pg_catalog.pg_database";
    server.client.query(server.home(), "list the databases", QUERY).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, allows_connections: bool) -> Seen {
        Seen { name: name.to_owned(), allows_connections }
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
        assert_eq!(plan("expert", &databases).unwrap(), [Remedy::Retire(old)]);
    }

    #[test]
    fn an_old_one_alone_is_for_a_person_to_judge() {
        let databases = [seen(&beside(BesideKind::Old), false)];
        assert!(matches!(plan("expert", &databases), Err(DatabasesError::Orphaned { .. })));
    }
}
