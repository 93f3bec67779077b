//! A PostgreSQL server, in a container or elsewhere: finding the way in, and what it is.
//!
//! Which container runs a database's service is for the services module to know: it comes in as a name or an ID.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{OnceCell, mpsc};

use super::client::{Client, Credentials, Endpoint, Limits, application_name};
use super::command::Command;
use super::guard;
use super::helper_route::{self, HelperRoute, PRIVILEGED, Privileged, Seen, ServerBySocket};
use super::idle_sessions::IdleSessions;
use super::quoting;
use super::session::Session;
use crate::catalogue::english;
use crate::databases::containers::helper::{self, HelperPlace};
use crate::databases::containers::stale;
use crate::databases::error::{DatabasesError, Operation, Said};
use crate::engine::{ContainerHold, ContainerSpec, ContainerState, Engine, ExecSpec};
use crate::report::Message;

/// The first version that has all that this module relies on (`DROP DATABASE … WITH (FORCE)`).
const OLDEST_VERSION: u32 = 130_000;

/// A server that answers.
#[derive(Debug, Clone)]
pub struct Server {
    /// Programs in the server's own container, or in one beside a server that has none.
    pub(in crate::databases) client: Client,
    /// For people: `in container shop-db-1`, `at db.example:5432`.
    pub(in crate::databases) whereabouts: Message,
    /// The image that supplies the tools: the one that the server runs, where it runs in a container.
    pub(in crate::databases) image_id: String,
    /// The database to be in when no other is meant: `postgres`, or `template1` where there is none.
    home: &'static str,
    /// The network that helpers join, as `network_mode` takes it.
    pub(in crate::databases) network_mode: String,
    /// How helpers reach it from there: asked when the first one needs it.
    way: Arc<OnceCell<HelperRoute>>,
    port: u16,
    listen_addresses: String,
    pub(in crate::databases) version: String,
    pub(in crate::databases) version_number: u32,
    /// The container that `client` works in, where it is ours: it lives as long as this.
    tools: Option<Arc<ContainerHold>>,
    /// How much memory the server's container may take, with all that runs in it; 0: no limit.
    memory_bytes: u64,
}

/// What is known of a server before it has answered.
#[derive(Clone)]
pub(in crate::databases) struct Place {
    pub whereabouts: Message,
    pub image_id: String,
    pub network_mode: String,
}

/// A server that runs in no container of this engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Its name or address, seen from the engine's machine.
    pub host: String,
    pub port: u16,
    /// The reference of an image with PostgreSQL's programs, of the server's major version or a later one.
    pub tools_image: String,
}

#[derive(Deserialize)]
struct Facts {
    version: String,
    version_number: u32,
    port: u16,
    listen_addresses: String,
}

