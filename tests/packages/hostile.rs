//! Packages that somebody damaged, cut or made up.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::desk::{Desk, layer, machine, names, tree, unpack};
use crate::support::Site;

fn small_package(desk: &Desk) -> PathBuf {
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 2000)])]);
    desk.pack("all.tar", &["--for", "none", "--unsigned"])
}

/// Nothing may have a name that is not what the desk packed.
fn assert_sound(machine: &Site, whole: &Site, case: &str) {
    let all = tree(whole.path());
    for (path, digest) in tree(machine.path()) {
        if path.ends_with(".part") || path == "bad.tar" || path.starts_with("store/index.json") {
            continue;
        }
        assert!(all.contains(&(path.clone(), digest)), "{case}: {path}");
    }
    assert!(names(machine).iter().all(|name| names(whole).contains(name)), "{case}");
}

#[test]
fn flipped_bits_and_cuts_are_found_and_name_nothing() {
    let desk = Desk::new();
    let package = small_package(&desk);
    let whole = machine();
    unpack(&whole, &package, &[]).success();
    let bytes = fs::read(&package).unwrap();
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for number in 0..120 {
        let bit = number * (bytes.len() * 8 - 1) / 119;
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        cases.push((format!("bit {bit}"), flipped));
    }
    for number in 0..60 {
        let end = number * (bytes.len() - 1) / 59;
        cases.push((format!("cut at {end}"), bytes[..end].to_vec()));
    }
    crate::support::side_by_side(2, &cases, |(case, bytes)| {
        let vault = machine();
        fs::write(vault.file("bad.tar"), bytes).unwrap();
        let run = unpack(&vault, &vault.file("bad.tar"), &[]);
        assert!(!run.stderr.contains("panicked") && [0, 1].contains(&run.code), "{case}: {run:?}");
        if run.code == 0 {
            // The bit was in what nobody reads: who made it, or the padding.
            assert!(case.starts_with("bit"), "{case}");
        }
        assert_sound(&vault, &whole, case);
    });
}

