//! For whom a package is, and what of the project goes into it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::desk::{Desk, layer, machine, names, unpack};

#[test]
fn a_bare_name_is_a_site_or_a_release_and_what_is_both_or_neither_is_said() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 2000)]), ("worker", &[&layer(2, 2000)])]);
    for release in ["v1", "v2"] {
        desk.run(&["release", "create", release]).success();
    }
    desk.site.write("sites.json", r#"{"sites": {"v1": {"offline": true}, "vault": {"offline": true}}}"#);
    let pack = |goal: &str| desk.run(&["pack", "--for", goal, "--unsigned", "--yes", "-o", "x.tar"]);
    let both = pack("v1").failure(2);
    assert!(both.stderr.contains("site:v1") && both.stderr.contains("release:v1"), "{}", both.stderr);
    pack("release:v1").success();
    // A folder that is called so is not an inventory.
    fs::create_dir(desk.site.file("v2")).unwrap();
    pack("v2").success();
    let refused = desk.run(&["release", "create", "none"]).failure(2);
    assert!(refused.stderr.contains("--for none"), "{}", refused.stderr);
    // One that nothing connects to is known by its inventory alone.
    for site in ["vault", "site:vault", "site:v1"] {
        let offline = pack(site);
        assert!(offline.code != 0 && offline.stderr.contains("offline"), "{site}: {offline:?}");
    }
    let neither = pack("nobody").failure(2);
    assert!(neither.stderr.contains("not a site, a release or a file"), "{}", neither.stderr);
    assert!(neither.stderr.contains("site:NAME") && neither.stderr.contains("an inventory"), "{}", neither.stderr);
    let unknown = pack("release:v3").failure(1);
    assert!(unknown.stderr.contains("`v3` does not exist") && unknown.stderr.contains("v2"), "{}", unknown.stderr);
}

#[test]
fn several_machines_are_shown_with_what_each_of_them_lacks() {
    let desk = Desk::new();
    let (base, one) = (layer(1, 50_000), layer(2, 20_000));
    desk.images(&[("web", &[&base]), ("worker", &[&base])]);
    desk.run(&["release", "create", "v1"]).success();
    desk.images(&[("web", &[&base, &one]), ("worker", &[&base])]);
    let said = desk.run(&["pack", "--for", "v1", "--for", "none", "--unsigned", "--dry-run", "-o", "x.tar"]).success();
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].starts_with("FOR") && lines[0].ends_with("ONLY THIS ONE"), "{}", said.stdout);
    assert!(lines[1].starts_with("v1") && lines[1].trim_end().ends_with(" 0 B"), "{}", said.stdout);
    assert!(lines[2].starts_with("none") && !lines[2].trim_end().ends_with(" 0 B"), "{}", said.stdout);
    assert!(!desk.site.file("x.tar").exists());
}

#[test]
fn a_release_is_listed_and_shown_with_what_it_is_made_of() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 2000)]), ("worker", &[&layer(2, 2000)])]);
    desk.run(&["release", "create", "v1"]).success();
    let listed = desk.run(&["release", "list"]).success().stdout;
    assert!(listed.contains("v1"), "{listed}");
    let shown = desk.run(&["release", "show", "v1"]).success().stdout;
    for part in ["web:1", "worker:1", "stack.json", "conf/web.conf"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let package = desk.pack("x.tar", &["--release", "v1", "--for", "none", "--unsigned"]);
    let vault = machine();
    unpack(&vault, &package, &[]).success();
    assert_eq!(names(&vault), ["web:1", "worker:1"]);
}

#[test]
fn a_package_has_the_images_and_the_kinds_of_things_that_are_meant_and_secrets_by_word_alone() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 2000)]), ("worker", &[&layer(2, 2000)])]);
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(desk.site.file("stack.json")).unwrap()).unwrap();
    manifest["secrets"] = json!({"k": {"file": "key.txt"}});
    manifest["services"]["web"]["secrets"] = json!(["k"]);
    desk.site.write("stack.json", &manifest.to_string());
    desk.site.write("key.txt", "of nobody else");
    let pack = |arguments: &[&str]| {
        desk.run(&[&["pack", "--for", "none", "--unsigned", "--yes", "-o", "x.tar"], arguments].concat()).success()
    };
    let index = || desk.run(&["--json", "package", "show", "x.tar"]).success().json()["index"].clone();
    let names_of = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
    };
    let said = pack(&["worker"]);
    assert_eq!(names_of(&index()["images"], "reference"), ["worker:1"]);
    assert!(said.stderr.contains("key.txt holds a secret"), "{}", said.stderr);
    assert!(!names_of(&index()["files"], "path").contains(&"key.txt".to_owned()), "{}", index());
    pack(&["--only", "images"]);
    assert!(names_of(&index()["files"], "path").is_empty() && names_of(&index()["seeds"], "database").is_empty());
    assert_eq!(names_of(&index()["images"], "reference").len(), 2);

    pack(&["--secrets"]);
    assert!(names_of(&index()["files"], "path").contains(&"key.txt".to_owned()), "{}", index());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&desk.site.file("x.tar")), 0o600, "a package with secrets is its owner's");
    let vault = machine();
    unpack(&vault, &desk.site.file("x.tar"), &[]).success();
    assert_eq!((mode(&vault.file("key.txt")), names(&vault).len()), (0o600, 2));
}
