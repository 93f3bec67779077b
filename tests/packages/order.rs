//! In which order things get their places: all is proved first, images and seeds come next, the manifest and its files last.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::desk::{Desk, images, layer, machine, names, unpack};
use crate::support::Site;

/// The package with a bit flipped in a layer, beside it.
fn damaged(desk: &Desk, package: &PathBuf) -> PathBuf {
    let mut bytes = fs::read(package).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    let path = desk.site.file("damaged.tar");
    fs::write(&path, bytes).unwrap();
    path
}

fn text(machine: &Site, name: &str) -> Option<String> {
    fs::read_to_string(machine.file(name)).ok()
}

#[test]
fn a_damaged_package_leaves_manifest_files_seeds_and_images_as_they_were() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 60_000)]), ("worker", &[&layer(2, 5000)])]);
    let first = desk.pack("first.tar", &["--for", "none", "--unsigned"]);
    let vault = machine();
    let refused = unpack(&vault, &damaged(&desk, &first), &[]).failure(1);
    assert!(refused.stderr.contains("does not match its digest"), "{}", refused.stderr);
    for name in ["stack.json", "conf/web.conf", "seeds/d/backup.json", "store/index.json"] {
        assert_eq!(text(&vault, name), None, "{name}");
    }
    // What was tried is in the journal nevertheless: the package says where that is.
    let lines: Vec<PathBuf> = fs::read_dir(vault.file(".dpl")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!lines.is_empty(), "the journal of a first unpack that failed");
    unpack(&vault, &first, &[]).success();
    let before = images(&vault);
    let manifest = text(&vault, "stack.json");

    desk.manifest("2");
    desk.site.write("conf/web.conf", "listen 81\n");
    desk.site.write("seeds/d/archive/toc.dat", "PGDMP of d, newer");
    desk.images(&[("web", &[&layer(3, 60_000)]), ("worker", &[&layer(2, 5000)])]);
    let second = desk.pack("second.tar", &["--for", "none", "--unsigned"]);
    unpack(&vault, &damaged(&desk, &second), &[]).failure(1);
    assert_eq!(text(&vault, "stack.json"), manifest);
    assert_eq!(text(&vault, "conf/web.conf").as_deref(), Some("listen 80\n"));
    assert_eq!(text(&vault, "seeds/d/archive/toc.dat").as_deref(), Some("PGDMP of d"));
    assert_eq!(images(&vault), before);
    // All of the rest has come, and is not read again.
    let said = unpack(&vault, &second, &["--json"]).success().json();
    assert!(said["receipt"]["bytes"].as_u64().unwrap() < 80_000, "{said}");
    assert_eq!(text(&vault, "conf/web.conf").as_deref(), Some("listen 81\n"));
    assert_eq!(text(&vault, "seeds/d/archive/toc.dat").as_deref(), Some("PGDMP of d, newer"));
    assert_eq!(images(&vault), images(&desk.site));
    let history = vault.run(&["-f", "stack.json", "--json", "history"]).success().json();
    let results: Vec<&str> =
        history["actions"].as_array().unwrap().iter().map(|action| action["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["failed", "done", "failed", "done"], "{history}");
}

#[test]
fn images_go_to_the_store_that_the_manifest_in_the_package_names() {
    let desk = Desk::new();
    let (base, one) = (layer(1, 30_000), layer(2, 20_000));
    desk.images(&[("web", &[&base]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v1"]).success();
    let vault = machine();
    unpack(&vault, &desk.pack("v1.tar", &["--release", "v1", "--for", "none", "--unsigned"]), &[]).success();
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    let mut manifest: Value = serde_json::from_str(&text(&desk.site, "stack.json").unwrap()).unwrap();
    manifest["paths"]["images"] = json!("${WHERE}");
    manifest["env_file"] = json!("where.env");
    desk.site.write("stack.json", &manifest.to_string());
    // At the desk the environment says where, at the machine a file that comes along.
    desk.site.write("where.env", "WHERE=moved\n");
    let pack = |name: &str, arguments: &[&str]| {
        let path = desk.site.file(name);
        let output = path.display().to_string();
        let mut command =
            desk.site.command(&[&["-f", "stack.json", "pack", "--unsigned", "-o", &output], arguments].concat());
        let run = command.env("WHERE", "store").output().unwrap();
        assert!(run.status.success(), "{run:?}");
        path
    };
    // What the old store has is of no use in the new one.
    let refused = unpack(&vault, &pack("lacks.tar", &["--for", "v1"]), &[]).failure(1);
    assert!(refused.stderr.contains("takes for granted"), "{}", refused.stderr);
    unpack(&vault, &pack("whole.tar", &["--for", "none"]), &[]).success();
    let mut moved = dpl::images::stored_names(&vault.file("moved"));
    moved.sort();
    assert_eq!(moved, ["web:1", "worker:1"]);
    vault.run(&["-f", "stack.json", "images", "verify"]).success();
}

#[test]
fn a_manifest_that_is_wrong_here_is_refused_before_anything_is_written() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 3000)])]);
    let manifest = text(&desk.site, "stack.json").unwrap().replace("web:1", "${IMAGE:?which image}");
    desk.site.write("stack.json", &manifest);
    let output = desk.site.file("x.tar").display().to_string();
    let mut command = desk.site.command(&["-f", "stack.json", "pack", "--for", "none", "--unsigned", "-o", &output]);
    assert!(command.env("IMAGE", "web:1").output().unwrap().status.success());
    let vault = machine();
    let refused = vault.run(&["unpack", &output, "--yes"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("which image"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(vault.path()).unwrap().count(), 0);
}

#[test]
fn a_receipt_tells_what_came_what_was_there_and_how_it_was_verified() {
    let desk = Desk::new();
    let (base, one) = (layer(1, 30_000), layer(2, 20_000));
    desk.images(&[("web", &[&base]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v1"]).success();
    let vault = machine();
    let first = desk.pack("v1.tar", &["--release", "v1", "--for", "none", "--unsigned"]);
    let receipt = unpack(&vault, &first, &["--json"]).success().json()["receipt"].clone();
    let counts = |receipt: &Value| {
        ["images", "images_before", "layers", "layers_before", "files", "files_before", "seeds", "seeds_before"]
            .map(|field| receipt[field].as_u64().unwrap())
    };
    assert_eq!(counts(&receipt), [2, 0, 1, 0, 2, 0, 1, 0], "{receipt}");
    let said = vault.run(&["-f", "stack.json", "receipt"]).success().stdout;
    assert!(said.contains("byte for byte") && !said.contains("not read again"), "{said}");
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    let second = desk.pack("v2.tar", &["--for", "v1", "--unsigned"]);
    let receipt = unpack(&vault, &second, &["--json"]).success().json()["receipt"].clone();
    assert_eq!(counts(&receipt), [1, 1, 1, 1, 0, 2, 0, 1], "{receipt}");
    let said = vault.run(&["-f", "stack.json", "receipt"]).success().stdout;
    assert!(said.contains("not read again") && said.contains("images verify"), "{said}");
    assert_eq!(names(&vault), ["web:1", "worker:1"]);
}

#[test]
fn a_receipt_is_small_enough_for_a_code_that_a_phone_reads() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 3000)])]);
    desk.run(&["key", "generate"]).success();
    let vault = machine();
    vault.run(&["key", "trust", &desk.site.file("keys/dpl.pub").display().to_string(), "--yes"]).success();
    unpack(&vault, &desk.pack("all.tar", &["--for", "none"]), &[]).success();
    let drawn = vault.run(&["-f", "stack.json", "receipt", "--qr", "--color", "never"]).success().stdout;
    let lines: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
    assert!((25..=80).contains(&lines[0]) && lines.iter().all(|line| *line == lines[0]), "{drawn}");
    // Two modules in one letter, one above the other.
    assert_eq!(lines.len(), lines[0].div_ceil(2), "{drawn}");
    vault.run(&["-f", "stack.json", "receipt", "--qr", "--json"]).failure(2);
}

#[test]
fn what_a_package_would_do_is_said_in_words_of_packages() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 3000)])]);
    let package = desk.pack("all.tar", &["--for", "none", "--unsigned"]).display().to_string();
    let vault = machine();
    let said = vault.run(&["package", "plan", &package]).success().stdout;
    assert!(said.contains("would be brought") && !said.contains("would be sent"), "{said}");
    let help = vault.run(&["pack", "--help"]).success().stdout;
    assert!(!help.contains("whoever"), "{help}");
}
