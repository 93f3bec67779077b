//! What a machine has to give.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fs::Digest;
use crate::images::OutgoingImage;
use crate::manifest::FileUse;

/// A selection of what this machine has.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    pub images: Vec<OutgoingImage>,
    /// Layers of the images that come as deltas.
    pub deltas: Vec<LayerDelta>,
    /// In the order in which they are put in place.
    pub files: Vec<OfferedFile>,
    pub seeds: Vec<OfferedSeed>,
    pub left_out: Vec<LeftOutFile>,
}

/// A layer that comes as what it differs in from layers that a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerDelta {
    /// The layer's diff ID.
    #[schemars(with = "String")]
    pub layer: Digest,
    /// The bytes of its tar.
    pub bytes: u64,
    /// The digest of the delta.
    #[schemars(with = "String")]
    pub delta: Digest,
    pub delta_bytes: u64,
    /// What it is rebuilt from, in the order of the delta.
    pub bases: Vec<DeltaBase>,
}

/// A layer that another one is rebuilt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeltaBase {
    /// Its diff ID.
    #[schemars(with = "String")]
    pub layer: Digest,
    /// The bytes of its tar.
    pub bytes: u64,
}

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedFile {
    /// Where it belongs there, relative to the project's folder.
    pub path: String,
    pub digest: Digest,
    pub bytes: u64,
    pub purpose: FileUse,
    /// Whether its owner alone may read it.
    pub private: bool,
    pub executable: bool,
}

/// The seed of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedSeed {
    pub database: String,
    pub digest: Digest,
    pub bytes: u64,
}

/// A file that the manifest reads and that is not offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOutFile {
    pub path: String,
    pub purpose: FileUse,
    pub reason: LeftOutBecause,
}

/// Why a file is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOutBecause {
    /// It is a secret, and secrets were not asked for.
    Secret,
    /// It lies outside the project's folder.
    Outside,
    /// It is not there, or is not a file.
    Missing,
}
