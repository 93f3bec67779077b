//! Reading an archive to its end: each file that may be a layer is handed on, documents and links are held.

use std::collections::HashMap;
use std::io::Read;

use super::file_kinds::{describes_an_image, is_attestation, is_document, may_be_layer};
use super::{ArchiveContent, ArchiveError, DOCUMENTS_LIMIT_BYTES, INDEX, LayerFile, MANIFEST, promised, shown};
use crate::images::formats::documents::{DOCUMENT_LIMIT_BYTES, DocumentError};
use crate::images::formats::tar_reader::{TarKind, TarReader, TarSource};

/// All names together: those of a hundred images with 127 layers each take 3 MiB.
const NAMES_LIMIT_BYTES: usize = 8 << 20;
/// Each costs a file and a few syncs on its way into a store; sixty images that share nothing have so many.
const LAYERS_LIMIT: usize = 8192;
/// Archives of images have a `VERSION` beside each layer, and little else that is neither document nor layer.
const OTHER_FILES_LIMIT: usize = 16;

impl<L: Clone> ArchiveContent<L> {
    /// Reads an archive to its end. `take_layer` gets each file that may be a layer, with its content, of which it reads as
    /// much as it likes.
    pub fn read<S: TarSource, E: From<ArchiveError>>(
        source: S,
        mut take_layer: impl FnMut(LayerFile<'_>, &mut dyn Read) -> Result<L, E>,
    ) -> Result<Self, E> {
        let mut files = Self {
            documents: HashMap::new(),
            layers: HashMap::new(),
            links: HashMap::new(),
            held_bytes: 0,
            names_bytes: 0,
            other_files: 0,
        };
        let mut reader = TarReader::new(source);
        while let Some(entry) = reader.next_entry().map_err(ArchiveError::from)? {
            let size_bytes = match entry.kind {
                TarKind::Folder => continue,
                TarKind::Link { target } => {
                    files.check_new(&entry.path)?;
                    files.names_bytes += target.len();
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
            if is_attestation(&first) {
                continue;
            }
            if is_document(&first) {
                // No document of an image is larger; what describes its packages may be.
                if size_bytes <= DOCUMENT_LIMIT_BYTES || entry.path == MANIFEST || entry.path == INDEX {
                    files.hold(entry.path, size_bytes, first, &mut reader)?;
                }
            } else {
                if files.layers.len() == LAYERS_LIMIT {
                    return Err(ArchiveError::TooManyLayers.into());
                }
                files.check_kind(&entry.path, &first)?;
                let promised = promised(&entry.path);
                let file = LayerFile { path: &entry.path, size_bytes, promised };
                let layer = take_layer(file, &mut first.as_slice().chain(&mut reader))?;
                files.layers.insert(entry.path, layer);
            }
        }
        Ok(files)
    }

    /// Programs differ in which of two entries of one name they take.
    fn check_new(&mut self, path: &str) -> Result<(), ArchiveError> {
        if self.documents.contains_key(path) || self.layers.contains_key(path) || self.links.contains_key(path) {
            return Err(ArchiveError::Twice { path: shown(path) });
        }
        // Unpacked, it would lie elsewhere than its name says.
        if path.match_indices('/').any(|(at, _)| self.links.contains_key(&path[..at])) {
            return Err(ArchiveError::BehindLink { path: shown(path) });
        }
        self.names_bytes += path.len();
        if self.names_bytes > NAMES_LIMIT_BYTES {
            return Err(ArchiveError::TooManyNames);
        }
        Ok(())
    }

    /// Gives up on an archive of something else before all of it has been read, or written to a store. Blobs are never
    /// counted: other programs keep anything under their digests.
    fn check_kind(&mut self, path: &str, first: &[u8]) -> Result<(), ArchiveError> {
        if path.starts_with("blobs/") || path.ends_with(".tar") || may_be_layer(first) {
            return Ok(());
        }
        self.other_files += 1;
        if self.other_files <= OTHER_FILES_LIMIT {
            return Ok(());
        }
        let folders = ["etc/", "usr/", "bin/", "dev/"];
        let is_root = |path: &String| path == ".dockerenv" || folders.iter().any(|folder| path.starts_with(folder));
        let is_root_file_system =
            is_root(&path.to_owned()) || self.layers.keys().any(is_root) || self.links.keys().any(is_root);
        Err(ArchiveError::NotImages { is_root_file_system })
    }

    fn hold<S: TarSource>(
        &mut self,
        path: String,
        size: u64,
        first: Vec<u8>,
        reader: &mut TarReader<S>,
    ) -> Result<(), ArchiveError> {
        if size > DOCUMENT_LIMIT_BYTES {
            let what = message!("words", text = if path == INDEX { INDEX } else { MANIFEST });
            return Err(ArchiveError::Document { path, source: DocumentError::TooLarge { what, size_bytes: size } });
        }
        let mut bytes = first;
        reader.read_to_end(&mut bytes).map_err(|error| reader.broken(error))?;
        if !describes_an_image(&path, &bytes) {
            return Ok(());
        }
        self.held_bytes += size;
        if self.held_bytes > DOCUMENTS_LIMIT_BYTES {
            return Err(ArchiveError::TooManyDocuments);
        }
        self.documents.insert(path, bytes);
        Ok(())
    }
}
