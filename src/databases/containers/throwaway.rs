//! A server of our own for a while: from the image of another one, without a network, with an empty cluster.
//!
//! Dumps are tried out on it, and scripts that came from elsewhere run on it and nowhere else. Its data lies on a volume
//! without a name. Like a helper it ends with this process, and volume and container go with it; what a kill at an
//! unlucky moment leaves, the next run removes (`stale`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;

use super::helper::{self, HelperPlace, idle, run_held, volume};
use super::stale;
use crate::databases::described::inventory::Role;
use crate::databases::error::{DatabasesError, Said};
use crate::databases::server::client::{Client, Credentials, Endpoint, Limits};
use crate::databases::server::connect::{Place, Server};
use crate::databases::server::disk_space;
use crate::databases::server::idle_sessions::IdleSessions;
use crate::databases::server::quoting;
use crate::databases::stopping::unless_stopped;
use crate::engine::{ContainerHold, ContainerSpec, Engine, ExecOutput, ExecSession, ExecSpec};
use crate::report::{Message, Reporter};

/// Where its cluster and its socket are, inside.
const HOME: &str = "/dpl-server";

/// Prints a system user whom PostgreSQL can run as: its own where the image has one, else any that is not root.
/// PostgreSQL refuses root, and initdb a number without a name.
const USER: &str = r#"grep -q '^postgres:' /etc/passwd && { echo postgres; exit 0; }
while IFS=: read -r name _ id _; do [ "$id" != 0 ] && { echo "$name"; exit 0; }; done < /etc/passwd; echo postgres"#;

const PORT: u16 = 5432;

/// An empty cluster needs a second or two; a slow disk some more.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a throw-away server is made from.
#[derive(Debug, Clone)]
pub struct ServerImage {
    pub(in crate::databases) engine: Engine,
    pub(in crate::databases) image_id: String,
    /// The folder of the programs, where it is known.
    bin_dir: Option<String>,
    /// `shared_preload_libraries` of the server that it stands in for: some extensions can't be created without.
    preload: String,
    /// For people, and for the label of its containers.
    whereabouts: Message,
    label: String,
}

impl ServerImage {
    /// As [`ServerImage::of`], for programs that start no server.
    pub(in crate::databases) fn without_preload(server: &Server) -> Self {
        let client = &server.client;
        Self {
            engine: client.engine.clone(),
            image_id: server.image_id.clone(),
            bin_dir: client.bin_dir.clone(),
            preload: String::new(),
            whereabouts: server.whereabouts.clone(),
            label: client.container.clone(),
        }
    }

    /// The image that supplies the tools for `server`.
    pub async fn of(server: &Server) -> Self {
        const PRELOAD: &str = "SELECT to_json(pg_catalog.current_setting('shared_preload_libraries'))";
        // Only some roles may ask; most servers have none.
        let preload = server
            .client
            .query::<String>(server.home(), || message!("sql-ask-for-the-preloaded-libraries"), PRELOAD)
            .await;
        Self { preload: preload.unwrap_or_default(), ..Self::without_preload(server) }
    }

    /// An image by its reference, for a server that does not run.
    pub async fn named(engine: &Engine, reference: &str) -> Result<Self, DatabasesError> {
        let no_image = || DatabasesError::NoToolsImage { image: reference.to_owned() };
        let image = engine.inspect_image(reference).await?.ok_or_else(no_image)?;
        Ok(Self {
            engine: engine.clone(),
            image_id: image.id.clone(),
            bin_dir: None,
            preload: String::new(),
            whereabouts: message!("words", text = reference),
            label: image.id,
        })
    }
}

impl ServerImage {
    /// Where helpers stand that only read an archive.
    pub(in crate::databases) fn helper_place(&self) -> HelperPlace {
        HelperPlace {
            client: Client {
                engine: self.engine.clone(),
                container: String::new(),
                bin_dir: self.bin_dir.clone(),
                endpoint: Endpoint::Socket,
                credentials: Arc::new(Credentials { user: "postgres".to_owned(), password: None }),
                limits: Limits::LiftKnown,
                idle: IdleSessions::default(),
            },
            image_id: self.image_id.clone(),
            network_mode: "none".to_owned(),
            socket: None,
            label: self.label.clone(),
        }
    }
}

