//! How to save.

use crate::images::disk_space::SpaceCheck;
use crate::images::formats::compression::CompressionOptions;

/// How to save.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// Of layers that come uncompressed; those that come compressed stay as they are. Of the whole file for
    /// [`StoreFormat::DockerArchive`], where Docker 20.10 reads gzip and uncompressed ones only.
    pub compression: CompressionOptions,
    pub format: StoreFormat,
    /// The project that the images are for; noted in the store, which several projects may share.
    pub project: Option<String>,
    /// What to do when a disk seems too small.
    pub space: SpaceCheck,
}

/// What a save writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoreFormat {
    /// The OCI image layout, each layer once.
    #[default]
    Layout,
    /// One `docker save` archive an image, under deploy.py's names.
    DockerArchive,
}
