//! Releases and packages: what goes to a machine by files alone, without an engine and without a network.

#[path = "../support/mod.rs"]
mod support;

mod alone;
mod delivery;
mod deltas;
mod desk;
mod full;
mod goals;
mod hostile;
mod kills;
mod little_room;
mod order;
mod self_extracting;
mod signing;
mod sizes;
mod usb_disks;
