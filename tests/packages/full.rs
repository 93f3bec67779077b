//! Packages that hold all layers and that other programs read.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::desk::{Desk, images, layer, machine, unpack};

fn skopeo(arguments: &[&str]) -> String {
    let run = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(run.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

/// The diff IDs of an image's layers, as skopeo reads them after it has read all layers.
fn diff_ids(from: &str, folder: &Path) -> Value {
    let copy = folder.join("copied");
    let _ = fs::remove_dir_all(&copy);
    skopeo(&["copy", "--quiet", "--insecure-policy", from, &format!("dir:{}", copy.display())]);
    let config: Value = serde_json::from_str(&skopeo(&["inspect", "--config", "--raw", from])).unwrap();
    config["rootfs"]["diff_ids"].clone()
}

#[test]
fn a_full_package_is_an_archive_of_others_whatever_a_machine_has() {
    let desk = Desk::new();
    let (base, one) = (layer(1, 40_000), layer(2, 20_000));
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v1"]).success();
    let expected = [base.clone(), one.clone()].map(|layer| dpl::fs::Digest::of(&layer).to_string());
    let as_stored = desk.pack("stored.tar", &["--release", "v1", "--full", "--unsigned"]);
    let gzip = desk.pack("gzip.tar", &["--release", "v1", "--full", "--compression", "gzip", "--unsigned"]);
    for package in [&as_stored, &gzip] {
        let from = |kind: &str| format!("{kind}:{}:web:1", package.display());
        assert_eq!(diff_ids(&from("oci-archive"), desk.site.path()), serde_json::json!(expected));
        // By `manifest.json`, as `docker load` does.
        assert_eq!(diff_ids(&from("docker-archive"), desk.site.path()), serde_json::json!(expected));
        let vault = machine();
        unpack(&vault, package, &[]).success();
        assert_eq!(images(&vault), images(&desk.site));
        vault.run(&["-f", "stack.json", "images", "verify"]).success();
    }
    let said = skopeo(&["inspect", "--raw", &format!("oci-archive:{}:web:1", gzip.display())]);
    assert!(said.contains("layer.v1.tar+gzip") && !said.contains("zstd"), "{said}");
    let said = skopeo(&["inspect", "--raw", &format!("oci-archive:{}:web:1", as_stored.display())]);
    assert!(said.contains("layer.v1.tar+zstd"), "{said}");
    // The same bytes again, and nothing is left beside them.
    let again = desk.pack("again.tar", &["--release", "v1", "--full", "--compression", "gzip", "--unsigned"]);
    assert!(fs::read(&gzip).unwrap() == fs::read(again).unwrap());
    let left = fs::read_dir(desk.site.path()).unwrap().flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with(".dpl-pack")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_a_killed_full_pack_left_goes_with_the_next_one() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 20_000)]), ("worker", &[&layer(2, 2000)])]);
    fs::create_dir(desk.site.file("out")).unwrap();
    let pack =
        ["-f", "stack.json", "pack", "--full", "--compression", "gzip", "--unsigned", "--yes", "-o", "out/x.tar"];
    let mut command = desk.site.command(&pack);
    command.env("DPL_FAILPOINT", "packages.pack.before-end:1");
    assert!(command.output().unwrap().status.code().is_none());
    let count = || fs::read_dir(desk.site.file("out")).unwrap().count();
    assert_eq!(count(), 2, "an unfinished package, and the images that it is made of");
    desk.site.run(&pack).success();
    assert_eq!(count(), 1);
}

#[test]
fn a_full_package_is_for_nobody_in_particular() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 2000)]), ("worker", &[&layer(2, 2000)])]);
    for arguments in [&["--full", "--for", "none"][..], &["--for", "none", "--compression", "gzip"], &[]] {
        desk.run(&[&["pack", "--unsigned", "-o", "x.tar"], arguments].concat()).failure(2);
    }
}
