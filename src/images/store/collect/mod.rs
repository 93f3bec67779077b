//! Taking images out of a store: which blobs go with them, and the order in which that is safe.
//!
//! The index goes first and durably, so that it never names what is gone; then the blobs that nothing else leads to,
//! then what the store's own folder knows of them. A run that is cut off leaves blobs that nothing names, which the
//! next prune finds.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failpoint;
use crate::fs::{Digest, sync_dir};
use crate::images::error::ImagesError;
use crate::images::formats::documents::{DOCUMENT_LIMIT_BYTES, Descriptor, ImageManifest, Index, SAVED_AT, parse};
use crate::images::store::layer_batch::LayerBatch;
use crate::images::store::layout::{BLOBS, INDEX_FILE, Layout, OWN_FOLDER, StoredLayer, distinct};
use crate::images::store::lock::StoreLock;
use crate::images::store::name_records::forget_names;
use crate::images::store::writer::{LAYERS, known_records, write};
use crate::report::Reporter;

/// An image that leaves the store.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RemovedImage {
    pub reference: String,
    /// The digest of the image's configuration; null where its documents can't be read.
    pub image_id: Option<String>,
    /// When it was saved, RFC 3339; null for what another program wrote.
    pub saved_at: Option<String>,
    /// Bytes that its going frees; blobs that several of the removed images share count for the first of them.
    pub freed_bytes: u64,
    pub layers_total: u64,
    /// Layers that stay, since other images of the store have them too.
    pub layers_kept: u64,
}

/// What leaves a store's index, and what goes with it.
#[derive(Debug, Default)]
pub(in crate::images) struct Removal {
    pub images: Vec<RemovedImage>,
    entries: Vec<Descriptor>,
    /// Names that leave the store's own records with them.
    names: Vec<String>,
    /// Blobs that are there and that nothing will lead to any more, with their sizes.
    pub blobs: BTreeMap<Digest, u64>,
}

impl Removal {
    /// Without the entries that `goes` chooses by what they are called. What `recorded` entries lead to stays: the store
    /// had names for them that its index lost.
    ///
    /// # Errors
    /// An image that stays and whose documents can't be read: nobody knows which blobs it needs.
    pub fn plan(
        layout: &Layout,
        recorded: &[Descriptor],
        goes: impl Fn(&Descriptor, Option<&str>) -> bool,
    ) -> Result<Self, ImagesError> {
        let named = layout.named_entries();
        let (leaving, staying): (Vec<_>, Vec<_>) = named.partition(|(entry, name)| goes(entry, name.as_deref()));
        let staying: Vec<&Descriptor> = staying.into_iter().map(|(entry, _)| entry).collect();
        let mut removal = Self::default();
        let mut kept = reached(layout, &staying)?;
        kept.extend(reached_as_far_as_it_goes(layout, recorded));
        for (entry, name) in leaving {
            removal.names.extend(name);
            let own = reached(layout, &[entry]).unwrap_or_else(|_| HashSet::from([entry.digest.clone()]));
            let mut freed_bytes = 0;
            for digest in own.difference(&kept) {
                if let Some(bytes) = size_of(&layout.blob_path(digest))?
                    && removal.blobs.insert(digest.clone(), bytes).is_none()
                {
                    freed_bytes += bytes;
                }
            }
            let image = layout.read_image(entry).ok();
            let layers = || image.iter().flat_map(|image| distinct(&image.layers));
            removal.images.push(RemovedImage {
                reference: entry.shown_name(),
                image_id: image.as_ref().map(|image| image.config_digest.to_string()),
                saved_at: entry.annotation(SAVED_AT).map(str::to_owned),
                freed_bytes,
                layers_total: layers().count() as u64,
                layers_kept: layers().filter(|layer| kept.contains(&layer.blob)).count() as u64,
            });
            removal.entries.push(entry.clone());
        }
        Ok(removal)
    }

