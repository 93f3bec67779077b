//! Writing the archive that an engine loads, straight from the store or from an old archive, in blocking code.
//!
//! Only the layers that the engine lacks are in it, uncompressed, since every engine reads those. The document that
//! turns files into an image goes last, once every layer has passed its digests: a damaged blob breaks the stream
//! off before that, and the engine forgets what it got.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::engine::ImageStore;
use crate::failpoint;
use crate::fs::Digest;
use crate::images::engine_layers::plain_manifest;
use crate::images::error::ImagesError;
use crate::images::formats::archive_writer::{
    ArchiveWriter, LayerEntry, LayerFailure, blob_path, index_json, manifest_item, manifest_json,
};
use crate::images::formats::compression::PlainReader;
use crate::images::formats::documents::{Descriptor, MANIFEST_TYPE};
use crate::images::formats::image_archive::ArchiveError;
use crate::images::formats::tar_reader::{TarKind, TarReader};
use crate::images::pipes::TaskWriter;
use crate::images::store::archives;
use crate::images::store::layer_check::{LayerOf, UnpackFailure, unpack_into};
use crate::images::store::layout::{Layout, StoredLayer};

/// An image of a payload.
#[derive(Debug, Clone)]
pub struct PayloadImage {
    pub config_digest: Digest,
    pub config_bytes: Vec<u8>,
    /// Diff ID and uncompressed size of each layer, lowest first.
    pub layers: Vec<(Digest, u64)>,
}

impl PayloadImage {
    fn plain_manifest(&self) -> Vec<u8> {
        plain_manifest(&self.config_digest, self.config_bytes.len() as u64, &self.layers).to_bytes()
    }

    /// The uncompressed size of all its layers; those count for nothing whose size is not known.
    pub fn total_bytes(&self) -> u64 {
        self.layers.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The ID that the engine will give it.
    pub fn engine_id(&self, store: ImageStore) -> String {
        match store {
            ImageStore::Classic => self.config_digest.to_string(),
            ImageStore::Containerd => Digest::of(&self.plain_manifest()).to_string(),
        }
    }
}

/// The one place that layers come from.
#[derive(Debug, Clone)]
pub enum Origin {
    Store {
        layout: Box<Layout>,
        /// What the messages call the image.
        name: String,
        layers: Vec<StoredLayer>,
    },
    Archive {
        path: PathBuf,
        /// The diff IDs by the paths of their entries.
        layers: HashMap<String, Digest>,
    },
}

impl Origin {
    /// The folder of the store, or the archive's file.
    pub fn place(&self) -> &Path {
        match self {
            Self::Store { layout, .. } => layout.folder(),
            Self::Archive { path, .. } => path,
        }
    }

    /// Looks whether the store has these layers in full length. An image may be in it without layers that the engine has.
    ///
    /// # Errors
    /// The first that is missing or truncated.
    pub fn check_blobs(&self, layers: &[Digest]) -> Result<(), ImagesError> {
        let Self::Store { layout, name, layers: stored } = self else { return Ok(()) };
        let needed: Vec<StoredLayer> = stored.iter().filter(|layer| layers.contains(&layer.diff_id)).cloned().collect();
        layout.missing_layer(&needed, name).map_or(Ok(()), Err)
    }

    /// Whether the uncompressed sizes of all layers are known.
    pub fn knows_sizes(&self) -> bool {
        match self {
            Self::Store { layers, .. } => layers.iter().all(|layer| layer.uncompressed_bytes.is_some()),
            Self::Archive { .. } => true,
        }
    }
}

/// What goes to the engine in one load.
#[derive(Debug, Clone)]
pub struct Payload {
    pub store: ImageStore,
    pub images: Vec<PayloadImage>,
    /// The diff IDs of the layers that go along.
    pub send: Vec<Digest>,
    pub origin: Origin,
}

/// Why a payload was not sent to its end.
#[derive(Debug)]
pub enum PayloadError {
    /// The engine ended the call early, and says why.
    HungUp,
    /// The operator asked for an end, or what it needs will not come; nothing has become an image.
    Stopped,
    Images(ImagesError),
}

impl From<ImagesError> for PayloadError {
    fn from(error: ImagesError) -> Self {
        Self::Images(error)
    }
}

/// Hears how many bytes have been sent, and says whether to go on.
pub trait UploadObserver {
    fn sent(&mut self, bytes: u64);
    fn go_on(&self) -> bool;
    /// Waits until the archive may be closed, which makes images of it; false when it must not.
    fn may_close(&mut self) -> bool;
}

impl Payload {
    /// The uncompressed size of all layers that go along.
    pub fn layer_bytes(&self) -> u64 {
        let sizes = self.sizes();
        self.send.iter().filter_map(|diff_id| sizes.get(diff_id)).sum()
    }

    fn sizes(&self) -> HashMap<Digest, u64> {
        self.images.iter().flat_map(|image| image.layers.iter().cloned()).collect()
    }

    /// Writes all of it; gives the number of bytes.
    pub fn write(&self, out: TaskWriter, observer: &mut dyn UploadObserver) -> Result<u64, PayloadError> {
        let mut archive = ArchiveWriter::new(out);
        failpoint!("images.load.before-archive");
        if self.store == ImageStore::Containerd {
            archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(hung_up)?;
        }
        match &self.origin {
            Origin::Store { layout, name, layers } => {
                self.send_stored(&mut archive, observer, (layout, name, layers))?
            }
            Origin::Archive { path, layers } => self.send_archived(&mut archive, observer, (path, layers))?,
        }
        for image in &self.images {
            archive.file(&self.config_path(&image.config_digest), &image.config_bytes).map_err(hung_up)?;
            if self.store == ImageStore::Containerd {
                let manifest = image.plain_manifest();
                archive.file(&blob_path(&Digest::of(&manifest)), &manifest).map_err(hung_up)?;
            }
        }
        archive.flush().map_err(hung_up)?;
        if !observer.may_close() {
            return Err(PayloadError::Stopped);
        }
        failpoint!("images.load.before-manifest");
        let (name, document) = match self.store {
            ImageStore::Classic => ("manifest.json", self.docker_manifest()),
            ImageStore::Containerd => ("index.json", self.index()),
        };
        archive.file(name, &document).map_err(hung_up)?;
        let (out, written_bytes) = archive.finish().map_err(hung_up)?;
        out.finish().map_err(hung_up)?;
        Ok(written_bytes)
    }

