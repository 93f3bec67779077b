//! Killed at the named points of pack and unpack: the next run does the rest.

use std::fs;

use crate::desk::{Desk, images, layer, machine, unpack};
use crate::support::Site;

const UNPACK: [(&str, u32); 22] = [
    ("sites.receive.after-piece", 1),
    ("sites.receive.before-name", 2),
    ("sites.receive.after-name", 3),
    ("images.adopt.before-move", 2),
    ("images.adopt.after-move", 3),
    ("images.adopt.before-names", 1),
    ("sites.place.before-seed", 1),
    ("sites.place.after-seed", 1),
    ("sites.place.before-seed-record", 1),
    ("sites.place.before-file", 1),
    ("sites.place.before-file", 2),
    ("sites.place.before-record", 2),
    ("packages.unpack.before-files", 1),
    ("packages.unpack.before-entry", 1),
    ("packages.unpack.before-entry", 3),
    ("packages.unpack.before-names", 1),
    ("packages.unpack.before-seed", 1),
    ("packages.unpack.before-receipt", 1),
    ("images.save.before-index", 1),
    ("images.save.after-index", 1),
    ("fs.durable.before-rename", 2),
    ("fs.durable.after-rename", 4),
];

/// The same of a second package, which replaces files, images and the seed.
const SECOND: [(&str, u32); 7] = [
    ("packages.unpack.before-names", 1),
    ("images.save.after-index", 1),
    ("sites.place.before-seed", 1),
    ("packages.unpack.before-files", 1),
    ("sites.place.before-file", 1),
    ("sites.place.before-file", 2),
    ("sites.place.before-clean", 1),
];

const PACK: [(&str, u32); 4] = [
    ("packages.pack.before-entry", 3),
    ("packages.pack.before-end", 1),
    ("packages.pack.before-rename", 1),
    ("packages.pack.after-rename", 1),
];

fn killed(site: &Site, point: &str, pass: u32, arguments: &[&str]) {
    let mut command = site.command(arguments);
    command.env("DPL_FAILPOINT", format!("{point}:{pass}"));
    let status = command.output().unwrap().status;
    assert!(status.code().is_none(), "{point}:{pass} was not passed: {status}");
}

#[test]
fn an_unpack_that_is_killed_anywhere_is_done_by_the_next() {
    let desk = Desk::new();
    let base = layer(1, 30_000);
    desk.images(&[("web", &[&base, &layer(2, 20_000)]), ("worker", &[&base])]);
    let package = desk.pack("all.tar", &["--for", "none", "--unsigned"]);
    let path = package.display().to_string();
    crate::support::side_by_side(2, &UNPACK, |(point, pass)| {
        let vault = machine();
        killed(&vault, point, *pass, &["unpack", &path, "--yes"]);
        if vault.file("stack.json").exists() {
            assert_eq!(images(&vault), images(&desk.site), "{point}:{pass}: a manifest without its images");
            assert!(vault.file("seeds/d/archive/toc.dat").exists(), "{point}:{pass}: a manifest without its seeds");
        }
        unpack(&vault, &package, &[]).success();
        assert_eq!(images(&vault), images(&desk.site), "{point}:{pass}");
        assert_eq!(fs::read(vault.file("seeds/d/archive/toc.dat")).unwrap(), b"PGDMP of d");
        vault.run(&["-f", "stack.json", "images", "verify"]).success();
        vault.run(&["-f", "stack.json", "history"]).success();
    });
}

