//! One step as calls to the engine.

mod rejoin;
mod way_back;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::ready;
use crate::engine::{ContainerState, Engine, EngineError};
use crate::failpoint;
use crate::manifest::Manifest;
use crate::report::{Activity, Message, Reporter};
use crate::services::container::environment::Inputs;
use crate::services::container::fingerprint::{Fields, Fingerprint, network_fields, volume_fields};
use crate::services::container::labels;
use crate::services::container::spec::{self, ContainerInputs};
use crate::services::error::{NotReady, Stale, StepError};
use crate::services::plan::{AnonymousVolumes, Operation, Plan, Step, StepId, Target, Until};
use crate::services::run::outage::OutageWait;
use crate::services::run::swap_slots::{SLOW_STOP, SwapSlots};
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::observe::providers;
use crate::services::snapshot::observed::is_up;
use crate::services::snapshot::reach::Reach;

/// Performs the steps of one plan.
pub(super) struct Performer<'a> {
    engine: &'a Engine,
    manifest: &'a Manifest,
    plan: &'a Plan,
    reporter: &'a Reporter,
    permits: Semaphore,
    swaps: SwapSlots,
    outage: OutageWait<'a>,
    /// The networks that are reachable from here; looked at again when the plan has made one.
    reach: tokio::sync::Mutex<Option<Arc<Reach>>>,
    /// Held to create a network: alone by a way back, which looks first what there is.
    creating_networks: tokio::sync::RwLock<()>,
    /// The label of a container whose making was begun, by the step: the engine may have gone away in the middle.
    attempted: Mutex<HashMap<StepId, String>>,
    /// IDs of the containers that were made, by the step that made them.
    made: Mutex<HashMap<StepId, String>>,
    /// Containers that were seen to be as the plan has them.
    confirmed: Mutex<BTreeSet<String>>,
}

/// What a failed container has to say.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub log: Vec<String>,
    pub health: Vec<String>,
}

impl<'a> Performer<'a> {
    pub fn new(
        engine: &'a Engine,
        manifest: &'a Manifest,
        plan: &'a Plan,
        (parallel, swaps): (NonZeroUsize, usize),
        reporter: &'a Reporter,
    ) -> Self {
        Self {
            engine,
            manifest,
            plan,
            reporter,
            permits: Semaphore::new(parallel.get()),
            swaps: SwapSlots::new(plan, swaps.min(parallel.get())),
            outage: OutageWait::new(engine, reporter),
            attempted: Mutex::default(),
            reach: tokio::sync::Mutex::default(),
            creating_networks: tokio::sync::RwLock::default(),
            made: Mutex::default(),
            confirmed: Mutex::default(),
        }
    }

    pub fn engine_was_away(&self) -> bool {
        self.outage.was_away()
    }

    /// Performs a step, and says when it begins and how it ends.
    pub async fn perform(&self, step: &Step, may_be_interrupted: bool) -> Result<(), StepError> {
        if self.tidies_up(step) {
            self.swaps.none_under_way().await;
        }
        // Stops and waits take their time and cost the engine nothing.
        let takes_turns = matches!(
            step.operation,
            Operation::CreateContainer { .. }
                | Operation::StartContainer { .. }
                | Operation::RestartContainer { .. }
                | Operation::RemoveContainer { .. }
        );
        let _permit = match takes_turns {
            true => Some(self.permits.acquire().await.expect("the semaphore is never closed")),
            false => None,
        };
        let _creating = matches!(step.operation, Operation::CreateContainer { .. }).then(|| self.swaps.creating());
        if self.swaps.is_begun_by(step) {
            self.swaps.begin(step).await;
        }
        // It may have waited for its turn until an end was asked for.
        if may_be_interrupted && self.reporter.asked_to_stop() {
            self.swaps.end(step);
            return Err(StepError::NotBegun);
        }
        let (activity, subject) = (activity(&step.operation), self.subject(step));
        self.reporter.began(activity, &subject, None);
        let result = match self.confirm(step).await {
            Ok(()) => self.call_in_time(step, may_be_interrupted).await,
            Err(error) => Err(error),
        };
        if matches!(step.operation, Operation::StartContainer { .. }) && result.is_ok() {
            self.swaps.end(step);
        }
        match &result {
            Ok(()) if self.tidies_up(step) => {
                self.reporter.done(activity, subject, message!("services-done-old-removed"));
            }
            Ok(()) => self.reporter.done(activity, subject, done(&step.operation)),
            Err(error) => self.reporter.failed(activity, subject, error),
        }
        result
    }

