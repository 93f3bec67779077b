use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::images::formats::platform::Platform;
use crate::images::load::sources::{ArchiveCache, Found, find_sources};
use crate::images::store::sample_archives::{archive_of, entry};
use crate::report::{Message, Reporter, Told as _};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes a file whose modification time is `day` days after 1970.
fn put(folder: &Path, name: &str, content: &[u8], day: u64) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    set_day(&path, day);
    path
}

fn set_day(path: &Path, day: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn reference(name: &str) -> Reference {
    name.parse().unwrap()
}

fn find(folder: &Path, name: &str) -> (Option<FoundArchive>, Vec<(PathBuf, Message)>) {
    let mut unreadable = Vec::new();
    let mut archives = ArchiveFolder::open(folder).unwrap();
    let found = archives.find(&reference(name), &mut unreadable).unwrap();
    archives.remember();
    (found, unreadable)
}

#[test]
fn archives_in_folders_below_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "minerva/expert/team-app_1.tar.gz", &gzip(&archive_of("team/app:1", "one")), 1);
    put(folder.path(), "blobs/sha256/x.tar", &archive_of("team/app:1", "blob"), 9);
    put(folder.path(), ".hidden/team-app_1.tar", &archive_of("team/app:1", "hidden"), 9);
    let (found, _) = find(folder.path(), "team/app:1");
    assert_eq!(found.unwrap().archive.path, path);
}

#[test]
fn archives_whose_names_are_not_utf_8_are_found_and_none_is_taken_for_another() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let names =
        [(&b"b\xff.tar"[..], "team/one:1"), (&b"b\xfe.tar"[..], "team/two:1"), (&b"\xfd/c.tar"[..], "team/three:1")];
    for (bytes, image) in names {
        let path = folder.path().join(std::ffi::OsStr::from_bytes(bytes));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, archive_of(image, image)).unwrap();
        // Once read, and once out of what was remembered.
        for _ in 0..2 {
            assert_eq!(find(folder.path(), image).0.unwrap().archive.path, path);
        }
    }
    assert_eq!(ArchiveFolder::open(folder.path()).unwrap().read_all().len(), 3);
}

#[test]
fn a_link_that_cannot_be_followed_is_named_and_keeps_nobody_from_the_other_archives() {
    let folder = tempfile::tempdir().unwrap();
    let good = put(folder.path(), "delivery.tar", &archive_of("team/app:1", "one"), 1);
    let link = folder.path().join("x.tar");
    std::os::unix::fs::symlink("x.tar", &link).unwrap();
    let (found, unreadable) = find(folder.path(), "team/app:1");
    assert_eq!(found.unwrap().archive.path, good);
    assert_eq!(unreadable.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&link]);
    let all = ArchiveFolder::open(folder.path()).unwrap().read_all();
    let (bad, whole): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, read)| read.is_err());
    assert_eq!((bad.len(), whole.len()), (1, 1));
    let text = bad[0].1.as_ref().unwrap_err().to_string();
    assert!(text.contains(link.to_str().unwrap()), "{text}");
}

#[test]
fn an_archive_that_is_replaced_by_one_of_the_same_size_and_time_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "team-app_1.tar", &archive_of("team/app:1", "one"), 1);
    let before = find(folder.path(), "team/app:1").0.unwrap().archive.images[0].config_digest.clone();
    let other = put(folder.path(), "new", &archive_of("team/app:1", "two"), 1);
    fs::rename(other, folder.path().join("team-app_1.tar")).unwrap();
    let renamed = find(folder.path(), "team/app:1").0.unwrap().archive.images[0].config_digest.clone();
    assert_ne!(renamed, before);
    // What was learned is used as long as nothing changes.
    let mut archives = ArchiveFolder::open(folder.path()).unwrap();
    assert!(archives.find(&reference("team/app:1"), &mut Vec::new()).unwrap().is_some());
    assert!(!archives.has_learned());
    // Overwritten in place, which keeps the inode.
    put(folder.path(), "team-app_1.tar", &archive_of("team/app:1", "one"), 1);
    assert_eq!(find(folder.path(), "team/app:1").0.unwrap().archive.images[0].config_digest, before);
}

