//! Writing the archive that an engine loads, straight from the store or from an old archive, in blocking code.
//!
//! Only the layers that the engine lacks are in it, uncompressed, since every engine reads those. The document that
//! turns files into an image goes last, once every layer has passed its digests: a damaged blob breaks the stream
//! off before that, and the engine forgets what it got.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::engine::ImageStore;
use crate::failpoint;
use crate::fs::{Digest, Hasher};
use crate::images::error::{BlobDamage, ImagesError};
use crate::images::formats::compression::PlainReader;
use crate::images::formats::documents::{Descriptor, INDEX_TYPE, MANIFEST_TYPE};
use crate::images::formats::image_archive::ArchiveError;
use crate::images::formats::tar_reader::{END_MARK, TarKind, TarReader, file_header, padding};
use crate::images::layers::plain_manifest;
use crate::images::pipes::{CHUNK_BYTES, TaskWriter};
use crate::images::store::archives;
use crate::images::store::layer_check::Unpacking;
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

/// Where the layers come from.
#[derive(Debug, Clone)]
pub enum Origin {
    Store {
        layout: Layout,
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
        let mut archive_writer = ArchiveWriter { store: self.store, out, sizes: self.sizes(), written: 0, observer };
        failpoint!("images.load.before-archive");
        if self.store == ImageStore::Containerd {
            archive_writer.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        match &self.origin {
            Origin::Store { layout, name, layers } => self.send_stored(&mut archive_writer, layout, name, layers)?,
            Origin::Archive { path, layers } => self.send_archived(&mut archive_writer, path, layers)?,
        }
        for image in &self.images {
            archive_writer.file(&archive_writer.config_path(&image.config_digest), &image.config_bytes)?;
            if self.store == ImageStore::Containerd {
                let manifest = image.plain_manifest();
                archive_writer.file(&archive_writer.blob_path(&Digest::of(&manifest)), &manifest)?;
            }
        }
        archive_writer.out.flush().map_err(|_| PayloadError::HungUp)?;
        if !archive_writer.observer.may_close() {
            return Err(PayloadError::Stopped);
        }
        failpoint!("images.load.before-manifest");
        let (name, document) = match self.store {
            ImageStore::Classic => ("manifest.json", self.docker_manifest(&archive_writer)),
            ImageStore::Containerd => ("index.json", self.index()),
        };
        archive_writer.file(name, &document)?;
        archive_writer.finish()
    }

    fn send_stored(
        &self,
        archive_writer: &mut ArchiveWriter<'_>,
        layout: &Layout,
        name: &str,
        layers: &[StoredLayer],
    ) -> Result<(), PayloadError> {
        for diff_id in &self.send {
            let Some(layer) = layers.iter().find(|layer| layer.diff_id == *diff_id) else {
                continue;
            };
            let damaged = |why| {
                let path = layout.blob_path(&layer.blob);
                PayloadError::Images(ImagesError::DamagedBlob { reference: name.to_owned(), path, why })
            };
            let (file, compression) = layout.open_layer(layer, name)?;
            let mut unpacking = Unpacking::start(file, compression, layer.blob.clone());
            match archive_writer.layer(diff_id, &mut unpacking.reader) {
                // The blob's own digest first: when it is wrong, what it unpacks to means nothing.
                Err(LayerFailure::HungUp) => return Err(PayloadError::HungUp),
                Err(LayerFailure::Stopped) => return Err(PayloadError::Stopped),
                Err(LayerFailure::Read(_)) => {
                    let why = unpacking.verdict().err();
                    return Err(damaged(why.unwrap_or(BlobDamage::WrongDigest)));
                }
                Err(LayerFailure::Differs) => {
                    let _ = io::copy(&mut unpacking.reader, &mut io::sink());
                    let why = unpacking.verdict().err();
                    return Err(damaged(why.unwrap_or(BlobDamage::WrongDiffId { expected: diff_id.clone() })));
                }
                Ok(()) => unpacking.verdict().map_err(damaged)?,
            }
        }
        Ok(())
    }

    fn send_archived(
        &self,
        archive_writer: &mut ArchiveWriter<'_>,
        path: &Path,
        layers: &HashMap<String, Digest>,
    ) -> Result<(), PayloadError> {
        let archive = |source| {
            PayloadError::Images(ImagesError::Archive { origin: path.display().to_string(), source: Box::new(source) })
        };
        let mut missing: HashSet<&Digest> = self.send.iter().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let opened = archives::open(path).map_err(|source| ImagesError::file("read", path, source))?;
        let mut reader = TarReader::new(opened);
        while !missing.is_empty() {
            let Some(entry) = reader.next_entry().map_err(|error| archive(error.into()))? else {
                break;
            };
            let Some(diff_id) = layers.get(&entry.path).filter(|diff_id| missing.contains(diff_id)) else {
                continue;
            };
            if !matches!(entry.kind, TarKind::File { .. }) {
                continue;
            }
            let unreadable = |source| archive(ArchiveError::Layer { path: entry.path.clone(), source });
            let (mut plain, _) = PlainReader::sniff(&mut reader).map_err(unreadable)?;
            match archive_writer.layer(diff_id, &mut plain) {
                Ok(()) => missing.remove(diff_id),
                Err(LayerFailure::HungUp) => return Err(PayloadError::HungUp),
                Err(LayerFailure::Stopped) => return Err(PayloadError::Stopped),
                Err(LayerFailure::Read(source)) => return Err(unreadable(source)),
                Err(LayerFailure::Differs) => {
                    let expected = diff_id.clone();
                    return Err(archive(ArchiveError::WrongDiffId { path: entry.path.clone(), expected }));
                }
            };
        }
        match missing.into_iter().next() {
            None => Ok(()),
            Some(diff_id) => {
                let path = layers.iter().find(|(_, layer)| *layer == diff_id).map(|(path, _)| path.clone());
                Err(archive(ArchiveError::MissingFile { path: path.unwrap_or_else(|| diff_id.to_string()) }))
            }
        }
    }

    /// No names: the image gets its name when it has been looked at.
    fn docker_manifest(&self, archive_writer: &ArchiveWriter<'_>) -> Vec<u8> {
        let items: Vec<_> = self
            .images
            .iter()
            .map(|image| {
                let layers: Vec<String> =
                    image.layers.iter().map(|(diff_id, _)| archive_writer.layer_path(diff_id)).collect();
                json!({"Config": archive_writer.config_path(&image.config_digest), "RepoTags": null, "Layers": layers})
            })
            .collect();
        serde_json::to_vec(&items).expect("JSON values always serialise")
    }

    fn index(&self) -> Vec<u8> {
        let manifests: Vec<Descriptor> = self
            .images
            .iter()
            .map(|image| {
                let manifest = image.plain_manifest();
                Descriptor::new(MANIFEST_TYPE, Digest::of(&manifest), manifest.len() as u64)
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests});
        serde_json::to_vec(&index).expect("JSON values always serialise")
    }
}

/// The archive while it is written.
struct ArchiveWriter<'a> {
    store: ImageStore,
    out: TaskWriter,
    sizes: HashMap<Digest, u64>,
    written: u64,
    observer: &'a mut dyn UploadObserver,
}

