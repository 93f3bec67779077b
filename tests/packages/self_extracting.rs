//! A package that brings dpl along: on a machine where dpl was never installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::desk::{Desk, images, layer, machine, unpack};
use crate::support::Site;

/// Runs the file itself.
fn run(file: &Path, there: &Site, arguments: &[&str]) -> Output {
    let mut command = Command::new(file);
    command.args(arguments).current_dir(there.path()).env_clear().env("HOME", there.path());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap()
}

#[track_caller]
fn said(file: &Path, there: &Site, arguments: &[&str]) -> String {
    let output = run(file, there, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn one_file_shows_unpacks_runs_commands_and_installs_itself() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 30_000)]), ("worker", &[&layer(2, 2000)])]);
    desk.run(&["release", "create", "v1"]).success();
    desk.run(&["key", "generate"]).success();
    let file = desk.pack("v1.run", &["--release", "v1", "--for", "none", "--self-extracting"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o100, 0o100);
    let verified = Command::new("minisign")
        .args(["-V", "-m"])
        .arg(&file)
        .arg("-p")
        .arg(desk.site.file("keys/dpl.pub"))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");

    // As docs/package-format.md says.
    let cut =
        r#"offset=$(tail -c 64 "$0" | cut -d ' ' -f 3); tail -c +$((10#$offset + 1)) "$0" | head -c -64 | tar -t"#;
    let listed = Command::new("bash").args(["-c", cut]).arg(&file).output().unwrap();
    assert!(listed.status.success() && listed.stdout.starts_with(b"dpl-package.json\n"), "{listed:?}");

    let vault = machine();
    for words in [&[][..], &["plan"]] {
        let shown = said(&file, &vault, words);
        for part in ["web:1", "would be brought", "release v1", "v1.run unpack"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    assert!(said(&file, &vault, &["show"]).contains("worker:1"));
    assert_eq!(fs::read_dir(vault.path()).unwrap().count(), 0, "looking changes nothing");
    let refused = run(&file, &vault, &["load"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("on-this-machine"), "{refused:?}");
    said(&file, &vault, &["unpack", "--yes"]);
    said(&file, &vault, &["on-this-machine", "-f", "stack.json", "images", "verify"]);
    assert_eq!(images(&vault), images(&desk.site));

    said(&file, &vault, &["install", "bin", "--yes"]);
    let program = fs::read(env!("CARGO_BIN_EXE_dpl")).unwrap();
    assert!(fs::read(vault.file("bin/dpl")).unwrap() == program, "the program alone");
    assert!(said(&vault.file("bin/dpl"), &vault, &["--version"]).starts_with("dpl "));

    // An installed dpl takes the file as any package; one that was damaged is found.
    let other = machine();
    unpack(&other, &file, &[]).success();
    assert_eq!(images(&other), images(&desk.site));
    let mut bytes = fs::read(&file).unwrap();
    let place = program.len() + (bytes.len() - program.len()) / 2;
    bytes[place] ^= 1;
    let damaged = machine();
    fs::write(damaged.file("bad.run"), bytes).unwrap();
    unpack(&damaged, &damaged.file("bad.run"), &[]).failure(1);
    assert!(!damaged.file("stack.json").exists());
}

#[test]
fn the_same_file_again_and_no_signature_of_an_older_one_beside_it() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 2000)])]);
    desk.run(&["release", "create", "v1"]).success();
    let pack = |more: &[&str]| {
        desk.pack("v1.run", &[&["--release", "v1", "--for", "none", "--self-extracting", "--yes"], more].concat())
    };
    let first = fs::read(pack(&["--unsigned"])).unwrap();
    fs::write(desk.site.file("v1.run.minisig"), "of another").unwrap();
    assert!(fs::read(pack(&["--unsigned"])).unwrap() == first);
    assert!(!desk.site.file("v1.run.minisig").exists());
    desk.run(&["pack", "--for", "none", "--unsigned", "--self-extracting", "--split", "1m", "-o", "x.run"]).failure(2);
}

#[test]
fn the_signature_beside_the_file_is_made_once_and_kept_with_the_release() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 2000)])]);
    desk.run(&["release", "create", "v1"]).success();
    desk.run(&["key", "generate", "one"]).success();
    desk.run(&["key", "generate", "two"]).success();
    let pack = |name: &str, more: &[&str]| {
        desk.pack(name, &[&["--release", "v1", "--for", "none", "--self-extracting", "--yes"], more].concat())
    };
    let signature = |name: &str, key: &str| {
        let file = pack(name, &["--key", key]);
        let public = desk.site.file(&format!("keys/{key}.pub"));
        let verified = Command::new("minisign").arg("-V").arg("-m").arg(&file).arg("-p").arg(public).output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
        (fs::read(file).unwrap(), fs::read(desk.site.file(&format!("{name}.minisig"))).unwrap())
    };
    let first = signature("v1.run", "one");
    assert!(first == signature("v1.run", "one"), "the same bytes, and the same signature");
    assert!(first == signature("copy.run", "one"), "whatever it is called");
    // The index names the key, so that the package of another one is another file.
    assert!(first.1 != signature("v1.run", "two").1);
    assert!(first == signature("v1.run", "one"));
}

#[test]
fn a_disk_that_keeps_no_permissions_takes_the_file_and_a_copy_of_it_runs() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 3000)]), ("worker", &[&layer(2, 2000)])]);
    let path = desk.site.file("v1.run");
    let output = path.display().to_string();
    let pack = ["-f", "stack.json", "pack", "--for", "none", "--unsigned", "--self-extracting", "-o", &output];
    let run = desk.site.command(&pack).env("DPL_PRETENDS", "fs.no-permissions").output().unwrap();
    assert!(run.status.success(), "{run:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0, "as that disk leaves it");
    let vault = machine();
    let copy = vault.file("v1.run");
    fs::copy(&path, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    said(&copy, &vault, &["unpack", "--yes"]);
    assert_eq!(images(&vault), images(&desk.site));
}
