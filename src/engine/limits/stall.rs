//! Notices transfers in which nothing moves any more.
//!
//! Only silence counts, never how long a transfer takes: an export of an hour is fine as long as bytes come. While the
//! engine works by itself (it spools an export before the first byte, and applies a load's layers after the last one)
//! silence is ordinary, so that it may last longer then, and the engine is asked meanwhile whether it is still there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};
use crate::engine::limits::timeouts::SILENT;
use crate::report::Message;

/// How long nothing may move in a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StallLimits {
    /// While the engine works by itself. Spooling and applying a layer of many gigabytes on a slow disk takes minutes.
    pub working: Duration,
    /// Between two pieces of a stream that has begun.
    pub moving: Duration,
}

impl Default for StallLimits {
    fn default() -> Self {
        Self::of(Duration::from_secs(15 * 60))
    }
}

impl StallLimits {
    const MOVING: Duration = Duration::from_secs(5 * 60);

    /// `limit` while the engine works by itself, and 5 minutes at most between two pieces.
    pub fn of(limit: Duration) -> Self {
        Self { working: limit, moving: limit.min(Self::MOVING) }
    }
}

/// Whose turn it is in a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Turn {
    /// The engine works by itself.
    Working,
    /// A piece is expected from the engine, or given to it.
    Moving,
    /// The engine waits for us: no silence of its own.
    Ours,
}

/// Watches one transfer.
pub(in crate::engine) struct Watchdog {
    engine: Engine,
    operation: Message,
    object: Message,
    state: Mutex<(Turn, Instant)>,
}

/// The engine is asked this often at least while nothing moves, and has so long to answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(20);
/// So many questions without an answer, one after the other, mean that nobody is there.
const UNANSWERED: u32 = 3;

impl Engine {
    /// Resolves when the engine answers nothing any more.
    pub(in crate::engine) async fn stops_answering(&self) {
        let interval = probe_interval(self.stall_limits());
        let mut unanswered = 0;
        while unanswered < UNANSWERED {
            sleep_until(Instant::now() + interval).await;
            unanswered = if self.is_there(interval).await { 0 } else { unanswered + 1 };
        }
    }

    /// Whether the engine is there, though a transfer broke off.
    pub(in crate::engine) async fn answers(&self) -> bool {
        self.is_there(probe_interval(self.stall_limits())).await
    }

    /// Whether the engine answers a question within so long; another answer than a good one is an answer.
    async fn is_there(&self, within: Duration) -> bool {
        match timeout(within, self.ping()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => !error.is_unreachable(),
            Err(_) => false,
        }
    }
}

fn probe_interval(limits: StallLimits) -> Duration {
    PROBE_INTERVAL.min(limits.moving / 4).max(Duration::from_millis(10))
}

impl Watchdog {
    pub fn new(engine: &Engine, operation: Message, object: Message) -> Self {
        let state = Mutex::new((Turn::Working, Instant::now()));
        Self { engine: engine.clone(), operation, object, state }
    }

    fn state(&self) -> MutexGuard<'_, (Turn, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something moved; what comes next is `turn`.
    pub fn moved(&self, turn: Turn) {
        *self.state() = (turn, Instant::now());
    }

    /// The silence starts over: something moved that changes nobody's turn, or a pause of our own has ended.
    pub fn restart_silence(&self) {
        self.state().1 = Instant::now();
    }

    /// Resolves when nothing moves any more, with what to say of it.
    pub async fn stalled(&self) -> EngineError {
        let limits = self.engine.stall_limits();
        let interval = probe_interval(limits);
        let mut unanswered = 0;
        loop {
            sleep_until(Instant::now() + interval).await;
            let (turn, since) = *self.state();
            let limit = match turn {
                Turn::Working => limits.working,
                Turn::Moving => limits.moving,
                Turn::Ours => continue,
            };
            let silence = since.elapsed();
            if silence < interval {
                unanswered = 0;
                continue;
            }
            unanswered = if self.engine.is_there(interval).await { 0 } else { unanswered + 1 };
            if unanswered >= UNANSWERED {
                return self.error(EngineErrorKind::Unreachable, SILENT);
            }
            if silence >= limit {
                let cause = match turn {
                    Turn::Working => message!("engine-stalled-working", seconds = silence.as_secs()),
                    _ => message!("engine-stalled-moving", seconds = silence.as_secs()),
                };
                return self.error(EngineErrorKind::Stalled, cause);
            }
        }
    }

    fn error(&self, kind: EngineErrorKind, cause: Message) -> EngineError {
        EngineError::other(kind, self.operation.clone(), self.object.clone(), cause)
    }
}
