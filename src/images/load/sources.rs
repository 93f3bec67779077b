//! Where each image of a load comes from: the store, else the newest old archive beside it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::engine::ImageStore;
use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::documents::SAVED_AT;
use crate::images::formats::image_archive::ArchivedImage;
use crate::images::formats::platform::Platform;
use crate::images::identity::Identity;
use crate::images::load::payload::{Origin, Payload, PayloadImage};
use crate::images::names::engine_name;
use crate::images::store::archives::{ArchiveFolder, ArchivedLayer, FoundArchive, OldArchive};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{Layout, StoredImage, StoredLayer};
use crate::manifest::Reference;
use crate::report::{Message, Reporter};

/// An image that is to be in the engine.
#[derive(Debug, Clone)]
pub struct LoadImage {
    pub reference: Reference,
    /// With its tag.
    pub name: String,
    pub identity: Identity,
    pub payload: PayloadImage,
}

/// Images that come from one place and go in one load.
#[derive(Debug, Clone)]
pub struct Batch {
    pub images: Vec<LoadImage>,
    origin: BatchOrigin,
}

#[derive(Debug, Clone)]
enum BatchOrigin {
    Store { layout: Layout, name: String, layers: Vec<StoredLayer> },
    Archive { path: PathBuf, layers: HashMap<String, Digest> },
}

impl Batch {
    /// Finds out how large layers are that nobody wrote down, as in a store of another program's, by unpacking them:
    /// only before something is sent.
    pub fn measure(&mut self, images: &mut [LoadImage]) -> Result<(), ImagesError> {
        let BatchOrigin::Store { layout, name, layers } = &mut self.origin else {
            return Ok(());
        };
        if layers.iter().all(|layer| layer.uncompressed_bytes.is_some()) {
            return Ok(());
        }
        for layer in layers.iter_mut().filter(|layer| layer.uncompressed_bytes.is_none()) {
            layer.uncompressed_bytes = Some(measure(layout, layer, name)?);
        }
        for image in images {
            image.payload.layers = sizes(layers);
            image.identity.know_engine_id(image.payload.engine_id(ImageStore::Containerd));
        }
        Ok(())
    }

    /// Whether the uncompressed sizes of all layers are known.
    pub fn knows_sizes(&self) -> bool {
        match &self.origin {
            BatchOrigin::Store { layers, .. } => layers.iter().all(|layer| layer.uncompressed_bytes.is_some()),
            BatchOrigin::Archive { .. } => true,
        }
    }

    /// The folder of the store, or the archive's file.
    pub fn place(&self) -> &Path {
        match &self.origin {
            BatchOrigin::Store { layout, .. } => layout.folder(),
            BatchOrigin::Archive { path, .. } => path,
        }
    }

    /// What goes to the engine when it lacks the layers `send`.
    pub fn payload(&self, store: ImageStore, images: Vec<PayloadImage>, send: Vec<Digest>) -> Payload {
        let origin = match &self.origin {
            BatchOrigin::Store { layout, name, layers } => {
                Origin::Store { layout: layout.clone(), name: name.clone(), layers: layers.clone() }
            }
            BatchOrigin::Archive { path, layers } => Origin::Archive { path: path.clone(), layers: layers.clone() },
        };
        Payload { store, images, send, origin }
    }
}

/// Whether what old archives hold is written down for the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveCache {
    ReadWrite,
    /// Nothing may be written.
    ReadOnly,
}

/// What was found, and what the operator should know of it.
pub struct Found {
    pub batches: Vec<Batch>,
    pub notices: Vec<Message>,
}

