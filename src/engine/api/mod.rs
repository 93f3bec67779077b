//! The calls to the Engine API, one file for each kind of object, in words of our own.

pub(super) mod attach;
pub(super) mod containers;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod files;
pub(super) mod images;
pub(super) mod logs;
pub(super) mod networks;
pub(super) mod spec;
pub(super) mod stats;
mod upload;
pub(super) mod views;
pub(super) mod volumes;
