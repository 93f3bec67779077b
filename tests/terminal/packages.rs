//! Whom a machine trusts: the question about the key of a package.

use std::fs;

use crate::desk::{Desk, layer, machine, names, unpack};
use crate::screen::Terminal;

#[test]
fn the_key_of_a_package_is_shown_and_trusted_by_an_answer_alone() {
    let desk = Desk::new();
    desk.images(&[("web", &[&layer(1, 2000)]), ("worker", &[&layer(2, 2000)])]);
    desk.run(&["key", "generate"]).success();
    let package = desk.pack("signed.tar", &["--for", "none"]);
    let unsigned = desk.pack("unsigned.tar", &["--for", "none", "--unsigned"]);
    let public = fs::read_to_string(desk.site.file("keys/dpl.pub")).unwrap();
    let key = public.lines().last().unwrap();
    for (answer, trusted) in [("\r", 0), ("n\r", 0), ("y\r", 1)] {
        let vault = machine();
        let mut terminal = Terminal::open(&vault, &["unpack", &package.display().to_string()], 180, 50);
        terminal.says(&format!("({key})? Compare it with what its owner says. [y/N]")).keys(answer);
        terminal.says("Unpack this into").says("[Y/n]").keys("\r").says("unpacked: 2 images");
        assert_eq!(terminal.end(), 0);
        assert_eq!(names(&vault), ["web:1", "worker:1"]);
        let listed = vault.run(&["--json", "key", "list"]).success().json();
        assert_eq!(listed["trusted"].as_array().unwrap().len(), trusted, "{answer:?}: {listed}");
        // Where a key is trusted, nobody else's package is taken; nothing else was said by the answer.
        assert_eq!(unpack(&vault, &unsigned, &["--allow-older"]).code, trusted as i32, "{answer:?}");
    }
}
