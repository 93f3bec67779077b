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
use crate::images::formats::documents::{
    DOCUMENT_LIMIT_BYTES, Descriptor, DocumentError, ImageManifest, Index, SAVED_AT, other_algorithm, parse,
};
use crate::images::store::layer_batch::LayerBatch;
use crate::images::store::layout::{BLOBS, INDEX_FILE, LAYERS, Layout, OWN_FOLDER, StoredLayer, distinct, read_small};
use crate::images::store::lock::StoreLock;
use crate::images::store::name_records::forget_names;
use crate::images::store::released::release;
use crate::images::store::writer::{known_records, write};
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
        kept.extend(reached_by_foreign(layout));
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

    /// Leaves blobs where they are, for reasons that no entry of the index gives.
    pub fn keep(&mut self, kept: &HashSet<Digest>) {
        self.blobs.retain(|digest, _| !kept.contains(digest));
    }

    /// Takes it out of the store, whose lock is held and whose index has been read since.
    pub fn carry_out(&self, _lock: &StoreLock, layout: &Layout, reporter: &Reporter) -> Result<(), ImagesError> {
        if !self.entries.is_empty() {
            forget_names(layout.folder(), self.names.iter().map(String::as_str))?;
            let mut index = layout.index.clone();
            index.manifests.retain(|entry| !self.entries.contains(entry));
            // Before the index: a run that is cut off behind it leaves blobs that the next prune must know for these.
            release(layout, self.blobs.keys());
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
        sync_dir(&folder).map_err(|source| ImagesError::file(message!("verb-sync"), &folder, source))?;
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
    let records = known_records(&folder).map_err(|source| ImagesError::file(message!("verb-list"), &folder, source))?;
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
    named.extend(reached_by_foreign(layout));
    let folder = layout.folder().join(BLOBS);
    let failed = |source| ImagesError::file(message!("verb-list"), &folder, source);
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
    let mut all = Reach::new(layout, Unreadable::LeadsNowhere);
    for entry in entries {
        // Errors are for those who want to know.
        let _ = all.add(entry);
    }
    all.blobs
}

/// What the entries lead to that nothing here can use ([`Index::foreign`]), as far as they can be read.
fn reached_by_foreign(layout: &Layout) -> HashSet<Digest> {
    let mut all = Reach::new(layout, Unreadable::LeadsNowhere);
    for entry in &layout.index.foreign {
        all.elsewhere.clear();
        other_digests(entry, &mut all.elsewhere);
        let mut documents = Vec::new();
        descriptors(entry, &mut |descriptor| documents.push(descriptor));
        for document in &mut documents {
            // The size that is said may be impossible.
            document.size = size_of(&layout.blob_path(&document.digest)).ok().flatten().unwrap_or_default();
        }
        let _ = all.follow(documents, None);
    }
    all.blobs
}

/// All blobs that index entries lead to, whatever kinds of documents others put there: every digest that a document
/// names counts.
fn reached(layout: &Layout, entries: &[&Descriptor]) -> Result<HashSet<Digest>, ImagesError> {
    let mut all = Reach::new(layout, Unreadable::IsAnError);
    entries.iter().try_for_each(|entry| all.add(entry))?;
    Ok(all.blobs)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    IsAnError,
    LeadsNowhere,
}

/// Blobs that something leads to, as far as has been looked.
struct Reach<'a> {
    layout: &'a Layout,
    unreadable: Unreadable,
    blobs: HashSet<Digest>,
    /// Digests of other algorithms that are still to be followed: their documents lie in folders of their own, which no
    /// prune touches, and may name blobs of ours.
    elsewhere: Vec<String>,
    seen_elsewhere: HashSet<String>,
}

impl<'a> Reach<'a> {
    fn new(layout: &'a Layout, unreadable: Unreadable) -> Self {
        let (blobs, seen_elsewhere) = (HashSet::new(), HashSet::new());
        Self { layout, unreadable, blobs, elsewhere: Vec::new(), seen_elsewhere }
    }

    fn add(&mut self, entry: &Descriptor) -> Result<(), ImagesError> {
        self.follow(vec![entry.clone()], Some(entry))
    }

    /// Follows documents, and all that they lead to. `top` is the entry of the index that they belong to.
    fn follow(&mut self, mut documents: Vec<Descriptor>, top: Option<&Descriptor>) -> Result<(), ImagesError> {
        loop {
            while let Some(digest) = self.elsewhere.pop() {
                if let Some(value) = self.document_elsewhere(&digest) {
                    self.take(&value, &mut documents);
                }
            }
            let Some(document) = documents.pop() else {
                return Ok(());
            };
            if !self.blobs.insert(document.digest.clone()) {
                continue;
            }
            let is_top = top.is_some_and(|top| top.digest == document.digest);
            match self.read(&document, is_top, top) {
                Ok(Some(value)) => self.take(&value, &mut documents),
                Ok(None) => {}
                Err(error) if self.unreadable == Unreadable::IsAnError => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, value: &Value, documents: &mut Vec<Descriptor>) {
        other_digests(value, &mut self.elsewhere);
        let blobs = &mut self.blobs;
        descriptors(value, &mut |descriptor| {
            if is_document(&descriptor) {
                documents.push(descriptor);
            } else {
                blobs.insert(descriptor.digest);
            }
        });
    }

    fn read(
        &self,
        document: &Descriptor,
        is_top: bool,
        top: Option<&Descriptor>,
    ) -> Result<Option<Value>, ImagesError> {
        let path = self.layout.blob_path(&document.digest);
        // Of an index that names many platforms, a copy may hold some only.
        if !is_top && size_of(&path)?.is_none() {
            return Ok(None);
        }
        let name = top.unwrap_or(document).shown_name();
        let unreadable = |source| {
            // What the entry says of its manifest means nothing where it is not what was written.
            let source = match top.filter(|top| !top.seal_holds()) {
                Some(top) => ImagesError::Document {
                    path: self.layout.folder().join(INDEX_FILE),
                    source: DocumentError::BrokenSeal { reference: top.shown_name() },
                },
                None => source,
            };
            ImagesError::UnreadableImage { reference: name.clone(), source: Box::new(source) }
        };
        let bytes = self.layout.document(document, &name).map_err(unreadable)?;
        let value = parse(message!("document-any"), &bytes);
        value.map(Some).map_err(|source| unreadable(ImagesError::Document { path, source }))
    }

    /// A document under a digest of another algorithm, once; nobody compares it with that.
    fn document_elsewhere(&mut self, digest: &str) -> Option<Value> {
        if !self.seen_elsewhere.insert(digest.to_owned()) {
            return None;
        }
        let (algorithm, encoded) = other_algorithm(digest)?;
        let path = self.layout.folder().join(BLOBS).with_file_name(algorithm).join(encoded);
        parse(message!("document-any"), &read_small(&path).ok()??).ok()
    }
}

/// Every digest of another algorithm than SHA-256 inside a document.
fn other_digests(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let digest = fields.get("digest").and_then(Value::as_str);
            found.extend(digest.filter(|digest| other_algorithm(digest).is_some()).map(str::to_owned));
            fields.values().for_each(|value| other_digests(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| other_digests(value, found)),
        _ => {}
    }
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

/// `None` where the file does not exist.
pub(in crate::images) fn size_of(path: &Path) -> Result<Option<u64>, ImagesError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ImagesError::file(message!("verb-read"), path, source)),
    }
}

/// One that is gone already is fine.
pub(in crate::images) fn remove_file(path: &Path) -> Result<(), ImagesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImagesError::file(message!("verb-remove"), path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
