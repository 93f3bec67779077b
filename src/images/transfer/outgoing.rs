//! Images of a store as another store needs to know them.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, ImageStore};
use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::archive_writer::{blob_path as entry_path, index_json, manifest_item, manifest_json};
use crate::images::formats::documents::{CONFIG_TYPE, CONTAINERD_NAME, Descriptor, REF_NAME};
use crate::images::formats::platform::Platform;
use crate::images::identity::has_layers;
use crate::images::names::{containerd_name, engine_name};
use crate::images::store::layout::{Layout, StoredImage, StoredLayer, blob_path};
use crate::images::store::writer::LAYOUT_VERSION;
use crate::images::unique;
use crate::manifest::Reference;

/// An image that can be given to another store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutgoingImage {
    /// With its tag.
    pub reference: String,
    pub manifest: OutgoingBlob,
    /// The configuration: its digest is the image's identity everywhere.
    pub config: OutgoingBlob,
    /// Lowest first, one for each diff ID.
    pub layers: Vec<OutgoingLayer>,
    /// What engines with the containerd store were seen to call it.
    pub engine_ids: Vec<String>,
}

/// A document of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutgoingBlob {
    #[schemars(with = "String")]
    pub digest: Digest,
    pub bytes: u64,
    pub media_type: String,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutgoingLayer {
    #[schemars(with = "String")]
    pub diff_id: Digest,
    #[schemars(with = "String")]
    pub blob: Digest,
    pub bytes: u64,
    pub media_type: String,
    /// Known for what dpl wrote.
    pub uncompressed_bytes: Option<u64>,
}

impl OutgoingLayer {
    pub(super) fn of(layer: &StoredLayer) -> Self {
        Self {
            diff_id: layer.diff_id.clone(),
            blob: layer.blob.clone(),
            bytes: layer.size_bytes,
            media_type: layer.media_type.clone(),
            uncompressed_bytes: layer.uncompressed_bytes,
        }
    }

    pub(super) fn stored(&self) -> StoredLayer {
        StoredLayer {
            diff_id: self.diff_id.clone(),
            blob: self.blob.clone(),
            size_bytes: self.bytes,
            media_type: self.media_type.clone(),
            uncompressed_bytes: self.uncompressed_bytes,
        }
    }
}

impl OutgoingImage {
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }

    fn of(reference: String, image: StoredImage) -> Self {
        let document = |digest: &Digest, bytes: u64, media_type: &str| OutgoingBlob {
            digest: digest.clone(),
            bytes,
            media_type: media_type.to_owned(),
        };
        Self {
            reference,
            manifest: document(&image.manifest.digest, image.manifest.size, &image.manifest.media_type),
            config: document(&image.config_digest, image.config_bytes.len() as u64, CONFIG_TYPE),
            layers: image.layers.iter().map(OutgoingLayer::of).collect(),
            engine_ids: image.engine_ids,
        }
    }

    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.manifest.media_type, self.manifest.digest.clone(), self.manifest.bytes)
    }
}

/// What a store has of the images that are asked for.
#[derive(Debug, Clone, Default)]
pub struct OutgoingImages {
    pub images: Vec<OutgoingImage>,
    /// Those that it lacks, or that are not whole in it.
    pub missing: Vec<Reference>,
}

/// Finds images in the store in `folder`, those for `architecture` (as an image's configuration says it) where there are
/// several. Blocking.
///
/// # Errors
/// A store that can't be read, an image in it that is damaged.
pub fn outgoing_images(
    folder: Option<&Path>,
    architecture: &str,
    references: &[Reference],
) -> Result<OutgoingImages, ImagesError> {
    let references = unique(references)?;
    let layout = folder.map(|folder| Layout::open_for(folder, &Platform::linux(architecture))).transpose()?.flatten();
    let mut found = OutgoingImages::default();
    for reference in references {
        let image =
            layout.as_ref().map(|layout| Ok::<_, ImagesError>((layout, layout.image(&reference)?))).transpose()?;
        match (image, engine_name(&reference)) {
            (Some((layout, Some(image))), Some(name)) if layout.missing_blob(&image).is_none() => {
                found.images.push(OutgoingImage::of(name, image));
            }
            _ => found.missing.push(reference),
        }
    }
    Ok(found)
}

/// The references under which the engine has other images than these: one that was built after it was saved, above all. An image for
/// another architecture is not compared.
///
/// # Errors
/// The engine can't be asked.
pub async fn others_in_engine(
    engine: &Engine,
    architecture: &str,
    images: &[OutgoingImage],
) -> Result<Vec<String>, ImagesError> {
    let store = engine.image_store().await?;
    let mut others = Vec::new();
    for image in images {
        let Some(view) = engine.inspect_image(&image.reference).await? else { continue };
        let is_it = match store {
            ImageStore::Classic => view.id == image.config.digest.to_string(),
            // Its ID is not always known: the layers say enough, but for a configuration that alone was changed.
            ImageStore::Containerd => {
                view.diff_ids.is_empty() || image.engine_ids.contains(&view.id) || has_layers(&view, &image.diff_ids())
            }
        };
        if !is_it && view.architecture == architecture {
            others.push(image.reference.clone());
        }
    }
    Ok(others)
}

/// The documents that make an OCI layout of the blobs of images: `oci-layout` and `index.json`, the same for the same images.
pub fn layout_documents(images: &[OutgoingImage]) -> [Vec<u8>; 2] {
    let entry = |image: &OutgoingImage| {
        let exact = image.reference.parse::<Reference>().map(|reference| containerd_name(&reference));
        let named = image.descriptor().with(REF_NAME, &image.reference);
        exact.map_or(named.clone(), |exact| named.with(CONTAINERD_NAME, exact))
    };
    [LAYOUT_VERSION.to_vec(), index_json(&images.iter().map(entry).collect::<Vec<_>>())]
}

/// The document by which `docker load` of every engine finds images among the blobs of a layout (moby, `image/tarexport`): `manifest.json`.
pub fn docker_manifest(images: &[OutgoingImage]) -> Vec<u8> {
    let item = |image: &OutgoingImage| {
        let layers: Vec<String> = image.layers.iter().map(|layer| entry_path(&layer.blob)).collect();
        manifest_item(&entry_path(&image.config.digest), Some(vec![image.reference.clone()]), &layers)
    };
    manifest_json(&images.iter().map(item).collect::<Vec<_>>())
}

/// Where a store has a blob.
pub fn blob_file(store: &Path, digest: &Digest) -> PathBuf {
    blob_path(store, digest)
}
