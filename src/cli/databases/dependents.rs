//! The services that use a database, around its swap.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::cli::failure::{Failure, find};
use crate::cli::session::{Project, Session};
use crate::databases::{Dependents, DependentsError};
use crate::engine::{Engine, EngineError};
use crate::report::Reporter;
use crate::services::{
    self, Action, Dependencies, Depth, ExecuteOptions, Observed, Options, OutageWait, Recreate, Request, Snapshot, plan,
};
use crate::state::{StateError, note_stopped_services, stopped_services};

/// The services that use a database, stopped while it is swapped and started again afterwards: those that ran.
pub struct Users {
    engine: Engine,
    project: Arc<Project>,
    services: Vec<String>,
    reporter: Reporter,
    stopped: Mutex<Vec<String>>,
}

impl Users {
    pub fn new(engine: &Engine, project: &Arc<Project>, services: Vec<String>, reporter: &Reporter) -> Self {
        Self {
            engine: engine.clone(),
            project: project.clone(),
            services,
            reporter: reporter.clone(),
            stopped: Mutex::default(),
        }
    }
}

async fn act(
    engine: &Engine,
    project: &Project,
    (action, services): (Action, Vec<String>),
    reporter: &Reporter,
) -> Result<(), DependentsError> {
    if services.is_empty() {
        return Ok(());
    }
    let manifest = project.manifest();
    let options = Options { dependencies: Dependencies::Leave, recreate: Recreate::Never, ..Options::default() };
    let request = Request { action, selection: services, options };
    let snapshot = Snapshot::take(engine, manifest, &request, Depth::WithHelpers).await?;
    let first = plan(&request, manifest, &snapshot)?;
    services::run(engine, manifest, &request, first, &ExecuteOptions::default(), reporter).await?;
    Ok(())
}

/// Starts services, and waits until they are ready.
pub async fn start_services(
    engine: &Engine,
    project: &Project,
    services: Vec<String>,
    reporter: &Reporter,
) -> Result<(), DependentsError> {
    act(engine, project, (Action::Start, services), reporter).await
}

/// Starts what an interrupted action had stopped for a moment and nobody has started since. What keeps it from that is a
/// warning: the action in hand is another one.
pub fn put_back(project: &Arc<Project>, session: &mut Session, reporter: &Reporter) {
    let state = project.state();
    let noted = match stopped_services(&state) {
        Ok(noted) if noted.is_empty() => return,
        Ok(noted) => noted,
        // Whoever writes it next says what is wrong with it.
        Err(_) => return,
    };
    let names = noted.iter().cloned().collect::<Vec<_>>().join(", ");
    // A service that the manifest has no more can't be started from it.
    let known: Vec<String> = noted.into_iter().filter(|name| project.manifest().services.get(name).is_some()).collect();
    let started = (|| {
        let engine = session.engine()?;
        let runtime = session.runtime()?;
        runtime.block_on(async {
            let snapshot = Observed::look(&engine, project.manifest()).await?;
            // An engine that came back may have brought them back; of several containers maybe not each.
            let down: Vec<&str> = known.iter().map(String::as_str).filter(|name| !snapshot.runs(name)).collect();
            if !down.is_empty() {
                reporter.warn(message!("stopped-put-back", services = down.join(", ")));
            }
            // What the operator asked to stop is the action in hand, not this.
            start_services(&engine, project, known, &reporter.undisturbed()).await.map_err(Failure::Work)
        })?;
        Ok::<_, Failure>(note_stopped_services(&state, &BTreeSet::new())?)
    })();
    if let Err(failure) = started {
        let message = message!("stopped-not-put-back", services = names, why = failure.summary());
        reporter.warn(message);
    }
}

/// Services that the operator stops or removes are not to be put back.
pub fn forget_stopped(project: &Project, services: &[String]) -> Result<(), StateError> {
    let state = project.state();
    let mut noted = stopped_services(&state)?;
    let before = noted.len();
    noted.retain(|name| !services.contains(name));
    if noted.len() == before { Ok(()) } else { note_stopped_services(&state, &noted) }
}

impl Users {
    /// Does it again when the engine is back that was away for a moment.
    async fn patiently<T, F>(&self, work: impl Fn() -> F) -> Result<T, DependentsError>
    where
        F: Future<Output = Result<T, DependentsError>>,
    {
        let patience = OutageWait::new(&self.engine, &self.reporter);
        loop {
            let error = match work().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match find::<EngineError>(error.as_ref()) {
                Some(cause) if patience.outlasts(cause).await => {}
                _ => return Err(error),
            }
        }
    }
}

impl Dependents for Users {
    fn stop(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async {
            let look = || async { Ok(Observed::look(&self.engine, self.project.manifest()).await?) };
            let snapshot = self.patiently(look).await?;
            let running: Vec<String> = self.services.iter().filter(|name| snapshot.runs(name)).cloned().collect();
            // Noted before anything stops: what fails half way is started again too, and what a killed rebuild left
            // down is started by the next.
            let state = self.project.state();
            let mut noted = stopped_services(&state)?;
            noted.extend(running.iter().cloned());
            note_stopped_services(&state, &noted)?;
            noted.retain(|name| self.services.contains(name));
            *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = noted.into_iter().collect();
            act(&self.engine, &self.project, (Action::Stop, running), &self.reporter).await
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DependentsError>> {
        Box::pin(async {
            let stopped = std::mem::take(&mut *self.stopped.lock().unwrap_or_else(PoisonError::into_inner));
            // Asked to stop or not: nobody is to stay down for it.
            let reporter = self.reporter.undisturbed();
            self.patiently(|| start_services(&self.engine, &self.project, stopped.clone(), &reporter)).await?;
            let state = self.project.state();
            let mut noted = stopped_services(&state)?;
            // What was stopped for another database waits for that one's rebuild, and what was noted and not looked at for
            // the next command.
            noted.retain(|name| !stopped.contains(name));
            Ok(note_stopped_services(&state, &noted)?)
        })
    }
}
