//! The document: an inventory.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::presence::{EngineFields, Presence, StoreFields, engine_fields, store_fields};
use crate::fs::Digest;

/// What a machine has of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Inventory {
    /// The format of this document: 1. It only ever grows; another number means something else.
    pub format: u32,
    /// When it was made, by that machine's clock (RFC 3339, UTC).
    pub made_at: String,
    /// dpl's version there.
    pub dpl: String,
    /// The machine's name.
    pub host: String,
    /// The machine's architecture, as images name it (`amd64`).
    pub architecture: String,
    /// The project's folder.
    pub folder: String,
    /// The manifest, relative to the folder.
    pub manifest: Option<String>,
    /// The project's name; none where there is no manifest that can be read.
    pub project: Option<String>,
    /// Why the manifest can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_problem: Option<String>,
    /// Free bytes where the project's folder is.
    pub folder_free: Option<u64>,
    /// The number of that disk, by which it is told whether two folders are on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder_disk: Option<u64>,
    /// The layers that the store or the engine has, each blob once. Images below name them by their places here, from 0.
    pub layers: Vec<LayerInventory>,
    /// The engine, in the fields `engine` and `engine_problem`.
    #[serde(flatten, with = "engine_fields")]
    #[schemars(with = "EngineFields")]
    pub engine: Presence<EngineInventory>,
    /// The image store, in the fields `store` and `store_problem`; absent where the manifest names none, or can't be read.
    #[serde(flatten, with = "store_fields")]
    #[schemars(with = "StoreFields")]
    pub store: Presence<StoreInventory>,
    /// The seeds that the manifest's databases name.
    pub seeds: Vec<SeedInventory>,
    /// The files that the manifest is made of and reads, and those that were asked for.
    pub files: Vec<FileInventory>,
}

impl<'de> Deserialize<'de> for Inventory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = ReadInventory::deserialize(deserializer)?;
        Ok(Self {
            format: read.format,
            made_at: read.made_at,
            dpl: read.dpl,
            host: read.host,
            architecture: read.architecture,
            folder: read.folder,
            manifest: read.manifest,
            project: read.project,
            manifest_problem: read.manifest_problem,
            folder_free: read.folder_free,
            folder_disk: read.folder_disk,
            layers: read.layers,
            engine: Presence::of(read.engine, read.engine_problem),
            store: Presence::of(read.store, read.store_problem),
            seeds: read.seeds,
            files: read.files,
        })
    }
}

/// An [`Inventory`] as it is read. With `flatten`, serde holds all fields that it does not know until the end, and a site may say
/// as many as it likes.
#[derive(Deserialize)]
struct ReadInventory {
    format: u32,
    made_at: String,
    dpl: String,
    host: String,
    architecture: String,
    folder: String,
    manifest: Option<String>,
    project: Option<String>,
    manifest_problem: Option<String>,
    folder_free: Option<u64>,
    folder_disk: Option<u64>,
    layers: Vec<LayerInventory>,
    engine: Option<EngineInventory>,
    engine_problem: Option<String>,
    store: Option<StoreInventory>,
    store_problem: Option<String>,
    seeds: Vec<SeedInventory>,
    files: Vec<FileInventory>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LayerInventory {
    /// The digest of its uncompressed tar.
    #[schemars(with = "String")]
    pub diff_id: Digest,
    /// The digest of its blob in the store; none where the store has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub blob: Option<Digest>,
    /// The blob's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// How an engine keeps images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageStoreKind {
    /// Layers where they were applied, each above those below it.
    Classic,
    /// Layers alone, as they came.
    Containerd,
}

/// The engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInventory {
    pub version: String,
    /// The kind of its image store.
    pub store: ImageStoreKind,
    /// Its storage driver.
    pub driver: String,
    /// Its architecture, as images name it (`amd64`).
    pub architecture: String,
    /// Free bytes where it keeps its data.
    pub free: Option<u64>,
    /// Its images that are whole.
    pub images: Vec<EngineImage>,
}

/// An image of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineImage {
    /// What the engine calls it: its configuration's digest on the classic store, a manifest's on the containerd store.
    pub id: String,
    pub references: Vec<String>,
    /// Places in the table of layers, lowest layer first.
    pub layers: Vec<u32>,
}

/// The image store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreInventory {
    /// Its folder.
    pub folder: String,
    /// Free bytes where it is.
    pub free: Option<u64>,
    /// The number of that disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    pub images: Vec<StoreImage>,
    /// Blobs that have arrived in part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incoming: Vec<PartInventory>,
}

/// An image of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreImage {
    /// With its tag.
    pub reference: String,
    /// The digest of its configuration: the image's identity everywhere.
    #[schemars(with = "String")]
    pub image_id: Digest,
    /// The digest of its manifest.
    #[schemars(with = "String")]
    pub manifest: Digest,
    /// Places in the table of layers, lowest layer first. One without a blob there is missing in the store.
    pub layers: Vec<u32>,
}

/// What is there of something that has not arrived whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartInventory {
    #[schemars(with = "String")]
    pub digest: Digest,
    pub bytes: u64,
}

/// The seed of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeedInventory {
    pub database: String,
    /// The digest of all of it; none where it is not there.
    #[schemars(with = "Option<String>")]
    pub digest: Option<Digest>,
    pub bytes: u64,
    /// The digest that the last transfer brought; none where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub received: Option<Digest>,
    /// The disk that it lies on, or will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<DiskInventory>,
}

/// A disk, where it is not that of the project's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskInventory {
    /// The folder on it that is meant.
    pub folder: String,
    pub disk: u64,
    pub free: u64,
}

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileInventory {
    /// Relative to the project's folder.
    pub path: String,
    /// The digest of its content; none where it is not there.
    #[schemars(with = "Option<String>")]
    pub digest: Option<Digest>,
    pub bytes: u64,
    /// The digest that the last transfer brought; none where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub received: Option<Digest>,
}

impl Inventory {
    pub const FORMAT: u32 = 1;

    /// The layer at a place of the table. What comes from elsewhere may name one that is not there.
    pub fn layer(&self, place: u32) -> Option<&LayerInventory> {
        self.layers.get(place as usize)
    }

    /// The diff IDs of layers; `None` where one is not in the table.
    pub fn diff_ids(&self, places: &[u32]) -> Option<Vec<Digest>> {
        places.iter().map(|place| self.layer(*place).map(|layer| layer.diff_id.clone())).collect()
    }
}
