//! A PostgreSQL server in a container: finding the way in, and what it is.
//!
//! Which container runs a database's service is for the services room to know: it comes in as a name or an ID.

use std::sync::Arc;

use serde::Deserialize;

use super::error::{DatabasesError, Said};
use super::psql::{Client, Credentials, Endpoint, Session};
use super::sql;
use crate::engine::{ContainerState, ContainerView, Engine};

/// The first version that has all that this room relies on (`DROP DATABASE … WITH (FORCE)`).
const OLDEST_VERSION: u32 = 130_000;

/// A server that answers.
#[derive(Debug, Clone)]
pub struct Server {
    /// Programs inside the server's own container.
    pub(super) client: Client,
    /// The container's name, for people.
    pub(super) container_name: String,
    /// The image that it runs, which supplies the tools.
    pub(super) image_id: String,
    /// The database to be in when no other is meant: `postgres`, or `template1` where there is none.
    home: &'static str,
    /// Where it listens, seen from its own network namespace.
    pub(super) port: u16,
    pub(super) version: String,
    pub(super) version_number: u32,
}

#[derive(Deserialize)]
struct Facts {
    version: String,
    version_number: u32,
    port: u16,
}

impl Server {
    /// Finds the way into the server in `container`: its own socket first, which is usually trusted, then TCP.
    pub async fn connect(engine: &Engine, container: &str, credentials: Credentials) -> Result<Self, DatabasesError> {
        let name = || container.to_owned();
        let view = engine
            .inspect_container(container)
            .await?
            .ok_or_else(|| DatabasesError::NoContainer { container: name() })?;
        if view.state != ContainerState::Running {
            return Err(DatabasesError::NotRunning { container: name(), state: view.state });
        }
        let credentials = Arc::new(credentials);
        let mut refusal = None;
        let tcp = || Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: None };
        let ways = [(Endpoint::Socket, "postgres"), (Endpoint::Socket, "template1"), (tcp(), "postgres")];
        for (endpoint, home) in ways {
            let client = Client {
                engine: engine.clone(),
                container: view.id.clone(),
                bin_dir: None,
                endpoint,
                credentials: credentials.clone(),
            };
            match client.query::<Facts>(home, "ask the server what it is", FACTS).await {
                Ok(facts) => return Self::known(client, view, home, facts).await,
                // The first refusal is the one to tell: the second way is the exception.
                Err(DatabasesError::Sql { source, .. }) => refusal = refusal.or(Some(source)),
                Err(error) => return Err(error),
            }
        }
        let user = credentials.user.clone();
        let source = refusal.unwrap_or_else(|| Said::new(b""));
        Err(DatabasesError::Login { container: name(), user, source })
    }

    async fn known(
        mut client: Client,
        view: ContainerView,
        home: &'static str,
        facts: Facts,
    ) -> Result<Self, DatabasesError> {
        if facts.version_number < OLDEST_VERSION {
            return Err(DatabasesError::TooOld { container: view.name, version: facts.version });
        }
        // Wrappers on a PATH choose among installed versions and may need a home; the server's own folder is exact.
        // Only some roles may ask, and for others the PATH has to do.
        client.bin_dir = client
            .query::<String>(home, "ask for the server's programs", BIN_DIR)
            .await
            .ok()
            .filter(|folder| folder.starts_with('/'));
        Ok(Self {
            client,
            container_name: view.name,
            image_id: view.image_id,
            home,
            port: facts.port,
            version: facts.version,
            version_number: facts.version_number,
        })
    }

    /// `15.20 (Debian 15.20-0+deb12u1)`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version: 15.
    pub fn major(&self) -> u32 {
        self.version_number / 10_000
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.client.engine
    }

    /// The database to be in while `database` itself is renamed, created or dropped. Not `template1` where it can be
    /// helped: nobody else could create a database while a session is held there.
    pub(super) fn maintenance(&self, database: &str) -> &'static str {
        match (database == self.home, self.home) {
            (false, home) => home,
            (true, "postgres") => "template1",
            (true, _) => "postgres",
        }
    }

    /// The database to be in when no other is meant.
    pub(super) fn home(&self) -> &'static str {
        self.home
    }

    /// A session beside `database`.
    pub(super) async fn maintenance_session(&self, database: &str) -> Result<Session, DatabasesError> {
        self.client.session(self.maintenance(database)).await
    }

    /// Whether there is a database of exactly this name.
    pub(super) async fn has(&self, database: &str) -> Result<bool, DatabasesError> {
        let query = format!(
            "SELECT to_json(EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}))",
            sql::literal(database)
        );
        self.client.query(self.maintenance(database), "look for a database", &query).await
    }
}

const FACTS: &str = "SELECT json_build_object('version', current_setting('server_version'), \
     'version_number', current_setting('server_version_num')::int, 'port', current_setting('port')::int)";

const BIN_DIR: &str = "SELECT to_json(setting) FROM pg_catalog.pg_config() WHERE name = 'BINDIR'";
