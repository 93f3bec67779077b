//! Writing to an image store: blobs first and durably, the index last.
//!
//! One writer at a time, by a lock on a file of the store's own folder. Whatever interrupts a writer, the index names
//! whole images only; what it left unfinished, the next writer removes, and layers that were done are found again.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failpoint;
use crate::fs::{Digest, Mode, create_dir_durably, open_regular, write_durably};
use crate::images::error::ImagesError;
use crate::images::formats::documents::{
    CONFIG_TYPE, CONTAINERD_NAME, Descriptor, ENGINE_IDS, ImageManifest, Index, MANIFEST_TYPE, PROJECTS, REF_NAME,
    SAVED_AT,
};
use crate::images::formats::platform::Platform;
use crate::images::names::{containerd_name, engine_name, entry_names, has_bare_tag};
use crate::images::store::collect::reached_as_far_as_it_goes;
use crate::images::store::layout::{BLOBS, INDEX_FILE, LAYERS, LAYOUT_FILE, Layout, OWN_FOLDER, StoredLayer};
use crate::images::store::lock::{StoreLock, lock_folder, refuse_links};
use crate::images::store::name_records::record_names;
use crate::images::store::released::release;
use crate::images::store::sidecar::{read_sidecar, write_sidecar};
use crate::manifest::Reference;

pub(in crate::images) const LAYOUT_VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A store, locked for writing until it is dropped.
pub struct StoreWriter {
    layout: Layout,
    _lock: StoreLock,
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
    /// As [`StoreWriter::open_for`] this machine's platform.
    #[cfg(test)]
    pub fn open(folder: &Path) -> Result<Self, ImagesError> {
        Self::open_for(folder, &Platform::host())
    }