    /// Whether the step removes an old container whose replacement has proved itself.
    fn tidies_up(&self, step: &Step) -> bool {
        matches!(step.operation, Operation::RemoveContainer { .. })
            && step.after.iter().any(|after| self.plan.steps[after.step].commits)
    }

    /// The service, with its container's number where there are several.
    fn subject(&self, step: &Step) -> String {
        match (&step.service, step.number, &step.operation) {
            (Some(service), Some(number), _)
                if number > 1 || self.manifest.services.get(service).is_some_and(|service| service.replicas() > 1) =>
            {
                format!("{service} {number}")
            }
            (Some(service), ..) => service.clone(),
            (
                None,
                _,
                Operation::CreateNetwork { name, .. }
                | Operation::RemoveNetwork { name }
                | Operation::CreateVolume { name, .. }
                | Operation::RemoveVolume { name },
            ) => name.clone(),
            (None, ..) => String::new(),
        }
    }

    /// A plan whose containers have changed since is not carried out.
    async fn confirm(&self, step: &Step) -> Result<(), StepError> {
        let targets = step.operation.target().into_iter().chain(step.undo.iter().filter_map(Operation::target));
        let ids: BTreeSet<&str> = targets.filter_map(|target| target.id.as_deref()).collect();
        for expected in self.plan.expected.iter().filter(|expected| ids.contains(expected.id.as_str())) {
            if !lock(&self.confirmed).insert(expected.id.clone()) {
                continue;
            }
            let stale = |how| StepError::Stale { container: expected.name.clone(), how };
            let looked = self.outage.call(|| self.engine.inspect_container(&expected.id)).await;
            let looked = looked.map_err(|error| error.about(&expected.id, &expected.name))?;
            let Some(view) = looked else {
                return Err(stale(Stale::Removed));
            };
            if view.name != expected.name {
                return Err(stale(Stale::Renamed));
            }
            // An engine that comes back starts containers by their restart policies.
            if is_up(view.state) && !expected.is_up && !self.outage.was_away() {
                return Err(stale(Stale::Started));
            }
        }
        Ok(())
    }

    /// As [`Self::call`]; a stop that takes long gives its slot to others.
    async fn call_in_time(&self, step: &Step, may_be_interrupted: bool) -> Result<(), StepError> {
        let mut call = std::pin::pin!(self.call(step, may_be_interrupted));
        match tokio::time::timeout(SLOW_STOP, &mut call).await {
            Ok(result) => result,
            Err(_) => {
                if matches!(step.operation, Operation::StopContainer { .. }) {
                    self.swaps.stops_slowly(step);
                }
                call.await
            }
        }
    }

    /// Does what the step says; when the engine goes away meanwhile, once more when it is back.
    async fn call(&self, step: &Step, may_be_interrupted: bool) -> Result<(), StepError> {
        loop {
            let result = match &step.operation {
                Operation::CreateContainer { .. } => self.create(step).await,
                Operation::WaitReady { .. } => self.wait(step, may_be_interrupted).await,
                operation => self.change(operation).await,
            };
            match result {
                Err(StepError::Engine(error) | StepError::NotReady(NotReady::Engine(error)))
                    if self.outage.outlasts(&error).await => {}
                result => return result,
            }
        }
    }

    async fn create(&self, step: &Step) -> Result<(), StepError> {
        let Operation::CreateContainer { name, .. } = &step.operation else {
            return Ok(());
        };
        let begun = lock(&self.attempted).get(&step.id).cloned();
        if let Some(begun) = begun {
            // The engine may have made it and not lived to say so, or not have joined it to all its networks.
            let half_made = self.engine.inspect_container(name).await?;
            if let Some(view) = half_made.filter(|view| view.labels.get(labels::FINGERPRINT) == Some(&begun)) {
                self.engine.discard_container(&view.id).await?;
            }
        }
        let container_inputs = self.container_inputs(step).await?;
        lock(&self.attempted).insert(step.id, container_inputs.fingerprint.label());
        failpoint!("services.execute.before-create");
        let id = self.engine.create_container(&spec::container(&container_inputs)).await?;
        failpoint!("services.execute.after-create");
        lock(&self.made).insert(step.id, id);
        Ok(())
    }

