//! The way back of a step that failed: what is undone, and what the failed container has to say.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Evidence, Performer, activity, done};
use crate::engine::{ContainerState, ContainerView, EngineError, HealthState};
use crate::failpoint;
use crate::report::Message;
use crate::services::container::environment::Inputs;
use crate::services::error::{StepError, WayBack};
use crate::services::plan::{Operation, Step, Target};
use crate::services::run::ready;
use crate::services::snapshot::observed::{Role, is_up};

/// An old container without a health check is seen to run for so long after it was started again.
const STEADY_OLD: Duration = Duration::from_secs(3);
/// The first answer of its health check is waited for so long; an engine that asks every 30 seconds has none by then.
const HEALTH_OF_OLD: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Performer<'_> {
    /// Takes back what a replica's steps did. Every operation is tried, whatever comes of the others; what is there in the
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
        self.tell_of_failed(step, undo).await;
        let name = undo.iter().rev().find_map(|operation| match operation {
            Operation::RenameContainer { target, to } if target.id.as_ref() == Some(&old_id) => Some(to),
            _ => None,
        });
        let name = name.unwrap_or(&old.container);
        let was_started = undo.iter().any(|operation| match operation {
            Operation::StartContainer { target } => target.id.as_ref() == Some(&old_id),
            _ => false,
        });
        let looked = self.outage.call(|| self.engine.inspect_container(&old_id)).await;
        let looked = match looked {
            Ok(Some(view)) if was_started => self.watched(view).await,
            looked => looked,
        };
        match looked {
            Ok(Some(view)) if view.name != *name => WayBack::Failed { container: view.name, error: of_old },
            // It may run, and nobody finds it.
            Ok(Some(view)) if lacks_network(&view, undo) => WayBack::Failed { container: view.name, error: of_old },
            // One that had ended before, as a job does, is as it was.
            Ok(Some(view)) if !is_up(view.state) && (was_started || self.was_up(undo)) => {
                WayBack::Down { container: view.name, error: of_old }
            }
            Ok(Some(view)) if was_started && view.state == ContainerState::Restarting => {
                WayBack::Down { container: view.name, error: of_old }
            }
            Ok(Some(view)) if was_started && view.health == HealthState::Unhealthy => {
                WayBack::Unhealthy { container: view.name }
            }
            Ok(Some(view)) if was_started && view.health == HealthState::Starting => {
                WayBack::Starting { container: view.name }
            }
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

    /// Says what a failed container that is kept (`--keep-failed`) is called now, if it is there.
    async fn tell_of_failed(&self, step: &Step, undo: &[Operation]) {
        let kept = undo.iter().find_map(|operation| match operation {
            Operation::RenameContainer { target, to } if to.ends_with(Role::Failed.suffix()) => self.id(target),
            _ => None,
        });
        let Some(id) = kept else { return };
        if let Ok(Some(view)) = self.outage.call(|| self.engine.inspect_container(&id)).await
            && view.name.ends_with(Role::Failed.suffix())
        {
            let (service, container) = (self.subject(step), view.name);
            self.reporter.notice(message!("services-failed-kept", service = service, container = container));
        }
    }

    /// An old container some time after it was started again: when its health check has answered, or it has run for a while.
    /// One that can't run any more (its data were changed by the new one) ends in the first moments.
    async fn watched(&self, mut view: ContainerView) -> Result<Option<ContainerView>, EngineError> {
        let (begun, restarts, id) = (Instant::now(), view.restart_count, view.id.clone());
        loop {
            let is_over = match view.health {
                HealthState::Healthy | HealthState::Unhealthy => true,
                HealthState::Starting => begun.elapsed() >= HEALTH_OF_OLD,
                HealthState::None => begun.elapsed() >= STEADY_OLD,
            };
            if view.restart_count > restarts {
                // The engine starts it again and again: that it runs at this moment means nothing.
                view.state = ContainerState::Restarting;
            }
            if is_over || !is_up(view.state) || view.state == ContainerState::Restarting {
                return Ok(Some(view));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(next) = self.outage.call(|| self.engine.inspect_container(&id)).await? else {
                return Ok(None);
            };
            view = next;
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
            // Of a container that was never made there is nothing to take back, and nothing to tell.
            if operation.target().is_some_and(|target| self.id(target).is_none()) {
                continue;
            }
            failpoint!("services.execute.way-back");
            let (activity, subject) = (activity(operation), self.subject(step));
            self.reporter.began(activity, &subject, None);
            let target = operation.target();
            let is_new = target.is_some_and(|target| target.made_by.is_some());
            match self.change_patiently(operation).await {
                // Somebody removed the new container, which is as good as putting it away.
                Err(StepError::Engine(error)) if is_new && error.is_not_found() => {
                    self.reporter.done(activity, subject, undone(operation));
                }
                Err(error) => {
                    self.reporter.failed(activity, subject, &error);
                    match target.filter(|_| is_new) {
                        Some(target) => drop(of_new.get_or_insert((target.container.clone(), error))),
                        None => drop(of_old.get_or_insert(error)),
                    }
                }
                Ok(()) => self.reporter.done(activity, subject, undone(operation)),
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

/// What was taken back. The service is not removed where only the container goes that was to take the old one's place.
fn undone(operation: &Operation) -> Message {
    match operation {
        Operation::RemoveContainer { target, .. } if target.made_by.is_some() => {
            message!("services-done-new-removed")
        }
        operation => done(operation),
    }
}

/// The container that an undo puts back: one that was there before, and that it neither stops nor removes. What shares its
/// namespaces is only restarted.
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

/// Whether a container is not in a network that it was in before, and was to join again.
fn lacks_network(view: &ContainerView, undo: &[Operation]) -> bool {
    let networks = undo.iter().filter_map(|operation| match operation {
        Operation::RejoinNetworks { target, networks } if target.id.as_ref() == Some(&view.id) => Some(networks),
        _ => None,
    });
    networks.flatten().any(|network| !view.networks.contains_key(&network.spec.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{NetworkAttachment, NetworkSpec};
    use crate::services::plan::{AnonymousVolumes, OldNetwork};

    #[test]
    fn a_new_container_that_goes_again_is_not_told_as_the_removal_of_its_service() {
        let removed = |made_by| {
            let target = Target { container: "p-a-1".to_owned(), id: None, made_by };
            undone(&Operation::RemoveContainer { target, volumes: AnonymousVolumes::Keep }).key
        };
        assert_eq!(removed(Some(0)), "services-done-new-removed");
        assert_eq!(removed(None), "services-done-removed");
    }

    #[test]
    fn an_old_container_that_runs_without_a_network_that_it_had_is_not_back_as_it_was() {
        let network = |name: &str| OldNetwork {
            id: "gone".to_owned(),
            spec: NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() },
            attachment: NetworkAttachment::default(),
        };
        let rejoin = |id: &str| {
            let target = Target { container: "p-a-1".to_owned(), id: Some(id.to_owned()), made_by: None };
            Operation::RejoinNetworks { target, networks: vec![network("p_front"), network("p_back")] }
        };
        let view = |networks: &[&str]| {
            let networks = networks.iter().map(|name| ((*name).to_owned(), String::new())).collect();
            ContainerView { id: "old".to_owned(), networks, ..ContainerView::default() }
        };
        assert!(lacks_network(&view(&["p_back"]), &[rejoin("old")]));
        assert!(!lacks_network(&view(&["p_back", "p_front"]), &[rejoin("old")]));
        assert!(!lacks_network(&view(&[]), &[rejoin("another")]));
    }
}
