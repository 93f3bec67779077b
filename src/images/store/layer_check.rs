//! Reading a layer of the store as it will be unpacked: its blob decompressed by another thread, and compared with its
//! digests on the way.

use std::fs::File;
use std::io::{self, Write};
use std::thread::{self, JoinHandle};

use crate::fs::{Digest, Hasher, HashingReader};
use crate::images::error::{BlobDamage, ImagesError};
use crate::images::formats::archive_writer::{ArchiveWriter, LayerEntry, LayerFailure};
use crate::images::formats::compression::{Compression, PlainReader};
use crate::images::pipes::{ChunkReader, ChunkSender, chunk_channel, read_chunk};
use crate::images::store::layout::{Layout, StoredLayer};

/// A blob that another thread decompresses and compares with its digest.
pub(in crate::images) struct Unpacking {
    pub reader: ChunkReader,
    thread: JoinHandle<Result<(), BlobDamage>>,
}

impl Unpacking {
    /// # Errors
    /// No thread can be had.
    fn start(file: File, compression: Compression, layout: &Layout, layer: &StoredLayer) -> Result<Self, ImagesError> {
        let (sender, reader) = chunk_channel();
        let blob = layer.blob.clone();
        let thread = thread::Builder::new().spawn(move || unpack(file, compression, &blob, sender));
        let thread = thread
            .map_err(|source| ImagesError::file(message!("verb-read"), &layout.blob_path(&layer.blob), source))?;
        Ok(Self { reader, thread })
    }

    /// Whether the blob is the one that its name says.
    pub fn verdict(self) -> Result<(), BlobDamage> {
        drop(self.reader);
        match self.thread.join() {
            Ok(verdict) => verdict,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn unpack(file: File, compression: Compression, blob: &Digest, sender: ChunkSender) -> Result<(), BlobDamage> {
    let undecodable = |error: io::Error| BlobDamage::Undecodable(error.to_string());
    let mut plain = PlainReader::new(HashingReader::new(file), compression).map_err(undecodable)?;
    let failure = loop {
        match read_chunk(&mut plain) {
            Ok(chunk) if chunk.is_empty() => break None,
            Ok(chunk) => {
                if sender.send(chunk).is_err() {
                    // Nobody wants the rest, for a reason of their own.
                    return Ok(());
                }
            }
            Err(error) => break Some(error),
        }
    };
    // A decoder stops where its format ends; the digest is that of the whole file.
    let mut rest = plain.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(undecodable)?;
    let (_, digest, _) = rest.finish();
    if digest != *blob {
        return Err(BlobDamage::WrongDigest);
    }
    match failure {
        Some(error) => Err(undecodable(error)),
        None => {
            let _ = sender.end();
            Ok(())
        }
    }
}

/// Counts the uncompressed bytes of a layer whose size nobody wrote down, and compares its digests on the way.
pub fn measure(layout: &Layout, layer: &StoredLayer, name: &str) -> Result<u64, ImagesError> {
    pass_on(LayerOf { layout, layer, name }, |_| Ok(()))
}

/// Hands on a layer piece by piece, uncompressed, and compares its digests on the way; gives its bytes. What was handed on
/// before an error is worth nothing.
pub fn pass_on(of: LayerOf<'_>, mut take: impl FnMut(&[u8]) -> Result<(), ImagesError>) -> Result<u64, ImagesError> {
    let LayerOf { layout, layer, name } = of;
    let damaged = |why| {
        let path = layout.blob_path(&layer.blob);
        ImagesError::DamagedBlob { reference: name.to_owned(), path, why }
    };
    let (file, compression) = layout.open_layer(layer, name)?;
    let mut unpacking = Unpacking::start(file, compression, layout, layer)?;
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    let broken = loop {
        match unpacking.reader.next_chunk() {
            Ok(Some(chunk)) => {
                take(&chunk)?;
                hasher.update(&chunk);
                bytes += chunk.len() as u64;
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    unpacking.verdict().map_err(damaged)?;
    if let Some(error) = broken {
        return Err(damaged(BlobDamage::Undecodable(error.to_string())));
    }
    match hasher.finish() == layer.diff_id {
        true => Ok(bytes),
        false => Err(damaged(BlobDamage::WrongDiffId { expected: layer.diff_id.clone() })),
    }
}

/// A layer of a store, and what messages call its image.
#[derive(Clone, Copy)]
pub struct LayerOf<'a> {
    pub layout: &'a Layout,
    pub layer: &'a StoredLayer,
    pub name: &'a str,
}

/// Why a layer of a store did not get into an archive.
pub enum UnpackFailure {
    /// The archive can't be written.
    Write(io::Error),
    /// The observer asked to stop.
    Stopped,
    /// The layer is damaged, or can't be read.
    Layer(ImagesError),
}

/// Writes a layer into an archive, uncompressed, and compares its digests and its size on the way.
pub fn unpack_into<W: Write>(
    archive: &mut ArchiveWriter<W>,
    (path, size_bytes): (&str, u64),
    of: LayerOf<'_>,
    goes_on: impl FnMut(u64) -> bool,
) -> Result<(), UnpackFailure> {
    let LayerOf { layout, layer, name } = of;
    let (file, compression) = layout.open_layer(layer, name).map_err(UnpackFailure::Layer)?;
    let unpacking = Unpacking::start(file, compression, layout, layer);
    let mut unpacking = unpacking.map_err(UnpackFailure::Layer)?;
    let entry = LayerEntry { path, diff_id: &layer.diff_id, size_bytes };
    let verdict = match archive.layer(&entry, &mut unpacking.reader, goes_on) {
        Ok(()) => unpacking.verdict(),
        Err(LayerFailure::Write(error)) => return Err(UnpackFailure::Write(error)),
        Err(LayerFailure::Stopped) => return Err(UnpackFailure::Stopped),
        // The blob's own digest first: when it is wrong, what it unpacks to means nothing.
        Err(LayerFailure::Read(_)) => Err(unpacking.verdict().err().unwrap_or(BlobDamage::WrongDigest)),
        Err(LayerFailure::Differs) => {
            let _ = io::copy(&mut unpacking.reader, &mut io::sink());
            let expected = layer.diff_id.clone();
            Err(unpacking.verdict().err().unwrap_or(BlobDamage::WrongDiffId { expected }))
        }
    };
    verdict.map_err(|why| {
        let path = layout.blob_path(&layer.blob);
        UnpackFailure::Layer(ImagesError::DamagedBlob { reference: name.to_owned(), path, why })
    })
}
