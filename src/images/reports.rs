//! What `save` and `load` did, or with `--dry-run` would do: the documents that `--json` prints. Fields are only ever added.

use schemars::JsonSchema;
use serde::Serialize;

use super::space::DiskSpace;
use crate::fs::Digest;
use crate::report::{Message, Reporter};

/// What `dpl save` did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct SaveReport {
    /// In the order that they were asked for, each reference once.
    pub images: Vec<SavedImage>,
    /// Bytes that the engine exported for it.
    pub exported_bytes: u64,
    /// Bytes written to the store, all images together.
    pub new_bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// One image of a save.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SavedImage {
    pub reference: String,
    /// The digest of the image's configuration, the same on every engine and in every store.
    pub image_id: String,
    pub result: SaveResult,
    /// Bytes that the store did not have before; layers that several images share count for the first of them.
    pub new_bytes: u64,
    /// Bytes that all of the image takes in the store.
    pub total_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaveResult {
    /// The store has the image under this reference now.
    Saved,
    /// It had it before.
    Unchanged,
}

/// What `dpl load` did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct LoadReport {
    /// In the order that they were asked for, each reference once.
    pub images: Vec<LoadedImage>,
    /// Bytes sent to the engine, all images together.
    pub bytes_sent: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// One image of a load.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LoadedImage {
    pub reference: String,
    /// The digest of the image's configuration, the same on every engine and in every store.
    pub image_id: String,
    pub result: LoadResult,
    pub layers_total: u64,
    /// Layers that the engine lacked.
    pub layers_sent: u64,
    /// Uncompressed bytes sent to the engine for it.
    pub bytes_sent: u64,
    /// The uncompressed size of all its layers, as far as it is known.
    pub total_bytes: u64,
    /// The name under which the image that had the reference before was kept, where there was another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoadResult {
    /// The reference names the store's image now.
    Loaded,
    /// It named it before.
    Present,
}

/// What `dpl save --dry-run` would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct SavePlan {
    /// In the order that they were asked for, each reference once.
    pub images: Vec<PlannedSave>,
    /// What would be written where; nothing where nothing would be.
    pub disks: Vec<DiskSpace>,
}

/// One image that would be saved.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PlannedSave {
    pub reference: String,
    /// The digest of the image's configuration; null where only the export will tell.
    pub image_id: Option<String>,
    pub result: PlannedSaveResult,
    pub layers_total: u64,
    /// Layers that would be written, those that several images share for the first of them.
    pub layers_to_send: u64,
    /// Bytes that would be written for them; null where only compressing them will tell.
    pub bytes_to_send: Option<u64>,
    /// What the image takes in the engine, by the engine's own count.
    pub engine_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedSaveResult {
    WouldSave,
    /// The store has the image under this reference.
    Unchanged,
}

/// What `dpl load --dry-run` would do.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct LoadPlan {
    /// In the order that they were asked for, each reference once.
    pub images: Vec<PlannedLoad>,
    /// What would be written where; nothing where nothing would be.
    pub disks: Vec<DiskSpace>,
    /// What the operator should know of it.
    #[serde(skip)]
    pub notices: Vec<Message>,
}

/// One image that would be loaded.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PlannedLoad {
    pub reference: String,
    /// The digest of the image's configuration, the same on every engine and in every store.
    pub image_id: String,
    pub result: PlannedLoadResult,
    pub layers_total: u64,
    /// Layers that the engine lacks, those that several images of one load share for the first of them.
    pub layers_to_send: u64,
    /// Their uncompressed size; null where nobody wrote it down.
    pub bytes_to_send: Option<u64>,
    /// Where the image would come from: the store's folder, or the file of an old archive.
    pub from: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedLoadResult {
    /// The reference would name this image.
    WouldLoad,
    /// It names it already.
    Present,
}

/// Says what is going to be done with these images, by its digest.
pub(super) fn settled<T: Serialize>(images: &[T], reporter: &Reporter) {
    if let Ok(digest) = Digest::of_json(&images) {
        reporter.settled(digest);
    }
}
