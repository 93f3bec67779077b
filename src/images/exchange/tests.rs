use std::fs;
use std::path::{Path, PathBuf};

use super::import::{ImportOptions, ImportReport, import, plan_import};
use crate::images::error::ImagesError;
use crate::images::formats::compression::{Compression, CompressionOptions};
use crate::images::formats::platform::Platform;
use crate::images::formats::tar_reader::END_MARK;
use crate::images::store::layout::Layout;
use crate::images::store::sample_archives::{archive_for, archive_of, entry};
use crate::report::{Reporter, in_one_line};

fn options() -> ImportOptions {
    ImportOptions {
        compression: CompressionOptions { compression: Compression::Zstd, level: None, threads: Some(1) },
        space: Default::default(),
        platform: "linux/amd64".parse::<Platform>().unwrap(),
        is_platform_asked: false,
        name: None,
        project: None,
    }
}

async fn take(store: &Path, files: &[PathBuf], options: &ImportOptions) -> Result<ImportReport, ImagesError> {
    import(store, files, options, &Reporter::default()).await
}

fn blobs(store: &Path) -> usize {
    fs::read_dir(store.join("blobs/sha256")).map_or(0, |listed| listed.count())
}

#[tokio::test]
async fn an_archive_without_a_name_comes_in_under_the_one_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar"));
    fs::write(&file, archive_for("amd64", &[], "one")).unwrap();
    let files = [file];
    assert!(take(&store, &files, &options()).await.is_err());
    assert_eq!(blobs(&store), 0);
    let named = ImportOptions { name: Some("team/app:1".parse().unwrap()), ..options() };
    assert_eq!(plan_import(&store, &files, &named).await.unwrap().images[0].reference, "team/app:1");
    assert_eq!(take(&store, &files, &named).await.unwrap().images[0].reference, "team/app:1");
}

#[tokio::test]
async fn an_image_for_another_platform_than_the_one_that_was_asked_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar"));
    fs::write(&file, archive_of("team/app:1", "one")).unwrap();
    let files = [file];
    let asked =
        |platform: &str| ImportOptions { platform: platform.parse().unwrap(), is_platform_asked: true, ..options() };
    let text = in_one_line(&take(&store, &files, &asked("linux/arm64")).await.unwrap_err());
    assert!(text.contains("team/app:1 in it is for amd64, and linux/arm64 was asked for"), "{text}");
    assert_eq!(blobs(&store), 0);
    assert_eq!(take(&store, &files, &asked("linux/amd64")).await.unwrap().images.len(), 1);
}

#[tokio::test]
async fn of_a_layout_whose_only_entry_can_not_be_used_that_entry_and_the_reason_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let (store, source) = (folder.path().join("store"), folder.path().join("layout"));
    fs::create_dir_all(source.join("blobs/sha256")).unwrap();
    fs::write(source.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    let entry = serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha512:{}", "ab".repeat(64)),
        "size": 7,
        "annotations": {"org.opencontainers.image.ref.name": "team/odd:1"},
    });
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(source.join("index.json"), index.to_string()).unwrap();
    let error = take(&store, &[source], &options()).await.unwrap_err();
    let text = in_one_line(&error);
    assert!(text.contains("team/odd:1: its digest is not SHA-256"), "{text}");
}

#[tokio::test]
async fn what_a_refused_archive_brought_goes_again_and_what_was_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let good = folder.path().join("good.tar");
    fs::write(&good, archive_of("team/app:1", "one")).unwrap();
    take(&store, &[good], &options()).await.unwrap();
    let before = blobs(&store);
    // Packed, so that nothing of it can be read beforehand; the last file is not what the manifest says.
    let mut bytes = archive_of("team/app:2", "two");
    bytes.truncate(bytes.len() - END_MARK.len());
    entry(&mut bytes, "manifest.json", b"[]");
    bytes.extend(END_MARK);
    let bad = folder.path().join("bad.tar.zst");
    fs::write(&bad, zstd::encode_all(bytes.as_slice(), 1).unwrap()).unwrap();
    assert!(take(&store, &[bad], &options()).await.is_err());
    assert_eq!(blobs(&store), before);
    // Its documents are right, and its layer is not what they say.
    let mut bytes = archive_of("team/app:3", "three");
    let at = bytes.windows(5).position(|window| window == b"three").unwrap();
    bytes[at] ^= 1;
    let changed = folder.path().join("changed.tar");
    fs::write(&changed, bytes).unwrap();
    let text = in_one_line(&take(&store, &[changed], &options()).await.unwrap_err());
    assert!(text.contains("l/layer.tar"), "{text}");
    assert_eq!(blobs(&store), before);
}

