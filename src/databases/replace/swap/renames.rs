//! Putting a new database in the place of the present one: the statements, and the moment without the name.
//!
//! `ALLOW_CONNECTIONS false` first, committed, so that nobody comes back between the termination and the renames;
//! both renames in one transaction, so that a kill leaves either all of the old state or all of the new. What undoes
//! the first step after a kill is a [`Guard`], and where that died too, `recovery`.

use std::time::{Duration, Instant};

use crate::databases::documents::PreserveReport;
use crate::databases::error::DatabasesError;
use crate::databases::replace::preserve::Preservation;
use crate::databases::replace::preserve::copy_rows::RowCopy;
use crate::databases::server::connect::Server;
use crate::databases::server::guard::Guard;
use crate::databases::server::quoting::{ident, literal};
use crate::databases::server::session::Session;
use crate::report::Reporter;

/// A rename waits 5 s for a backend that slipped through (PostgreSQL's `CountOtherDBBackends`), then fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The names that take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::databases) struct Swap<'a> {
    /// The name that people use.
    pub database: &'a str,
    /// The complete new database.
    pub new: &'a str,
    /// What the present one is called afterwards.
    pub aside: &'a str,
}

/// What a swap came to.
#[derive(Debug, Default)]
pub(in crate::databases) struct SwapOutcome {
    /// How long the name could not be connected to.
    pub nameless: Duration,
    pub preserved: Vec<PreserveReport>,
}

impl Swap<'_> {
    /// What was kept aside may be closed; under the name it is open.
    fn exchange(&self) -> String {
        let (database, new, aside) = (ident(self.database), ident(self.new), ident(self.aside));
        format!(
            "BEGIN; ALTER DATABASE {database} RENAME TO {aside}; ALTER DATABASE {new} RENAME TO {database}; \
             ALTER DATABASE {database} ALLOW_CONNECTIONS true; COMMIT;"
        )
    }

    /// Swaps, after the rows that live on were carried over. On an error the present database is there under its name and
    /// takes connections again.
    pub async fn run(
        &self,
        server: &Server,
        mut guard: Guard,
        preservation: &Preservation,
        reporter: &Reporter,
    ) -> Result<SwapOutcome, DatabasesError> {
        let result = match server.maintenance_session(self.database).await {
            Ok(session) => self.swap(server, &mut guard, session, preservation, reporter).await,
            Err(error) => Err(error),
        };
        if result.is_err()
            && let Err(reopening) = open(server, self.database).await
        {
            // The guard goes with this value, and opens it as soon as it can.
            let message = message!("databases-left-closed", database = self.database, reason = reopening);
            reporter.warn(message);
        } else {
            guard.stand_down().await;
        }
        result
    }

    async fn swap(
        &self,
        server: &Server,
        guard: &mut Guard,
        mut session: Session,
        preservation: &Preservation,
        reporter: &Reporter,
    ) -> Result<SwapOutcome, DatabasesError> {
        // Both sessions are inside before `ALLOW_CONNECTIONS false`.
        let row_copy = RowCopy::open(server, self.database, self.new, preservation).await?;
        guard.arm(server).await?;
        crate::failpoint!("databases.rebuild.before-close");
        let begun = Instant::now();
        session.run(|| message!("sql-refuse-new-connections"), &close_statement(self.database)).await?;
        crate::failpoint!("databases.rebuild.after-close");
        let preserved = tokio::select! {
            preserved = self.carry(&mut session, row_copy, preservation) => preserved?,
            () = reporter.stop_asked() => {
                server.cancel_statements().await;
                return Err(DatabasesError::Stopped { database: self.database.to_owned() });
            }
        };
        let mut session = Some(session);
        let mut failure = None;
        let mut pause = Duration::from_millis(20);
        while failure.is_none() || begun.elapsed() < PATIENCE && !reporter.asked_to_stop() {
            if failure.is_some() {
                // A server that does not answer is not asked hundreds of times.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            match self.attempt(server, session.take()).await {
                Ok(()) => return Ok(SwapOutcome { nameless: begun.elapsed(), preserved }),
                Err(error) => {
                    // The connection may have ended after the commit: what counts is what the server has.
                    if server.has(self.aside).await.unwrap_or(false) {
                        return Ok(SwapOutcome { nameless: begun.elapsed(), preserved });
                    }
                    failure = Some(error);
                }
            }
        }
        let database = self.database.to_owned();
        let source = failure.unwrap_or(DatabasesError::Stopped { database: database.clone() });
        Err(DatabasesError::NeverQuiet { database, source: Box::new(source) })
    }

    /// Carries the rows while nobody else is in the present database. A backend that was just starting when it was
    /// closed may still have written: then it is done again, and nothing is lost.
    async fn carry(
        &self,
        session: &mut Session,
        row_copy: Option<RowCopy>,
        preservation: &Preservation,
    ) -> Result<Vec<PreserveReport>, DatabasesError> {
        let Some(mut row_copy) = row_copy else { return Ok(Vec::new()) };
        const TURNS: u32 = 5;
        let mut alone = false;
        for _ in 0..TURNS {
            session
                .run(
                    || message!("sql-end-its-connections"),
                    &terminate_statement(self.database, Some(row_copy.backend)),
                )
                .await?;
            row_copy.carry(preservation).await?;
            let count = format!(
                "SELECT to_json(count(*)) FROM pg_catalog.pg_stat_activity WHERE datname = {} AND pid <> {}",
                literal(self.database),
                row_copy.backend
            );
            alone = session.query::<u64>(|| message!("sql-count-connections"), &count).await? == 0;
            if alone {
                break;
            }
        }
        if !alone {
            // Somebody may have written behind the last copy: such a row would be lost.
            let database = self.database.to_owned();
            let source = Box::new(DatabasesError::Busy { database: database.clone() });
            return Err(DatabasesError::NeverQuiet { database, source });
        }
        crate::failpoint!("databases.rebuild.before-preserve-commit");
        let reports = row_copy.finish().await?;
        crate::failpoint!("databases.rebuild.after-preserve");
        Ok(reports)
    }

    async fn attempt(&self, server: &Server, session: Option<Session>) -> Result<(), DatabasesError> {
        let mut session = match session {
            Some(session) => session,
            None => server.maintenance_session(self.database).await?,
        };
        session.run(|| message!("sql-end-its-connections"), &terminate_statement(self.database, None)).await?;
        crate::failpoint!("databases.rebuild.before-renames");
        session.run(|| message!("sql-swap-the-databases"), &self.exchange()).await?;
        crate::failpoint!("databases.rebuild.after-renames");
        // The swap is done whatever becomes of the session.
        let _ = session.close().await;
        Ok(())
    }
}

