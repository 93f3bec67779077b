//! The way into the server of a database: its service's container, or a server outside; started on request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chosen::database;
use crate::cli::grammar::typed::quoted;
use crate::cli::session::stopped_services::start_services;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::{Failure, find};
use crate::databases::{self, Credentials, DatabasesError, Outside, Secret, Server, ServerImage};
use crate::engine::Engine;
use crate::manifest::Manifest;
use crate::manifest::model::{Database, POSTGRES_PORT};
use crate::report::{Message, Reporter, Told as _};
use crate::services::{InputError, Inputs, read_secret};

/// What to do about a server that is not up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenDown {
    #[default]
    Refuse,
    /// Start its service, and what that depends on.
    Start,
}

impl WhenDown {
    /// What `--start` says.
    pub fn of(start: bool) -> Self {
        if start { Self::Start } else { Self::Refuse }
    }
}

/// Connects with what the manifest or the service's environment says of user and password.
pub async fn connect(engine: &Engine, manifest: &Manifest, database: &Database) -> Result<Server, Failure> {
    let connected = connect_to(engine, manifest, database).await;
    connected.map_err(|failure| match &database.service {
        Some(service) if is_down(&failure) => {
            let message = message!("server-down", why = failure.message(), service = quoted(service));
            failure.explained(message, None)
        }
        _ => failure,
    })
}

async fn connect_to(engine: &Engine, manifest: &Manifest, database: &Database) -> Result<Server, Failure> {
    let mut credentials = credentials(manifest, database).map_err(|error| Failure::Work(Box::new(error)))?;
    if database.service.is_some() {
        take_from_files(engine, manifest, database, &mut credentials).await?;
    }
    match outside(database) {
        Some(outside) => Ok(Server::connect_outside(engine, &outside, credentials).await?),
        None => {
            let container = manifest.container_name(service(database), 1);
            Ok(Server::connect(engine, &container, credentials).await?)
        }
    }
}

/// As [`connect`], to a server that may have to be started first.
pub async fn reach(
    engine: &Engine,
    project: &Project,
    database: &Database,
    when_down: WhenDown,
    reporter: &Reporter,
) -> Result<Server, Failure> {
    let manifest = project.manifest();
    let failure = match connect(engine, manifest, database).await {
        Ok(server) => return Ok(server),
        Err(failure) if when_down == WhenDown::Start && is_down(&failure) => failure,
        Err(failure) => return Err(failure),
    };
    let Some(service) = &database.service else { return Err(failure) };
    reporter.notice(message!("server-starting", service = service));
    start_services(engine, project, vec![service.clone()], reporter).await.map_err(Failure::Work)?;
    // A service without a health check counts as started before PostgreSQL takes connections.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match connect(engine, manifest, database).await {
            Err(failure) if is_coming_up(&failure) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            result => return result,
        }
    }
}

/// Servers that were reached already, for work on several databases of one.
#[derive(Default)]
pub struct Servers<'p>(Vec<(&'p Database, Server)>);

impl<'p> Servers<'p> {
    /// As [`reach`].
    pub async fn reach(
        &mut self,
        engine: &Engine,
        project: &Project,
        database: &'p Database,
        when_down: WhenDown,
        reporter: &Reporter,
    ) -> Result<Server, Failure> {
        if let Some((_, server)) = self.0.iter().find(|(other, _)| is_same_server(other, database)) {
            return Ok(server.clone());
        }
        let server = reach(engine, project, database, when_down, reporter).await?;
        self.0.push((database, server.clone()));
        Ok(server)
    }

