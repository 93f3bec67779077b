//! What is not done: what the manifest must not say, and what would lose more than somebody meant.

use std::fs;
use std::os::unix::fs::symlink;

use crate::place::{apply, files, fill, look, manifest, site};

#[test]
fn a_mirror_that_removes_more_than_its_share_asks_for_the_count() {
    let site = site(r#", "mode": "mirror""#);
    fill(&site.file("delivery"), &[("a", "1")]);
    fill(&site.file("data/modules"), &[("a", "1"), ("b", "1"), ("c", "1")]);
    // Nobody can answer here; the question says how many go.
    let run = files(&site, &["apply"]).failure(2);
    assert!(run.stderr.contains("2 of 3 files go from SITE/data/modules"), "{}", run.stderr);
    assert_eq!(look(&site.file("data/modules")).len(), 3);
    let plan = files(&site, &["plan", "--json"]).success().json();
    assert_eq!(plan["files"][0]["asks_for_count"], true);
    apply(&site).success();
    assert_eq!(look(&site.file("data/modules")).len(), 1);
}

#[test]
fn a_mirror_of_nothing_is_refused() {
    let site = site(r#", "mode": "mirror""#);
    fill(&site.file("delivery"), &[]);
    fill(&site.file("data/modules"), &[("a", "1")]);
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("would remove everything"), "{}", run.stderr);
    fs::remove_dir(site.file("delivery")).unwrap();
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("what `modules` delivers is not at SITE/delivery"), "{}", run.stderr);
    assert_eq!(look(&site.file("data/modules")).len(), 1);
}

#[test]
fn a_target_may_not_leave_the_project_by_its_path_or_by_a_link() {
    let site = site("");
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("modules");
    manifest(&site, outside.to_str().unwrap(), "");
    fill(&site.file("delivery"), &[("a", "1")]);
    let run = apply(&site).failure(3);
    assert!(run.stderr.contains("lies outside of paths.data"), "{}", run.stderr);
    assert!(run.stderr.contains(r#""outside": true"#), "{}", run.stderr);
    manifest(&site, "data/modules", "");
    fs::create_dir_all(site.file("data")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, site.file("data/modules")).unwrap();
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("the target of `modules` is really"), "{}", run.stderr);
    assert!(look(&outside).is_empty());
    manifest(&site, "data/modules", r#", "outside": true"#);
    apply(&site).success();
    assert_eq!(look(&outside).len(), 1);
}

#[test]
fn what_the_manifest_must_not_say_is_an_error_of_its_check() {
    for (to, keys, said) in [
        ("data", "", "this target holds"),
        ("delivery/inside", "", "lie in each other"),
        ("data/x", r#", "mode": "sync""#, "`sync`"),
        ("data/x", r#", "owner": "root""#, "`root` is not a valid owner"),
        ("data/x", r#", "permissions": { "files": "rw" }"#, "`rw` is not a valid mode"),
        ("data/x", r#", "exclude": ["[z-a]"]"#, "`[z-a]` is not a valid pattern"),
        ("data/x", r#", "restart": ["worker"]"#, "service `worker` is not defined"),
        ("data/x", r#", "restart": ["worker*"]"#, "no service matches `worker*`"),
        ("data/x", r#", "was": ["../y"]"#, "`../y` is not the name of a folder"),
        ("data/x", r#", "most_removed": 101"#, "101 is more than 100 percent"),
        ("data/x", r#", "keep": 1"#, "`keep`"),
    ] {
        let site = site("");
        manifest(&site, to, keys);
        let run = site.run(&["check", "stack.json"]).failure(3);
        assert!(run.stderr.contains(said), "{to} {keys}: {}", run.stderr);
    }
}

#[test]
fn a_manifest_without_files_says_so() {
    let site = site("");
    site.write("stack.json", r#"{ "project": "p", "services": { "web": { "image": "web:1" } } }"#);
    let run = files(&site, &["plan"]).failure(2);
    assert!(run.stderr.contains("the manifest has no `files`"), "{}", run.stderr);
}

#[test]
fn what_is_no_file_is_not_delivered() {
    let site = site("");
    fill(&site.file("delivery"), &[("a", "1")]);
    let pipe = site.file("delivery/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("SITE/delivery/pipe is a device, a pipe or a socket"), "{}", run.stderr);
    assert!(!site.file("data/modules").exists());
}