/// A throw-away server that answers; to be ended with [`Throwaway::end`]. Dropped without it, the engine ends it a
/// moment later.
pub(in crate::databases) struct Throwaway {
    /// The way in, as superuser `postgres`: sessions, psql, helpers beside it, all as with any other server.
    pub server: Server,
    _hold: ContainerHold,
}

impl Throwaway {
    /// Makes an empty cluster and starts it, for a database that is called `database`.
    pub async fn start(image: &ServerImage, database: &str, reporter: &Reporter) -> Result<Self, DatabasesError> {
        let engine = &image.engine;
        stale::clear(engine).await?;
        let spec = ContainerSpec {
            user: Some("0:0".to_owned()),
            mounts: vec![volume(HOME)],
            // Parallel restores build indexes in shared memory; only what is used is taken.
            shm_size_bytes: Some(1 << 30),
            ..idle(&image.image_id, &image.label)
        };
        crate::failpoint!("databases.throwaway.before-create");
        let container = engine.create_container(&spec).await?;
        crate::failpoint!("databases.throwaway.after-create");
        let hold = run_held(engine, &container).await?;
        match unless_stopped(reporter, database, serve(image, &container, database)).await {
            Ok(server) => Ok(Self { server, _hold: hold }),
            Err(error) => {
                // The first error is the one to tell; what stays is found by its label.
                let _ = engine.discard_container(&container).await;
                Err(error)
            }
        }
    }

    /// Work in it, unless its disk is about to be full, which the servers of the stack share, or somebody asks for an end.
    pub async fn run<T>(
        &self,
        database: &str,
        reporter: &Reporter,
        work: impl Future<Output = Result<T, DatabasesError>>,
    ) -> Result<T, DatabasesError> {
        let done = tokio::select! {
            done = unless_stopped(reporter, database, work) => done,
            error = disk_space::volume_runs_out(&self.server.client, HOME, database) => Err(error),
        };
        // A server that ended under the work is the reason, not what a tool says then.
        match done {
            Err(error) => Err(self.server.explain(error).await),
            done => done,
        }
    }

    /// Ends it, and nothing of it is left.
    pub async fn end(self) {
        let client = &self.server.client;
        // It removes itself when its input ends, so that it is going already is fine.
        let _ = client.engine.discard_container(&client.container).await;
    }
}

fn program(image: &ServerImage, name: &str) -> String {
    image.bin_dir.as_ref().map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"))
}