    /// What failed on one may have been the server.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// Whether both are on one server, reached in one way.
pub fn is_same_server(one: &Database, other: &Database) -> bool {
    let way = |database: &Database| {
        let Database { service, host, port, tools_image, user, password, .. } = database.clone();
        (service, host, port, tools_image, user, password)
    };
    way(one) == way(other)
}

/// As [`reach`], for what a person does themselves in a database, which neither locks the project nor stands in its journal.
pub fn reach_to_look(
    session: &mut Session,
    project: &Arc<Project>,
    database: &Database,
    when_down: WhenDown,
) -> Result<Server, Failure> {
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    match when_down {
        WhenDown::Refuse => {
            let connected = runtime.block_on(connect(&engine, project.manifest(), database));
            connected.map_err(|failure| offer_start(failure, when_down))
        }
        // Starting changes the stack: locked and in the journal, as `start` is.
        WhenDown::Start => {
            let command = format!("dpl start {}", service(database));
            session.change(project, &command, |_, reporter| {
                runtime.block_on(reach(&engine, project, database, when_down, &reporter))
            })
        }
    }
}

/// What a throw-away server for dumps of `database` is made from: its server's image, running or not.
pub async fn image_of(engine: &Engine, manifest: &Manifest, database: &Database) -> Result<ServerImage, Failure> {
    match connect(engine, manifest, database).await {
        Ok(server) => Ok(ServerImage::of(&server).await),
        Err(failure) if is_down(&failure) || database.service.is_none() => {
            let service = database.service.as_ref().and_then(|service| manifest.services.get(service));
            let reference = service.map(|service| service.image.to_string());
            let reference = reference.or_else(|| database.tools_image.as_ref().map(ToString::to_string));
            match reference {
                Some(reference) => Ok(ServerImage::named(engine, &reference).await?),
                None => Err(failure),
            }
        }
        Err(failure) => Err(failure),
    }
}

/// What keeps dpl from logging in to the server of `database`, and what to do about it; `None` where it gets in, and where
/// the server does not run or is only just starting.
pub async fn refusal(engine: &Engine, manifest: &Manifest, database: &Database) -> Option<(Message, Option<Message>)> {
    const COMES_OR_GOES: [&str; 4] = ["starting up", "shutting down", "recovery mode", "Is the server running"];
    let failure = connect_to(engine, manifest, database).await.err()?;
    let error = databases_error(&failure)?;
    match error {
        DatabasesError::Login { source, .. }
            if COMES_OR_GOES.iter().any(|words| source.to_string().contains(words)) =>
        {
            None
        }
        _ if is_down(&failure) => None,
        error => Some((failure.message(), error.hint())),
    }
}

fn is_down(failure: &Failure) -> bool {
    let error = databases_error(failure);
    matches!(error, Some(DatabasesError::NoContainer { .. } | DatabasesError::NotRunning { .. }))
}

fn is_coming_up(failure: &Failure) -> bool {
    matches!(databases_error(failure), Some(DatabasesError::Login { .. }))
}

/// An error of a command that has the flag `--start`: what it would do about a server that is not up.
pub fn offer_start(failure: Failure, when_down: WhenDown) -> Failure {
    match failure {
        Failure::Some { document, failures } => {
            let failures = failures.into_iter().map(|failure| offer_start(failure, when_down)).collect();
            Failure::Some { document, failures }
        }
        failure if when_down == WhenDown::Refuse && is_down(&failure) => failure.with_hint(message!("hint-start-flag")),
        failure => failure,
    }
}

fn databases_error(failure: &Failure) -> Option<&DatabasesError> {
    match failure {
        Failure::Work(error) => find(error.as_ref()),
        _ => None,
    }
}

/// The service that runs the server; none is called "".
pub fn service(database: &Database) -> &str {
    database.service.as_deref().unwrap_or_default()
}

fn outside(database: &Database) -> Option<Outside> {
    Some(Outside {
        host: database.host.clone()?,
        port: database.port.unwrap_or(POSTGRES_PORT),
        tools_image: database.tools_image.as_ref()?.to_string(),
    })
}

/// User and password that the service reads from files of its container, as PostgreSQL's image does: `POSTGRES_USER_FILE`.
async fn take_from_files(
    engine: &Engine,
    manifest: &Manifest,
    database: &Database,
    credentials: &mut Credentials,
) -> Result<(), Failure> {
    let inputs = manifest.services.get(service(database)).map(Inputs::read).unwrap_or_default();
    let container = manifest.container_name(service(database), 1);
    let named = |own: bool, name: &str| inputs.value(name).filter(|path| own && !path.is_empty()).map(str::to_owned);
    let asks_user = database.user.is_none() && inputs.value("POSTGRES_USER").is_none();
    if let Some(path) = named(asks_user, "POSTGRES_USER_FILE")
        && let Some(user) = databases::file_in(engine, &container, &path).await?
    {
        credentials.user = user;
    }
    let asks_password = database.password.is_none() && inputs.value("POSTGRES_PASSWORD").is_none();
    if let Some(path) = named(asks_password, "POSTGRES_PASSWORD_FILE")
        && let Some(password) = databases::file_in(engine, &container, &path).await?
    {
        credentials.password = Some(Secret::new(password));
    }
    Ok(())
}

/// Why the password of a database can't be read. It names the database, so that of one server each has its own.
pub fn unreadable_credentials(manifest: &Manifest, database: &Database) -> Option<Message> {
    credentials(manifest, database).err().map(|error| Failure::Work(Box::new(error)).message())
}

fn credentials(manifest: &Manifest, database: &Database) -> Result<Credentials, InputError> {
    let inputs = manifest.services.get(service(database)).map(Inputs::read).unwrap_or_default();
    let user = database.user.clone().or_else(|| inputs.value("POSTGRES_USER").map(str::to_owned));
    let password = match &database.password {
        Some(source) => {
            let this = manifest.databases.iter().find(|(_, _, other)| std::ptr::eq(*other, database));
            let name = this.map_or("NAME", |(_, name, _)| name);
            Some(read_secret(&format!("databases.{name}.password"), source)?)
        }
        None => inputs.value("POSTGRES_PASSWORD").map(str::to_owned),
    };
    Ok(Credentials { user: user.unwrap_or_else(|| "postgres".to_owned()), password: password.map(Secret::new) })
}

/// The databases that are kept beside one, oldest first; its server must be up.
pub fn kept_beside(name: &str, project: &Project, session: &mut Session) -> Result<Vec<String>, Failure> {
    let engine = session.engine()?;
    let database = database(project, name)?;
    session.runtime()?.block_on(async {
        let server = connect(&engine, project.manifest(), database).await?;
        Ok(databases::kept_databases(&server, name).await?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;
    use crate::manifest::{Variables, read_manifest};

    #[test]
    fn a_password_that_can_t_be_read_is_that_of_the_database_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.json");
        let manifest = r#"{"project": "p", "services": {"db": {"image": "postgres:15"}}, "databases": {
            "expert": {"service": "db", "password": {"file": "secret"}},
            "metis": {"service": "db", "password": {"file": "secret"}}}}"#;
        std::fs::write(&path, manifest).unwrap();
        let manifest = read_manifest(&path, Variables::of_process()).unwrap().manifest;
        let why = |name: &str| unreadable_credentials(&manifest, manifest.databases.get(name).unwrap());
        for name in ["expert", "metis"] {
            let said = english(&why(name).unwrap());
            assert!(said.contains(&format!("databases.{name}.password")), "{said}");
        }
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        assert_eq!(why("metis"), None);
    }
}
