//! `db list`, `db dump`, `db rebuild` and `db backup` as the operator sees them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::arguments::TargetArguments;
use super::failure::Failure;
use super::operations::{Operation, document, path};
use super::select::{self, Unselected};
use super::session::{Project, Session};
use super::table;
use crate::databases::{
    self, BackupSettings, BackupsDocument, Credentials, DatabaseDocument, DatabasesDocument, Dependents,
    DependentsError, Jobs, NewDatabase, OldDatabase, RebuildOptions, RebuildsDocument, Secret, SeedSettings, Server,
    Shrink,
};
use crate::engine::Engine;
use crate::manifest::Manifest;
use crate::manifest::model::Database;
use crate::report::{Message, Reporter};
use crate::services::{
    Action, Dependencies, ExecuteOptions, InputError, Inputs, Options, Request, execute, observe, plan, read_secret,
};
use crate::state::{Operator, note_stopped_services, stopped_services};

/// A database of the manifest, found by its name.
fn database<'p>(project: &'p Project, name: &str) -> Result<&'p Database, Failure> {
    let found = project.manifest().databases.get(name);
    found.ok_or_else(|| Failure::usage(format!("there is no database `{name}`")))
}

/// The way into the server of a database: its service's container, and what the manifest or the service's environment
/// says of user and password.
async fn connect(engine: &Engine, manifest: &Manifest, database: &Database) -> Result<Server, Failure> {
    let container = manifest.container_name(&database.service, 1);
    let credentials = credentials(manifest, database).map_err(|error| Failure::Work(Box::new(error)))?;
    Ok(Server::connect(engine, &container, credentials).await?)
}

fn credentials(manifest: &Manifest, database: &Database) -> Result<Credentials, InputError> {
    let inputs = manifest.services.get(&database.service).map(Inputs::read).unwrap_or_default();
    let user = database.user.clone().or_else(|| inputs.value("POSTGRES_USER").map(str::to_owned));
    let password = match &database.password {
        Some(source) => Some(read_secret("databases.password", source)?),
        None => inputs.value("POSTGRES_PASSWORD").map(str::to_owned),
    };
    Ok(Credentials { user: user.unwrap_or_else(|| "postgres".to_owned()), password: password.map(Secret::new) })
}

fn operator() -> String {
    let operator = Operator::of_process();
    format!("{}@{}", operator.user, operator.host)
}

/// `dpl db list`.
pub fn list(arguments: &TargetArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let chosen = select::databases(project.manifest(), &selectors, Unselected::All)?;
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let mut listed = DatabasesDocument::default();
    for name in &chosen {
        let database = database(&project, name)?;
        let server = runtime.block_on(async {
            match connect(&engine, project.manifest(), database).await {
                Ok(server) => databases::list(&server).await.map(Some).map_err(Failure::from),
                Err(failure) => Err(failure),
            }
        });
        // A server that does not run is worth a warning; what lies on disk is listed all the same.
        let server = match server {
            Ok(databases) => databases,
            Err(failure) => {
                let message = Message::new("db-not-reached").with("database", name).with("why", failure.summary());
                session.output.warn(&message);
                None
            }
        };
        let backups = match &project.manifest().paths.backups {
            Some(folder) => databases::backups(folder, name)?,
            None => Vec::new(),
        };
        let there = server.iter().flatten().find(|candidate| candidate.name == *name);
        listed.databases.push(DatabaseDocument {
            index: project.manifest().databases.number_of(name).unwrap_or_default() as u64,
            name: name.clone(),
            service: database.service.clone(),
            exists: server.as_ref().map(|_| there.is_some()),
            size_bytes: there.map(|database| database.size_bytes),
            connections: there.map(|database| database.connections),
            last_backup: backups.last().map(|backup| backup.id.clone()),
            seed: database.seed.as_ref().filter(|seed| seed.exists()).map(|seed| seed.display().to_string()),
            leftovers: server.as_ref().map(|all| databases::leftovers_of(name, all)).unwrap_or_default(),
        });
        listed.backups.extend(backups);
    }
    if session.output.json {
        session.output.document(&listed)?;
        return Ok(0);
    }
    print(&listed, session)?;
    Ok(0)
}

