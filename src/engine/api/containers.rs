//! Containers: list, inspect, create, start, stop, rename, remove.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    RenameContainerOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
};

use super::spec::{ContainerSpec, RestartPolicy};
use super::views::{ContainerState, ContainerSummary, ContainerView, summary, view};
use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};

impl Engine {
    /// Names and IDs of all containers, running or not, that carry all of these labels (`GET /containers/json`).
    pub async fn list_containers(&self, labels: &[(&str, &str)]) -> Result<Vec<String>, EngineError> {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut options = ListContainersOptionsBuilder::default().all(true);
        if !wanted.is_empty() {
            options = options.filters(&HashMap::from([("label".to_owned(), wanted)]));
        }
        let containers = self
            .with_timeout(self.docker().list_containers(Some(options.build())))
            .await
            .map_err(|error| EngineError::new(message!("verb-list-objects"), message!("object-containers"), error))?;
        Ok(containers.into_iter().filter_map(|container| container.id).collect())
    }

    /// All containers of the engine, running or not (`GET /containers/json`).
    pub async fn list_container_summaries(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let containers = self
            .with_timeout(self.docker().list_containers(Some(options)))
            .await
            .map_err(|error| EngineError::new(message!("verb-list-objects"), message!("object-containers"), error))?;
        Ok(containers.into_iter().map(summary).collect())
    }

    /// `None` when there is no such container (`GET /containers/{id}/json`).
    pub async fn inspect_container(&self, container: &str) -> Result<Option<ContainerView>, EngineError> {
        match self.with_timeout(self.docker().inspect_container(container, None)).await {
            Ok(answer) => Ok(Some(view(answer))),
            Err(error) => {
                let error =
                    EngineError::new(message!("verb-inspect"), message!("object-container", name = container), error);
                if error.is_not_found() { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Creates a container and joins it to all of its networks; gives its ID. When joining fails, the container is
    /// removed again.
    pub async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.ensure_locked().await?;
        let mut options = CreateContainerOptionsBuilder::default().name(&spec.name);
        if let Some(platform) = &spec.platform {
            options = options.platform(platform);
        }
        let created = self
            .with_timeout(self.docker().create_container(Some(options.build()), spec.body()))
            .await
            .map_err(|error| {
                EngineError::new(message!("verb-create-object"), message!("object-container", name = spec.name), error)
            })?;
        for attachment in spec.networks.iter().skip(1) {
            if let Err(error) = self.connect_network(&created.id, attachment).await {
                // The first error is the one to tell; a container that stays behind is found by its labels.
                let _ = self.remove_container(&created.id).await;
                return Err(error.about(&created.id, &spec.name));
            }
        }
        Ok(created.id)
    }

    /// Starts it; one that runs already is fine (`POST /containers/{id}/start`).
    pub async fn start_container(&self, container: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        already_so(self.with_timeout(self.docker().start_container(container, None)).await).map_err(|error| {
            EngineError::new(message!("verb-start"), message!("object-container", name = container), error)
        })
    }

    /// Asks it to end and kills it after `grace` (its own grace period where `None`); one that does not run is fine.
    pub async fn stop_container(&self, container: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let mut options = StopContainerOptionsBuilder::default();
        if let Some(grace) = grace {
            options = options.t(grace.as_secs_f64().ceil() as i32);
        }
        let options = options.build();
        let more = grace.unwrap_or(LONGEST_GRACE);
        let stop = |docker: Docker| async move { docker.stop_container(container, Some(options)).await };
        already_so(self.with_long_timeout(more, stop).await).map_err(|error| {
            EngineError::new(message!("verb-stop"), message!("object-container", name = container), error)
        })
    }

    /// Stops and starts it in one call, which the engine brings to its end even if nobody waits for the answer
    /// (`POST /containers/{id}/restart`). Its own grace period counts.
    pub async fn restart_container(&self, container: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let options = RestartContainerOptionsBuilder::default().build();
        let restart = |docker: Docker| async move { docker.restart_container(container, Some(options)).await };
        let restarted = self.with_long_timeout(LONGEST_GRACE, restart).await;
        restarted.map_err(|error| {
            EngineError::new(message!("verb-restart"), message!("object-container", name = container), error)
        })
    }

    /// Lets a container's processes stand still (`POST /containers/{id}/pause`).
    pub async fn pause_container(&self, container: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        self.with_timeout(self.docker().pause_container(container)).await.map_err(|error| {
            EngineError::new(message!("verb-pause"), message!("object-container", name = container), error)
        })
    }

    /// Lets a paused container go on (`POST /containers/{id}/unpause`).
    pub async fn unpause_container(&self, container: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        self.with_timeout(self.docker().unpause_container(container)).await.map_err(|error| {
            EngineError::new(message!("verb-unpause"), message!("object-container", name = container), error)
        })
    }

    pub async fn rename_container(&self, container: &str, name: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        self.with_timeout(self.docker().rename_container(container, options)).await.map_err(|error| {
            EngineError::new(
                message!("verb-rename"),
                message!("object-container-renamed", name = container, to = name),
                error,
            )
        })
    }

    /// Changes the restart policy of an existing container (`POST /containers/{id}/update`).
    pub async fn set_restart_policy(&self, container: &str, policy: RestartPolicy) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let body = ContainerUpdateBody { restart_policy: Some(policy.policy()), ..Default::default() };
        self.with_timeout(self.docker().update_container(container, body)).await.map_err(|error| {
            EngineError::new(message!("verb-set"), message!("object-restart-policy", name = container), error)
        })
    }

    /// Removes a stopped container; its volumes stay. One that is gone already is fine.
    pub async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        self.remove(container, false).await
    }

    /// Kills and removes a container with its anonymous volumes: for throw-away helpers only.
    pub async fn discard_container(&self, container: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        self.remove(container, true).await
    }

    async fn remove(&self, container: &str, throw_away: bool) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(throw_away).v(throw_away).build();
        match self.with_timeout(self.docker().remove_container(container, Some(options))).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = EngineError::new(
                    message!("verb-remove-object"),
                    message!("object-container", name = container),
                    error,
                );
                match error {
                    error if error.is_not_found() => Ok(()),
                    error if error.is_conflict() => self.await_removal(container).await.map_err(|_| error),
                    error => Err(error),
                }
            }
        }
    }

    /// Waits for the end of a removal that is under way: only then is its name free. An error where none is.
    async fn await_removal(&self, container: &str) -> Result<(), EngineError> {
        let deadline = tokio::time::Instant::now() + REMOVAL_TIMEOUT;
        loop {
            let state = self.inspect_container(container).await?.map(|view| view.state);
            match state {
                None => return Ok(()),
                Some(ContainerState::Removing) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Some(_) => {
                    let kind = EngineErrorKind::Conflict;
                    return Err(EngineError::other(
                        kind,
                        message!("verb-remove-object"),
                        message!("object-container", name = container),
                        message!("engine-it-stays"),
                    ));
                }
            }
        }
    }
}

/// A grace period that is the container's own is not known here, and may be long.
const LONGEST_GRACE: Duration = Duration::from_secs(3600);

/// How long another's removal of a container may take: a large file system goes slowly.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// 304 means that the container is in the wanted state already.
fn already_so(result: Result<(), bollard::errors::Error>) -> Result<(), bollard::errors::Error> {
    match result {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
        other => other,
    }
}
