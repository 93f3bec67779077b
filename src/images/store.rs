//! Writing to an image store: blobs first and durably, the index last.
//!
//! One writer at a time, by a lock on a file of the store's own folder. Whatever interrupts a writer, the index names
//! whole images only; what it left unfinished, the next writer removes, and layers that were done are found again.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::documents::{
    CONFIG_TYPE, CONTAINERD_NAME, Descriptor, ENGINE_IDS, ImageManifest, Index, MANIFEST_TYPE, REF_NAME, SAVED_AT,
};
use super::error::ImagesError;
use super::layout::{BLOBS, INDEX_FILE, LAYOUT_FILE, Layout, OWN_FOLDER, StoredLayer};
use super::naming::{containerd_name, engine_name};
use crate::failpoint;
use crate::fs::{Digest, Mode, create_dir_durably, write_durably};
use crate::manifest::types::Reference;

const LAYOUT_VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// What is known of layers whose image may not be in the index yet.
const LAYERS: &str = "layers";
const TEMPORARY_PREFIX: &str = ".dpl-tmp-";

/// A store, locked for writing until it is dropped.
pub struct StoreWriter {
    layout: Layout,
    _lock: File,
}

/// The layers that a store holds, by diff ID.
pub type KnownLayers = HashMap<Digest, StoredLayer>;

/// A reference that is to name an image.
pub struct NewName {
    pub reference: Reference,
    pub manifest: Descriptor,
    /// The IDs under which engines of the containerd store are known to have it.
    pub engine_ids: Vec<String>,
}

/// What was added for an image's documents.
pub struct AddedDocuments {
    pub manifest: Descriptor,
    /// Bytes that the store did not have.
    pub new_bytes: u64,
}

impl StoreWriter {
    /// Opens the store, or makes an empty one, and removes what an interrupted writer left unfinished.
    pub fn open(folder: &Path) -> Result<Self, ImagesError> {
        let own = folder.join(OWN_FOLDER);
        for made in [&folder.join(BLOBS), &own.join(LAYERS)] {
            create_dir_durably(made).map_err(|source| ImagesError::file("make the folder", made, source))?;
        }
        let lock = lock_folder(folder)?;
        for swept in [folder.join(BLOBS), own.join(LAYERS)] {
            sweep(&swept).map_err(|source| ImagesError::file("clean up", &swept, source))?;
        }
        let layout = match Layout::open(folder)? {
            Some(layout) => layout,
            None => {
                // In this order: a layout without an index would be one that lost it.
                write(&folder.join(INDEX_FILE), &Index::default().to_bytes())?;
                Layout::open(folder)?.ok_or_else(|| ImagesError::NotAStore {
                    folder: folder.to_owned(),
                    why: "its index.json vanished",
                })?
            }
        };
        let version = folder.join(LAYOUT_FILE);
        if !version.exists() {
            write(&version, LAYOUT_VERSION)?;
        }
        Ok(Self { layout, _lock: lock })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Notes what a blob that has just been committed holds, so that the next save finds it even if this one ends
    /// before the index names it.
    pub fn record_layer(folder: &Path, layer: &StoredLayer) -> io::Result<()> {
        let record = serde_json::to_vec(&LayerRecord::from(layer)).map_err(io::Error::other)?;
        write_durably(&folder.join(OWN_FOLDER).join(LAYERS).join(layer.diff_id.hex()), &record, Mode::Shared)
    }

    /// Adds an image's configuration, as it came, and the manifest that joins it to its layers.
    pub fn add_image(&self, config_bytes: &[u8], layers: &[StoredLayer]) -> Result<AddedDocuments, ImagesError> {
        let (config, config_new) = self.add_document(CONFIG_TYPE, config_bytes)?;
        let manifest = ImageManifest::new(config, layers.iter().map(StoredLayer::descriptor).collect());
        failpoint!("images.save.before-manifest");
        let (manifest, manifest_new) = self.add_document(MANIFEST_TYPE, &manifest.to_bytes())?;
        Ok(AddedDocuments { manifest, new_bytes: config_new + manifest_new })
    }

    /// Lets references name images, in one step. What they named before loses the name, not its blobs.
    pub fn name_images(&mut self, names: &[NewName]) -> Result<(), ImagesError> {
        if names.is_empty() {
            return Ok(());
        }
        // Read again: other programs that write layouts know nothing of our lock.
        let folder = self.layout.folder().to_owned();
        let fresh = Layout::open(&folder)?
            .ok_or(ImagesError::NotAStore { folder: folder.clone(), why: "its index.json vanished" })?;
        let mut index = fresh.index;
        let saved_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for name in names {
            let exact = containerd_name(&name.reference);
            let familiar = engine_name(&name.reference).unwrap_or_else(|| name.reference.to_string());
            index.manifests.retain(|entry| match entry.annotation(CONTAINERD_NAME) {
                Some(other) => other != exact,
                None => entry.annotation(REF_NAME) != Some(&familiar),
            });
            let mut entry = Descriptor::new(MANIFEST_TYPE, name.manifest.digest.clone(), name.manifest.size)
                .with(REF_NAME, familiar)
                .with(CONTAINERD_NAME, exact)
                .with(SAVED_AT, &saved_at);
            if !name.engine_ids.is_empty() {
                entry = entry.with(ENGINE_IDS, name.engine_ids.join(" "));
            }
            index.manifests.push(entry);
        }
        failpoint!("images.save.before-index");
        write(&folder.join(INDEX_FILE), &index.to_bytes())?;
        failpoint!("images.save.after-index");
        self.layout.index = index;
        Ok(())
    }

    fn add_document(&self, media_type: &str, bytes: &[u8]) -> Result<(Descriptor, u64), ImagesError> {
        let digest = Digest::of(bytes);
        let path = self.layout.blob_path(&digest);
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        // Compared, not trusted: a damaged copy is replaced by a good one.
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            return Ok((descriptor, 0));
        }
        failpoint!("images.save.before-document");
        write(&path, bytes)?;
        let new_bytes = descriptor.size;
        Ok((descriptor, new_bytes))
    }
}

