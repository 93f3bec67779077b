//! What `save` and `load` did: the documents that `--json` prints. Fields are only ever added.

use schemars::JsonSchema;
use serde::Serialize;

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
