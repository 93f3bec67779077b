//! What the fuzz targets of packages do with any bytes. The seeds in `fuzz/seeds`, to which every finding is added, run as ordinary
//! tests.

use std::io::{self, Cursor, Read};
use std::path::{Component, Path};

use super::PackagesError;
use super::format::{Entry, PackageIndex, PackageReader, PackageSource, StreamSource, seal_of};
use super::parts::{PartHeader, PartsStream};
use crate::fs::Digest;
use crate::images::archive::{END_MARK, file_header, padding};

const HEADER_BYTES: usize = 512;
/// A made-up package has no more content.
const MOST_CONTENT: u64 = 1 << 16;

/// Any bytes as an index, as a package, and as the index of a package that is right but for it: refused, or what it says.
pub fn index(bytes: &[u8]) {
    if let Ok(content) = read(bytes.to_vec()) {
        assert!(content.iter().all(|(entry, content)| Digest::of(content) == entry.digest));
    }
    match PackageIndex::parse(bytes) {
        Ok(index) => {
            assert_eq!(PackageIndex::parse(&index.to_bytes()).ok().as_ref(), Some(&index));
            let seeds = index.seeds.iter().flat_map(|seed| &seed.files).map(|file| &file.path);
            let paths = index.files.iter().map(|file| &file.path).chain(seeds.filter(|path| !path.is_empty()));
            for path in paths.chain([&index.manifest]) {
                assert!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            }
            assert!(index.bytes() <= 1 << 50 && index.entries.iter().all(|entry| entry.namespace().is_some()));
            if index.bytes() <= MOST_CONTENT {
                let read = read(package(bytes, &index));
                let is_zeros = |entry: &Entry| Digest::of(&vec![0; entry.bytes as usize]) == entry.digest;
                assert_eq!(read.is_ok(), index.entries.iter().all(is_zeros), "content that is not what the index says");
            }
        }
        Err(error) => is_plain(&error),
    }
}

/// Any bytes as parts in a pipe, and as what a part says of itself: refused, or parts that fit together.
pub fn parts(bytes: &[u8]) {
    stream(bytes);
    // What stands before a line feed, behind the mark that no fuzzer finds; the rest is its content, and more parts.
    let (text, rest) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    let mark = b"dpl-part 1 ";
    let mut block = [b' '; HEADER_BYTES];
    block[HEADER_BYTES - 1] = b'\n';
    let length = text.len().min(HEADER_BYTES - mark.len() - 1);
    block[..mark.len()].copy_from_slice(mark);
    block[mark.len()..mark.len() + length].copy_from_slice(&text[..length]);
    if let Some(header) = PartHeader::parse(&block) {
        assert_eq!(header.to_bytes(), block);
        assert!(header.number >= 1 && header.number <= header.parts && header.offset + header.bytes <= header.of);
        assert!(!header.is_followed_by(&header));
    }
    stream(&[&block, rest].concat());
}

fn stream(bytes: &[u8]) {
    let Some((block, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return };
    match PartsStream::new(rest, block) {
        Ok(mut stream) => {
            let mut content = Vec::new();
            let read = (&mut stream).take(bytes.len() as u64 + 1).read_to_end(&mut content);
            assert!(content.len() <= rest.len(), "more than there is");
            let (header, is_whole) = (PartHeader::parse(block).expect("it was read"), read.is_ok());
            // What is behind the last part is for the archive's reader to refuse: of one byte it is told.
            assert!(!is_whole || content.len() as u64 >= header.of, "cut, and not told");
        }
        Err(error) => is_plain(&error),
    }
}

fn is_plain(error: &PackagesError) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
}

/// A package with this index, whose entries are zeros.
fn package(bytes: &[u8], index: &PackageIndex) -> Vec<u8> {
    let mut package = Vec::new();
    let mut add = |name: &str, content: &[u8]| {
        package.extend_from_slice(&file_header(name, content.len() as u64));
        package.extend_from_slice(content);
        package.resize(package.len() + padding(content.len() as u64) as usize, 0);
    };
    add("dpl-package.json", bytes);
    add("dpl-package.json.sha256", seal_of(bytes).as_bytes());
    index.entries.iter().for_each(|entry| add(&entry.name, &vec![0; entry.bytes as usize]));
    package.extend_from_slice(&END_MARK);
    package
}

fn read(bytes: Vec<u8>) -> Result<Vec<(Entry, Vec<u8>)>, PackagesError> {
    read_source(Box::new(StreamSource(Cursor::new(bytes))))
}

/// All entries, each compared with its digest, as the receiving side does.
pub(super) fn read_source(source: Box<dyn PackageSource>) -> Result<Vec<(Entry, Vec<u8>)>, PackagesError> {
    let mut reader = PackageReader::open(source)?;
    let mut all = Vec::new();
    while let Some(entry) = reader.begin()? {
        let mut content = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                read => content.extend_from_slice(&buffer[..read]),
            }
        }
        if Digest::of(&content) != entry.digest {
            return Err(PackagesError::Read(io::ErrorKind::InvalidData.into()));
        }
        all.push((entry, content));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seeds_of_indexes_are_refused_or_read_back() {
        crate::fuzz_seeds::each("package", super::index);
    }

    #[test]
    fn the_seeds_of_parts_are_refused_or_fit_together() {
        crate::fuzz_seeds::each("parts", super::parts);
    }
}
