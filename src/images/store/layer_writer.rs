//! Layers on their way into a store: hashed, compressed and made durable by other threads while the archive that
//! they come in is still being read.
//!
//! A layer gets its name when it is whole; one that the store has, under whatever compression, is only compared.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::failpoint;
use crate::fs::{Digest, DurableFile, Hasher, HashingWriter, Mode};
use crate::images::formats::compression::{Compression, CompressionOptions, Encoder, PlainReader};
use crate::images::formats::unpack_limit::{LimitExceeded, UnpackLimit};
use crate::images::pipes::{CHUNK_BYTES, ChunkReader, ChunkSender, HungUp, chunk_channel, read_chunk};
use crate::images::store::layout::{BLOBS, StoredLayer, blob_path};
use crate::images::store::writer::{KnownLayers, StoreWriter};

/// Where layers go, and how.
pub struct LayerWriter {
    folder: PathBuf,
    options: CompressionOptions,
    known: Arc<KnownLayers>,
    /// Its holder may compress on all threads: the buffers of two such compressors would take too much memory.
    /// The next layer waits only until the one before it is compressed, not until it is on the disk.
    compressing: Arc<Mutex<()>>,
    /// As `compressing`, for layers that come as zstd: each may ask for a window of 128 MiB. They come one after another,
    /// so that hardly anything waits.
    decompressing: Arc<Mutex<()>>,
    /// What layers that come compressed may unpack to, all together.
    budget: Option<Arc<UnpackLimit>>,
}

/// Why a layer did not get into the store.
#[derive(Debug)]
pub enum LayerWriteError {
    /// What it came from could not be read.
    Source(io::Error),
    /// It says that it is compressed, and can't be decompressed.
    Undecodable(io::Error),
    /// Its bytes are not those that its name promises.
    WrongDigest,
    /// With the layers before it, it unpacks to more than any such file holds.
    Bomb,
    Store {
        path: PathBuf,
        source: io::Error,
    },
}

/// A layer that has been taken in.
#[derive(Debug, Clone)]
pub struct TakenLayer {
    pub layer: StoredLayer,
    /// What the store did not have before; 0 for a layer that it had, known or not.
    pub new_bytes: u64,
}

/// A layer that has been read and may still be on its way to the disk.
pub struct PendingLayer(Pending);

enum Pending {
    Ready(TakenLayer),
    Working(JoinHandle<Result<TakenLayer, LayerWriteError>>),
}

impl PendingLayer {
    /// Waits until the layer is durable.
    pub fn finish(self) -> Result<TakenLayer, LayerWriteError> {
        match self.0 {
            Pending::Ready(layer) => Ok(layer),
            Pending::Working(thread) => join(thread),
        }
    }
}

/// Below this size more threads cost more than they gain.
const LARGE_BYTES: u64 = 4 << 20;

impl LayerWriter {
    pub fn new(folder: &Path, options: CompressionOptions, known: KnownLayers) -> Self {
        Self {
            folder: folder.to_owned(),
            options,
            known: Arc::new(known),
            compressing: Arc::default(),
            decompressing: Arc::default(),
            budget: None,
        }
    }

    /// Refuses layers that unpack to more than this.
    pub fn within(self, budget: UnpackLimit) -> Self {
        Self { budget: Some(Arc::new(budget)), ..self }
    }