    /// Opens the store, or makes an empty one, and removes what an interrupted writer left unfinished. An index of several
    /// platforms in it means the image for `platform`.
    pub fn open_for(folder: &Path, platform: &Platform) -> Result<Self, ImagesError> {
        let own = folder.join(OWN_FOLDER);
        refuse_links(folder)?;
        for made in [&folder.join(BLOBS), &own.join(LAYERS)] {
            create_dir_durably(made)
                .map_err(|source| ImagesError::file(message!("verb-create-folder"), made, source))?;
        }
        let lock = lock_folder(folder)?;
        let layout = match Layout::open_for(folder, platform)? {
            Some(layout) => layout,
            None => {
                // In this order: a layout without an index would be one that lost it.
                write(&folder.join(INDEX_FILE), &Index::default().to_bytes())?;
                Layout::open_for(folder, platform)?.ok_or_else(|| ImagesError::NotAStore {
                    folder: folder.to_owned(),
                    why: message!("store-index-vanished"),
                })?
            }
        };
        let version = folder.join(LAYOUT_FILE);
        if !version.exists() {
            write(&version, LAYOUT_VERSION)?;
        }
        // What other programs and earlier versions named, too.
        record_names(&layout, &layout.index, &[])?;
        Ok(Self { layout, _lock: lock })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Notes what a blob that is about to be committed holds, so that the next save finds it even if this one ends
    /// before the index names it. Until the blob is there, the note says nothing.
    pub fn record_layer(folder: &Path, layer: &StoredLayer) -> io::Result<()> {
        let path = folder.join(OWN_FOLDER).join(LAYERS).join(layer.diff_id.hex());
        write_sidecar(&path, &LayerRecord::from(layer))
    }

    /// Adds an image's configuration, as it came, and the manifest that joins it to its layers.
    pub fn add_image(&self, config_bytes: &[u8], layers: &[StoredLayer]) -> Result<AddedDocuments, ImagesError> {
        let (config, config_new) = self.add_document(CONFIG_TYPE, config_bytes)?;
        let manifest = ImageManifest::new(config, layers.iter().map(StoredLayer::descriptor).collect());
        failpoint!("images.save.before-manifest");
        let (manifest, manifest_new) = self.add_document(MANIFEST_TYPE, &manifest.to_bytes())?;
        Ok(AddedDocuments { manifest, new_bytes: config_new + manifest_new })
    }

    /// [`StoreWriter::name_images_for`] no project.
    #[cfg(test)]
    pub fn name_images(&mut self, names: &[NewName]) -> Result<(), ImagesError> {
        self.name_images_for(None, names, &[])
    }

    /// Lets references name images, in one step. What they named before loses the name and keeps its blobs.
    ///
    /// `project` is added to `dpl.projects` of each entry in `names` and `kept`, so that another project's prune leaves
    /// them: several projects may share a store, and none knows the manifests of the others.
    pub fn name_images_for(
        &mut self,
        project: Option<&str>,
        names: &[NewName],
        kept: &[Reference],
    ) -> Result<(), ImagesError> {
        let lacks_project = |reference: &Reference| {
            let entry = self.layout.entry(reference);
            project.is_some_and(|project| entry.is_some_and(|entry| !projects_of(entry).contains(project)))
        };
        if names.is_empty() && !kept.iter().any(lacks_project) {
            return Ok(());
        }
        // Read again: other programs that write layouts know nothing of our lock.
        let folder = self.layout.folder().to_owned();
        let fresh = Layout::open_for(&folder, self.layout.platform())?
            .ok_or(ImagesError::NotAStore { folder: folder.clone(), why: message!("store-index-vanished") })?;
        let mut index = fresh.index.clone();
        let (mut moved, mut replaced) = (Vec::new(), Vec::new());
        let saved_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for name in names {
            let exact = containerd_name(&name.reference);
            let familiar = engine_name(&name.reference).unwrap_or_else(|| name.reference.to_string());
            let mut projects: BTreeSet<String> = project.map(str::to_owned).into_iter().collect();
            let called = entry_names(&index.manifests);
            let mut others = Vec::new();
            for (entry, called) in index.manifests.drain(..).zip(called) {
                if called.as_ref() == Some(&familiar) {
                    projects.extend(projects_of(&entry).into_iter().map(str::to_owned));
                    // By a tag alone, another program may still look for it.
                    if has_bare_tag(&entry) {
                        others.push(entry.without(CONTAINERD_NAME));
                    } else {
                        replaced.push(entry);
                    }
                } else if called.is_some() || entry.annotation(CONTAINERD_NAME) != Some(&exact) {
                    others.push(entry);
                } else {
                    replaced.push(entry);
                }
            }
            index.manifests = others;
            moved.push(familiar.clone());
            let mut entry =
                Descriptor::new(&name.manifest.media_type, name.manifest.digest.clone(), name.manifest.size)
                    .with(REF_NAME, familiar)
                    .with(CONTAINERD_NAME, exact)
                    .with(SAVED_AT, &saved_at);
            if !name.engine_ids.is_empty() {
                entry = entry.with(ENGINE_IDS, name.engine_ids.join(" "));
            }
            index.manifests.push(claimed_by(entry, projects));
        }
        for reference in kept {
            if let (Some(project), Some(at)) = (project, position(&index, reference)) {
                let entry = index.manifests[at].clone();
                let mut projects: BTreeSet<String> = projects_of(&entry).into_iter().map(str::to_owned).collect();
                projects.insert(project.to_owned());
                index.manifests[at] = claimed_by(entry, projects).sealed();
            }
        }
        release(&fresh, &reached_as_far_as_it_goes(&fresh, &replaced));
        failpoint!("images.save.before-index");
        write(&folder.join(INDEX_FILE), &index.to_bytes())?;
        failpoint!("images.save.after-index");
        // After the index: a name that a save did not come to would look like one that the index lost.
        record_names(&fresh, &index, &moved)?;
        self.layout.index = index;
        Ok(())
    }

    fn add_document(&self, media_type: &str, bytes: &[u8]) -> Result<(Descriptor, u64), ImagesError> {
        let digest = Digest::of(bytes);
        let path = self.layout.blob_path(&digest);
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        // Compared, not trusted: a damaged copy is replaced by a good one.
        if is_file_with(&path, bytes) {
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
    let records = known_records(&layout.folder().join(OWN_FOLDER).join(LAYERS)).unwrap_or_default();
    let recorded = records.into_iter().filter_map(|(_, layer)| layer);
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

/// The files in which a store's own folder keeps what is known of layers, and what each says; `None` where it can't be
/// understood.
pub(in crate::images) fn known_records(folder: &Path) -> io::Result<Vec<(PathBuf, Option<StoredLayer>)>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut records = Vec::new();
    for file in listed {
        let path = file?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        let record = read_sidecar::<LayerRecord>(&path);
        records.push((path, record.map(StoredLayer::from)));
    }
    Ok(records)
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

/// The projects that are known to need an entry of the index.
pub(in crate::images) fn projects_of(entry: &Descriptor) -> BTreeSet<&str> {
    entry.annotation(PROJECTS).unwrap_or_default().split_whitespace().collect()
}

fn claimed_by(entry: Descriptor, projects: BTreeSet<String>) -> Descriptor {
    if projects.is_empty() {
        return entry.sealed();
    }
    entry.with(PROJECTS, projects.into_iter().collect::<Vec<_>>().join(" ")).sealed()
}

fn position(index: &Index, reference: &Reference) -> Option<usize> {
    let wanted = engine_name(reference);
    entry_names(&index.manifests).into_iter().position(|name| name.is_some() && name == wanted)
}

fn is_file_with(path: &Path, bytes: &[u8]) -> bool {
    let Ok(file) = open_regular(path) else {
        return false;
    };
    let mut present = Vec::new();
    file.take(bytes.len() as u64 + 1).read_to_end(&mut present).is_ok() && present == bytes
}

pub(in crate::images) fn write(path: &Path, bytes: &[u8]) -> Result<(), ImagesError> {
    write_durably(path, bytes, Mode::Shared).map_err(|source| ImagesError::file(message!("verb-write"), path, source))
}
