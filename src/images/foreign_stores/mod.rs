//! Stores as other programs write them, and what our commands leave of them: nothing that another program could read
//! before can it not read afterwards.

mod imported;
mod pruned;
mod repaired;
mod shapes;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use self::shapes::{
    DOCKER_MANIFEST, Foreign, OCI_INDEX, OCI_MANIFEST, REF_NAME, SHAPES, here, one_tag, regctl, signed, skopeo_all,
};
use super::exchange::import::{ImportOptions, import, plan_import};
use super::formats::compression::{Compression, CompressionOptions};
use super::formats::platform::Platform;
use super::list::{OtherKind, list_images};
use super::load::sources::{ArchiveCache, find_sources};
use super::store::layout::{INDEX_FILE, LAYOUT_FILE, Layout};
use super::store::owners::NeededImages;
use super::store::prune::{ArchivePruning, PrunePlan, plan_prune, plan_prune_at, prune};
use super::store::remove::{RemoveTargets, StillNeeded, plan_remove, remove};
use super::store::repair::repair;
use super::store::verify::{Thoroughness, VerifyReport, verify};
use super::store::writer::{NewName, StoreWriter};
use crate::fs::Digest;
use crate::manifest::Reference;
use crate::report::Reporter;

fn open(folder: &Path) -> Layout {
    Layout::open(folder).unwrap().unwrap()
}

fn options() -> ImportOptions {
    ImportOptions {
        compression: CompressionOptions { compression: Compression::Zstd, level: None, threads: Some(1) },
        space: Default::default(),
        platform: Platform::host(),
        project: Some("p".to_owned()),
        is_platform_asked: false,
        name: None,
    }
}

async fn verified(store: &Path, needed: Option<&NeededImages>) -> VerifyReport {
    verify(store, needed, Thoroughness::Full, &Reporter::default()).await.unwrap()
}

/// All that a program reads which follows the index: each entry's name and blobs, with their bytes' digests.
fn readable(folder: &Path) -> BTreeMap<(String, String), HashSet<String>> {
    let index: Value = serde_json::from_slice(&fs::read(folder.join(INDEX_FILE)).unwrap()).unwrap();
    let mut readable = BTreeMap::new();
    for entry in index["manifests"].as_array().unwrap() {
        let mut found = HashSet::new();
        follow(folder, entry, &mut found);
        let name = entry["annotations"][REF_NAME].as_str().unwrap_or_default().to_owned();
        readable.insert((name, entry["digest"].as_str().unwrap().to_owned()), found);
    }
    readable
}

