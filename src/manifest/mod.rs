//! The typed service manifest: its model, reading with places, `extends`, variables, checks, selectors, schema.
//!
//! Pure but for reading the files that a manifest names: no engine, no clock, no printing.
//!
//! Reading goes through these steps, each in a file of its own: `parse` (bytes to nodes that know their places),
//! `variables`, `long_form`, `merge` (`extends` and `defaults`), `decode` (nodes to the model), `checks`.

mod beside;
mod checks;
mod decode;
mod env_file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod long_form;
mod merge;
pub mod model;
mod node;
mod parse;
mod problem;
mod read;
#[cfg(test)]
mod reference;
mod schema;
mod selectors;
mod source;
pub mod types;
mod variables;

pub use beside::{BesideError, FoundManifest, likely_manifest, manifests_beside};
pub use env_file::{EnvFileError, env_lines, read_env_file};
pub use model::Manifest;
pub use problem::{ManifestErrors, Problem, Severity, nearest};
pub use read::{Loaded, read_manifest, read_resolved, to_json};
pub use schema::manifest_schema;
pub use selectors::{Choices, SelectorError, narrow};
pub use source::{SourceFile, Sources, Span};
pub use types::Reference;
pub use variables::Variables;
