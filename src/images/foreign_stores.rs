//! Stores as other programs write them, and what our commands leave of them: nothing that another program could read
//! before can it not read afterwards.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::exchange::import::{ImportOptions, import, plan_import};
use super::formats::compression::{Compression, CompressionOptions};
use super::formats::platform::Platform;
use super::list::{OtherKind, list_images};
use super::load::sources::{ArchiveCache, find_sources};
use super::store::layout::{INDEX_FILE, LAYOUT_FILE, Layout};
use super::store::owners::NeededImages;
use super::store::prune::{ArchivePruning, plan_prune, prune};
use super::store::remove::{StillNeeded, plan_remove, remove};
use super::store::repair::repair;
use super::store::verify::{Thoroughness, VerifyReport, verify};
use super::store::writer::{NewName, StoreWriter};
use crate::fs::Digest;
use crate::manifest::Reference;
use crate::report::Reporter;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD: &str = "io.containerd.image.name";

/// Writes a layout as programs other than `dpl` do: no records, no seals, no sizes of what is compressed.
struct Foreign {
    folder: PathBuf,
    entries: Vec<Value>,
}

impl Foreign {
    fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join(LAYOUT_FILE), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self { folder: folder.to_owned(), entries: Vec::new() }
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// An image of one layer; its manifest's descriptor.
    fn image(&self, manifest_type: &str, content: &str, architecture: &str) -> Value {
        let docker = manifest_type == DOCKER_MANIFEST;
        let (config_type, layer_type) = match docker {
            true => {
                ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
            }
            false => ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"),
        };
        let layer = content.repeat(1000);
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer.as_bytes()).to_string()]}});
        let layer = self.blob(layer_type, layer.as_bytes());
        let config = self.document(config_type, &config);
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]});
        let mut descriptor = self.document(manifest_type, &manifest);
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    }

    fn index(&self, media_type: &str, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        self.document(media_type, &index)
    }

    fn name(&mut self, mut descriptor: Value, annotations: &[(&str, &str)]) {
        let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
        descriptor["annotations"] = json!(annotations);
        self.entries.push(descriptor);
    }

    fn write(self) {
        let index = json!({"schemaVersion": 2, "manifests": self.entries});
        fs::write(self.folder.join(INDEX_FILE), index.to_string()).unwrap();
    }
}

fn here() -> String {
    Platform::host().architecture().to_owned()
}

/// skopeo with `--all`: an index of two platforms by its whole reference.
fn skopeo_all(folder: &Path) {
    let mut store = Foreign::new(folder);
    let images = [store.image(OCI_MANIFEST, "one", &here()), store.image(OCI_MANIFEST, "other", "s390x")];
    let index = store.index(OCI_INDEX, &images);
    store.name(index, &[(REF_NAME, "docker.io/team/app:1")]);
    store.write();
}

/// regctl: Docker's types as the registry had them, and tags alone for names.
fn regctl(folder: &Path) {
    let mut store = Foreign::new(folder);
    let images = [store.image(DOCKER_MANIFEST, "one", &here()), store.image(DOCKER_MANIFEST, "other", "s390x")];
    let index = store.index(DOCKER_LIST, &images);
    store.name(index, &[(REF_NAME, "v0.3")]);
    let image = store.image(DOCKER_MANIFEST, "one", &here());
    store.name(image, &[(REF_NAME, "team/docker:1")]);
    store.write();
}

/// BuildKit: the image and what says how it was made, by containerd's name and a tag alone.
fn buildkit(folder: &Path) {
    let mut store = Foreign::new(folder);
    let image = store.image(OCI_MANIFEST, "one", &here());
    let config = store.document("application/vnd.oci.image.config.v1+json", &json!({"rootfs": {"diff_ids": []}}));
    let statement = store.blob("application/vnd.in-toto+json", br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#);
    let mut attestation = store.document(
        OCI_MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement]}),
    );
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"]});
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let index = store.index(OCI_INDEX, &[image, attestation]);
    store.name(index, &[(CONTAINERD, "docker.io/team/app:1"), (REF_NAME, "1")]);
    store.write();
}

