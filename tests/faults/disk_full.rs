//! Disks without room, folders that can't be written: the store stays whole, the message says why, and the next run with
//! room goes on where this one stopped.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Ended, run, run_command, takes_all};
use crate::hostile::build::{Image, image_rules};
use crate::subjects::images::{Images, Size, leftovers, named_in_store};
use crate::support::Site;
use crate::support_fake_engine::FakeEngine;
use crate::tally::Tally;

/// A small disk of its own over a folder.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `options` as mount(8) takes them for tmpfs: `size=64k`, `nr_inodes=10`.
    pub fn over(folder: &Path, options: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        mount(&["-t", "tmpfs", "-o", options, "tmpfs", folder.to_str().unwrap()]);
        Self(folder.to_owned())
    }

    pub fn becomes(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What a process that has just ended had open may hold it for a moment longer.
        for _ in 0..200 {
            let ended = Command::new("umount").arg(&self.0).output();
            if ended.is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        println!("{} is still mounted", self.0.display());
    }
}

#[track_caller]
fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().unwrap();
    assert!(output.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

// Without the look at the disk before, which would end most of these runs before anything is written.
const LAYOUT: &[&str] = &["save", "--no-space-check"];
const GZIP: &[&str] = &["save", "--no-space-check", "--compression", "gzip"];
const ARCHIVES: &[&str] = &["save", "--no-space-check", "--format", "docker-archive"];

/// Committed blobs and archives, told apart from others of the same name by their inode.
fn committed(store: &Path) -> BTreeMap<PathBuf, (u64, i64)> {
    let folders = [store.to_owned(), store.join("blobs/sha256")];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let files = entries.map(|entry| (entry.path(), entry.metadata().unwrap()));
    let of_size = files.filter(|(path, metadata)| metadata.is_file() && !path.ends_with("index.json"));
    of_size.map(|(path, metadata)| (path, (metadata.ino(), metadata.mtime_nsec()))).collect()
}

/// After a save that had no room, and after the next one, which has.
#[track_caller]
fn goes_on(images: &Images, command: &[&str], ended: &Ended, give_room: impl FnOnce(), context: &str) {
    let site = &images.stack.site;
    let store = images.store();
    if !ended.status.success() {
        let said = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(ended.status.code(), Some(1), "{context}: {said}");
        let names_it = said.contains("store") || said.contains("where dpl keeps its state");
        assert!(said.contains("space") && names_it, "{context}: {said}");
        assert!(!said.contains("panicked"), "{context}: {said}");
    }
    assert!(!store.exists() || leftovers(&store).is_empty(), "{context}");
    if store.join("index.json").exists() {
        named_in_store(&store, context);
        assert!(!fs::read(store.join("index.json")).unwrap().is_empty(), "{context}");
    }
    let before = committed(&store);
    give_room();
    run(site, command).success(context);
    let after = committed(&store);
    for (path, was) in &before {
        assert_eq!(after.get(path), Some(was), "{context}: {} was written again", path.display());
    }
    if !command.contains(&"docker-archive") {
        assert_eq!(named_in_store(&store, context).len(), 2, "{context}");
        looked(site, &["images", "verify"]).success(context);
    }
    assert_eq!(leftovers(&store), Vec::<PathBuf>::new(), "{context}");
}

/// Runs a command that only looks.
fn looked(site: &Site, command: &[&str]) -> Ended {
    run_command(site, site.command(&[command, &["stack.json"]].concat()))
}

/// How large a disk has to be for all that a command writes.
fn needed_kib(images: &Images, command: &[&str]) -> u64 {
    let disk = SmallDisk::over(&images.store(), "size=64m");
    run(&images.stack.site, command).success("with room");
    let output = Command::new("df").args(["--output=used", "-k"]).arg(&disk.0).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}

#[test]
fn a_save_without_room_leaves_a_whole_store_and_the_next_goes_on() {
    let mut tally = Tally::of("disk-full");
    let images = Images::new(Size::Large);
    images.bring(&images.new);
    images.bring(&images.other);
    let (mut failed, mut all) = (0, 0);
    for command in [LAYOUT, GZIP, ARCHIVES] {
        let needed = needed_kib(&images, command);
        // Spread over all of it, and close to its end: the compressor's trailer, the last documents, the index.
        let spread = (1..=12).map(|part| needed * part / 13);
        let close = [24, 20, 16, 12, 8, 4, 0].map(|less| needed - less);
        let sizes: Vec<u64> = spread.chain(close).chain([needed + 4096]).collect();
        for (at, kib) in sizes.iter().enumerate().filter(|(at, _)| takes_all() || at % 5 == 2) {
            tally.case();
            let context = format!("{command:?} on {kib} KiB of {needed}, size {at}");
            let disk = SmallDisk::over(&images.store(), &format!("size={kib}k"));
            let ended = run(&images.stack.site, command);
            failed += usize::from(!ended.status.success());
            all += 1;
            goes_on(&images, command, &ended, || disk.becomes("size=64m"), &context);
        }
    }
    println!("{failed} of {all} had no room");
    assert!(failed * 3 >= all, "only {failed} of {all} had no room");
}

#[test]
fn a_save_without_inodes_leaves_a_whole_store_and_the_next_goes_on() {
    let mut tally = Tally::of("disk-full");
    let images = Images::new(Size::Small);
    images.bring(&images.new);
    images.bring(&images.other);
    let mut failed = 0;
    for inodes in (2..=22).filter(|inodes| takes_all() || inodes % 6 == 3) {
        tally.case();
        let context = format!("{inodes} inodes");
        let disk = SmallDisk::over(&images.store(), &format!("size=64m,nr_inodes={inodes}"));
        let ended = run(&images.stack.site, LAYOUT);
        failed += usize::from(!ended.status.success());
        goes_on(&images, LAYOUT, &ended, || disk.becomes("nr_inodes=1000"), &context);
    }
    assert!(failed > 0);
}

/// A disk that says only at the end that it has no room, as network file systems and quotas do.
#[test]
fn a_save_whose_sync_fails_leaves_a_whole_store_and_the_next_goes_on() {
    let mut tally = Tally::of("disk-full");
    let images = Images::new(Size::Small);
    images.bring(&images.new);
    images.bring(&images.other);
    let site = &images.stack.site;
    let mut failed = 0;
    for command in [LAYOUT, ARCHIVES] {
        for nth in (1..=6).filter(|nth| takes_all() || nth % 3 == 1) {
            tally.case();
            let context = format!("{command:?}, the fsync number {nth} of each thread fails");
            let _ = fs::remove_dir_all(images.store());
            let program = site.command(&[command, &["--yes", "-f", "stack.json"]].concat());
            let mut traced = Command::new("strace");
            traced.args(["--follow-forks", "-qqq", "--output=/dev/null", "--trace=fsync"]);
            traced.arg(format!("--inject=fsync:error=ENOSPC:when={nth}"));
            traced.arg(program.get_program()).args(program.get_args()).current_dir(site.path()).env_clear();
            traced.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let ended = run_command(site, traced);
            failed += usize::from(!ended.status.success());
            goes_on(&images, command, &ended, || (), &context);
        }
    }
    assert!(failed > 0);
}

/// A project on a disk that is delivered as it is: what dpl keeps of it lies elsewhere.
#[test]
fn a_project_on_read_only_media_is_worked_with_where_its_state_lies_elsewhere() {
    let mut site = Site::with_manifest("{}");
    let disk = SmallDisk::over(&site.file("media"), "size=8m");
    site.write(
        "media/stack.json",
        r#"{"project": "p", "paths": {"images": "../store"}, "services": {"a": {"image": "a:1"}}}"#,
    );
    fs::write(site.file("media/x.tar"), Image::new("good").archive_with(|tar| tar)).unwrap();
    disk.becomes("ro");
    let run = |site: &Site, arguments: &[&str]| {
        run_command(site, site.command(&[arguments, &["-f", "media/stack.json", "--yes"]].concat()))
    };
    let import = ["images", "import", "media/x.tar"];
    let refused = run(&site, &import);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("Read-only") && refused.stderr.contains("--state"), "{}", refused.stderr);
    run(&site, &[&import[..], &["--state", "elsewhere"]].concat()).success("an import");
    assert!(site.file("elsewhere/p").is_dir());
    let by_variable = site.file("by-variable").to_str().unwrap().to_owned();
    site.set("DPL_STATE", by_variable);
    run(&site, &["images", "export", "a", "--output", "out.tar"]).success("an export");
    assert!(site.file("by-variable/p").is_dir() && site.file("out.tar").is_file());
    run(&site, &["images", "verify"]).success("a verify");
}

