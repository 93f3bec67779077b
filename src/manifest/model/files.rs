//! Files that a manifest is made of or reads.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file of the project, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsedFile {
    /// Absolute; whether it is there is not known.
    pub path: PathBuf,
    pub purpose: FileUse,
}

/// What a file is for; the first use counts where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileUse {
    /// A password or the like: a source of `secrets`, of an environment value, of a database's password.
    Secret,
    /// The manifest itself, or one that it extends.
    Manifest,
    /// An `env_file`.
    Environment,
    /// A source of `configs`.
    Config,
    /// SQL that runs on a new database.
    Patch,
}