fn print(listed: &DatabasesDocument, session: &Session) -> Result<(), Failure> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = listed.databases.iter().map(|database| {
        vec![
            format!("{:>2}", database.index),
            database.name.clone(),
            database.service.clone(),
            text(database.size_bytes.map(table::size)),
            text(database.connections.map(|count| count.to_string())),
            text(database.last_backup.clone()),
            text(database.seed.clone()),
        ]
    });
    let header = ["NO", "DATABASE", "SERVICE", "SIZE", "CONNECTIONS", "LAST BACKUP", "SEED"];
    session.output.data(&table::columns(&header, rows.collect()))?;
    if listed.backups.is_empty() {
        return Ok(());
    }
    let rows = listed.backups.iter().map(|backup| {
        vec![backup.id.clone(), table::size(backup.bytes), backup.tables.to_string(), backup.rows.to_string()]
    });
    session.output.data(&format!("\n{}", table::columns(&["BACKUP", "SIZE", "TABLES", "ROWS"], rows.collect())))
}

/// What `--dry-run` of an action on databases prints.
#[derive(Debug, Serialize)]
struct WouldDo {
    action: &'static str,
    databases: Vec<WouldDoTo>,
}

/// One database of it.
#[derive(Debug, Serialize)]
struct WouldDoTo {
    database: String,
    /// Where the dump comes from or goes to.
    path: String,
    /// Services that stop while the database is swapped.
    stops: Vec<String>,
}

/// `--dry-run` of an action on databases.
pub fn show(operation: &Operation, project: &Project, session: &mut Session) -> Result<Value, Failure> {
    let (action, names) = match operation {
        Operation::Dump { databases } => ("dump", databases),
        Operation::Rebuild { databases } => ("rebuild", databases),
        Operation::Backup { databases } => ("backup", databases),
        Operation::Save { .. } | Operation::Load { .. } | Operation::Converge(_) => return Ok(Value::Null),
    };
    let mut would = WouldDo { action, databases: Vec::new() };
    for name in names {
        let database = database(project, name)?;
        let path = if action == "backup" { backups(project)? } else { seed(database, name)? };
        let stops = if action == "rebuild" { users(project.manifest(), database) } else { Vec::new() };
        let message = match action {
            "dump" => Message::new("would-dump"),
            "backup" => Message::new("would-backup"),
            _ if stops.is_empty() => Message::new("would-rebuild"),
            _ => Message::new("would-rebuild-stopping"),
        };
        let message = message.with("database", name).with("path", path.display()).with("stops", stops.join(", "));
        session.output.say(&message);
        would.databases.push(WouldDoTo { database: name.clone(), path: path.display().to_string(), stops });
    }
    document(&would)
}

fn seed<'d>(database: &'d Database, name: &str) -> Result<&'d Path, Failure> {
    database.seed.as_deref().ok_or_else(|| {
        let hint = format!("add \"seed\": \"…\" to databases.{name}");
        Failure::usage_with_hint(format!("the manifest does not say where the seed of {name} lies"), hint)
    })
}

fn backups(project: &Project) -> Result<&Path, Failure> {
    path(project.manifest().paths.backups.as_deref(), "backups")
}

/// The services that stop while a database is swapped: those that it says, else those that depend on its server's.
fn users(manifest: &Manifest, database: &Database) -> Vec<String> {
    match &database.used_by {
        Some(users) => users.clone(),
        None => manifest
            .services
            .iter()
            .filter(|(_, _, service)| service.depends_on.contains_key(&database.service))
            .map(|(_, name, _)| name.to_owned())
            .collect(),
    }
}

