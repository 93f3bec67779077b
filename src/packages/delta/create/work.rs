//! Compressing a segment: the old stretches that are its prefix, and one zstd frame.

use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

use super::CreateOptions;
use super::groups::{Group, PREFIX_BYTES, Piece, SEGMENT_BYTES, prefix_share};
use crate::packages::delta::bases::BaseIndex;
use crate::packages::delta::error::DeltaError;
use crate::packages::delta::format::{Operation, Range};

/// What all workers together may take of the 256 MiB that making a delta may need.
const WORKERS_BYTES: usize = 200 << 20;

/// A group as it is written.
pub(super) struct Packed {
    pub control: Vec<u8>,
    pub prefix: Vec<Range>,
    pub segment_bytes: usize,
    pub packed: Vec<u8>,
}

/// As many as were asked for and have room: each has a segment, its prefix, and the compressor's tables.
pub(super) fn worker_count(options: &CreateOptions) -> usize {
    let each = 2 * SEGMENT_BYTES + PREFIX_BYTES as usize + table_bytes(options.level);
    options.threads.clamp(1, (WORKERS_BYTES / each).max(1))
}

/// What zstd needs at a level beside its input, measured.
fn table_bytes(level: i32) -> usize {
    let mebibytes = match level {
        ..=4 => 12,
        5..=9 => 24,
        10..=12 => 80,
        _ => 120,
    };
    mebibytes << 20
}

pub(super) fn pack(group: Group, bases: &BaseIndex<'_>, level: i32) -> Result<Packed, DeltaError> {
    let ranges = prefix_ranges(&group, bases);
    let packed = if group.segment.is_empty() { Vec::new() } else { compress(&group.segment, &ranges, bases, level)? };
    let mut control = Vec::with_capacity(group.control.len() + 32 * ranges.len());
    ranges.iter().for_each(|range| Operation::Prefix(*range).write(&mut control));
    control.extend_from_slice(&group.control);
    Ok(Packed { control, prefix: ranges, segment_bytes: group.segment.len(), packed })
}

/// The stretches of old files that the pieces are most like, in the order of the pieces.
fn prefix_ranges(group: &Group, bases: &BaseIndex<'_>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut taken = Vec::new();
    let ends = group.pieces.iter().skip(1).map(|piece| piece.start).chain([group.segment.len()]);
    for (piece, end) in group.pieces.iter().zip(ends) {
        let Some((old, _)) = piece.old else { continue };
        let bytes = &group.segment[piece.start..end];
        if !taken.contains(&old) {
            taken.push(old);
            ranges.extend(piece_ranges(piece, old, bytes, bases));
        }
    }
    ranges
}

fn piece_ranges(piece: &Piece, old: u32, bytes: &[u8], bases: &BaseIndex<'_>) -> Vec<Range> {
    let content = bases.file(old).content;
    let budget = prefix_share(bytes.len(), piece.old);
    if content.size <= budget {
        return vec![content];
    }
    // A base that can't be read says so where its content is.
    let Some(samples) = bases.samples(old) else { return vec![Range { size: budget, ..content }] };
    let alike = samples.most_alike(bytes, piece.at, piece.size, budget);
    alike.into_iter().map(|(from, size)| Range { offset: content.offset + from, size, ..content }).collect()
}

fn compress(segment: &[u8], ranges: &[Range], bases: &BaseIndex<'_>, level: i32) -> Result<Vec<u8>, DeltaError> {
    let mut prefix = vec![0; ranges.iter().map(|range| range.size as usize).sum()];
    let mut rest = prefix.as_mut_slice();
    for range in ranges {
        let (part, behind) = rest.split_at_mut(range.size as usize);
        bases.layer(range.base).read(part, range.offset)?;
        rest = behind;
    }
    let mut context = CCtx::create();
    let window = usize::BITS - (segment.len() + prefix.len()).leading_zeros();
    let parameters = [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window.max(10)),
        // Without it only what lies near is found.
        CParameter::EnableLongDistanceMatching(true),
        // The digest of the layer proves all.
        CParameter::ChecksumFlag(false),
    ];
    for parameter in parameters {
        context.set_parameter(parameter).map_err(DeltaError::compressor)?;
    }
    let mut packed = Vec::with_capacity(compress_bound(segment.len()));
    if !prefix.is_empty() {
        context.ref_prefix(&prefix).map_err(DeltaError::compressor)?;
    }
    context.compress2(&mut packed, segment).map_err(DeltaError::compressor)?;
    packed.shrink_to_fit();
    Ok(packed)
}