fn sources(folder: &Path) -> Result<Found, ImagesError> {
    let wanted = [reference("team/app:1")];
    find_sources(folder, &Platform::host(), &wanted, ArchiveCache::ReadOnly, &Reporter::default())
}

#[test]
fn a_broken_archive_with_the_right_name_does_not_hide_a_whole_one_that_is_newer() {
    let folder = tempfile::tempdir().unwrap();
    let whole = archive_of("team/app:1", "one");
    let broken = put(folder.path(), "team-app_1.tar", &whole[..2000], 1);
    let (found, unreadable) = find(folder.path(), "team/app:1");
    assert!(found.is_none());
    assert_eq!(unreadable[0].0, broken);
    let good = put(folder.path(), "delivery.tar", &whole, 9);
    let found = sources(folder.path()).unwrap();
    assert_eq!(found.batches[0].origin.place(), good);
    assert_eq!(found.notices[0].key, "images-archive-unreadable");
    // Without it the error says which archive may have had the image.
    fs::remove_file(good).unwrap();
    let text = sources(folder.path()).err().unwrap().to_string();
    assert!(text.contains("team-app_1.tar could not be read"), "{text}");
}

#[test]
fn an_older_image_does_not_take_the_place_of_one_whose_archive_is_damaged() {
    let whole = archive_of("team/app:1", "one");
    let newer = archive_of("team/app:1", "two");
    for (name, day) in [("team-app_1.tar", 9), ("delivery-2.tar.gz", 9), ("delivery-2.tar", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let older = put(folder.path(), "delivery-1.tar", &whole, 1);
        let packed = gzip(&newer);
        let content = if name.ends_with("gz") { &packed[..packed.len() / 2] } else { &newer[..2000] };
        // Of two that were written at one time, the one whose name comes first is looked at first.
        let name = if day == 1 { "a-delivery-2.tar" } else { name };
        let damaged = put(folder.path(), name, content, day);
        // Read, and remembered.
        for _ in 0..2 {
            let mut found = sources(folder.path()).unwrap();
            assert!(found.batches.is_empty(), "{name}");
            let (image, error) = found.damaged.remove(0);
            assert_eq!(image, "team/app:1");
            let (said, hint) = (error.to_string(), crate::catalogue::english(&error.hint().unwrap()));
            assert!(said.contains(damaged.to_str().unwrap()) && said.contains(older.to_str().unwrap()), "{said}");
            assert!(hint.contains(&format!("`dpl images import {}`", older.display())), "{hint}");
            find(folder.path(), "team/app:1");
        }
        // Without the damaged one there is no doubt.
        fs::remove_file(damaged).unwrap();
        assert_eq!(sources(folder.path()).unwrap().batches[0].origin.place(), older);
    }
}

#[test]
fn a_newer_archive_of_something_else_or_for_other_platforms_keeps_no_older_one_from_being_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let good = put(folder.path(), "delivery.tar", &archive_of("team/app:1", "one"), 1);
    put(folder.path(), "others.tar", &for_others_only(false), 9);
    let mut files = Vec::new();
    (0..40).for_each(|number| entry(&mut files, &format!("etc/file{number}"), b"text"));
    put(folder.path(), "backup.tar", &files, 9);
    // Read, and remembered.
    for _ in 0..2 {
        let found = sources(folder.path()).unwrap();
        assert_eq!(found.batches[0].origin.place(), good);
        find(folder.path(), "team/app:1");
    }
}

#[test]
fn what_an_older_version_took_for_damaged_is_read_again() {
    use crate::images::store::sidecar::{read_sidecar, write_sidecar};

    let folder = tempfile::tempdir().unwrap();
    let good = put(folder.path(), "delivery.tar", &archive_of("team/app:1", "one"), 1);
    put(folder.path(), "others.tar", &for_others_only(false), 9);
    find(folder.path(), "team/app:1");
    let path = folder.path().join(".dpl-store/archives.json");
    let mut known: serde_json::Value = read_sidecar(&path).unwrap();
    let others = &mut known["archives"]["others.tar"];
    assert_eq!(others["unusable"]["is_for_other_platforms"], true);
    others["unusable"]["is_for_other_platforms"] = false.into();
    others.as_object_mut().unwrap().remove("has_other_platforms");
    write_sidecar(&path, &known).unwrap();
    assert_eq!(sources(folder.path()).unwrap().batches[0].origin.place(), good);
}

