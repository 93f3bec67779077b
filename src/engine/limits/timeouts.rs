//! How long an ordinary call may take: everything but the transfers of images, which a watchdog follows.
//!
//! The client's own limit ends with the head of an answer. An engine, or a proxy before it, that falls silent after that
//! would hold a command for ever.

use std::future::Future;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use futures::{Stream, StreamExt};

use crate::catalogue::io_error;
use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};
use crate::report::Message;

/// How long an ordinary call may take, until its answer is whole.
pub(in crate::engine) const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// What is said of an engine that leaves several questions unanswered.
pub(in crate::engine) const SILENT: Message = message!("engine-silent");

impl Engine {
    /// The answer to an ordinary call.
    pub(in crate::engine) async fn with_timeout<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        within(self.call_limit(), call).await
    }

    /// The answer to a call that waits for a container, which may take `more` than others. Whether the engine is still
    /// there is asked meanwhile.
    pub(in crate::engine) async fn with_long_timeout<T, C>(
        &self,
        more: Duration,
        call: impl FnOnce(Docker) -> C,
    ) -> Result<T, Error>
    where
        C: Future<Output = Result<T, Error>>,
    {
        let limit = self.call_limit() + more;
        let docker = self.docker().clone().with_timeout(limit);
        tokio::select! {
            answer = within(limit, call(docker)) => answer,
            () = self.stops_answering() => Err(io_error(std::io::ErrorKind::Other, SILENT).into()),
        }
    }
}

/// A stream that gives an error, and ends, when nothing comes for so long.
pub(in crate::engine) fn end_when_silent<T>(
    limit: Duration,
    stream: impl Stream<Item = Result<T, Error>>,
) -> impl Stream<Item = Result<T, Error>> {
    futures::stream::unfold(Some(Box::pin(stream)), move |stream| async move {
        let mut stream = stream?;
        match within(limit, async { stream.next().await.transpose() }).await {
            Ok(piece) => Some((Ok(piece?), Some(stream))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .fuse()
}

/// A stream that may be silent for as long as the engine answers other calls; the second parameter is the
/// operation and its object, for the error.
pub(in crate::engine) fn while_engine_answers<T: Send>(
    engine: Engine,
    (operation, object): (Message, Message),
    stream: impl Stream<Item = Result<T, EngineError>> + Send,
) -> impl Stream<Item = Result<T, EngineError>> + Send {
    futures::stream::unfold(Some(Box::pin(stream)), move |stream| {
        let (engine, operation, object) = (engine.clone(), operation.clone(), object.clone());
        async move {
            let mut stream = stream?;
            tokio::select! {
                piece = stream.next() => Some((piece?, Some(stream))),
                () = engine.stops_answering() => {
                    let kind = EngineErrorKind::Unreachable;
                    let error = EngineError::other(kind, operation, object, SILENT);
                    Some((Err(error), None))
                }
            }
        }
    })
    // Who asks once more after the end, to learn what a program has said, gets the end again.
    .fuse()
}

/// What comes of a call that may take so long.
pub(in crate::engine) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    // In a box: what waits for a call is inside of many others, and each would hold it in full.
    tokio::time::timeout(limit, Box::pin(call)).await.unwrap_or(Err(Error::RequestTimeoutError))
}
