//! The image store: a folder on disk. Knows no engine.

pub mod archives;
pub mod collect;
pub mod layer_batch;
pub mod layer_check;
pub mod layer_writer;
pub mod layout;
pub mod lock;
pub mod name_records;
pub mod owners;
pub mod plain_layer;
pub mod prune;
pub mod released;
pub mod releases;
pub mod remove;
pub mod repair;
#[cfg(test)]
pub mod sample_archives;
#[cfg(test)]
pub mod sample_layers;
mod sidecar;
pub mod verify;
pub mod writer;
