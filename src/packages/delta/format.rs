//! The bytes of a delta (docs/package-format.md): the header, groups, operations, and the limits that a reader holds every
//! delta to.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::error::DeltaError;
use crate::fs::Digest;

/// The first line; a later format has another number.
pub(super) const FIRST_LINE: &[u8] = b"dpl-delta 1\n";
/// What all formats begin with.
const FIRST_WORD: &[u8] = b"dpl-delta ";
/// An image has at most 127 layers, a line says one with some 150 bytes: enough for the layers of fifty images.
const HEADER_LIMIT_BYTES: u64 = 1 << 20;

/// New data that one frame holds, at most. Each frame in work needs that much memory, and as much again for its prefix.
pub(super) const SEGMENT_LIMIT_BYTES: usize = 16 << 20;
/// Old data that a frame may refer to, at most.
pub(super) const PREFIX_LIMIT_BYTES: usize = 24 << 20;
/// Operations and literal bytes of a group, at most.
pub(super) const CONTROL_LIMIT_BYTES: usize = 8 << 20;
/// The window of the control stream: 1 << 23 bytes.
pub(super) const CONTROL_WINDOW_LOG: u32 = 23;

/// All prefixes together, at most, for a result of that size: reading them takes time, and a small delta must not ask for days.
pub(super) fn all_prefixes_limit(result_bytes: u64) -> u64 {
    result_bytes.saturating_mul(4).saturating_add(64 << 20)
}

/// A frame of incompressible bytes is a little larger than they are.
pub(super) fn packed_limit(raw_bytes: usize) -> usize {
    raw_bytes + raw_bytes / 128 + 1024
}

/// The second line of a delta, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The layer that the delta rebuilds.
    pub result: Tar,
    /// The layers that it reads, by number.
    pub bases: Vec<NumberedTar>,
    /// All that follows the header.
    pub body: Body,
}

/// A layer as the tar that it is uncompressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tar {
    pub diff_id: Digest,
    pub size: u64,
}

/// A base, and the number that operations call it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberedTar {
    pub number: u32,
    pub diff_id: Digest,
    pub size: u64,
}

/// The digest and size of what follows the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    pub digest: Digest,
    pub size: u64,
}

impl Header {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("a header has neither maps nor floats");
        [FIRST_LINE, &json, b"\n"].concat()
    }

    /// Reads the header alone, and nothing behind it.
    ///
    /// # Errors
    /// It is not a delta, one of another format, or damaged.
    pub fn read(delta: &mut impl Read) -> Result<Self, DeltaError> {
        let first = line(delta, FIRST_LINE.len() as u64 + 16)?;
        if first != FIRST_LINE {
            let version = first.strip_prefix(FIRST_WORD).and_then(|rest| rest.strip_suffix(b"\n"));
            let version = version.and_then(|version| std::str::from_utf8(version).ok()?.parse::<u32>().ok());
            return Err(version.map_or(DeltaError::NotADelta, |version| DeltaError::Version { version }));
        }
        let bytes = line(delta, HEADER_LIMIT_BYTES)?;
        let header: Self =
            serde_json::from_slice(&bytes).map_err(|_| DeltaError::damaged(message!("delta-damage-header")))?;
        // Written in one way only, so that no byte of it can differ unnoticed.
        if header.to_bytes()[FIRST_LINE.len()..] != *bytes {
            return Err(DeltaError::damaged(message!("delta-damage-header")));
        }
        Ok(header)
    }
}

/// A line with its end; less than that where the input ends, or the line is longer than the limit.
fn line(delta: &mut impl Read, limit: u64) -> Result<Vec<u8>, DeltaError> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') && (line.len() as u64) < limit {
        match delta.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DeltaError::Read(error)),
        }
    }
    Ok(line)
}

/// The sizes before each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub control_packed: usize,
    pub control: usize,
    pub segment_packed: usize,
    pub segment: usize,
}

impl GroupHeader {
    pub const BYTES: usize = 16;

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let sizes = [self.control_packed, self.control, self.segment_packed, self.segment];
        for (place, size) in bytes.chunks_exact_mut(4).zip(sizes) {
            let size = u32::try_from(size).expect("the limits are far below 4 GiB");
            place.copy_from_slice(&size.to_le_bytes());
        }
        bytes
    }

    /// Refuses what is above the limits, before anything is allocated for it.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Result<Self, DeltaError> {
        let size = |at: usize| {
            let bytes: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let group = Self { control_packed: size(0), control: size(4), segment_packed: size(8), segment: size(12) };
        let fits = (1..=CONTROL_LIMIT_BYTES).contains(&group.control)
            && group.control_packed <= packed_limit(group.control)
            && group.segment <= SEGMENT_LIMIT_BYTES
            && group.segment_packed <= packed_limit(group.segment)
            && (group.segment == 0) == (group.segment_packed == 0);
        if fits { Ok(group) } else { Err(DeltaError::damaged(message!("delta-damage-sizes"))) }
    }
}

