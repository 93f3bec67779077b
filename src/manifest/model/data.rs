//! Folders of data that live at a site, and the repository that keeps snapshots of them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::is_default;
use super::service::SecretSource;

/// A folder that lives at the site: `dpl data` keeps snapshots of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Data {
    /// The folder.
    pub path: PathBuf,
    /// What is left out, by patterns as a `.gitignore` in that folder has them: `cache/`, `*.tmp`, `!keep.tmp`.
    #[serde(skip_serializing_if = "is_default")]
    pub exclude: Vec<String>,
    /// Services that write into it: a snapshot warns while one of them runs, and `--stop` stops them.
    #[serde(skip_serializing_if = "is_default")]
    pub used_by: Vec<String>,
    /// Which snapshots `data prune` keeps.
    #[serde(skip_serializing_if = "is_default")]
    pub keep: Keep,
    /// Whether file systems that are mounted below it are left out.
    #[serde(skip_serializing_if = "is_default")]
    pub one_file_system: bool,
}

/// How many snapshots stay; one that a rule keeps stays, and so do the last one and the last verified one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Keep {
    /// The last so many; 3 where absent.
    pub last: u32,
    /// The last one of each of so many days; 7 where absent.
    pub daily: u32,
    /// The last one of each of so many weeks; 4 where absent.
    pub weekly: u32,
    /// The last one of each of so many months; 6 where absent.
    pub monthly: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { last: 3, daily: 7, weekly: 4, monthly: 6 }
    }
}

/// The repository of snapshots, in restic's format, below `paths.backups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Repository {
    /// Its password. Without it nobody can read the snapshots.
    pub password: SecretSource,
}
