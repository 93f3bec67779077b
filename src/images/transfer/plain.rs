//! Layers of a store as what they are uncompressed: to make deltas of, and to rebuild others from.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::outgoing::OutgoingLayer;
use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::compression::PlainReader;
use crate::images::formats::platform::Platform;
use crate::images::store::layer_check::LayerOf;
use crate::images::store::layout::{Layout, StoredLayer};
use crate::images::store::plain_layer::PlainLayer;
use crate::images::store::writer::known_layers;

/// The layers of which the store in `folder` has a blob in full length, by their diff IDs, whatever program wrote them. Blocking.
///
/// # Errors
/// A store that can't be read.
pub fn store_layers(folder: &Path, architecture: &str) -> Result<HashMap<Digest, OutgoingLayer>, ImagesError> {
    let Some(layout) = Layout::open_for(folder, &Platform::linux(architecture))? else { return Ok(HashMap::new()) };
    let is_there = |layer: &StoredLayer| {
        fs::metadata(layout.blob_path(&layer.blob)).is_ok_and(|blob| blob.len() == layer.size_bytes)
    };
    let mut layers = HashMap::new();
    for layer in known_layers(&layout).into_values().chain(layout.images().flat_map(|image| image.layers)) {
        if !layers.contains_key(&layer.diff_id) && is_there(&layer) {
            layers.insert(layer.diff_id.clone(), OutgoingLayer::of(&layer));
        }
    }
    Ok(layers)
}

/// Decompresses a layer beside the store in `folder`, and compares its digests on the way. `goes_on` is asked for each piece.
/// Blocking.
///
/// # Errors
/// The layer is damaged, or not there; there is no room for it.
pub fn plain_layer(
    folder: &Path,
    layer: &OutgoingLayer,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<PlainLayer, ImagesError> {
    let (layout, name) = (layout(folder)?, layer.diff_id.to_string());
    PlainLayer::of_store(LayerOf { layout: &layout, layer: &layer.stored(), name: &name }, goes_on)
}

/// Reads a layer of the store in `folder`, uncompressed. Nothing of it is compared with a digest.
///
/// # Errors
/// The layer is not there, or has another size.
pub fn read_layer(folder: &Path, layer: &OutgoingLayer) -> Result<Box<dyn Read>, ImagesError> {
    let layout = layout(folder)?;
    let (file, compression) = layout.open_layer(&layer.stored(), &layer.diff_id.to_string())?;
    let failed = |source| ImagesError::file(message!("verb-read"), &layout.blob_path(&layer.blob), source);
    Ok(Box::new(PlainReader::new(file, compression).map_err(failed)?))
}

fn layout(folder: &Path) -> Result<Layout, ImagesError> {
    let missing = || ImagesError::NotAStore { folder: folder.to_owned(), why: message!("store-index-missing") };
    Layout::open(folder)?.ok_or_else(missing)
}
