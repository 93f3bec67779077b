//! The services that use data folders: warned of while they run, or stopped meanwhile.

use std::sync::Arc;

use crate::cli::commands::databases::{Users, with_sharers};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::Dependents as _;
use crate::report::{Listed, Reporter, Told as _};
use crate::services::Observed;

/// The services of `used_by` of these folders, each once.
pub fn users(project: &Project, names: &[String]) -> Vec<String> {
    let mut users: Vec<String> = Vec::new();
    for user in names.iter().filter_map(|name| project.manifest().data.get(name)).flat_map(|data| &data.used_by) {
        if !users.contains(user) {
            users.push(user.clone());
        }
    }
    users
}

/// Those and the ones that live in their namespaces: what `--stop` stops.
pub fn stopped_users(project: &Project, names: &[String]) -> Vec<String> {
    with_sharers(project.manifest(), users(project, names), None)
}

/// Warns when services that use the folders run, or when nobody can tell.
pub fn warn_of_users(project: &Project, names: &[String], session: &mut Session) -> Result<(), Failure> {
    let users = users(project, names);
    if users.is_empty() {
        return Ok(());
    }
    let looked = session
        .engine()
        .and_then(|engine| session.wait_for(async { Ok(Observed::look(&engine, project.manifest()).await?) }));
    match looked {
        Ok(observed) => {
            let running: Vec<&String> = users.iter().filter(|name| observed.runs(name)).collect();
            if !running.is_empty() {
                session.output.warn(&message!("data-users-run", services = Listed::of(&running)));
            }
        }
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        Err(failure) => {
            let message = message!("data-users-unknown", services = Listed::of(&users), why = failure.message());
            session.output.warn(&message);
        }
    }
    Ok(())
}

/// Does work while the services that use the folders are stopped; they start again whatever comes of it.
pub fn while_stopped<T>(
    project: &Arc<Project>,
    services: Vec<String>,
    session: &mut Session,
    reporter: &Reporter,
    work: impl FnOnce(&mut Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (engine, runtime) = (session.engine()?, session.runtime()?);
    let users = Users::new(&engine, project, services, reporter);
    let stopped = runtime.block_on(users.stop()).map_err(Failure::Work);
    let done = stopped.and_then(|()| work(session));
    let started = runtime.block_on(users.start()).map_err(Failure::Work);
    match (done, started) {
        (Ok(_), Err(failure)) => Err(failure),
        (Err(failure), Err(other)) => {
            other.show(&session.output);
            Err(failure)
        }
        (done, Ok(())) => done,
    }
}
