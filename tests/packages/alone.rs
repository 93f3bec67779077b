//! Everything about packages works on a machine without a network.

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
    let package = site.file("x.tar").display().to_string();
    let key = site.file("keys/dpl.pub").display().to_string();
    for arguments in [
        &["key", "generate"][..],
        &["key", "list"],
        &["-f", "stack.json", "release", "create", "v1"],
        &["-f", "stack.json", "release", "list"],
        &["-f", "stack.json", "release", "show", "v1"],
        &["-f", "stack.json", "pack", "--release", "v1", "--for", "none", "-o", &package],
        &["package", "show", &package],
    ] {
        alone(site, arguments);
    }
    for arguments in [
        &["key", "trust", &key, "--yes"][..],
        &["package", "plan", &package],
        &["unpack", &package, "--yes"],
        &["-f", "stack.json", "receipt"],
        &["-f", "stack.json", "inventory"],
        &["-f", "stack.json", "history"],
        &["-f", "stack.json", "images", "verify"],
    ] {
        alone(&vault, arguments);
    }
    assert_eq!(images(&vault), images(site));
}