#[test]
fn a_second_unpack_that_is_killed_leaves_the_old_manifest_or_the_new_one_with_all_it_needs() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 20_000)]), ("worker", &[&layer(2, 2000)])]);
    let first = desk.pack("first.tar", &["--for", "none", "--unsigned"]);
    let old = fs::read(desk.site.file("stack.json")).unwrap();
    desk.manifest("2");
    let new = fs::read(desk.site.file("stack.json")).unwrap();
    desk.site.write("conf/web.conf", "listen 81\n");
    desk.site.write("seeds/d/archive/toc.dat", "PGDMP of d, newer");
    desk.images(&[("web", &[&layer(3, 20_000)]), ("worker", &[&layer(2, 2000)])]);
    let second = desk.pack("second.tar", &["--for", "none", "--unsigned"]);
    let path = second.display().to_string();
    crate::support::side_by_side(2, &SECOND, |(point, pass)| {
        let vault = machine();
        unpack(&vault, &first, &[]).success();
        killed(&vault, point, *pass, &["unpack", &path, "--yes"]);
        let manifest = fs::read(vault.file("stack.json")).unwrap();
        assert!(manifest == old || manifest == new, "{point}:{pass}");
        if manifest == new {
            assert_eq!(images(&vault), images(&desk.site), "{point}:{pass}");
            assert_eq!(fs::read(vault.file("conf/web.conf")).unwrap(), b"listen 81\n", "{point}:{pass}");
            assert_eq!(fs::read(vault.file("seeds/d/archive/toc.dat")).unwrap(), b"PGDMP of d, newer");
        }
        unpack(&vault, &second, &[]).success();
        assert_eq!(images(&vault), images(&desk.site), "{point}:{pass}");
        assert!(fs::read(vault.file("stack.json")).unwrap() == new, "{point}:{pass}");
        let left = fs::read_dir(vault.path()).unwrap().flatten().map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".dpl-place-")).collect();
        assert!(left.is_empty(), "{point}:{pass}: {left:?}");
    });
}

#[test]
fn a_pack_in_parts_that_is_killed_leaves_whole_parts_and_no_list() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 200_000)]), ("worker", &[&layer(2, 2000)])]);
    desk.run(&["release", "create", "v1"]).success();
    let pack = ["-f", "stack.json", "pack", "--release", "v1", "--for", "none", "--unsigned", "--split", "100k"];
    let whole = desk.site.run(&[&pack[..], &["-o", "whole/x.tar"]].concat());
    // There is no such folder.
    whole.failure(1);
    fs::create_dir(desk.site.file("whole")).unwrap();
    desk.site.run(&[&pack[..], &["-o", "whole/x.tar"]].concat()).success();
    for (point, pass) in [("packages.parts.before-name", 2), ("packages.parts.after-name", 2)] {
        fs::create_dir(desk.site.file("out")).unwrap();
        let pack = [&pack[..], &["--yes", "-o", "out/x.tar"]].concat();
        killed(&desk.site, point, pass, &pack);
        assert!(!desk.site.file("out/x.tar.parts.json").exists(), "{point}");
        for part in fs::read_dir(desk.site.file("out")).unwrap().flatten() {
            let name = part.file_name();
            if !name.to_string_lossy().starts_with('.') {
                let right = fs::read(desk.site.file("whole").join(&name)).unwrap();
                assert!(fs::read(part.path()).unwrap() == right, "{point}: {name:?}");
            }
        }
        desk.site.run(&pack).success();
        assert_eq!(fs::read_dir(desk.site.file("out")).unwrap().count(), 4, "{point}: three parts and their list");
        fs::remove_dir_all(desk.site.file("out")).unwrap();
    }
}

#[test]
fn a_pack_that_is_killed_leaves_no_file_under_its_name_or_a_whole_one() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 20_000)]), ("worker", &[&layer(2, 20_000)])]);
    desk.run(&["release", "create", "v1"]).success();
    let whole = fs::read(desk.pack("whole.tar", &["--release", "v1", "--for", "none", "--unsigned"])).unwrap();
    for (point, pass) in PACK {
        let pack = ["-f", "stack.json", "pack", "--release", "v1", "--for", "none", "--unsigned", "-o", "out/x.tar"];
        fs::create_dir(desk.site.file("out")).unwrap();
        killed(&desk.site, point, pass, &pack);
        if let Ok(found) = fs::read(desk.site.file("out/x.tar")) {
            assert!(found == whole, "{point}");
        }
        // One that was killed at its very end left a whole file.
        desk.site.run(&[&pack[..], &["--yes"]].concat()).success();
        assert!(fs::read(desk.site.file("out/x.tar")).unwrap() == whole, "{point}");
        assert_eq!(fs::read_dir(desk.site.file("out")).unwrap().count(), 1, "{point}: nothing unfinished is left");
        fs::remove_dir_all(desk.site.file("out")).unwrap();
    }
}

