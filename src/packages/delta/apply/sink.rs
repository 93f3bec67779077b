//! Where the rebuilt bytes go: to the output, never more than declared, and to the thread that hashes them.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::Numbered;
use crate::fs::{Digest, Hasher};
use crate::packages::delta::error::DeltaError;
use crate::packages::delta::format::Range;

/// Pieces of that size are written and hashed.
const PIECE_BYTES: usize = 256 << 10;
/// So many are under way to the thread that hashes.
const PIECES: usize = 16;

/// The end of those who write pieces.
pub(super) struct Pieces {
    pieces: SyncSender<Arc<Vec<u8>>>,
    /// Pieces that are hashed, to be filled again: memory that is new each time costs as much as the copying.
    used: Receiver<Arc<Vec<u8>>>,
}

/// The end of the thread that hashes them.
pub(super) struct Hashed {
    pieces: Receiver<Arc<Vec<u8>>>,
    used: Sender<Arc<Vec<u8>>>,
}

impl Hashed {
    pub fn channel() -> (Pieces, Self) {
        let (to_hash, pieces) = sync_channel(PIECES);
        let (back, used) = channel();
        (Pieces { pieces: to_hash, used }, Self { pieces, used: back })
    }

    /// Of all pieces, when the last one has come.
    pub fn digest(self) -> Digest {
        let mut hasher = Hasher::new();
        for piece in self.pieces {
            hasher.update(&piece);
            // At the end nobody wants it back.
            let _ = self.used.send(piece);
        }
        hasher.finish()
    }
}

pub(super) struct Sink<W> {
    output: W,
    pieces: Pieces,
    piece: Vec<u8>,
    /// Bytes that may still come.
    left: u64,
}

impl<W: Write> Sink<W> {
    pub fn new(output: W, pieces: Pieces, size: u64) -> Self {
        Self { output, pieces, piece: Vec::with_capacity(PIECE_BYTES), left: size }
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), DeltaError> {
        self.take(bytes.len() as u64)?;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = rest;
            self.send_full()?;
        }
        Ok(())
    }

    /// A range that was checked.
    pub fn copy(&mut self, range: &Range, bases: &Numbered<'_>) -> Result<(), DeltaError> {
        self.take(range.size)?;
        let mut rest = *range;
        while rest.size > 0 {
            let begun = self.piece.len();
            let now = (PIECE_BYTES - begun).min(usize::try_from(rest.size).unwrap_or(usize::MAX));
            self.piece.resize(begun + now, 0);
            bases.read(&rest, &mut self.piece[begun..])?;
            (rest.offset, rest.size) = (rest.offset + now as u64, rest.size - now as u64);
            self.send_full()?;
        }
        Ok(())
    }

    /// The last piece is on its way, and nothing is missing.
    pub fn finish(mut self) -> Result<(), DeltaError> {
        self.send()?;
        self.output.flush().map_err(DeltaError::Write)?;
        if self.left == 0 { Ok(()) } else { Err(DeltaError::damaged(message!("delta-damage-end"))) }
    }

    fn take(&mut self, size: u64) -> Result<(), DeltaError> {
        self.left = self.left.checked_sub(size).ok_or_else(|| DeltaError::damaged(message!("delta-damage-more")))?;
        Ok(())
    }

    fn send_full(&mut self) -> Result<(), DeltaError> {
        if self.piece.len() == PIECE_BYTES { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), DeltaError> {
        let used = self.pieces.used.try_recv().ok().and_then(|piece| Arc::try_unwrap(piece).ok());
        let mut next = used.unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES));
        next.clear();
        let piece = Arc::new(std::mem::replace(&mut self.piece, next));
        // It ends only when this end is dropped.
        let _ = self.pieces.pieces.send(Arc::clone(&piece));
        self.output.write_all(&piece).map_err(DeltaError::Write)
    }
}
