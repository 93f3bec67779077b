use std::fs;

use super::*;
use crate::catalogue::english;
use crate::databases::archive::record::{FileEntry, tests::record};

fn dump() -> (tempfile::TempDir, Record) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(ARCHIVE)).unwrap();
    let files = ["archive/toc.dat", "archive/1.dat.gz"].map(|path| {
        fs::write(folder.path().join(path), path).unwrap();
        FileEntry { path: path.to_owned(), bytes: path.len() as u64, sha256: Digest::of(path.as_bytes()) }
    });
    (folder, Record { files: files.into(), ..record() })
}

fn damage(folder: &Path, record: &Record) -> String {
    let (_waits, wanted) = Wanted::new();
    match check_files_now(folder, record, &wanted) {
        Err(DatabasesError::Damaged { damage, .. }) => english(&damage),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_untouched_dump_passes() {
    let (folder, record) = dump();
    let (_waits, wanted) = Wanted::new();
    check_files_now(folder.path(), &record, &wanted).unwrap();
}

#[test]
fn a_check_that_nobody_waits_for_ends() {
    let (folder, record) = dump();
    let (_, wanted) = Wanted::new();
    let ended = check_files_now(folder.path(), &record, &wanted);
    assert!(matches!(ended, Err(DatabasesError::Stopped { .. })), "{ended:?}");
}

#[test]
fn a_flipped_bit_a_cut_and_a_missing_file_are_found() {
    let (folder, record) = dump();
    let path = folder.path().join("archive/1.dat.gz");
    fs::write(&path, b"archive/1.dat.gy").unwrap();
    assert_eq!(damage(folder.path(), &record), "its content does not match the digest that was recorded");
    fs::write(&path, b"archive/1").unwrap();
    assert_eq!(damage(folder.path(), &record), "it has 9 bytes instead of 16");
    fs::remove_file(&path).unwrap();
    assert_eq!(damage(folder.path(), &record), "it is missing");
}

#[test]
fn a_link_and_a_file_too_many_are_found() {
    let (folder, record) = dump();
    fs::write(folder.path().join("archive/1.dat"), b"other rows").unwrap();
    assert_eq!(damage(folder.path(), &record), "it does not belong to the archive");
    fs::remove_file(folder.path().join("archive/1.dat")).unwrap();
    fs::rename(folder.path().join("archive/1.dat.gz"), folder.path().join("x")).unwrap();
    std::os::unix::fs::symlink("../x", folder.path().join("archive/1.dat.gz")).unwrap();
    assert_eq!(damage(folder.path(), &record), "it is not a regular file");
}

#[test]
fn large_objects_with_one_digest_are_checked_each() {
    let (folder, mut record) = dump();
    let path = |index: u32| folder.path().join(format!("archive/blob_{index}.dat.gz"));
    let mut together = Together::default();
    for index in [16_400, 16_401] {
        fs::write(path(index), index.to_string()).unwrap();
        together.add(&format!("blob_{index}.dat.gz"), 5, &Digest::of(index.to_string().as_bytes()));
    }
    assert_eq!(damage(folder.path(), &record), "it does not belong to the archive");
    record.large_object_files = Some(together.finish());
    let (_waits, wanted) = Wanted::new();
    check_files_now(folder.path(), &record, &wanted).unwrap();
    fs::write(path(16_401), "16402").unwrap();
    let other = "its large objects do not match the digest that was recorded";
    assert_eq!(damage(folder.path(), &record), other);
    fs::remove_file(path(16_400)).unwrap();
    assert_eq!(damage(folder.path(), &record), "it has 1 files of large objects instead of 2");
}
