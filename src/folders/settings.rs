//! What is known of a data folder before anything is done: who knows the manifest says it.

use std::path::PathBuf;

/// The tag of snapshots that a restore takes of what it replaces.
pub const BEFORE_RESTORE: &str = "before-restore";

/// A data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    pub name: String,
    pub project: String,
    pub path: PathBuf,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    pub one_file_system: bool,
    pub keep: Keep,
}

/// How many snapshots stay by each rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub last: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
}

impl DataFolder {
    /// The tag by which its snapshots are known: the repository may be one of several projects.
    pub fn tag(&self) -> String {
        format!("{}/{}", self.project, self.name)
    }
}
