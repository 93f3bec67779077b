//! A container's log.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::{Stream, StreamExt};

use crate::engine::client::Engine;
use crate::engine::error::EngineError;
use crate::engine::limits::timeouts::end_when_silent;

/// Which of a container's two streams a line came from; a container with a terminal has only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    Stdout,
    Stderr,
}

/// A chunk of a log, without a promise that it is a whole line; its timestamp leads it when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub source: LogSource,
    pub text: String,
    /// Whether a line ends here; the engine cuts long ones, and a terminal's stream is cut anywhere.
    pub ends_line: bool,
}

/// Which part of a log is wanted (`GET /containers/{id}/logs`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    pub follow: bool,
    /// Lines from the end; all where `None`.
    pub tail: Option<u64>,
    /// Unix seconds.
    pub since: Option<i64>,
    /// Unix seconds.
    pub until: Option<i64>,
    pub timestamps: bool,
}

impl Engine {
    /// The log's lines, oldest first; endless with `follow`.
    pub fn logs(
        &self,
        container: &str,
        query: &LogQuery,
    ) -> impl Stream<Item = Result<LogLine, EngineError>> + Send + use<> {
        let tail = query.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let mut options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(query.follow)
            .timestamps(query.timestamps)
            .tail(&tail);
        if let Some(since) = query.since {
            options = options.since(since.clamp(0, i32::MAX.into()) as i32);
        }
        if let Some(until) = query.until {
            options = options.until(until.clamp(0, i32::MAX.into()) as i32);
        }
        let object = message!("object-log", name = container);
        // Following waits for as long as nothing is written.
        let limit = if query.follow { Duration::MAX } else { self.stall_limits().moving };
        end_when_silent(limit, self.docker().logs(container, Some(options.build()))).map(move |chunk| match chunk {
            Ok(LogOutput::StdErr { message }) => Ok(line(LogSource::Stderr, &message)),
            Ok(LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message }) => {
                Ok(line(LogSource::Stdout, &message))
            }
            Err(error) => Err(EngineError::new(message!("verb-read-object"), object.clone(), error)),
        })
    }
}

fn line(source: LogSource, bytes: &[u8]) -> LogLine {
    LogLine {
        source,
        text: String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']).to_owned(),
        ends_line: bytes.ends_with(b"\n"),
    }
}