    /// Takes a layer of `size_bytes` in as it comes, compressed or not. `promised` is the digest of these very bytes
    /// where their name says one. Bytes that come compressed stay as they are.
    pub fn take(
        &self,
        body: &mut impl Read,
        size_bytes: u64,
        promised: Option<&Digest>,
    ) -> Result<PendingLayer, LayerWriteError> {
        if let Some(layer) = promised.and_then(|promised| self.known_by_its_bytes(promised)) {
            let mut hasher = Hasher::new();
            loop {
                let chunk = read_chunk(body).map_err(LayerWriteError::Source)?;
                if chunk.is_empty() {
                    break;
                }
                hasher.update(&chunk);
            }
            return if Some(&hasher.finish()) == promised {
                Ok(PendingLayer(Pending::Ready(TakenLayer { layer: layer.clone(), new_bytes: 0 })))
            } else {
                Err(LayerWriteError::WrongDigest)
            };
        }
        let mut chunk = read_chunk(body).map_err(LayerWriteError::Source)?;
        let workers = self.start(Compression::of(&chunk), size_bytes, promised.cloned())?;
        while !chunk.is_empty() {
            if workers.feed(&chunk).is_err() {
                // A worker ended early: it knows why.
                return Err(workers
                    .abandon()
                    .err()
                    .unwrap_or_else(|| LayerWriteError::Source(io::ErrorKind::BrokenPipe.into())));
            }
            chunk = match read_chunk(body) {
                Ok(chunk) => chunk,
                Err(error) => {
                    let _ = workers.abandon();
                    return Err(LayerWriteError::Source(error));
                }
            };
        }
        Ok(PendingLayer(Pending::Working(workers.end())))
    }

    /// The layer whose uncompressed or stored bytes have this digest.
    fn known_by_its_bytes(&self, digest: &Digest) -> Option<&StoredLayer> {
        self.known.get(digest).or_else(|| self.known.values().find(|layer| layer.blob == *digest))
    }

    fn start(
        &self,
        compression: Compression,
        size_bytes: u64,
        promised: Option<Digest>,
    ) -> Result<Workers, LayerWriteError> {
        // A limit on processes or memory can keep a thread from being started.
        let failed = |source| LayerWriteError::Store { path: self.folder.clone(), source };
        let (hash_sender, hash_reader) = chunk_channel();
        let (write_sender, write_reader) = chunk_channel();
        let (decompressing, budget) = (Arc::clone(&self.decompressing), self.budget.clone());
        let hashing = thread::Builder::new().spawn(move || match compression {
            Compression::None => hash_raw(hash_reader),
            Compression::Gzip => hash_plain(hash_reader, compression, budget.as_deref()),
            Compression::Zstd => {
                let _turn = decompressing.lock().unwrap_or_else(PoisonError::into_inner);
                hash_plain(hash_reader, compression, budget.as_deref())
            }
        });
        let hashing = hashing.map_err(failed)?;
        let mut job = WriteJob {
            folder: self.folder.clone(),
            encode: None,
            compressing: None,
            media_type: compression.layer_type(),
            promised,
            known: Arc::clone(&self.known),
            hashing,
        };
        if compression == Compression::None {
            let mut options = self.options;
            if size_bytes < LARGE_BYTES {
                options.threads = Some(1);
            }
            if options.thread_count() > 1 {
                job.compressing = Some(Arc::clone(&self.compressing));
            }
            job.media_type = options.compression.layer_type();
            job.encode = Some((options, size_bytes));
        }
        let writing = thread::Builder::new().spawn(move || job.run(write_reader)).map_err(failed)?;
        Ok(Workers { hash_sender, write_sender, writing })
    }
}

/// The two threads of one layer, and the streams to them.
struct Workers {
    hash_sender: ChunkSender,
    write_sender: ChunkSender,
    writing: JoinHandle<Result<TakenLayer, LayerWriteError>>,
}

impl Workers {
    fn feed(&self, chunk: &Bytes) -> Result<(), HungUp> {
        self.hash_sender.send(chunk.clone())?;
        self.write_sender.send(chunk.clone())
    }

    fn end(self) -> JoinHandle<Result<TakenLayer, LayerWriteError>> {
        // A side that has hung up has failed, and its thread tells why when it is joined.
        let _ = self.hash_sender.end();
        let _ = self.write_sender.end();
        self.writing
    }

    fn abandon(self) -> Result<TakenLayer, LayerWriteError> {
        drop((self.hash_sender, self.write_sender));
        join(self.writing)
    }
}

/// The diff ID and the uncompressed size.
type Plain = (Digest, u64);

fn hash_raw(mut reader: ChunkReader) -> Result<Plain, LayerWriteError> {
    let mut hasher = Hasher::new();
    let mut bytes = 0;
    while let Some(chunk) = reader.next_chunk().map_err(LayerWriteError::Source)? {
        hasher.update(&chunk);
        bytes += chunk.len() as u64;
    }
    Ok((hasher.finish(), bytes))
}

