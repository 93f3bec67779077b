//! Gathering groups: operations and literal bytes on one hand, a segment of new data with its old versions on the other.

use std::collections::BTreeSet;

use super::super::bases::BaseIndex;
use super::super::error::DeltaError;
use super::super::format::{Operation, Range};

/// New data that is compressed as one frame, and a piece of a large file. Smaller segments lie nearer to their old versions, where
/// zstd's tables still reach: of 8 MiB the delta of docs/benchmarks.md had 34.0 MB, of 4 MiB 32.7, of 2 MiB 32.9.
pub(super) const SEGMENT_BYTES: usize = 4 << 20;
pub(super) const PIECE_BYTES: usize = SEGMENT_BYTES;
/// Old data that is given to it.
pub(super) const PREFIX_BYTES: u64 = 6 << 20;
/// What is smaller is cheaper as literal bytes.
pub(super) const COPY_BYTES: usize = 32;
/// A group is closed when it has that many bytes of operations and literals.
const CONTROL_BYTES: usize = 4 << 20;

/// A group that is complete.
#[derive(Default)]
pub(super) struct Group {
    /// Operations and literal bytes, but for those that name the prefix.
    pub control: Vec<u8>,
    pub segment: Vec<u8>,
    pub pieces: Vec<Piece>,
}

/// A stretch of a segment, and the file that it is of.
pub(super) struct Piece {
    /// Where it begins in the segment; it ends where the next one begins.
    pub start: usize,
    /// The old version: which, and its size.
    pub old: Option<(u32, u64)>,
    /// Where the piece begins in its file.
    pub at: u64,
    /// The whole file.
    pub size: u64,
}

#[derive(Default)]
pub(super) struct GroupBuilder {
    group: Group,
    /// What was said last and may still grow: a copy, and the literal bytes behind it.
    copy: Option<Range>,
    literal: Vec<u8>,
    prefix_bytes: u64,
    copied_from: BTreeSet<u32>,
}

impl GroupBuilder {
    pub fn literal(&mut self, bytes: &[u8]) {
        self.literal.extend_from_slice(bytes);
    }

    /// Goes on with the last copy where the base has between both what the new tar has: whole runs of unchanged entries
    /// become one operation.
    pub fn copy(&mut self, range: Range, bases: &BaseIndex<'_>) -> Result<(), DeltaError> {
        if let Some(copy) = &mut self.copy {
            let between = Range { offset: copy.offset + copy.size, size: self.literal.len() as u64, ..*copy };
            let is_next = copy.base == range.base && between.offset + between.size == range.offset;
            if is_next && bases.has_bytes(&between, &self.literal)? {
                copy.size += between.size + range.size;
                self.literal.clear();
                return Ok(());
            }
        }
        self.flush();
        self.copied_from.insert(range.base);
        self.copy = Some(range);
        Ok(())
    }

    /// Whether the segment takes a piece of that size with that old version.
    pub fn has_room(&self, size: usize, old: Option<(u32, u64)>) -> bool {
        let is_empty = self.group.segment.is_empty();
        let prefix_bytes = self.prefix_bytes + prefix_share(size, old);
        is_empty || (self.group.segment.len() + size <= SEGMENT_BYTES && prefix_bytes <= PREFIX_BYTES)
    }

    pub fn data(&mut self, piece: &[u8], old: Option<(u32, u64)>, at: u64, size: u64) {
        self.flush();
        Operation::Data { size: piece.len() as u64 }.write(&mut self.group.control);
        self.prefix_bytes += prefix_share(piece.len(), old);
        self.group.pieces.push(Piece { start: self.group.segment.len(), old, at, size });
        self.group.segment.extend_from_slice(piece);
    }

    pub fn is_full(&self) -> bool {
        self.group.control.len() + self.literal.len() >= CONTROL_BYTES
    }

    /// The group as it is; the next one begins.
    pub fn take(&mut self) -> Group {
        self.flush();
        self.prefix_bytes = 0;
        std::mem::take(&mut self.group)
    }

    /// The last group, and the bases that were copied from.
    pub fn finish(mut self) -> (BTreeSet<u32>, Group) {
        self.flush();
        Operation::End.write(&mut self.group.control);
        (self.copied_from, self.group)
    }

    fn flush(&mut self) {
        if let Some(copy) = self.copy.take() {
            Operation::Copy(copy).write(&mut self.group.control);
        }
        if !self.literal.is_empty() {
            Operation::Literal { size: self.literal.len() as u64 }.write(&mut self.group.control);
            self.group.control.append(&mut self.literal);
        }
    }
}

/// What a piece of that size may take of the prefix.
pub(super) fn prefix_share(size: usize, old: Option<(u32, u64)>) -> u64 {
    let size = size as u64;
    old.map_or(0, |(_, old)| old.min(size + size / 2 + (256 << 10)).min(PREFIX_BYTES))
}
