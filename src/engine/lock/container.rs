//! The container that is a lock: made, looked at, its heartbeat written, removed.

use bollard::models::{ContainerCreateBody, ContainerUpdateBody};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bytes::Bytes;
use futures::StreamExt;

use super::{LockRequest, LockView};
use crate::engine::api::spec::RestartPolicy;
use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};

/// An image of nothing is enough for a container that never starts.
const IMAGE: (&str, &str) = ("dpl-lock", "1");
const HOLDER: &str = "dpl.lock.holder";

impl Engine {
    /// Makes the lock; gives its ID, or `None` when somebody has it.
    pub(super) async fn create_lock(&self, request: &LockRequest) -> Result<Option<String>, EngineError> {
        let labels = request.labels.clone().into_iter().chain([(HOLDER.to_owned(), request.holder.clone())]);
        let body = ContainerCreateBody {
            image: Some(format!("{}:{}", IMAGE.0, IMAGE.1)),
            cmd: Some(vec!["never-started".to_owned()]),
            labels: Some(labels.collect()),
            ..Default::default()
        };
        // Others who make it at this moment take it away for as long as that lasts.
        let mut imports_left = 3;
        loop {
            let options = CreateContainerOptionsBuilder::default().name(&request.name).build();
            match self.with_timeout(self.docker().create_container(Some(options), body.clone())).await {
                Ok(created) => return Ok(Some(created.id)),
                Err(error) => {
                    let error = EngineError::new(
                        message!("verb-create-object"),
                        message!("object-lock", name = request.name),
                        error,
                    );
                    if error.is_conflict() {
                        return Ok(None);
                    }
                    if !error.is_not_found() || imports_left == 0 {
                        return Err(error);
                    }
                    imports_left -= 1;
                    self.create_lock_image().await?;
                }
            }
        }
    }

    async fn create_lock_image(&self) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(IMAGE.0).tag(IMAGE.1).build();
        // Two empty blocks are an empty archive.
        let archive = bollard::body_full(Bytes::from_static(&[0; 1024]));
        let mut lines = std::pin::pin!(self.docker().create_image(Some(options), Some(archive), None));
        // The whole answer is one call.
        let imported = self.with_timeout(async {
            while let Some(line) = lines.next().await {
                line?;
            }
            Ok(())
        });
        match imported.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let name = format!("{}:{}", IMAGE.0, IMAGE.1);
                // A containerd store takes one of two imports at a time, and the other one has what it wanted.
                let is_there = matches!(self.inspect_image(&name).await, Ok(Some(_)));
                if is_there {
                    Ok(())
                } else {
                    Err(EngineError::new(message!("verb-import-object"), message!("object-image", name = name), error))
                }
            }
        }
    }

    /// The lock as it is now.
    ///
    /// # Errors
    /// A container of that name without a holder's label: it is somebody else's, and no lock of a holder that is gone.
    pub(super) async fn read_lock(&self, name: &str) -> Result<Option<LockView>, EngineError> {
        let Some(container) = self.inspect_container(name).await? else {
            return Ok(None);
        };
        let Some(holder) = container.labels.get(HOLDER).cloned() else {
            let (operation, object) = (message!("verb-read-object"), message!("object-lock", name = name));
            let why = message!("engine-lock-foreign");
            return Err(EngineError::other(EngineErrorKind::Failed, operation, object, why));
        };
        let heartbeat = match container.restart {
            RestartPolicy::OnFailure(attempts) => attempts.map(u64::from),
            _ => None,
        };
        Ok(Some(LockView { id: container.id, holder, heartbeat }))
    }

    /// Writes the heartbeat; whether the lock is still there. It is the number of attempts of the restart policy, which means
    /// nothing for a container that never starts: the one thing of a container that can be changed again and again and
    /// costs the engine next to nothing. A file in it, the other one, makes the engine mount the container and run a
    /// program.
    pub(super) async fn write_heartbeat(&self, id: &str, heartbeat: u64) -> Result<bool, EngineError> {
        // 0 is no number of attempts; an engine that is worked on for a century has all others.
        let attempts = u32::try_from(heartbeat % i32::MAX as u64).unwrap_or_default() + 1;
        let policy = RestartPolicy::OnFailure(Some(attempts)).policy();
        let body = ContainerUpdateBody { restart_policy: Some(policy), ..Default::default() };
        match self.with_timeout(self.docker().update_container(id, body)).await {
            Ok(()) => Ok(true),
            Err(error) => {
                let error = EngineError::new(message!("verb-write-object"), message!("object-lock", name = id), error);
                if error.is_not_found() { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Removes the lock; one that is gone already is fine.
    pub(super) async fn remove_lock(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        match self.with_timeout(self.docker().remove_container(id, Some(options))).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = EngineError::new(message!("verb-remove-object"), message!("object-lock", name = id), error);
                // Somebody else is removing it at this moment.
                if error.is_not_found() || error.is_conflict() { Ok(()) } else { Err(error) }
            }
        }
    }
}