async fn serve(image: &ServerImage, container: &str, database: &str) -> Result<Server, DatabasesError> {
    let engine = &image.engine;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let spec = ExecSpec { command: words(&["sh", "-c", USER]), user: Some("0:0".to_owned()), ..Default::default() };
    let found = engine.exec(container, &spec, b"").await?;
    let user = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    helper::own(engine, container, HOME, &user, "711").await?;
    let data = format!("{HOME}/data");
    let mut command = vec![program(image, "initdb")];
    command.extend(words(&["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]));
    command.push(format!("--pgdata={data}"));
    let spec = ExecSpec { command, user: Some(user.clone()), ..Default::default() };
    let made = engine.exec(container, &spec, b"").await?;
    let fail = |said: &[u8]| DatabasesError::Throwaway { server: image.whereabouts.clone(), source: Said::new(said) };
    if made.exit_code != 0 {
        return Err(fail(&if made.stderr.is_empty() { made.stdout } else { made.stderr }));
    }
    // Libraries that the site's server loads may be another build's: then it starts without them, and what needs one of
    // them says so by itself.
    let preloads: &[&str] = if image.preload.is_empty() { &[""] } else { &[&image.preload, ""] };
    let mut refused = Vec::new();
    for preload in preloads {
        match start_server(image, container, &user, preload, database).await? {
            Ok(()) => return find_server(image, container).await,
            Err(said) if refused.is_empty() => refused = said,
            Err(_) => {}
        }
    }
    Err(fail(&refused))
}

/// Starts the server's program; what it said instead where it does not come up.
async fn start_server(
    image: &ServerImage,
    container: &str,
    user: &str,
    preload: &str,
    database: &str,
) -> Result<Result<(), Vec<u8>>, DatabasesError> {
    let mut command = vec![program(image, "postgres"), "-D".to_owned(), format!("{HOME}/data")];
    let settings = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", HOME.to_owned()),
        // It is thrown away in any case: nothing has to outlive a crash.
        ("fsync", "off".to_owned()),
        ("full_page_writes", "off".to_owned()),
        ("synchronous_commit", "off".to_owned()),
        ("wal_level", "minimal".to_owned()),
        ("max_wal_senders", "0".to_owned()),
        ("max_wal_size", "4GB".to_owned()),
        ("autovacuum", "off".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("max_prepared_transactions", "64".to_owned()),
        ("shared_preload_libraries", preload.to_owned()),
        // pg_cron can be created in the database of this name alone; without the library it is a setting like any other.
        ("cron.database_name", database.to_owned()),
    ];
    for (name, value) in settings {
        command.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    let spec = ExecSpec { command, user: Some(user.to_owned()), ..Default::default() };
    let session = image.engine.start_exec(container, &spec).await?;
    Ok(listen_until_ready(session).await)
}

async fn find_server(image: &ServerImage, container: &str) -> Result<Server, DatabasesError> {
    let engine = &image.engine;
    let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: Some(PORT) };
    let client = Client {
        engine: engine.clone(),
        container: container.to_owned(),
        bin_dir: image.bin_dir.clone(),
        endpoint: endpoint.clone(),
        credentials: Arc::new(Credentials { user: "postgres".to_owned(), password: None }),
        limits: Limits::LiftKnown,
        idle: IdleSessions::default(),
    };
    let place = Place {
        whereabouts: message!("server-temporary"),
        image_id: image.image_id.clone(),
        network_mode: format!("container:{container}"),
    };
    Server::find(client, place, &[(endpoint, "postgres")]).await
}

/// Reads the server's log, which has to be read in any case, until it says that it takes connections. What it said
/// instead is the error.
async fn listen_until_ready(mut session: ExecSession) -> Result<(), Vec<u8>> {
    const READY: &[u8] = b"database system is ready to accept connections";
    let said = Arc::new(Mutex::new(Vec::new()));
    let (ready, mut is_ready) = watch::channel(false);
    let heard = said.clone();
    tokio::spawn(async move {
        while let Some(Ok(ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes))) = session.output.next().await {
            if *ready.borrow() {
                continue;
            }
            let mut said = heard.lock().unwrap_or_else(PoisonError::into_inner);
            said.extend_from_slice(&bytes);
            if said.windows(READY.len()).any(|window| window == READY) {
                ready.send_replace(true);
            }
        }
    });
    let waited = tokio::time::timeout(PATIENCE, is_ready.wait_for(|ready| *ready)).await;
    match waited {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(said.lock().unwrap_or_else(PoisonError::into_inner).clone()),
    }
}

/// Creates roles that a dump's owners and grants name, where they are not there. Superusers are superusers, since only
/// they may own some objects; nobody can log in from outside.
pub(in crate::databases) async fn create_roles<'a>(
    throwaway: &Throwaway,
    recorded: &[Role],
    others: impl Iterator<Item = &'a str>,
) -> Result<(), DatabasesError> {
    let mut statements = String::new();
    let recorded = recorded.iter().map(|role| (role.name.as_str(), role.superuser));
    for (name, superuser) in recorded.chain(others.map(|name| (name, false))) {
        let superuser = if superuser { " SUPERUSER" } else { "" };
        let (ident, literal) = (quoting::ident(name), quoting::literal(name));
        statements += &format!(
            "SELECT {} WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal})\n\\gexec\n",
            quoting::literal(&format!("CREATE ROLE {ident}{superuser}"))
        );
    }
    let server = &throwaway.server;
    server.client.execute(server.home(), || message!("sql-create-the-roles"), &statements).await.map(drop)
}
