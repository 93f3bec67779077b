//! Layers that travel as what they differ in from those that a machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dpl::images::archive::file_header;
use serde_json::json;

use crate::desk::{Desk, images, layer, machine, names, tree, unpack};
use crate::support::{Site, repository};

/// Bytes that don't compress.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    layer(seed, size)[512..512 + size].to_vec()
}

/// A layer of files, all of one time.
fn files(time: u64, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(time);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A layer of libraries in a version: one of them differs, and all times do.
fn libraries(version: u64, size: usize) -> Vec<u8> {
    let mut changed = noise(50, size);
    let middle = size / 2;
    changed.splice(middle..middle, format!("version {version}").into_bytes());
    let name = format!("lib/two-{version}.0.dist-info/two.so");
    files(version, &[("lib/one.so", &noise(51, size)), (&name, &changed), ("lib/three.so", &noise(52, size))])
}

/// A desk with a release `v1` whose images share a layer, and a machine that has it.
struct Delivered {
    desk: Desk,
    vault: Site,
    base: Vec<u8>,
}

/// Libraries of that size.
const SIZE: usize = 300_000;

impl Delivered {
    fn v1(size: usize) -> Self {
        let (desk, vault, base) = (Desk::new(), machine(), layer(1, 20_000));
        let delivered = Self { desk, vault, base };
        let first = delivered.release(1, size, &["--for", "none"]);
        unpack(&delivered.vault, &first, &[]).success();
        delivered
    }

    /// Makes the images and the release of a version, and packs it.
    fn release(&self, version: u64, size: usize, pack: &[&str]) -> PathBuf {
        self.images(version, size);
        let name = format!("v{version}");
        self.desk.run(&["release", "create", &name]).success();
        self.pack(version, pack)
    }

    fn images(&self, version: u64, size: usize) {
        let libraries = libraries(version, size);
        self.desk.images(&[("web", &[&self.base, &libraries]), ("worker", &[&self.base, &libraries])]);
    }

    fn pack(&self, version: u64, pack: &[&str]) -> PathBuf {
        let name = format!("v{version}");
        let file = format!("{name}{}.tar", pack.join("").replace([':', '/'], ""));
        self.desk.pack(&file, &[&["--release", &name, "--unsigned"], pack].concat())
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_changed_layer_travels_as_a_delta_and_comes_back_bit_for_bit() {
    let delivered = Delivered::v1(SIZE);
    let Delivered { desk, vault, .. } = &delivered;
    let whole = delivered.release(2, SIZE, &["--for", "v1", "--delta", "off"]);
    let output = desk.site.file("v2.tar").display().to_string();
    let pack = ["--json", "pack", "--release", "v2", "--for", "v1", "--unsigned", "--output", &output];
    let packed = desk.run(&pack).success().json();
    assert_eq!(packed["deltas"]["layers"], 1, "{packed}");
    assert!(packed["goals"][0]["bytes"].as_u64().unwrap() < 30_000, "{packed}");
    let package = desk.site.file("v2.tar");
    assert!(size(&whole) > 3 * SIZE as u64 && size(&package) < 40_000, "{} {}", size(&whole), size(&package));

    let shown = desk.run(&["package", "show", &output]).success();
    assert!(shown.stderr.contains("1 layer is packed as a delta"), "{}", shown.stderr);
    let plan = vault.run(&["-f", "stack.json", "--json", "package", "plan", &output]).success().json();
    let delta = &plan["plan"]["deltas"][0];
    assert!(delta["whole_bytes"].as_u64().unwrap() > 3 * SIZE as u64, "{plan}");
    assert_eq!(plan["plan"]["images"][0]["layers_to_send"], 1, "{plan}");
    // The layer, and what it is rebuilt from.
    assert!(plan["plan"]["space"][0]["needed"].as_u64().unwrap() > 6 * SIZE as u64, "{plan}");

    let said = unpack(vault, &package, &["--json"]).success().json();
    assert_eq!((&said["receipt"]["rebuilt_layers"], &said["receipt"]["images"]), (&json!(1), &json!(2)), "{said}");
    assert_eq!(images(vault), images(&desk.site));
    vault.run(&["-f", "stack.json", "images", "verify"]).success();
    let receipt = vault.run(&["-f", "stack.json", "receipt"]).success().stdout;
    assert!(receipt.contains("1 layer rebuilt from deltas"), "{receipt}");
    let incoming = fs::read_dir(vault.file("store/.dpl-store/incoming")).unwrap().count();
    assert_eq!(incoming, 0, "the delta has done its work");
    // Again, nothing is lacking.
    let again = unpack(vault, &package, &["--json"]).success().json();
    assert_eq!((&again["receipt"]["rebuilt_layers"], &again["plan"]["deltas"]), (&json!(0), &json!(null)), "{again}");
}

#[test]
fn a_release_that_is_two_behind_is_brought_by_one_package_and_a_chain_in_its_order_alone() {
    let delivered = Delivered::v1(SIZE);
    let Delivered { desk, vault, .. } = &delivered;
    let second = delivered.release(2, SIZE, &["--for", "v1"]);
    let third = delivered.release(3, SIZE, &["--for", "v2"]);
    let over_two = delivered.pack(3, &["--for", "v1"]);
    for package in [&second, &third, &over_two] {
        assert!(size(package) < 40_000, "{}: {}", package.display(), size(package));
    }
    let before = tree(&vault.file("store"));
    let refused = unpack(vault, &third, &[]).failure(1);
    assert!(refused.stderr.contains("takes for granted") && refused.stderr.contains("web:1"), "{}", refused.stderr);
    assert!(refused.stderr.contains("in their order"), "{}", refused.stderr);
    assert_eq!(tree(&vault.file("store")), before);

    let copy = copy_of(vault);
    unpack(&copy, &over_two, &[]).success();
    assert_eq!(images(&copy), images(&desk.site));
    unpack(vault, &second, &[]).success();
    // What the second one rebuilt is what the third one is rebuilt from.
    unpack(vault, &third, &[]).success();
    assert_eq!(images(vault), images(&desk.site));
    vault.run(&["-f", "stack.json", "images", "verify"]).success();

    let empty = machine();
    let refused = unpack(&empty, &third, &[]).failure(1);
    assert!(refused.stderr.contains("takes for granted"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

fn copy_of(machine: &Site) -> Site {
    let copy = Site::new();
    let copied = Command::new("cp").arg("-a").arg(machine.file(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    copy
}

#[test]
fn several_machines_get_a_delta_where_all_of_them_have_what_it_is_made_of() {
    let delivered = Delivered::v1(SIZE);
    let Delivered { desk, vault, .. } = &delivered;
    let inventory = |machine: &Site, name: &str, arguments: &[&str]| {
        let said = machine.run(&[arguments, &["inventory"]].concat()).success().stdout;
        desk.site.write(name, &said);
    };
    inventory(vault, "one.inventory", &["-f", "stack.json"]);
    inventory(&copy_of(vault), "two.inventory", &["-f", "stack.json"]);
    inventory(&machine(), "empty.inventory", &[]);
    delivered.images(2, SIZE);
    let pack = |goals: &[&str]| {
        let goals: Vec<&str> = goals.iter().flat_map(|goal| ["--for", goal]).collect();
        let said = desk.run(&[&["--json", "pack", "--unsigned", "--yes", "-o", "x.tar"], &goals[..]].concat());
        said.success().json()["deltas"]["layers"].as_u64().unwrap()
    };
    assert_eq!(pack(&["one.inventory", "two.inventory", "release:v1"]), 1);
    assert_eq!(pack(&["one.inventory", "empty.inventory"]), 0, "it would be carried twice");
    assert_eq!(pack(&["empty.inventory"]), 0);
    assert_eq!(pack(&["one.inventory"]), 1);
    unpack(vault, &desk.site.file("x.tar"), &[]).success();
    assert_eq!(images(vault), images(&desk.site));
}

#[test]
fn a_part_that_is_lost_is_made_again_with_the_same_deltas() {
    let delivered = Delivered::v1(SIZE);
    // Files come first, so that the delta is in the last part.
    delivered.desk.site.write("conf/web.conf", &"x".repeat(150_000));
    delivered.release(2, SIZE, &["--for", "v1", "--split", "64k"]);
    let name = "v2--forv1--split64k.tar";
    let part = |number: u32| delivered.desk.site.file(&format!("{name}.{number:03}"));
    let lost = fs::read(part(3)).unwrap();
    assert!(lost.windows(12).any(|window| window == b"dpl-delta 1\n") && !part(4).exists());
    fs::remove_file(part(3)).unwrap();
    let output = delivered.desk.site.file(name).display().to_string();
    let again =
        ["pack", "--release", "v2", "--unsigned", "--for", "v1", "--split", "64k", "--part", "3", "-o", &output];
    // One thread makes what two made.
    let command = delivered.desk.site.command(&[&["-f", "stack.json"], &again[..]].concat());
    let mut on_one_core = Command::new("taskset");
    on_one_core.args(["-c", &first_core()]).arg(command.get_program()).args(command.get_args());
    on_one_core.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => on_one_core.env(name, value),
            None => on_one_core.env_remove(name),
        };
    }
    let made = on_one_core.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(fs::read(part(3)).unwrap() == lost);
    unpack(&delivered.vault, &part(1), &[]).success();
    assert_eq!(images(&delivered.vault), images(&delivered.desk.site));
}

/// A core that this process may run on.
fn first_core() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    cores.trim().split(['-', ',']).next().unwrap().to_owned()
}

#[test]
fn a_delta_is_used_where_it_is_worth_it() {
    let delivered = Delivered::v1(SIZE);
    let desk = &delivered.desk;
    let other = files(2, &[("lib/other.so", &noise(90, SIZE))]);
    let small = files(2, &[("lib/one.so", &noise(51, SIZE)[..20_000])]);
    desk.images(&[("web", &[&delivered.base, &other]), ("worker", &[&delivered.base, &small])]);
    let pack = |more: &[&str]| {
        let said = desk.run(&[&["--json", "pack", "--unsigned", "--yes", "-o", "x.tar", "--for", "v1"], more].concat());
        said.success().json()["deltas"]["layers"].as_u64().unwrap()
    };
    assert_eq!((pack(&[]), pack(&["--delta", "off"])), (0, 0));
    assert!(pack(&["--delta", "always"]) > 0);
    // A plan makes none.
    let said = desk.run(&["pack", "--unsigned", "-o", "y.tar", "--for", "v1", "--dry-run"]).success();
    assert!(said.stderr.contains("may become smaller as deltas"), "{}", said.stderr);
    for level in ["0", "20", "x"] {
        desk.run(&["pack", "--unsigned", "-o", "y.tar", "--for", "v1", "--delta-level", level]).failure(2);
    }
}

#[test]
fn flipped_bits_and_cuts_are_found_and_name_nothing() {
    let delivered = Delivered::v1(40_000);
    let package = delivered.release(2, 40_000, &["--for", "v1", "--delta", "always"]);
    let bytes = fs::read(&package).unwrap();
    let whole = copy_of(&delivered.vault);
    unpack(&whole, &package, &[]).success();
    let is_delta = |window: &[u8]| window == b"dpl-delta 1\n";
    let begin = bytes.windows(12).position(is_delta).unwrap();
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for number in 0..40 {
        // All of the delta, which has some kilobytes, and all else.
        let byte = if number % 2 == 0 { begin + number * 40 } else { number * (bytes.len() - 1) / 39 };
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1 << (number % 8);
        cases.push((format!("byte {byte}"), flipped));
    }
    for number in 0..12 {
        let end = begin - 600 + number * 300;
        cases.push((format!("cut at {end}"), bytes[..end].to_vec()));
    }
    let (before, after) = (images(&delivered.vault), images(&whole));
    crate::support::side_by_side(2, &cases, |(case, bytes)| {
        let vault = copy_of(&delivered.vault);
        fs::write(vault.file("bad.tar"), bytes).unwrap();
        let run = unpack(&vault, &vault.file("bad.tar"), &[]);
        assert!(!run.stderr.contains("panicked") && [0, 1].contains(&run.code), "{case}: {run:?}");
        assert_eq!(images(&vault), if run.code == 0 { after.clone() } else { before.clone() }, "{case}");
        assert!(run.code == 1 || case.starts_with("byte"), "{case}");
        // What has come does not keep the next one from being right.
        unpack(&vault, &package, &[]).success();
        assert_eq!(images(&vault), after, "{case}");
        vault.run(&["-f", "stack.json", "images", "verify"]).success();
    });
}

#[test]
fn a_layer_that_is_damaged_where_it_is_rebuilt_from_is_told_and_nothing_is_named() {
    let delivered = Delivered::v1(SIZE);
    let Delivered { desk, vault, .. } = &delivered;
    let before = images(vault);
    let package = delivered.release(2, SIZE, &["--for", "v1"]);
    let blobs = fs::read_dir(vault.file("store/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let large = blobs.max_by_key(|path| size(path)).unwrap();
    let whole = fs::read(&large).unwrap();
    let mut damaged = whole.clone();
    damaged[500_000] ^= 1;
    fs::write(&large, damaged).unwrap();
    let refused = unpack(vault, &package, &[]).failure(1);
    assert!(refused.stderr.contains("damaged"), "{}", refused.stderr);
    assert_eq!(images(vault), before);
    fs::write(&large, whole).unwrap();
    unpack(vault, &package, &[]).success();
    assert_eq!(images(vault), images(&desk.site));
}

#[test]
fn a_delta_of_another_layer_than_the_index_says_is_refused() {
    let delivered = Delivered::v1(40_000);
    let package = delivered.release(2, 40_000, &["--for", "v1", "--delta", "always"]);
    let before = images(&delivered.vault);
    type Change = fn(&mut serde_json::Value);
    let changes: &[(&str, &str, Change)] = &[
        ("another size", "the delta that the package tells of", |index| {
            let bytes = index["deltas"][0]["bytes"].as_u64().unwrap();
            index["deltas"][0]["bytes"] = json!(bytes + 512);
        }),
        ("no base", "the delta that the package tells of", |index| index["deltas"][0]["bases"] = json!([])),
        ("a base of another size", "the delta that the package tells of", |index| {
            index["deltas"][0]["bases"][0]["bytes"] = json!(1);
        }),
        ("a size beyond all disks", "damaged", |index| index["deltas"][0]["bytes"] = json!(u64::MAX)),
        ("more than there is room for", "free", |index| {
            index["deltas"][0]["bases"][0]["bytes"] = json!(1_u64 << 49);
        }),
    ];
    let taken = copy_of(&delivered.vault);
    rewritten(&package, &taken.file("same.tar"), &|_| {});
    unpack(&taken, &taken.file("same.tar"), &[]).success();
    for (case, why, change) in changes {
        let vault = copy_of(&delivered.vault);
        rewritten(&package, &vault.file("bad.tar"), change);
        let run = unpack(&vault, &vault.file("bad.tar"), &[]).failure(1);
        assert!(run.stderr.contains(why) && !run.stderr.contains("panicked"), "{case}: {}", run.stderr);
        assert_eq!(images(&vault), before, "{case}");
    }
}

/// A package with another index, and headers as dpl writes them.
fn rewritten(package: &Path, to: &Path, change: &dyn Fn(&mut serde_json::Value)) {
    let bytes = fs::read(package).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut entries = archive.entries().unwrap();
    let mut index: serde_json::Value = serde_json::from_reader(entries.next().unwrap().unwrap()).unwrap();
    // Behind its own seal.
    let rest = entries.nth(1).unwrap().unwrap().raw_header_position();
    change(&mut index);
    let content = serde_json::to_vec(&index).unwrap();
    let seal = format!("{}  dpl-package.json\n", dpl::fs::Digest::of(&content).hex());
    let entry = |name: &str, content: &[u8]| {
        let padding = vec![0; content.len().wrapping_neg() % 512];
        [&file_header(name, content.len() as u64)[..], content, &padding].concat()
    };
    let own = [entry("dpl-package.json", &content), entry("dpl-package.json.sha256", seal.as_bytes())].concat();
    fs::write(to, [&own, &bytes[rest as usize..]].concat()).unwrap();
}

#[test]
fn the_script_of_the_docs_rebuilds_the_layer_of_an_entry_that_tar_takes_out() {
    let delivered = Delivered::v1(SIZE);
    let package = delivered.release(2, SIZE, &["--for", "v1"]);
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let run = Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(run.status.success(), "{run:?}");
    };
    run("tar", &["-xf", &package.display().to_string(), "deltas"]);
    let deltas = fs::read_dir(folder.path().join("deltas/sha256")).unwrap();
    let delta = deltas.map(|entry| entry.unwrap().path()).next().unwrap();
    fs::write(folder.path().join("old.tar"), libraries(1, SIZE)).unwrap();
    let script = repository().join("docs/rebuild_layer.py").display().to_string();
    run("python3", &[&script, &delta.display().to_string(), "new.tar", "old.tar"]);
    assert!(fs::read(folder.path().join("new.tar")).unwrap() == libraries(2, SIZE));
}

const UNPACK: [&str; 6] = [
    "packages.unpack.before-rebuild",
    "images.save.before-record",
    "images.save.before-blob",
    "images.save.after-blob",
    "packages.unpack.after-rebuild",
    "packages.unpack.before-names",
];

fn killed(site: &Site, point: &str, arguments: &[&str]) {
    let mut command = site.command(arguments);
    command.env("DPL_FAILPOINT", point);
    let status = command.output().unwrap().status;
    assert!(status.code().is_none(), "{point} was not passed: {status}");
}

#[test]
fn a_rebuilding_that_is_killed_anywhere_is_done_by_the_next() {
    let delivered = Delivered::v1(SIZE);
    let package = delivered.release(2, SIZE, &["--for", "v1"]);
    let path = package.display().to_string();
    let before = images(&delivered.vault);
    crate::support::side_by_side(2, &UNPACK, |point| {
        let vault = copy_of(&delivered.vault);
        killed(&vault, point, &["unpack", &path, "--yes"]);
        assert_eq!(images(&vault), before, "{point}");
        unpack(&vault, &package, &[]).success();
        assert_eq!(images(&vault), images(&delivered.desk.site), "{point}");
        vault.run(&["-f", "stack.json", "images", "verify"]).success();
        let left = vault.run(&["-f", "stack.json", "--json", "images", "prune", "--yes"]).success().json();
        // The libraries of the first release alone.
        assert!(left["freed_bytes"].as_u64().unwrap() < 3 * SIZE as u64 + 100_000, "{point}: {left}");
    });
}

#[test]
fn a_pack_that_is_killed_while_it_makes_a_delta_leaves_nothing_behind() {
    let delivered = Delivered::v1(SIZE);
    let desk = &delivered.desk;
    delivered.images(2, SIZE);
    desk.run(&["release", "create", "v2"]).success();
    let before = tree_of_store(desk);
    let pack = ["-f", "stack.json", "pack", "--release", "v2", "--for", "v1", "--unsigned", "-o", "x.tar"];
    for point in ["packages.pack.before-delta", "packages.pack.before-entry"] {
        killed(&desk.site, point, &pack);
        assert_eq!(tree_of_store(desk), before, "{point}");
    }
    desk.run(&pack[2..]).success();
    unpack(&delivered.vault, &desk.site.file("x.tar"), &[]).success();
    assert_eq!(names(&delivered.vault), names(&desk.site));
}

/// Everything in the store, its own folder too.
fn tree_of_store(desk: &Desk) -> Vec<String> {
    let mut paths = Vec::new();
    let mut folders = vec![desk.site.file("store")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => paths.push(path.display().to_string()),
            }
        }
    }
    paths.sort();
    paths
}

/// A disk of its own over a machine's image store, with what was in it.
struct StoreDisk(PathBuf);

impl StoreDisk {
    fn under(machine: &Site, options: &str) -> Self {
        let store = machine.file("store");
        let before = machine.file("store.before");
        fs::rename(&store, &before).unwrap();
        fs::create_dir(&store).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &store.display().to_string()]);
        let disk = Self(store);
        run("cp", &["-a", &before.join(".").display().to_string(), &disk.0.display().to_string()]);
        fs::remove_dir_all(before).unwrap();
        disk
    }

    fn becomes(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), &self.0.display().to_string()]);
    }
}

