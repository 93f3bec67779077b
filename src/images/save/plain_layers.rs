//! Single layers of an engine's image, as what they are uncompressed.
//!
//! Engines export whole images alone, and which layer a file of an export is, only its bytes say: each that may be one that is
//! wanted is written beside the store, and stays where its digest is one of those.

use std::io::{Read, Write};
use std::path::Path;

use crate::engine::Engine;
use crate::fs::{Digest, Hasher};
use crate::images::error::ImagesError;
use crate::images::formats::compression::{Compression, PlainReader};
use crate::images::formats::image_archive::{ArchiveContent, ArchiveError, LayerFile};
use crate::images::formats::tar_reader::{Streamed, TarError};
use crate::images::pipes::{CHUNK_BYTES, TaskReader};
use crate::images::save::engine_export::{EXPORT, with_export};
use crate::images::store::layer_batch::BatchFailure;
use crate::images::store::plain_layer::{PlainLayer, nameless_file};
use crate::report::Reporter;

/// Exports an image of the engine, and gives those of its layers that are wanted: by their diff IDs, each with the bytes of its tar.
/// They lie on the disk of the store. Fewer come where the image has not all of them.
///
/// # Errors
/// The engine can't export it; the store's disk can't be written.
pub async fn export_plain_layers(
    engine: &Engine,
    image: &str,
    wanted: &[(Digest, u64)],
    store: &Path,
    reporter: &Reporter,
) -> Result<Vec<PlainLayer>, ImagesError> {
    let (wanted, store) = (wanted.to_vec(), store.to_owned());
    let work = move |mut reader: TaskReader| {
        let mut wanting = Wanting { wanted, store: &store, found: Vec::new() };
        let read = ArchiveContent::read(Streamed(&mut reader), |file, body| wanting.file(&file, body));
        read.map_err(|failure: BatchFailure| failure.in_what_comes_from(EXPORT))?;
        Ok(wanting.found)
    };
    with_export(engine, &[image.to_owned()], reporter, work).await
}

struct Wanting<'a> {
    wanted: Vec<(Digest, u64)>,
    store: &'a Path,
    found: Vec<PlainLayer>,
}

impl Wanting<'_> {
    fn file(&mut self, file: &LayerFile<'_>, body: &mut dyn Read) -> Result<(), BatchFailure> {
        let Some(most) = self.wanted.iter().map(|(_, bytes)| *bytes).max() else { return Ok(()) };
        let unreadable = |source| ArchiveError::from(TarError::Read(source));
        let (mut plain, compression) = PlainReader::sniff(body).map_err(unreadable)?;
        let is_wanted = |digest: &Digest| self.wanted.iter().any(|(wanted, _)| wanted == digest);
        // What is not compressed is named by its diff ID, where it is named by a digest at all.
        if compression == Compression::None && file.promised.as_ref().is_some_and(|digest| !is_wanted(digest)) {
            return Ok(());
        }
        let mut spool = nameless_file(self.store)?;
        let (mut hasher, mut bytes) = (Hasher::new(), 0);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read =
                plain.read(&mut buffer).map_err(|source| ArchiveError::Layer { path: file.path.to_owned(), source })?;
            bytes += read as u64;
            if read == 0 || bytes > most {
                break;
            }
            hasher.update(&buffer[..read]);
            spool
                .write_all(&buffer[..read])
                .map_err(|source| ImagesError::file(message!("verb-write-to"), self.store, source))?;
        }
        let diff_id = hasher.finish();
        if let Some(place) = self.wanted.iter().position(|(wanted, size)| *wanted == diff_id && *size == bytes) {
            self.wanted.swap_remove(place);
            self.found.push(PlainLayer { diff_id, bytes, file: spool });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::formats::compression::{CompressionOptions, Encoder};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let options = CompressionOptions::from(Compression::Gzip);
        let mut encoder = Encoder::new(Vec::new(), &options).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_layers_that_are_wanted_are_found_in_whatever_form_an_export_has_them() {
        let store = tempfile::tempdir().unwrap();
        let layers = [&b"one"[..], b"two, which is longer", b"three"];
        let wanted = [layers[0], layers[2]].map(|layer| (Digest::of(layer), layer.len() as u64)).to_vec();
        let mut wanting = Wanting { wanted, store: store.path(), found: Vec::new() };
        // As engines of the containerd store, since 25, and before it.
        let forms = [(gzip(layers[0]), true), (layers[1].to_vec(), true), (layers[2].to_vec(), false)];
        for (bytes, is_named) in &forms {
            let promised = is_named.then(|| Digest::of(bytes));
            let file = LayerFile { path: "layer", size_bytes: bytes.len() as u64, promised };
            assert!(wanting.file(&file, &mut bytes.as_slice()).is_ok());
        }
        let found: Vec<_> = wanting.found.iter().map(|layer| (layer.diff_id.clone(), layer.bytes)).collect();
        assert_eq!(found, [(Digest::of(b"one"), 3), (Digest::of(b"three"), 5)]);
        assert!(wanting.wanted.is_empty());
    }
}