    /// Takes it out of the store, whose lock is held and whose index has been read since.
    pub fn carry_out(&self, _lock: &StoreLock, layout: &Layout, reporter: &Reporter) -> Result<(), ImagesError> {
        if !self.entries.is_empty() {
            forget_names(layout.folder(), self.names.iter().map(String::as_str))?;
            let mut index = layout.index.clone();
            index.manifests.retain(|entry| !self.entries.contains(entry));
            failpoint!("images.removal.before-index");
            write(&layout.folder().join(INDEX_FILE), &index.to_bytes())?;
            failpoint!("images.removal.after-index");
        }
        remove_blobs(layout, self.blobs.keys(), reporter)
    }
}

/// Removes blobs that nothing names, then what is known of layers that are not there.
pub(in crate::images) fn remove_blobs<'a>(
    layout: &Layout,
    blobs: impl ExactSizeIterator<Item = &'a Digest>,
    reporter: &Reporter,
) -> Result<(), ImagesError> {
    let all = blobs.len();
    let folder = layout.folder().join(BLOBS);
    for digest in blobs {
        if reporter.asked_to_stop() {
            return Err(ImagesError::Stopped);
        }
        failpoint!("images.removal.before-blob");
        remove_file(&layout.blob_path(digest))?;
    }
    if all > 0 {
        sync_dir(&folder).map_err(|source| ImagesError::file("sync", &folder, source))?;
    }
    failpoint!("images.removal.before-records");
    for record in stale_records(layout)? {
        remove_file(&record)?;
    }
    Ok(())
}

/// Files of the store's own folder that say what layers are that it does not have.
pub(in crate::images) fn stale_records(layout: &Layout) -> Result<Vec<PathBuf>, ImagesError> {
    let folder = layout.folder().join(OWN_FOLDER).join(LAYERS);
    let is_stale = |layer: &Option<StoredLayer>| match layer {
        Some(layer) => !matches!(size_of(&layout.blob_path(&layer.blob)), Ok(Some(_))),
        None => true,
    };
    let records = known_records(&folder).map_err(|source| ImagesError::file("list", &folder, source))?;
    Ok(records.into_iter().filter(|(_, layer)| is_stale(layer)).map(|(path, _)| path).collect())
}

/// Blobs that are there and that nothing in the index leads to, with their sizes. The removal has been planned: all
/// images that stay can be read.
pub(in crate::images) fn unnamed_blobs(
    layout: &Layout,
    recorded: &[Descriptor],
    _planned: &Removal,
) -> Result<BTreeMap<Digest, u64>, ImagesError> {
    let mut named = reached_as_far_as_it_goes(layout, &layout.index.manifests);
    named.extend(reached_as_far_as_it_goes(layout, recorded));
    let folder = layout.folder().join(BLOBS);
    let failed = |source| ImagesError::file("list", &folder, source);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut unnamed = BTreeMap::new();
    for file in listed {
        let file = file.map_err(failed)?;
        // What is not named as a blob was not written as one.
        let Some(digest) = file.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok())
        else {
            continue;
        };
        // A folder that is named like a blob is none.
        if !named.contains(&digest)
            && file.file_type().is_ok_and(|kind| !kind.is_dir())
            && let Some(bytes) = size_of(&file.path())?
        {
            unnamed.insert(digest, bytes);
        }
    }
    Ok(unnamed)
}

/// Layers that came along in a stream and belong to no image that was taken: those of other platforms and of images
/// without a name, attestations. Only what the store did not have before goes, and only what nothing else leads to.
pub(in crate::images) fn remove_unused(
    layout: &Layout,
    batch: &LayerBatch,
    used: &HashSet<Digest>,
) -> Result<(), ImagesError> {
    let new = batch.all().filter(|taken| taken.new_bytes > 0 && !used.contains(&taken.layer.blob));
    let mut unused: HashSet<&Digest> = new.map(|taken| &taken.layer.blob).collect();
    if unused.is_empty() {
        return Ok(());
    }
    let entries: Vec<&Descriptor> = layout.index.manifests.iter().collect();
    // Where one image can't be read, nobody knows what it needs: the next prune will say so.
    let Ok(needed) = reached(layout, &entries) else {
        return Ok(());
    };
    unused.retain(|blob| !needed.contains(*blob));
    remove_blobs(layout, unused.into_iter(), &Reporter::default())
}

