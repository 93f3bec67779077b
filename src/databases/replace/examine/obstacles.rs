//! What the present database has that keeps it from being renamed and dropped, or would be lost with it in silence.

use serde::Deserialize;

use crate::databases::dump::shared_disk::{self, SharedDisk};
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::RESERVE_BYTES;
use crate::databases::server::quoting;
use crate::report::{Listed, Message};

#[derive(Deserialize)]
struct Facts {
    prepared_transactions: u64,
    slots: Vec<String>,
    subscriptions: Vec<String>,
}

/// What stands in the way of replacing `database`, in words.
pub(in crate::databases) async fn of(server: &Server, database: &str) -> Result<Vec<Message>, DatabasesError> {
    let query = FACTS.replace("$database", &quoting::literal(database));
    let home = server.maintenance(database);
    let facts: Facts = server.client.query(home, || message!("sql-look-for-conflicts"), &query).await?;
    Ok(problems(database, &facts))
}

/// Where an extension can be created in one database of the server alone, a database can't be restored beside it.
pub(in crate::databases) async fn of_extensions(
    server: &Server,
    extensions: &[String],
) -> Result<Option<Message>, DatabasesError> {
    if !extensions.iter().any(|extension| extension == "pg_cron") {
        return Ok(None);
    }
    let query = "SELECT to_json(coalesce(pg_catalog.current_setting('cron.database_name', true), ''))";
    let place: String =
        server.client.query(server.home(), || message!("sql-ask-where-an-extension-can-be-created"), query).await?;
    Ok((!place.is_empty()).then(|| message!("obstacle-cron", place = place)))
}

/// Whether the replaced database can be proved afterwards: its backup is restored once more, into a throw-away server whose
/// data lies where the engine keeps its own, while the old database and the new one are still there. Where `enough` are kept
/// that need not be.
pub(in crate::databases) async fn of_proof(
    server: &Server,
    present: u64,
    new: u64,
    enough: usize,
) -> Result<Option<Message>, DatabasesError> {
    let Some(root) = server.engine().local_root_dir().await? else { return Ok(None) };
    let Some(free) = shared_disk::free_bytes(root) else { return Ok(None) };
    // The new one is restored first; where it goes elsewhere it takes nothing here.
    let new = if SharedDisk::of(server, root).await.is_some() { new } else { 0 };
    let wanted = present.saturating_add(new).saturating_add(RESERVE_BYTES);
    Ok((free < wanted).then(|| {
        let (wanted, free) = (wanted.div_ceil(1 << 20), free >> 20);
        message!("obstacle-proof", wanted = wanted, folder = root.display(), free = free, count = enough)
    }))
}

fn problems(database: &str, facts: &Facts) -> Vec<Message> {
    let mut problems = Vec::new();
    if facts.prepared_transactions > 0 {
        problems.push(message!("obstacle-prepared", database = database, count = facts.prepared_transactions));
    }
    if !facts.slots.is_empty() {
        problems.push(message!("obstacle-slots", database = database, slots = Listed::of(&facts.slots)));
    }
    if !facts.subscriptions.is_empty() {
        problems.push(message!(
            "obstacle-subscriptions",
            database = database,
            subscriptions = Listed::of(&facts.subscriptions)
        ));
    }
    problems
}

const FACTS: &str = "SELECT json_build_object(
  'prepared_transactions', (SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = $database),
  'slots', (SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_catalog.pg_replication_slots
    WHERE database = $database),
  'subscriptions', (SELECT coalesce(json_agg(s.subname ORDER BY s.subname), '[]') FROM pg_catalog.pg_subscription s
    JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $database))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_is_told_with_the_way_out() {
        let none = Facts { prepared_transactions: 0, slots: Vec::new(), subscriptions: Vec::new() };
        assert_eq!(problems("shop", &none), []);
        let all =
            Facts { prepared_transactions: 2, slots: vec!["debezium".to_owned()], subscriptions: vec!["s".to_owned()] };
        let problems = problems("shop", &all);
        for (problem, word) in problems.iter().zip(["roll them back", "debezium", "DROP SUBSCRIPTION"]) {
            assert!(crate::catalogue::english(problem).contains(word), "{problem:?}");
        }
        assert_eq!(problems.len(), 3);
    }
}
