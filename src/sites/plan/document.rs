//! The plan of a transfer, as it is shown and printed.

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
        images: Vec<PlannedImage>,
        blobs: Vec<PlannedBlob>,
        files: Vec<PlannedFile>,
        seeds: Vec<PlannedSeed>,
        left_out: Vec<LeftOutFile>,
        inventory: &Inventory,
    ) -> Self {
        let to_store: u64 = blobs.iter().map(|blob| blob.bytes.saturating_sub(blob.arrived)).sum();
        let sent_files = files.iter().filter(|file| file.result.is_sent()).map(|file| file.bytes);
        let sent_seeds = seeds.iter().filter(|seed| seed.result.is_sent()).map(|seed| seed.bytes);
        let to_folder: u64 = sent_files.chain(sent_seeds).sum();
        let space = super::space::needs(inventory, to_store, &files, &seeds);
        Self { images, blobs, files, seeds, left_out, bytes: to_store + to_folder, space }
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