    async fn wait(&self, step: &Step, may_be_interrupted: bool) -> Result<(), StepError> {
        let Operation::WaitReady { target, until, timeout } = &step.operation else {
            return Ok(());
        };
        let Some(id) = self.id(target) else {
            return Err(NotReady::Gone { container: target.container.clone() }.into());
        };
        // Only probes go to a container's address.
        let reach = match until {
            Until::Tcp(_) | Until::Http(_) => self.reach().await?,
            Until::Running(_) | Until::Healthy | Until::Log(_) | Until::Completed => Arc::default(),
        };
        let wait = ready::Wait {
            engine: self.engine,
            id: &id,
            name: &target.container,
            until,
            timeout: timeout.0,
            reach: &reach,
            outage: &self.outage,
            helpers: &self.helpers(step),
            interrupted_by: may_be_interrupted.then_some(self.reporter),
        };
        wait.run().await.map_err(|error| match error {
            NotReady::Engine(error) => NotReady::Engine(error.about(&id, &target.container)),
            error => error,
        })?;
        failpoint!("services.execute.after-ready");
        Ok(())
    }

    async fn reach(&self) -> Result<Arc<Reach>, EngineError> {
        // Held while one looks: all that begin to wait at once wait for that look.
        let mut known = self.reach.lock().await;
        match known.as_ref() {
            Some(reach) => Ok(reach.clone()),
            None => Ok(known.insert(Arc::new(Reach::find(self.engine).await?)).clone()),
        }
    }

