//! What the fuzz targets of this module do with any bytes: nothing panics, and what is read is what is there. The seeds in
//! `fuzz/seeds`, to which every finding is added, run as ordinary tests.

use std::fmt::Debug;
use std::io::{self, Cursor, Read};
use std::path::Path;

use crate::fs::{Digest, HashingReader};
use crate::images::formats::image_archive::{ArchiveError, ArchivedImage, LayerFile, read_archive};
use crate::images::formats::platform::Platform;
use crate::images::formats::tar_reader::{Seekable, Streamed};
use crate::images::load::sources::{ArchiveCache, find_sources};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{BLOBS, INDEX_FILE, LAYOUT_FILE, Layout};
use crate::report::Reporter;

/// Any bytes as a `docker save` archive: as they are, and with the checksums that a tar archive needs, which no fuzzer
/// finds. A stream and a file in which layers are jumped over must read alike.
pub fn archive(bytes: &[u8]) {
    let host = Platform::host();
    for bytes in [bytes.to_vec(), with_checksums(bytes)] {
        let streamed = read_archive(Streamed(bytes.as_slice()), &host, hashed);
        let seekable = read_archive(Seekable(Cursor::new(&bytes)), &host, hashed);
        let jumped = read_archive(Seekable(Cursor::new(&bytes)), &host, |file, _| Ok::<_, ArchiveError>(named(&file)));
        assert_eq!(checked(&streamed), checked(&seekable));
        assert_eq!(streamed.is_ok(), jumped.is_ok(), "{streamed:?} {jumped:?}");
    }
}

fn named(file: &LayerFile<'_>) -> (String, u64) {
    (file.path.to_owned(), file.size_bytes)
}

fn hashed(file: LayerFile<'_>, body: &mut dyn Read) -> Result<(String, u64, Digest), ArchiveError> {
    let mut hashing = HashingReader::new(body);
    io::copy(&mut hashing, &mut io::sink())
        .map_err(|source| ArchiveError::Layer { path: file.path.to_owned(), source })?;
    let (_, digest, bytes) = hashing.finish();
    assert_eq!(bytes, file.size_bytes);
    Ok((file.path.to_owned(), bytes, digest))
}

/// What was read, which must be whole, or what was said, which must be fit for a terminal.
fn checked<L: Debug>(read: &Result<Vec<ArchivedImage<L>>, ArchiveError>) -> String {
    match read {
        Ok(images) => {
            for image in images {
                assert_eq!(image.layers.len(), image.config.diff_ids().len());
                assert_eq!(Digest::of(&image.config_bytes), image.config_digest);
            }
            format!("{images:?}")
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
            text
        }
    }
}

/// Walks over the blocks as a tar reader does and puts the right checksum into each header.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + 512) {
        if block.iter().any(|byte| *byte != 0) {
            block[148..156].copy_from_slice(b"        ");
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let digits = block[124..136].iter().filter(|byte| matches!(byte, b'0'..=b'7'));
        let size = digits.fold(0_usize, |size, digit| size.saturating_mul(8) + usize::from(digit - b'0'));
        at = at.saturating_add(512).saturating_add(size.div_ceil(512).saturating_mul(512));
    }
    bytes
}

/// Index, manifest, configuration and layer, between lines of `---`, as a layout in `folder`, which is empty. `$M`, `$C`,
/// `$L` and `$D` stand for the digests of manifest, configuration, layer and its content, `$m`, `$c` and `$l` for sizes:
/// a fuzzer finds no digests.
pub fn layout(bytes: &[u8], folder: &Path) {
    let separator = b"\n---\n";
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut rest = bytes;
    while parts.len() < 3
        && let Some(at) = rest.windows(separator.len()).position(|window| window == separator)
    {
        parts.push(rest[..at].to_vec());
        rest = &rest[at + separator.len()..];
    }
    parts.push(rest.to_vec());
    parts.resize(4, Vec::new());
    let [index, manifest, config, layer] = parts.try_into().expect("there are four");
    let config = filled(&config, &[("$D", Digest::of(&layer).to_string())]);
    let of = |name: &'static str, size: &'static str, bytes: &[u8]| {
        [(name, Digest::of(bytes).to_string()), (size, bytes.len().to_string())]
    };
    let manifest = filled(&manifest, &[of("$C", "$c", &config), of("$L", "$l", &layer)].concat());
    let index = filled(&index, &of("$M", "$m", &manifest));
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).expect("the folder can be written");
    std::fs::create_dir_all(folder.join(BLOBS)).expect("the folder can be written");
    for blob in [&manifest, &config, &layer] {
        write(&folder.join(BLOBS).join(Digest::of(blob).hex()), blob);
    }
    write(&folder.join(INDEX_FILE), &index);
    write(&folder.join(LAYOUT_FILE), br#"{"imageLayoutVersion":"1.0.0"}"#);
    read_layout(folder);
}

fn read_layout(folder: &Path) {
    let Ok(Some(store)) = Layout::open(folder) else {
        return;
    };
    for entry in &store.index.manifests {
        assert!(!entry.shown_name().chars().any(char::is_control));
        let Ok(image) = store.read_image(entry) else {
            continue;
        };
        assert_eq!(image.layers.len(), image.config.diff_ids().len());
        assert_eq!(Digest::of(&image.config_bytes), image.config_digest);
        let _ = image.total_bytes();
        for layer in &image.layers {
            let _ = measure(&store, layer, &image.name);
        }
    }
    let wanted = ["a:1".parse().expect("it is a reference")];
    let _ = find_sources(folder, &Platform::host(), &wanted, ArchiveCache::ReadOnly, &Reporter::default());
}

fn filled(text: &[u8], values: &[(&str, String)]) -> Vec<u8> {
    // Latin-1, so that any byte stays what it is.
    let text: String = text.iter().map(|byte| char::from(*byte)).collect();
    let text = values.iter().fold(text, |text, (name, value)| text.replace(name, value));
    text.chars().map(|char| char as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds;

    #[test]
    fn the_seeds_of_the_archive_target_hold() {
        fuzz_seeds::each("archive", archive);
    }

    #[test]
    fn the_seeds_of_the_layout_target_hold() {
        fuzz_seeds::each("layout", |bytes| {
            let folder = tempfile::tempdir().unwrap();
            layout(bytes, folder.path());
        });
    }

    #[test]
    fn a_seed_reads_as_an_image_so_that_the_targets_reach_what_lies_behind() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let archive = std::fs::read(seeds.join("archive/good.tar")).unwrap();
        assert_eq!(read_archive(Streamed(archive.as_slice()), &Platform::host(), hashed).unwrap().len(), 1);
        let folder = tempfile::tempdir().unwrap();
        layout(&std::fs::read(seeds.join("layout/good")).unwrap(), folder.path());
        let found = find_sources(
            folder.path(),
            &Platform::host(),
            &["a:1".parse().unwrap()],
            ArchiveCache::ReadOnly,
            &Reporter::default(),
        )
        .unwrap();
        assert_eq!(found.batches.len(), 1);
    }
}