impl Drop for StoreDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_disk_without_room_is_told_before_and_one_that_fills_up_names_nothing() {
    let delivered = Delivered::v1(SIZE);
    let package = delivered.release(2, SIZE, &["--for", "v1"]);
    let before = images(&delivered.vault);
    // No room for what the layer is rebuilt from; room for that, and none for the layer.
    for options in ["size=1500k", "size=2200k"] {
        let vault = copy_of(&delivered.vault);
        let disk = StoreDisk::under(&vault, options);
        let told = unpack(&vault, &package, &[]).failure(1);
        assert!(told.stderr.contains("free, and needs"), "{options}: {}", told.stderr);
        let full = unpack(&vault, &package, &["--no-space-check"]).failure(1);
        assert!(full.stderr.contains("space") && !full.stderr.contains("panicked"), "{options}: {}", full.stderr);
        assert_eq!(images(&vault), before, "{options}");
        disk.becomes("size=8m");
        // The delta has come already.
        let said = unpack(&vault, &package, &["--json"]).success().json();
        assert_eq!(said["receipt"]["rebuilt_layers"], 1, "{options}: {said}");
        assert!(said["plan"]["deltas"][0]["arrived"].as_u64().unwrap() > 0, "{options}: {said}");
        assert_eq!(images(&vault), images(&delivered.desk.site), "{options}");
        vault.run(&["-f", "stack.json", "images", "verify"]).success();
    }
}
