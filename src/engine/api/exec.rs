//! Commands inside running containers.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};
use crate::engine::limits::timeouts::while_engine_answers;
use crate::report::Message;

/// A command to run in a container (`POST /containers/{id}/exec`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    pub command: Vec<String>,
    /// `NAME=value`. Shown by `docker inspect` while the exec lives: no secrets.
    pub environment: Vec<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// Whether the command reads standard input.
    pub stdin: bool,
    pub tty: bool,
    /// The terminal's first size, where `tty`.
    pub size: Option<TerminalSize>,
}

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub columns: u16,
    pub rows: u16,
}

/// How an exchange with a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecEnd {
    /// Its exit code.
    Exited(i64),
    /// The receiver of the output stopped reading; the command may still run.
    Abandoned,
}

/// Three keys that hardly anyone types, in the place of the engine's Ctrl-P Ctrl-Q, which would hold every Ctrl-P back:
/// nobody leaves a command of ours running by a key.
const DETACH_KEYS: &str = "ctrl-^,ctrl-^,ctrl-]";

/// A chunk that a command wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// A running command: its output, its input, and its exit code once the output has ended.
pub struct ExecSession {
    engine: Engine,
    id: String,
    object: Message,
    pub output: Pin<Box<dyn Stream<Item = Result<ExecOutput, EngineError>> + Send>>,
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl Engine {
    /// Starts a command in a running container.
    pub async fn start_exec(&self, container: &str, spec: &ExecSpec) -> Result<ExecSession, EngineError> {
        self.ensure_locked().await?;
        let program = spec.command.first().map(String::as_str).unwrap_or_default();
        let object = message!("object-program-in", program = program, name = container);
        let output_of = message!("object-output-of", program = program, name = container);
        let fail = |error| EngineError::new(message!("verb-run"), object.clone(), error);
        let config = ExecConfig {
            attach_stdin: Some(spec.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(spec.tty),
            detach_keys: spec.tty.then(|| DETACH_KEYS.to_owned()),
            // Engines before API 1.42 don't know it, and get the size once the command runs.
            console_size: spec.size.filter(|_| spec.tty).map(|size| vec![size.rows.into(), size.columns.into()]),
            env: (!spec.environment.is_empty()).then(|| spec.environment.clone()),
            cmd: Some(spec.command.clone()),
            user: spec.user.clone(),
            working_dir: spec.working_dir.clone(),
            ..Default::default()
        };
        let created = self.with_timeout(self.docker().create_exec(container, config)).await.map_err(fail)?;
        if spec.tty {
            // bollard looks for frames even in a terminal's stream, which has none: a byte of 0 to 2 would be taken for
            // the head of one.
            let body = serde_json::json!({ "Detach": false, "Tty": true });
            let path = format!("/exec/{}/start", created.id);
            let (output, input) = self.transport().hijack(&path, &body).await.map_err(fail)?;
            let context = output_of.clone();
            let output = output.map(move |chunk| match chunk {
                Ok(bytes) => Ok(ExecOutput::Stdout(bytes)),
                Err(error) => Err(EngineError::new(message!("verb-read-object"), context.clone(), error)),
            });
            let output =
                Box::pin(while_engine_answers(self.clone(), (message!("verb-read-object"), output_of.clone()), output));
            return Ok(ExecSession { engine: self.clone(), id: created.id, object, output, input: Box::pin(input) });
        }
        let options = StartExecOptions { detach: false, tty: false, output_capacity: Some(1 << 20) };
        let started = self.with_timeout(self.docker().start_exec(&created.id, Some(options))).await.map_err(fail)?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(EngineError::other(
                EngineErrorKind::Failed,
                message!("verb-run"),
                object,
                message!("engine-not-attached"),
            ));
        };
        let context = output_of.clone();
        let output = output.map(move |chunk| match chunk {
            Ok(LogOutput::StdOut { message }) => Ok(ExecOutput::Stdout(message)),
            Ok(LogOutput::StdErr { message }) => Ok(ExecOutput::Stderr(message)),
            // A frame of an unknown kind: in a binary stream the bytes behind it can't be trusted.
            Ok(_) => Err(EngineError::other(
                EngineErrorKind::Failed,
                message!("verb-read-object"),
                context.clone(),
                message!("engine-stream-damaged"),
            )),
            Err(error) => Err(EngineError::new(message!("verb-read-object"), context.clone(), error)),
        });
        let output =
            Box::pin(while_engine_answers(self.clone(), (message!("verb-read-object"), output_of.clone()), output));
        Ok(ExecSession { engine: self.clone(), id: created.id, object, output, input })
    }

    /// Runs a command in exchange with somebody: what `input` gives is its standard input, which ends with it; each of
    /// `resizes` is its terminal's new size; `output` takes what it writes, and may break off.
    pub async fn exec_interactive(
        &self,
        container: &str,
        spec: &ExecSpec,
        input: impl Stream<Item = Bytes>,
        resizes: impl Stream<Item = TerminalSize>,
        mut output: impl FnMut(ExecOutput) -> ControlFlow<()>,
    ) -> Result<ExecEnd, EngineError> {
        let mut session = self.start_exec(container, spec).await?;
        let (id, size) = (session.id.clone(), spec.size.filter(|_| spec.tty));
        let ExecSession { output: chunks, input: stdin, .. } = &mut session;
        let feed = async {
            let mut input = std::pin::pin!(input);
            while let Some(bytes) = input.next().await {
                // A command that ends before it has read everything is judged by its exit code, not by the pipe.
                if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
                    break;
                }
            }
            let _ = stdin.shutdown().await;
            std::future::pending::<()>().await
        };
        let resize = async {
            if let Some(size) = size {
                self.resize_exec(&id, size).await;
            }
            let mut resizes = std::pin::pin!(resizes);
            while let Some(size) = resizes.next().await {
                self.resize_exec(&id, size).await;
            }
            std::future::pending::<()>().await
        };
        let drain = async {
            while let Some(chunk) = chunks.next().await {
                if output(chunk?).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok::<_, EngineError>(ControlFlow::Continue(()))
        };
        let drained = tokio::select! {
            drained = drain => drained?,
            () = feed => unreachable!("it waits for ever once the input has ended"),
            () = resize => unreachable!("it waits for ever once there are no sizes any more"),
        };
        match drained {
            ControlFlow::Break(()) => Ok(ExecEnd::Abandoned),
            ControlFlow::Continue(()) => Ok(ExecEnd::Exited(session.exit_code().await?)),
        }
    }

    /// A size that can't be set is no reason to end anything. The engine knows an exec a moment before its terminal is
    /// there, so that the first tries may be too
    /// early; on a busy host that moment is long.
    async fn resize_exec(&self, id: &str, size: TerminalSize) {
        for _ in 0..100 {
            let options = ResizeExecOptions { height: size.rows, width: size.columns };
            if self.with_timeout(self.docker().resize_exec(id, options)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a command to its end with `input` as its standard input, and collects what it writes.
    pub async fn exec(&self, container: &str, spec: &ExecSpec, input: &[u8]) -> Result<ExecResult, EngineError> {
        let spec = ExecSpec { stdin: spec.stdin || !input.is_empty(), ..spec.clone() };
        let mut session = self.start_exec(container, &spec).await?;
        let mut result = ExecResult::default();
        let ExecSession { output, input: stdin, .. } = &mut session;
        let feed = async {
            // A command that ends before it has read everything is judged by its exit code, not by the pipe.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
            std::future::pending::<()>().await
        };
        let drain = async {
            while let Some(chunk) = output.next().await {
                match chunk? {
                    ExecOutput::Stdout(bytes) => result.stdout.extend_from_slice(&bytes),
                    ExecOutput::Stderr(bytes) => result.stderr.extend_from_slice(&bytes),
                }
            }
            Ok::<(), EngineError>(())
        };
        // The output's end is the command's, whether or not it has read its input; an engine that takes nothing any more
        // is noticed there too.
        tokio::select! {
            drained = drain => drained?,
            () = feed => unreachable!("it waits for ever once the input has ended"),
        }
        result.exit_code = session.exit_code().await?;
        Ok(result)
    }
}

/// What a command left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    pub exit_code: i64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl ExecSession {
    /// The command's exit code; to be asked once its output has ended.
    pub fn exit_code(&self) -> impl Future<Output = Result<i64, EngineError>> + Send + use<> {
        // The session's streams can't be shared between threads; the future holds none of them.
        exit_code(self.engine.clone(), self.id.clone(), self.object.clone())
    }

    /// Ends standard input. Dropping the writer is not enough: the command would wait for ever.
    pub async fn close_input(&mut self) -> std::io::Result<()> {
        self.input.shutdown().await
    }
}

async fn exit_code(engine: Engine, id: String, object: Message) -> Result<i64, EngineError> {
    // The output can end a moment before the engine notes the exit.
    for _ in 0..200 {
        let exec = engine
            .with_timeout(engine.docker().inspect_exec(&id))
            .await
            .map_err(|error| EngineError::new(message!("verb-inspect"), object.clone(), error))?;
        if let (Some(false), Some(code)) = (exec.running, exec.exit_code) {
            return Ok(code);
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    Err(EngineError::other(
        EngineErrorKind::TimedOut,
        message!("verb-exit-code-of"),
        object,
        message!("engine-still-running"),
    ))
}