/// Dumps databases as the delivery's seeds.
pub fn dump(
    names: &[String],
    project: &Arc<Project>,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Value, Failure> {
    let begun = Instant::now();
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let mut dumped = BackupsDocument::default();
    for name in names {
        let database = database(project, name)?;
        let settings =
            SeedSettings { path: seed(database, name)?.to_owned(), jobs: Jobs::default(), operator: operator() };
        let document = runtime.block_on(async {
            let server = connect(&engine, project.manifest(), database).await?;
            Ok::<_, Failure>(databases::dump_seed(&server, name, &settings, reporter).await?)
        })?;
        dumped.backups.push(document);
    }
    let (count, size, time) = sums(&dumped, begun);
    session.output.say(&Message::new("dump-done").with("count", count).with("size", size).with("time", time));
    document(&dumped)
}

/// Backs databases up.
pub fn backup(
    names: &[String],
    project: &Arc<Project>,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Value, Failure> {
    let begun = Instant::now();
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let settings = backup_settings(project)?;
    let mut made = BackupsDocument::default();
    for name in names {
        let database = database(project, name)?;
        let document = runtime.block_on(async {
            let server = connect(&engine, project.manifest(), database).await?;
            Ok::<_, Failure>(databases::backup(&server, name, &settings, reporter).await?)
        })?;
        made.backups.push(document);
    }
    let (count, size, time) = sums(&made, begun);
    session.output.say(&Message::new("backup-done").with("count", count).with("size", size).with("time", time));
    document(&made)
}

fn backup_settings(project: &Project) -> Result<BackupSettings, Failure> {
    Ok(BackupSettings {
        folder: backups(project)?.to_owned(),
        jobs: Jobs::default(),
        shrink: Shrink::default(),
        operator: operator(),
    })
}

/// How many, how large, how long.
fn sums(made: &BackupsDocument, begun: Instant) -> (usize, String, String) {
    let bytes = made.backups.iter().map(|backup| backup.bytes).sum();
    (made.backups.len(), table::size(bytes), table::duration(begun.elapsed()))
}

/// Rebuilds databases from their seeds.
pub fn rebuild(
    names: &[String],
    project: &Arc<Project>,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Value, Failure> {
    let begun = Instant::now();
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let backup = backup_settings(project)?;
    let mut rebuilt = RebuildsDocument::default();
    for name in names {
        let database = database(project, name)?;
        let source = seed(database, name)?;
        let options = RebuildOptions {
            jobs: Jobs::default(),
            old: OldDatabase::BackUpAndDrop(backup.clone()),
            new: NewDatabase {
                owner: database.owner.clone(),
                encoding: database.encoding.clone(),
                locale: database.locale.clone(),
            },
        };
        let dependents = Users {
            engine: engine.clone(),
            project: project.clone(),
            services: users(project.manifest(), database),
            reporter: reporter.clone(),
            stopped: Mutex::default(),
        };
        let report = runtime.block_on(async {
            let server = connect(&engine, project.manifest(), database).await?;
            Ok::<_, Failure>(databases::rebuild(&server, name, source, &dependents, &options, reporter).await?)
        })?;
        let message = Message::new("rebuild-one")
            .with("database", name)
            .with("tables", report.tables)
            .with("rows", report.rows)
            .with("nameless", report.nameless_ms)
            .with("stopped", table::seconds(report.dependents_stopped_ms as f64 / 1000.0));
        session.output.say(&message);
        rebuilt.rebuilds.push(report);
    }
    let message = Message::new("rebuild-done")
        .with("count", rebuilt.rebuilds.len())
        .with("time", table::duration(begun.elapsed()));
    session.output.say(&message);
    document(&rebuilt)
}

/// The services that use a database, stopped while it is swapped and started again afterwards: those that ran.
struct Users {
    engine: Engine,
    project: Arc<Project>,
    services: Vec<String>,
    reporter: Reporter,
    stopped: Mutex<Vec<String>>,
}

impl Users {
    async fn act(&self, action: Action, services: Vec<String>) -> Result<(), DependentsError> {
        if services.is_empty() {
            return Ok(());
        }
        let manifest = self.project.manifest();
        let snapshot = observe(&self.engine, manifest).await?;
        let options = Options { dependencies: Dependencies::Leave, ..Options::default() };
        let plan = plan(&Request { action, selection: services, options }, manifest, &snapshot)?;
        execute(&self.engine, manifest, &plan, &ExecuteOptions::default(), &self.reporter).await?;
        Ok(())
    }
}

impl Dependents for Users {
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async {
            let snapshot = observe(&self.engine, self.project.manifest()).await?;
            let running: Vec<String> = self.services.iter().filter(|name| snapshot.runs(name)).cloned().collect();
            // Noted before anything stops: what fails half way is started again too, and what a killed rebuild left
            // down is started by the next.
            let state = self.project.state();
            let mut noted = stopped_services(&state)?;
            noted.extend(running.iter().cloned());
            note_stopped_services(&state, &noted)?;
            noted.retain(|name| self.services.contains(name));
            *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = noted.into_iter().collect();
            self.act(Action::Stop, running).await
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async {
            let stopped = std::mem::take(&mut *self.stopped.lock().unwrap_or_else(PoisonError::into_inner));
            self.act(Action::Start, stopped).await?;
            let state = self.project.state();
            let mut noted = stopped_services(&state)?;
            // What was stopped for another database waits for that one's rebuild.
            noted.retain(|name| !self.services.contains(name));
            Ok(note_stopped_services(&state, &noted)?)
        })
    }
}
