//! A site with a data folder that holds all that a folder can hold, and what is known of a folder when it is looked at.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use serde_json::Value;

use crate::support::{Run, Site};

pub const MANIFEST: &str = r#"{
  "project": "p",
  "paths": { "backups": "backups" },
  "repository": { "password": { "file": "secrets/repository" } },
  "data": {
    "expert": { "path": "data/expert", "exclude": ["cache/", "*.tmp"], "keep": { "last": 1, "daily": 0, "weekly": 0, "monthly": 0 } },
    "wheels": { "path": "data/wheels" }
  },
  "services": { "web": { "image": "web:1" } }
}"#;

/// A site whose repository is made, with nothing in its data folders.
pub fn site() -> Site {
    let site = Site::in_memory(MANIFEST);
    fs::create_dir_all(site.file("data/expert")).unwrap();
    fs::create_dir_all(site.file("data/wheels")).unwrap();
    dpl(&site, &["data", "init", "--yes"]).success();
    site
}

/// Runs dpl on the site's manifest.
pub fn dpl(site: &Site, arguments: &[&str]) -> Run {
    site.run(&[&["-f", "stack.json"], arguments].concat())
}

/// Takes a snapshot of `expert`; gives its ID.
#[track_caller]
pub fn snapshot(site: &Site) -> String {
    let taken = dpl(site, &["data", "snapshot", "expert", "--json"]).success().json();
    id(&taken["snapshots"][0]["id"])
}

#[track_caller]
pub fn id(value: &Value) -> String {
    let id = value.as_str().unwrap_or_else(|| panic!("no ID: {value}"));
    assert_eq!(id.len(), 64, "{id}");
    id.to_owned()
}

/// Stock restic on the site's repository.
pub fn restic(site: &Site, arguments: &[&str]) -> Output {
    let mut command = Command::new("restic");
    command.arg("--no-cache").arg("-r").arg(site.file("backups/data")).arg("--password-file");
    command.arg(site.file("secrets/repository")).args(arguments).output().unwrap()
}

/// The same, which must go well; gives what it printed.
#[track_caller]
pub fn restic_well(site: &Site, arguments: &[&str]) -> String {
    let output = restic(site, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A name that is not UTF-8.
pub fn foreign_name() -> OsString {
    OsString::from_vec(b"caf\xe9 \"\\\n*".to_vec())
}

/// Fills a folder with everything that there is: links of both kinds, holes, attributes, owners, devices, names of any bytes.
pub fn fill(folder: &Path) {
    let path = |name: &str| folder.join(name);
    fs::create_dir_all(path("modules/deep/er")).unwrap();
    fs::write(path("config.json"), "{\"a\": 1}\n").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("modules/big"), noise(3_000_000, 7)).unwrap();
    fs::write(path("modules/deep/er/leaf"), "leaf").unwrap();
    fs::write(folder.join(foreign_name()), "strange").unwrap();
    fs::hard_link(path("modules/big"), path("modules/same")).unwrap();
    fs::hard_link(path("modules/big"), path("another name")).unwrap();
    symlink("config.json", path("link")).unwrap();
    symlink(OsStr::from_bytes(b"nowhere/\xff"), path("dangling")).unwrap();
    sparse(&path("sparse"), 40 << 20);
    rustix::fs::lsetxattr(path("config.json"), "trusted.origin", b"\x00\xffhere", XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(path("modules"), "trusted.of-folder", b"yes", XattrFlags::empty()).unwrap();
    std::os::unix::fs::chown(path("config.json"), Some(1234), Some(4321)).unwrap();
    std::os::unix::fs::lchown(path("link"), Some(77), Some(78)).unwrap();
    std::os::unix::fs::chown(path("modules/deep"), Some(5), Some(6)).unwrap();
    rustix::fs::mknodat(CWD, path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    // Nobody opens them: the numbers stand for a null device and a first disk.
    rustix::fs::mknodat(CWD, path("character"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), 0x103).unwrap();
    rustix::fs::mknodat(CWD, path("block"), FileType::BlockDevice, Mode::from_raw_mode(0o600), 0x800).unwrap();
    fs::set_permissions(path("empty"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(path("modules/deep"), fs::Permissions::from_mode(0o2750)).unwrap();
    for (name, seconds) in
        [("config.json", 1_000_000_000), ("modules/deep/er/leaf", -5), ("modules/deep", 1_234_567_890)]
    {
        let time = Timespec { tv_sec: seconds, tv_nsec: 987_654_321 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// A file of that size with little in it.
pub fn sparse(path: &Path, size: u64) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"in the middle", size / 2 + 5).unwrap();
}

/// Bytes that can't be compressed, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// All that is to be the same after a restore, by path: kind, content, properties; files of one inode have one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: String,
    pub content: Vec<u8>,
    pub mode: u32,
    pub owner: (u32, u32),
    pub modified: Option<(i64, i64)>,
    pub attributes: Vec<(OsString, Vec<u8>)>,
    pub device: u64,
    pub same_as: Option<PathBuf>,
}

/// Looks at a folder.
pub fn look(folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut seen, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    look_into(folder, folder, &mut seen, &mut inodes);
    seen
}

fn look_into(root: &Path, path: &Path, seen: &mut BTreeMap<PathBuf, Seen>, inodes: &mut BTreeMap<(u64, u64), PathBuf>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let place = path.strip_prefix(root).unwrap().to_owned();
    let kind = metadata.file_type();
    let content = match kind {
        _ if kind.is_file() => fs::read(path).unwrap(),
        _ if kind.is_symlink() => fs::read_link(path).unwrap().into_os_string().into_vec(),
        _ => Vec::new(),
    };
    let words = [
        (kind.is_dir(), "folder"),
        (kind.is_file(), "file"),
        (kind.is_symlink(), "link"),
        (kind.is_fifo(), "pipe"),
        (kind.is_char_device(), "character"),
        (kind.is_block_device(), "block"),
        (kind.is_socket(), "socket"),
    ];
    let first = inodes.entry((metadata.dev(), metadata.ino())).or_insert_with(|| place.clone()).clone();
    let found = Seen {
        kind: words.iter().find(|(is, _)| *is).unwrap().1.to_owned(),
        content,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        modified: Some((metadata.mtime(), metadata.mtime_nsec())),
        attributes: attributes(path),
        device: metadata.rdev(),
        same_as: (first != place).then_some(first),
    };
    seen.insert(place, found);
    if kind.is_dir() {
        let mut below: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        below.sort();
        below.iter().for_each(|path| look_into(root, path, seen, inodes));
    }
}

fn attributes(path: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or_default();
    let mut all: Vec<(OsString, Vec<u8>)> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"trusted."))
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            (OsString::from_vec(name.to_vec()), value[..length].to_vec())
        })
        .collect();
    all.sort();
    all
}

/// How much of the disk a file takes.
pub fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Compares two looks and names the first place that differs.
#[track_caller]
pub fn assert_same(one: &BTreeMap<PathBuf, Seen>, other: &BTreeMap<PathBuf, Seen>) {
    let (names, others): (Vec<_>, Vec<_>) = (one.keys().collect(), other.keys().collect());
    assert_eq!(names, others);
    for (path, seen) in one {
        let short = |seen: &Seen| Seen { content: seen.content.iter().copied().take(64).collect(), ..seen.clone() };
        assert_eq!(short(seen), short(&other[path]), "{}", path.display());
        assert!(seen.content == other[path].content, "the content of {} differs", path.display());
    }
}
