//! Containers that live no longer than the process that uses them.

use std::pin::Pin;
use std::sync::Mutex;

use bollard::query_parameters::AttachContainerOptionsBuilder;
use tokio::io::AsyncWrite;

use crate::engine::client::Engine;
use crate::engine::error::EngineError;

/// The held standard input of a container that was created with `stdin_open` and `stdin_once`: when it is dropped,
/// or this process is killed, the engine ends the container's input (`POST /containers/{id}/attach`). A container
/// whose command is `cat` then ends, and with it everything that runs inside.
pub struct ContainerHold {
    /// Never locked: only so that holds can be shared between threads.
    _input: Mutex<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl Engine {
    /// Takes hold of a created container's input; to be called before it is started.
    pub async fn hold_container(&self, container: &str) -> Result<ContainerHold, EngineError> {
        let options = AttachContainerOptionsBuilder::default().stream(true).stdin(true).build();
        let attached =
            self.with_timeout(self.docker().attach_container(container, Some(options))).await.map_err(|error| {
                EngineError::new(message!("verb-attach"), message!("object-container", name = container), error)
            })?;
        Ok(ContainerHold { _input: Mutex::new(attached.input) })
    }
}

impl std::fmt::Debug for ContainerHold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ContainerHold")
    }
}
