use super::*;
use crate::fs::{Mode, write_durably};
use crate::images::formats::documents::REF_NAME;
use crate::images::store::sample_layers::add_layer;
use crate::images::store::writer::{NewName, StoreWriter, known_layers};
use std::fs;

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A store with one image of one layer, as a save leaves it.
fn store(folder: &Path, names: &[&str]) -> StoredLayer {
    let mut writer = StoreWriter::open(folder).unwrap();
    let layer = add_layer(folder, b"the layer's bytes");
    let config = format!(r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#, layer.diff_id);
    let added = writer.add_image(config.as_bytes(), std::slice::from_ref(&layer)).unwrap();
    let names: Vec<NewName> = names
        .iter()
        .map(|name| NewName { reference: reference(name), manifest: added.manifest.clone(), engine_ids: Vec::new() })
        .collect();
    writer.name_images(&names).unwrap();
    layer
}

fn open(folder: &Path) -> Layout {
    Layout::open(folder).unwrap().unwrap()
}

#[test]
fn a_folder_without_a_layout_is_no_store_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Layout::open(folder.path()).unwrap().is_none());
    assert!(Layout::open(&folder.path().join("missing")).unwrap().is_none());
}

#[test]
fn an_image_is_found_by_its_reference_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let layer = store(folder.path(), &["redis:7", "expert/ui"]);
    let layout = open(folder.path());
    for name in ["redis:7", "docker.io/library/redis:7", "expert/ui:latest", "expert/ui"] {
        let image = layout.image(&reference(name)).unwrap().unwrap();
        assert_eq!(image.layers, std::slice::from_ref(&layer), "{name}");
        assert!(layout.missing_blob(&image).is_none());
    }
    assert!(layout.image(&reference("redis:8")).unwrap().is_none());
}

#[test]
fn the_index_names_images_as_other_tools_look_for_them() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &["redis:7"]);
    let text = fs::read_to_string(folder.path().join(INDEX_FILE)).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "redis:7");
    assert_eq!(annotations["io.containerd.image.name"], "docker.io/library/redis:7");
    assert_eq!(fs::read_to_string(folder.path().join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
}

#[test]
fn a_reference_names_its_newest_image_only() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &["redis:7", "redis:8"]);
    store(folder.path(), &["redis:7"]);
    let layout = open(folder.path());
    let names: Vec<_> = layout.index.manifests.iter().map(|entry| entry.annotation(REF_NAME).unwrap()).collect();
    assert_eq!(names, ["redis:8", "redis:7"]);
}

#[test]
fn an_entry_of_another_tool_is_found_by_its_familiar_name() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &["redis:7"]);
    let path = folder.path().join(INDEX_FILE);
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let annotations = index["manifests"][0]["annotations"].as_object_mut().unwrap();
    annotations.retain(|name, _| name == REF_NAME);
    fs::write(&path, index.to_string()).unwrap();
    assert!(open(folder.path()).image(&reference("redis:7")).unwrap().is_some());
}

#[test]
fn an_index_that_is_lost_or_damaged_is_an_error_and_never_empty() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &["redis:7"]);
    let path = folder.path().join(INDEX_FILE);
    for text in ["", "{", "[]", r#"{"schemaVersion":1,"manifests":[]}"#, r#"{"schemaVersion":2}"#] {
        fs::write(&path, text).unwrap();
        assert!(matches!(Layout::open(folder.path()), Err(ImagesError::Document { .. })), "{text}");
        assert!(StoreWriter::open(folder.path()).is_err(), "{text}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(Layout::open(folder.path()), Err(ImagesError::NotAStore { .. })));
    assert!(StoreWriter::open(folder.path()).is_err());
}

#[test]
fn an_editors_mark_before_the_index_is_read_over() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &["redis:7"]);
    for file in [INDEX_FILE, "oci-layout"] {
        let path = folder.path().join(file);
        let marked = [b"\xEF\xBB\xBF", &fs::read(&path).unwrap()[..]].concat();
        fs::write(&path, marked).unwrap();
    }
    assert!(open(folder.path()).image(&reference("redis:7")).unwrap().is_some());
}