impl Server {
    /// What failed because the server's container has ended says so: what a tool says then explains nothing.
    pub(in crate::databases) async fn explain(&self, error: DatabasesError) -> DatabasesError {
        if self.is_outside() {
            return error;
        }
        match self.client.engine.inspect_container(&self.client.container).await {
            Ok(Some(view)) if view.state != ContainerState::Running => {
                let (server, code) = (self.whereabouts.clone(), view.exit_code);
                match error {
                    DatabasesError::AfterSwap { database, source } => {
                        let source = Box::new(DatabasesError::ServerEnded { server, code, source });
                        DatabasesError::AfterSwap { database, source }
                    }
                    error => DatabasesError::ServerEnded { server, code, source: Box::new(error) },
                }
            }
            _ => error,
        }
    }

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
        let tcp = || Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: None };
        let ways = [(Endpoint::Socket, "postgres"), (Endpoint::Socket, "template1"), (tcp(), "postgres")];
        let network_mode = format!("container:{}", view.id);
        let memory_bytes = view.limits.memory_bytes;
        let place = Place {
            whereabouts: message!("server-in-container", container = view.name),
            image_id: view.image_id,
            network_mode,
        };
        let client = Client {
            engine: engine.clone(),
            container: view.id,
            bin_dir: None,
            endpoint: Endpoint::Socket,
            credentials: Arc::new(credentials),
            limits: Limits::LiftKnown,
            idle: IdleSessions::default(),
        };
        let found = Self::find(client.clone(), place.clone(), &ways).await;
        let mut server = match found {
            Err(DatabasesError::Login { source, .. }) if source.text().contains("Is the server running") => {
                Self::find_elsewhere(client, place, source).await?
            }
            found => found?,
        };
        server.memory_bytes = memory_bytes;
        // Wrappers on a PATH choose among installed versions and may need a home; the server's own folder is exact.
        // Only some roles may ask, and for others the PATH has to do.
        let asked = server
            .client
            .query::<Privileged>(server.home, || message!("sql-ask-for-the-server-s-programs"), PRIVILEGED)
            .await;
        let Privileged { bin_dir, trusts_loopback } = asked.unwrap_or_default();
        server.client.bin_dir = bin_dir.filter(|folder| folder.starts_with('/'));
        if trusts_loopback == Some(true) {
            // Set once only: nobody else has this value yet.
            let _ = server
                .way
                .set(HelperRoute::to(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: Some(server.port) }));
        }
        Ok(server)
    }

    /// One that is not where it is looked for first: its socket is in another folder, or it has another port.
    async fn find_elsewhere(client: Client, place: Place, refusal: Said) -> Result<Self, DatabasesError> {
        let spec = ExecSpec { command: helper_route::LISTENERS.map(str::to_owned).into(), ..Default::default() };
        let tables = client.engine.exec(&client.container, &spec, b"").await?;
        let endpoint = |seen| match seen {
            Seen::Socket { folder, port } => Endpoint::SocketIn { folder, port },
            Seen::Port(port) => Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: Some(port) },
        };
        let ways: Vec<_> = helper_route::listeners(&String::from_utf8_lossy(&tables.stdout))
            .into_iter()
            .map(endpoint)
            .flat_map(|endpoint| [(endpoint.clone(), "postgres"), (endpoint, "template1")])
            .collect();
        let (server, user) = (place.whereabouts.clone(), client.credentials.user.clone());
        match ways.is_empty() {
            true => Err(DatabasesError::Login { server, user, source: refusal }),
            false => Self::find(client, place, &ways).await,
        }
    }

    /// Connects to a server outside: from a container of the tools' image in the network of the engine's machine.
    pub async fn connect_outside(
        engine: &Engine,
        outside: &Outside,
        credentials: Credentials,
    ) -> Result<Self, DatabasesError> {
        let no_image = || DatabasesError::NoToolsImage { image: outside.tools_image.clone() };
        let image = engine.inspect_image(&outside.tools_image).await?.ok_or_else(no_image)?;
        stale::clear(engine).await?;
        let whereabouts = message!("server-at", host = outside.host, port = outside.port);
        let network_mode = "host".to_owned();
        let spec = ContainerSpec {
            network_mode: Some(network_mode.clone()),
            entrypoint: Some(["sh", "-c", guard::LINGERING].map(str::to_owned).into()),
            ..helper::idle(&image.id, &english(&whereabouts))
        };
        crate::failpoint!("databases.outside.before-create");
        let container = engine.create_container(&spec).await?;
        let hold = helper::run_held(engine, &container).await?;
        let endpoint = Endpoint::Tcp { host: outside.host.clone(), port: Some(outside.port) };
        let place = Place { whereabouts, image_id: image.id, network_mode };
        let client = Client {
            engine: engine.clone(),
            container,
            bin_dir: None,
            endpoint: endpoint.clone(),
            credentials: Arc::new(credentials),
            limits: Limits::LiftKnown,
            idle: IdleSessions::default(),
        };
        let found = Self::find(client, place, &[(endpoint.clone(), "postgres"), (endpoint, "template1")]).await;
        found.map(|server| Self { tools: Some(Arc::new(hold)), ..server })
    }

    /// The server that `client` reaches in one of these ways, tried in their order.
    pub(in crate::databases) async fn find(
        client: Client,
        place: Place,
        ways: &[(Endpoint, &'static str)],
    ) -> Result<Self, DatabasesError> {
        let mut refusal = None;
        for (endpoint, home) in ways {
            let idle = IdleSessions::in_database(home);
            let mut client = Client { endpoint: endpoint.clone(), idle, ..client.clone() };
            match ask_what_it_is(&mut client, home).await {
                Ok(facts) if facts.version_number < OLDEST_VERSION => {
                    return Err(DatabasesError::TooOld { server: place.whereabouts, version: facts.version });
                }
                Ok(facts) => {
                    // An address is the same for all who share its network; a socket is a file.
                    let way = match endpoint {
                        Endpoint::Socket | Endpoint::SocketIn { .. } => OnceCell::new(),
                        Endpoint::Tcp { host, port } => {
                            let endpoint = Endpoint::Tcp { host: host.clone(), port: port.or(Some(facts.port)) };
                            OnceCell::from(HelperRoute::to(endpoint))
                        }
                    };
                    if client.limits != Limits::Leave {
                        client.limits = Limits::Lift { version_number: facts.version_number };
                    }
                    return Ok(Self {
                        client,
                        whereabouts: place.whereabouts,
                        image_id: place.image_id,
                        home,
                        network_mode: place.network_mode,
                        way: Arc::new(way),
                        port: facts.port,
                        listen_addresses: facts.listen_addresses,
                        version: facts.version,
                        version_number: facts.version_number,
                        tools: None,
                        memory_bytes: 0,
                    });
                }
                // The first refusal is the one to tell: the second way is the exception.
                Err(DatabasesError::Sql { source, .. }) => refusal = refusal.or(Some(source)),
                Err(error) => return Err(error),
            }
        }
        let user = client.credentials.user.clone();
        let source = refusal.unwrap_or_else(|| Said::new(b""));
        Err(DatabasesError::Login { server: place.whereabouts, user, source })
    }

    /// `15.20 (Debian 15.20-0+deb12u1)`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version: 15.
    pub fn major(&self) -> u32 {
        self.version_number / 10_000
    }

    /// What tells its data from every other server's, whatever its address is; `None` where nobody may ask.
    pub async fn system_identifier(&self) -> Option<String> {
        self.client.query(self.home, || message!("sql-ask-which-server-it-is"), SYSTEM_IDENTIFIER).await.ok()
    }

    /// The same, asked in a session that is there already; one that can't answer has ended.
    pub(in crate::databases) async fn system_identifier_in(&self, session: &mut Session) -> Option<String> {
        match session.query(|| message!("sql-ask-which-server-it-is"), SYSTEM_IDENTIFIER).await {
            Ok(identifier) => Some(identifier),
            Err(_) => self.system_identifier().await,
        }
    }

    /// Whether it runs in no container of this engine.
    pub(in crate::databases) fn is_outside(&self) -> bool {
        self.tools.is_some()
    }

    /// Whether a program in the server's container takes memory from what the server may have: where the limit is reached the
    /// kernel ends one of the two, and a server that loses a process starts all again.
    pub(in crate::databases) fn has_memory_limit(&self) -> bool {
        self.memory_bytes > 0
    }

    /// Whether the limit leaves room beside the server for a pg_dump or a pg_restore of a small database.
    pub(in crate::databases) fn has_memory_for_tools(&self) -> bool {
        leaves_room_for_tools(self.memory_bytes)
    }

    /// Where helpers stand that reach it.
    pub(in crate::databases) async fn helper_place(&self) -> Result<HelperPlace, DatabasesError> {
        let by_socket = ServerBySocket {
            client: &self.client,
            home: self.home,
            port: self.port,
            listen_addresses: &self.listen_addresses,
            whereabouts: &self.whereabouts,
            image_id: &self.image_id,
        };
        let HelperRoute { endpoint, mount } = self.way.get_or_try_init(|| by_socket.way()).await?.clone();
        Ok(HelperPlace {
            // It is the server's container that the kept session is in.
            client: Client { endpoint, idle: IdleSessions::default(), ..self.client.clone() },
            network_mode: self.network_mode.clone(),
            socket: mount,
            ..self.place_apart()
        })
    }

    /// Where helpers stand that reach nothing: they only read an archive.
    pub(in crate::databases) fn place_apart(&self) -> HelperPlace {
        HelperPlace {
            client: Client { idle: IdleSessions::default(), ..self.client.clone() },
            image_id: self.image_id.clone(),
            network_mode: "none".to_owned(),
            socket: None,
            label: self.client.container.clone(),
        }
    }

    pub(in crate::databases) fn engine(&self) -> &Engine {
        &self.client.engine
    }

    /// The database to be in while `database` itself is renamed, created or dropped. Not `template1` where it can be
    /// helped: nobody else could create a database while a session is held there.
    pub(in crate::databases) fn maintenance(&self, database: &str) -> &'static str {
        match (database == self.home, self.home) {
            (false, home) => home,
            (true, "postgres") => "template1",
            (true, _) => "postgres",
        }
    }

    /// The database to be in when no other is meant.
    pub(in crate::databases) fn home(&self) -> &'static str {
        self.home
    }

    /// Cancels the statements that this process has running, and says nothing of what fails: a program in a container that
    /// is ended hears nothing of it before its statement is through.
    pub async fn cancel_statements(&self) {
        let statement = format!(
            "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE application_name = {} AND state = 'active' AND pid <> pg_catalog.pg_backend_pid();",
            quoting::literal(application_name())
        );
        let cancelled = self.client.execute(self.home, || message!("sql-cancel-the-statements"), &statement);
        // After a stop was asked for, nothing waits for a server that does not answer.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(1500), cancelled).await;
    }

    /// A session beside `database`.
    pub(in crate::databases) async fn maintenance_session(&self, database: &str) -> Result<Session, DatabasesError> {
        if database == self.home {
            // Nobody may be in it.
            self.client.idle.clear();
        }
        self.client.session(self.maintenance(database)).await
    }

    /// What a program beside the server prints, for small questions to the container's system; `None` where it can't tell.
    pub(in crate::databases) async fn ask_system(&self, words: &[&str]) -> Result<Option<Vec<u8>>, DatabasesError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        if words.iter().all(|word| !word.contains(['\n', '\r', '\0'])) && self.client.idle.home() == Some(self.home) {
            let mut session = self.client.session(self.home).await?;
            let (pieces, mut waiting) = mpsc::channel::<Bytes>(8);
            let command = Command { words: &words, input: b"", largest_file: None };
            let heard = async {
                let mut heard = Vec::new();
                while let Some(piece) = waiting.recv().await {
                    heard.extend_from_slice(&piece);
                }
                heard
            };
            let asking = session.command(|| message!("sql-ask-where-the-server-keeps-its-data"), &command, pieces);
            let (ended, heard) = futures::join!(asking, heard);
            let ended = ended?;
            session.close().await?;
            return Ok((ended.exit_code == 0).then_some(heard));
        }
        let spec = ExecSpec { command: words, ..Default::default() };
        let Ok(answer) = self.engine().exec(&self.client.container, &spec, b"").await else { return Ok(None) };
        Ok((answer.exit_code == 0).then_some(answer.stdout))
    }

    /// Whether there is a database of exactly this name.
    pub(in crate::databases) async fn has(&self, database: &str) -> Result<bool, DatabasesError> {
        let query = format!(
            "SELECT to_json(EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}))",
            quoting::literal(database)
        );
        self.client.query(self.maintenance(database), || message!("sql-look-for-a-database"), &query).await
    }
}

