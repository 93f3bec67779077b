//! Releases from a desk to machines, by files alone.

use std::fs;
use std::process::Command;

use crate::desk::{Desk, images, layer, machine, names, unpack};

#[test]
fn three_releases_in_a_row_arrive_by_files_alone_each_with_what_is_new() {
    let desk = Desk::new();
    let (base, one, two) = (layer(1, 400_000), layer(2, 50_000), layer(3, 60_000));
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v1"]).success();
    let first = desk.pack("v1.dpl.tar", &["--release", "v1", "--for", "none", "--unsigned"]);

    let vault = machine();
    let said = unpack(&vault, &first, &["--json"]).success().json();
    assert_eq!(said["receipt"]["images"], 2, "{said}");
    assert_eq!(names(&vault), ["web:1", "worker:1"]);
    assert_eq!(fs::read_to_string(vault.file("conf/web.conf")).unwrap(), "listen 80\n");
    assert_eq!(fs::read_to_string(vault.file("seeds/d/archive/toc.dat")).unwrap(), "PGDMP of d");
    vault.run(&["-f", "stack.json", "images", "verify"]).success();

    desk.manifest("2");
    desk.images(&[("web", &[&base, &two]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v2"]).success();
    let second = desk.pack("v2.dpl.tar", &["--release", "v2", "--for", "v1", "--unsigned"]);
    let size = fs::metadata(&second).unwrap().len();
    assert!(size < 90_000, "the base and the seed stay at home: {size}");
    let said = unpack(&vault, &second, &["--json"]).success().json();
    assert_eq!(said["plan"]["files"].as_array().unwrap().iter().filter(|file| file["result"] == "replaced").count(), 1);

    desk.site.write("seeds/d/archive/toc.dat", "PGDMP of d, newer");
    desk.images(&[("web", &[&base, &two, &one]), ("worker", &[&base, &one])]);
    desk.run(&["release", "create", "v3"]).success();
    let third = desk.pack("v3.dpl.tar", &["--release", "v3", "--for", "release:v2", "--unsigned"]);
    unpack(&vault, &third, &[]).success();
    assert_eq!(images(&vault), images(&desk.site), "the same names lead to the same images");
    assert_eq!(fs::read_to_string(vault.file("seeds/d/archive/toc.dat")).unwrap(), "PGDMP of d, newer");

    let receipts = vault.run(&["-f", "stack.json", "--json", "receipt", "--last", "9"]).success().json();
    let releases: Vec<&str> =
        receipts["receipts"].as_array().unwrap().iter().map(|receipt| receipt["release"].as_str().unwrap()).collect();
    assert_eq!(releases, ["v1", "v2", "v3"]);
    let history = vault.run(&["-f", "stack.json", "--json", "history"]).success().json();
    let commands: Vec<String> =
        history["actions"].as_array().unwrap().iter().map(|action| action["command"].to_string()).collect();
    assert_eq!(commands.iter().filter(|command| command.contains("dpl unpack")).count(), 3, "{commands:?}");
    assert!(history["actions"].as_array().unwrap().iter().all(|action| action["result"] == "done"), "{history}");

    let again = unpack(&vault, &second, &[]).failure(1);
    assert!(again.stderr.contains("older"), "{}", again.stderr);
    // A plan of it says so, too, before what is lacking.
    let planned = vault.run(&["-f", "stack.json", "package", "plan", &second.display().to_string()]).failure(1);
    let told = planned.stderr.find("--allow-older").unwrap_or_else(|| panic!("{}", planned.stderr));
    assert!(planned.stderr.find("takes for granted").is_some_and(|lacks| told < lacks), "{}", planned.stderr);
    // The way back needs the seed of then, which the package took for granted.
    let again = unpack(&vault, &second, &["--allow-older"]).failure(1);
    assert!(again.stderr.contains("seeds") && again.stderr.contains("granted: d"), "{}", again.stderr);
}

#[test]
fn a_plan_says_of_an_older_release_over_a_newer_one_what_unpack_says() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 1_000)]), ("worker", &[&layer(1, 1_000)])]);
    let pack = |name: &str| {
        desk.run(&["release", "create", name]).success();
        desk.pack(&format!("{name}.tar"), &["--release", name, "--for", "none", "--unsigned"])
    };
    let (old, new) = (pack("v1"), pack("v2"));
    let vault = machine();
    let plan = |package: &std::path::Path, json: &[&str]| {
        vault
            .run(&[&["-f", "stack.json"], json, &["package", "plan", &package.display().to_string()]].concat())
            .success()
    };
    unpack(&vault, &old, &[]).success();
    unpack(&vault, &new, &[]).success();
    let said = plan(&old, &[]).stderr;
    assert!(said.contains("`v1`") && said.contains("older than `v2`") && said.contains("--allow-older"), "{said}");
    assert_eq!(plan(&old, &["--json"]).json()["newer"]["release"], "v2");
    assert!(!plan(&new, &[]).stderr.contains("--allow-older"));
    assert_eq!(plan(&new, &["--json"]).json()["newer"], serde_json::Value::Null);
    let refused = unpack(&vault, &old, &[]).failure(1);
    assert!(
        refused.stderr.contains("older than `v2`") && refused.stderr.contains("--allow-older"),
        "{}",
        refused.stderr
    );
    unpack(&vault, &old, &["--allow-older"]).success();
}

