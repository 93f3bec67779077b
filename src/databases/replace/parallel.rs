//! `pg_restore` over several connections: fast, and at the mercy of chance where rows need the rows of other tables.
//!
//! Such rows come before those that they ask for, and are refused, or wait for them while the others wait for their locks.
//! PostgreSQL ends a ring of locks by itself; of a function that looks again and again, or works over a connection of its
//! own, it knows nothing. Both are told here, so that the caller can restore in the dump's own order, where rows find what
//! they found when they were written.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::quoting::literal;

/// How long somebody may hold what another connection waits for without getting on: longer than a slow disk takes for a
/// few rows. To be wrong costs the time that was spent so far.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often the connections are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::databases) enum Ended {
    Restored,
    /// The rows need an order. What is in the database now is of no use.
    OutOfOrder,
}

impl Ended {
    pub fn needs_order(self) -> bool {
        self == Self::OutOfOrder
    }
}

/// Waits for `restoring`, a `pg_restore` with several jobs into `database`, in which nobody else is.
pub(in crate::databases) async fn in_parallel<T>(
    server: &Server,
    database: &str,
    restoring: impl Future<Output = Result<T, DatabasesError>>,
) -> Result<Ended, DatabasesError> {
    tokio::pin!(restoring);
    let restored = tokio::select! {
        restored = &mut restoring => restored,
        () = stand_still(server, database) => {
            end_connections(server, database).await?;
            // It ends with them, and what it says of that is nothing new.
            let _ = restoring.await;
            return Ok(Ended::OutOfOrder);
        }
    };
    match restored {
        Ok(_) => Ok(Ended::Restored),
        Err(error) if depends_on_order(&error) => Ok(Ended::OutOfOrder),
        Err(error) => Err(error),
    }
}

/// Resolves when a connection has held for a while what another one waits for, and has not got on meanwhile.
async fn stand_still(server: &Server, database: &str) {
    let query = holders(server.version_number).replace("$database", &literal(database));
    let mut since: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        // A look that fails says nothing: what ails the server, pg_restore hears too.
        let looked =
            server.client.query::<Vec<String>>(server.home(), || message!("sql-look-for-deadlocks"), &query).await;
        let holders = looked.unwrap_or_default();
        since.retain(|holder, _| holders.contains(holder));
        for holder in holders {
            let begun = *since.entry(holder).or_insert_with(Instant::now);
            if begun.elapsed() >= PATIENCE {
                return;
            }
        }
    }
}

async fn end_connections(server: &Server, database: &str) -> Result<(), DatabasesError> {
    let statement = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {};",
        literal(database)
    );
    server.client.execute(server.home(), || message!("sql-end-deadlocked-connections"), &statement).await.map(drop)
}

/// Those that hold what others wait for, each with how far it is. One that reads rows gets on as they come in, by the server's
/// count from 14 on, by the size of the database before; any other gets on as long as it does not itself wait for something
/// outside. One that waits for a lock is not the one to look at, but the one that holds that lock.
fn holders(version_number: u32) -> String {
    let (read, progress) = match version_number {
        140_000.. => (
            "pg_catalog.concat_ws(' ', c.bytes_processed, c.tuples_processed)",
            "LEFT JOIN pg_catalog.pg_stat_progress_copy AS c ON c.pid = h.pid",
        ),
        _ => ("pg_catalog.pg_database_size($database::name)::text", ""),
    };
    let is_reading = if progress.is_empty() { "h.query ~* '^\\s*COPY '" } else { "c.pid IS NOT NULL" };
    format!(
        "SELECT coalesce(pg_catalog.json_agg(DISTINCT pg_catalog.concat_ws(' ', h.pid, h.query_start, \
           CASE WHEN {is_reading} THEN {read} \
             WHEN h.wait_event_type IN ('Timeout', 'Extension', 'Client') THEN NULL \
             ELSE pg_catalog.clock_timestamp()::text END)), '[]') \
         FROM pg_catalog.pg_stat_activity AS w \
         CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid) \
         JOIN pg_catalog.pg_stat_activity AS h ON h.pid = b.pid {progress} \
         WHERE w.datname = $database AND h.datname = $database AND w.wait_event_type = 'Lock' \
           AND h.wait_event_type IS DISTINCT FROM 'Lock'"
    )
}

/// Whether `pg_restore` failed at something that may depend on what other tables hold already: rows, and what checks them
/// (the description of the archive's entry in what it says, which no language changes). From 14 on, one of several processes
/// does not say at which entry it failed; it works on nothing but such.
fn depends_on_order(error: &DatabasesError) -> bool {
    let DatabasesError::Tool { program: "pg_restore", source, .. } = error else { return false };
    let text = source.text();
    // What libpq says of a server that is gone, in C's language: that has nothing to do with any order.
    if text.contains("server closed the connection") {
        return false;
    }
    if !text.contains("TOC entry ") {
        // What pg_restore says of the end of one process (`parallel.c`), in C's language.
        return text.contains("worker process died");
    }
    let entries = text.lines().filter_map(|line| line.split_once("TOC entry ")?.1.split_once("; "));
    let mut described = entries.filter_map(|(_, entry)| entry.splitn(3, ' ').nth(2));
    described.any(|entry| {
        [
            "TABLE DATA ",
            "FK CONSTRAINT ",
            "CHECK CONSTRAINT ",
            "INDEX ",
            "CONSTRAINT ",
            "MATERIALIZED VIEW DATA ",
            "SEQUENCE SET ",
        ]
        .iter()
        .any(|kind| entry.starts_with(kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::error::Said;

    #[test]
    fn rows_that_came_too_early_are_told_from_what_is_wrong_in_any_order() {
        let said = |text: &str| DatabasesError::Tool {
            program: "pg_restore",
            database: "d".to_owned(),
            code: 1,
            source: Said::new(text.as_bytes()),
        };
        let data = "pg_restore: während PROCESSING TOC:\npg_restore: von TOC entry 3318; 0 16386 TABLE DATA layer postgres\n\
                    pg_restore: Fehler: COPY failed for table \"layer\": ERROR: violates foreign key constraint";
        assert!(depends_on_order(&said(data)));
        let schema = "pg_restore: from TOC entry 215; 1259 16386 TABLE t postgres\npg_restore: error: no such role";
        assert!(!depends_on_order(&said(schema)));
        assert!(!depends_on_order(&said("pg_restore: error: could not connect")));
        // As 15 says it with `--jobs`.
        let several = "pg_restore: error: COPY failed for table \"c\": ERROR:  new row violates check constraint \"c_check\"\n\
                       pg_restore: error: a worker process died unexpectedly";
        assert!(depends_on_order(&said(several)));
        let gone = "pg_restore: error: COPY failed for table \"c\": server closed the connection unexpectedly\n\
                    pg_restore: error: a worker process died unexpectedly";
        assert!(!depends_on_order(&said(gone)));
        // As 13 says it, which names the entry all the same.
        let entry =
            "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 2983; 0 16387 TABLE DATA t postgres\n";
        assert!(!depends_on_order(&said(&format!("{entry}{gone}"))));
        assert!(depends_on_order(&said(&format!("{entry}{several}"))));
    }

    #[test]
    fn how_far_a_connection_is_is_asked_as_the_server_can_tell() {
        assert!(holders(150_004).contains("pg_stat_progress_copy") && !holders(150_004).contains("pg_database_size"));
        assert!(holders(130_020).contains("pg_database_size") && !holders(130_020).contains("pg_stat_progress_copy"));
    }
}
