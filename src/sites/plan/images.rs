//! Which blobs of images a machine lacks.

use std::collections::{HashMap, HashSet};

use super::document::{ImageResult, PlannedBase, PlannedBlob, PlannedDelta, PlannedImage};
use super::offer::{LayerDelta, Offer};
use crate::engine::ImageStore;
use crate::fs::Digest;
use crate::images::{EngineLayers, OutgoingImage, OutgoingLayer};
use crate::sites::inventory::{EngineImage, ImageStoreKind, Inventory, StoreImage};

/// A machine's layers, looked up.
struct There<'i> {
    inventory: &'i Inventory,
    /// Diff IDs whose blobs the store has.
    stored: HashSet<&'i Digest>,
    engine: Option<EngineLayers>,
    /// The engine's images by the diff IDs of their layers: it can export them, whatever the kind of its image store.
    exported: HashMap<&'i Digest, &'i EngineImage>,
    arrived: HashMap<&'i Digest, u64>,
}

impl<'i> There<'i> {
    fn of(inventory: &'i Inventory, whole: bool) -> Self {
        let stored = inventory.layers.iter().filter(|layer| layer.blob.is_some()).map(|layer| &layer.diff_id);
        let incoming = inventory.store.present().into_iter().flat_map(|store| &store.incoming);
        // Nobody can see in which form an engine of the containerd store has its layers: a load that assumes too much there
        // needs all of them.
        let engine = inventory.engine.present().filter(|engine| !whole && engine.store == ImageStoreKind::Classic);
        let engine = engine.map(|engine| {
            let mut layers = EngineLayers::none(ImageStore::Classic);
            for image in &engine.images {
                if let Some(diff_ids) = inventory.diff_ids(&image.layers) {
                    layers.add(&diff_ids);
                }
            }
            layers
        });
        let mut exported = HashMap::new();
        for image in inventory.engine.present().into_iter().flat_map(|engine| &engine.images) {
            for layer in image.layers.iter().filter_map(|place| inventory.layer(*place)) {
                exported.entry(&layer.diff_id).or_insert(image);
            }
        }
        Self {
            inventory,
            exported,
            stored: stored.collect(),
            engine,
            arrived: incoming.map(|part| (&part.digest, part.bytes)).collect(),
        }
    }

    fn image(&self, image: &OutgoingImage) -> Option<&StoreImage> {
        let images = self.inventory.store.present().into_iter().flat_map(|store| &store.images);
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

/// What goes along, each once.
struct Sending<'p> {
    there: There<'p>,
    deltas: HashMap<&'p Digest, &'p LayerDelta>,
    coming: HashSet<Digest>,
    planned_blobs: Vec<PlannedBlob>,
    planned_deltas: Vec<PlannedDelta>,
}

impl Sending<'_> {
    /// Lets a blob go along; the bytes that it adds, `None` where it goes along already.
    fn blob(&mut self, digest: &Digest, bytes: u64, reference: &str) -> Option<u64> {
        if !self.coming.insert(digest.clone()) {
            return None;
        }
        let arrived = self.there.arrived(digest, bytes);
        let reference = reference.to_owned();
        self.planned_blobs.push(PlannedBlob { digest: digest.clone(), bytes, arrived, reference });
        Some(bytes - arrived)
    }

    /// Lets a layer go along: as a delta where there is one and all that it is rebuilt from is there, else as a whole.
    fn layer(&mut self, layer: &OutgoingLayer, reference: &str) -> Option<u64> {
        let delta = self.deltas.get(&layer.diff_id).copied();
        let Some((delta, bases)) = delta.and_then(|delta| Some((delta, self.there.bases(delta)?))) else {
            return self.blob(&layer.blob, layer.bytes, reference);
        };
        if !self.coming.insert(delta.delta.clone()) {
            return None;
        }
        let arrived = self.there.arrived(&delta.delta, delta.delta_bytes);
        self.planned_deltas.push(PlannedDelta {
            layer: delta.layer.clone(),
            uncompressed_bytes: delta.bytes,
            digest: delta.delta.clone(),
            bytes: delta.delta_bytes,
            arrived,
            whole_bytes: layer.bytes,
            bases,
            reference: reference.to_owned(),
        });
        Some(delta.delta_bytes - arrived)
    }
}

impl There<'_> {
    fn arrived(&self, digest: &Digest, bytes: u64) -> u64 {
        self.arrived.get(digest).copied().unwrap_or_default().min(bytes)
    }

    /// Where each of the layers is that a delta is rebuilt from; `None` where one is missing.
    fn bases(&self, delta: &LayerDelta) -> Option<Vec<PlannedBase>> {
        let base = |base: &super::offer::DeltaBase| {
            let engine_image = match self.stored.contains(&base.layer) {
                true => None,
                false => {
                    let image = self.exported.get(&base.layer)?;
                    Some(image.references.first().unwrap_or(&image.id).clone())
                }
            };
            Some(PlannedBase { layer: base.layer.clone(), bytes: base.bytes, engine_image })
        };
        delta.bases.iter().map(base).collect()
    }
}

/// What becomes of each image, and what goes along.
pub(super) fn plan(
    inventory: &Inventory,
    offer: &Offer,
    whole: bool,
) -> (Vec<PlannedImage>, Vec<PlannedBlob>, Vec<PlannedDelta>) {
    let mut sending = Sending {
        there: There::of(inventory, whole),
        deltas: offer.deltas.iter().map(|delta| (&delta.layer, delta)).collect(),
        coming: HashSet::new(),
        planned_blobs: Vec::new(),
        planned_deltas: Vec::new(),
    };
    let mut planned = Vec::new();
    for image in &offer.images {
        let (missing, in_engine) = sending.there.lacks(image);
        let is_present = sending.there.image(image).is_some() && missing.is_empty();
        let (mut bytes, mut layers_to_send) = (0, 0);
        if !is_present {
            let reference = &image.reference;
            for layer in image.layers.iter().filter(|layer| missing.contains(&layer.diff_id)) {
                let added = sending.layer(layer, reference);
                layers_to_send += u64::from(added.is_some());
                bytes += added.unwrap_or_default();
            }
            for document in [&image.config, &image.manifest] {
                bytes += sending.blob(&document.digest, document.bytes, reference).unwrap_or_default();
            }
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
    (planned, sending.planned_blobs, sending.planned_deltas)
}