#[test]
fn a_file_that_is_there_is_replaced_only_by_word() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 1_000)]), ("worker", &[&layer(1, 1_000)])]);
    desk.site.write("notes.txt", "mine");
    let pack =
        |more: &[&str]| desk.run(&[&["pack", "--for", "none", "--unsigned", "--output", "notes.txt"], more].concat());
    let refused = pack(&[]).failure(2);
    assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(desk.site.file("notes.txt")).unwrap(), "mine");
    pack(&["--yes"]).success();
    assert!(fs::metadata(desk.site.file("notes.txt")).unwrap().len() > 1_000);
}

#[test]
fn a_package_in_the_wrong_order_says_what_is_lacking_and_changes_nothing() {
    let desk = Desk::new();
    let (base, one) = (layer(1, 100_000), layer(2, 10_000));
    desk.images(&[("web", &[&base]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v1"]).success();
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v2"]).success();
    let package = desk.pack("v2.dpl.tar", &["--release", "v2", "--for", "v1", "--unsigned"]);
    let vault = machine();
    let refused = unpack(&vault, &package, &[]).failure(1);
    assert!(refused.stderr.contains("takes for granted") && refused.stderr.contains("web:1"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(vault.path()).unwrap().count(), 0);
}

#[test]
fn the_same_release_for_the_same_machine_is_the_same_bytes() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 50_000)]), ("worker", &[&layer(2, 50_000)])]);
    desk.run(&["release", "create", "v1"]).success();
    // What lies on the desk by then is another thing.
    let read = |name: &str, arguments: &[&str]| {
        let path = desk.pack(name, &[&["--release", "v1", "--for", "none"], arguments].concat());
        fs::read(path).unwrap()
    };
    let one = read("one.tar", &["--unsigned"]);
    desk.manifest("changed");
    desk.site.write("conf/web.conf", "listen 81\n");
    assert_eq!(one, read("two.tar", &["--unsigned"]));
    desk.run(&["key", "generate"]).success();
    let signed = read("three.tar", &[]);
    assert!(signed != one && signed == read("four.tar", &[]), "the signature is kept with the release");
}

#[test]
fn a_package_is_a_tar_archive_with_an_oci_layout_that_others_read() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 50_000)]), ("worker", &[&layer(2, 50_000)])]);
    let package = desk.pack("all.tar", &["--for", "none", "--unsigned"]);
    let folder = desk.site.file("out");
    fs::create_dir(&folder).unwrap();
    let script =
        "import sys, tarfile; t = tarfile.open(sys.argv[1]); t.extractall(sys.argv[2]); print(t.getnames()[0])";
    let python = Command::new("python3").args(["-c", script]).arg(&package).arg(&folder).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&python.stdout), "dpl-package.json\n", "{python:?}");
    for name in ["web:1", "worker:1"] {
        let from = format!("oci:{}:{name}", folder.display());
        let said = Command::new("skopeo").args(["inspect", "--raw", &from]).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let from = format!("oci-archive:{}:{name}", package.display());
        let said = Command::new("skopeo").args(["inspect", "--config", &from]).output().unwrap();
        assert!(said.status.success(), "{said:?}");
    }
}