/// Why a layer did not get through.
enum LayerFailure {
    HungUp,
    Stopped,
    Read(io::Error),
    /// It is longer or shorter than said, or is another layer.
    Differs,
}

impl ArchiveWriter<'_> {
    fn layer_path(&self, diff_id: &Digest) -> String {
        match self.store {
            ImageStore::Classic => format!("{}/layer.tar", diff_id.hex()),
            ImageStore::Containerd => self.blob_path(diff_id),
        }
    }

    fn config_path(&self, digest: &Digest) -> String {
        match self.store {
            ImageStore::Classic => format!("{}.json", digest.hex()),
            ImageStore::Containerd => self.blob_path(digest),
        }
    }

    fn blob_path(&self, digest: &Digest) -> String {
        format!("blobs/sha256/{}", digest.hex())
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), PayloadError> {
        let size = bytes.len() as u64;
        let hung_up = |_| PayloadError::HungUp;
        self.put(&file_header(path, size)).map_err(hung_up)?;
        self.put(bytes).map_err(hung_up)?;
        self.pad(size).map_err(hung_up)
    }

    /// Sends a layer's uncompressed bytes and compares them with its diff ID and size.
    fn layer(&mut self, diff_id: &Digest, plain: &mut impl Read) -> Result<(), LayerFailure> {
        let size = self.sizes.get(diff_id).copied().ok_or(LayerFailure::Differs)?;
        let hung_up = |_| LayerFailure::HungUp;
        self.put(&file_header(&self.layer_path(diff_id), size)).map_err(hung_up)?;
        let mut hasher = Hasher::new();
        let mut left = size;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = match plain.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LayerFailure::Read(error)),
            };
            left = left.checked_sub(read as u64).ok_or(LayerFailure::Differs)?;
            if !self.observer.go_on() {
                return Err(LayerFailure::Stopped);
            }
            hasher.update(&buffer[..read]);
            self.put(&buffer[..read]).map_err(hung_up)?;
            self.observer.sent(read as u64);
        }
        if left != 0 || hasher.finish() != *diff_id {
            return Err(LayerFailure::Differs);
        }
        self.pad(size).map_err(hung_up)?;
        failpoint!("images.load.after-layer");
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = [0; 512];
        self.put(&zeros[..padding(size) as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<u64, PayloadError> {
        self.put(&END_MARK).map_err(|_| PayloadError::HungUp)?;
        self.out.finish().map_err(|_| PayloadError::HungUp)?;
        Ok(self.written)
    }
}