    fn send_stored(
        &self,
        archive: &mut ArchiveWriter<TaskWriter>,
        observer: &mut dyn UploadObserver,
        (layout, name, layers): (&Layout, &str, &[StoredLayer]),
    ) -> Result<(), PayloadError> {
        let sizes = self.sizes();
        for diff_id in &self.send {
            let Some(layer) = layers.iter().find(|layer| layer.diff_id == *diff_id) else {
                continue;
            };
            let path = self.layer_path(diff_id);
            let size_bytes = sizes.get(diff_id).copied().unwrap_or_default();
            let unpacked = unpack_into(archive, (&path, size_bytes), LayerOf { layout, layer, name }, |bytes| {
                observer.passed(bytes)
            });
            match unpacked {
                Ok(()) => layer_is_sent(),
                Err(UnpackFailure::Write(_)) => return Err(PayloadError::HungUp),
                Err(UnpackFailure::Stopped) => return Err(PayloadError::Stopped),
                Err(UnpackFailure::Layer(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn send_archived(
        &self,
        archive: &mut ArchiveWriter<TaskWriter>,
        observer: &mut dyn UploadObserver,
        (path, layers): (&Path, &HashMap<String, Digest>),
    ) -> Result<(), PayloadError> {
        let sizes = self.sizes();
        let unusable = |source| {
            PayloadError::Images(ImagesError::Archive { origin: path.display().to_string(), source: Box::new(source) })
        };
        let mut missing: HashSet<&Digest> = self.send.iter().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let opened = archives::open(path).map_err(|source| ImagesError::file(message!("verb-read"), path, source))?;
        let mut reader = TarReader::new(opened);
        while !missing.is_empty() {
            let Some(entry) = reader.next_entry().map_err(|error| unusable(error.into()))? else {
                break;
            };
            let Some(diff_id) = layers.get(&entry.path).filter(|diff_id| missing.contains(diff_id)) else {
                continue;
            };
            if !matches!(entry.kind, TarKind::File { .. }) {
                continue;
            }
            let unreadable = |source| unusable(ArchiveError::Layer { path: entry.path.clone(), source });
            let (mut plain, _) = PlainReader::sniff(&mut reader).map_err(unreadable)?;
            let size_bytes = sizes.get(diff_id).copied().unwrap_or_default();
            let layer = LayerEntry { path: &self.layer_path(diff_id), diff_id, size_bytes };
            match archive.layer(&layer, &mut plain, |bytes| observer.passed(bytes)) {
                Ok(()) => {
                    layer_is_sent();
                    missing.remove(diff_id)
                }
                Err(LayerFailure::Write(_)) => return Err(PayloadError::HungUp),
                Err(LayerFailure::Stopped) => return Err(PayloadError::Stopped),
                Err(LayerFailure::Read(source)) => return Err(unreadable(source)),
                Err(LayerFailure::Differs) => {
                    let expected = diff_id.clone();
                    return Err(unusable(ArchiveError::WrongDiffId { path: entry.path.clone(), expected }));
                }
            };
        }
        match missing.into_iter().next() {
            None => Ok(()),
            Some(diff_id) => {
                let path = layers.iter().find(|(_, layer)| *layer == diff_id).map(|(path, _)| path.clone());
                Err(unusable(ArchiveError::MissingFile { path: path.unwrap_or_else(|| diff_id.to_string()) }))
            }
        }
    }

    fn layer_path(&self, diff_id: &Digest) -> String {
        match self.store {
            ImageStore::Classic => format!("{}/layer.tar", diff_id.hex()),
            ImageStore::Containerd => blob_path(diff_id),
        }
    }

    fn config_path(&self, digest: &Digest) -> String {
        match self.store {
            ImageStore::Classic => format!("{}.json", digest.hex()),
            ImageStore::Containerd => blob_path(digest),
        }
    }

    /// No names: the image gets its name when it has been looked at.
    fn docker_manifest(&self) -> Vec<u8> {
        let item = |image: &PayloadImage| {
            let layers: Vec<String> = image.layers.iter().map(|(diff_id, _)| self.layer_path(diff_id)).collect();
            manifest_item(&self.config_path(&image.config_digest), None, &layers)
        };
        manifest_json(&self.images.iter().map(item).collect::<Vec<_>>())
    }

    fn index(&self) -> Vec<u8> {
        let manifests = self.images.iter().map(PayloadImage::plain_manifest);
        let described: Vec<Descriptor> = manifests
            .map(|manifest| Descriptor::new(MANIFEST_TYPE, Digest::of(&manifest), manifest.len() as u64))
            .collect();
        index_json(&described)
    }
}

impl dyn UploadObserver + '_ {
    /// Tells that so many bytes of layers were sent; whether to go on.
    fn passed(&mut self, bytes: u64) -> bool {
        self.sent(bytes);
        self.go_on()
    }
}

/// The receiver of the archive ended the call, and its own error says why.
fn hung_up(_: io::Error) -> PayloadError {
    PayloadError::HungUp
}

/// Where the fault tests end a load between two layers.
fn layer_is_sent() {
    failpoint!("images.load.after-layer");
}
