//! What a part says of itself, and the list of all parts.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fs::Digest;

/// A part's header has so many bytes: the mark, a JSON document, spaces, a line feed.
pub const HEADER_BYTES: usize = 512;
const MARK: &[u8] = b"dpl-part 1 ";
/// Numbers of parts have three digits.
pub const MOST_PARTS: u64 = 999;
/// A smaller part would be header above all.
pub const LEAST_PART: u64 = 64 << 10;

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartHeader {
    /// The digest of the package's index.
    pub package: Digest,
    /// From 1.
    pub number: u64,
    pub parts: u64,
    /// Where in the package its content begins.
    pub offset: u64,
    /// The bytes of its content.
    pub bytes: u64,
    /// The bytes of the package.
    pub of: u64,
}

impl PartHeader {
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [b' '; HEADER_BYTES];
        let text = serde_json::to_vec(self).expect("text and numbers always serialise");
        bytes[..MARK.len()].copy_from_slice(MARK);
        bytes[MARK.len()..MARK.len() + text.len()].copy_from_slice(&text);
        bytes[HEADER_BYTES - 1] = b'\n';
        bytes
    }

    /// `None` for what is not a part's header, or contradicts itself.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let text = bytes.strip_prefix(MARK)?.strip_suffix(b"\n")?;
        let header: Self = serde_json::from_slice(text.trim_ascii_end()).ok()?;
        let is_sound = (1..=MOST_PARTS).contains(&header.parts)
            && (1..=header.parts).contains(&header.number)
            && header.offset.checked_add(header.bytes).is_some_and(|end| end <= header.of)
            && (header.offset == 0) == (header.number == 1)
            && (header.number < header.parts || header.offset + header.bytes == header.of)
            && header.bytes > 0;
        (is_sound && header.to_bytes() == *bytes).then_some(header)
    }

    /// Whether it is a part of a package in parts at all; `begin` is how it begins.
    pub fn is_one(begin: &[u8]) -> bool {
        begin.starts_with(MARK)
    }

    /// The part that comes behind it.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.package == next.package
            && self.parts == next.parts
            && self.of == next.of
            && self.number + 1 == next.number
            && self.offset + self.bytes == next.offset
    }
}

/// `FILE.parts.json`: all parts, and what is needed to make one of them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartsList {
    /// The format: 1.
    pub format: u32,
    /// The digest of the package's index.
    #[schemars(with = "String")]
    pub package: Digest,
    /// The package's time (RFC 3339, UTC).
    pub created: String,
    /// The signature of its index, as minisign writes it.
    pub signature: Option<String>,
    /// The most bytes of a part.
    pub part_bytes: u64,
    /// In their order.
    pub parts: Vec<ListedPart>,
}

/// A part in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedPart {
    /// The file's name.
    pub file: String,
    /// With its header.
    pub bytes: u64,
    #[schemars(with = "String")]
    pub digest: Digest,
}

impl PartsList {
    pub const FORMAT: u32 = 1;

    /// Whether parts of so many bytes are those of the list.
    pub fn is_of(&self, package: &Digest, part_bytes: Option<u64>) -> bool {
        self.package == *package && part_bytes == Some(self.part_bytes)
    }

    /// Where the list of a package's parts lies.
    pub fn path(output: &Path) -> PathBuf {
        let mut name = output.as_os_str().to_owned();
        name.push(".parts.json");
        name.into()
    }

    /// The list beside parts; `None` where there is none that can be understood.
    pub fn read(output: &Path) -> Option<Self> {
        const LARGEST: u64 = 1 << 20;
        let file = crate::fs::open_regular(&Self::path(output)).ok()?;
        let list: Self = serde_json::from_reader(std::io::Read::take(file, LARGEST)).ok()?;
        (list.format == Self::FORMAT).then_some(list)
    }
}

/// `FILE.001` and on.
pub fn part_path(output: &Path, number: u64) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{number:03}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> PartHeader {
        PartHeader { package: Digest::of(b"index"), number: 2, parts: 3, offset: 100, bytes: 100, of: 250 }
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_does() {
        let bytes = header().to_bytes();
        assert_eq!(PartHeader::parse(&bytes), Some(header()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = PartHeader::parse(&flipped);
            assert!(read != Some(header()), "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_contradicts_itself_is_none() {
        type Change = fn(&mut PartHeader);
        let changes: [Change; 7] = [
            |header| header.number = 0,
            |header| header.number = 4,
            |header| header.parts = 1000,
            |header| header.offset = u64::MAX,
            |header| header.offset = 0,
            |header| header.bytes = 0,
            |header| (header.number, header.bytes) = (3, 100),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = header();
            change(&mut changed);
            assert_eq!(PartHeader::parse(&changed.to_bytes()), None, "{number}");
        }
    }
}
