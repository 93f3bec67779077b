//! The typed service manifest: its model, reading with places, `extends`, variables, checks, selectors, schema.
//!
//! Pure but for reading the files that a manifest names: no engine, no clock, no printing.
//!
//! `read` runs the steps in their order: `text` (bytes to nodes that know their places), `steps` (variables, long form,
//! merge, decode), `checks`. `model` is what comes of it, `selectors` chooses among its services and databases, `graph` orders services by what they need, `schema` says
//! in JSON Schema what may be written, `other_manifests` finds other manifests in the folder.

mod checks;
mod coming;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod graph;
pub mod model;
mod other_manifests;
mod read;
#[cfg(test)]
mod reference;
mod schema;
mod selectors;
mod sites;
mod steps;
mod text;
mod used_files;

pub use coming::{ComingFile, ComingFiles};
pub use model::{FileUse, Manifest, Reference, UsedFile};
pub use other_manifests::{
    BesideError, FoundManifest, likely_manifest, manifests_beside, mounted_volumes, services_beside,
    volume_users_beside, volumes_beside,
};
pub use read::{Loaded, read_manifest, read_manifest_with, read_resolved, to_json};
pub use schema::manifest_schema;
pub use selectors::{Choices, Noun, Selection, SelectorError, narrow, services_named};
pub use sites::{Rate, Site, SiteList, SitesDocument, read_sites, sites_file};
pub use steps::env_file::{
    EnvEntry, EnvFileError, EnvProblem, env_entries, is_empty_secret, raw_entries, read_capped, read_env_file,
};
pub use steps::variables::Variables;
pub use text::problem::{ManifestErrors, Problem, Severity, nearest};
pub use text::source::{SourceFile, Sources, Span};

use crate::catalogue::told;

told!(
    BesideError, ManifestErrors, SelectorError, EnvFileError, model::InvalidValue;
    crate::fs::as_told
);
