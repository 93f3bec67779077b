//! Where each image of a load comes from: the store, else the newest old archive beside it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::engine::ImageStore;
use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::documents::SAVED_AT;
use crate::images::formats::image_archive::ArchivedImage;
use crate::images::formats::platform::Platform;
use crate::images::identity::Identity;
use crate::images::load::payload::{Origin, Payload, PayloadImage};
use crate::images::names::engine_name;
use crate::images::store::archives::{ArchiveFolder, ArchivedLayer, FoundArchive, NewerArchive, OldArchive};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{Layout, StoredImage, StoredLayer, why_absent};
use crate::images::store::name_records::{lost_names, newer_record};
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

/// Images that come from one place and go in one load, as far as is known of each.
#[derive(Debug, Clone)]
pub struct Batch<I = LoadImage> {
    pub origin: Origin,
    pub images: Vec<I>,
}

impl Batch {
    /// Finds out how large layers are that nobody wrote down, as in a store of another program's, by unpacking them:
    /// only before something is sent.
    pub fn measure(&mut self) -> Result<(), ImagesError> {
        if self.origin.knows_sizes() {
            return Ok(());
        }
        let Origin::Store { layout, name, layers } = &mut self.origin else {
            return Ok(());
        };
        for layer in layers.iter_mut().filter(|layer| layer.uncompressed_bytes.is_none()) {
            layer.uncompressed_bytes = Some(measure(layout, layer, name)?);
        }
        for image in &mut self.images {
            image.payload.layers = sizes(layers);
            image.identity.know_engine_id(image.payload.engine_id(ImageStore::Containerd));
        }
        Ok(())
    }

    /// What goes to the engine when it lacks the layers `send`.
    pub fn payload(&self, store: ImageStore, send: Vec<Digest>) -> Payload {
        let images = self.images.iter().map(|image| image.payload.clone()).collect();
        Payload { store, images, send, origin: self.origin.clone() }
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
    /// Images that can't be loaded, by name, and why: not even what they are is known, or which of two archives is meant.
    pub damaged: Vec<(String, ImagesError)>,
    pub notices: Vec<Message>,
}

/// Finds all images, those for `platform` where there are several. Whether their blobs are there is looked at once it is known
/// which of them are needed ([`Origin::check_blobs`]).
///
/// # Errors
/// References that nothing in the folder has, all of them named; a folder that is not there or can't be read.
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
    let mut found = Found { batches: Vec::new(), damaged: Vec::new(), notices: Vec::new() };
    let mut missing = Vec::new();
    for reference in references {
        let Some(name) = engine_name(reference) else {
            continue;
        };
        let stored = layout.as_ref().map(|layout| layout.image(reference).map(|image| (layout, image))).transpose();
        let (stored, other_kind) = match stored {
            // The store has something else under that name, or an image for other platforms; an archive may have the one
            // that is meant.
            Err(error @ (ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. })) => (None, Some(error)),
            Err(error) => {
                found.damaged.push((name, error));
                continue;
            }
            Ok(stored) => (stored, None),
        };
        if let Some((layout, Some(image))) = stored {
            if newer_record(layout, &name).is_some() {
                found.notices.push(message!("images-record-newer", reference = &name));
            }
            if let Some(message) = newer_archive(&mut archives, reference, &image) {
                found.notices.push(message);
            }
            found.batches.push(stored_batch(layout, reference, &name, image));
            continue;
        }
        let passed_over = unreadable.len();
        match archives.find(reference, &mut unreadable)? {
            Some(FoundArchive { archive, unread_before: Some((newer, why)), .. }) => {
                found.damaged.push((
                    name.clone(),
                    ImagesError::NewerUnread { reference: name, newer, why, older: archive.path },
                ));
            }
            Some(FoundArchive { archive, others, unread_before: None }) => {
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
                let at = found
                    .batches
                    .iter()
                    .position(|batch| matches!(&batch.origin, Origin::Archive { path, .. } if *path == archive.path));
                let at = at.unwrap_or_else(|| {
                    let layers = layer_paths(&archive.images);
                    let origin = Origin::Archive { path: archive.path.clone(), layers };
                    found.batches.push(Batch { images: Vec::new(), origin });
                    found.batches.len() - 1
                });
                found.batches[at].images.extend(image);
            }
            None => match other_kind {
                Some(error) => found.damaged.push((name, error)),
                None => missing.push(name),
            },
        }
    }
    if cache == ArchiveCache::ReadWrite {
        archives.remember();
    }
    if missing.is_empty() {
        Ok(found)
    } else if let Some(why) = why_absent(folder) {
        // On a disk that is not mounted, or under a wrong path: which images it lacks says nothing.
        Err(ImagesError::NotAStore { folder: folder.to_owned(), why })
    } else {
        let lost = layout.as_ref().and_then(|layout| lost_names(layout).ok()).unwrap_or_default();
        let is_name_lost = lost.iter().any(|record| missing.contains(&record.name));
        Err(ImagesError::NotInStore { references: missing, folder: folder.to_owned(), unreadable, is_name_lost })
    }
}

fn stored_batch(layout: &Layout, reference: &Reference, name: &str, mut image: StoredImage) -> Batch {
    name.clone_into(&mut image.name);
    let payload = PayloadImage {
        config_digest: image.config_digest.clone(),
        config_bytes: image.config_bytes.clone(),
        layers: sizes(&image.layers),
    };
    let identity = Identity::of_stored(&image);
    let origin = Origin::Store { layout: Box::new(layout.clone()), name: name.to_owned(), layers: image.layers };
    let image = LoadImage { reference: reference.clone(), name: name.to_owned(), identity, payload };
    Batch { images: vec![image], origin }
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
    let NewerArchive { path, why_unread } = archives.newer(reference, saved_at.as_second(), is_it)?;
    let (reference, path) = (&image.name, path.display());
    Some(match why_unread {
        None => message!("images-newer-archive", reference = reference, path = path),
        Some(why) => message!("images-newer-archive-unread", reference = reference, path = path, why = why),
    })
}
