use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::catalogue::english;
use crate::images::formats::documents::UNCOMPRESSED_SIZE;
use crate::images::list::list_images;
use crate::images::store::layout::{StoredLayer, blob_path};
use crate::images::store::sample_archives::archive_for;
use crate::images::store::sample_layers::add_layer;
use crate::images::store::writer::{NewName, StoreWriter};

/// A store with two images that share a layer.
fn store(folder: &Path) -> Vec<StoredLayer> {
    let mut writer = StoreWriter::open(folder).unwrap();
    let layers: Vec<StoredLayer> =
        ["base", "one", "two"].map(|text| add_layer(folder, text.repeat(1000).as_bytes())).into();
    let mut names = Vec::new();
    for (name, at) in [("a/one:1", 1), ("two:2", 2)] {
        let chosen = [layers[0].clone(), layers[at].clone()];
        let diff_ids: Vec<String> = chosen.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = serde_json::json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let added = writer.add_image(&serde_json::to_vec(&config).unwrap(), &chosen).unwrap();
        names.push(NewName { reference: name.parse().unwrap(), manifest: added.manifest, engine_ids: Vec::new() });
    }
    writer.name_images(&names).unwrap();
    layers
}

fn look(folder: &Path, thoroughness: Thoroughness) -> VerifyReport {
    let layout = Layout::open(folder).unwrap().unwrap();
    verify_layout(&layout, thoroughness, &Reporter::default()).unwrap()
}

fn blobs(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder.join("blobs/sha256")).unwrap().map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_whole_store_has_no_problems() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    for thoroughness in [Thoroughness::Quick, Thoroughness::Full] {
        let report = look(folder.path(), thoroughness);
        assert_eq!((report.ok, report.images, report.layers), (true, 2, 3), "{report:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_blob_is_found() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    for blob in blobs(folder.path()) {
        let whole = fs::read(&blob).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&blob, &flipped).unwrap();
            let report = look(folder.path(), Thoroughness::Full);
            assert!(!report.ok, "{} at {at}", blob.display());
            let name = blob.file_name().unwrap().to_str().unwrap();
            assert!(report.problems.iter().all(|problem| english(&problem.problem).contains(name)), "{report:?}");
        }
        fs::write(&blob, &whole).unwrap();
    }
}

#[test]
fn a_quick_look_finds_what_is_missing_or_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let layers = store(folder.path());
    let base = blob_path(folder.path(), &layers[0].blob);
    fs::write(&base, b"short").unwrap();
    let report = look(folder.path(), Thoroughness::Quick);
    let broken: Vec<&str> = report.problems.iter().map(|problem| problem.reference.as_str()).collect();
    assert_eq!(broken, ["a/one:1", "two:2"], "both images have that layer");
    fs::remove_file(&base).unwrap();
    assert_eq!(look(folder.path(), Thoroughness::Quick).problems.len(), 2);
}

#[test]
fn of_a_layer_that_is_damaged_each_image_that_needs_it_is_named_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let layers = store(folder.path());
    fs::write(blob_path(folder.path(), &layers[0].blob), "x".repeat(4000)).unwrap();
    for thoroughness in [Thoroughness::Full, Thoroughness::Quick] {
        if thoroughness == Thoroughness::Quick {
            fs::remove_file(blob_path(folder.path(), &layers[0].blob)).unwrap();
        }
        let report = look(folder.path(), thoroughness);
        // The image stands before its problem, and the store's folder is known.
        let blob = format!("blobs/sha256/{}: ", layers[0].blob.hex());
        let said: Vec<(&str, bool)> = report
            .problems
            .iter()
            .map(|StoreProblem { reference, problem, .. }| {
                let said = english(problem);
                (reference.as_str(), said.starts_with(&blob) && !said.contains(reference.as_str()))
            })
            .collect();
        assert_eq!(said, [("a/one:1", true), ("two:2", true)], "{report:?}");
    }
}

#[test]
fn a_size_that_a_manifest_gets_wrong_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let layers = store(folder.path());
    let mut wrong = layers[1].clone();
    wrong.uncompressed_bytes = Some(1);
    assert_eq!(wrong.descriptor().annotation(UNCOMPRESSED_SIZE), Some("1"));
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": [wrong.diff_id.to_string()]}});
    let added = writer.add_image(&serde_json::to_vec(&config).unwrap(), &[wrong]).unwrap();
    let reference = "wrong:1".parse().unwrap();
    writer.name_images(&[NewName { reference, manifest: added.manifest, engine_ids: Vec::new() }]).unwrap();
    drop(writer);
    let report = look(folder.path(), Thoroughness::Full);
    assert_eq!(report.problems.len(), 1, "the blob is right for the image that says its size rightly");
    assert_eq!(report.problems[0].reference, "wrong:1");
    assert!(english(&report.problems[0].problem).contains("unpacks to 3000 bytes"));
}

#[tokio::test]
async fn a_list_tells_what_is_shared_and_what_is_an_images_own() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let services = HashMap::from([("two:2".to_owned(), vec!["b".to_owned(), "c".to_owned()])]);
    let listed = list_images(None, folder.path(), &services, &Reporter::default()).await.unwrap();
    let two = &listed.images[1];
    assert_eq!((two.reference.as_str(), two.layers, two.in_engine), ("two:2", 2, None));
    assert_eq!(two.size_bytes - two.own_bytes, 4000, "the base is shared");
    assert_eq!(two.services, ["b", "c"]);
    assert!(two.saved_at.is_some() && two.image_id.is_some());

    // Under a second name, neither of the two has anything of its own: removing one frees nothing.
    let layout = Layout::open(folder.path()).unwrap().unwrap();
    let manifest = layout.image(&"two:2".parse().unwrap()).unwrap().unwrap().manifest;
    drop(layout);
    let again = NewName { reference: "again:2".parse().unwrap(), manifest, engine_ids: Vec::new() };
    StoreWriter::open(folder.path()).unwrap().name_images(&[again]).unwrap();
    let listed = list_images(None, folder.path(), &services, &Reporter::default()).await.unwrap();
    let own: Vec<(&str, u64)> = listed.images.iter().map(|image| (image.reference.as_str(), image.own_bytes)).collect();
    assert!(own.contains(&("two:2", 0)) && own.contains(&("again:2", 0)), "{own:?}");
    assert!(own.iter().any(|(name, bytes)| *name == "a/one:1" && *bytes > 3000), "{own:?}");

    let empty = list_images(None, &folder.path().join("nothing"), &services, &Reporter::default()).await.unwrap();
    assert!(empty.images.is_empty());
}

