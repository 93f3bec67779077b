use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::images::formats::platform::Platform;
use crate::images::load::sources::{ArchiveCache, find_sources};
use crate::images::store::sample_archives::{archive_of, entry};
use crate::report::Reporter;

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

fn find(folder: &Path, name: &str) -> (Option<FoundArchive>, Vec<(PathBuf, String)>) {
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

#[test]
fn a_broken_archive_with_the_right_name_does_not_hide_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let whole = archive_of("team/app:1", "one");
    let broken = put(folder.path(), "team-app_1.tar", &whole[..2000], 9);
    let (found, unreadable) = find(folder.path(), "team/app:1");
    assert!(found.is_none());
    assert_eq!(unreadable[0].0, broken);
    let good = put(folder.path(), "delivery.tar", &whole, 1);
    let found = find_sources(
        folder.path(),
        &Platform::host(),
        &[reference("team/app:1")],
        ArchiveCache::ReadOnly,
        &Reporter::default(),
    );
    let found = found.unwrap();
    assert_eq!(found.batches[0].place(), good);
    assert_eq!(found.notices[0].key, "images-archive-unreadable");
    // Without it the error says which archive may have had the image.
    fs::remove_file(good).unwrap();
    let missing = find_sources(
        folder.path(),
        &Platform::host(),
        &[reference("team/app:1")],
        ArchiveCache::ReadOnly,
        &Reporter::default(),
    );
    let text = missing.err().unwrap().to_string();
    assert!(text.contains("team-app_1.tar could not be read"), "{text}");
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
    assert_eq!(newer(&mut archives, 10, false), Some(path));
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
    // What follows the first entries is damaged: whoever reads that far says so.
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
