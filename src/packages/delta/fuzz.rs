//! What the fuzz target of deltas does with any bytes, and deltas made by hand for it and for the tests. The seeds in
//! `fuzz/seeds/delta`, to which every finding is added, run as an ordinary test.

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use super::format::{Body, GroupHeader, Header, NumberedTar, Tar};
use super::{BaseIndex, BaseLayer, CreateOptions, DeltaError, Wanted, apply, create};
use crate::fs::Digest;

/// What lies between the parts of an input.
const BETWEEN: &[u8] = b"\n---\n";
const MOST_BYTES: u64 = 1 << 20;

/// The first part is the base. The rest is applied to it: as a delta, as a delta's body behind a header that is right, and as
/// operations and new data (the second and the third part) in frames that are right, since no fuzzer finds digests or frames. At last
/// the second part is a new layer.
pub fn delta(bytes: &[u8]) {
    let (base, rest) = split(bytes);
    let (second, third) = split(rest);
    let wanted = Digest::of(second);
    applies(rest, base, &wanted);
    let raw = Forged { raw: Some(rest.to_vec()), ..Forged::default() };
    applies(&raw.delta(&wanted, second.len() as u64, &[base]), base, &wanted);
    if !second.is_empty() {
        let forged = Forged::group(second, third, b"");
        applies(&forged.delta(&wanted, second.len() as u64, &[base]), base, &wanted);
    }
    round_trip(second, base);
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        Some(at) => (&bytes[..at], &bytes[at + BETWEEN.len()..]),
        None => (bytes, b""),
    }
}

/// Whatever a delta says: it is refused, or the layer is the one that was asked for.
fn applies(delta: &[u8], base: &[u8], wanted: &Digest) {
    let diff_id = Digest::of(base);
    let tar = base.to_vec();
    let layer = BaseLayer { diff_id: &diff_id, size: base.len() as u64, tar: &tar };
    let mut output = Vec::new();
    let result = apply(delta, &[layer], &Wanted { diff_id: wanted, most_bytes: MOST_BYTES, threads: 1 }, &mut output);
    assert!(output.len() as u64 <= MOST_BYTES);
    match result {
        Ok(tar) => {
            assert_eq!(Digest::of(&output), *wanted);
            assert_eq!((&tar.diff_id, tar.size), (wanted, output.len() as u64));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
        }
    }
}

fn round_trip(new: &[u8], base: &[u8]) {
    let (diff_id, base_id) = (Digest::of(new), Digest::of(base));
    let tar = base.to_vec();
    let layer = BaseLayer { diff_id: &base_id, size: base.len() as u64, tar: &tar };
    let index = BaseIndex::read(vec![layer]).expect("the base can be read");
    let mut body = Vec::new();
    let options = CreateOptions { level: 1, threads: 1 };
    let created = create(new, &diff_id, &index, &options, &mut body).expect("any bytes have a delta");
    let mut output = Vec::new();
    let wanted = Wanted { diff_id: &diff_id, most_bytes: new.len() as u64, threads: 1 };
    let applied = apply([created.header_bytes(), body].concat().as_slice(), &[layer], &wanted, &mut output);
    applied.expect("a delta of ours applies");
    assert!(output == new);
}

/// A delta that is put together by hand, behind a header that is right.
#[derive(Default)]
pub(super) struct Forged {
    pub sizes: Vec<GroupHeader>,
    /// Instead of the frame of all groups' operations, in the first group.
    pub control: Option<Vec<u8>>,
    controls: Vec<Vec<u8>>,
    segments: Vec<Vec<u8>>,
    /// Instead of all groups.
    raw: Option<Vec<u8>>,
}

impl Forged {
    /// One group: its operations, its new data, and the prefix that these are compressed with.
    pub fn group(control: &[u8], segment: &[u8], prefix: &[u8]) -> Self {
        Self::groups(&[(control, segment, prefix)])
    }

    pub fn groups(groups: &[(&[u8], &[u8], &[u8])]) -> Self {
        let mut forged = Self::default();
        let mut context = CCtx::create();
        for (number, (control, segment, prefix)) in groups.iter().enumerate() {
            let end = match number + 1 == groups.len() {
                true => ZSTD_EndDirective::ZSTD_e_end,
                false => ZSTD_EndDirective::ZSTD_e_flush,
            };
            let packed_control = stream(&mut context, control, end);
            let packed = if segment.is_empty() { Vec::new() } else { frame(segment, prefix) };
            forged.sizes.push(GroupHeader {
                control_packed: packed_control.len(),
                control: control.len(),
                segment_packed: packed.len(),
                segment: segment.len(),
            });
            forged.controls.push(packed_control);
            forged.segments.push(packed);
        }
        forged
    }

    pub fn delta(&self, diff_id: &Digest, size: u64, bases: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for ((sizes, control), segment) in self.sizes.iter().zip(&self.controls).zip(&self.segments) {
            body.extend_from_slice(&sizes.to_bytes());
            body.extend_from_slice(self.control.as_ref().unwrap_or(control));
            body.extend_from_slice(segment);
        }
        let body = self.raw.as_ref().unwrap_or(&body);
        let base = |(number, bytes): (usize, &&[u8])| NumberedTar {
            number: number as u32,
            diff_id: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let header = Header {
            result: Tar { diff_id: diff_id.clone(), size },
            bases: bases.iter().enumerate().map(base).collect(),
            body: Body { digest: Digest::of(body), size: body.len() as u64 },
        };
        [header.to_bytes(), body.clone()].concat()
    }
}

fn stream(context: &mut CCtx<'_>, bytes: &[u8], end: ZSTD_EndDirective) -> Vec<u8> {
    let mut packed = vec![0; bytes.len() + bytes.len() / 64 + 1024];
    let mut output = OutBuffer::around(packed.as_mut_slice());
    let mut input = InBuffer::around(bytes);
    let left = context.compress_stream2(&mut output, &mut input, end).map_err(DeltaError::compressor);
    assert_eq!(left.expect("zstd compresses"), 0);
    let written = output.pos();
    packed.truncate(written);
    packed
}

fn frame(bytes: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(3)).map_err(DeltaError::compressor).expect("it is a level");
    if !prefix.is_empty() {
        context.ref_prefix(prefix).map_err(DeltaError::compressor).expect("any bytes are a prefix");
    }
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut packed, bytes).map_err(DeltaError::compressor).expect("zstd compresses");
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds;

    #[test]
    fn the_seeds_of_the_delta_target_hold() {
        fuzz_seeds::each("delta", delta);
    }
}
