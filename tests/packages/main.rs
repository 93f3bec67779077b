//! Releases and packages: what goes to a machine by files alone, without an engine and without a network.

#[path = "../support/mod.rs"]
mod support;

mod delivery;
mod deltas;
mod desk;
mod hostile;
mod kills;
mod signing;
