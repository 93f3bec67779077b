//! What releases and packages are made of besides images: files of the project and seeds, by their digests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fs::Digest;
use crate::manifest::FileUse;
use crate::sites::{Offer, OfferedFile, OfferedSeed, Sources};

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentFile {
    /// Relative to the project's folder.
    pub path: String,
    #[schemars(with = "String")]
    pub digest: Digest,
    pub bytes: u64,
    pub purpose: FileUse,
    /// Whether its owner alone may read it.
    pub private: bool,
    pub executable: bool,
}

/// The seed of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentSeed {
    pub database: String,
    /// Of all its files' names and digests.
    #[schemars(with = "String")]
    pub digest: Digest,
    pub bytes: u64,
    pub files: Vec<SeedPart>,
}

/// A file of a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeedPart {
    /// Relative to the seed's folder; empty where the seed is this one file.
    pub path: String,
    #[schemars(with = "String")]
    pub digest: Digest,
    pub bytes: u64,
}

impl From<&OfferedFile> for ContentFile {
    fn from(file: &OfferedFile) -> Self {
        Self {
            path: file.path.clone(),
            digest: file.digest.clone(),
            bytes: file.bytes,
            purpose: file.purpose,
            private: file.private,
            executable: file.executable,
        }
    }
}

impl From<&ContentFile> for OfferedFile {
    fn from(file: &ContentFile) -> Self {
        Self {
            path: file.path.clone(),
            digest: file.digest.clone(),
            bytes: file.bytes,
            purpose: file.purpose,
            private: file.private,
            executable: file.executable,
        }
    }
}

impl From<&ContentSeed> for OfferedSeed {
    fn from(seed: &ContentSeed) -> Self {
        Self { database: seed.database.clone(), digest: seed.digest.clone(), bytes: seed.bytes }
    }
}

/// The seeds of an offer, with their files.
pub(super) fn seeds_of(offer: &Offer, sources: &Sources) -> Vec<ContentSeed> {
    let of_seed = |seed: &OfferedSeed| ContentSeed {
        database: seed.database.clone(),
        digest: seed.digest.clone(),
        bytes: seed.bytes,
        files: sources
            .seed_files(&seed.database)
            .map(|(file, _)| SeedPart { path: file.path.clone(), digest: file.digest.clone(), bytes: file.bytes })
            .collect(),
    };
    offer.seeds.iter().map(of_seed).collect()
}
