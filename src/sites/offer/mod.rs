//! What this machine can give of a project: the files of its manifest and its seeds. Reads, and changes nothing.

mod files;
mod manifests;
mod seeds;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use files::offer_files;
pub use manifests::{Placement, manifest_for};
pub use seeds::offer_seeds;

use super::seed_files::SeedFile;

/// Where what is offered lies on this machine.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// By the files' paths at the other machine.
    pub files: BTreeMap<String, PathBuf>,
    /// The image store.
    pub store: Option<PathBuf>,
    /// By their databases.
    pub(super) seeds: BTreeMap<String, SeedSource>,
}

impl Sources {
    /// The files of a database's seed, each with where it lies.
    pub fn seed_files(&self, database: &str) -> impl Iterator<Item = (&SeedFile, PathBuf)> {
        self.seeds.get(database).into_iter().flat_map(|seed| {
            seed.files.iter().map(|file| match file.path.is_empty() {
                true => (file, seed.path.clone()),
                false => (file, seed.path.join(&file.path)),
            })
        })
    }
}

/// A seed of this machine.
#[derive(Debug, Clone)]
pub(super) struct SeedSource {
    pub path: PathBuf,
    pub files: Vec<SeedFile>,
}
