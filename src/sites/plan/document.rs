//! The plan of a transfer, as it is shown and printed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::offer::LeftOutFile;
use crate::fs::Digest;
use crate::manifest::FileUse;
use crate::sites::inventory::Inventory;

/// What is sent to a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TransferPlan {
    pub images: Vec<PlannedImage>,
    /// What is missing there of the images, each once.
    pub blobs: Vec<PlannedBlob>,
    /// Layers that are missing there and are rebuilt from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<PlannedDelta>,
    pub files: Vec<PlannedFile>,
    pub seeds: Vec<PlannedSeed>,
    /// Files that the manifest reads and that are not sent.
    pub left_out: Vec<LeftOutFile>,
    /// Bytes that go over the line.
    pub bytes: u64,
    /// Bytes that the machine needs for it, and has.
    pub space: Vec<SpaceNeed>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedImage {
    pub reference: String,
    /// The digest of its configuration.
    #[schemars(with = "String")]
    pub image_id: Digest,
    pub result: ImageResult,
    pub layers_total: u64,
    /// Layers that go along; what several images lack counts for the first of them.
    pub layers_to_send: u64,
    /// Layers that the engine there has and its store has not.
    pub layers_in_engine: u64,
    /// Bytes of what goes along.
    pub bytes: u64,
}

/// What becomes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageResult {
    /// The store there has it under this reference.
    Present,
    /// It gets this reference there.
    Sent,
}

/// A blob of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedBlob {
    #[schemars(with = "String")]
    pub digest: Digest,
    pub bytes: u64,
    /// So many of them have arrived earlier.
    pub arrived: u64,
    /// The first image that needs it.
    pub reference: String,
}

/// A layer that is rebuilt from layers that are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedDelta {
    /// The layer's diff ID.
    #[schemars(with = "String")]
    pub layer: Digest,
    /// The bytes of its tar.
    pub uncompressed_bytes: u64,
    /// The digest of the delta.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// The bytes of the delta.
    pub bytes: u64,
    /// So many of them have arrived earlier.
    pub arrived: u64,
    /// The bytes that the layer would have as a whole, compressed.
    pub whole_bytes: u64,
    pub bases: Vec<PlannedBase>,
    /// The first image that needs it.
    pub reference: String,
}

/// A layer that another one is rebuilt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedBase {
    /// Its diff ID.
    #[schemars(with = "String")]
    pub layer: Digest,
    /// The bytes of its tar.
    pub bytes: u64,
    /// The engine's image that it is exported of; null where the store has it.
    pub engine_image: Option<String>,
}

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedFile {
    /// Relative to the project's folder.
    pub path: String,
    pub purpose: FileUse,
    pub result: FileResult,
    pub bytes: u64,
    /// The digest of what is there.
    #[schemars(with = "Option<String>")]
    pub replaces: Option<Digest>,
    /// Whether it is known there that a transfer brought it.
    #[serde(skip)]
    pub is_recorded: bool,
}

/// What becomes of a file, or of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileResult {
    /// The same is there.
    Unchanged,
    /// Nothing is there.
    New,
    /// What an earlier transfer brought is replaced, or what is there, where that was asked for.
    Replaced,
    /// It was changed there, and stays as it is.
    Kept,
}

impl FileResult {
    pub fn is_sent(self) -> bool {
        matches!(self, Self::New | Self::Replaced)
    }
}

/// The seed of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedSeed {
    pub database: String,
    pub result: FileResult,
    pub bytes: u64,
    #[schemars(with = "String")]
    pub digest: Digest,
}

/// What a disk has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpaceNeed {
    /// The folder there.
    pub folder: String,
    pub needed: u64,
    /// Null where it is not known.
    pub free: Option<u64>,
}

impl SpaceNeed {
    pub fn is_short(&self) -> bool {
        self.free.is_some_and(|free| free < self.needed)
    }
}

impl TransferPlan {
    pub(super) fn of(
        (images, blobs, deltas): (Vec<PlannedImage>, Vec<PlannedBlob>, Vec<PlannedDelta>),
        files: Vec<PlannedFile>,
        seeds: Vec<PlannedSeed>,
        left_out: Vec<LeftOutFile>,
        inventory: &Inventory,
    ) -> Self {
        let blob_bytes = blobs.iter().map(|blob| blob.bytes.saturating_sub(blob.arrived));
        let delta_bytes = deltas.iter().map(|delta| delta.bytes.saturating_sub(delta.arrived));
        let of_images: u64 = blob_bytes.chain(delta_bytes).sum();
        let to_store = of_images.saturating_add(rebuilding_bytes(&deltas));
        let sent_files = files.iter().filter(|file| file.result.is_sent()).map(|file| file.bytes);
        let sent_seeds = seeds.iter().filter(|seed| seed.result.is_sent()).map(|seed| seed.bytes);
        let to_folder: u64 = sent_files.chain(sent_seeds).sum();
        let space = super::space::needs(inventory, to_store, &files, &seeds);
        Self { images, blobs, deltas, files, seeds, left_out, bytes: of_images + to_folder, space }
    }

    /// Whether the machine lacks nothing, and knows what it has.
    pub fn is_nothing(&self) -> bool {
        self.images.iter().all(|image| image.result == ImageResult::Present)
            && self.seeds.iter().all(|seed| !seed.result.is_sent())
            && self.files.iter().all(|file| match file.result {
                FileResult::Unchanged => file.is_recorded,
                result => !result.is_sent(),
            })
    }
}

/// What rebuilding takes of the store's disk: the layers, and beside them what they are rebuilt from, uncompressed. What comes out
/// of the engine stays to the end, since an engine exports whole images; of the store's layers those of one delta are there at once.
fn rebuilding_bytes(deltas: &[PlannedDelta]) -> u64 {
    let layers = deltas.iter().map(|delta| delta.whole_bytes);
    let of_store = |delta: &PlannedDelta| {
        let bases = delta.bases.iter().filter(|base| base.engine_image.is_none());
        bases.fold(0_u64, |sum, base| sum.saturating_add(base.bytes))
    };
    let of_store = deltas.iter().map(of_store).max();
    let mut of_engine: BTreeMap<&Digest, u64> = BTreeMap::new();
    for base in deltas.iter().flat_map(|delta| &delta.bases).filter(|base| base.engine_image.is_some()) {
        of_engine.insert(&base.layer, base.bytes);
    }
    // One more, which may turn out to be another layer.
    let spooled = of_engine.values().copied().max();
    layers.chain(of_store).chain(of_engine.into_values()).chain(spooled).fold(0, u64::saturating_add)
}