#[test]
fn a_damaged_archive_that_is_newer_than_the_store_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "team-app_1.tar", &archive_of("team/app:1", "one")[..2000], 20);
    put(folder.path(), "backup.tar", b"none of ours", 20);
    let mut archives = ArchiveFolder::open(folder.path()).unwrap();
    let newer = archives.newer(&reference("team/app:1"), 10 * 86_400, |_| false).unwrap();
    assert_eq!(newer.path, path);
    assert!(newer.why_unread.is_some());
    assert_eq!(archives.newer(&reference("team/app:1"), 30 * 86_400, |_| false), None);
}

#[test]
fn one_archive_is_read_without_the_others_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "team-app_1.tar.gz", &gzip(&archive_of("team/app:1", "one")), 1);
    put(folder.path(), "other.tar.gz", &gzip(&archive_of("team/other:1", "two")), 9);
    let mut archives = ArchiveFolder::open(folder.path()).unwrap();
    assert_eq!(archives.read_file(&path).unwrap().references(), ["team/app:1"]);
    assert!(archives.read_file(&folder.path().join("gone.tar")).is_none());
    archives.remember();
    let known = fs::read_to_string(folder.path().join(".dpl-store/archives.json")).unwrap();
    assert!(known.contains("team-app_1.tar.gz") && !known.contains("other.tar.gz"), "{known}");
}

#[test]
fn what_an_archive_was_found_to_hold_for_one_platform_is_not_taken_for_another() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "team-app_1.tar", &archive_of("team/app:1", "one"), 1);
    let read = |platform: &str| {
        let archives = ArchiveFolder::open(folder.path()).unwrap();
        let mut archives = archives.for_platform(&platform.parse().unwrap());
        assert!(archives.find(&reference("team/app:1"), &mut Vec::new()).unwrap().is_some());
        let learned = archives.has_learned();
        archives.remember();
        learned
    };
    assert_eq!(["linux/amd64", "linux/amd64", "linux/arm64"].map(read), [true, false, true]);
}

#[test]
fn two_archives_with_different_images_under_one_name_are_both_told() {
    let folder = tempfile::tempdir().unwrap();
    let old = put(folder.path(), "delivery-1.tar", &archive_of("team/app:1", "one"), 1);
    let new = put(folder.path(), "delivery-2.tar", &archive_of("team/app:1", "two"), 2);
    put(folder.path(), "copy-of-2.tar", &archive_of("team/app:1", "two"), 1);
    let (found, _) = find(folder.path(), "team/app:1");
    let found = found.unwrap();
    assert_eq!((found.archive.path, found.others), (new, vec![old]));
}

#[test]
fn an_archive_that_is_newer_than_the_store_is_told_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "delivery.tar", &archive_of("team/app:1", "two"), 20);
    let mut archives = ArchiveFolder::open(folder.path()).unwrap();
    let newer = |archives: &mut ArchiveFolder, day: i64, is_same| {
        archives.newer(&reference("team/app:1"), day * 86_400, |_| is_same)
    };
    assert_eq!(newer(&mut archives, 10, false), Some(NewerArchive { path, why_unread: None }));
    assert_eq!(newer(&mut archives, 10, true), None, "the store has this very image");
    assert_eq!(newer(&mut archives, 30, false), None, "the store's image is newer");
}

#[test]
fn what_is_not_an_archive_of_images_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Vec::new();
    for number in 0..40 {
        entry(&mut other, &format!("etc/file{number}"), b"text");
    }
    // What follows the first entries is damaged: reading that far is an error.
    other.extend(vec![b'x'; 4096]);
    let path = put(folder.path(), "backup.tar.gz", &gzip(&other), 1);
    let mut archives = ArchiveFolder::open(folder.path()).unwrap();
    let error = archives.read_all().remove(0).1.unwrap_err();
    assert!(error.is_another_kind_of_file(), "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("root file system"), "{error:?}");
    archives.remember();
    // Its bytes are gone, its size and times are not: what was learned of it still counts.
    let known = fs::read_to_string(folder.path().join(".dpl-store/archives.json")).unwrap();
    assert!(known.contains("\"unusable\""), "{known}");
    let again = ArchiveFolder::open(folder.path()).unwrap().read_all().remove(0).1.unwrap_err();
    assert!(matches!(again, ImagesError::UnusableArchive { is_another_kind: true, .. }), "{again:?}");
    // A change of the file is looked at again.
    fs::write(&path, gzip(&archive_of("team/app:1", "one"))).unwrap();
    assert!(ArchiveFolder::open(folder.path()).unwrap().read_all().remove(0).1.is_ok());
}

