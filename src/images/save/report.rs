//! What `save` did, or with `--dry-run` would do: the documents that `--json` prints. Fields are only ever added.

use schemars::JsonSchema;
use serde::Serialize;

use crate::images::disk_space::DiskSpace;

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
