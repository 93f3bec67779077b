//! Everything about packages works on a machine without a network. What needs an engine is run so by the tests in tests/engine.

use std::process::Command;

use crate::desk::{Desk, images, layer, machine};
use crate::support::Site;

/// Runs `dpl` where there is no route and no device but one that is down.
#[track_caller]
fn alone(site: &Site, arguments: &[&str]) -> String {
    let command = site.command(arguments);
    let mut within = Command::new("unshare");
    within.arg("--net").arg(command.get_program()).args(command.get_args()).current_dir(site.path()).env_clear();
    for (name, value) in command.get_envs() {
        within.env(name, value.unwrap_or_default());
    }
    let run = within.output().unwrap();
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn no_command_needs_a_network() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 5000)]), ("worker", &[&layer(2, 5000)])]);
    let (site, vault) = (&desk.site, machine());
    let [package, next, full] = ["v1.tar", "v2.tar", "full.tar"].map(|name| site.file(name).display().to_string());
    let key = site.file("keys/dpl.pub").display().to_string();
    for arguments in [
        &["key", "generate"][..],
        &["key", "list"],
        &["-f", "stack.json", "config"],
        &["-f", "stack.json", "graph"],
        &["-f", "stack.json", "release", "create", "v1"],
        &["-f", "stack.json", "release", "list"],
        &["-f", "stack.json", "release", "show", "v1"],
        &["-f", "stack.json", "pack", "--release", "v1", "--for", "none", "-o", &package],
        &["package", "show", &package],
        &["completions", "bash"],
        &["man"],
    ] {
        alone(site, arguments);
    }
    desk.manifest("2");
    for arguments in [
        &["-f", "stack.json", "release", "create", "v2"][..],
        &["-f", "stack.json", "release", "diff", "v1", "v2"],
        &["-f", "stack.json", "pack", "--release", "v2", "--for", "v1", "-o", &next],
        &["-f", "stack.json", "pack", "--full", "-o", &full],
        &["-f", "stack.json", "release", "remove", "v1", "--yes"],
    ] {
        alone(site, arguments);
    }
    for arguments in [
        &["key", "trust", &key, "--yes"][..],
        &["package", "plan", &package],
        &["unpack", &package, "--yes"],
        &["-f", "stack.json", "unpack", &next, "--yes"],
        &["-f", "stack.json", "receipt"],
        &["-f", "stack.json", "receipt", "--qr"],
        &["-f", "stack.json", "history"],
        &["-f", "stack.json", "images", "list"],
        &["-f", "stack.json", "images", "verify"],
    ] {
        alone(&vault, arguments);
    }
    vault.write("inventory.json", &alone(&vault, &["-f", "stack.json", "inventory"]));
    alone(&vault, &["inventory", "read", "inventory.json"]);
    alone(&vault, &["-f", "stack.json", "key", "revoke", &key, "--yes"]);
    assert_eq!(images(&vault), images(site));
}
