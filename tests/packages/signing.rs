//! Whose packages a machine takes.

use std::fs;
use std::process::Command;

use crate::desk::{Desk, layer, machine, names, unpack};
use crate::support::Site;

/// A desk with keys of these names, and small images.
fn desk(keys: &[&str]) -> Desk {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 5000)]), ("worker", &[&layer(2, 5000)])]);
    for key in keys {
        desk.run(&["key", "generate", key]).success();
    }
    desk
}

fn trust(machine: &Site, desk: &Desk, key: &str) {
    let path = desk.site.file(&format!("keys/{key}.pub")).display().to_string();
    machine.run(&["key", "trust", &path, "--yes"]).success();
}

#[test]
fn a_machine_that_trusts_a_key_refuses_unsigned_and_others_packages() {
    let desk = desk(&["mine", "other"]);
    let by = |key: &str| desk.pack(&format!("{key}.tar"), &["--for", "none", "--key", key]);
    let (mine, other) = (by("mine"), by("other"));
    let unsigned = desk.pack("unsigned.tar", &["--for", "none", "--unsigned"]);
    let vault = machine();
    trust(&vault, &desk, "mine");
    for (package, why) in [(&unsigned, "not signed"), (&other, "does not trust")] {
        let refused = unpack(&vault, package, &[]).failure(1);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    assert_eq!(fs::read_dir(vault.path()).unwrap().count(), 1, "nothing but the trusted key is there");
    let said = unpack(&vault, &mine, &["--json"]).success().json();
    let listed = vault.run(&["--json", "key", "list"]).success().json();
    assert_eq!(said["receipt"]["key"], listed["trusted"][0]["id"]);
    assert_eq!(names(&vault).len(), 2);
    // A rotation: both are trusted, then the old one is revoked, for good.
    trust(&vault, &desk, "other");
    unpack(&vault, &other, &[]).success();
    let public = desk.site.file("keys/mine.pub").display().to_string();
    vault.run(&["key", "revoke", &public, "--yes"]).success();
    let refused = unpack(&vault, &mine, &[]).failure(1);
    assert!(refused.stderr.contains("revoked"), "{}", refused.stderr);
    vault.run(&["key", "trust", &public, "--yes"]).failure(1);
}

#[test]
fn a_revocation_travels_in_a_package_that_the_other_key_signs() {
    let desk = desk(&["old", "new"]);
    let by_old = desk.pack("old.tar", &["--for", "none", "--key", "old"]);
    let old = desk.site.file("keys/old.pub").display().to_string();
    let by_new = desk.pack("new.tar", &["--for", "none", "--key", "new", "--revoke", &old]);
    // Nobody is told to distrust a key by a package that nobody trusts.
    let stranger = machine();
    unpack(&stranger, &by_new, &[]).success();
    assert_eq!(stranger.run(&["--json", "key", "list"]).success().json()["revoked"].as_array().unwrap().len(), 0);
    let vault = machine();
    trust(&vault, &desk, "old");
    trust(&vault, &desk, "new");
    unpack(&vault, &by_old, &[]).success();
    let path = by_new.display().to_string();
    let keys = desk.run(&["--json", "key", "list"]).success().json();
    let old_key = keys["own"].as_array().unwrap().iter().find(|key| key["name"] == "old").unwrap();
    let id = old_key["id"].as_str().unwrap();
    for looked in [&["package", "show", &path], &["package", "plan", &path]] {
        let shown = vault.run(looked).success().stdout;
        assert!(shown.contains("revokes") && shown.contains(id), "{shown}");
    }
    let said = unpack(&vault, &by_new, &[]).success();
    assert!(said.stderr.contains("revokes the key"), "{}", said.stderr);
    let refused = unpack(&vault, &by_old, &["--allow-older"]).failure(1);
    assert!(refused.stderr.contains("revoked"), "{}", refused.stderr);
    desk.run(&["pack", "--for", "none", "--unsigned", "--revoke", &old, "-o", "x.tar"]).failure(2);
    // By its name, as the key that signs.
    let by_name = desk.pack("name.tar", &["--for", "none", "--key", "new", "--revoke", "old"]);
    let listed = |path: &std::path::Path| {
        let path = path.display().to_string();
        desk.run(&["--json", "package", "show", &path]).success().json()["index"]["revokes"].clone()
    };
    assert_eq!(listed(&by_name), listed(&by_new));
}

#[test]
fn what_is_not_a_key_is_named_and_a_file_that_is_missing_is_not_called_a_bad_key() {
    let vault = machine();
    vault.write("notes.pub", "no key\n");
    let refused = vault.run(&["key", "trust", "notes.pub", "--yes"]).failure(1);
    assert!(refused.stderr.contains("notes.pub") && refused.stderr.contains("not a public key"), "{}", refused.stderr);
    let refused = vault.run(&["key", "trust", "missing.pub", "--yes"]).failure(1);
    assert!(refused.stderr.contains("missing.pub") && refused.stderr.contains("No such file"), "{}", refused.stderr);
}

#[test]
fn yes_takes_an_unsigned_package_only_where_no_key_is_trusted_and_trusts_nobody() {
    let desk = desk(&["mine"]);
    let signed = desk.pack("signed.tar", &["--for", "none"]);
    let unsigned = desk.pack("unsigned.tar", &["--for", "none", "--unsigned"]);
    let vault = machine();
    let said = unpack(&vault, &unsigned, &["--json"]).success().json();
    assert_eq!(said["receipt"]["key"], serde_json::Value::Null);
    let said = unpack(&vault, &signed, &["--json", "--allow-older"]).success().json();
    assert_eq!(said["receipt"]["key"], serde_json::Value::Null, "a key that nobody trusts proves nothing");
    assert_eq!(vault.run(&["--json", "key", "list"]).success().json()["trusted"].as_array().unwrap().len(), 0);
    // A changed index is found even so: the signature does not hold.
    let mut bytes = fs::read(&signed).unwrap();
    let place = bytes.windows(6).position(|window| window == b"\"by\": ").unwrap() + 8;
    let size = u64::from_str_radix(std::str::from_utf8(&bytes[124..135]).unwrap(), 8).unwrap() as usize;
    let before = dpl::fs::Digest::of(&bytes[512..512 + size]);
    bytes[place] ^= 1;
    // A forger can make its digest fit, but not its signature.
    let after = dpl::fs::Digest::of(&bytes[512..512 + size]);
    let seal = bytes.windows(64).position(|window| window == before.hex().as_bytes()).unwrap();
    bytes[seal..seal + 64].copy_from_slice(after.hex().as_bytes());
    fs::write(vault.file("changed.tar"), bytes).unwrap();
    let refused = unpack(&vault, &vault.file("changed.tar"), &["--allow-older"]).failure(1);
    assert!(refused.stderr.contains("signature is not valid"), "{}", refused.stderr);
}

#[test]
fn minisign_itself_verifies_a_package_and_reads_the_keys() {
    let desk = desk(&["mine"]);
    let package = desk.pack("signed.tar", &["--for", "none"]);
    let folder = desk.site.file("out");
    fs::create_dir(&folder).unwrap();
    let unpacked = Command::new("tar").arg("-xf").arg(&package).arg("-C").arg(&folder).status().unwrap();
    assert!(unpacked.success());
    let verify = || {
        Command::new("minisign")
            .args(["-V", "-m", "dpl-package.json", "-p"])
            .arg(desk.site.file("keys/mine.pub"))
            .current_dir(&folder)
            .output()
            .unwrap()
    };
    let said = verify();
    assert!(said.status.success(), "{said:?}");
    let text = fs::read_to_string(folder.join("dpl-package.json")).unwrap().replace("web:1", "web:2");
    fs::write(folder.join("dpl-package.json"), text).unwrap();
    assert!(!verify().status.success());
}

#[test]
fn a_package_without_a_key_is_not_signed_which_is_said() {
    let desk = desk(&[]);
    let said = desk.run(&["pack", "--for", "none", "-o", "x.tar"]).success().stderr;
    assert!(said.contains("no key: the package is not signed"), "{said}");
    let shown = desk.run(&["package", "show", "x.tar"]).success().stdout;
    assert!(shown.contains("not signed"), "{shown}");
    let said = desk.run(&["pack", "--for", "none", "--unsigned", "-o", "y.tar"]).success().stderr;
    assert!(!said.contains("no key"), "whoever says it need not be told: {said}");
}

#[test]
fn a_key_with_a_password_signs_with_it_alone() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 5000)]), ("worker", &[&layer(2, 5000)])]);
    desk.site.write("password", "correct horse\n");
    desk.site.write("wrong", "battery staple\n");
    desk.run(&["key", "generate", "--password-file", "password"]).success();
    let pack = ["pack", "--for", "none", "-o", "x.tar"];
    for arguments in [&[][..], &["--key-password-file", "wrong"]] {
        let refused = desk.run(&[&pack[..], arguments].concat()).failure(1);
        assert!(refused.stderr.contains("password"), "{}", refused.stderr);
    }
    desk.run(&[&pack[..], &["--key-password-file", "password"]].concat()).success();
    assert!(!desk.site.run(&["package", "show", "x.tar"]).success().stdout.contains("not signed"));
}
