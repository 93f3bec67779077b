//! Reading what `docker save` writes, in one pass, as data.
//!
//! Engines before 25 write `<id>/layer.tar`, a repeated layer as a symbolic link, and `<digest>.json`; since 25 they
//! write `blobs/sha256/<digest>`. Both say in `manifest.json`, which comes last, which file is what; so every file
//! that may be a layer is handed on as it comes, and what it was is known at the end.

use std::collections::HashMap;
use std::io::{self, Read};

use serde::Deserialize;

use super::documents::{DOCUMENT_LIMIT_BYTES, DocumentError, ImageConfig, parse};
use super::tarball::{TarError, TarKind, TarReader, TarSource};
use crate::fs::Digest;

/// Why an archive is not one of images.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("it has no manifest.json, which `docker save` always writes")]
    NoManifest,
    #[error("the document `{path}` in it can't be used")]
    Document { path: String, source: DocumentError },
    #[error("the file `{path}` that its manifest.json names is not in it")]
    MissingFile { path: String },
    #[error("the file `{path}` does not have the digest that it is named by")]
    WrongDigest { path: String },
    #[error("the layer `{path}` can't be used")]
    Layer { path: String, source: io::Error },
    #[error("the layer `{path}` does not unpack to {expected}, as the image's configuration says")]
    WrongDiffId { path: String, expected: Digest },
    #[error("the image {config} has {layers} layers and {diff_ids} diff IDs")]
    LayerCount { config: Digest, layers: usize, diff_ids: usize },
    #[error("the entry `{path}` is there twice")]
    Twice { path: String },
    #[error("it has more documents than images need")]
    TooManyDocuments,
}

/// An image of an archive; `L` is what became of each of its layers.
#[derive(Debug, Clone)]
pub struct ArchivedImage<L> {
    /// As the archive writes them: `name:tag`.
    pub references: Vec<String>,
    pub config_digest: Digest,
    pub config_bytes: Vec<u8>,
    pub config: ImageConfig,
    /// Lowest first, one for each diff ID.
    pub layers: Vec<L>,
}

/// A file that may be a layer.
pub struct LayerFile<'a> {
    pub path: &'a str,
    pub size_bytes: u64,
    /// The digest of its bytes where its name says one.
    pub promised: Option<Digest>,
}

/// All the documents of an archive together; each of its layers has two small ones.
const DOCUMENTS_LIMIT_BYTES: u64 = 16 << 20;
const MANIFEST: &str = "manifest.json";
/// A first block that says this at 257 is a tar header, whatever it begins with.
const USTAR_AT: std::ops::Range<usize> = 257..262;