    /// Of the service's own image first, then of any other that may have what it lacks.
    fn helpers(&self, step: &Step) -> Helpers<'a> {
        let own = step.service.as_ref().and_then(|name| self.manifest.services.get(name));
        let all = own.into_iter().chain(self.manifest.services.iter().map(|(_, _, service)| service));
        let mut images: Vec<String> = Vec::new();
        for service in all {
            let image = service.image.to_string();
            if !images.contains(&image) {
                images.push(image);
            }
        }
        Helpers::new(self.engine, &self.manifest.project, &images)
    }

    /// Everything that neither makes a container nor waits; each is fine when it is so already.
    async fn change(&self, operation: &Operation) -> Result<(), StepError> {
        // A container that was never made needs nothing.
        let id = match operation.target() {
            Some(target) => match self.id(target) {
                Some(id) => id,
                None => return Ok(()),
            },
            None => String::new(),
        };
        let name = operation.target().map(|target| target.container.as_str()).unwrap_or_default();
        self.ask(operation, &id).await.map_err(|error| match error {
            StepError::Engine(error) => StepError::Engine(error.about(&id, name)),
            error => error,
        })
    }

    async fn ask(&self, operation: &Operation, id: &str) -> Result<(), StepError> {
        let engine = self.engine;
        match operation {
            Operation::CreateNetwork { key, .. } => {
                failpoint!("services.execute.before-network");
                let _creating = self.creating_networks.read().await;
                let mut network = spec::network(self.manifest, key);
                let wanted = self.manifest.networks.get(key).cloned().unwrap_or_default();
                network
                    .labels
                    .insert(labels::FINGERPRINT.to_owned(), fingerprint(&network.name, &network_fields(&wanted))?);
                engine.create_network(&network).await?;
                // It may be reachable from here.
                self.reach.lock().await.take();
            }
            Operation::CreateVolume { key, .. } => {
                failpoint!("services.execute.before-volume");
                let mut volume = spec::volume(self.manifest, key);
                let wanted = self.manifest.volumes.get(key).cloned().unwrap_or_default();
                volume
                    .labels
                    .insert(labels::FINGERPRINT.to_owned(), fingerprint(&volume.name, &volume_fields(&wanted))?);
                engine.create_volume(&volume).await?;
            }
            Operation::RemoveNetwork { name } => {
                failpoint!("services.execute.before-remove-network");
                gone_is_fine(engine.remove_network(name).await)?;
            }
            Operation::RemoveVolume { name } => {
                failpoint!("services.execute.before-remove-volume");
                gone_is_fine(engine.remove_volume(name).await)?;
            }
            Operation::StartContainer { .. } => {
                failpoint!("services.execute.before-start");
                engine.start_container(id).await?;
                failpoint!("services.execute.after-start");
            }
            Operation::RestartContainer { .. } => {
                failpoint!("services.execute.before-restart");
                engine.restart_container(id).await?;
                failpoint!("services.execute.after-restart");
            }
            Operation::UnpauseContainer { .. } => {
                failpoint!("services.execute.before-unpause");
                self.unpause(id).await?;
            }
            Operation::StopContainer { .. } => {
                failpoint!("services.execute.before-stop");
                engine.stop_container(id, None).await?;
                failpoint!("services.execute.after-stop");
            }
            Operation::RenameContainer { to, .. } => {
                failpoint!("services.execute.before-rename");
                self.rename(id, to).await?;
                failpoint!("services.execute.after-rename");
            }
            Operation::SetRestartPolicy { policy, .. } => {
                failpoint!("services.execute.before-policy");
                engine.set_restart_policy(id, spec::restart(*policy)).await?;
                failpoint!("services.execute.after-policy");
            }
            Operation::RemoveContainer { volumes, .. } => {
                failpoint!("services.execute.before-remove");
                match volumes {
                    AnonymousVolumes::Keep => engine.remove_container(id).await?,
                    AnonymousVolumes::Remove => engine.discard_container(id).await?,
                }
                failpoint!("services.execute.after-remove");
            }
            Operation::RejoinNetworks { networks, .. } => self.rejoin(id, networks).await?,
            Operation::CreateContainer { .. } | Operation::WaitReady { .. } => {}
        }
        Ok(())
    }

    /// The same, across an engine's restart.
    async fn change_patiently(&self, operation: &Operation) -> Result<(), StepError> {
        loop {
            match self.change(operation).await {
                Err(StepError::Engine(error)) if self.outage.outlasts(&error).await => {}
                result => return result,
            }
        }
    }

    /// The engine refuses to give a container the name that it has.
    async fn rename(&self, id: &str, to: &str) -> Result<(), EngineError> {
        let Err(error) = self.engine.rename_container(id, to).await else {
            return Ok(());
        };
        match self.engine.inspect_container(id).await {
            Ok(Some(view)) if view.name == to => Ok(()),
            _ => Err(error),
        }
    }

    /// The engine refuses to let go on what is not paused, which it is not after an engine's restart.
    async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        let Err(error) = self.engine.unpause_container(id).await else {
            return Ok(());
        };
        match self.engine.inspect_container(id).await {
            Ok(Some(view)) if view.state == ContainerState::Running => Ok(()),
            Ok(Some(view)) if !is_up(view.state) => self.engine.start_container(id).await,
            _ => Err(error),
        }
    }

    async fn container_inputs<'p>(&'p self, step: &'p Step) -> Result<ContainerInputs<'p>, StepError> {
        let Operation::CreateContainer { name, image_id, volumes, without_gpus, old_restart } = &step.operation else {
            return Err(StepError::Stale { container: String::new(), how: Stale::NotToBeMade });
        };
        let service_name = step.service.as_deref().unwrap_or_default();
        let Some(service) = self.manifest.services.get(service_name) else {
            return Err(StepError::Stale { container: name.clone(), how: Stale::WithoutService });
        };
        let inputs = Inputs::read(service);
        let environment = inputs.environment().map_err(|errors| errors[0].clone())?.clone();
        let fingerprint = spec::fingerprint(self.manifest, service, &environment)
            .map_err(|source| StepError::Random { container: name.to_owned(), source })?;
        let mut ids = BTreeMap::new();
        for provider in providers(service) {
            let container = self.manifest.container_name(provider, 1);
            match self.engine.inspect_container(&container).await? {
                Some(view) => ids.insert(provider.to_owned(), view.id),
                None => return Err(StepError::NoProvider { provider: provider.to_owned() }),
            };
        }
        Ok(ContainerInputs {
            manifest: self.manifest,
            service_name,
            service,
            number: step.number.unwrap_or(1),
            name: name.clone(),
            image_id: image_id.clone(),
            environment,
            fingerprint,
            carried: volumes.clone(),
            old_restart: *old_restart,
            gpus_dropped: *without_gpus,
            providers: ids,
        })
    }

    fn id(&self, target: &Target) -> Option<String> {
        match (&target.id, target.made_by) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(step)) => lock(&self.made).get(&step).cloned(),
            (None, None) => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere can't leave a set or a map half written.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The label of a network or a volume.
