//! What somebody changes at a site is named, and never undone in silence.

use std::fs;

use crate::place::{apply, files, fill, look, site};
use crate::support::Site;

/// A delivered folder in which one file was edited, one removed and one added since; then a newer delivery comes.
fn edited() -> Site {
    let site = site(r#", "mode": "mirror", "most_removed": 100"#);
    fill(&site.file("delivery"), &[("conf", "1"), ("gone", "1"), ("same", "1")]);
    apply(&site).success();
    let target = site.file("data/modules");
    fs::write(target.join("conf"), "edited").unwrap();
    fs::remove_file(target.join("gone")).unwrap();
    fs::write(target.join("mine"), "1").unwrap();
    fill(&site.file("delivery"), &[("conf", "2"), ("gone", "1"), ("same", "2")]);
    site
}

#[test]
fn a_status_names_each_edit() {
    let site = edited();
    let status = files(&site, &["status"]).success().stdout;
    for line in ["modules: 3 paths differ", "  edited: conf\n", "  removed: gone\n", "  added: mine\n"] {
        assert!(status.contains(line), "{status}");
    }
}

#[test]
fn an_apply_that_would_undo_edits_does_nothing_until_somebody_decides() {
    let site = edited();
    let before = look(&site.file("data/modules"));
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("3 paths of `modules` changed at the site"), "{}", run.stderr);
    assert!(run.stderr.contains("edited: conf") && run.stderr.contains("--keep-local"), "{}", run.stderr);
    files(&site, &["apply", "--dry-run"]).failure(1);
    assert_eq!(look(&site.file("data/modules")), before);
    let plan = files(&site, &["plan"]).success().stdout;
    assert!(plan.contains("  edited: conf\n"), "{plan}");
}

#[test]
fn edits_are_kept_where_that_is_said_and_stay_known_as_edits() {
    let site = edited();
    files(&site, &["apply", "--yes", "--keep-local"]).success();
    let now = look(&site.file("data/modules"));
    assert_eq!((now["conf"].as_str(), now["mine"].as_str(), now["same"].as_str()), ("edited", "1", "2"));
    assert!(!now.contains_key("gone"));
    let status = files(&site, &["status", "--json"]).success().json();
    assert_eq!(status["files"][0]["local"].as_array().unwrap().len(), 3, "{status}");
}

#[test]
fn edits_are_overwritten_where_that_is_said_and_the_rollback_has_them() {
    let site = edited();
    let before = look(&site.file("data/modules"));
    files(&site, &["apply", "--yes", "--overwrite"]).success();
    assert_eq!(look(&site.file("data/modules")), look(&site.file("delivery")));
    files(&site, &["rollback", "--yes"]).success();
    assert_eq!(look(&site.file("data/modules")), before);
}

#[test]
fn an_edit_that_keeps_size_and_time_is_found() {
    let site = site("");
    fill(&site.file("delivery"), &[("conf", "one")]);
    apply(&site).success();
    let path = site.file("data/modules/conf");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "two").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let status = files(&site, &["status"]).success().stdout;
    assert!(status.contains("edited: conf"), "{status}");
}
