//! Which blobs of images a machine lacks.

use std::collections::{HashMap, HashSet};

use super::document::{ImageResult, PlannedBlob, PlannedImage};
use crate::engine::ImageStore;
use crate::fs::Digest;
use crate::images::{EngineLayers, OutgoingImage};
use crate::sites::inventory::{ImageStoreKind, Inventory, StoreImage};

/// A machine's layers, looked up.
struct There<'i> {
    inventory: &'i Inventory,
    /// Diff IDs whose blobs the store has.
    stored: HashSet<&'i Digest>,
    engine: Option<EngineLayers>,
    arrived: HashMap<&'i Digest, u64>,
}

impl<'i> There<'i> {
    fn of(inventory: &'i Inventory, whole: bool) -> Self {
        let stored = inventory.layers.iter().filter(|layer| layer.blob.is_some()).map(|layer| &layer.diff_id);
        let incoming = inventory.store.iter().flat_map(|store| &store.incoming);
        // Nobody can see in which form an engine of the containerd store has its layers: a load that assumes too much there
        // needs all of them.
        let engine = inventory.engine.as_ref().filter(|engine| !whole && engine.store == ImageStoreKind::Classic);
        let engine = engine.map(|engine| {
            let mut layers = EngineLayers::none(ImageStore::Classic);
            for image in &engine.images {
                if let Some(diff_ids) = inventory.diff_ids(&image.layers) {
                    layers.add(&diff_ids);
                }
            }
            layers
        });
        Self {
            inventory,
            stored: stored.collect(),
            engine,
            arrived: incoming.map(|part| (&part.digest, part.bytes)).collect(),
        }
    }

    fn image(&self, image: &OutgoingImage) -> Option<&StoreImage> {
        let images = self.inventory.store.iter().flat_map(|store| &store.images);
        images.into_iter().find(|there| there.reference == image.reference && there.image_id == image.config.digest)
    }

    /// The diff IDs that neither the store nor the engine has, and those that only the engine has.
    fn lacks(&self, image: &OutgoingImage) -> (HashSet<Digest>, HashSet<Digest>) {
        let diff_ids = image.diff_ids();
        let not_in_engine: HashSet<Digest> = match &self.engine {
            Some(engine) => engine.lacking(&diff_ids).into_iter().collect(),
            None => diff_ids.iter().cloned().collect(),
        };
        diff_ids.into_iter().filter(|id| !self.stored.contains(id)).partition(|id| not_in_engine.contains(id))
    }
}

/// What becomes of each image, and which blobs go along.
pub(super) fn plan(
    inventory: &Inventory,
    images: &[OutgoingImage],
    whole: bool,
) -> (Vec<PlannedImage>, Vec<PlannedBlob>) {
    let there = There::of(inventory, whole);
    let mut blobs: Vec<PlannedBlob> = Vec::new();
    let mut coming: HashSet<Digest> = HashSet::new();
    let mut planned = Vec::new();
    for image in images {
        let (missing, in_engine) = there.lacks(image);
        let is_present = there.image(image).is_some() && missing.is_empty();
        let mut bytes = 0;
        let mut add = |digest: &Digest, size: u64| {
            let is_new = coming.insert(digest.clone());
            if is_new {
                let arrived = there.arrived.get(digest).copied().unwrap_or_default().min(size);
                bytes += size - arrived;
                blobs.push(PlannedBlob {
                    digest: digest.clone(),
                    bytes: size,
                    arrived,
                    reference: image.reference.clone(),
                });
            }
            is_new
        };
        let mut layers_to_send = 0;
        if !is_present {
            for layer in image.layers.iter().filter(|layer| missing.contains(&layer.diff_id)) {
                layers_to_send += u64::from(add(&layer.blob, layer.bytes));
            }
            add(&image.config.digest, image.config.bytes);
            add(&image.manifest.digest, image.manifest.bytes);
        }
        planned.push(PlannedImage {
            reference: image.reference.clone(),
            image_id: image.config.digest.clone(),
            result: if is_present { ImageResult::Present } else { ImageResult::Sent },
            layers_total: image.layers.len() as u64,
            layers_to_send,
            layers_in_engine: in_engine.len() as u64,
            bytes,
        });
    }
    (planned, blobs)
}
