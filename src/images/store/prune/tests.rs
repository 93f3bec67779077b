use std::fs;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::images::exchange::import::{ImportOptions, import};
use crate::images::formats::compression::{Compression, CompressionOptions};
use crate::images::formats::platform::Platform;
use crate::images::store::releases::{remove_release, write_release};
use crate::images::store::sample_archives::archive_of;

/// A store with `team/app:1`, and the archive that it came from beside it.
async fn store_and_archive(folder: &Path) -> PathBuf {
    let archive = folder.join("team-app_1.tar");
    fs::write(&archive, archive_of("team/app:1", "one")).unwrap();
    let options = ImportOptions {
        compression: CompressionOptions { compression: Compression::Zstd, level: None, threads: Some(1) },
        space: Default::default(),
        platform: Platform::host(),
        is_platform_asked: false,
        name: None,
        project: None,
    };
    import(folder, std::slice::from_ref(&archive), &options, &Reporter::default()).await.unwrap();
    archive
}

fn archive(path: &Path) -> OldArchive {
    ArchiveFolder::open(path.parent().unwrap()).unwrap().read_file(path).unwrap()
}

#[tokio::test]
async fn an_archive_goes_only_when_what_takes_its_place_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_and_archive(folder.path()).await;
    let (archive, layout) = (archive(&path), Layout::open(folder.path()).unwrap().unwrap());
    verify_replacements(&archive, &layout).unwrap();
    let image = layout.image(&"team/app:1".parse().unwrap()).unwrap().unwrap();
    for damaged in [&image.layers[0].blob, &image.config_digest] {
        let blob = layout.blob_path(damaged);
        let whole = fs::read(&blob).unwrap();
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        fs::write(&blob, other).unwrap();
        assert!(verify_replacements(&archive, &layout).is_err(), "{damaged}");
        fs::write(&blob, whole).unwrap();
    }
    verify_replacements(&archive, &layout).unwrap();
}

#[tokio::test]
async fn a_folder_that_is_named_like_a_blob_stays_and_ends_no_prune() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_and_archive(folder.path()).await;
    let odd = folder.path().join("blobs/sha256").join("ab".repeat(32));
    fs::create_dir(&odd).unwrap();
    let needed = NeededImages::these("p", &["team/app:1"]);
    let shown = plan_prune(folder.path(), &needed, ArchivePruning::Remove, &Reporter::default()).await.unwrap();
    prune(folder.path(), &needed, ArchivePruning::Remove, &shown, &Reporter::default()).await.unwrap();
    assert!(odd.is_dir() && !path.exists());
}

#[tokio::test]
async fn a_prune_that_is_asked_to_stop_says_so_without_numbers_of_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_and_archive(folder.path()).await;
    let needed = NeededImages::these("p", &["team/app:1"]);
    let shown = plan_prune(folder.path(), &needed, ArchivePruning::Remove, &Reporter::default()).await.unwrap();
    assert_eq!(shown.report.archives[0].state, ArchiveState::InStore);
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = prune(folder.path(), &needed, ArchivePruning::Remove, &shown, &Reporter::new(Vec::new(), stop)).await;
    assert!(matches!(stopped, Err(ImagesError::Stopped)), "{stopped:?}");
    assert!(path.exists());
    prune(folder.path(), &needed, ArchivePruning::Remove, &shown, &Reporter::default()).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_a_release_needs_stays_whatever_the_index_names() {
    let folder = tempfile::tempdir().unwrap();
    let archive = store_and_archive(folder.path()).await;
    fs::remove_file(archive).unwrap();
    let image = Layout::open(folder.path()).unwrap().unwrap().image(&"team/app:1".parse().unwrap()).unwrap().unwrap();
    let manifest = &image.manifest;
    let document = serde_json::json!({"images": [{
        "manifest": {"digest": manifest.digest, "bytes": manifest.size, "media_type": manifest.media_type},
    }]});
    write_release(folder.path(), "v1", &[], &[], &document).unwrap();
    let gone = NeededImages::these("p", &[]);
    let prune_all = async || {
        let shown = plan_prune(folder.path(), &gone, ArchivePruning::Keep, &Reporter::default()).await.unwrap();
        prune(folder.path(), &gone, ArchivePruning::Keep, &shown, &Reporter::default()).await.unwrap()
    };
    let blobs = || fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count();
    let all = blobs();
    let pruned = prune_all().await;
    assert_eq!((pruned.images.len(), pruned.freed_bytes, blobs()), (1, 0, all), "the name alone goes");
    remove_release(folder.path(), "v1").unwrap();
    // Nothing tells any more that somebody wanted them, and they are new: what was not released waits for its hour.
    let later = SystemTime::now() + 2 * YOUNG;
    let plan = plan_prune_at(folder.path(), &gone, ArchivePruning::Keep, &Reporter::default(), later).await.unwrap();
    assert_eq!(plan.report.blobs.len(), all);
}
