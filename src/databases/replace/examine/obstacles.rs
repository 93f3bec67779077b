//! What the present database has that keeps it from being renamed and dropped, or would be lost with it in silence.

use serde::Deserialize;

use crate::databases::dump::room::{self, SharedRoom};
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::RESERVE_BYTES;
use crate::databases::server::quoting;

#[derive(Deserialize)]
struct Facts {
    prepared_transactions: u64,
    slots: Vec<String>,
    subscriptions: Vec<String>,
}

/// What stands in the way of replacing `database`, in words.
pub(in crate::databases) async fn of(server: &Server, database: &str) -> Result<Vec<String>, DatabasesError> {
    let query = FACTS.replace("$database", &quoting::literal(database));
    let home = server.maintenance(database);
    let facts: Facts = server.client.query(home, "look for what is in the way", &query).await?;
    Ok(problems(database, &facts))
}

/// Where an extension can be created in one database of the server alone, a database can't be restored beside it.
pub(in crate::databases) async fn of_extensions(
    server: &Server,
    extensions: &[String],
) -> Result<Option<String>, DatabasesError> {
    if !extensions.iter().any(|extension| extension == "pg_cron") {
        return Ok(None);
    }
    let query = "SELECT to_json(coalesce(pg_catalog.current_setting('cron.database_name', true), ''))";
    let place: String = server.client.query(server.home(), "ask for the place of an extension", query).await?;
    Ok((!place.is_empty()).then(|| {
        format!(
            "the server lets the extension `pg_cron` be created in the database `{place}` alone (cron.database_name), and a \
             restore makes a new one: restore it by hand with pg_restore, or without that extension"
        )
    }))
}

/// Whether the replaced database can be proved afterwards: its backup is restored once more, into a throw-away server whose
/// data lies where the engine keeps its own, while the old database and the new one are still there.
pub(in crate::databases) async fn of_proof(
    server: &Server,
    present: u64,
    new: u64,
) -> Result<Option<String>, DatabasesError> {
    let Some(root) = server.engine().local_root_dir().await? else { return Ok(None) };
    let Some(free) = room::free_bytes(root) else { return Ok(None) };
    // The new one is restored first; where it goes elsewhere it takes nothing here.
    let new = if SharedRoom::of(server, root).await.is_some() { new } else { 0 };
    let wanted = present.saturating_add(new).saturating_add(RESERVE_BYTES);
    Ok((free < wanted).then(|| {
        format!(
            "the backup of the replaced database is restored once more to prove it, which takes {} MiB in {} beside the new \
             database, and only {} MiB are free: make room there, or give --keep-old 1",
            wanted.div_ceil(1 << 20),
            root.display(),
            free >> 20
        )
    }))
}

fn problems(database: &str, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    if facts.prepared_transactions > 0 {
        problems.push(format!(
            "`{database}` has {} prepared transactions, which keep it from being renamed: commit or roll them back",
            facts.prepared_transactions
        ));
    }
    if !facts.slots.is_empty() {
        problems.push(format!(
            "`{database}` has logical replication slots ({}), which would be dropped with it, and with them what their \
             consumers have not read yet: stop these, drop the slots (pg_drop_replication_slot), and make new ones afterwards",
            facts.slots.join(", ")
        ));
    }
    if !facts.subscriptions.is_empty() {
        problems.push(format!(
            "`{database}` subscribes to another server ({}), which keeps it from being dropped: in it, DROP SUBSCRIPTION \
             first, and create it again afterwards",
            facts.subscriptions.join(", ")
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
        assert_eq!(problems("shop", &none), Vec::<String>::new());
        let all =
            Facts { prepared_transactions: 2, slots: vec!["debezium".to_owned()], subscriptions: vec!["s".to_owned()] };
        let problems = problems("shop", &all);
        for (problem, word) in problems.iter().zip(["roll them back", "debezium", "DROP SUBSCRIPTION"]) {
            assert!(problem.contains(word), "{problem}");
        }
        assert_eq!(problems.len(), 3);
    }
}