/// Renames a database; `database` is not where we are meanwhile.
pub(in crate::databases) async fn rename(server: &Server, from: &str, to: &str) -> Result<(), DatabasesError> {
    crate::failpoint!("databases.rebuild.before-naming");
    let statement = format!("ALTER DATABASE {} RENAME TO {};", ident(from), ident(to));
    server.client.execute(server.maintenance(to), || message!("sql-rename-the-database"), &statement).await?;
    crate::failpoint!("databases.rebuild.after-naming");
    Ok(())
}

/// Lets connections in again.
pub(in crate::databases) async fn open(server: &Server, database: &str) -> Result<(), DatabasesError> {
    let statement = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", ident(database));
    server.client.execute(server.maintenance(database), || message!("sql-allow-connections"), &statement).await?;
    Ok(())
}

/// Drops a database that this module made or put aside; connections to it end.
pub(in crate::databases) async fn drop_aside(server: &Server, name: &str) -> Result<(), DatabasesError> {
    crate::failpoint!("databases.rebuild.before-drop");
    // One whose drop was interrupted can't be altered any more, and needs nothing but another drop.
    let altered = format!(
        "SELECT pg_catalog.format(statement, datname) FROM pg_catalog.pg_database, \
           (VALUES (1, 'ALTER DATABASE %I IS_TEMPLATE false'), (2, 'ALTER DATABASE %I ALLOW_CONNECTIONS false')) \
           AS statements (turn, statement) \
         WHERE datname = {} AND datconnlimit <> -2 ORDER BY turn\n\\gexec\n",
        literal(name)
    );
    let statements = format!("{altered}DROP DATABASE {} WITH (FORCE);", ident(name));
    server.client.execute(server.maintenance(name), || message!("sql-drop-the-database"), &statements).await?;
    crate::failpoint!("databases.rebuild.after-drop");
    Ok(())
}

/// As [`drop_aside`], unless somebody asks for an end; then it is there still.
pub(in crate::databases) async fn drop_unless_stopped(
    server: &Server,
    name: &str,
    reporter: &Reporter,
) -> Result<(), DatabasesError> {
    tokio::select! {
        dropped = drop_aside(server, name) => dropped,
        () = reporter.stop_asked() => {
            server.cancel_statements().await;
            Err(DatabasesError::Stopped { database: name.to_owned() })
        }
    }
}

fn close_statement(database: &str) -> String {
    format!("ALTER DATABASE {} ALLOW_CONNECTIONS false;", ident(database))
}

/// Terminates until none is left but `spared`, on the server, without a round trip for each look. After 10 s without
/// an end the rename has to say who is in its way.
fn terminate_statement(database: &str, spared: Option<i64>) -> String {
    let spared = spared.map(|pid| format!(" AND pid <> {pid}")).unwrap_or_default();
    let body = format!(
        "DECLARE left_over bigint; BEGIN \
         FOR turn IN 1..5000 LOOP \
           PERFORM pg_catalog.pg_stat_clear_snapshot(); \
           SELECT count(pg_catalog.pg_terminate_backend(pid)) INTO left_over \
             FROM pg_catalog.pg_stat_activity WHERE datname = {}{spared}; \
           EXIT WHEN left_over = 0; \
           PERFORM pg_catalog.pg_sleep(0.002); \
         END LOOP; END",
        literal(database)
    );
    format!("DO {};", literal(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_renames_are_one_transaction() {
        let swap = Swap { database: "档\"; drop", new: "n", aside: "o" };
        assert_eq!(
            swap.exchange(),
            "BEGIN; ALTER DATABASE \"档\"\"; drop\" RENAME TO \"o\"; \
             ALTER DATABASE \"n\" RENAME TO \"档\"\"; drop\"; \
             ALTER DATABASE \"档\"\"; drop\" ALLOW_CONNECTIONS true; COMMIT;"
        );
    }

    #[test]
    fn a_name_with_quotes_stays_a_literal_inside_the_body() {
        let statement = terminate_statement("it's \\ $$", None);
        assert!(statement.starts_with("DO E'DECLARE"), "{statement}");
        assert!(statement.contains("datname = E''it''''s \\\\\\\\ $$'';"), "{statement}");
        assert!(terminate_statement("x", Some(7)).contains("datname = ''x'' AND pid <> 7;"));
    }
}
