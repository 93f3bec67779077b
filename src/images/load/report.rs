//! What `load` did, or with `--dry-run` would do: the documents that `--json` prints. Fields are only ever added.

use schemars::JsonSchema;
use serde::Serialize;

use crate::images::disk_space::DiskSpace;
use crate::report::Message;

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