/// Manifests and indexes among blobs that nothing names, as far as they can be read.
pub(in crate::images) fn manifests_among<'a>(
    layout: &Layout,
    blobs: impl IntoIterator<Item = (&'a Digest, &'a u64)>,
) -> Vec<Descriptor> {
    let small = blobs.into_iter().filter(|(_, size)| **size <= DOCUMENT_LIMIT_BYTES);
    let documents = small.filter_map(|(digest, size)| {
        let bytes = layout.document(&Descriptor::new("", digest.clone(), *size), digest.short()).ok()?;
        let media_type = match ImageManifest::parse(&bytes) {
            Ok(manifest) => manifest.media_type,
            Err(_) => Index::parse(&bytes).ok()?.media_type,
        };
        Some(Descriptor::new(media_type, digest.clone(), *size))
    });
    documents.collect()
}

/// As [`reached`], where what can't be read leads to nothing.
pub(in crate::images) fn reached_as_far_as_it_goes(layout: &Layout, entries: &[Descriptor]) -> HashSet<Digest> {
    let each = entries.iter().map(|entry| reached(layout, &[entry]));
    entries
        .iter()
        .zip(each)
        .flat_map(|(entry, all)| all.unwrap_or_else(|_| HashSet::from([entry.digest.clone()])))
        .collect()
}

/// All blobs that index entries lead to, whatever kinds of documents others put there: every digest that a document
/// names counts.
fn reached(layout: &Layout, entries: &[&Descriptor]) -> Result<HashSet<Digest>, ImagesError> {
    let mut reached = HashSet::new();
    for entry in entries {
        let name = entry.shown_name();
        let mut documents = vec![(*entry).clone()];
        while let Some(document) = documents.pop() {
            if !reached.insert(document.digest.clone()) {
                continue;
            }
            let is_top = document.digest == entry.digest;
            // Of an index that names many platforms, a copy may hold some only.
            if !is_top && size_of(&layout.blob_path(&document.digest))?.is_none() {
                continue;
            }
            let unreadable =
                |source| ImagesError::UnreadableImage { reference: name.clone(), source: Box::new(source) };
            let bytes = layout.document(&document, &name).map_err(unreadable)?;
            let path = layout.blob_path(&document.digest);
            let value: Value = parse("document of an image", &bytes)
                .map_err(|source| unreadable(ImagesError::Document { path, source }))?;
            descriptors(&value, &mut |descriptor| {
                if is_document(&descriptor) {
                    documents.push(descriptor);
                } else {
                    reached.insert(descriptor.digest);
                }
            });
        }
    }
    Ok(reached)
}

/// Every descriptor inside a document, wherever it stands.
fn descriptors(value: &Value, found: &mut impl FnMut(Descriptor)) {
    match value {
        Value::Object(fields) => {
            let digest = fields.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse().ok());
            if let Some(digest) = digest {
                let media_type = fields.get("mediaType").and_then(Value::as_str).unwrap_or_default();
                let size = fields.get("size").and_then(Value::as_u64).unwrap_or_default();
                found(Descriptor::new(media_type, digest, size));
            }
            fields.values().for_each(|value| descriptors(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| descriptors(value, found)),
        _ => {}
    }
}

/// Whether what it names can lead on to other blobs.
fn is_document(descriptor: &Descriptor) -> bool {
    let kind = &descriptor.media_type;
    let leads_on = [".manifest.", ".index.", "manifest.list"].iter().any(|word| kind.contains(word));
    leads_on && descriptor.size <= DOCUMENT_LIMIT_BYTES
}

/// `None` where there is no such file.
pub(in crate::images) fn size_of(path: &Path) -> Result<Option<u64>, ImagesError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ImagesError::file("read", path, source)),
    }
}

/// One that is gone already is fine.
pub(in crate::images) fn remove_file(path: &Path) -> Result<(), ImagesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImagesError::file("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