#[test]
fn several_inventories_make_one_package_for_machines_at_different_states() {
    let desk = Desk::new();
    let (base, one, two) = (layer(1, 200_000), layer(2, 20_000), layer(3, 30_000));
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    let first = desk.pack("first.tar", &["--for", "none", "--unsigned"]);
    let (here, there) = (machine(), machine());
    unpack(&here, &first, &[]).success();
    let inventory = |machine: &crate::support::Site, name: &str| {
        let said = machine.run(&["-f", "stack.json", "inventory"]).success().stdout;
        desk.site.write(name, &said);
    };
    inventory(&here, "here.inventory");
    let empty = there.run(&["inventory"]).success().stdout;
    desk.site.write("there.inventory", &empty);
    desk.images(&[("web", &[&base, &two]), ("worker", &[&base])]);
    let output = desk.site.file("both.tar").display().to_string();
    let said = desk
        .run(&["--json", "pack", "--for", "here.inventory", "--for", "there.inventory", "--unsigned", "-o", &output])
        .success()
        .json();
    let (for_here, for_there) = (&said["goals"][0], &said["goals"][1]);
    assert!(for_here["bytes"].as_u64().unwrap() < 40_000 && for_here["alone_bytes"] == 0, "{said}");
    assert!(for_there["alone_bytes"].as_u64().unwrap() > 200_000, "{said}");
    for machine in [&here, &there] {
        unpack(machine, output.as_ref(), &[]).success();
        assert_eq!(images(machine), images(&desk.site));
    }
}

#[test]
fn what_was_changed_at_the_machine_stays_and_a_plan_changes_nothing() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 50_000)]), ("worker", &[&layer(2, 50_000)])]);
    let first = desk.pack("first.tar", &["--for", "none", "--unsigned"]);
    let vault = machine();
    let path = first.display().to_string();
    let planned = vault.run(&["--json", "package", "plan", &path]).success().json();
    assert_eq!(planned["plan"]["images"].as_array().unwrap().len(), 2, "{planned}");
    vault.run(&["unpack", &path, "--dry-run"]).success();
    assert_eq!(fs::read_dir(vault.path()).unwrap().count(), 0);
    unpack(&vault, &first, &[]).success();
    vault.write("conf/web.conf", "listen 8080\n");
    desk.site.write("conf/web.conf", "listen 81\n");
    desk.manifest("2");
    desk.images(&[("web", &[&layer(3, 50_000)]), ("worker", &[&layer(2, 50_000)])]);
    let second = desk.pack("second.tar", &["--for", "none", "--unsigned"]);
    let planned =
        vault.run(&["-f", "stack.json", "--json", "package", "plan", &second.display().to_string()]).success().json();
    assert_eq!(planned["services"], serde_json::json!(["web"]), "{planned}");
    assert_eq!(planned["fields"][0]["field"], "services.web.environment.A", "{planned}");
    assert_eq!(planned["fields"][0]["to"], "***", "what may be a secret is not shown");
    unpack(&vault, &second, &[]).success();
    assert_eq!(fs::read_to_string(vault.file("conf/web.conf")).unwrap(), "listen 8080\n");
    unpack(&vault, &second, &["--overwrite"]).success();
    assert_eq!(fs::read_to_string(vault.file("conf/web.conf")).unwrap(), "listen 81\n");
    // Another project's package is for another folder.
    let stack = fs::read_to_string(desk.site.file("stack.json")).unwrap().replace("\"p\"", "\"q\"");
    desk.site.write("stack.json", &stack);
    let other = desk.pack("other.tar", &["--for", "none", "--unsigned"]);
    let refused = unpack(&vault, &other, &[]).failure(1);
    assert!(refused.stderr.contains("project `q`"), "{}", refused.stderr);
}

#[test]
fn a_package_is_read_from_a_pipe_too() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 50_000)]), ("worker", &[&layer(2, 50_000)])]);
    let package = desk.pack("all.tar", &["--for", "none", "--unsigned"]);
    let vault = machine();
    let mut command = vault.command(&["unpack", "-", "--yes"]);
    let run = command.stdin(fs::File::open(&package).unwrap()).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let (other, mut child) =
        (machine(), Command::new("cat").arg(&package).stdout(std::process::Stdio::piped()).spawn().unwrap());
    let run = other.command(&["unpack", "-", "--yes"]).stdin(child.stdout.take().unwrap()).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    child.wait().unwrap();
    assert_eq!((names(&vault), names(&other)), (names(&desk.site), names(&desk.site)));
}

