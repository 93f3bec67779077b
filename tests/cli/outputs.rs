//! What is written where the operator says: to a standard output as a shell leaves it, and to files that are there.

use std::process::{Command, Output};

use crate::support::Site;

const MANIFEST: &str = r#"{"project": "p", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;

/// Runs `dpl` in a shell that redirects its output like this.
fn redirected(site: &Site, arguments: &[&str], redirection: &str) -> Output {
    let program = site.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")]);
    shell.arg(program.get_program()).args(program.get_args()).current_dir(site.path()).env_clear();
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.output().unwrap()
}

fn assert_ends(site: &Site, arguments: &[&str], redirection: &str, code: i32) {
    let ended = redirected(site, arguments, redirection);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(code), "{arguments:?} {redirection}: {said}");
    let is_said = said.contains("can't write to standard output");
    assert_eq!(is_said, code != 0, "{arguments:?} {redirection}: {said}");
}

/// A store with the image `a:1`, which has no layers.
fn with_store() -> Site {
    let site = Site::with_manifest(MANIFEST);
    let mut tar = tar::Builder::new(std::fs::File::create(site.file("x.tar")).unwrap());
    for (name, content) in [
        ("c.json", r#"{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}}"#),
        ("manifest.json", r#"[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": []}]"#),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
    site.run(&["images", "import", "x.tar", "-f", "stack.json"]).success();
    site
}

#[test]
fn what_prints_data_to_a_closed_standard_output_fails() {
    let site = with_store();
    for arguments in [
        &["images", "export", "a", "--output", "-", "--yes", "-f", "stack.json"][..],
        &["pack", "--full", "--unsigned", "--output", "-", "-f", "stack.json"],
        &["man"],
        &["completions", "bash"],
        &["schema"],
        &["list", "-f", "stack.json"],
        &["config", "-f", "stack.json", "--json"],
        &["help", "load"],
        &["load", "--help"],
        &["--version"],
    ] {
        assert_ends(&site, arguments, ">&-", 1);
        // Open, and not to be written to.
        assert_ends(&site, arguments, "1</dev/null", 1);
    }
}

#[test]
fn an_output_that_others_open_for_both_directions_is_not_taken_for_a_closed_one() {
    let site = with_store();
    for arguments in [
        &["images", "export", "a", "--output", "-", "--yes", "-f", "stack.json"][..],
        &["completions", "bash"],
        &["list", "-f", "stack.json"],
        &["--version"],
    ] {
        for redirection in [">/dev/null", "1<>/dev/null", ">/dev/null <&-"] {
            assert_ends(&site, arguments, redirection, 0);
        }
    }
    // What prints nothing needs none.
    assert_ends(&site, &["images", "verify", "-f", "stack.json"], ">&-", 0);
}

#[test]
fn pages_of_the_manual_follow_links_and_replace_no_device() {
    let site = Site::with_manifest(MANIFEST);
    std::fs::create_dir(site.file("man")).unwrap();
    site.write("elsewhere", "old");
    std::os::unix::fs::symlink(site.file("elsewhere"), site.file("man/dpl.1")).unwrap();
    std::os::unix::fs::symlink("/dev/null", site.file("man/dpl-load.1")).unwrap();
    site.run(&["man", "man"]).success();
    assert!(site.file("man/dpl.1").is_symlink() && site.file("man/dpl-load.1").is_symlink());
    assert!(std::fs::read_to_string(site.file("elsewhere")).unwrap().contains(".TH"));
    assert!(std::fs::read_to_string(site.file("man/dpl-save.1")).unwrap().contains(".TH"));
}