#[test]
fn what_other_programs_would_stumble_over_is_found_in_the_layout_itself() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let index = folder.path().join("index.json");
    let mut twice: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let mut other = twice["manifests"][1].clone();
    other["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "a/one:1"});
    twice["manifests"].as_array_mut().unwrap().push(other);
    fs::write(&index, twice.to_string()).unwrap();
    fs::remove_file(folder.path().join("oci-layout")).unwrap();
    let report = look(folder.path(), Thoroughness::Quick);
    let broken: Vec<&str> = report.problems.iter().map(|problem| problem.reference.as_str()).collect();
    assert_eq!(broken, ["oci-layout", "a/one:1"]);
}

#[test]
fn all_platforms_that_an_index_has_here_are_verified_and_no_others_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let layers = store(folder.path());
    let index = folder.path().join("index.json");
    let old: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let mut entries = old["manifests"].as_array().unwrap().clone();
    let absent = serde_json::json!({"mediaType": entries[0]["mediaType"], "size": 7,
        "digest": Digest::of(b"elsewhere").to_string(), "platform": {"os": "linux", "architecture": "mips"}});
    let host = Platform::host().to_string();
    for (entry, architecture) in entries.iter_mut().zip([host.trim_start_matches("linux/"), "s390x"]) {
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
    }
    entries.push(absent);
    let nested = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string();
    let digest = Digest::of(nested.as_bytes());
    fs::write(blob_path(folder.path(), &digest), &nested).unwrap();
    let entry = serde_json::json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest.to_string(),
        "size": nested.len(), "annotations": {"org.opencontainers.image.ref.name": "multi:1"}});
    fs::write(&index, serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string()).unwrap();
    assert!(look(folder.path(), Thoroughness::Full).ok);
    fs::write(blob_path(folder.path(), &layers[2].blob), b"damaged").unwrap();
    let report = look(folder.path(), Thoroughness::Full);
    assert_eq!(report.problems.len(), 1, "the other platform's layer: {report:?}");
    assert_eq!(report.problems[0].reference, "multi:1");
}

#[tokio::test]
async fn an_image_that_only_an_archive_has_is_not_missing_whatever_the_archive_is_called() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("delivered/march")).unwrap();
    let architecture = Platform::host().to_string().trim_start_matches("linux/").to_owned();
    let archive = archive_for(&architecture, &["c:3"], "three");
    fs::write(folder.path().join("delivered/march/all.tar"), archive).unwrap();
    for names in [&["c:3", "d:4"][..], &["a/one:1", "c:3", "d:4"]] {
        let needed = NeededImages::these("p", names);
        for thoroughness in [Thoroughness::Quick, Thoroughness::Full] {
            let report = verify(folder.path(), Some(&needed), thoroughness, &Reporter::default()).await.unwrap();
            assert_eq!((report.ok, &report.missing[..]), (true, &["d:4".to_owned()][..]), "{report:?}");
            assert_eq!(report.contents_read, thoroughness == Thoroughness::Full);
        }
        // First with archives alone, then beside a store.
        store(folder.path());
    }
}

#[tokio::test]
async fn each_problem_says_what_it_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let layers = store(folder.path());
    fs::remove_file(blob_path(folder.path(), &layers[1].blob)).unwrap();
    fs::remove_file(folder.path().join("oci-layout")).unwrap();
    let architecture = Platform::host().to_string().trim_start_matches("linux/").to_owned();
    let mut archive = archive_for(&architecture, &["c:3"], "three");
    let at = archive.windows(5).position(|window| window == b"three").unwrap();
    archive[at] ^= 1;
    fs::write(folder.path().join("c.tar"), archive).unwrap();
    let report = verify(folder.path(), None, Thoroughness::Full, &Reporter::default()).await.unwrap();
    let kinds: Vec<ProblemKind> = report.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::Index, ProblemKind::Image, ProblemKind::Archive], "{report:?}");
}

#[tokio::test]
async fn an_entry_that_no_load_can_use_is_a_problem_where_it_is_needed_and_never_missing() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let path = folder.path().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7,
        "digest": format!("sha512:{}", "ab".repeat(64)),
        "annotations": {"org.opencontainers.image.ref.name": "s512:1"},
    }));
    fs::write(&path, index.to_string()).unwrap();
    let look = async |needed: &[&str]| {
        let needed = NeededImages::these("p", needed);
        verify(folder.path(), Some(&needed), Thoroughness::Quick, &Reporter::default()).await.unwrap()
    };
    let report = look(&["a/one:1"]).await;
    assert_eq!((report.ok, &report.others[..]), (true, &["s512:1".to_owned()][..]), "{report:?}");
    let report = look(&["s512:1"]).await;
    assert_eq!((report.missing.len(), report.others.len(), report.problems.len()), (0, 0, 1), "{report:?}");
    assert_eq!(report.problems[0].reference, "s512:1");
}