#[test]
fn a_release_keeps_its_images_through_a_prune_and_lets_them_go_when_it_is_removed() {
    let desk = Desk::new();
    let (base, one, two) = (layer(1, 50_000), layer(2, 50_000), layer(3, 50_000));
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v1"]).success();
    desk.images(&[("web", &[&base, &two]), ("worker", &[&base])]);
    desk.run(&["images", "prune", "--yes"]).success();
    let package = desk.pack("v1.tar", &["--release", "v1", "--for", "none", "--unsigned"]);
    let vault = machine();
    unpack(&vault, &package, &[]).success();
    let diff = {
        desk.run(&["release", "create", "v2"]).success();
        desk.run(&["--json", "release", "diff", "v1", "v2"]).success().json()
    };
    assert_eq!((&diff["images"][0]["reference"], &diff["new_layers"]), (&"web:1".into(), &1.into()), "{diff}");
    let same = desk.run(&["release", "create", "v2"]).failure(1);
    assert!(same.stderr.contains("already"), "{}", same.stderr);
    desk.run(&["release", "remove", "v1", "--yes"]).success();
    let gone = desk.run(&["pack", "--release", "v1", "--for", "none", "-o", "x.tar", "--unsigned"]).failure(1);
    assert!(gone.stderr.contains("release `v1` does not exist") && gone.stderr.contains("v2"), "{}", gone.stderr);
    let pruned = desk.run(&["--json", "images", "prune", "--yes"]).success().json();
    assert!(pruned["freed_bytes"].as_u64().unwrap() > 40_000, "{pruned}");
}

#[test]
fn parts_arrive_from_a_folder_or_a_pipe_and_one_that_is_bad_is_brought_again_alone() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 300_000)]), ("worker", &[&layer(2, 100_000)])]);
    desk.run(&["key", "generate"]).success();
    let pack = ["--for", "none", "--split", "128k"];
    desk.pack("all.tar", &pack);
    let part = |number: u32| desk.site.file(&format!("all.tar.{number:03}"));
    assert!(part(4).exists() && !part(5).exists());
    for name in ["all.tar", "all.tar.parts.json"] {
        let path = desk.site.file(name).display().to_string();
        let shown = machine().run(&["--json", "package", "show", &path]).success().json();
        assert_eq!(shown["index"]["project"], "p", "{name}");
    }
    let vault = machine();
    unpack(&vault, &part(1), &[]).success();
    assert_eq!(images(&vault), images(&desk.site));
    let piped: Vec<u8> = (1..=4).flat_map(|number| fs::read(part(number)).unwrap()).collect();
    fs::write(desk.site.file("piped"), piped).unwrap();
    let other = machine();
    let run = other.command(&["unpack", "-", "--yes"]).stdin(fs::File::open(desk.site.file("piped")).unwrap()).output();
    assert!(run.as_ref().unwrap().status.success(), "{run:?}");

    let whole = fs::read(part(3)).unwrap();
    let mut damaged = whole.clone();
    damaged[60_000] ^= 1;
    fs::write(part(3), damaged).unwrap();
    let third = machine();
    let refused = unpack(&third, &part(1), &[]).failure(1);
    assert!(refused.stderr.contains("all.tar.003") && !refused.stderr.contains("all.tar.002"), "{}", refused.stderr);
    fs::remove_file(part(3)).unwrap();
    let refused = unpack(&third, &part(1), &[]).failure(1);
    assert!(refused.stderr.contains("missing: 3"), "{}", refused.stderr);
    // The desk makes the same bytes, although no release was made.
    desk.pack("all.tar", &[&pack[..], &["--part", "3"]].concat());
    assert!(fs::read(part(3)).unwrap() == whole);
    unpack(&third, &part(1), &[]).success();
    assert_eq!(images(&third), images(&desk.site));
    // What lies on the desk by now is another package.
    desk.manifest("2");
    let output = desk.site.file("all.tar").display().to_string();
    let refused = desk.run(&[&["pack", "-o", &output, "--part", "3"], &pack[..]].concat()).failure(1);
    assert!(refused.stderr.contains("all.tar.parts.json"), "{}", refused.stderr);
}

#[test]
fn a_seed_goes_where_links_lead_and_the_link_stays() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 2000)]), ("worker", &[&layer(2, 2000)])]);
    let vault = machine();
    fs::create_dir_all(vault.file("seeds")).unwrap();
    fs::create_dir_all(vault.file("another disk")).unwrap();
    std::os::unix::fs::symlink("../another disk/d", vault.file("seeds/d")).unwrap();
    for content in ["PGDMP of d", "PGDMP of d, newer"] {
        desk.site.write("seeds/d/archive/toc.dat", content);
        let package = desk.pack("all.tar", &["--for", "none", "--unsigned", "--yes"]);
        unpack(&vault, &package, &[]).success();
        assert!(fs::symlink_metadata(vault.file("seeds/d")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(vault.file("another disk/d/archive/toc.dat")).unwrap(), content);
        assert_eq!(fs::read_dir(vault.file("another disk")).unwrap().count(), 1, "nothing unfinished is left");
    }
}
