//! What a delivery brings: plan, apply, status and rollback on real folders, without an engine.

#[path = "../support/mod.rs"]
mod support;

mod applying;
mod kills;
mod local_edits;
mod place;
mod refused;