/// hauler, zarf and oras: an image beside a chart, a signature and a file.
fn artifacts(folder: &Path) {
    let mut store = Foreign::new(folder);
    let image = store.image(OCI_MANIFEST, "one", &here());
    store.name(image, &[(REF_NAME, "team/app:1"), ("kind", "dev.cosignproject.cosign/image")]);
    for (config_type, layer_type, name) in [
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "chart:1"),
        (
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "team/app:sha256-0.sig",
        ),
        ("application/vnd.oci.empty.v1+json", "text/plain", "file:1"),
    ] {
        let config = store.document(config_type, &json!({}));
        let layer = store.blob(layer_type, name.as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
        let manifest = store.document(OCI_MANIFEST, &manifest);
        store.name(manifest, &[(REF_NAME, name)]);
    }
    store.write();
}

/// cosign: the image, and under its very name its signature.
fn signed(folder: &Path) {
    let mut store = Foreign::new(folder);
    let image = store.image(OCI_MANIFEST, "one", &here());
    let config = store.document("application/vnd.oci.image.config.v1+json", &json!({"rootfs": {"diff_ids": []}}));
    let layer = store.blob("application/vnd.dev.cosign.simplesigning.v1+json", br#"{"critical":{}}"#);
    let signature = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
    let signature = store.document(OCI_MANIFEST, &signature);
    for (entry, kind) in [(signature, "sigs"), (image, "image")] {
        let kind = format!("dev.cosignproject.cosign/{kind}");
        store.name(entry, &[(REF_NAME, "team/app:1"), ("kind", &kind)]);
    }
    store.write();
}

type Shape = (&'static str, fn(&Path), &'static str);
const SHAPES: [Shape; 5] = [
    ("skopeo --all", skopeo_all, "team/app:1"),
    ("regctl", regctl, "team/docker:1"),
    ("BuildKit", buildkit, "team/app:1"),
    ("hauler, oras", artifacts, "team/app:1"),
    ("cosign", signed, "team/app:1"),
];

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
            "hauler, oras" => 3,
            // The image by a tag alone; the signature.
            "regctl" | "cosign" => 1,
            _ => 0,
        };
        assert_eq!(done.left_out.len(), left_out, "{shape}: {:?}", done.left_out);
        assert!(open(&into).image(&reference).unwrap().is_some(), "{shape}");
        assert!(verified(&into, Some(&needed)).await.ok, "{shape}");
    }
}

#[tokio::test]
async fn a_prune_leaves_what_other_programs_named_by_a_tag_alone() {
    let folder = tempfile::tempdir().unwrap();
    regctl(folder.path());
    let before = readable(folder.path());
    let needed = NeededImages::these("p", &["team/docker:1"]);
    let plan = plan_prune(folder.path(), &needed, ArchivePruning::Remove).await.unwrap();
    prune(folder.path(), &needed, ArchivePruning::Remove, &plan, &Reporter::default()).await.unwrap();
    assert_eq!(readable(folder.path()), before);
}

#[tokio::test]
async fn a_prune_leaves_a_layer_that_another_program_may_be_writing_for_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    regctl(folder.path());
    let coming = folder.path().join("blobs/sha256").join(Digest::of(b"coming").hex());
    fs::write(&coming, b"coming").unwrap();
    let needed = NeededImages::these("p", &["team/docker:1"]);
    let plan = plan_prune(folder.path(), &needed, ArchivePruning::Keep).await.unwrap();
    assert_eq!((plan.report.young, plan.report.blobs.len()), (1, 0));
    let file = fs::File::options().write(true).open(&coming).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3601)).unwrap();
    let plan = plan_prune(folder.path(), &needed, ArchivePruning::Keep).await.unwrap();
    assert_eq!((plan.report.young, plan.report.blobs.len()), (0, 1));
}