/// A package with another index before the entries of this one, sealed as it must be; headers say what the index says.
fn write_package(path: &std::path::Path, index: &serde_json::Value, package: &[u8]) {
    use dpl::images::archive::{END_MARK, file_header, padding};
    let mut bytes = Vec::new();
    let mut add = |name: &str, said: u64, content: &[u8]| {
        bytes.extend_from_slice(&file_header(name, said));
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + padding(content.len() as u64) as usize, 0);
    };
    let content = serde_json::to_vec(index).unwrap();
    add("dpl-package.json", content.len() as u64, &content);
    let seal = format!("{}  dpl-package.json\n", dpl::fs::Digest::of(&content).hex());
    add("dpl-package.json.sha256", seal.len() as u64, seal.as_bytes());
    let mut archive = tar::Archive::new(package);
    for entry in archive.entries().unwrap().skip(2) {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        let entries = index["entries"].as_array().unwrap();
        let said = entries.iter().find(|entry| entry["name"] == *name).and_then(|entry| entry["bytes"].as_u64());
        add(&name, said.unwrap_or(content.len() as u64), &content);
    }
    bytes.extend_from_slice(&END_MARK);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_made_up_index_writes_nowhere_else() {
    let desk = Desk::new();
    let package = small_package(&desk);
    let text = fs::read(&package).unwrap();
    let index: serde_json::Value = {
        let mut archive = tar::Archive::new(text.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        serde_json::from_reader(entry).unwrap()
    };
    type Change = fn(&mut serde_json::Value);
    let changes: &[(&str, Change)] = &[
        ("a path that leads out", |index| index["files"][0]["path"] = json!("../../escaped")),
        ("an absolute path", |index| index["files"][0]["path"] = json!("/tmp/dpl-escaped")),
        ("a manifest elsewhere", |index| index["manifest"] = json!("/etc/stack.json")),
        ("a size beyond all", |index| index["entries"][2]["bytes"] = json!(u64::MAX)),
        ("a negative size", |index| index["entries"][2]["bytes"] = json!(-1)),
        ("an entry of another name", |index| index["entries"][2]["name"] = json!("store/index.json")),
        ("a project with an escape sequence", |index| index["project"] = json!("p\u{1b}]0;x\u{7}")),
        ("a format to come", |index| index["format"] = json!(2)),
        ("deep nesting", |index| {
            let mut deep = json!(1);
            for _ in 0..100 {
                deep = json!([deep]);
            }
            index["needs"]["layers"] = deep;
        }),
        ("an image without layers that it needs", |index| {
            index["entries"]
                .as_array_mut()
                .unwrap()
                .retain(|entry| !entry["name"].as_str().unwrap().starts_with("blobs"));
        }),
    ];
    for (case, change) in changes {
        let mut changed = index.clone();
        change(&mut changed);
        let vault = machine();
        write_package(&vault.file("bad.tar"), &changed, &text);
        let run = unpack(&vault, &vault.file("bad.tar"), &[]).failure(1);
        let is_of_the_index = !run.stderr.contains("not a package") && !run.stderr.contains("its digest");
        assert!(!run.stderr.contains("panicked") && is_of_the_index, "{case}: {}", run.stderr);
        assert!(!run.stderr.contains('\u{1b}'), "{case}: {}", run.stderr);
        assert_eq!(fs::read_dir(vault.path()).unwrap().count(), 1, "{case}: nothing was written");
    }
    assert!(!std::path::Path::new("/tmp/dpl-escaped").exists());
}

#[test]
fn a_package_does_not_say_how_far_above_the_manifest_the_folder_lies() {
    let desk = Desk::new();
    let package = small_package(&desk);
    let bytes = fs::read(&package).unwrap();
    let mut index: serde_json::Value = {
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        serde_json::from_reader(entry).unwrap()
    };
    let vault = machine();
    unpack(&vault, &package, &[]).success();
    // As deep as the vault's own folder lies, by other names and by the same ones.
    let same = vault.file("stack.json").display().to_string().trim_start_matches('/').to_owned();
    for deep in ["x/y/stack.json", &same] {
        for file in index["files"].as_array_mut().unwrap() {
            if file["purpose"] == "manifest" {
                file["path"] = json!(deep);
            }
        }
        index["manifest"] = json!(deep);
        write_package(&vault.file("bad.tar"), &index, &bytes);
        let planned = vault.run(&["-f", "stack.json", "--json", "package", "plan", "bad.tar"]).success().json();
        assert_eq!(planned["plan"]["space"][0]["folder"], "SITE", "{deep}: {planned}");
        // From elsewhere nobody can tell.
        let elsewhere = machine();
        let (own, path) = (vault.file("stack.json"), vault.file("bad.tar"));
        let (own, path) = (own.display().to_string(), path.display().to_string());
        let refused = elsewhere.run(&["-f", &own, "unpack", &path, "--yes"]).failure(2);
        assert!(refused.stderr.contains("--folder"), "{deep}: {}", refused.stderr);
    }
}

#[test]
fn a_manifest_in_a_folder_of_the_project_is_found_there_again() {
    let desk = Desk::new();
    small_package(&desk);
    let text = fs::read_to_string(desk.site.file("stack.json")).unwrap();
    let text =
        text.replace("\"store\"", "\"../store\"").replace("seeds/d", "../seeds/d").replace("conf/web", "../conf/web");
    desk.site.write("manifests/stack.json", &text);
    let deep = ["-f", "manifests/stack.json"];
    let pack = ["pack", "--folder", ".", "--for", "none", "--unsigned", "-o", "deep.tar"];
    desk.site.run(&[&deep[..], &pack].concat()).success();
    let path = desk.site.file("deep.tar").display().to_string();
    let vault = machine();
    vault.run(&["unpack", &path, "--yes"]).success();
    assert!(vault.file("manifests/stack.json").exists() && vault.file("conf/web.conf").exists());
    // From the project's folder, and from elsewhere, since something has come into it before.
    let own = vault.file("manifests/stack.json").display().to_string();
    for (from, manifest) in [(&vault, "manifests/stack.json"), (&machine(), own.as_str())] {
        let planned = from.run(&["-f", manifest, "--json", "package", "plan", &path]).success().json();
        let files = planned["plan"]["files"].as_array().unwrap();
        assert!(!files.is_empty() && files.iter().all(|file| file["result"] == "unchanged"), "{planned}");
    }
}

/// A package whose manifest puts the seed there; the seed is one file.
fn package_with_seed_at(desk: &Desk, place: &str) -> PathBuf {
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 2000)])]);
    let text = fs::read_to_string(desk.site.file("stack.json")).unwrap();
    desk.site.write("stack.json", &text.replace("\"seeds/d\"", &format!("{place:?}")));
    desk.pack("all.tar", &["--for", "none", "--unsigned"])
}

#[test]
fn no_seed_is_put_among_the_records_and_keys_of_dpl() {
    let desk = Desk::new();
    desk.site.write(".dpl/seed", "PGDMP");
    let package = package_with_seed_at(&desk, ".dpl/seed");
    let vault = machine();
    let refused = unpack(&vault, &package, &[]).failure(1);
    assert!(refused.stderr.contains("keeps for itself"), "{}", refused.stderr);
    assert!(!vault.file(".dpl/seed").exists() && names(&vault).is_empty());
}

