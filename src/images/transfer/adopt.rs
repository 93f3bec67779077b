//! Making images of blobs that have arrived: each is looked at as a whole before the index names it.
//!
//! A layer counts that the store has under any blob, that has arrived, or that the engine beside the store has: an image of
//! which the engine has some layers need not have their blobs here.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::incoming::{incoming_folder, open_incoming};
use super::outgoing::{OutgoingImage, OutgoingLayer};
use crate::failpoint;
use crate::fs::{Digest, sync_dir};
use crate::images::engine_layers::EngineLayers;
use crate::images::error::ImagesError;
use crate::images::formats::documents::Descriptor;
use crate::images::formats::platform::Platform;
use crate::images::names::engine_name;
use crate::images::store::layout::{BLOBS, Layout, StoredImage, StoredLayer};
use crate::images::store::writer::{NewName, StoreWriter, known_layers};
use crate::manifest::Reference;

/// So many notes of layers are made safe on the disk at once: one after the other, each waits for it.
const NOTED_AT_ONCE: usize = 8;

/// Images that are to be in a store.
#[derive(Debug, Clone)]
pub struct Adoption {
    pub store: PathBuf,
    /// The engine's, as an image's configuration says it.
    pub architecture: String,
    /// Whose images they are, for the prunes of others.
    pub project: Option<String>,
    pub images: Vec<OutgoingImage>,
    /// The layers of the engine beside the store, which need not be in it; `None` where all have to.
    pub engine: Option<EngineLayers>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Images that have their name now.
    pub named: Vec<String>,
    /// Images that had it.
    pub unchanged: Vec<String>,
    /// Images that were not named, since something of them is missing: what.
    pub lacking: Vec<Digest>,
}

/// Names every image of which all is there, in one step, under the store's lock. Blocking.
///
/// # Errors
/// Somebody else writes to the store; it can't be read or written; what has arrived is not the image that was told.
pub fn adopt(adoption: &Adoption) -> Result<Adopted, ImagesError> {
    let store = &adoption.store;
    open_incoming(store)?;
    let mut writer = StoreWriter::open_for(store, &Platform::linux(&adoption.architecture))?;
    let known = known_layers(writer.layout());
    let noted = note_arrived(store, &adoption.images, &known)?;
    let mut arrived = Arrived { store, known, noted, moved: false };
    let mut adopted = Adopted::default();
    let (mut names, mut kept) = (Vec::new(), Vec::new());
    let mut lacking = HashSet::new();
    for image in &adoption.images {
        let reference: Reference = image.reference.parse().map_err(|_| wrong_name(image))?;
        engine_name(&reference).ok_or_else(|| wrong_name(image))?;
        if let Some(present) = present(writer.layout(), &reference, image)
            && lacking_of(&present.layers, &arrived, adoption).is_empty()
        {
            arrived.settle(&present.layers)?;
            adopted.unchanged.push(image.reference.clone());
            kept.push(reference);
            continue;
        }
        let layers: Vec<StoredLayer> = image.layers.iter().map(|layer| arrived.best(layer)).collect();
        let mut lacks = lacking_of(&layers, &arrived, adoption);
        lacks.extend(arrived.lacking_document(&image.config.digest, image.config.bytes));
        let is_as_sent = layers.iter().zip(&image.layers).all(|(layer, sent)| layer.blob == sent.blob);
        if is_as_sent {
            lacks.extend(arrived.lacking_document(&image.manifest.digest, image.manifest.bytes));
        }
        if !lacks.is_empty() {
            adopted.lacking.extend(lacks.into_iter().filter(|digest| lacking.insert(digest.clone())));
            continue;
        }
        arrived.settle(&layers)?;
        let manifest = match is_as_sent {
            true => {
                arrived.settle_documents(&[&image.config.digest, &image.manifest.digest])?;
                checked(writer.layout(), image)?
            }
            // The store has a layer in another compression: its manifest says which.
            false => {
                arrived.settle_documents(&[&image.config.digest])?;
                let config = Descriptor::new(&image.config.media_type, image.config.digest.clone(), image.config.bytes);
                let bytes = writer.layout().document(&config, &image.reference)?;
                let added = writer.add_image(&bytes, &layers)?.manifest;
                let read = writer.layout().read_manifest(&added, image.reference.clone())?;
                must_be(&read, image)?;
                added
            }
        };
        adopted.named.push(image.reference.clone());
        names.push(NewName { reference, manifest, engine_ids: image.engine_ids.clone() });
    }
    arrived.sync()?;
    failpoint!("images.adopt.before-names");
    writer.name_images_for(adoption.project.as_deref(), &names, &kept)?;
    Ok(adopted)
}

