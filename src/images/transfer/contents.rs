//! What a store has: its images, the layers whose blobs are there, and what has arrived in part.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use super::incoming::{PART, incoming_folder};
use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::platform::Platform;
use crate::images::store::layout::{Layout, StoredLayer};
use crate::images::store::writer::known_layers;

/// What a store has. Nothing of it was read to its end: a blob counts that is there in full length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreContents {
    pub images: Vec<ContentImage>,
    /// Each blob once.
    pub layers: Vec<ContentLayer>,
    pub incoming: Vec<IncomingBlob>,
}

/// An image that the store's index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentImage {
    /// With its tag.
    pub reference: String,
    /// The digest of its configuration.
    pub image_id: Digest,
    pub manifest: Digest,
    /// Diff ID and blob of each layer, lowest first; the blob may be missing.
    pub layers: Vec<(Digest, Digest)>,
}

/// A layer whose blob is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentLayer {
    pub diff_id: Digest,
    pub blob: Digest,
    pub bytes: u64,
}

/// A blob that has arrived in part, or whole and without an image that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingBlob {
    pub blob: Digest,
    /// So many of its bytes are there.
    pub bytes: u64,
}

/// What the store in `folder` has, the images for `architecture` (as an image's configuration says it) where there are
/// several; nothing where there is no store. Blocking.
///
/// # Errors
/// A store that can't be read.
pub fn store_contents(folder: &Path, architecture: Option<&str>) -> Result<StoreContents, ImagesError> {
    let platform = architecture.map_or_else(Platform::host, Platform::linux);
    let mut contents = StoreContents { incoming: incoming(folder)?, ..StoreContents::default() };
    let Some(layout) = Layout::open_for(folder, &platform)? else { return Ok(contents) };
    let mut seen = HashSet::new();
    let mut add = |layer: StoredLayer| {
        let is_there = || fs::metadata(layout.blob_path(&layer.blob)).is_ok_and(|blob| blob.len() == layer.size_bytes);
        if !seen.contains(&layer.blob) && is_there() {
            seen.insert(layer.blob.clone());
            contents.layers.push(ContentLayer { diff_id: layer.diff_id, blob: layer.blob, bytes: layer.size_bytes });
        }
    };
    for (entry, name) in layout.named_entries() {
        // What can't be read is as if it were not there: what is sent replaces it.
        let (Some(reference), Ok(image)) = (name, layout.read_image(entry)) else { continue };
        contents.images.push(ContentImage {
            reference,
            image_id: image.config_digest,
            manifest: image.manifest.digest,
            layers: image.layers.iter().map(|layer| (layer.diff_id.clone(), layer.blob.clone())).collect(),
        });
        image.layers.into_iter().for_each(&mut add);
    }
    known_layers(&layout).into_values().for_each(add);
    contents.layers.sort_by(|one, other| one.blob.cmp(&other.blob));
    Ok(contents)
}

fn incoming(store: &Path) -> Result<Vec<IncomingBlob>, ImagesError> {
    let folder = incoming_folder(store);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(ImagesError::file(message!("verb-list"), &folder, source)),
    };
    let of_entry = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let blob = format!("sha256:{}", name.strip_suffix(PART).unwrap_or(&name)).parse().ok()?;
        Some(IncomingBlob { blob, bytes: entry.metadata().ok()?.len() })
    };
    let mut found: Vec<IncomingBlob> = listed.filter_map(|entry| of_entry(entry.ok()?)).collect();
    found.sort_by(|one, other| one.blob.cmp(&other.blob));
    Ok(found)
}