fn hash_plain(
    reader: ChunkReader,
    compression: Compression,
    budget: Option<&UnpackLimit>,
) -> Result<Plain, LayerWriteError> {
    let mut hasher = Hasher::new();
    let mut bytes = 0;
    let mut plain = PlainReader::new(reader, compression).map_err(LayerWriteError::Undecodable)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match plain.read(&mut buffer).map_err(LayerWriteError::Undecodable)? {
            0 => return Ok((hasher.finish(), bytes)),
            read => {
                if let Some(budget) = budget {
                    budget.spend(read as u64).map_err(|LimitExceeded| LayerWriteError::Bomb)?;
                }
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

struct WriteJob {
    folder: PathBuf,
    /// How to compress it and how many bytes it has; `None` for a layer that stays as it came.
    encode: Option<(CompressionOptions, u64)>,
    compressing: Option<Arc<Mutex<()>>>,
    media_type: &'static str,
    promised: Option<Digest>,
    known: Arc<KnownLayers>,
    hashing: JoinHandle<Result<Plain, LayerWriteError>>,
}

impl WriteJob {
    fn run(self, reader: ChunkReader) -> Result<TakenLayer, LayerWriteError> {
        let blobs = self.folder.join(BLOBS);
        let store = |source| LayerWriteError::Store { path: blobs.clone(), source };
        let written = match self.write(reader, &blobs.join("layer")) {
            // The stream broke off, because its source did or because the other thread gave up: it knows more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
            Err(error) => return Err(store(error)),
            Ok(written) => Ok(written),
        };
        let (diff_id, uncompressed_bytes) = join(self.hashing)?;
        let (file, blob, size_bytes) = written.map_err(LayerWriteError::Source)?;
        let raw = if self.encode.is_some() { &diff_id } else { &blob };
        if self.promised.is_some_and(|promised| promised != *raw) {
            return Err(LayerWriteError::WrongDigest);
        }
        if let Some(known) = self.known.get(&diff_id) {
            return Ok(TakenLayer { layer: known.clone(), new_bytes: 0 });
        }
        let layer = StoredLayer {
            diff_id,
            size_bytes,
            media_type: self.media_type.to_owned(),
            uncompressed_bytes: Some(uncompressed_bytes),
            blob,
        };
        // The record first: without its blob it says nothing, but a blob without it would be made again.
        failpoint!("images.save.before-record");
        StoreWriter::record_layer(&self.folder, &layer).map_err(store)?;
        failpoint!("images.save.before-blob");
        let path = blob_path(&self.folder, &layer.blob);
        // Other programs' blobs are not known by their diff IDs; they are the store's all the same.
        let was_there = std::fs::metadata(&path).is_ok_and(|blob| blob.len() == layer.size_bytes);
        file.commit_as(&path).map_err(store)?;
        failpoint!("images.save.after-blob");
        Ok(TakenLayer { new_bytes: if was_there { 0 } else { layer.size_bytes }, layer })
    }

    fn write(&self, mut reader: ChunkReader, beside: &Path) -> io::Result<(DurableFile, Digest, u64)> {
        let file = HashingWriter::new(DurableFile::create(beside, Mode::Shared)?);
        let file = match &self.encode {
            None => {
                let mut file = file;
                while let Some(chunk) = reader.next_chunk()? {
                    file.write_all(&chunk)?;
                }
                file
            }
            Some((options, size_bytes)) => {
                let compressing = self.compressing.as_ref();
                let _turn = compressing.map(|compressing| compressing.lock().unwrap_or_else(PoisonError::into_inner));
                let mut encoder = Encoder::with_size(file, options, *size_bytes)?;
                while let Some(chunk) = reader.next_chunk()? {
                    encoder.write_all(&chunk)?;
                }
                encoder.finish()?
            }
        };
        Ok(file.finish())
    }
}

fn join<T>(thread: JoinHandle<T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