#[test]
fn parts_of_a_killed_pack_are_made_again_byte_for_byte() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 300_000)]), ("worker", &[&layer(2, 20_000)])]);
    desk.run(&["release", "create", "v1"]).success();
    let split = |name| {
        ["-f", "stack.json", "pack", "--release", "v1", "--for", "none", "--unsigned", "--split", "128k", "-o", name]
    };
    desk.site.run(&split("whole.tar")).success();
    let parts = |name: &str| -> Vec<Vec<u8>> {
        (1..=3).map(|number| fs::read(desk.site.file(&format!("{name}.00{number}"))).unwrap()).collect()
    };
    for (point, pass) in [("packages.parts.before-name", 2), ("packages.parts.after-name", 1)] {
        killed(&desk.site, point, pass, &split("x.tar"));
        assert!(!desk.site.file("x.tar.parts.json").exists(), "{point}: the list comes last");
        desk.site.run(&[&split("x.tar")[..], &["--yes"]].concat()).success();
        assert!(parts("x.tar") == parts("whole.tar"), "{point}");
        assert!(!desk.site.file("x.tar.004").exists());
        for number in 1..=3 {
            fs::remove_file(desk.site.file(&format!("x.tar.00{number}"))).unwrap();
        }
        fs::remove_file(desk.site.file("x.tar.parts.json")).unwrap();
    }
}

#[test]
fn a_release_that_was_killed_in_its_making_is_whole_or_is_made_by_the_next() {
    for (point, is_there) in [("images.releases.before-name", false), ("images.releases.after-name", true)] {
        let desk = Desk::new();
        desk.images(&[("web", &[&layer(1, 20_000)]), ("worker", &[&layer(2, 20_000)])]);
        let create = ["-f", "stack.json", "release", "create", "v1"];
        killed(&desk.site, point, 1, &create);
        let again = desk.site.run(&create);
        match is_there {
            true => again.failure(1),
            false => again.success(),
        };
        let list = desk.run(&["release", "list", "--json"]).success().json();
        assert_eq!(list["releases"].as_array().unwrap().len(), 1, "{point}: {list}");
        desk.pack("x.tar", &["--release", "v1", "--for", "none", "--unsigned"]);
    }
}

#[test]
fn what_has_come_of_a_large_entry_is_not_read_again() {
    let desk = Desk::new();
    let large = layer(1, 3 << 20);
    desk.images(&[("web", &[&large]), ("worker", &[&layer(2, 2000)])]);
    let package = desk.pack("all.tar", &["--for", "none", "--unsigned"]);
    let bytes = fs::read(&package).unwrap();
    let vault = machine();
    // As a disk that was pulled out: half of the large layer is there.
    fs::write(vault.file("half.tar"), &bytes[..bytes.len() / 2]).unwrap();
    unpack(&vault, &vault.file("half.tar"), &[]).failure(1);
    let incoming = vault.file("store/.dpl-store/incoming");
    let parts = fs::read_dir(incoming).unwrap().filter(|entry| {
        let entry = entry.as_ref().unwrap();
        entry.file_name().to_string_lossy().ends_with(".part") && entry.metadata().unwrap().len() > 500_000
    });
    assert_eq!(parts.count(), 1, "what has come is kept");
    let said = unpack(&vault, &package, &["--json"]).success().json();
    let read = said["receipt"]["bytes"].as_u64().unwrap();
    assert!(read < bytes.len() as u64 * 3 / 4, "{read} of {}", bytes.len());
    assert_eq!(images(&vault), images(&desk.site));
}