/// Notes what the blobs hold that have arrived, before they have their places: a note says nothing until its blob is there. Gives
/// those blobs.
fn note_arrived(
    store: &Path,
    images: &[OutgoingImage],
    known: &HashMap<Digest, StoredLayer>,
) -> Result<HashSet<Digest>, ImagesError> {
    let incoming = incoming_folder(store);
    let (mut layers, mut blobs, mut diff_ids) = (Vec::new(), HashSet::new(), HashSet::new());
    // What is known of a layer that the store has under another blob is true until that one has its place.
    let is_new = |layer: &&OutgoingLayer| layer.uncompressed_bytes.is_some() && !known.contains_key(&layer.diff_id);
    for layer in images.iter().flat_map(|image| &image.layers).filter(is_new) {
        // A layer has one note, whose blob is the first that gets its place; another one is noted when it gets its own.
        if incoming.join(layer.blob.hex()).is_file() && diff_ids.insert(&layer.diff_id) {
            blobs.insert(layer.blob.clone());
            layers.push(layer.stored());
        }
    }
    let next = AtomicUsize::new(0);
    let note = || -> io::Result<()> {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            StoreWriter::record_layer(store, layer)?;
        }
        Ok(())
    };
    let noted = thread::scope(|scope| {
        let threads: Vec<_> = (0..NOTED_AT_ONCE.min(layers.len())).map(|_| scope.spawn(note)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    noted.map_err(|source| ImagesError::file(message!("verb-write"), store, source))?;
    Ok(blobs)
}

fn wrong_name(image: &OutgoingImage) -> ImagesError {
    ImagesError::NoTag { reference: image.reference.clone(), digest: String::new() }
}

/// The image that the store has under the reference, if it is this one.
fn present(layout: &Layout, reference: &Reference, image: &OutgoingImage) -> Option<StoredImage> {
    layout.image(reference).ok().flatten().filter(|present| present.config_digest == image.config.digest)
}

/// The image's manifest in the store, which says what was told of the image.
fn checked(layout: &Layout, image: &OutgoingImage) -> Result<Descriptor, ImagesError> {
    let descriptor = image.descriptor();
    let read = layout.read_manifest(&descriptor, image.reference.clone())?;
    must_be(&read, image)?;
    // What has arrived are the blobs that were told: the manifest must not name others.
    match read.layers.iter().zip(&image.layers).all(|(layer, sent)| layer.blob == sent.blob) {
        true => Ok(read.manifest),
        false => Err(differs(image)),
    }
}

fn must_be(read: &StoredImage, image: &OutgoingImage) -> Result<(), ImagesError> {
    let is_it = read.config_digest == image.config.digest
        && read.layers.len() == image.layers.len()
        && read.layers.iter().zip(&image.layers).all(|(layer, sent)| layer.diff_id == sent.diff_id);
    match is_it {
        true => Ok(()),
        false => Err(differs(image)),
    }
}

fn differs(image: &OutgoingImage) -> ImagesError {
    ImagesError::ArrivedDiffers { reference: image.reference.clone() }
}

/// The blobs of layers that nobody has here.
fn lacking_of(layers: &[StoredLayer], arrived: &Arrived<'_>, adoption: &Adoption) -> Vec<Digest> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let in_engine = adoption.engine.as_ref().map(|engine| engine.lacking(&diff_ids));
    let is_needed = |layer: &&StoredLayer| in_engine.as_ref().is_none_or(|lacks| lacks.contains(&layer.diff_id));
    let needed = layers.iter().filter(is_needed);
    needed.filter(|layer| !arrived.has(&layer.blob, layer.size_bytes)).map(|layer| layer.blob.clone()).collect()
}

/// What lies in the store and what has arrived beside it.
struct Arrived<'s> {
    store: &'s Path,
    known: HashMap<Digest, StoredLayer>,
    /// Blobs of which it is noted what they hold.
    noted: HashSet<Digest>,
    moved: bool,
}

impl Arrived<'_> {
    fn has(&self, blob: &Digest, bytes: u64) -> bool {
        super::has_arrived(self.store, blob, bytes)
    }

    /// The layer as it was sent where that is here, else as the store has it.
    fn best(&self, layer: &OutgoingLayer) -> StoredLayer {
        let sent = layer.stored();
        match self.known.get(&layer.diff_id) {
            Some(known) if !self.has(&layer.blob, layer.bytes) => known.clone(),
            _ => sent,
        }
    }

    fn lacking_document(&self, digest: &Digest, bytes: u64) -> Option<Digest> {
        (!self.has(digest, bytes)).then(|| digest.clone())
    }

    /// Gives layers that have arrived their place, and notes what they are.
    fn settle(&mut self, layers: &[StoredLayer]) -> Result<(), ImagesError> {
        for layer in layers {
            let is_noted = layer.uncompressed_bytes.is_none() || self.noted.contains(&layer.blob);
            if self.settle_blob(&layer.blob)? && !is_noted {
                StoreWriter::record_layer(self.store, layer)
                    .map_err(|source| ImagesError::file(message!("verb-write"), self.store, source))?;
            }
        }
        Ok(())
    }

    fn settle_documents(&mut self, digests: &[&Digest]) -> Result<(), ImagesError> {
        digests.iter().try_for_each(|digest| self.settle_blob(digest).map(|_| ()))
    }

    /// Moves a blob that has arrived to the others; whether it had arrived.
    fn settle_blob(&mut self, blob: &Digest) -> Result<bool, ImagesError> {
        let from = incoming_folder(self.store).join(blob.hex());
        let to = super::blob_file(self.store, blob);
        if !from.is_file() {
            return Ok(false);
        }
        failpoint!("images.adopt.before-move");
        // It is on the disk and has passed its digest: one that was there, damaged or not, is replaced.
        fs::rename(&from, &to).map_err(|source| ImagesError::file(message!("verb-write"), &to, source))?;
        failpoint!("images.adopt.after-move");
        self.moved = true;
        Ok(true)
    }

    fn sync(&self) -> Result<(), ImagesError> {
        let folder = self.store.join(BLOBS);
        match self.moved {
            true => sync_dir(&folder).map_err(|source| ImagesError::file(message!("verb-write"), &folder, source)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
