use std::fs;
use std::path::{Path, PathBuf};

use super::import::{ImportOptions, ImportReport, import, plan_import};
use crate::images::error::ImagesError;
use crate::images::formats::compression::{Compression, CompressionOptions};
use crate::images::formats::platform::Platform;
use crate::images::formats::tar_reader::END_MARK;
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
async fn zeros_behind_a_packed_archive_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("x.tar.gz"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &archive_of("team/app:1", "one")).unwrap();
    fs::write(&file, [encoder.finish().unwrap(), vec![0; 100_000]].concat()).unwrap();
    assert_eq!(take(&store, &[file], &options()).await.unwrap().images.len(), 1);
}