impl GroupHeader {
    /// What the group takes of the memory, with the largest prefix where it may have one: that is known later.
    pub fn in_work_bytes(&self) -> usize {
        let prefix = if self.segment > 0 { PREFIX_LIMIT_BYTES } else { 0 };
        self.control_packed + 2 * self.control + self.segment_packed + self.segment + prefix
    }
}

/// A stretch of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// The number of the base.
    pub base: u32,
    pub offset: u64,
    pub size: u64,
}

/// What one step of rebuilding does. `Literal` is followed by that many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    End,
    Literal {
        size: u64,
    },
    Copy(Range),
    /// So many bytes of the group's segment, from where the last one ended.
    Data {
        size: u64,
    },
    /// Comes before all others of its group.
    Prefix(Range),
}

const END: u8 = 0;
const LITERAL: u8 = 1;
const COPY: u8 = 2;
const DATA: u8 = 3;
const PREFIX: u8 = 4;

impl Operation {
    pub fn write(self, control: &mut Vec<u8>) {
        match self {
            Self::End => control.push(END),
            Self::Literal { size } => {
                control.push(LITERAL);
                write_number(control, size);
            }
            Self::Data { size } => {
                control.push(DATA);
                write_number(control, size);
            }
            Self::Copy(range) => range.write(COPY, control),
            Self::Prefix(range) => range.write(PREFIX, control),
        }
    }

    /// The operation at the start of `control`, which begins behind it afterwards.
    pub fn read(control: &mut &[u8]) -> Option<Self> {
        let (kind, rest) = control.split_first()?;
        *control = rest;
        Some(match *kind {
            END => Self::End,
            LITERAL => Self::Literal { size: read_number(control)? },
            COPY => Self::Copy(Range::read(control)?),
            DATA => Self::Data { size: read_number(control)? },
            PREFIX => Self::Prefix(Range::read(control)?),
            _ => return None,
        })
    }
}

impl Range {
    fn write(self, kind: u8, control: &mut Vec<u8>) {
        control.push(kind);
        write_number(control, u64::from(self.base));
        write_number(control, self.offset);
        write_number(control, self.size);
    }

    fn read(control: &mut &[u8]) -> Option<Self> {
        let base = u32::try_from(read_number(control)?).ok()?;
        Some(Self { base, offset: read_number(control)?, size: read_number(control)? })
    }
}

/// LEB128: seven bits a byte, the lowest first, the top bit where more follow.
fn write_number(control: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        control.push(number as u8 | 0x80);
        number >>= 7;
    }
    control.push(number as u8);
}

fn read_number(control: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = control.split_first()?;
        *control = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_reads_as_it_was_written() {
        let range = Range { base: 300, offset: u64::MAX, size: 0 };
        let all = [
            Operation::Prefix(range),
            Operation::Copy(Range { base: 0, offset: 127, size: 128 }),
            Operation::Literal { size: 1 << 40 },
            Operation::Data { size: 16_384 },
            Operation::End,
        ];
        let mut control = Vec::new();
        all.iter().for_each(|operation| operation.write(&mut control));
        let mut rest = control.as_slice();
        for operation in all {
            assert_eq!(Operation::read(&mut rest), Some(operation));
        }
        assert!(rest.is_empty());
        for end in 0..control.len() {
            let mut cut = &control[..end];
            while Operation::read(&mut cut).is_some() {}
            assert!(cut.len() < control.len());
        }
    }

    #[test]
    fn a_number_above_64_bits_is_refused() {
        let most = [[0xff; 9].as_slice(), &[0x01]].concat();
        assert_eq!(read_number(&mut most.as_slice()), Some(u64::MAX));
        for wrong in [[[0xff; 9].as_slice(), &[0x02]].concat(), vec![0x80; 11], vec![0x80]] {
            assert_eq!(read_number(&mut wrong.as_slice()), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes_above_the_limits_are_refused() {
        let good = GroupHeader { control_packed: 10, control: 20, segment_packed: 10, segment: 30 };
        assert_eq!(GroupHeader::from_bytes(good.to_bytes()).unwrap(), good);
        let wrong = [
            GroupHeader { control: 0, ..good },
            GroupHeader { control: CONTROL_LIMIT_BYTES + 1, ..good },
            GroupHeader { control_packed: 5000, ..good },
            GroupHeader { segment: SEGMENT_LIMIT_BYTES + 1, ..good },
            GroupHeader { segment_packed: 5000, ..good },
            GroupHeader { segment: 0, ..good },
            GroupHeader { segment_packed: 0, ..good },
        ];
        for group in wrong {
            assert!(GroupHeader::from_bytes(group.to_bytes()).is_err(), "{group:?}");
        }
    }
}
