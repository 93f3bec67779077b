//! What an engine call can end in, as meanings instead of status codes.

use bollard::errors::Error as ApiError;

/// The meaning of a failed call (Docker Engine API, "Errors").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// No engine answers at the address, or the connection broke.
    Unreachable,
    /// 404: the object does not exist.
    NotFound,
    /// 409: the name is taken, or the object is in use.
    Conflict,
    /// 400: the engine refuses the request as wrong.
    Refused,
    /// 403: the engine won't do it.
    Forbidden,
    /// No answer within the time that such a call may take.
    TimedOut,
    /// Somebody else is at work on the engine.
    Locked,
    /// Our lock on the engine is gone: no further change may be made.
    LockLost,
    /// Nothing moved in a transfer any more, though the engine answers.
    Stalled,
    /// Anything else that the engine reports, a 500 above all.
    Failed,
}

/// A call to the engine that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("can't {operation} {object}")]
pub struct EngineError {
    kind: EngineErrorKind,
    operation: &'static str,
    object: String,
    #[source]
    cause: Cause,
}

/// What the engine, or the way to it, said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

impl EngineError {
    /// `operation` and `object` finish the sentence "can't …": `start`, `container metis-api`.
    pub(super) fn new(operation: &'static str, object: impl Into<String>, error: ApiError) -> Self {
        let (kind, cause) = meaning(error);
        Self { kind, operation, object: object.into(), cause: Cause(cause) }
    }

    pub(super) fn other(
        kind: EngineErrorKind,
        operation: &'static str,
        object: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        Self { kind, operation, object: object.into(), cause: Cause(cause.into()) }
    }

    /// The same, with a container's name in place of its ID, in the engine's own words too.
    pub fn about(mut self, id: &str, name: &str) -> Self {
        if id.len() >= 12 {
            let named = |text: &str| text.replace(id, name);
            (self.object, self.cause) = (named(&self.object), Cause(named(&self.cause.0)));
        }
        self
    }

    /// Whether the engine's runtime still has what an engine that was killed began for this container: that one never starts
    /// again, and a new one does. There is no code for it; the words are libcontainerd's and containerd's.
    pub fn is_stale_runtime_task(&self) -> bool {
        let words = ["id already in use", ": already exists"];
        self.kind == EngineErrorKind::Failed && words.iter().any(|words| self.cause.0.contains(words))
    }

    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// The engine's own words.
    pub fn cause(&self) -> &str {
        &self.cause.0
    }

    pub fn is_not_found(&self) -> bool {
        self.kind == EngineErrorKind::NotFound
    }

    pub fn is_conflict(&self) -> bool {
        self.kind == EngineErrorKind::Conflict
    }

    /// Whether somebody else may change things on the engine, and this process must not.
    pub fn is_locked_out(&self) -> bool {
        matches!(self.kind, EngineErrorKind::Locked | EngineErrorKind::LockLost)
    }

    pub fn is_unreachable(&self) -> bool {
        self.kind == EngineErrorKind::Unreachable
    }

    pub fn is_stalled(&self) -> bool {
        self.kind == EngineErrorKind::Stalled
    }
}

fn meaning(error: ApiError) -> (EngineErrorKind, String) {
    match error {
        ApiError::DockerResponseServerError { status_code, message } => {
            let kind = match status_code {
                400 => EngineErrorKind::Refused,
                403 => EngineErrorKind::Forbidden,
                404 => EngineErrorKind::NotFound,
                409 => EngineErrorKind::Conflict,
                _ => EngineErrorKind::Failed,
            };
            (kind, format!("the engine answers {status_code}: {}", message.trim()))
        }
        ApiError::RequestTimeoutError => (EngineErrorKind::TimedOut, "no answer in time".to_owned()),
        ApiError::SocketNotFoundError(path) => {
            (EngineErrorKind::Unreachable, format!("there is no socket {}", path.trim_start_matches("unix://")))
        }
        ApiError::DockerStreamError { error } => (EngineErrorKind::Failed, error),
        ApiError::JsonDataError { message, .. } => {
            (EngineErrorKind::Failed, format!("the answer is no JSON that an engine would send: {message}"))
        }
        ApiError::HyperResponseError { .. } | ApiError::HyperLegacyError { .. } | ApiError::IOError { .. } => {
            (EngineErrorKind::Unreachable, innermost(&error))
        }
        other => (EngineErrorKind::Failed, innermost(&other)),
    }
}

/// The deepest cause: hyper wraps "connection refused" three times, and only that tells a reader anything.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
