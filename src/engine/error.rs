//! What an engine call can end in, as meanings instead of status codes.

use std::error::Error as _;
use std::io;

use bollard::errors::Error as ApiError;

use super::address::{Address, AddressError};
use super::words::{self, Meaning};
use crate::catalogue::{one_line, told};
use crate::report::{Message, Told};

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
pub struct EngineError {
    kind: EngineErrorKind,
    /// In a box, since errors of all modules carry this one.
    call: Box<Call>,
    #[source]
    cause: Cause,
}

/// Finishes the sentence "can't …".
#[derive(Debug)]
struct Call {
    operation: Message,
    object: Message,
    /// Whether it went over a network.
    is_over_network: bool,
    /// What the system said, where it was the system that refused.
    system: Option<io::ErrorKind>,
}

/// What the engine, or the way to it, said.
#[derive(Debug, thiserror::Error)]
pub struct Cause(Message);

impl Told for EngineError {
    fn message(&self) -> Message {
        message!("error-engine", operation = self.call.operation, object = self.call.object)
    }

    fn hint(&self) -> Option<Message> {
        match self.kind {
            EngineErrorKind::Unreachable if self.call.is_over_network => Some(message!("hint-unreachable-network")),
            EngineErrorKind::Unreachable => Some(match self.call.system {
                Some(io::ErrorKind::PermissionDenied) => message!("hint-socket-permission"),
                Some(io::ErrorKind::ConnectionRefused) => message!("hint-engine-down"),
                _ => message!("hint-unreachable"),
            }),
            EngineErrorKind::Locked => Some(message!("hint-locked-engine")),
            EngineErrorKind::LockLost => Some(message!("hint-lock-lost")),
            EngineErrorKind::Stalled => Some(message!("hint-stalled")),
            EngineErrorKind::TimedOut => Some(message!("hint-no-answer")),
            _ => None,
        }
    }
}

impl Told for Cause {
    fn message(&self) -> Message {
        self.0.clone()
    }
}

impl EngineError {
    /// `operation` and `object` finish the sentence "can't …": `start`, `container metis-api`.
    pub(super) fn new(operation: Message, object: Message, error: ApiError) -> Self {
        let system = system_error(&error);
        let (kind, cause) = meaning(error);
        let mut error = Self::other(kind, operation, object, cause);
        error.call.system = system;
        error
    }

    pub(super) fn other(kind: EngineErrorKind, operation: Message, object: Message, cause: Message) -> Self {
        let call = Box::new(Call { operation, object, is_over_network: false, system: None });
        Self { kind, call, cause: Cause(cause) }
    }

    /// The same as one of an engine that can't be reached.
    pub(super) fn unreachable(mut self) -> Self {
        self.kind = EngineErrorKind::Unreachable;
        self
    }

    /// The same, of an engine at this address.
    pub(super) fn at(mut self, address: &Address) -> Self {
        self.call.is_over_network = !address.is_local();
        self
    }

    /// The same, with a container's name in place of its ID, in the engine's own words too.
    pub fn about(mut self, id: &str, name: &str) -> Self {
        if id.len() >= 12 {
            let named = &|text: &str| text.replace(id, name);
            self.call.object.change_texts(named);
            self.cause.0.change_texts(named);
        }
        self
    }

    /// Whether the engine's runtime still has what an engine that was killed began for this container: that one never starts
    /// again, and a new one does.
    pub fn is_stale_runtime_task(&self) -> bool {
        self.says(Meaning::StaleRuntimeTask)
    }

    /// Whether an image is just being removed: its layers go before its name.
    pub fn is_layer_gone(&self) -> bool {
        self.says(Meaning::LayerGone)
    }

    /// Whether the engine's own disk is full.
    pub fn is_disk_full(&self) -> bool {
        self.says(Meaning::DiskFull)
    }

    /// Whether its words mean this; there is no code for it.
    fn says(&self, meaning: Meaning) -> bool {
        words::say(meaning, self.kind, &self.cause.to_string())
    }

    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// The engine's own words, or what we say of its silence.
    pub fn cause(&self) -> &Message {
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

fn meaning(error: ApiError) -> (EngineErrorKind, Message) {
    match error {
        ApiError::DockerResponseServerError { status_code, message } => {
            let kind = match status_code {
                400 => EngineErrorKind::Refused,
                403 => EngineErrorKind::Forbidden,
                404 => EngineErrorKind::NotFound,
                409 => EngineErrorKind::Conflict,
                _ => EngineErrorKind::Failed,
            };
            (kind, message!("engine-answers", code = status_code, words = message.trim()))
        }
        ApiError::RequestTimeoutError => (EngineErrorKind::TimedOut, message!("engine-no-answer")),
        ApiError::SocketNotFoundError(path) => {
            (EngineErrorKind::Unreachable, message!("engine-no-socket", path = path.trim_start_matches("unix://")))
        }
        ApiError::DockerStreamError { error } => (EngineErrorKind::Failed, message!("words", text = error)),
        ApiError::JsonDataError { message, .. } => (EngineErrorKind::Failed, message!("engine-no-json", why = message)),
        ApiError::HyperResponseError { .. } | ApiError::HyperLegacyError { .. } | ApiError::IOError { .. } => {
            (EngineErrorKind::Unreachable, innermost(&error))
        }
        other => (EngineErrorKind::Failed, innermost(&other)),
    }
}

/// What kind of error of the system is the deepest cause, if one is.
fn system_error(error: &ApiError) -> Option<io::ErrorKind> {
    // This one shows no cause but that of its own.
    if let ApiError::IOError { err } = error {
        return Some(err.kind());
    }
    let (mut cause, mut deepest) = (error.source(), None);
    while let Some(error) = cause {
        deepest = error.downcast_ref::<io::Error>().map(io::Error::kind).or(deepest);
        cause = error.source();
    }
    deepest
}

/// The deepest cause: hyper wraps "connection refused" three times, and only that tells a reader anything.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> Message {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    one_line(deepest, |_| None)
}

told!(EngineError, Cause, AddressError; crate::fs::as_told);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::engine::Engine;

    #[tokio::test]
    async fn a_socket_without_an_engine_behind_it_says_how_to_look_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        drop(UnixListener::bind(&path).unwrap());
        let address = Address::resolve(Some(&format!("unix://{}", path.display()))).unwrap();
        let Err(error) = Engine::connect(address).await else { panic!("nobody listens there") };
        assert!(error.is_unreachable(), "{error}");
        assert_eq!(error.hint().map(|hint| hint.key), Some("hint-engine-down"), "{error:?}");
    }

    #[test]
    fn who_may_not_use_the_socket_is_told_how_to_get_the_right() {
        let refused = ApiError::IOError { err: io::ErrorKind::PermissionDenied.into() };
        let error = EngineError::new(message!("verb-reach"), message!("object-work"), refused);
        assert_eq!(error.hint().map(|hint| hint.key), Some("hint-socket-permission"));
    }
}
