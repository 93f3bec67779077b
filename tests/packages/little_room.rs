//! Disks that are full: nothing has a name that is not whole, nothing that is there changes, and the next run goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::desk::{Desk, images, layer, machine, names, unpack};

/// A small disk over a folder.
struct Disk(PathBuf);

impl Disk {
    fn over(folder: &Path, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let disk = Self(folder.to_owned());
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        disk
    }

    fn becomes(&self, size: &str) {
        self.mount(&["-o", &format!("remount,size={size}")]);
    }

    fn mount(&self, arguments: &[&str]) {
        let mounted = Command::new("mount").args(arguments).arg(&self.0).output().unwrap();
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn an_unpack_onto_a_full_disk_names_nothing_and_the_next_goes_on() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 300_000), &layer(2, 600_000)]), ("worker", &[&layer(3, 2000)])]);
    let package = desk.pack("all.tar", &["--for", "none", "--unsigned"]);
    let vault = machine();
    let disk = Disk::over(&vault.file("store"), "500k");
    let refused = unpack(&vault, &package, &[]).failure(1);
    assert!(refused.stderr.contains("store has") && refused.stderr.contains("--no-space-check"), "{}", refused.stderr);
    let failed = unpack(&vault, &package, &["--no-space-check"]).failure(1);
    assert!(failed.stderr.contains("No space left"), "{}", failed.stderr);
    assert!(names(&vault).is_empty() && !vault.file("stack.json").exists() && !vault.file("seeds").exists());
    disk.becomes("16m");
    let said = unpack(&vault, &package, &["--json"]).success().json();
    assert!(said["receipt"]["bytes"].as_u64().unwrap() < 620_000, "what has come is not read again: {said}");
    assert_eq!(images(&vault), images(&desk.site));
    vault.run(&["-f", "stack.json", "images", "verify"]).success();
}

#[test]
fn a_full_disk_under_one_file_changes_no_other() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 2000)]), ("worker", &[&layer(2, 2000)])]);
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(desk.site.file("stack.json")).unwrap()).unwrap();
    manifest["configs"]["more"] = json!({"file": "full/more.conf"});
    desk.site.write("stack.json", &manifest.to_string());
    desk.site.write("full/more.conf", "1");
    let first = desk.pack("first.tar", &["--for", "none", "--unsigned"]);
    let vault = machine();
    let disk = Disk::over(&vault.file("full"), "64k");
    unpack(&vault, &first, &[]).success();
    manifest["services"]["web"]["environment"]["A"] = json!("2");
    desk.site.write("stack.json", &manifest.to_string());
    desk.site.write("conf/web.conf", "listen 81\n");
    desk.site.write("full/more.conf", &"more ".repeat(40_000));
    let second = desk.pack("second.tar", &["--for", "none", "--unsigned"]);
    let failed = unpack(&vault, &second, &["--no-space-check"]).failure(1);
    assert!(failed.stderr.contains("No space left") && failed.stderr.contains("more.conf"), "{}", failed.stderr);
    let text = |name: &str| fs::read_to_string(vault.file(name)).unwrap();
    assert_eq!((text("conf/web.conf").as_str(), text("full/more.conf").as_str()), ("listen 80\n", "1"));
    assert!(text("stack.json").contains(r#""A":"1""#), "{}", text("stack.json"));
    disk.becomes("1m");
    unpack(&vault, &second, &[]).success();
    assert_eq!(text("conf/web.conf"), "listen 81\n");
    assert!(text("stack.json").contains(r#""A":"2""#) && text("full/more.conf").len() == 200_000);
}

#[test]
fn a_pack_onto_a_full_disk_leaves_no_file_and_no_list_of_parts() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 400_000)]), ("worker", &[&layer(2, 2000)])]);
    let disk = Disk::over(&desk.site.file("usb"), "300k");
    let pack = |more: &[&str]| {
        desk.run(&[&["pack", "--for", "none", "--unsigned", "--yes", "-o", "usb/x.tar"], more].concat())
    };
    let refused = pack(&[]).failure(1);
    assert!(refused.stderr.contains("--no-space-check"), "{}", refused.stderr);
    let failed = pack(&["--no-space-check"]).failure(1);
    assert!(failed.stderr.contains("No space left"), "{}", failed.stderr);
    assert!(failed.stderr.contains("x.tar: the package can't be written"), "{}", failed.stderr);
    assert_eq!(fs::read_dir(desk.site.file("usb")).unwrap().count(), 0);
    let failed = pack(&["--no-space-check", "--split", "128k"]).failure(1);
    assert!(failed.stderr.contains("No space left"), "{}", failed.stderr);
    assert!(!desk.site.file("usb/x.tar.parts.json").exists());
    disk.becomes("4m");
    pack(&["--split", "128k"]).success();
    let vault = machine();
    unpack(&vault, &desk.site.file("usb/x.tar.001"), &[]).success();
    assert_eq!(images(&vault), images(&desk.site));
}
