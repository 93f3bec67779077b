//! How long an engine may take: ordinary calls by the clock, transfers by their silence.

pub(super) mod stall;
pub(super) mod timeouts;