#[test]
fn a_layer_that_was_changed_is_found_by_verifying() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = archive_of("team/app:1", "one");
    let meter =
        |path: &Path| Reporter::default().meter(crate::report::Activity::VerifyImage, path.display().to_string(), None);
    let path = put(folder.path(), "a.tar", &bytes, 1);
    assert_eq!(verify(&path, meter(&path)).unwrap(), 1);
    let at = bytes.windows(3).position(|window| window == b"one").unwrap();
    bytes[at] ^= 1;
    let path = put(folder.path(), "b.tar.gz", &gzip(&bytes), 1);
    assert!(matches!(verify(&path, meter(&path)), Err(ImagesError::Archive { .. })));
}

/// A layout in a tar, of images for two platforms that no machine of these tests has, each of one layer.
fn for_others_only(is_damaged: bool) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |media_type: &str, bytes: &[u8], kept: &[u8]| {
        let digest = Digest::of(bytes);
        entry(&mut archive, &format!("blobs/sha256/{}", digest.hex()), kept);
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let images = ["s390x", "mips64le"].map(|architecture| {
        let layer = architecture.repeat(200);
        let config = serde_json::json!({"os": "linux", "architecture": architecture,
            "rootfs": {"diff_ids": [Digest::of(layer.as_bytes())]}});
        let kept = if is_damaged { layer.replace('m', "M") } else { layer.clone() };
        let layer = add("application/vnd.oci.image.layer.v1.tar", layer.as_bytes(), kept.as_bytes());
        let bytes = config.to_string();
        let config = add("application/vnd.oci.image.config.v1+json", bytes.as_bytes(), bytes.as_bytes());
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let mut manifest = add(media_type, manifest.as_bytes(), manifest.as_bytes());
        manifest["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        manifest
    });
    let nested = serde_json::json!({"schemaVersion": 2, "manifests": images}).to_string();
    let mut nested = add("application/vnd.oci.image.index.v1+json", nested.as_bytes(), nested.as_bytes());
    nested["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "team/app:1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [nested]}).to_string();
    entry(&mut archive, "index.json", index.as_bytes());
    archive.extend([0; 1024]);
    archive
}

#[tokio::test]
async fn an_archive_for_other_platforms_only_is_no_problem_and_damage_in_it_is_one() {
    use crate::images::store::verify::{Thoroughness, verify};

    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "others.tar.gz", &gzip(&for_others_only(false)), 1);
    // What was learned of it the first time does not make a problem of it the second time.
    for thoroughness in [Thoroughness::Full, Thoroughness::Quick, Thoroughness::Full] {
        let report = verify(folder.path(), None, thoroughness, &Reporter::default()).await.unwrap();
        assert_eq!((report.ok, report.archives), (true, 1), "{report:?}");
    }
    put(folder.path(), "damaged.tar", &for_others_only(true), 2);
    for thoroughness in [Thoroughness::Full, Thoroughness::Full] {
        let report = verify(folder.path(), None, thoroughness, &Reporter::default()).await.unwrap();
        assert_eq!((report.problems.len(), report.archives), (1, 2), "{report:?}");
        assert!(report.problems[0].reference.ends_with("damaged.tar"), "{report:?}");
    }
}

/// An archive of `team/app:1`, and of `team/gone:1`, whose layer is not in it.
fn with_an_image_that_is_not_whole() -> Vec<u8> {
    let mut layer = Vec::new();
    entry(&mut layer, "file", b"one");
    layer.extend([0; 1024]);
    let diff_ids = [Digest::of(&layer)];
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}});
    let item = |name: &str, layer: &str| serde_json::json!({"Config": "c.json", "RepoTags": [name], "Layers": [layer]});
    let items = serde_json::json!([item("team/gone:1", "gone/layer.tar"), item("team/app:1", "l/layer.tar")]);
    let mut archive = Vec::new();
    entry(&mut archive, "l/layer.tar", &layer);
    entry(&mut archive, "c.json", config.to_string().as_bytes());
    entry(&mut archive, "manifest.json", items.to_string().as_bytes());
    archive.extend([0; 1024]);
    archive
}