/// A file system without locks, as some network file systems are.
#[test]
fn a_store_on_a_disk_without_locks_is_named_with_what_to_do() {
    let image = Image::new("good");
    let mut site =
        Site::with_manifest(r#"{"project": "p", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#);
    let _engine = engine_for_all(&mut site, &image);
    fs::write(site.file("x.tar"), image.archive_with(|tar| tar)).unwrap();
    // The project's own lock as well, or the store's alone.
    let (everywhere, store): (&[&str], _) = (&[], site.file("store/.dpl-store/lock"));
    let in_store = ["--trace-path", store.to_str().unwrap()];
    let without_locks = |arguments: &[&str], place: &[&str]| {
        let program = site.command(&[arguments, &["--yes", "-f", "stack.json"]].concat());
        let mut traced = Command::new("strace");
        traced.args(["--follow-forks", "-qqq", "--output=/dev/null", "--trace=flock", "--inject=flock:error=ENOLCK"]);
        traced.args(place);
        traced.arg(program.get_program()).args(program.get_args()).current_dir(site.path()).env_clear();
        traced.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run_command(&site, traced)
    };
    for command in [LAYOUT, ARCHIVES, &["images", "import", "x.tar"]] {
        for place in [everywhere, &in_store] {
            let ended = without_locks(command, place);
            let said = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(ended.status.code(), Some(1), "{command:?}: {said}");
            let words =
                ["No locks available", "put the project on another one", if place.is_empty() { "" } else { "store" }];
            assert!(words.iter().all(|words| said.contains(words)), "{command:?}: {said}");
            assert!(!site.file("store/index.json").exists(), "{command:?}");
        }
    }
    // What needs no lock goes on: looking, and writing an archive elsewhere.
    run(&site, &["images", "import", "x.tar"]).success("the import");
    without_locks(&["images", "verify"], everywhere).success("a verify");
    without_locks(&["images", "export", "--output", "out.tar"], &in_store).success("an export");
    assert!(site.file("out.tar").is_file());
}

/// An engine with the image `a:1`, which anyone may talk to.
fn engine_for_all(site: &mut Site, image: &Image) -> FakeEngine {
    let socket = site.file("docker.sock");
    let engine = FakeEngine::start(&socket, image_rules(image));
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    site.set("DOCKER_HOST", &engine.address);
    engine
}

#[test]
fn a_store_that_can_not_be_written_is_named_and_can_still_be_read() {
    let image = Image::new("good");
    let mut site =
        Site::with_manifest(r#"{"project": "p", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#);
    let _engine = engine_for_all(&mut site, &image);
    let disk = SmallDisk::over(&site.file("store"), "size=8m");
    disk.becomes("ro");
    for command in [LAYOUT, ARCHIVES] {
        let said = run(&site, command).stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("store") && said.contains("Read-only"), "{said}");
    }
    disk.becomes("rw");
    run(&site, LAYOUT).success("the save");
    disk.becomes("ro");
    // Nothing has to be written: the image is there, and the store is whole.
    for command in [&["images", "verify"][..], &["images", "list"], &["load", "--dry-run"], &["save", "--dry-run"]] {
        looked(&site, command).success(&format!("{command:?} on a read-only disk"));
    }
}

#[test]
fn another_users_store_is_named_and_stays_as_it_is() {
    const NOBODY: u32 = 65_534;
    let image = Image::new("good");
    let mut site =
        Site::with_manifest(r#"{"project": "p", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#);
    let _engine = engine_for_all(&mut site, &image);
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = site.file("program");
    fs::copy(site.command(&[]).get_program(), &program).unwrap();
    run(&site, LAYOUT).success("the owner's save");
    let before = committed(&site.file("store"));
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("stack.json").current_dir(site.path()).env_clear();
        command.env("HOME", site.path()).env("DOCKER_HOST", format!("unix://{}", site.file("docker.sock").display()));
        run_command(&site, {
            command.uid(NOBODY).gid(NOBODY);
            command
        })
    };
    let _ = fs::remove_dir_all(site.file(".dpl"));
    for command in [LAYOUT, ARCHIVES] {
        let ended = as_nobody(command);
        let said = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("store") && said.contains("Permission denied"), "{said}");
        assert_eq!(committed(&site.file("store")), before);
    }
    as_nobody(&["images", "verify"]).success("to read is allowed");
}
