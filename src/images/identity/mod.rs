//! Whether an image of the engine is an image of the store.

use crate::engine::{ImageStore, ImageView, run_config};
use crate::fs::Digest;
use crate::images::engine_layers::plain_manifest;
use crate::images::formats::documents::ImageConfig;
use crate::images::formats::image_archive::ArchivedImage;
use crate::images::store::layout::StoredImage;

/// What makes an image that image, wherever it lies.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The image's identity on every engine and in every store.
    pub config_digest: Digest,
    pub config: ImageConfig,
    /// What the containerd store calls it, as far as that is known: manifests' digests.
    engine_ids: Vec<String>,
}

impl Identity {
    pub fn of_stored(image: &StoredImage) -> Self {
        let sizes: Option<Vec<(Digest, u64)>> =
            image.layers.iter().map(|layer| Some((layer.diff_id.clone(), layer.uncompressed_bytes?))).collect();
        let ours = sizes.map(|sizes| plain_id(&image.config_digest, image.config_bytes.len(), &sizes));
        Self {
            config_digest: image.config_digest.clone(),
            config: image.config.clone(),
            engine_ids: image.engine_ids.iter().cloned().chain(ours).collect(),
        }
    }

    /// Of an image of which no more is known than its configuration.
    pub fn of_config(config_digest: &Digest, config: &ImageConfig) -> Self {
        Self { config_digest: config_digest.clone(), config: config.clone(), engine_ids: Vec::new() }
    }

    /// Of an image in an archive, given its layers' uncompressed sizes.
    pub fn of_archived<L>(image: &ArchivedImage<L>, sizes: &[(Digest, u64)]) -> Self {
        let ours = plain_id(&image.config_digest, image.config_bytes.len(), sizes);
        Self { engine_ids: vec![ours], ..Self::of_config(&image.config_digest, &image.config) }
    }

    /// Adds the ID that an engine of the containerd store gives to what `dpl` sends.
    pub fn know_engine_id(&mut self, id: String) {
        self.engine_ids.push(id);
    }

    pub fn diff_ids(&self) -> &[Digest] {
        self.config.diff_ids()
    }

    /// Whether the engine's `view` is this image: the classic store's ID says it; the containerd store's ID says it
    /// where it is known, else equal configuration and layers do.
    pub fn is(&self, store: ImageStore, view: &ImageView) -> bool {
        match store {
            ImageStore::Classic => view.id == self.config_digest.to_string(),
            ImageStore::Containerd => {
                self.engine_ids.contains(&view.id) && has_layers(view, self.diff_ids()) || self.equals(view)
            }
        }
    }

    fn equals(&self, view: &ImageView) -> bool {
        has_layers(view, self.diff_ids())
            && view.os == self.config.os
            && view.architecture == self.config.architecture
            && same_time(&view.created, self.config.created.as_deref().unwrap_or_default())
            && run_config(&self.config.config).is_some_and(|config| config == view.config)
    }

    /// Under which ID the engine may have the image without a name: the config's digest on the classic store, known
    /// manifests' on the containerd store.
    pub fn possible_ids(&self, store: ImageStore) -> Vec<String> {
        match store {
            ImageStore::Classic => vec![self.config_digest.to_string()],
            ImageStore::Containerd => self.engine_ids.clone(),
        }
    }
}

fn plain_id(config: &Digest, config_bytes: usize, sizes: &[(Digest, u64)]) -> String {
    Digest::of(&plain_manifest(config, config_bytes as u64, sizes).to_bytes()).to_string()
}

/// Whether the engine shows just these layers.
pub fn has_layers(view: &ImageView, diff_ids: &[Digest]) -> bool {
    view.diff_ids.len() == diff_ids.len()
        && view.diff_ids.iter().zip(diff_ids).all(|(shown, diff_id)| *shown == diff_id.to_string())
}

/// Engines print the same moment with and without trailing zeros.
fn same_time(one: &str, other: &str) -> bool {
    match (one.parse::<jiff::Timestamp>(), other.parse::<jiff::Timestamp>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests;
