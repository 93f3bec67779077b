//! The services that use data folders: warned of while they run, or stopped or paused meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::cli::commands::databases::{Users, with_sharers};
use crate::cli::session::stopped_services::start_services;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::databases::{Dependents, DependentsError};
use crate::engine::Engine;
use crate::report::{Activity, Listed, Reporter, Told as _};
use crate::services::Observed;
use crate::state::{note_stopped_services, stopped_services};

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

/// What stops or stands still meanwhile: those, and for a stop the ones that live in their namespaces too.
pub fn halted_users(project: &Project, names: &[String], meanwhile: Meanwhile) -> Vec<String> {
    match meanwhile {
        Meanwhile::Run => Vec::new(),
        Meanwhile::Stop => with_sharers(project.manifest(), users(project, names), None),
        Meanwhile::Pause => users(project, names),
    }
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

/// What becomes of the services that use the folders meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    Run,
    Stop,
    /// Their processes stand still: shorter than a stop, and what they have not written yet is missing.
    Pause,
}

impl Meanwhile {
    /// What `--stop` and `--pause` say.
    pub fn of(stop: bool, pause: bool) -> Self {
        match (stop, pause) {
            (true, _) => Self::Stop,
            (false, true) => Self::Pause,
            (false, false) => Self::Run,
        }
    }

    pub fn flag(self) -> &'static str {
        match self {
            Self::Run => "",
            Self::Stop => " --stop",
            Self::Pause => " --pause",
        }
    }
}

/// Does work while the services that use the folders are stopped or paused; they go on whatever comes of it.
pub fn while_halted<T>(
    project: &Arc<Project>,
    (meanwhile, services): (Meanwhile, Vec<String>),
    session: &mut Session,
    reporter: &Reporter,
    work: impl FnOnce(&mut Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (engine, runtime) = (session.engine()?, session.runtime()?);
    let users: Box<dyn Dependents> = match meanwhile {
        Meanwhile::Pause => Box::new(Paused::new(&engine, project, services, reporter)),
        Meanwhile::Run | Meanwhile::Stop => Box::new(Users::new(&engine, project, services, reporter)),
    };
    let halted = runtime.block_on(users.stop()).map_err(Failure::Work);
    let done = halted.and_then(|()| work(session));
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

/// Services whose containers are paused for a moment. They are noted as services that are stopped for a moment are: the next
/// command lets go on what a killed one left standing still.
struct Paused {
    engine: Engine,
    project: Arc<Project>,
    services: Vec<String>,
    reporter: Reporter,
    halted: Mutex<Vec<String>>,
}

impl Paused {
    fn new(engine: &Engine, project: &Arc<Project>, services: Vec<String>, reporter: &Reporter) -> Self {
        let (engine, project, reporter) = (engine.clone(), project.clone(), reporter.clone());
        Self { engine, project, services, reporter, halted: Mutex::default() }
    }
}

impl Dependents for Paused {
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async {
            let observed = Observed::look(&self.engine, self.project.manifest()).await?;
            let running = self.services.iter().map(|service| (service, observed.running_containers(service)));
            let running: Vec<_> = running.filter(|(_, containers)| !containers.is_empty()).collect();
            let halted: Vec<String> = running.iter().map(|(service, _)| (*service).clone()).collect();
            let state = self.project.state();
            let mut noted = stopped_services(&state)?;
            noted.extend(halted.iter().cloned());
            note_stopped_services(&state, &noted)?;
            *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = halted;
            for (service, containers) in running {
                self.reporter.began(Activity::PauseContainer, service, None);
                for container in containers {
                    self.engine.pause_container(&container).await?;
                }
                self.reporter.done(Activity::PauseContainer, service, message!("state-paused"));
            }
            Ok(())
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async {
            let halted = std::mem::take(&mut *self.halted.lock().unwrap_or_else(PoisonError::into_inner));
            if halted.is_empty() {
                return Ok(());
            }
            let reporter = self.reporter.undisturbed();
            // Of a paused container a start makes one that goes on.
            start_services(&self.engine, &self.project, halted.clone(), &reporter).await?;
            let state = self.project.state();
            let mut noted = stopped_services(&state)?;
            noted.retain(|name| !halted.contains(name));
            Ok(note_stopped_services(&state, &noted)?)
        })
    }
}