#[test]
fn every_flipped_bit_in_a_document_is_found() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &["redis:7"]);
    let entry = open(folder.path()).index.manifests[0].clone();
    let manifest = blob_path(folder.path(), &entry.digest);
    let bytes = fs::read(&manifest).unwrap();
    for bit in (0..bytes.len() * 8).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&manifest, &flipped).unwrap();
        let error = open(folder.path()).image(&reference("redis:7")).unwrap_err();
        assert!(matches!(error, ImagesError::DamagedBlob { why: BlobDamage::WrongDigest, .. }), "bit {bit}: {error:?}");
    }
    fs::write(&manifest, &bytes[1..]).unwrap();
    let error = open(folder.path()).image(&reference("redis:7")).unwrap_err();
    assert!(matches!(error, ImagesError::DamagedBlob { why: BlobDamage::WrongSize { .. }, .. }));
    fs::remove_file(&manifest).unwrap();
    let error = open(folder.path()).image(&reference("redis:7")).unwrap_err();
    assert!(matches!(error, ImagesError::DamagedBlob { why: BlobDamage::Missing, .. }));
}

#[test]
fn a_missing_or_short_layer_is_found_without_reading_it() {
    let folder = tempfile::tempdir().unwrap();
    let layer = store(folder.path(), &["redis:7"]);
    let layout = open(folder.path());
    let image = layout.image(&reference("redis:7")).unwrap().unwrap();
    fs::write(layout.blob_path(&layer.blob), b"short").unwrap();
    assert!(layout.missing_blob(&image).is_some());
    fs::remove_file(layout.blob_path(&layer.blob)).unwrap();
    assert!(layout.missing_blob(&image).is_some());
}

#[test]
fn a_pipe_in_place_of_a_blob_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let layer = store(folder.path(), &["redis:7"]);
    let layout = open(folder.path());
    let image = layout.image(&reference("redis:7")).unwrap().unwrap();
    let path = layout.blob_path(&layer.blob);
    fs::remove_file(&path).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    // One that opens it waits for a writer, who never comes.
    assert!(layout.missing_blob(&image).is_some());
}

#[test]
fn an_index_of_several_platforms_means_this_machines_image() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &["redis:7"]);
    let image = open(folder.path()).image(&reference("redis:7")).unwrap().unwrap();
    let host = Platform::host().to_string();
    let entry = |architecture: &str| {
        let platform = serde_json::json!({"os": "linux", "architecture": architecture});
        serde_json::json!({"mediaType": image.manifest.media_type, "digest": image.manifest.digest,
            "size": image.manifest.size, "platform": platform})
    };
    let with_platforms = |architectures: [&str; 2]| {
        let nested = serde_json::json!({"schemaVersion": 2, "manifests": architectures.map(entry)}).to_string();
        let digest = Digest::of(nested.as_bytes());
        fs::write(blob_path(folder.path(), &digest), &nested).unwrap();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": nested.len(),
            "annotations": {"org.opencontainers.image.ref.name": "redis:7"}}]});
        fs::write(folder.path().join(INDEX_FILE), index.to_string()).unwrap();
        open(folder.path()).image(&reference("redis:7"))
    };
    let found = with_platforms(["s390x", host.trim_start_matches("linux/")]).unwrap().unwrap();
    assert_eq!((&found.config_digest, found.name.as_str()), (&image.config_digest, "redis:7"));
    let error = with_platforms(["s390x", "mips"]).unwrap_err();
    assert!(matches!(error, ImagesError::NoPlatform { .. }), "{error:?}");
}

#[test]
fn the_next_writer_removes_what_an_interrupted_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let layer = store(folder.path(), &["redis:7"]);
    drop(StoreWriter::open(folder.path()).unwrap());
    let left = written_folders(folder.path()).map(|written| written.join(".dpl-tmp-abc"));
    for file in &left {
        fs::write(file, b"half a layer").unwrap();
    }
    let writer = StoreWriter::open(folder.path()).unwrap();
    assert!(left.iter().all(|file| !file.exists()), "{left:?}");
    assert_eq!(known_layers(writer.layout()).get(&layer.diff_id), Some(&layer));
    assert!(matches!(StoreWriter::open(folder.path()), Err(ImagesError::StoreBusy { .. })));
}

#[test]
fn a_layer_that_no_image_names_yet_is_found_again_unless_its_blob_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let writer = StoreWriter::open(folder.path()).unwrap();
    let content = b"committed, then killed";
    let layer = StoredLayer {
        diff_id: Digest::of(b"uncompressed"),
        blob: Digest::of(content),
        size_bytes: content.len() as u64,
        media_type: Compression::Zstd.layer_type().to_owned(),
        uncompressed_bytes: Some(12),
    };
    let path = blob_path(folder.path(), &layer.blob);
    write_durably(&path, content, Mode::Shared).unwrap();
    StoreWriter::record_layer(folder.path(), &layer).unwrap();
    assert_eq!(known_layers(writer.layout()).get(&layer.diff_id), Some(&layer));
    fs::write(&path, b"short").unwrap();
    assert!(known_layers(writer.layout()).is_empty());
}
