//! A damaged repository: every command ends with an error that says so, and a restore leaves each file as it was or as it is to be.

use std::fs;
use std::path::PathBuf;

use crate::place::{dpl, fill, noise, site, snapshot};
use crate::support::Site;

/// The largest file of one kind in the repository.
fn file_of(site: &Site, kind: &str) -> PathBuf {
    let mut to_see = vec![site.file("backups/data").join(kind)];
    let mut files = Vec::new();
    while let Some(path) = to_see.pop() {
        match path.is_dir() {
            true => to_see.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path())),
            false => files.push(path),
        }
    }
    files.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[allow(clippy::ptr_arg, reason = "all kinds of damage have one type")]
fn flip(bytes: &mut Vec<u8>) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
}

fn cut(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

fn empty(bytes: &mut Vec<u8>) {
    bytes.clear();
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_crash() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let id = snapshot(&site);
    for kind in ["config", "keys", "index", "snapshots", "data"] {
        let path = file_of(&site, kind);
        let whole = fs::read(&path).unwrap();
        for (how, damage) in [("a bit", flip as fn(&mut Vec<u8>)), ("half of it", cut), ("all of it", empty)] {
            let mut bytes = whole.clone();
            damage(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            let verified = dpl(&site, &["data", "verify", "--read-data"]);
            // A snapshot whose file can't be read is none any more, for restic as well: that is told.
            assert_eq!(verified.code, 1, "{kind}, {how}: {}{}", verified.stdout, verified.stderr);
            for command in [
                &["data", "list"][..],
                &["data", "snapshot", "wheels"],
                &["data", "diff", "expert"],
                &["data", "restore", "expert", "--snapshot", &id, "--to", "beside", "--yes"],
                &["data", "prune", "all", "--dry-run"],
            ] {
                let run = dpl(&site, command);
                assert!(run.code == 0 || run.code == 1, "{kind}, {how}, {command:?}: {} {}", run.code, run.stderr);
                assert!(!run.stderr.contains("panicked"), "{kind}, {how}, {command:?}: {}", run.stderr);
            }
            fs::write(&path, &whole).unwrap();
            let _ = fs::remove_dir_all(site.file("beside"));
        }
    }
    dpl(&site, &["data", "verify", "--read-data"]).success();
}

#[test]
fn a_restore_from_damage_leaves_each_file_whole() {
    let site = site();
    let folder = site.file("data/expert");
    for name in ["a", "b", "c", "d"] {
        fs::write(folder.join(name), noise(3_000_000, u64::from(name.as_bytes()[0]))).unwrap();
    }
    let id = snapshot(&site);
    for name in ["a", "b", "c", "d"] {
        fs::write(folder.join(name), name).unwrap();
    }
    let pack = file_of(&site, "data");
    let mut bytes = fs::read(&pack).unwrap();
    flip(&mut bytes);
    fs::write(&pack, &bytes).unwrap();
    dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--yes"]).failure(1);
    for name in ["a", "b", "c", "d"] {
        let found = fs::read(folder.join(name)).unwrap();
        let is_old = found == name.as_bytes();
        assert!(is_old || found == noise(3_000_000, u64::from(name.as_bytes()[0])), "{name} is neither");
    }
    let names = fs::read_dir(&folder).unwrap().count();
    assert_eq!(names, 4, "nothing unfinished is left");
}