/// Finds all images, those for `platform` where there are several, and looks whether their blobs are there in full length.
pub fn find_sources(
    folder: &Path,
    platform: &Platform,
    references: &[Reference],
    cache: ArchiveCache,
    reporter: &Reporter,
) -> Result<Found, ImagesError> {
    let layout = Layout::open_for(folder, platform)?;
    let mut archives = ArchiveFolder::open(folder)?.with_reporter(reporter).for_platform(platform);
    let mut unreadable = Vec::new();
    let mut found = Found { batches: Vec::new(), notices: Vec::new() };
    let mut missing = Vec::new();
    for reference in references {
        let Some(name) = engine_name(reference) else {
            continue;
        };
        let stored = layout.as_ref().map(|layout| layout.image(reference).map(|image| (layout, image))).transpose()?;
        if let Some((layout, Some(image))) = stored {
            if let Some(message) = newer_archive(&mut archives, reference, &image) {
                found.notices.push(message);
            }
            found.batches.push(stored_batch(layout, reference, &name, image)?);
            continue;
        }
        let passed_over = unreadable.len();
        match archives.find(reference, &mut unreadable)? {
            Some(FoundArchive { archive, others }) => {
                found.notices.extend(others.iter().map(|other| {
                    message!(
                        "images-archives-differ",
                        reference = &name,
                        used = archive.path.display(),
                        other = other.display()
                    )
                }));
                found.notices.extend(
                    unreadable[passed_over..]
                        .iter()
                        .map(|(path, why)| message!("images-archive-unreadable", path = path.display(), why = why)),
                );
                let image = archive.image(&name).cloned();
                let image = image.map(|image| load_archived(reference, &name, &image));
                let at = found.batches.iter().position(
                    |batch| matches!(&batch.origin, BatchOrigin::Archive { path, .. } if *path == archive.path),
                );
                let at = at.unwrap_or_else(|| {
                    let layers = layer_paths(&archive.images);
                    let origin = BatchOrigin::Archive { path: archive.path.clone(), layers };
                    found.batches.push(Batch { images: Vec::new(), origin });
                    found.batches.len() - 1
                });
                found.batches[at].images.extend(image);
            }
            None => missing.push(name),
        }
    }
    if cache == ArchiveCache::ReadWrite {
        archives.remember();
    }
    if missing.is_empty() {
        Ok(found)
    } else {
        Err(ImagesError::NotInStore { references: missing, folder: folder.to_owned(), unreadable })
    }
}

fn stored_batch(
    layout: &Layout,
    reference: &Reference,
    name: &str,
    mut image: StoredImage,
) -> Result<Batch, ImagesError> {
    name.clone_into(&mut image.name);
    if let Some(error) = layout.missing_blob(&image) {
        return Err(error);
    }
    let payload = PayloadImage {
        config_digest: image.config_digest.clone(),
        config_bytes: image.config_bytes.clone(),
        layers: sizes(&image.layers),
    };
    let identity = Identity::of_stored(&image);
    let origin = BatchOrigin::Store { layout: layout.clone(), name: name.to_owned(), layers: image.layers };
    let image = LoadImage { reference: reference.clone(), name: name.to_owned(), identity, payload };
    Ok(Batch { images: vec![image], origin })
}

/// Sizes that are not known are 0 until [`Batch::measure`].
fn sizes(layers: &[StoredLayer]) -> Vec<(Digest, u64)> {
    layers.iter().map(|layer| (layer.diff_id.clone(), layer.uncompressed_bytes.unwrap_or_default())).collect()
}

fn load_archived(reference: &Reference, name: &str, image: &ArchivedImage<ArchivedLayer>) -> LoadImage {
    let sizes = image.sizes();
    LoadImage {
        reference: reference.clone(),
        name: name.to_owned(),
        identity: Identity::of_archived(image, &sizes),
        payload: PayloadImage {
            config_digest: image.config_digest.clone(),
            config_bytes: image.config_bytes.clone(),
            layers: sizes,
        },
    }
}

/// Each layer of an archive under one path, however many files hold it.
fn layer_paths(images: &[ArchivedImage<ArchivedLayer>]) -> HashMap<String, Digest> {
    let mut seen = HashSet::new();
    let layers = images.iter().flat_map(|image| image.layers.iter().zip(image.config.diff_ids()));
    layers
        .filter(|(_, diff_id)| seen.insert((*diff_id).clone()))
        .map(|(layer, diff_id)| (layer.path.clone(), diff_id.clone()))
        .collect()
}

/// The store goes before old archives; one that was brought after the save may be what was meant.
fn newer_archive(archives: &mut ArchiveFolder, reference: &Reference, image: &StoredImage) -> Option<Message> {
    let saved_at: jiff::Timestamp = image.manifest.annotation(SAVED_AT)?.parse().ok()?;
    let is_it = |archive: &OldArchive| {
        archive.image(&image.name).is_some_and(|other| other.config_digest == image.config_digest)
    };
    let path = archives.newer(reference, saved_at.as_second(), is_it)?;
    let message = message!("images-newer-archive", reference = &image.name, path = path.display());
    Some(message)
}