#[tokio::test]
async fn an_import_removes_no_layer_of_another_platform_that_the_store_had_already() {
    let folder = tempfile::tempdir().unwrap();
    let (from, store) = (folder.path().join("from"), folder.path().join("store"));
    skopeo_all(&from);
    skopeo_all(&store);
    let before = readable(&store);
    // The archive of the same: every layer comes along in it, those of the other platform too.
    let archive = folder.path().join("all.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.append_dir_all("blobs", from.join("blobs")).unwrap();
    for file in [LAYOUT_FILE, INDEX_FILE] {
        tar.append_path_with_name(from.join(file), file).unwrap();
    }
    tar.finish().unwrap();
    let report = import(&store, &[archive], &options(), &Reporter::default()).await.unwrap();
    assert_eq!(report.images.len(), 1);
    let all: HashSet<String> = before.into_values().flatten().collect();
    for digest in all {
        assert!(store.join("blobs/sha256").join(&digest["sha256:".len()..]).exists(), "{digest} is gone");
    }
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

#[tokio::test]
async fn a_store_that_is_copied_over_another_one_loses_no_image_and_its_names_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, prod) = (folder.path().join("dev"), folder.path().join("prod"));
    ours(&prod, &["team/one:1", "team/two:1"]).await;
    ours(&dev, &["team/two:1"]).await;
    copy_over(&dev, &prod);
    let needed = NeededImages::these("p", &["team/one:1", "team/two:1", "team/never:1"]);
    let report = verified(&prod, Some(&needed)).await;
    assert_eq!((report.ok, report.problems.len()), (false, 1), "{report:?}");
    assert_eq!(
        (report.problems[0].reference.as_str(), &report.missing[..]),
        ("team/one:1", &["team/never:1".to_owned()][..])
    );
    let plan = plan_prune(&prod, &needed, ArchivePruning::Remove).await.unwrap();
    assert_eq!((plan.report.lost.as_slice(), plan.report.freed_bytes), (&["team/one:1".to_owned()][..], 0));
    prune(&prod, &needed, ArchivePruning::Remove, &plan, &Reporter::default()).await.unwrap();
    let repaired = repair(&prod, &Reporter::default()).await.unwrap();
    assert_eq!((repaired.names.len(), repaired.names[0].reference.as_str()), (1, "team/one:1"));
    let report = verified(&prod, Some(&needed)).await;
    assert!(report.ok && report.images == 2, "{report:?}");
}

#[tokio::test]
async fn names_that_were_removed_do_not_come_back_and_a_lost_index_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ours(&store, &["team/one:1", "team/two:1"]).await;
    let nobody = NeededImages::these("p", &[]);
    let two: Reference = "team/two:1".parse().unwrap();
    let shown = plan_remove(&store, std::slice::from_ref(&two), &nobody, StillNeeded::Removed).await.unwrap();
    remove(&store, &[two], &nobody, StillNeeded::Removed, &shown, &Reporter::default()).await.unwrap();
    assert!(repair(&store, &Reporter::default()).await.unwrap().names.is_empty());
    for damage in [None, Some("")] {
        match damage {
            None => fs::remove_file(store.join(INDEX_FILE)).unwrap(),
            Some(text) => fs::write(store.join(INDEX_FILE), text).unwrap(),
        }
        let repaired = repair(&store, &Reporter::default()).await.unwrap();
        assert_eq!((repaired.index_replaced, repaired.names.len()), (true, 1), "{damage:?}");
        assert!(verified(&store, None).await.ok);
    }
}