/// The text of a file inside a running container, without the line breaks at its end, as a shell's `$(<FILE)` gives it;
/// `None` where the container does not run or has no such file.
pub async fn file_in(engine: &Engine, container: &str, path: &str) -> Result<Option<String>, DatabasesError> {
    match engine.inspect_container(container).await? {
        Some(view) if view.state == ContainerState::Running => {}
        _ => return Ok(None),
    }
    let command = ["cat", "--", path].map(str::to_owned).into();
    let spec = ExecSpec { command, user: Some("0:0".to_owned()), ..Default::default() };
    let answer = engine.exec(container, &spec, b"").await?;
    let text = String::from_utf8_lossy(&answer.stdout).trim_end_matches('\n').to_owned();
    Ok((answer.exit_code == 0).then_some(text))
}

/// Such a program takes some ten MB, and one row of a table; a server of PostgreSQL's own defaults 200 MB.
fn leaves_room_for_tools(limit_bytes: u64) -> bool {
    const ENOUGH: u64 = 512 << 20;
    limit_bytes == 0 || limit_bytes >= ENOUGH
}

/// A pooler in between may take no options at the start of a connection; then there are none.
async fn ask_what_it_is(client: &mut Client, home: &str) -> Result<Facts, DatabasesError> {
    const OPERATION: Operation = || message!("sql-ask-the-server-for-its-version");
    match client.query(home, OPERATION, FACTS).await {
        Err(DatabasesError::Sql { source, .. }) if source.text().contains("startup parameter") => {
            client.limits = Limits::Leave;
            client.query(home, OPERATION, FACTS).await
        }
        answer => answer,
    }
}

const SYSTEM_IDENTIFIER: &str = "SELECT to_json(system_identifier::text) FROM pg_catalog.pg_control_system()";

const FACTS: &str = "SELECT json_build_object('version', current_setting('server_version'), \
     'version_number', current_setting('server_version_num')::int, 'port', current_setting('port')::int, \
     'listen_addresses', current_setting('listen_addresses'))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_little_memory_shares_it_with_no_program() {
        assert!(leaves_room_for_tools(0), "no limit");
        assert!(!leaves_room_for_tools(256 << 20));
        assert!(leaves_room_for_tools(512 << 20));
    }
}
