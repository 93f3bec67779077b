//! Putting a new database in the place of the present one: the statements, and the moment without the name.
//!
//! `ALLOW_CONNECTIONS false` first, committed, so that nobody comes back between the termination and the renames;
//! both renames in one transaction, so that a kill leaves either all of the old state or all of the new. What undoes
//! the first step after a kill is in `recovery`.

use std::time::{Duration, Instant};

use super::error::DatabasesError;
use super::server::Server;
use super::sql::{ident, literal};
use crate::report::{Message, Reporter};

/// A rename waits 5 s for a backend that slipped through (PostgreSQL's `CountOtherDBBackends`), then fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The names that take part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Swap<'a> {
    /// The name that people use.
    pub database: &'a str,
    /// The complete new database.
    pub new: &'a str,
    /// What the present one is called afterwards.
    pub aside: &'a str,
}

impl Swap<'_> {
    fn exchange(&self) -> String {
        let (database, new, aside) = (ident(self.database), ident(self.new), ident(self.aside));
        format!(
            "BEGIN; ALTER DATABASE {database} RENAME TO {aside}; ALTER DATABASE {new} RENAME TO {database}; COMMIT;"
        )
    }

    /// Swaps, and gives how long the name could not be connected to. On an error the present database is there under its
    /// name and takes connections again.
    pub async fn run(&self, server: &Server, reporter: &Reporter) -> Result<Duration, DatabasesError> {
        let begun = Instant::now();
        let error = loop {
            match self.attempt(server).await {
                Ok(nameless) => return Ok(nameless),
                Err(error) => {
                    // The connection may have ended after the commit: what counts is what the server has.
                    if server.has(self.aside).await.unwrap_or(false) {
                        return Ok(begun.elapsed());
                    }
                    if begun.elapsed() > PATIENCE {
                        break error;
                    }
                }
            }
        };
        if let Err(reopening) = open(server, self.database).await {
            let message = Message::new("databases-left-closed").with("database", self.database);
            reporter.warn(message.with("reason", reopening));
        }
        Err(DatabasesError::NeverQuiet { database: self.database.to_owned(), source: Box::new(error) })
    }

    async fn attempt(&self, server: &Server) -> Result<Duration, DatabasesError> {
        let mut session = server.maintenance_session(self.database).await?;
        crate::failpoint!("databases.rebuild.before-close");
        let begun = Instant::now();
        session.run("end new connections", &close_statement(self.database)).await?;
        crate::failpoint!("databases.rebuild.after-close");
        session.run("end its connections", &terminate_statement(self.database)).await?;
        crate::failpoint!("databases.rebuild.before-renames");
        session.run("put the new database in its place", &self.exchange()).await?;
        let nameless = begun.elapsed();
        crate::failpoint!("databases.rebuild.after-renames");
        // The swap is done whatever becomes of the session.
        let _ = session.close().await;
        Ok(nameless)
    }
}

/// Gives a new database the name, where there was none of it.
pub(super) async fn name(server: &Server, new: &str, database: &str) -> Result<(), DatabasesError> {
    crate::failpoint!("databases.rebuild.before-naming");
    let statement = format!("ALTER DATABASE {} RENAME TO {};", ident(new), ident(database));
    server.client.execute(server.maintenance(database), "name the new database", &statement).await?;
    Ok(())
}

/// Lets connections in again.
pub(super) async fn open(server: &Server, database: &str) -> Result<(), DatabasesError> {
    let statement = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", ident(database));
    server.client.execute(server.maintenance(database), "allow connections", &statement).await?;
    Ok(())
}

/// Drops a database that this room made or put aside; connections to it end.
pub(super) async fn drop_aside(server: &Server, name: &str) -> Result<(), DatabasesError> {
    crate::failpoint!("databases.rebuild.before-drop");
    let statements = format!(
        "ALTER DATABASE {0} IS_TEMPLATE false; ALTER DATABASE {0} ALLOW_CONNECTIONS false; \
         DROP DATABASE {0} WITH (FORCE);",
        ident(name)
    );
    server.client.execute(server.maintenance(name), "drop the database", &statements).await?;
    crate::failpoint!("databases.rebuild.after-drop");
    Ok(())
}

fn close_statement(database: &str) -> String {
    format!("ALTER DATABASE {} ALLOW_CONNECTIONS false;", ident(database))
}

/// Terminates until none is left, on the server, without a round trip for each look. After 10 s without an end the
/// rename has to say who is in its way.
fn terminate_statement(database: &str) -> String {
    let body = format!(
        "DECLARE left_over bigint; BEGIN \
         FOR turn IN 1..5000 LOOP \
           PERFORM pg_catalog.pg_stat_clear_snapshot(); \
           SELECT count(pg_catalog.pg_terminate_backend(pid)) INTO left_over \
             FROM pg_catalog.pg_stat_activity WHERE datname = {}; \
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
             ALTER DATABASE \"n\" RENAME TO \"档\"\"; drop\"; COMMIT;"
        );
    }

    #[test]
    fn a_name_with_quotes_stays_a_literal_inside_the_body() {
        let statement = terminate_statement("it's \\ $$");
        assert!(statement.starts_with("DO E'DECLARE"), "{statement}");
        assert!(statement.contains("datname = E''it''''s \\\\\\\\ $$'';"), "{statement}");
        assert!(terminate_statement("x").contains("datname = ''x'';"));
    }
}