#[tokio::test]
async fn a_store_that_earlier_versions_wrote_keeps_what_nothing_names_while_a_manifest_misses_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, prod) = (folder.path().join("dev"), folder.path().join("prod"));
    ours(&prod, &["team/one:1", "team/two:1"]).await;
    ours(&dev, &["team/two:1"]).await;
    for store in [&dev, &prod] {
        fs::remove_dir_all(store.join(".dpl-store/names")).unwrap();
    }
    copy_over(&dev, &prod);
    let needed = NeededImages::these("p", &["team/one:1", "team/two:1"]);
    let plan = plan_prune(&prod, &needed, ArchivePruning::Keep).await.unwrap();
    assert_eq!((plan.report.missing.as_slice(), plan.report.freed_bytes), (&["team/one:1".to_owned()][..], 0));
    let plan = plan_prune(&prod, &NeededImages::these("p", &["team/two:1"]), ArchivePruning::Keep).await.unwrap();
    assert!(plan.report.freed_bytes > 0, "no name is missed, so that what nothing names goes");
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
    let needed = NeededImages::these("p", &["team/app:1", "team/docker:1", "ours:1"]);
    let ours: Reference = "ours:1".parse().unwrap();
    match kind {
        0 => drop(import(store, &[from.to_owned()], &options(), &reporter).await.unwrap()),
        1 => {
            let plan = plan_prune(store, &needed, ArchivePruning::Remove).await.unwrap();
            prune(store, &needed, ArchivePruning::Remove, &plan, &reporter).await.unwrap();
        }
        2 => drop(repair(store, &reporter).await.unwrap()),
        3 => {
            if let Ok(shown) = plan_remove(store, std::slice::from_ref(&ours), &needed, StillNeeded::Removed).await {
                remove(store, &[ours], &needed, StillNeeded::Removed, &shown, &reporter).await.unwrap();
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

#[tokio::test]
async fn a_layout_whose_only_image_has_no_name_comes_in_under_the_one_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (from, into) = (folder.path().join("from"), folder.path().join("into"));
    let mut store = Foreign::new(&from);
    let image = store.image(OCI_MANIFEST, "one", &here());
    store.name(image, &[(REF_NAME, "v0.3")]);
    store.write();
    let files = [from];
    assert!(import(&into, &files, &options(), &Reporter::default()).await.is_err());
    let named = ImportOptions { name: Some("team/app:1".parse().unwrap()), ..options() };
    assert_eq!(plan_import(&into, &files, &named).await.unwrap().images[0].reference, "team/app:1");
    assert_eq!(import(&into, &files, &named, &Reporter::default()).await.unwrap().images.len(), 1);
    assert!(verified(&into, None).await.ok);
}

#[tokio::test]
async fn names_that_are_not_valid_and_images_without_a_name_are_left_out_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (into, file) = (folder.path().join("into"), folder.path().join("x.tar"));
    let names = ["team/app:1", "[::1]:5000/v6:1", "MyHost/app:1", "team/UPPER:1"];
    fs::write(&file, super::store::sample_archives::archive_for(&here(), &names, "one")).unwrap();
    let done = import(&into, &[file], &options(), &Reporter::default()).await.unwrap();
    let imported: Vec<&str> = done.images.iter().map(|image| image.reference.as_str()).collect();
    assert_eq!(imported, names[..3]);
    assert_eq!(done.left_out.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["team/UPPER:1"]);
}

#[tokio::test]
async fn a_name_that_moves_leaves_the_signature_of_the_image_that_had_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, from) = (folder.path().join("store"), folder.path().join("from"));
    signed(&store);
    let index: Value = serde_json::from_slice(&fs::read(store.join(INDEX_FILE)).unwrap()).unwrap();
    let signature = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let blobs = readable(&store)[&("team/app:1".to_owned(), signature.clone())].clone();
    let mut other = Foreign::new(&from);
    let image = other.image(OCI_MANIFEST, "other", &here());
    other.name(image, &[(REF_NAME, "team/app:1")]);
    other.write();
    import(&store, &[from], &options(), &Reporter::default()).await.unwrap();
    let needed = NeededImages::these("p", &["team/app:1"]);
    let plan = plan_prune(&store, &needed, ArchivePruning::Remove).await.unwrap();
    prune(&store, &needed, ArchivePruning::Remove, &plan, &Reporter::default()).await.unwrap();
    let left = readable(&store);
    assert_eq!(left.get(&("team/app:1".to_owned(), signature)), Some(&blobs), "{left:?}");
    assert!(verified(&store, Some(&needed)).await.ok);
}