fn follow(folder: &Path, value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::Object(fields) => {
            if let (Some(digest), Some(_)) = (fields.get("digest").and_then(Value::as_str), fields.get("size"))
                && let Ok(bytes) = fs::read(folder.join("blobs/sha256").join(&digest["sha256:".len()..]))
            {
                assert_eq!(Digest::of(&bytes).to_string(), digest);
                if found.insert(digest.to_owned())
                    && let Ok(document) = serde_json::from_slice::<Value>(&bytes)
                {
                    follow(folder, &document, found);
                }
            }
            fields.values().for_each(|value| follow(folder, value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| follow(folder, value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_foreign_store_is_verified_listed_loaded_from_and_imported() {
    for (shape, make, name) in SHAPES {
        let folder = tempfile::tempdir().unwrap();
        let (from, into) = (folder.path().join("from"), folder.path().join("into"));
        make(&from);
        let needed = NeededImages::these("p", &[name]);
        let report = verified(&from, Some(&needed)).await;
        assert!(report.ok && report.missing.is_empty(), "{shape}: {report:?}");
        let listed = list_images(None, &from, &Default::default(), &Reporter::default()).await.unwrap();
        assert!(listed.images.iter().any(|image| image.reference == name && image.image_id.is_some()), "{shape}");
        assert!(listed.images.iter().all(|image| image.kind != Some(OtherKind::Damaged)), "{shape}: {listed:?}");
        let reference: Reference = name.parse().unwrap();
        let found = find_sources(
            &from,
            &Platform::host(),
            std::slice::from_ref(&reference),
            ArchiveCache::ReadOnly,
            &Reporter::default(),
        );
        assert_eq!(found.unwrap_or_else(|error| panic!("{shape}: {error}")).batches.len(), 1, "{shape}");
        let planned = plan_import(&into, std::slice::from_ref(&from), &options()).await.unwrap();
        let done = import(&into, std::slice::from_ref(&from), &options(), &Reporter::default()).await.unwrap();
        assert_eq!((planned.images.len(), planned.left_out), (done.images.len(), done.left_out.clone()), "{shape}");
        let left_out = match shape {
            "hauler, oras" => 4,
            // The image by a tag alone; the signature.
            "regctl" | "cosign" => 1,
            _ => 0,
        };
        assert_eq!(done.left_out.len(), left_out, "{shape}: {:?}", done.left_out);
        assert!(open(&into).image(&reference).unwrap().is_some(), "{shape}");
        assert!(verified(&into, Some(&needed)).await.ok, "{shape}");
    }
}

#[test]
fn an_archive_stands_in_for_what_a_store_has_for_other_platforms_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Foreign::new(folder.path());
    let images = [store.image(OCI_MANIFEST, "one", "s390x"), store.image(OCI_MANIFEST, "two", "mips64le")];
    let index = store.index(OCI_INDEX, &images);
    store.name(index, &[(REF_NAME, "team/app:1")]);
    store.write();
    let find = || {
        let (wanted, platform) = (["team/app:1".parse().unwrap()], Platform::host());
        find_sources(folder.path(), &platform, &wanted, ArchiveCache::ReadOnly, &Reporter::default())
    };
    assert!(matches!(find().unwrap().damaged[..], [(_, crate::images::error::ImagesError::NoPlatform { .. })]));
    let archive = folder.path().join("delivery.tar");
    fs::write(&archive, super::store::sample_archives::archive_for(&here(), &["team/app:1"], "one")).unwrap();
    assert_eq!(find().unwrap().batches[0].origin.place(), archive);
}

/// What a prune would do two hours from now.
async fn later(store: &Path, needed: &NeededImages) -> PrunePlan {
    let now = SystemTime::now() + Duration::from_secs(7200);
    plan_prune_at(store, needed, ArchivePruning::Keep, &Reporter::default(), now).await.unwrap()
}

/// Blobs of a store, and what is left of them.
fn blobs(store: &Path) -> HashSet<PathBuf> {
    fs::read_dir(store.join("blobs/sha256")).unwrap().map(|blob| blob.unwrap().path()).collect()
}

#[test]
fn a_reference_that_names_a_docker_manifest_says_so_in_the_index() {
    let folder = tempfile::tempdir().unwrap();
    regctl(folder.path());
    let image = open(folder.path()).image(&"team/docker:1".parse().unwrap()).unwrap().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let reference: Reference = "team/second:1".parse().unwrap();
    writer
        .name_images(&[NewName { reference: reference.clone(), manifest: image.manifest, engine_ids: Vec::new() }])
        .unwrap();
    drop(writer);
    let layout = open(folder.path());
    assert_eq!(layout.entry(&reference).unwrap().media_type, DOCKER_MANIFEST);
    assert_eq!(layout.image(&reference).unwrap().unwrap().config_digest, image.config_digest);
}

/// A store that `dpl` wrote with these names, each an image of its own.
async fn ours(folder: &Path, names: &[&str]) {
    for name in names {
        let from = folder.with_extension("from");
        let mut foreign = Foreign::new(&from);
        let image = foreign.image(OCI_MANIFEST, name, &here());
        foreign.name(image, &[(REF_NAME, name)]);
        foreign.write();
        import(folder, std::slice::from_ref(&from), &options(), &Reporter::default()).await.unwrap();
        fs::remove_dir_all(&from).unwrap();
    }
}

fn copy_over(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_over(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The index of a store, as JSON.
fn index_of(store: &Path) -> Value {
    serde_json::from_slice(&fs::read(store.join(INDEX_FILE)).unwrap()).unwrap()
}

#[tokio::test]
async fn an_entry_that_nothing_here_can_use_is_in_no_commands_way_and_keeps_its_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1"]).await;
    let foreign = Foreign::new(&store);
    let image = foreign.image(OCI_MANIFEST, "other", &here());
    // Its manifest lies under a digest of another algorithm; what that names does not.
    let digest = image["digest"].as_str().unwrap();
    let encoded = "ab".repeat(64);
    fs::create_dir_all(store.join("blobs/sha512")).unwrap();
    let manifest = store.join("blobs/sha256").join(&digest["sha256:".len()..]);
    fs::rename(manifest, store.join("blobs/sha512").join(&encoded)).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(store.join(INDEX_FILE)).unwrap()).unwrap();
    let entry = |digest: String, size: u64, name: &str| json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "annotations": {REF_NAME: name}});
    let odd = [
        entry(format!("sha512:{encoded}"), 7, "odd:1"),
        entry(Digest::of(b"x").to_string(), 1_000_000_000_000_000, "huge:1"),
    ];
    index["manifests"].as_array_mut().unwrap().extend(odd.clone());
    fs::write(store.join(INDEX_FILE), index.to_string()).unwrap();

    let needed = NeededImages::these("p", &["team/one:1"]);
    let report = verified(&store, Some(&needed)).await;
    assert_eq!((report.ok, report.others.len()), (true, 2), "{report:?}");
    let listed = list_images(None, &store, &Default::default(), &Reporter::default()).await.unwrap();
    assert_eq!(listed.images.len(), 3);
    let plan = later(&store, &needed).await;
    assert!(plan.report.blobs.is_empty() && plan.report.others.len() == 2, "{:?}", plan.report);
    ours(&store, &["team/two:1"]).await;
    let entries = index_of(&store)["manifests"].as_array().unwrap().clone();
    assert!(odd.iter().all(|odd| entries.contains(odd)), "{entries:?}");
}

#[tokio::test]
async fn a_store_that_is_not_there_or_lost_all_names_is_not_called_empty_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (store, link) = (folder.path().join("store"), folder.path().join("link"));
    std::os::unix::fs::symlink("/nowhere/images", &link).unwrap();
    let look = |store: PathBuf| async move { verify(&store, None, Thoroughness::Full, &Reporter::default()).await };
    assert!(look(store.clone()).await.is_err() && look(link.clone()).await.is_err());
    assert!(list_images(None, &link, &Default::default(), &Reporter::default()).await.is_err());
    ours(&store, &["team/one:1"]).await;
    fs::write(store.join(INDEX_FILE), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let listed = list_images(None, &store, &Default::default(), &Reporter::default()).await.unwrap();
    assert_eq!(listed.lost, ["team/one:1"]);
    let wanted = ["team/one:1".parse().unwrap()];
    let found = find_sources(&store, &Platform::host(), &wanted, ArchiveCache::ReadOnly, &Reporter::default());
    let error = found.err().unwrap();
    assert!(matches!(error, crate::images::error::ImagesError::NotInStore { is_name_lost: true, .. }), "{error}");
}

#[tokio::test]
async fn a_tag_that_skopeo_moved_means_the_image_that_has_it_now() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1", "team/two:1"]).await;
    let path = store.join(INDEX_FILE);
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    // As `skopeo copy oci:store:team/two:1 oci:store:team/one:1` leaves it.
    let mut moved = index["manifests"][1].clone();
    moved["annotations"] = json!({REF_NAME: "team/one:1"});
    index["manifests"][0]["annotations"].as_object_mut().unwrap().remove(REF_NAME);
    index["manifests"].as_array_mut().unwrap().push(moved);
    fs::write(&path, index.to_string()).unwrap();
    let layout = open(&store);
    let [one, two] = ["team/one:1", "team/two:1"].map(|name| layout.image(&name.parse().unwrap()).unwrap().unwrap());
    assert_eq!(one.config_digest, two.config_digest);
    let report = verified(&store, Some(&NeededImages::these("p", &["team/one:1", "team/two:1"]))).await;
    assert!(report.ok, "{report:?}");
    let listed = list_images(None, &store, &Default::default(), &Reporter::default()).await.unwrap();
    assert!(listed.images.iter().all(|image| image.kind.is_none()), "{listed:?}");
}

/// One of our commands, which changes a store.
async fn command(store: &Path, from: &Path, kind: u8) {
    let reporter = Reporter::default();
    let needed =
        NeededImages::these("p", &["team/app:1", "team/docker:1", "team/app:latest", "team/other:latest", "ours:1"]);
    let ours: Reference = "ours:1".parse().unwrap();
    match kind {
        0 => drop(import(store, &[from.to_owned()], &options(), &reporter).await.unwrap()),
        1 => {
            let plan = plan_prune(store, &needed, ArchivePruning::Remove, &Reporter::default()).await.unwrap();
            prune(store, &needed, ArchivePruning::Remove, &plan, &reporter).await.unwrap();
        }
        2 => drop(repair(store, &reporter).await.unwrap()),
        3 => {
            let ours = RemoveTargets::from(vec![ours]);
            if let Ok(shown) = plan_remove(store, &ours, &needed, StillNeeded::Removed).await {
                remove(store, &ours, &needed, StillNeeded::Removed, &shown, &reporter).await.unwrap();
            }
        }
        // As a save does that finds its image in the store: one more name for it.
        _ => {
            let image = open(store).images().next().unwrap();
            let mut writer = StoreWriter::open(store).unwrap();
            let name = NewName { reference: ours, manifest: image.manifest, engine_ids: Vec::new() };
            writer.name_images_for(Some("p"), &[name], &[]).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn a_foreign_store_survives_fifty_commands_of_ours(
        shape in 0..SHAPES.len(),
        commands in proptest::collection::vec(0..5_u8, 50),
    ) {
        let (name, make, _) = SHAPES[shape];
        let folder = tempfile::tempdir().unwrap();
        let (store, from) = (folder.path().join("store"), folder.path().join("from"));
        make(&store);
        let mut incoming = Foreign::new(&from);
        let image = incoming.image(OCI_MANIFEST, "coming", &here());
        incoming.name(image, &[(REF_NAME, "ours:1")]);
        incoming.write();
        let before = readable(&store);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (at, kind) in commands.iter().enumerate() {
            runtime.block_on(command(&store, &from, *kind));
            let now = readable(&store);
            for (entry, blobs) in &before {
                prop_assert_eq!(now.get(entry), Some(blobs), "{} after {:?}", name, &commands[..=at]);
            }
        }
    }
}