/// All layers whose blobs are there in full length, those of interrupted saves included.
pub fn known_layers(layout: &Layout) -> KnownLayers {
    let records = layout.folder().join(OWN_FOLDER).join(LAYERS);
    let recorded = fs::read_dir(records).into_iter().flatten().flatten().filter_map(|file| {
        let record: LayerRecord = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        Some(StoredLayer::from(record))
    });
    // An image that can't be read is the business of `verify`, and no reason not to save another.
    let mut known: KnownLayers = HashMap::new();
    for layer in recorded.chain(layout.images().flat_map(|image| image.layers)) {
        let size = fs::metadata(layout.blob_path(&layer.blob)).map(|metadata| metadata.len());
        if layer.uncompressed_bytes.is_some() && size.is_ok_and(|size| size == layer.size_bytes) {
            known.insert(layer.diff_id.clone(), layer);
        }
    }
    known
}

/// The file of a layer in the store's own folder.
#[derive(Serialize, Deserialize)]
struct LayerRecord {
    diff_id: Digest,
    blob: Digest,
    size_bytes: u64,
    media_type: String,
    uncompressed_bytes: u64,
}

impl From<LayerRecord> for StoredLayer {
    fn from(record: LayerRecord) -> Self {
        Self {
            diff_id: record.diff_id,
            blob: record.blob,
            size_bytes: record.size_bytes,
            media_type: record.media_type,
            uncompressed_bytes: Some(record.uncompressed_bytes),
        }
    }
}

impl From<&StoredLayer> for LayerRecord {
    fn from(layer: &StoredLayer) -> Self {
        Self {
            diff_id: layer.diff_id.clone(),
            blob: layer.blob.clone(),
            size_bytes: layer.size_bytes,
            media_type: layer.media_type.clone(),
            uncompressed_bytes: layer.uncompressed_bytes.unwrap_or_default(),
        }
    }
}

/// Locks a folder of images for one writer, until the file is dropped, and removes what an interrupted one left in it
/// and in the store's own folder. The folder is made where it is missing.
pub fn lock_folder(folder: &Path) -> Result<File, ImagesError> {
    let own = folder.join(OWN_FOLDER);
    create_dir_durably(&own).map_err(|source| ImagesError::file("make the folder", &own, source))?;
    let file = lock(folder, &own.join("lock"))?;
    for swept in [folder, &own] {
        sweep(swept).map_err(|source| ImagesError::file("clean up", swept, source))?;
    }
    Ok(file)
}

fn lock(folder: &Path, path: &Path) -> Result<File, ImagesError> {
    let failed = |source| ImagesError::file("lock", path, source);
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ImagesError::StoreBusy { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Removes unfinished files; the lock is held, so nobody is writing them.
fn sweep(folder: &Path) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImagesError> {
    write_durably(path, bytes, Mode::Shared).map_err(|source| ImagesError::file("write", path, source))
}