/// Reads an archive to its end. `take_layer` gets each file that may be a layer, with its content, of which it reads
/// as much as it likes.
pub fn read_archive<S, L, E>(
    source: S,
    mut take_layer: impl FnMut(LayerFile<'_>, &mut dyn Read) -> Result<L, E>,
) -> Result<Vec<ArchivedImage<L>>, E>
where
    S: TarSource,
    L: Clone,
    E: From<ArchiveError>,
{
    let mut files = Files { documents: HashMap::new(), layers: HashMap::new(), links: HashMap::new(), held_bytes: 0 };
    let mut reader = TarReader::new(source);
    while let Some(entry) = reader.next_entry().map_err(ArchiveError::from)? {
        let size_bytes = match entry.kind {
            TarKind::Folder => continue,
            TarKind::Link { target } => {
                files.check_new(&entry.path)?;
                files.links.insert(entry.path, target);
                continue;
            }
            TarKind::File { size_bytes } => size_bytes,
        };
        files.check_new(&entry.path)?;
        if entry.path.rsplit('/').next() == Some("VERSION") {
            continue;
        }
        let mut first = Vec::with_capacity(512);
        let peeked = (&mut reader).take(512).read_to_end(&mut first);
        peeked.map_err(|error| ArchiveError::from(reader.broken(error)))?;
        if is_document(&first) && (size_bytes <= DOCUMENT_LIMIT_BYTES || entry.path == MANIFEST) {
            files.hold(entry.path, size_bytes, first, &mut reader)?;
        } else {
            let promised = promised(&entry.path);
            let file = LayerFile { path: &entry.path, size_bytes, promised };
            let layer = take_layer(file, &mut first.as_slice().chain(&mut reader))?;
            files.layers.insert(entry.path, layer);
        }
    }
    Ok(files.images()?)
}

/// What has been read of an archive.
struct Files<L> {
    documents: HashMap<String, Vec<u8>>,
    layers: HashMap<String, L>,
    links: HashMap<String, String>,
    held_bytes: u64,
}

/// An entry of `manifest.json` (moby, `image/tarexport`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl<L: Clone> Files<L> {
    /// Programs differ in which of two entries of one name they take.
    fn check_new(&self, path: &str) -> Result<(), ArchiveError> {
        if self.documents.contains_key(path) || self.layers.contains_key(path) || self.links.contains_key(path) {
            return Err(ArchiveError::Twice { path: path.to_owned() });
        }
        Ok(())
    }

    fn hold<S: TarSource>(
        &mut self,
        path: String,
        size: u64,
        first: Vec<u8>,
        reader: &mut TarReader<S>,
    ) -> Result<(), ArchiveError> {
        if size > DOCUMENT_LIMIT_BYTES {
            let source = DocumentError::TooLarge { what: MANIFEST, size_bytes: size };
            return Err(ArchiveError::Document { path, source });
        }
        self.held_bytes += size;
        if self.held_bytes > DOCUMENTS_LIMIT_BYTES {
            return Err(ArchiveError::TooManyDocuments);
        }
        let mut bytes = first;
        reader.read_to_end(&mut bytes).map_err(|error| reader.broken(error))?;
        self.documents.insert(path, bytes);
        Ok(())
    }

    fn images(&self) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
        let manifest = self.documents.get(MANIFEST).ok_or(ArchiveError::NoManifest)?;
        let items: Vec<ManifestItem> =
            parse(MANIFEST, manifest).map_err(|source| ArchiveError::Document { path: MANIFEST.to_owned(), source })?;
        items.iter().map(|item| self.image(item)).collect()
    }

    fn image(&self, item: &ManifestItem) -> Result<ArchivedImage<L>, ArchiveError> {
        let config_path = &item.config;
        let config_bytes = self.find(&self.documents, config_path)?.clone();
        let config_digest = Digest::of(&config_bytes);
        if promised(config_path).is_some_and(|promised| promised != config_digest) {
            return Err(ArchiveError::WrongDigest { path: shown(config_path) });
        }
        let config = ImageConfig::parse(&config_bytes)
            .map_err(|source| ArchiveError::Document { path: shown(config_path), source })?;
        let paths = item.layers.as_deref().unwrap_or_default();
        let (layers, diff_ids) = (paths.len(), config.diff_ids().len());
        if layers != diff_ids {
            return Err(ArchiveError::LayerCount { config: config_digest, layers, diff_ids });
        }
        let layers = paths.iter().map(|path| self.find(&self.layers, path).cloned()).collect::<Result<_, _>>()?;
        let references = item.repo_tags.clone().unwrap_or_default();
        Ok(ArchivedImage { references, config_digest, config_bytes, config, layers })
    }

    fn find<'a, T>(&self, among: &'a HashMap<String, T>, path: &str) -> Result<&'a T, ArchiveError> {
        let mut at = path;
        // A link leads to a file; one that leads to links again and again leads nowhere.
        for _ in 0..8 {
            if let Some(found) = among.get(at) {
                return Ok(found);
            }
            match self.links.get(at) {
                Some(target) => at = target,
                None => break,
            }
        }
        Err(ArchiveError::MissingFile { path: shown(path) })
    }
}

fn is_document(first: &[u8]) -> bool {
    matches!(first.first(), Some(b'{' | b'[')) && first.get(USTAR_AT) != Some(b"ustar")
}

/// The digest that `blobs/sha256/<hex>` and `<hex>.json` promise.
fn promised(path: &str) -> Option<Digest> {
    let hex = path.strip_prefix("blobs/sha256/").or_else(|| path.strip_suffix(".json"))?;
    format!("sha256:{hex}").parse().ok()
}

/// Text from an archive, fit for an error message.
fn shown(path: &str) -> String {
    path.chars().take(120).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
