//! Packages and their parts, damaged in all ways: found, whatever it is.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::format::{Entry, EntrySource, Namespace, Needs, PackageIndex, PackageSource, PackageWriter, StreamSource};
use super::fuzz::read_source;
use super::parts::{PartsOutput, PartsSource, PartsStream};
use super::{ContentFile, PackagesError};
use crate::fs::{Digest, Mode};
use crate::manifest::FileUse;

const FLIPS: usize = 2000;
const CUTS: usize = 600;
/// The smallest part there is.
const PART: u64 = 64 << 10;

/// A layer that no part holds alone.
fn layer() -> Vec<u8> {
    (0..18_000_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

/// A package of one file and one image, and its index.
fn package(release: &str) -> (Vec<u8>, PackageIndex) {
    let contents = [b"{}".to_vec(), layer(), b"config".to_vec(), format!("manifest of {release}").into_bytes()];
    let [file, blob, config, manifest] = [0, 1, 2, 3].map(|place: usize| {
        let content = &contents[place];
        let namespace = if place == 0 { Namespace::File } else { Namespace::Blob };
        Entry::of(namespace, &Digest::of(content), content.len() as u64)
    });
    let document = |entry: &Entry| json!({"digest": entry.digest, "bytes": entry.bytes, "media_type": "m"});
    let image = json!({
        "reference": "app:1", "manifest": document(&manifest), "config": document(&config), "engine_ids": [],
        "layers": [{"diff_id": blob.digest, "blob": blob.digest, "bytes": blob.bytes, "media_type": "l",
                    "uncompressed_bytes": null}],
    });
    let content = ContentFile {
        path: "stack.json".to_owned(),
        digest: file.digest.clone(),
        bytes: file.bytes,
        purpose: FileUse::Manifest,
        private: false,
        executable: false,
    };
    let index = PackageIndex {
        format: PackageIndex::FORMAT,
        project: "p".to_owned(),
        release: Some(release.to_owned()),
        created: "2026-01-02T03:04:05Z".to_owned(),
        by: "me@desk".to_owned(),
        architecture: "amd64".to_owned(),
        manifest: "stack.json".to_owned(),
        needs: Needs::default(),
        images: vec![serde_json::from_value(image).unwrap()],
        files: vec![content],
        entries: vec![file, blob, config, manifest],
        ..PackageIndex::default()
    };
    let mut writer = PackageWriter::begin(Vec::new(), &index.to_bytes(), None).unwrap();
    for (entry, content) in index.entries.iter().zip(contents) {
        writer.entry(entry, &EntrySource::Bytes(content), &mut |_| true).unwrap();
    }
    (writer.finish().unwrap().0, index)
}

fn in_parts(folder: &Path, release: &str) -> Vec<PathBuf> {
    let (bytes, index) = package(release);
    let of = (Digest::of(&index.to_bytes()), bytes.len() as u64);
    let output = folder.join(format!("{release}.tar"));
    let mut out = PartsOutput::new((output.as_path(), Mode::Shared, ".x-"), of, PART, None).unwrap();
    out.write_all(&bytes).unwrap();
    out.commit(&index.created, None).unwrap().into_iter().map(|(path, _)| path).collect()
}

fn as_package(bytes: &[u8]) -> Result<Box<dyn PackageSource>, PackagesError> {
    Ok(Box::new(StreamSource(Cursor::new(bytes.to_vec()))))
}

fn as_parts(bytes: &[u8]) -> Result<Box<dyn PackageSource>, PackagesError> {
    let Some((header, rest)) = bytes.split_first_chunk() else { return Err(PackagesError::CutOff) };
    Ok(Box::new(PartsStream::new(Cursor::new(rest.to_vec()), header)?))
}

#[test]
fn flipped_bits_and_cuts_of_packages_and_of_parts_are_all_found() {
    type Open = fn(&[u8]) -> Result<Box<dyn PackageSource>, PackagesError>;
    let folder = tempfile::tempdir().unwrap();
    let whole = package("v1").0;
    let parts = in_parts(folder.path(), "v1");
    assert_eq!(parts.len(), 2);
    let joined: Vec<u8> = parts.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
    for (what, bytes, open) in [("package", &whole, as_package as Open), ("parts", &joined, as_parts as Open)] {
        let right = open(bytes).and_then(read_source).unwrap();
        // All of what stands before the layer, and places all over the layer and behind it.
        let bits = bytes.len() * 8;
        let begin = (0..FLIPS / 2).map(|number| number * (8000 * 8) / (FLIPS / 2) + number % 8);
        let all = (0..FLIPS / 2).map(|number| number * (bits - 1) / (FLIPS / 2 - 1));
        for bit in begin.chain(all) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = open(&flipped).and_then(read_source) {
                assert_eq!(read, right, "{what}: bit {bit}");
                assert_eq!(bytes[bit / 8], 0, "{what}: bit {bit}: what is passed over is padding alone");
            }
        }
        for number in 0..CUTS {
            let end = number * (bytes.len() - 1) / (CUTS - 1);
            assert!(open(&bytes[..end]).and_then(read_source).is_err(), "{what}: cut at {end}");
        }
    }
}

#[test]
fn parts_of_two_packages_make_none() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (in_parts(folder.path(), "v1"), in_parts(folder.path(), "v2"));
    for changed in 0..2 {
        let mut mixed = one.clone();
        mixed[changed] = two[changed].clone();
        assert!(matches!(PartsSource::open(&mixed), Err(PackagesError::OtherPart { .. })), "{changed}");
        // With headers that fit together the content does not.
        let mut bytes = Vec::new();
        for (place, path) in mixed.iter().enumerate() {
            let header = std::fs::read(&one[place]).unwrap();
            bytes.extend_from_slice(&header[..512]);
            bytes.extend_from_slice(&std::fs::read(path).unwrap()[512..]);
        }
        assert!(as_parts(&bytes).and_then(read_source).is_err(), "{changed}");
    }
}

#[test]
fn an_index_of_nothing_but_brackets_or_names_is_refused_at_once() {
    let (_, index) = package("v1");
    let text = String::from_utf8(index.to_bytes()).unwrap();
    let brackets = format!("[{}]", vec!["[]"; 1 << 16].join(","));
    for (place, what) in [
        ("\"needs\": {", format!("\"needs\": {{ \"layers\": {brackets}, ")),
        ("\"format\": 1", format!("\"format\": 1, \"more\": {brackets}")),
        (
            "\"media_type\": \"m\"",
            format!("\"media_type\": \"m\", \"more\": {}1{}", "[".repeat(5000), "]".repeat(5000)),
        ),
    ] {
        assert!(text.contains(place), "{place}");
        let made_up = text.replacen(place, &what, 1);
        assert!(PackageIndex::parse(made_up.as_bytes()).is_err(), "{place}");
    }
    let many = PackageIndex { files: vec![index.files[0].clone(); 10_001], ..index };
    assert!(PackageIndex::parse(&many.to_bytes()).is_err());
}

#[test]
fn a_stream_of_parts_gives_no_more_than_its_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let first = std::fs::read(&in_parts(folder.path(), "v1")[0]).unwrap();
    // The same first part without end.
    let endless = std::iter::repeat_with(|| first.clone()).take(4).flatten().collect::<Vec<u8>>();
    let mut stream = PartsStream::new(&endless[512..], endless[..512].try_into().unwrap()).unwrap();
    let mut content = Vec::new();
    assert!(stream.read_to_end(&mut content).is_err());
    assert_eq!(content.len() as u64, PART - 512);
}
