//! What happens when the engine goes away in the middle of an action: it is restarted, or the connection is lost. Whoever
//! called it waits for it to come back, looks, and goes on.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::engine::{Engine, EngineError, EngineErrorKind};
use crate::report::Reporter;

const PAUSE: Duration = Duration::from_millis(100);

/// So many lost connections to an engine that answers when it is asked: one restart, that was over quickly, costs all who
/// are at work at once theirs. More than that is no restart.
const LOST: u32 = 32;

/// The patience of one action.
pub struct OutageWait<'a> {
    engine: &'a Engine,
    reporter: &'a Reporter,
    was_away: AtomicBool,
    is_at_an_end: AtomicBool,
    /// Connections that were lost since the engine was last seen to be away.
    lost: AtomicU32,
    /// One waits for all.
    gate: Mutex<()>,
}

impl<'a> OutageWait<'a> {
    pub fn new(engine: &'a Engine, reporter: &'a Reporter) -> Self {
        let (was_away, is_at_an_end) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { engine, reporter, was_away, is_at_an_end, lost: AtomicU32::new(0), gate: Mutex::new(()) }
    }

    /// Whether the engine was away at some time of the action.
    pub fn was_away(&self) -> bool {
        self.was_away.load(Ordering::SeqCst)
    }

    /// Calls, and calls again when the engine is back. What is called must be fine when it is so already.
    pub async fn call<T, F: Future<Output = Result<T, EngineError>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, EngineError> {
        loop {
            match call().await {
                Err(error) if self.outlasts(&error).await => {}
                result => return result,
            }
        }
    }

    /// Whether the error only says that the engine was away, and it is back now. Waits for it; not for ever, and not
    /// when the operator asks for an end.
    pub async fn outlasts(&self, error: &EngineError) -> bool {
        let is_lost = match error.kind() {
            EngineErrorKind::Unreachable => true,
            // An engine that is going down fails what it has in hand before it falls silent.
            EngineErrorKind::Failed => self.engine.ping().await.is_err_and(|error| error.is_unreachable()),
            _ => false,
        };
        if !is_lost || self.is_at_an_end.load(Ordering::SeqCst) {
            return false;
        }
        let _gate = self.gate.lock().await;
        self.was_away.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + self.engine.patience();
        let mut was_said = false;
        while self.engine.ping().await.is_err() {
            if Instant::now() >= deadline || self.reporter.asked_to_stop() {
                self.is_at_an_end.store(true, Ordering::SeqCst);
                return false;
            }
            if !was_said {
                self.reporter.notice(message!("services-engine-away", engine = self.engine.address()));
                was_said = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if was_said {
            self.lost.store(0, Ordering::SeqCst);
            self.reporter.notice(message!("services-engine-back"));
            return true;
        }
        if self.lost.fetch_add(1, Ordering::SeqCst) >= LOST {
            self.is_at_an_end.store(true, Ordering::SeqCst);
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}
