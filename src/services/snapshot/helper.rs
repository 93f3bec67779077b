//! Throw-away containers, from images that are there: to look at the engine's host, and to try ports from inside a
//! container's network.
//!
//! Most are never started. One that runs waits for the end of its input, which is the end of this process, and removes
//! itself then; what a killed run leaves all the same carries [`labels::PROBE`], and goes with the next helper.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use tokio::sync::OnceCell;

use crate::engine::{
    ContainerHold, ContainerSpec, Engine, EngineError, EngineErrorKind, ExecResult, ExecSpec, HealthSpec, LogSpec,
    PublishedPort,
};
use crate::failpoint;
use crate::services::container::labels;

/// Waits for the end of its input, with nothing but what a shell has built in.
const WAIT: &str = "while read -r line; do :; done";

/// Makes throw-away containers for one project.
pub(in crate::services) struct Helpers<'a> {
    pub engine: &'a Engine,
    project: String,
    /// Images to make them of, the most fitting first.
    images: Vec<String>,
    swept: OnceCell<()>,
}

/// One that runs.
pub(in crate::services) struct Running<'a> {
    engine: &'a Engine,
    id: String,
    // Its stream can't be shared between threads as it is.
    _hold: Mutex<ContainerHold>,
}

impl<'a> Helpers<'a> {
    pub fn new(engine: &'a Engine, project: &str, images: &[String]) -> Self {
        Self { engine, project: project.to_owned(), images: images.to_vec(), swept: OnceCell::new() }
    }

    /// The same of one image alone. What killed runs have left, the others take away.
    pub fn of_image(&self, image: &str) -> Self {
        Self::new(self.engine, &self.project, &[image.to_owned()])
    }

    pub fn images(&self) -> &[String] {
        &self.images
    }

    /// Of `image`, without a network, to be changed; it would do nothing.
    pub fn spec(&self, image: &str) -> ContainerSpec {
        ContainerSpec {
            name: format!("{}.dpl-helper-{}", self.project, token()),
            image: image.to_owned(),
            entrypoint: Some(["/bin/sh", "-c", WAIT].map(str::to_owned).into()),
            command: Some(Vec::new()),
            working_dir: Some("/".to_owned()),
            labels: BTreeMap::from([
                (labels::PROBE.to_owned(), self.project.clone()),
                (labels::PROBE_RUN.to_owned(), this_run().to_owned()),
            ]),
            network_mode: Some("none".to_owned()),
            health: Some(HealthSpec { test: vec!["NONE".to_owned()], ..HealthSpec::default() }),
            logging: Some(LogSpec { driver: "none".to_owned(), options: BTreeMap::new() }),
            read_only: true,
            security_opt: vec!["no-new-privileges".to_owned(), "label=disable".to_owned()],
            ..ContainerSpec::default()
        }
    }

    /// Creates one; the caller has to discard it.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.swept.get_or_try_init(|| self.sweep()).await?;
        failpoint!("services.helper.before-create");
        let id = self.engine.create_container(spec).await?;
        failpoint!("services.helper.after-create");
        Ok(id)
    }

    /// Removes what killed runs have left: under the project's lock only. A command that looks has none, and what it
    /// took for left over would be in use by the one that has it.
    async fn sweep(&self) -> Result<(), EngineError> {
        if !self.engine.holds_lock() {
            return Ok(());
        }
        let is_left = |labels: &BTreeMap<String, String>| {
            labels.get(labels::PROBE) == Some(&self.project)
                && labels.get(labels::PROBE_RUN).is_none_or(|run| run != this_run())
        };
        for left in self.engine.list_container_summaries().await?.iter().filter(|other| is_left(&other.labels)) {
            self.engine.discard_container(&left.id).await?;
        }
        Ok(())
    }

    /// Whether a container can publish a port, tried with one that never comes to run: the engine publishes before it
    /// looks for the program. `None` where there is no answer.
    pub async fn publishes_a_port(&self, image: &str) -> Result<Option<bool>, EngineError> {
        let mut spec = self.spec(image);
        spec.entrypoint = Some(vec!["/dpl-port-probe/no-such-program".to_owned()]);
        spec.network_mode = None;
        spec.ports = vec![PublishedPort {
            container_port: 1,
            protocol: "tcp".to_owned(),
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: None,
            host_port_until: None,
        }];
        let id = self.create(&spec).await?;
        let started = self.engine.start_container(&id).await;
        let is_gone = self.engine.inspect_container(&id).await?.is_none();
        self.engine.discard_container(&id).await?;
        Ok(match started {
            Ok(()) => Some(true),
            Err(error) => match error.kind() {
                EngineErrorKind::Refused | EngineErrorKind::NotFound => (!is_gone).then_some(true),
                EngineErrorKind::Failed => Some(false),
                _ => None,
            },
        })
    }

    /// Starts one in a network, of the first image in which `needs`, a line of shell, succeeds; `None` where no image
    /// has what it takes.
    pub async fn start(&self, network_mode: &str, needs: &str) -> Result<Option<Running<'a>>, EngineError> {
        for image in &self.images {
            let mut spec = self.spec(image);
            spec.network_mode = Some(network_mode.to_owned());
            spec.user = Some("65534:65534".to_owned());
            spec.cap_drop = vec!["ALL".to_owned()];
            spec.stdin_open = true;
            spec.stdin_once = true;
            spec.auto_remove = true;
            let id = match self.create(&spec).await {
                Ok(id) => id,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            match self.run(&id, needs).await {
                Ok(Some(running)) => return Ok(Some(running)),
                Ok(None) => self.engine.discard_container(&id).await?,
                Err(error) => {
                    // The first error is the one to tell; what stays is found by its label.
                    let _ = self.engine.discard_container(&id).await;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    async fn run(&self, id: &str, needs: &str) -> Result<Option<Running<'a>>, EngineError> {
        let hold = self.engine.hold_container(id).await?;
        match self.engine.start_container(id).await {
            Ok(()) => {}
            // An image without a shell.
            Err(error) if is_of_the_image(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let running = Running { engine: self.engine, id: id.to_owned(), _hold: Mutex::new(hold) };
        let tried = running.shell(needs, &[]).await;
        match tried {
            Ok(result) => Ok((result.exit_code == 0).then_some(running)),
            Err(error) if is_of_the_image(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Hard to guess, and never twice the same.
fn token() -> String {
    format!("{:016x}", std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0))
}

/// Tells this process's helpers from those that another one has left.
fn this_run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(token)
}

/// Whether a start or an exec failed because of what the image has not.
fn is_of_the_image(error: &EngineError) -> bool {
    use EngineErrorKind::{Conflict, Failed, NotFound, Refused};
    matches!(error.kind(), Refused | NotFound | Conflict | Failed)
}

impl Running<'_> {
    /// Runs a script with arguments (`$1`, …) in it.
    pub async fn shell(&self, script: &str, arguments: &[&str]) -> Result<ExecResult, EngineError> {
        let mut command: Vec<String> = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).into();
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self.engine.exec(&self.id, &ExecSpec { command, ..ExecSpec::default() }, b"").await
    }

    /// Ends it at once; it removes itself when it ends, so that it is gone already, or going, is fine.
    pub async fn end(self) {
        let _ = self.engine.discard_container(&self.id).await;
    }
}
