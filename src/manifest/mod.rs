//! The typed service manifest: its model, reading with places, `extends`, variables, checks, selectors, schema.
//!
//! Pure but for reading the files that a manifest names: no engine, no clock, no printing.

pub mod model;
pub mod types;

pub use model::Manifest;
pub use types::Reference;