#[test]
fn what_an_unsigned_package_writes_outside_of_the_folder_is_shown_and_asked_for() {
    let desk = Desk::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let place = elsewhere.path().join("seed");
    fs::write(&place, "PGDMP").unwrap();
    let shown = place.display().to_string();
    let package = package_with_seed_at(&desk, &shown);
    fs::remove_file(&place).unwrap();
    let vault = machine();
    let path = package.display().to_string();
    let planned = vault.run(&["--json", "package", "plan", &path]).success().json();
    assert_eq!(planned["outside"], json!([shown]), "{planned}");
    let planned = vault.run(&["package", "plan", &path]).success();
    assert!(planned.stdout.contains("outside of that folder") && planned.stdout.contains(&shown), "{planned:?}");
    let refused = vault.run(&["unpack", &path]).failure(2);
    assert!(refused.stderr.contains("No trusted key signed this"), "{}", refused.stderr);
    assert!(!place.exists() && names(&vault).is_empty());
    // Where somebody has said yes, the place is known.
    unpack(&vault, &package, &[]).success();
    assert_eq!(fs::read_to_string(&place).unwrap(), "PGDMP");
    fs::write(&place, "PGDMP, newer").unwrap();
    let newer = desk.pack("newer.tar", &["--for", "none", "--unsigned"]).display().to_string();
    fs::write(&place, "PGDMP").unwrap();
    let plan = || vault.run(&["-f", "stack.json", "--json", "package", "plan", &newer]).success().json();
    let planned = plan();
    assert_eq!(planned["plan"]["seeds"][0]["result"], "replaced", "{planned}");
    assert_eq!(planned["outside"], serde_json::Value::Null, "{planned}");
    let replaced = vault.run(&["-f", "stack.json", "unpack", &newer, "--overwrite"]).failure(2);
    assert!(replaced.stderr.contains("No trusted key signed this"), "{}", replaced.stderr);
    // The manifest here has come in a package as well: where nothing is, nobody has put anything yet.
    fs::remove_file(&place).unwrap();
    assert_eq!(plan()["outside"], json!([shown]));
}

#[test]
fn a_package_that_says_it_is_larger_than_any_disk_is_refused_before_anything_is_written() {
    let desk = Desk::new();
    let package = small_package(&desk);
    let bytes = fs::read(&package).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut index: serde_json::Value = {
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        serde_json::from_reader(entry).unwrap()
    };
    let blob = index["images"][0]["layers"][0]["blob"].clone();
    let much = json!(1_u64 << 45);
    index["images"][0]["layers"][0]["bytes"] = much.clone();
    let entries = index["entries"].as_array_mut().unwrap();
    entries.iter_mut().find(|entry| entry["digest"] == blob).unwrap()["bytes"] = much;
    let vault = machine();
    write_package(&vault.file("bad.tar"), &index, &bytes);
    let refused = unpack(&vault, &vault.file("bad.tar"), &[]).failure(1);
    assert!(refused.stderr.contains("free, and needs"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(vault.path()).unwrap().count(), 1);
    // Nobody believes it who does not look at the disk, either.
    unpack(&vault, &vault.file("bad.tar"), &["--no-space-check"]).failure(1);
    assert!(!vault.file("stack.json").exists() && names(&vault).is_empty());
}

#[test]
fn what_is_not_a_package_is_told() {
    let vault = machine();
    for (name, content) in [("empty", &b""[..]), ("text", b"hello"), ("zeros", &[0; 4096])] {
        fs::write(vault.file(name), content).unwrap();
        let run = unpack(&vault, &vault.file(name), &[]).failure(1);
        assert!(run.stderr.contains("not a package"), "{}", run.stderr);
    }
    let run = unpack(&vault, vault.path(), &[]).failure(1);
    assert!(run.stderr.contains("directory"), "{}", run.stderr);
    unpack(&vault, &vault.file("missing"), &[]).failure(1);
}

#[test]
fn parts_of_two_packages_are_no_package_and_the_wrong_one_is_named() {
    let desk = Desk::new();
    let pack = |name: &str, seed: u64| {
        desk.images(&[("web", &[&layer(seed, 150_000)]), ("worker", &[&layer(2, 2000)])]);
        desk.pack(name, &["--for", "none", "--unsigned", "--split", "64k"]);
    };
    pack("one.tar", 1);
    pack("two.tar", 3);
    let part = |name: &str, number: u32| desk.site.file(&format!("{name}.{number:03}")).display().to_string();
    let vault = machine();
    let [one, two, three] = [part("one.tar", 1), part("two.tar", 2), part("one.tar", 3)];
    let refused = vault.run(&["unpack", &one, &two, &three, "--yes"]).failure(1);
    assert!(refused.stderr.contains("two.tar.002 is a part of another package"), "{}", refused.stderr);
    // The same by their names, and one behind the other.
    fs::copy(&two, part("one.tar", 2)).unwrap();
    unpack(&vault, one.as_ref(), &[]).failure(1);
    let piped: Vec<u8> = [&one, &two, &three].into_iter().flat_map(|path| fs::read(path).unwrap()).collect();
    fs::write(vault.file("piped"), piped).unwrap();
    let mut command = vault.command(&["unpack", "-", "--yes"]);
    let run = command.stdin(fs::File::open(vault.file("piped")).unwrap()).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    assert!(names(&vault).is_empty() && !vault.file("stack.json").exists());
}
