//! One step as calls to the engine, and the way back of a failed one.

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
use crate::services::error::{NotReady, StepError, WayBack};
use crate::services::plan::{AnonymousVolumes, Operation, Plan, Step, StepId, Target};
use crate::services::run::outage::OutageWait;
use crate::services::run::swaps::{SLOW_STOP, Swaps};
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
    swaps: Swaps,
    outage: OutageWait<'a>,
    /// The networks that are reachable from here; looked at again when the plan has made one.
    reach: Mutex<Option<Arc<Reach>>>,
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
            swaps: Swaps::new(plan, swaps.min(parallel.get())),
            outage: OutageWait::new(engine, reporter),
            attempted: Mutex::default(),
            reach: Mutex::default(),
            made: Mutex::default(),
            confirmed: Mutex::default(),
        }
    }

    pub fn engine_was_away(&self) -> bool {
        self.outage.was_away()
    }

    /// Performs a step, and says when it begins and how it ends.
    pub async fn perform(&self, step: &Step, may_be_interrupted: bool) -> Result<(), StepError> {
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
            Ok(()) => self.reporter.done(activity, subject, done(&step.operation)),
            Err(error) => self.reporter.failed(activity, subject, error),
        }
        result
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
            let stale = |what| StepError::Stale { container: expected.name.clone(), what };
            let looked = self.outage.call(|| self.engine.inspect_container(&expected.id)).await?;
            let Some(view) = looked else {
                return Err(stale("was removed"));
            };
            if view.name != expected.name {
                return Err(stale("was renamed"));
            }
            // An engine that comes back starts containers by their restart policies.
            if is_up(view.state) && !expected.is_up && !self.outage.was_away() {
                return Err(stale("was started"));
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
                    self.swaps.is_slow(step);
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
        let wait = ready::Wait {
            engine: self.engine,
            id: &id,
            name: &target.container,
            until,
            timeout: timeout.0,
            reach: &*self.reach().await?,
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
        let known = lock(&self.reach).clone();
        if let Some(reach) = known {
            return Ok(reach);
        }
        let found = Arc::new(Reach::find(self.engine).await?);
        *lock(&self.reach) = Some(found.clone());
        Ok(found)
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
                let mut network = spec::network(self.manifest, key);
                let wanted = self.manifest.networks.get(key).cloned().unwrap_or_default();
                network
                    .labels
                    .insert(labels::FINGERPRINT.to_owned(), fingerprint(&network.name, &network_fields(&wanted))?);
                engine.create_network(&network).await?;
                // It may be reachable from here.
                lock(&self.reach).take();
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
            return Err(StepError::Stale { container: String::new(), what: "is not to be made" });
        };
        let service_name = step.service.as_deref().unwrap_or_default();
        let Some(service) = self.manifest.services.get(service_name) else {
            return Err(StepError::Stale { container: name.clone(), what: "lost its service in the manifest" });
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

    /// Takes back what a place's steps did. Every operation is tried, whatever comes of the others; what is there in the
    /// end is looked at, not concluded.
    pub async fn go_back(&self, step: &Step, undo: &[Operation]) -> WayBack {
        let way_back = self.put_back(step, undo).await;
        self.swaps.end(step);
        way_back
    }

    async fn put_back(&self, step: &Step, undo: &[Operation]) -> WayBack {
        let Some(old) = old_container(undo) else {
            // A new container that was only made beside the old one goes without a word.
            let (_, left) = self.take_back(step, undo).await;
            return left.map_or(WayBack::NotNeeded, |(container, error)| WayBack::Left { container, error });
        };
        self.reporter.notice(message!("services-putting-back", service = self.subject(step)));
        let old_id = old.id.clone().unwrap_or_default();
        // Without the old one, the new one is better than none, whatever is wrong with it.
        if let Ok(None) = self.outage.call(|| self.engine.inspect_container(&old_id)).await {
            return WayBack::OldGone { left: self.new_container(undo, &old_id).await };
        }
        let (of_old, of_new) = self.take_back(step, undo).await;
        let name = undo.iter().rev().find_map(|operation| match operation {
            Operation::RenameContainer { target, to } if target.id.as_ref() == Some(&old_id) => Some(to),
            _ => None,
        });
        let name = name.unwrap_or(&old.container);
        match self.outage.call(|| self.engine.inspect_container(&old_id)).await {
            Ok(Some(view)) if view.name != *name => WayBack::Failed { container: view.name, error: of_old },
            Ok(Some(view)) if !is_up(view.state) => WayBack::Down { container: view.name, error: of_old },
            Ok(Some(_)) => match of_new {
                Some((container, error)) => WayBack::Left { container, error },
                None => {
                    self.reporter.notice(message!("services-put-back", service = self.subject(step)));
                    WayBack::PutBack
                }
            },
            Ok(None) => WayBack::OldGone { left: self.new_container(undo, &old_id).await },
            Err(error) => WayBack::Failed { container: old.container.clone(), error: Some(error.into()) },
        }
    }

    /// Whether the container that an undo puts back ran when the plan was made.
    pub fn was_up(&self, undo: &[Operation]) -> bool {
        let id = old_container(undo).and_then(|old| old.id.as_ref());
        self.plan.expected.iter().any(|expected| Some(&expected.id) == id && expected.is_up)
    }

    /// The first thing that went wrong with a container that was there before, and with a new one, which is named.
    async fn take_back(&self, step: &Step, undo: &[Operation]) -> (Option<StepError>, Option<(String, StepError)>) {
        let (mut of_old, mut of_new) = (None, None);
        for operation in undo {
            failpoint!("services.execute.way-back");
            let (activity, subject) = (activity(operation), self.subject(step));
            self.reporter.began(activity, &subject, None);
            let target = operation.target();
            let is_new = target.is_some_and(|target| target.made_by.is_some());
            match self.change_patiently(operation).await {
                // Somebody removed the new container, which is as good as putting it away.
                Err(StepError::Engine(error)) if is_new && error.is_not_found() => {
                    self.reporter.done(activity, subject, done(operation));
                }
                Err(error) => {
                    self.reporter.failed(activity, subject, &error);
                    match target.filter(|_| is_new) {
                        Some(target) => drop(of_new.get_or_insert((target.container.clone(), error))),
                        None => drop(of_old.get_or_insert(error)),
                    }
                }
                Ok(()) => self.reporter.done(activity, subject, done(operation)),
            }
        }
        (of_old, of_new)
    }

    /// What the container is called now that was to take the old one's place; `None` where it is gone too.
    async fn new_container(&self, undo: &[Operation], old: &str) -> Option<String> {
        let ids = undo.iter().filter_map(Operation::target).filter_map(|target| self.id(target));
        for id in ids.filter(|id| id != old).collect::<BTreeSet<_>>() {
            if let Ok(Some(view)) = self.outage.call(|| self.engine.inspect_container(&id)).await {
                return Some(view.name);
            }
        }
        None
    }

    /// The failed container's last words, with secrets masked. What can't be read is left out: the error that is
    /// being told is the one that counts.
    pub async fn evidence(&self, step: &Step, error: &StepError) -> Evidence {
        let (StepError::NotReady(_) | StepError::Engine(_), Some(target)) = (error, step.operation.target()) else {
            return Evidence::default();
        };
        let Some(id) = self.id(target) else {
            return Evidence::default();
        };
        let inputs = step.service.as_ref().and_then(|name| self.manifest.services.get(name)).map(Inputs::read);
        let mask = |text: String| inputs.as_ref().map_or_else(|| text.clone(), |inputs| inputs.mask(&text));
        let log = ready::last_words(self.engine, &id).await.unwrap_or_default();
        let view = self.engine.inspect_container(&id).await.ok().flatten();
        let health = view.map(|view| view.health_log).unwrap_or_default();
        let health = health.into_iter().rev().take(1).flat_map(|entry| {
            let output = entry.output.trim().lines().take(5).map(str::to_owned).collect::<Vec<_>>();
            std::iter::once(format!("exit code {}", entry.exit_code)).chain(output)
        });
        Evidence { log: log.into_iter().map(mask).collect(), health: health.map(mask).collect() }
    }
}

/// The container that an undo puts back: one that was there before, and that it neither stops nor removes. Guests of its
/// namespaces are only restarted.
fn old_container(undo: &[Operation]) -> Option<&Target> {
    let goes = |id: &Option<String>| {
        undo.iter().any(|operation| match operation {
            Operation::StopContainer { target } | Operation::RemoveContainer { target, .. } => target.id == *id,
            _ => false,
        })
    };
    let targets = undo.iter().filter(|operation| !matches!(operation, Operation::RestartContainer { .. }));
    targets.filter_map(Operation::target).find(|target| target.id.is_some() && !goes(&target.id))
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
        Operation::SetRestartPolicy { .. } => Activity::UpdateContainer,
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
    }
}
