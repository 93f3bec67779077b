//! Why a container that was started does not count as ready, and how one ended.

use std::time::Duration;

use crate::engine::EngineError;
use crate::report::{Message, Told};

/// Why a container does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    Ended {
        container: String,
        exit: Exit,
    },
    RestartLoop {
        container: String,
        restarts: u64,
        exit: Exit,
    },
    Unhealthy {
        container: String,
    },
    TimedOut {
        container: String,
        waited: Duration,
        last: Message,
    },
    Gone {
        container: String,
    },
    Pattern {
        pattern: String,
        source: regex::Error,
    },
    OutOfReach {
        container: String,
    },
    Interrupted {
        container: String,
    },
    /// Not transparent: a search for the engine's error among the causes must find it.
    Engine(#[from] EngineError),
}

impl Told for NotReady {
    fn message(&self) -> Message {
        match self {
            Self::Ended { container, exit } => {
                message!("not-ready-ended", container = container, exit = exit.message())
            }
            Self::RestartLoop { container, restarts, exit } => {
                message!("not-ready-restart-loop", container = container, restarts = restarts, exit = exit.message())
            }
            Self::Unhealthy { container } => message!("not-ready-unhealthy", container = container),
            Self::TimedOut { container, waited, last } => {
                message!("not-ready-timed-out", container = container, waited = waited.as_secs(), last = last)
            }
            Self::Gone { container } => message!("not-ready-gone", container = container),
            Self::Pattern { pattern, .. } => message!("not-ready-pattern", pattern = pattern),
            Self::OutOfReach { container } => message!("not-ready-out-of-reach", container = container),
            Self::Interrupted { container } => message!("not-ready-interrupted", container = container),
            Self::Engine(error) => error.message(),
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    pub out_of_memory: bool,
}

impl Told for Exit {
    fn message(&self) -> Message {
        let signal = match self.code - 128 {
            2 => "SIGINT",
            3 => "SIGQUIT",
            4 => "SIGILL",
            6 => "SIGABRT",
            7 => "SIGBUS",
            8 => "SIGFPE",
            9 => "SIGKILL",
            11 => "SIGSEGV",
            13 => "SIGPIPE",
            15 => "SIGTERM",
            _ => "",
        };
        match (signal, self.out_of_memory) {
            ("", false) => message!("exit-code", code = self.code),
            ("", true) => message!("exit-code-memory", code = self.code),
            (signal, false) => message!("exit-signal", code = self.code, signal = signal),
            (signal, true) => message!("exit-signal-memory", code = self.code, signal = signal),
        }
    }
}
