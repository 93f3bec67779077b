//! The command line without an engine: what it prints and how it ends, compared to the letter.

#[path = "../support/mod.rs"]
mod support;

mod completing;
mod corpus;
mod deltas;
mod graphs;
mod history;
mod images_stages;
mod imports;
mod inventory;
mod languages;
mod manifest_errors;
mod manifests;
mod meaning;
mod memory;
mod outputs;
mod properties;
mod readable;
mod replacing;
mod selecting;
mod stores;
mod texts;
mod usage;
mod which_manifest;
