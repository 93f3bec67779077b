//! Sizes: of parts, of files that a disk takes, of what each disk has to hold.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::desk::{Desk, layer, machine, unpack};

fn desk() -> Desk {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 300_000)]), ("worker", &[&layer(2, 2000)])]);
    desk
}

#[test]
fn parts_of_4g_are_those_that_fat32_takes_and_larger_ones_are_told() {
    let desk = desk();
    let pack = |size: &str| {
        let output = desk.site.file("x.tar").display().to_string();
        desk.run(&["pack", "--for", "none", "--unsigned", "--yes", "-o", &output, "--split", size]).success().stderr
    };
    let listed = || {
        let text = fs::read_to_string(desk.site.file("x.tar.parts.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["part_bytes"].as_u64().unwrap()
    };
    assert!(pack("4g").contains("4294967295"));
    assert_eq!(listed(), 4_294_967_295);
    assert!(pack("5g").contains("--split 4000MB"));
    assert_eq!(listed(), 5 << 30);
    assert!(!pack("4000MB").contains("FAT32"));
}

#[test]
fn a_disk_that_takes_no_file_so_large_is_told_before_it_is_written() {
    let desk = desk();
    let output = desk.site.file("x.tar").display().to_string();
    let pack = |more: &[&str]| {
        let arguments = [&["-f", "stack.json", "pack", "--for", "none", "--unsigned", "-o", &output], more].concat();
        let mut command = desk.site.command(&arguments);
        let run = command.env("DPL_PRETENDS", "fs.small-files").output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (code, said) = pack(&[]);
    assert!(code == Some(1) && said.contains("FAT32") && said.contains("--split"), "{said}");
    assert!(!desk.site.file("x.tar").exists());
    let (code, said) = pack(&["--split", "128k"]);
    assert_eq!(code, Some(0), "{said}");
}

/// As a FAT32 disk that FUSE mounts: nobody knows of its limit before it is there.
#[test]
fn a_file_that_the_disk_takes_no_further_is_told_with_the_way_out_and_leaves_nothing() {
    let desk = desk();
    fs::create_dir(desk.site.file("usb")).unwrap();
    let pack = |more: &[&str]| {
        let arguments =
            [&["-f", "stack.json", "pack", "--for", "none", "--unsigned", "-o", "usb/x.tar"], more].concat();
        let whole = desk.site.command(&arguments);
        // No signal (25 is SIGXFSZ), but EFBIG behind 200 blocks of 512 bytes.
        let mut limited = Command::new("dash");
        limited.args(["-c", "trap '' 25; ulimit -f 200; exec \"$@\"", "dash"]).arg(whole.get_program());
        limited.args(whole.get_args()).current_dir(desk.site.path()).env_clear();
        limited.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = limited.output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (code, said) = pack(&[]);
    assert!(code == Some(1) && said.contains("usb/x.tar") && said.contains("--split 4000MB"), "{code:?} {said}");
    assert_eq!(fs::read_dir(desk.site.file("usb")).unwrap().count(), 0);
    let (code, said) = pack(&["--split", "100000"]);
    assert_eq!(code, Some(0), "{said}");
    let vault = machine();
    unpack(&vault, &desk.site.file("usb/x.tar.001"), &[]).success();
}

#[test]
fn a_name_that_fat_refuses_is_told_before_anything_is_written() {
    let desk = desk();
    fs::create_dir(desk.site.file("usb")).unwrap();
    let pack = |name: &str, disk: &str| {
        let arguments = ["-f", "stack.json", "pack", "--for", "none", "--unsigned", "-o", name];
        let run = desk.site.command(&arguments).env("DPL_PRETENDS", disk).output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (code, said) = pack("usb/v1 12:30.tar", "fs.fat-names");
    assert!(code == Some(1) && said.contains("v1 12:30.tar") && said.contains("another name"), "{code:?} {said}");
    assert_eq!(fs::read_dir(desk.site.file("usb")).unwrap().count(), 0);
    for (name, disk) in [("usb/v1 12.30.tar", "fs.fat-names"), ("usb/v1 12:30.tar", "")] {
        let (code, said) = pack(name, disk);
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

#[test]
fn a_part_that_is_made_again_says_its_own_size_and_keeps_to_the_division() {
    let desk = desk();
    let output = desk.site.file("x.tar").display().to_string();
    let pack =
        |more: &[&str]| desk.run(&[&["--json", "pack", "--for", "none", "--unsigned", "-o", &output], more].concat());
    let all = pack(&["--split", "128k"]).success().json();
    let size = |number: u32| fs::metadata(desk.site.file(&format!("x.tar.{number:03}"))).unwrap().len();
    assert_eq!(all["written_bytes"], (1..=3).map(size).sum::<u64>(), "{all}");
    let last = pack(&["--split", "128k", "--part", "3"]).success().json();
    assert_eq!(last["written_bytes"], size(3), "{last}");
    let other = pack(&["--split", "100k", "--part", "3"]).failure(1);
    assert!(other.stderr.contains("x.tar.parts.json"), "{}", other.stderr);
}

#[test]
fn each_disk_that_is_written_to_is_asked() {
    let desk = desk();
    // Another disk than that of the tests' folders, or there is nothing to tell apart.
    let elsewhere = tempfile::Builder::new().prefix("dpl-test-").tempdir_in("/dev/shm").unwrap();
    let vault = machine();
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(desk.site.file("stack.json")).unwrap()).unwrap();
    let store = elsewhere.path().join("store").display().to_string();
    manifest["paths"]["images"] = json!(format!("${{STORE:-{store}}}"));
    desk.site.write("stack.json", &manifest.to_string());
    let package = desk.site.file("x.tar");
    let path = package.display().to_string();
    let mut command = desk.site.command(&["-f", "stack.json", "pack", "--for", "none", "--unsigned", "-o", &path]);
    assert!(command.env("STORE", "store").output().unwrap().status.success());
    let is_apart = device(elsewhere.path()) != device(vault.path());
    let planned = vault.run(&["--json", "package", "plan", &path]).success().json();
    let space = planned["plan"]["space"].as_array().unwrap();
    let folders: Vec<&str> = space.iter().map(|need| need["folder"].as_str().unwrap()).collect();
    // As every test shows it.
    let project = "SITE";
    match is_apart {
        true => {
            assert_eq!(folders, [project, store.as_str()], "{planned}");
            assert!(space[1]["needed"].as_u64().unwrap() > 300_000, "{planned}");
            assert!(space[0]["needed"].as_u64().unwrap() < 10_000, "{planned}");
        }
        false => assert_eq!(folders, [project], "{planned}"),
    }
    unpack(&vault, &package, &[]).success();
    assert_eq!(dpl::images::stored_names(&elsewhere.path().join("store")).len(), 2);
}

fn device(path: &std::path::Path) -> u64 {
    std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap())
}
