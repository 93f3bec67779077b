//! What a tar consists of, for those who look for equal files in two of them: headers and the bodies behind them.
//!
//! Nothing here is a rule: a body that is overlooked, or taken for something else, costs bytes of the delta and nothing more. So
//! all that is not understood is a body without a path, and no header is ever refused.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;

use tar::{EntryType, Header};

pub(super) const BLOCK: usize = 512;
/// Extension headers above this size are not looked into.
const EXTENSION_LIMIT_BYTES: u64 = 64 * 1024;
/// No file is so large; sums of sizes below stay numbers.
const SIZE_END: u64 = 1 << 62;

/// The keys by which an old version of a file is found, from the surest to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Names {
    /// Of the whole path.
    pub path: u64,
    /// Of the path without numbers: `numpy-1.26.3.dist-info/RECORD` and `numpy-1.26.4.dist-info/RECORD` are alike.
    pub alike: u64,
    /// Of the last part of the path, without numbers.
    pub last: u64,
}

/// What a header block is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// By the next header.
    Nothing,
    /// By this many bytes that the walk wants to see ([`TarWalk::extension`]), and their padding.
    Extension(u64),
    /// By a file's content of that many bytes, and its padding.
    Body(Names, u64),
    /// It is not a header: from this block on to the end nothing is known.
    Unknown(Names),
}

/// Goes from header to header.
#[derive(Default)]
pub(super) struct TarWalk {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    extension: Option<EntryType>,
}

impl TarWalk {
    pub fn step(&mut self, block: &[u8; BLOCK]) -> Step {
        if block.iter().all(|byte| *byte == 0) {
            return Step::Nothing;
        }
        let header = Header::from_byte_slice(block);
        let (true, Some(declared)) = (has_checksum(header, block), declared_size(&header.as_old().size)) else {
            return Step::Unknown(Names::of(b""));
        };
        let kind = header.entry_type();
        match kind {
            EntryType::XHeader | EntryType::GNULongName if declared <= EXTENSION_LIMIT_BYTES => {
                self.extension = Some(kind);
                return if declared == 0 { Step::Nothing } else { Step::Extension(declared) };
            }
            EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                return if declared == 0 { Step::Nothing } else { Step::Body(Names::of(b""), declared) };
            }
            _ => {}
        }
        let path = self.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
        let size = self.size.take().unwrap_or(declared);
        // Links say a size in some archives, and have no content.
        let has_content = !matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        if size > 0 && has_content { Step::Body(Names::of(&path), size) } else { Step::Nothing }
    }

    /// What a [`Step::Extension`] announced.
    pub fn extension(&mut self, bytes: &[u8]) {
        match self.extension.take() {
            Some(EntryType::GNULongName) => self.path = Some(trim_end(bytes).to_owned()),
            Some(EntryType::XHeader) => {
                for (key, value) in pax_records(bytes) {
                    match key {
                        b"path" => self.path = Some(value.to_owned()),
                        b"size" => {
                            let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                            self.size = size.filter(|size| *size < SIZE_END);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

/// The zeros between a body or an extension and the next header.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn has_checksum(header: &Header, block: &[u8; BLOCK]) -> bool {
    let before = block[..148].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let behind = block[156..].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    header.cksum().is_ok_and(|stored| stored == before + behind + 8 * 32)
}

/// Octal digits, or a number of eight bytes behind GNU's mark.
fn declared_size(field: &[u8; 12]) -> Option<u64> {
    let size = match field {
        [0x80, 0, 0, 0, number @ ..] => u64::from_be_bytes(*number),
        _ => {
            let digits = trim_end(field).trim_ascii();
            let digits = std::str::from_utf8(digits).ok()?;
            if digits.is_empty() { 0 } else { u64::from_str_radix(digits, 8).ok()? }
        }
    };
    (size < SIZE_END).then_some(size)
}

/// The records of a PAX header, as far as they can be read.
fn pax_records(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let size: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..size)?.strip_suffix(b"\n")?;
        bytes = &bytes[size..];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        Some((&record[..equals], &record[equals + 1..]))
    })
}

impl Names {
    pub fn of(path: &[u8]) -> Self {
        let mut path = path;
        while let Some(rest) = path.strip_prefix(b"./").or_else(|| path.strip_prefix(b"/")) {
            path = rest;
        }
        let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let hash = |bytes: &[u8]| {
            let mut hasher = DefaultHasher::new();
            hasher.write(bytes);
            hasher.finish()
        };
        Self { path: hash(path), alike: hash(&without_numbers(path)), last: hash(&without_numbers(last)) }
    }

    /// Whether it is of something that has no path.
    pub fn is_nameless(&self) -> bool {
        *self == Self::of(b"")
    }
}

/// Versions and digests in names: runs of digits, and words of eight and more hex digits, become `#`.
fn without_numbers(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    for word in path.split_inclusive(|byte| !byte.is_ascii_alphanumeric()) {
        let letters = word.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let (letters, end) = word.split_at(letters);
        let is_digest = letters.len() >= 8 && letters.iter().all(u8::is_ascii_hexdigit);
        if is_digest {
            plain.push(b'#');
        } else {
            for byte in letters {
                match byte {
                    b'0'..=b'9' if plain.last() == Some(&b'#') => {}
                    b'0'..=b'9' => plain.push(b'#'),
                    _ => plain.push(*byte),
                }
            }
        }
        plain.extend_from_slice(end);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_digests_in_names_are_alike() {
        let alike = |one: &str, two: &str| {
            let [one, two] = [one, two].map(|path| Names::of(path.as_bytes()));
            (one.path == two.path, one.alike == two.alike, one.last == two.last)
        };
        assert_eq!(alike("a/numpy-1.26.3.dist-info/RECORD", "./a/numpy-1.26.14.dist-info/RECORD"), (false, true, true));
        assert_eq!(alike("libs/libopenblas-r0-0cf96a72.so", "libs/libopenblas-r0-5007b62f.so"), (false, true, true));
        assert_eq!(alike("a/x.py", "b/x.py"), (false, false, true));
        assert_eq!(alike("/a/x.py", "a/x.py"), (true, true, true));
        assert_eq!(alike("decade.py", "facade.py"), (false, false, false));
    }

    #[test]
    fn a_pax_header_gives_path_and_size() {
        let mut walk = TarWalk { extension: Some(EntryType::XHeader), ..TarWalk::default() };
        walk.extension(b"14 path=a/b/c\n17 size=12345678\n13 mtime=1.5\nx");
        assert_eq!(walk.path.as_deref(), Some(b"a/b/c".as_slice()));
        assert_eq!(walk.size, Some(12_345_678));
    }
}
