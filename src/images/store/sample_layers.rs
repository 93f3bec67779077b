//! Layers for the tests of this module.

use std::fs;
use std::path::Path;

use crate::fs::Digest;
use crate::images::formats::compression::Compression;
use crate::images::store::layout::{StoredLayer, blob_path};

/// Puts an uncompressed layer of these bytes into a store.
pub fn add_layer(folder: &Path, content: &[u8]) -> StoredLayer {
    let digest = Digest::of(content);
    fs::write(blob_path(folder, &digest), content).unwrap();
    StoredLayer {
        diff_id: digest.clone(),
        blob: digest,
        size_bytes: content.len() as u64,
        media_type: Compression::None.layer_type().to_owned(),
        uncompressed_bytes: Some(content.len() as u64),
    }
}