#[tokio::test]
async fn a_split_archive_comes_in_by_its_first_part() {
    let folder = tempfile::tempdir().unwrap();
    let (store, first) = (folder.path().join("store"), folder.path().join("x.tar.001"));
    let bytes = archive_of("team/app:1", "one");
    for (number, part) in bytes.chunks(bytes.len() / 2 + 1).enumerate() {
        fs::write(folder.path().join(format!("x.tar.{:03}", number + 1)), part).unwrap();
    }
    assert_eq!(take(&store, &[first], &options()).await.unwrap().images.len(), 1);
}

/// Keeps the keys of what is warned of.
#[derive(Default)]
struct Warnings(std::sync::Mutex<Vec<&'static str>>);

impl crate::report::Listener for Warnings {
    fn hear(&self, event: &crate::report::Event) {
        if let crate::report::Event::Warning(message) = event {
            self.0.lock().unwrap().push(message.key);
        }
    }
}

#[tokio::test]
async fn an_image_for_another_architecture_comes_in_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar"));
    for (architecture, expected) in [("arm64", &["images-other-architecture"][..]), ("amd64", &[])] {
        fs::write(&file, archive_for(architecture, &["team/app:1"], architecture)).unwrap();
        let warnings = std::sync::Arc::new(Warnings::default());
        let reporter = Reporter::new(vec![warnings.clone()], tokio_util::sync::CancellationToken::new());
        import(&store, std::slice::from_ref(&file), &options(), &reporter).await.unwrap();
        assert_eq!(*warnings.0.lock().unwrap(), expected, "{architecture}");
    }
}

#[tokio::test]
async fn an_image_for_another_system_comes_in_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar"));
    let mut bytes = archive_of("team/app:1", "one");
    let at = bytes.windows(7).position(|window| window == b"\"linux\"").unwrap();
    bytes[at..at + 7].copy_from_slice(b"\"plan9\"");
    fs::write(&file, bytes).unwrap();
    let warnings = std::sync::Arc::new(Warnings::default());
    let reporter = Reporter::new(vec![warnings.clone()], tokio_util::sync::CancellationToken::new());
    import(&store, &[file], &options(), &reporter).await.unwrap();
    assert_eq!(*warnings.0.lock().unwrap(), ["images-other-os"]);
}

#[tokio::test]
async fn zeros_behind_a_packed_archive_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar.gz"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &archive_of("team/app:1", "one")).unwrap();
    fs::write(&file, [encoder.finish().unwrap(), vec![0; 100_000]].concat()).unwrap();
    assert_eq!(take(&store, &[file], &options()).await.unwrap().images.len(), 1);
}

/// What a report says came in, and what was left out; each sorted.
fn taken_and_left_out(report: &ImportReport) -> [Vec<&str>; 2] {
    let mut taken: Vec<&str> = report.images.iter().map(|image| image.reference.as_str()).collect();
    let mut left_out: Vec<&str> = report.left_out.iter().map(|one| one.name.as_str()).collect();
    taken.sort_unstable();
    left_out.sort_unstable();
    [taken, left_out]
}