#[tokio::test]
async fn a_list_shows_what_archives_hold_and_what_is_wrong_with_them() {
    use crate::images::list::{ListedArchive, list_images};

    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a.tar", &archive_of("team/app:1", "one"), 3);
    put(folder.path(), "below/b.tar.gz", &gzip(&with_an_image_that_is_not_whole()), 2);
    put(folder.path(), "c.tar", &archive_of("team/other:1", "two")[..2000], 1);
    // Read, and remembered.
    for _ in 0..2 {
        let listed = list_images(None, folder.path(), &Default::default(), &Reporter::default()).await.unwrap();
        let shown = |archive: &ListedArchive| {
            let images: Vec<String> = archive.images.iter().map(|image| image.reference.clone()).collect();
            (archive.file.clone(), images, archive.problem.as_ref().map(crate::catalogue::english))
        };
        let [a, b, c] = &listed.archives[..] else { panic!("{listed:?}") };
        assert_eq!(shown(a), ("a.tar".to_owned(), vec!["team/app:1".to_owned()], None));
        let (file, images, problem) = shown(b);
        assert_eq!((file.as_str(), &images[..]), ("below/b.tar.gz", &["team/app:1".to_owned()][..]));
        assert!(problem.as_ref().is_some_and(|problem| problem.contains("gone/layer.tar")), "{problem:?}");
        let (file, images, problem) = shown(c);
        assert!(file == "c.tar" && images.is_empty() && problem.is_some(), "{listed:?}");
    }
}

/// Keeps what is told of archives that are read.
#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<String>>);

impl crate::report::Listener for Heard {
    fn hear(&self, event: &crate::report::Event) {
        use crate::report::Event;

        self.0.lock().unwrap().extend(match event {
            Event::Began { subject, .. } => Some(format!("began {subject}")),
            Event::Ended { subject, .. } => Some(format!("ended {subject}")),
            _ => None,
        });
    }
}

#[test]
fn reading_a_packed_archive_is_told_once_and_ends_when_somebody_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "team-app_1.tar.gz", &gzip(&archive_of("team/app:1", "one")), 1);
    let told = std::sync::Arc::new(Heard::default());
    let stop = tokio_util::sync::CancellationToken::new();
    let reporter = crate::report::Reporter::new(vec![told.clone()], stop.clone());
    let open = || ArchiveFolder::open(folder.path()).unwrap().with_reporter(&reporter);
    let mut archives = open();
    for _ in 0..3 {
        assert!(archives.find(&reference("team/app:1"), &mut Vec::new()).unwrap().is_some());
    }
    let shown = path.display().to_string();
    assert_eq!(*told.0.lock().unwrap(), [format!("began {shown}"), format!("ended {shown}")]);
    stop.cancel();
    let stopped = open().find(&reference("team/app:1"), &mut Vec::new());
    assert!(matches!(stopped, Err(ImagesError::Interrupted { .. })));
    // It was not found to be damaged by that.
    assert!(find(folder.path(), "team/app:1").0.is_some());
}

#[tokio::test]
async fn an_image_that_is_not_whole_hides_no_other_of_its_archive_and_is_told() {
    use crate::images::store::verify::{Thoroughness, verify};

    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "delivery.tar.gz", &gzip(&with_an_image_that_is_not_whole()), 1);
    // Read, and remembered.
    for _ in 0..2 {
        let (found, unreadable) = find(folder.path(), "team/app:1");
        assert_eq!((found.map(|found| found.archive.path), unreadable.len()), (Some(path.clone()), 0));
        let (found, unreadable) = find(folder.path(), "team/gone:1");
        assert!(found.is_none());
        assert_eq!(unreadable[0].0, path);
        let why = crate::catalogue::english(&unreadable[0].1);
        assert!(why.contains("gone/layer.tar"), "{why}");
    }
    for thoroughness in [Thoroughness::Quick, Thoroughness::Full] {
        let report = verify(folder.path(), None, thoroughness, &Reporter::default()).await.unwrap();
        assert_eq!((report.ok, report.problems.len(), report.archives), (false, 1, 1), "{report:?}");
    }
}
