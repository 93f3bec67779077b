//! Layers that are rebuilt on this machine, on their way into a store: compressed as a save compresses them, named once their
//! digest was compared.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;

use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::compression::CompressionOptions;
use crate::images::formats::platform::Platform;
use crate::images::pipes::{CHUNK_BYTES, ChunkSender, chunk_channel};
use crate::images::store::layer_batch::BatchFailure;
use crate::images::store::layer_writer::{LayerWriteError, LayerWriter, PendingLayer};
use crate::images::store::writer::{StoreWriter, known_layers};

/// A store that takes layers in; locked until it is dropped.
pub struct LayerIntake {
    folder: PathBuf,
    writer: LayerWriter,
    _store: StoreWriter,
}

impl LayerIntake {
    /// Opens the store in `folder`, whose images are for `architecture`. Blocking.
    ///
    /// # Errors
    /// Somebody else writes to it; it can't be read or written.
    pub fn open(folder: &Path, architecture: &str) -> Result<Self, ImagesError> {
        let store = StoreWriter::open_for(folder, &Platform::linux(architecture))?;
        let writer = LayerWriter::new(folder, CompressionOptions::default(), known_layers(store.layout()));
        Ok(Self { folder: folder.to_owned(), writer, _store: store })
    }

    /// Takes in the layer of this diff ID and of so many bytes, whose tar `write` writes. Blocking.
    ///
    /// # Errors
    /// What `write` says; the store can't be written; what was written is another layer.
    pub fn take<E: From<ImagesError>>(
        &self,
        diff_id: &Digest,
        bytes: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let (sender, mut reader) = chunk_channel();
        thread::scope(|scope| {
            let taking = thread::Builder::new().spawn_scoped(scope, move || {
                self.writer.take(&mut reader, bytes, Some(diff_id)).and_then(PendingLayer::finish)
            });
            let taking = taking.map_err(|source| ImagesError::file(message!("verb-write-to"), &self.folder, source))?;
            let mut out = Chunks { sender, chunk: Vec::with_capacity(CHUNK_BYTES) };
            let written = write(&mut out);
            // Without an end, what came is not taken for the whole.
            if written.is_ok() {
                out.end();
            } else {
                drop(out);
            }
            let taken = taking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (taken, written) {
                (Ok(_), written) => written,
                // It broke off because `write` did.
                (Err(LayerWriteError::Source(_)), Err(error)) => Err(error),
                (Err(error), _) => {
                    let origin = diff_id.to_string();
                    Err(BatchFailure::of(&origin, error).in_what_comes_from(&origin).into())
                }
            }
        })
    }
}

/// What is written, in chunks for another thread.
struct Chunks {
    sender: ChunkSender,
    chunk: Vec<u8>,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.sender.send(Bytes::from(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// A side that has hung up has failed, and says why.
    fn end(mut self) {
        if self.chunk.is_empty() || self.send().is_ok() {
            let _ = self.sender.end();
        }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::transfer::{plain_layer, store_layers};

    #[derive(Debug)]
    enum Failure {
        Images(ImagesError),
        Own,
    }

    impl From<ImagesError> for Failure {
        fn from(error: ImagesError) -> Self {
            Self::Images(error)
        }
    }

    #[test]
    fn a_layer_gets_its_name_when_all_of_it_was_written_and_is_the_one_that_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let intake = LayerIntake::open(folder.path(), "amd64").unwrap();
        let tar: Vec<u8> = (0..3 * CHUNK_BYTES as u32 + 7).map(|number| (number / 3) as u8).collect();
        let (diff_id, bytes) = (Digest::of(&tar), tar.len() as u64);
        let cut = intake.take(&diff_id, bytes, |out| {
            out.write_all(&tar[..CHUNK_BYTES + 1]).unwrap();
            Err(Failure::Own)
        });
        assert!(matches!(cut, Err(Failure::Own)), "{cut:?}");
        let other = intake.take(&Digest::of(b"other"), bytes, |out| {
            out.write_all(&tar).unwrap();
            Ok::<_, Failure>(())
        });
        assert!(matches!(other, Err(Failure::Images(ImagesError::Archive { .. }))), "{other:?}");
        assert!(store_layers(folder.path(), "amd64").unwrap().is_empty());
        let whole = intake.take(&diff_id, bytes, |out| {
            out.write_all(&tar).unwrap();
            Ok::<_, Failure>(())
        });
        whole.unwrap();
        let layers = store_layers(folder.path(), "amd64").unwrap();
        let plain = plain_layer(folder.path(), &layers[&diff_id], &mut || true).unwrap();
        assert_eq!((plain.diff_id, plain.bytes), (diff_id.clone(), bytes));
        let stopped = plain_layer(folder.path(), &layers[&diff_id], &mut || false);
        assert!(matches!(stopped, Err(ImagesError::Stopped)), "{stopped:?}");
    }
}