fn fingerprint(name: &str, fields: &Fields) -> Result<String, StepError> {
    let made = Fingerprint::new(fields, BTreeSet::new());
    Ok(made.map_err(|source| StepError::Random { container: name.to_owned(), source })?.label())
}

fn gone_is_fine(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn activity(operation: &Operation) -> Activity {
    match operation {
        Operation::CreateNetwork { .. } => Activity::CreateNetwork,
        Operation::CreateVolume { .. } => Activity::CreateVolume,
        Operation::RemoveNetwork { .. } => Activity::RemoveNetwork,
        Operation::RemoveVolume { .. } => Activity::RemoveVolume,
        Operation::CreateContainer { .. } => Activity::CreateContainer,
        Operation::StartContainer { .. } | Operation::UnpauseContainer { .. } => Activity::StartContainer,
        Operation::RestartContainer { .. } => Activity::RestartContainer,
        Operation::StopContainer { .. } => Activity::StopContainer,
        Operation::RenameContainer { .. } => Activity::RenameContainer,
        Operation::SetRestartPolicy { .. } | Operation::RejoinNetworks { .. } => Activity::UpdateContainer,
        Operation::RemoveContainer { .. } => Activity::RemoveContainer,
        Operation::WaitReady { .. } => Activity::WaitReady,
    }
}

/// How a step is told when it has ended well.
fn done(operation: &Operation) -> Message {
    match operation {
        Operation::CreateNetwork { .. } | Operation::CreateVolume { .. } | Operation::CreateContainer { .. } => {
            message!("services-done-created")
        }
        Operation::RemoveNetwork { .. } | Operation::RemoveVolume { .. } | Operation::RemoveContainer { .. } => {
            message!("services-done-removed")
        }
        Operation::StartContainer { .. } | Operation::UnpauseContainer { .. } => message!("services-done-started"),
        Operation::RestartContainer { .. } => message!("services-done-restarted"),
        Operation::StopContainer { .. } => message!("services-done-stopped"),
        Operation::RenameContainer { .. } => message!("services-done-renamed"),
        Operation::SetRestartPolicy { .. } => message!("services-done-updated"),
        Operation::WaitReady { .. } => message!("services-done-ready"),
        Operation::RejoinNetworks { .. } => message!("services-done-rejoined"),
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::Address;
    use crate::services::scripted_engine::{Answer, FakeEngine};

    #[tokio::test]
    async fn what_is_reachable_is_looked_at_once_and_again_when_there_is_a_new_network() {
        let folder = tempfile::tempdir().unwrap();
        let rules = vec![
            ("GET", "/networks", Answer::Json(200, "[]")),
            ("POST", "/networks/create", Answer::Json(201, r#"{"Id": "n1", "Warning": ""}"#)),
        ];
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        let reporter = Reporter::new(Vec::new(), CancellationToken::new());
        let (manifest, plan) = (Manifest::default(), Plan::default());
        let performer = Performer::new(&engine, &manifest, &plan, (NonZeroUsize::MIN, 1), &reporter);
        let lists = || {
            fake.requests().iter().filter(|request| request.starts_with("GET") && request.contains("/networks")).count()
        };
        let all = futures::future::join_all((0..9).map(|_| performer.reach())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(lists(), 1, "{:?}", fake.requests());
        let created = Operation::CreateNetwork { key: "default".to_owned(), name: "p_default".to_owned() };
        performer.ask(&created, "").await.unwrap();
        let before = lists();
        performer.reach().await.unwrap();
        performer.reach().await.unwrap();
        assert_eq!(lists(), before + 1, "{:?}", fake.requests());
    }
}
