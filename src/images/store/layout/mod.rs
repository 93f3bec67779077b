//! Reading an image store: an OCI image layout (image-spec, "Image Layout").
//!
//! Owns how documents and blobs are found and what is checked on the way in: digest, size, caps. Writes nothing; a
//! store on a read-only disk can be read. That an index can't be read is an error, never an empty index.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::fs::{Digest, open_regular};
use crate::images::error::{BlobDamage, ImagesError};
use crate::images::formats::compression::{Compression, MAGIC_BYTES};
use crate::images::formats::documents::{
    BLOB_LIMIT_BYTES, DOCUMENT_LIMIT_BYTES, Descriptor, DocumentError, ENGINE_IDS, ImageConfig, ImageManifest, Index,
    UNCOMPRESSED_SIZE, parse,
};
use crate::images::formats::platform::Platform;
use crate::images::names::{engine_name, entry_names};
use crate::manifest::Reference;
use crate::report::Message;

pub(in crate::images) const LAYOUT_FILE: &str = "oci-layout";
pub(in crate::images) const INDEX_FILE: &str = "index.json";
pub(in crate::images) const BLOBS: &str = "blobs/sha256";
/// The folder for what is ours alone: the lock, what is known of layers and archives. Others leave it alone, and the
/// store means the same without it.
pub(in crate::images) const OWN_FOLDER: &str = ".dpl-store";
/// What is known of layers whose image may not be in the index yet, in the store's own folder.
pub(in crate::images) const LAYERS: &str = "layers";
/// The names of images, in the store's own folder.
pub(in crate::images) const NAMES: &str = "names";

/// Every folder of a store in which files are written, whether it is there or not.
pub(in crate::images) fn written_folders(store: &Path) -> [PathBuf; 5] {
    let own = store.join(OWN_FOLDER);
    [store.to_owned(), store.join(BLOBS), own.join(LAYERS), own.join(NAMES), own]
}

/// Whether a path leads to a file that is part of a store, or would be one; archives beside it are not.
pub(in crate::images) fn is_part_of(store: &Path, path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(store), Ok(folder), Some(name)) = (store.canonicalize(), folder.canonicalize(), path.file_name()) else {
        return false;
    };
    let Ok(below) = folder.strip_prefix(&store) else {
        return false;
    };
    match below.iter().next() {
        Some(first) => first == OWN_FOLDER || Path::new(BLOBS).starts_with(first),
        None => name == INDEX_FILE || name == LAYOUT_FILE,
    }
}

/// A store, as its index was when it was opened.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
    /// Whose image is meant by an index of several platforms.
    platform: Platform,
    pub(in crate::images) index: Index,
}

/// An image of the store, with its documents read and checked.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// What the error messages call it.
    pub name: String,
    pub manifest: Descriptor,
    /// The digest of the configuration: the image's identity everywhere.
    pub config_digest: Digest,
    pub config_bytes: Vec<u8>,
    pub config: ImageConfig,
    /// Lowest first, one for each diff ID.
    pub layers: Vec<StoredLayer>,
    /// What engines with the containerd store were seen to call it.
    pub engine_ids: Vec<String>,
}

/// A layer as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLayer {
    pub diff_id: Digest,
    pub blob: Digest,
    pub size_bytes: u64,
    pub media_type: String,
    /// Known for what `dpl` wrote.
    pub uncompressed_bytes: Option<u64>,
}

impl StoredLayer {
    pub(in crate::images) fn descriptor(&self) -> Descriptor {
        let descriptor = Descriptor::new(self.media_type.clone(), self.blob.clone(), self.size_bytes);
        match self.uncompressed_bytes {
            Some(bytes) => descriptor.with(UNCOMPRESSED_SIZE, bytes.to_string()),
            None => descriptor,
        }
    }
}

impl StoredImage {
    /// What all of it takes in the store.
    pub fn total_bytes(&self) -> u64 {
        let layers: u64 = distinct(&self.layers).map(|layer| layer.size_bytes).sum();
        self.manifest.size + self.config_bytes.len() as u64 + layers
    }
}

