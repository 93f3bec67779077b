//! The stages of a save, a load or an import in the log (`DPL_LOG=debug`): what begins, what came of it, how long it took.

use std::fmt;
use std::time::Instant;

/// A stage that is under way.
pub(in crate::images) struct Stage {
    name: &'static str,
    begun: Instant,
    has_ended: bool,
}

impl Stage {
    pub fn begin(name: &'static str, about: impl fmt::Display) -> Self {
        tracing::debug!(target: "dpl::images", "{name}: {about}");
        Self { name, begun: Instant::now(), has_ended: false }
    }

    pub fn end(mut self, outcome: impl fmt::Display) {
        self.has_ended = true;
        let (name, ms) = (self.name, self.begun.elapsed().as_millis());
        tracing::debug!(target: "dpl::images", "{name} ended after {ms} ms: {outcome}");
    }
}

/// One that returned early.
impl Drop for Stage {
    fn drop(&mut self) {
        if !self.has_ended {
            let (name, ms) = (self.name, self.begun.elapsed().as_millis());
            tracing::debug!(target: "dpl::images", "{name} broke off after {ms} ms");
        }
    }
}
