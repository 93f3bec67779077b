//! The services that use a database, around its swap.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::cli::session::Project;
use crate::cli::session::stopped_services::{act, start_services};
use crate::cli::text::failure::find;
use crate::databases::{Dependents, DependentsError};
use crate::engine::{Engine, EngineError};
use crate::manifest::Manifest;
use crate::manifest::model::{Database, Service};
use crate::report::Reporter;
use crate::services::{Action, Observed, OutageWait, providers};
use crate::state::{note_stopped_services, stopped_services};

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
            if self.services.is_empty() {
                return Ok(());
            }
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
            if stopped.is_empty() {
                return Ok(());
            }
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

/// The services that stop while a database is swapped: those that it says, else those that depend on its server's.
pub fn users(manifest: &Manifest, database: &Database) -> Vec<String> {
    let users = match &database.used_by {
        Some(users) => users.clone(),
        None => manifest
            .services
            .iter()
            .filter(|(_, _, service)| {
                database.service.as_ref().is_some_and(|server| service.depends_on.contains_key(server))
            })
            .map(|(_, name, _)| name.to_owned())
            .collect(),
    };
    with_sharers(manifest, users, database.service.as_deref())
}

/// Services, and those that live in a namespace of one of them: they are killed with it, or left in one that nobody else is in.
/// `but` stays as it is.
pub fn with_sharers(manifest: &Manifest, mut users: Vec<String>, but: Option<&str>) -> Vec<String> {
    loop {
        let is_user = |name: &str| users.iter().any(|user| user == name);
        let shares_with_user = |name: &str, service: &Service| {
            !is_user(name) && but != Some(name) && providers(service).into_iter().any(is_user)
        };
        let all = manifest.services.iter();
        let sharers: Vec<String> = all
            .filter(|(_, name, service)| shares_with_user(name, service))
            .map(|(_, name, _)| name.to_owned())
            .collect();
        if sharers.is_empty() {
            return users;
        }
        users.extend(sharers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::NamespaceMode;

    #[test]
    fn those_that_live_in_a_namespace_of_a_user_stop_and_start_with_it() {
        let of = |name: &str| Some(NamespaceMode::Service(name.to_owned()));
        let mut manifest = Manifest::default();
        for (name, service) in [
            ("db", Service::default()),
            ("api", Service::default()),
            ("side", Service { network_mode: of("api"), pid: of("api"), ..Service::default() }),
            ("probe", Service { ipc: of("side"), ..Service::default() }),
            ("other", Service { pid: of("db"), ..Service::default() }),
        ] {
            manifest.services.push(name.to_owned(), Some(service));
        }
        let used_by = Some(vec!["api".to_owned()]);
        let database = Database { service: Some("db".to_owned()), used_by, ..Database::default() };
        assert_eq!(users(&manifest, &database), ["api", "side", "probe"]);
    }
}