/// Each blob once, in order.
pub(in crate::images) fn distinct(layers: &[StoredLayer]) -> impl Iterator<Item = &StoredLayer> {
    let mut seen = std::collections::HashSet::new();
    layers.iter().filter(move |layer| seen.insert(&layer.blob))
}

/// The familiar names that the index of a store lists; nothing else is read, and what is no store has none.
pub fn stored_names(folder: &Path) -> Vec<String> {
    let layout = Layout::open(folder).ok().flatten();
    layout.iter().flat_map(|layout| entry_names(&layout.index.manifests)).flatten().collect()
}

impl Layout {
    /// As [`Layout::open_for`] this machine's platform, for commands that ask no engine.
    pub fn open(folder: &Path) -> Result<Option<Self>, ImagesError> {
        Self::open_for(folder, &Platform::host())
    }

    /// `None` where the folder is missing or is no layout. An index of several platforms means the image for `platform`.
    pub fn open_for(folder: &Path, platform: &Platform) -> Result<Option<Self>, ImagesError> {
        let version = read_small(&folder.join(LAYOUT_FILE))?;
        let index = read_small(&folder.join(INDEX_FILE))?;
        if let Some(version) = &version {
            #[derive(Deserialize)]
            struct Version {
                #[serde(rename = "imageLayoutVersion")]
                version: Value,
            }
            let path = folder.join(LAYOUT_FILE);
            let version: Version = parse(message!("words", text = LAYOUT_FILE), version)
                .map_err(|source| ImagesError::Document { path, source })?;
            // The only version that there is; it has not moved with the specification.
            if version.version != "1.0.0" {
                // A later one may be a number: that is no damage, which a repair would mend.
                let version = version.version.as_str().map_or_else(|| version.version.to_string(), str::to_owned);
                let version = version.escape_debug().take(60).collect();
                return Err(ImagesError::LayoutVersion { folder: folder.to_owned(), version });
            }
        }
        match (version, index) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(not_a_store(folder, message!("store-index-missing"))),
            (_, Some(bytes)) => Self::of_index(folder, platform, &bytes).map(Some),
        }
    }

    /// As [`Layout::open`], by the index alone: a repair writes `oci-layout` again where it can't be read.
    pub(in crate::images) fn open_by_index(folder: &Path) -> Result<Option<Self>, ImagesError> {
        let index = read_small(&folder.join(INDEX_FILE))?;
        index.map(|bytes| Self::of_index(folder, &Platform::host(), &bytes)).transpose()
    }

    fn of_index(folder: &Path, platform: &Platform, bytes: &[u8]) -> Result<Self, ImagesError> {
        let path = folder.join(INDEX_FILE);
        let index = Index::parse(bytes).map_err(|source| ImagesError::Document { path, source })?;
        Ok(Self { folder: folder.to_owned(), platform: platform.clone(), index })
    }

    /// A store whose index is this one, whatever its file says.
    pub(in crate::images) fn with_index(folder: &Path, index: Index) -> Self {
        Self { folder: folder.to_owned(), platform: Platform::host(), index }
    }

    pub(in crate::images) fn platform(&self) -> &Platform {
        &self.platform
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        blob_path(&self.folder, digest)
    }

    /// The entries of the index, each with what it is called.
    pub(in crate::images) fn named_entries(&self) -> impl Iterator<Item = (&Descriptor, Option<String>)> {
        self.index.manifests.iter().zip(entry_names(&self.index.manifests))
    }

    /// The index entry of a reference, however its name is spelled there.
    pub fn entry(&self, reference: &Reference) -> Option<&Descriptor> {
        let wanted = engine_name(reference)?;
        self.named_entries().find(|(_, name)| name.as_ref() == Some(&wanted)).map(|(entry, _)| entry)
    }

    /// Reads the image of a reference; `None` where the store has none.
    pub fn image(&self, reference: &Reference) -> Result<Option<StoredImage>, ImagesError> {
        let Some(entry) = self.entry(reference) else {
            return Ok(None);
        };
        let wanted = engine_name(reference);
        // Programs differ in which of them they take.
        if self.named_entries().any(|(other, name)| name == wanted && other.digest != entry.digest) {
            let source = DocumentError::NameTwice { reference: wanted.unwrap_or_default() };
            return Err(ImagesError::Document { path: self.folder.join(INDEX_FILE), source });
        }
        self.read_image(entry).map(Some)
    }

    /// As [`Layout::read_image_for`] the platform that the store was opened for.
    pub fn read_image(&self, entry: &Descriptor) -> Result<StoredImage, ImagesError> {
        self.read_image_for(entry, &self.platform)
    }

    /// Reads the image that an index entry names. Where that is an index of several platforms, as other programs write
    /// them, `platform` is meant.
    pub fn read_image_for(&self, entry: &Descriptor, platform: &Platform) -> Result<StoredImage, ImagesError> {
        let name = entry.shown_name();
        if !entry.seal_holds() {
            let source = DocumentError::BrokenSeal { reference: name };
            return Err(ImagesError::Document { path: self.folder.join(INDEX_FILE), source });
        }
        if entry.is_index() {
            let platforms = self.platforms(entry)?;
            let chosen = platform.choose(&platforms);
            let mut chosen = chosen
                .map_err(|source| ImagesError::NoPlatform { reference: name.clone(), source: Box::new(source) })?
                .clone();
            chosen.annotations = entry.annotations.clone();
            return self.read_manifest(&chosen, name);
        }
        self.read_manifest(entry, name)
    }

    /// The images of an index of several platforms.
    pub(in crate::images) fn platforms(&self, entry: &Descriptor) -> Result<Vec<Descriptor>, ImagesError> {
        let name = entry.shown_name();
        let index = Index::parse(&self.document(entry, &name)?);
        Ok(index.map_err(|source| self.unusable(&name, &entry.digest, source))?.manifests)
    }

    /// Reads the image that a descriptor names by digest; nobody's seal covers it.
    pub(in crate::images) fn read_manifest(
        &self,
        entry: &Descriptor,
        name: String,
    ) -> Result<StoredImage, ImagesError> {
        let wrong = |digest, source| self.unusable(&name, digest, source);
        entry.check_is_manifest().map_err(|source| wrong(&entry.digest, source))?;
        let manifest_bytes = self.document(entry, &name)?;
        let manifest = ImageManifest::parse(&manifest_bytes).map_err(|source| wrong(&entry.digest, source))?;
        let config_bytes = self.document(&manifest.config, &name)?;
        let config = ImageConfig::parse(&config_bytes).map_err(|source| wrong(&manifest.config.digest, source))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids().len());
        if layers != diff_ids {
            return Err(wrong(&entry.digest, DocumentError::LayerCount { layers, diff_ids }));
        }
        let layers = manifest.layers.iter().zip(config.diff_ids()).map(|(layer, diff_id)| StoredLayer {
            diff_id: diff_id.clone(),
            blob: layer.digest.clone(),
            size_bytes: layer.size,
            media_type: layer.media_type.clone(),
            uncompressed_bytes: layer
                .annotation(UNCOMPRESSED_SIZE)
                .and_then(|size| size.parse().ok())
                .filter(|size| *size <= BLOB_LIMIT_BYTES),
        });
        let engine_ids = entry.annotation(ENGINE_IDS).unwrap_or_default();
        // Some programs call Docker's manifests OCI's in the index. What the document says of itself counts, so that an
        // entry made of this one says it too.
        let described = Descriptor { media_type: manifest.media_type.clone(), ..entry.clone() };
        Ok(StoredImage {
            manifest: described,
            config_digest: manifest.config.digest.clone(),
            layers: layers.collect(),
            engine_ids: engine_ids.split_whitespace().map(str::to_owned).collect(),
            name: name.clone(),
            config_bytes,
            config,
        })
    }

    /// What is wrong with the document of this digest: nothing where it is only of another kind.
    fn unusable(&self, name: &str, digest: &Digest, source: DocumentError) -> ImagesError {
        let path = self.blob_path(digest);
        match source.is_other_kind() {
            true => ImagesError::OtherKind { reference: name.to_owned(), path, source },
            false => ImagesError::Document { path, source },
        }
    }

    /// Reads every image that the index names and that can be read.
    pub fn images(&self) -> impl Iterator<Item = StoredImage> {
        self.index.manifests.iter().filter_map(|entry| self.read_image(entry).ok())
    }

    /// The first of the image's blobs that is missing or of another size than its descriptor says; reads none.
    pub fn missing_blob(&self, image: &StoredImage) -> Option<ImagesError> {
        self.missing_layer(&image.layers, &image.name)
    }

    /// As [`Layout::missing_blob`], of some layers of an image that messages call `name`.
    pub fn missing_layer(&self, layers: &[StoredLayer], name: &str) -> Option<ImagesError> {
        distinct(layers).find_map(|layer| self.check_size(&layer.blob, layer.size_bytes, name).err())
    }

    /// Opens a layer's blob, with the compression that its first bytes show.
    pub fn open_layer(&self, layer: &StoredLayer, name: &str) -> Result<(File, Compression), ImagesError> {
        let path = self.blob_path(&layer.blob);
        let read_error = |source| ImagesError::file(message!("verb-read"), &path, source);
        let mut file = self.check_size(&layer.blob, layer.size_bytes, name)?;
        let mut first = Vec::with_capacity(MAGIC_BYTES);
        (&mut file).take(MAGIC_BYTES as u64).read_to_end(&mut first).map_err(read_error)?;
        io::Seek::rewind(&mut file).map_err(read_error)?;
        Ok((file, Compression::of(&first)))
    }

    fn check_size(&self, digest: &Digest, expected_bytes: u64, name: &str) -> Result<File, ImagesError> {
        let path = self.blob_path(digest);
        let damaged = |why| ImagesError::DamagedBlob { reference: name.to_owned(), path: path.clone(), why };
        let file = match open_regular(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(BlobDamage::Missing)),
            Err(source) => return Err(ImagesError::file(message!("verb-read"), &path, source)),
        };
        let size_bytes =
            file.metadata().map_err(|source| ImagesError::file(message!("verb-read"), &path, source))?.len();
        if size_bytes == expected_bytes {
            Ok(file)
        } else {
            Err(damaged(BlobDamage::WrongSize { size_bytes, expected_bytes }))
        }
    }

    /// A document's bytes, whose digest and size are compared.
    pub(in crate::images) fn document(&self, descriptor: &Descriptor, name: &str) -> Result<Vec<u8>, ImagesError> {
        let path = self.blob_path(&descriptor.digest);
        if descriptor.size > DOCUMENT_LIMIT_BYTES {
            let source = DocumentError::TooLarge { what: message!("document-any"), size_bytes: descriptor.size };
            return Err(ImagesError::Document { path, source });
        }
        let file = self.check_size(&descriptor.digest, descriptor.size, name)?;
        let mut bytes = Vec::with_capacity(descriptor.size as usize);
        file.take(descriptor.size)
            .read_to_end(&mut bytes)
            .map_err(|source| ImagesError::file(message!("verb-read"), &path, source))?;
        if Digest::of(&bytes) == descriptor.digest {
            Ok(bytes)
        } else {
            Err(ImagesError::DamagedBlob { reference: name.to_owned(), path, why: BlobDamage::WrongDigest })
        }
    }
}

pub(in crate::images) fn blob_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(BLOBS).join(digest.hex())
}

fn not_a_store(folder: &Path, why: Message) -> ImagesError {
    ImagesError::NotAStore { folder: folder.to_owned(), why }
}

/// Why a folder of images is not there; `None` where it is. One on a disk that is not mounted is not an empty one.
pub(in crate::images) fn why_absent(folder: &Path) -> Option<Message> {
    if folder.exists() {
        return None;
    }
    Some(match std::fs::read_link(folder) {
        Ok(target) => message!("store-link-to-nothing", target = target.display()),
        Err(_) => message!("store-absent"),
    })
}

/// A document that nothing gives a digest for; `None` when it is not there. Without the mark that some editors put before
/// UTF-8.
pub(in crate::images) fn read_small(path: &Path) -> Result<Option<Vec<u8>>, ImagesError> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(ImagesError::file(message!("verb-read"), path, source)),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too large.
    file.take(DOCUMENT_LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ImagesError::file(message!("verb-read"), path, source))?;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
