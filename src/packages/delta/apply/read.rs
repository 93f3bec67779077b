//! Reading a delta group by group, and what is refused of it.

use std::io::Read;

use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::Numbered;
use crate::fs::HashingReader;
use crate::packages::delta::error::DeltaError;
use crate::packages::delta::format::{
    Body, CONTROL_WINDOW_LOG, GroupHeader, Header, Operation, PREFIX_LIMIT_BYTES, Range, all_prefixes_limit,
};

/// The new data of a group.
pub(super) type Segment = Vec<u8>;

/// A frame and what is needed to decompress it.
pub(super) struct Undecoded {
    packed: Vec<u8>,
    prefix: Vec<Range>,
    size: usize,
}

pub(super) struct DeltaReader<'a, D> {
    body: HashingReader<std::io::Take<D>>,
    declared: &'a Body,
    /// Bytes of the body that were not read yet.
    left: u64,
    control: DCtx<'static>,
    /// Bytes that prefixes may still have.
    prefixes_left: u64,
    bases: &'a Numbered<'a>,
}

impl<'a, D: Read> DeltaReader<'a, D> {
    pub fn new(delta: D, header: &'a Header, bases: &'a Numbered<'a>) -> Result<Self, DeltaError> {
        let mut control = DCtx::create();
        control.set_parameter(DParameter::WindowLogMax(CONTROL_WINDOW_LOG)).map_err(DeltaError::compressor)?;
        // One byte more, to notice what follows.
        let body = HashingReader::new(delta.take(header.body.size.saturating_add(1)));
        let prefixes_left = all_prefixes_limit(header.result.size);
        Ok(Self { body, declared: &header.body, left: header.body.size, control, prefixes_left, bases })
    }

    /// The sizes of the next group; `None` behind the last.
    pub fn next_group(&mut self) -> Result<Option<GroupHeader>, DeltaError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut bytes = [0; GroupHeader::BYTES];
        self.read_exact(&mut bytes)?;
        GroupHeader::from_bytes(bytes).map(Some)
    }

    /// The group's operations, and its segment if it has one.
    pub fn group(&mut self, sizes: &GroupHeader) -> Result<(Vec<u8>, Option<Undecoded>), DeltaError> {
        let packed = self.read_vec(sizes.control_packed)?;
        let control = self.unpack_control(&packed, sizes.control)?;
        let mut rest = control.as_slice();
        let prefix = self.prefix(&mut rest)?;
        let operations = rest.to_vec();
        if sizes.segment == 0 {
            return if prefix.is_empty() { Ok((operations, None)) } else { Err(damaged_operation()) };
        }
        let packed = self.read_vec(sizes.segment_packed)?;
        Ok((operations, Some(Undecoded { packed, prefix, size: sizes.segment })))
    }

    /// Whether all that was read is what was once written.
    pub fn finish(mut self) -> Result<(), DeltaError> {
        // The byte that must not be there.
        let mut more = [0];
        let more = self.body.read(&mut more).map_err(DeltaError::reading)?;
        let (_, digest, size) = self.body.finish();
        if more == 0 && size == self.declared.size && digest == self.declared.digest {
            Ok(())
        } else {
            Err(DeltaError::damaged(message!("delta-damage-digest")))
        }
    }

    fn unpack_control(&mut self, packed: &[u8], size: usize) -> Result<Vec<u8>, DeltaError> {
        let mut control = Vec::with_capacity(size);
        let mut input = InBuffer::around(packed);
        let mut output = OutBuffer::around(&mut control);
        loop {
            let (read, written) = (input.pos(), output.pos());
            self.control.decompress_stream(&mut output, &mut input).map_err(|_| damaged_control())?;
            if input.pos() == read && output.pos() == written {
                break;
            }
        }
        let is_whole = input.pos() == packed.len() && control.len() == size;
        if is_whole { Ok(control) } else { Err(damaged_control()) }
    }

    /// The operations at the beginning that name the prefix.
    fn prefix(&mut self, control: &mut &[u8]) -> Result<Vec<Range>, DeltaError> {
        let mut prefix = Vec::new();
        let mut bytes = 0u64;
        loop {
            let mut behind = *control;
            let Some(Operation::Prefix(range)) = Operation::read(&mut behind) else { return Ok(prefix) };
            *control = behind;
            self.bases.check(&range)?;
            bytes += range.size;
            if bytes > PREFIX_LIMIT_BYTES as u64 || range.size > self.prefixes_left {
                return Err(DeltaError::damaged(message!("delta-damage-sizes")));
            }
            self.prefixes_left -= range.size;
            prefix.push(range);
        }
    }

    fn read_vec(&mut self, size: usize) -> Result<Vec<u8>, DeltaError> {
        let mut bytes = vec![0; size];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), DeltaError> {
        let cut = || DeltaError::damaged(message!("delta-damage-cut"));
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(cut)?;
        self.body.read_exact(bytes).map_err(DeltaError::reading)
    }
}

fn damaged_control() -> DeltaError {
    DeltaError::damaged(message!("delta-damage-control"))
}

pub(super) fn damaged_operation() -> DeltaError {
    DeltaError::damaged(message!("delta-damage-operation"))
}

impl Numbered<'_> {
    /// Refuses a range that is empty, or not inside a base that the delta names.
    pub(super) fn check(&self, range: &Range) -> Result<(), DeltaError> {
        let size = self.get(range.base).map_or(0, |base| base.size);
        let is_inside = range.size > 0 && range.offset.checked_add(range.size).is_some_and(|end| end <= size);
        if is_inside { Ok(()) } else { Err(DeltaError::damaged(message!("delta-damage-range"))) }
    }

    pub(super) fn read(&self, range: &Range, bytes: &mut [u8]) -> Result<(), DeltaError> {
        let base = self.get(range.base).ok_or_else(|| DeltaError::damaged(message!("delta-damage-range")))?;
        base.read(bytes, range.offset)
    }
}

/// Decompresses a segment: exactly so many bytes as were declared.
pub(super) fn decode(undecoded: Undecoded, bases: &Numbered<'_>) -> Result<Segment, DeltaError> {
    let mut prefix = vec![0; undecoded.prefix.iter().map(|range| range.size as usize).sum()];
    let mut rest = prefix.as_mut_slice();
    for range in &undecoded.prefix {
        let (part, behind) = rest.split_at_mut(range.size as usize);
        bases.read(range, part)?;
        rest = behind;
    }
    let mut context = DCtx::create();
    if !prefix.is_empty() {
        context.ref_prefix(&prefix).map_err(DeltaError::compressor)?;
    }
    let mut segment = Vec::with_capacity(undecoded.size);
    // At once, so that there is no window: nothing but the segment itself is ever allocated.
    let decoded = context.decompress(&mut segment, &undecoded.packed);
    if decoded.is_err() || segment.len() != undecoded.size {
        return Err(DeltaError::damaged(message!("delta-damage-segment")));
    }
    Ok(segment)
}