#[tokio::test]
async fn one_image_of_a_layout_that_cannot_be_taken_is_left_out_by_name_and_the_rest_comes_in() {
    let folder = tempfile::tempdir().unwrap();
    let (source, file) = (folder.path().join("source"), folder.path().join("x.tar"));
    for (architecture, name) in [("arm64", "team/arm:1"), ("amd64", "team/amd:1"), ("amd64", "team/other:1")] {
        fs::write(&file, archive_for(architecture, &[name], name)).unwrap();
        take(&source, std::slice::from_ref(&file), &options()).await.unwrap();
    }
    let sources = [source.clone()];
    let arm = ImportOptions { platform: "linux/arm64".parse().unwrap(), is_platform_asked: true, ..options() };
    let report = take(&folder.path().join("platform"), &sources, &arm).await.unwrap();
    assert_eq!(taken_and_left_out(&report), [vec!["team/arm:1"], vec!["team/amd:1", "team/other:1"]]);
    assert!(report.damaged().is_empty(), "nothing is wrong with images for others");

    // A name that two images have.
    let index = fs::read(source.join("index.json")).unwrap();
    let mut twice: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let mut other = twice["manifests"][0].clone();
    other["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "team/other:1"});
    twice["manifests"].as_array_mut().unwrap().push(other);
    fs::write(source.join("index.json"), twice.to_string()).unwrap();
    let report = take(&folder.path().join("twice"), &sources, &options()).await.unwrap();
    assert_eq!(taken_and_left_out(&report), [vec!["team/amd:1", "team/arm:1"], vec!["team/other:1"]]);
    fs::write(source.join("index.json"), index).unwrap();

    // A layer of another content, then none.
    let layout = Layout::open(&source).unwrap().unwrap();
    let image = layout.image(&"team/amd:1".parse().unwrap()).unwrap().unwrap();
    let blob = layout.blob_path(&image.layers[0].blob);
    let mut damaged = fs::read(&blob).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&blob, damaged).unwrap();
    let expected = [vec!["team/arm:1", "team/other:1"], vec!["team/amd:1"]];
    let store = folder.path().join("damaged");
    let report = take(&store, &sources, &options()).await.unwrap();
    assert_eq!(taken_and_left_out(&report), expected);
    assert_eq!(blobs(&store), 6, "a manifest, a configuration and a layer of each");
    fs::remove_file(&blob).unwrap();
    let store = folder.path().join("missing");
    assert_eq!(taken_and_left_out(&plan_import(&store, &sources, &options()).await.unwrap()), expected);
    assert_eq!(taken_and_left_out(&take(&store, &sources, &options()).await.unwrap()), expected);
    // Nothing else in it is an error that says why.
    let only = serde_json::json!({"schemaVersion": 2, "manifests": [twice["manifests"][1]]});
    fs::write(source.join("index.json"), only.to_string()).unwrap();
    let text = in_one_line(&take(&folder.path().join("nothing"), &sources, &options()).await.unwrap_err());
    assert!(text.contains("a blob is missing"), "{text}");
}

#[tokio::test]
async fn of_an_archive_the_image_whose_layer_is_damaged_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar"));
    let mut bytes = Vec::new();
    let item = |word: &str, bytes: &mut Vec<u8>| {
        let digest = crate::fs::Digest::of(word.as_bytes());
        let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest]}});
        let content = if word == "bad" { "dab" } else { word };
        entry(bytes, &format!("{word}/layer.tar"), content.as_bytes());
        entry(bytes, &format!("{word}.json"), config.to_string().as_bytes());
        serde_json::json!({"Config": format!("{word}.json"), "RepoTags": [format!("team/{word}:1")],
            "Layers": [format!("{word}/layer.tar")]})
    };
    let items = ["good", "bad"].map(|word| item(word, &mut bytes));
    entry(&mut bytes, "manifest.json", serde_json::json!(items).to_string().as_bytes());
    bytes.extend(END_MARK);
    fs::write(&file, bytes).unwrap();
    let report = take(&store, &[file], &options()).await.unwrap();
    assert_eq!(taken_and_left_out(&report), [vec!["team/good:1"], vec!["team/bad:1"]]);
    assert_eq!(report.damaged(), ["team/bad:1"]);
    assert_eq!(blobs(&store), 3);
}
