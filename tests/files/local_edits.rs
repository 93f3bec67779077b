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

/// Writes a file so that its time is later than all that was done before; file systems count in ticks.
fn write_later(path: &std::path::Path, text: &str) {
    let before = std::time::SystemTime::now();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    while {
        fs::write(path, text).unwrap();
        fs::metadata(path).unwrap().modified().unwrap() <= before
    } {}
}

#[test]
fn what_a_service_writes_into_the_replaced_folder_does_not_go_with_it() {
    let site = site(r#", "mode": "mirror", "most_removed": 100"#);
    fill(&site.file("delivery"), &[("conf", "2")]);
    fill(&site.file("data/modules"), &[("conf", "1"), ("same", "1")]);
    apply(&site).success();
    // A container that was started before has it mounted still.
    let written = site.file("data/.dpl-kept-modules/uploads/mine");
    write_later(&written, "nowhere else");
    fill(&site.file("delivery"), &[("conf", "3")]);
    let run = apply(&site).failure(1);
    assert!(
        run.stderr.contains("uploads/mine was written after the folder of `modules` was replaced"),
        "{}",
        run.stderr
    );
    assert_eq!(fs::read_to_string(&written).unwrap(), "nowhere else");
    assert_eq!(look(&site.file("data/modules"))["conf"], "2");
    fs::rename(&written, site.file("mine")).unwrap();
    apply(&site).success();
    assert_eq!(look(&site.file("data/modules"))["conf"], "3");
}

#[test]
fn what_was_written_between_an_apply_and_its_rollback_is_named_and_not_removed_by_the_next_apply() {
    let site = site(r#", "mode": "mirror", "most_removed": 100, "exclude": ["data/"]"#);
    fill(&site.file("delivery"), &[("conf", "2")]);
    fill(&site.file("data/modules"), &[("conf", "1"), ("data/old", "1")]);
    apply(&site).success();
    write_later(&site.file("data/modules/data/new"), "since the apply");
    let run = files(&site, &["rollback", "--yes"]).success();
    assert!(run.stderr.contains("data/new was written since the apply"), "{}", run.stderr);
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("restart the services that still have it mounted"), "{}", run.stderr);
    let kept = site.file("data/.dpl-kept-modules");
    assert_eq!(look(&kept)["data/new"], "since the apply");
    fs::rename(kept.join("data/new"), site.file("data/modules/data/new")).unwrap();
    apply(&site).success();
    assert_eq!(look(&site.file("data/modules"))["data/new"], "since the apply");
}

#[test]
fn a_folder_with_the_name_of_a_kept_one_is_not_removed_unknown() {
    let site = site("");
    fill(&site.file("delivery"), &[("conf", "2")]);
    fill(&site.file("data/modules"), &[("conf", "1")]);
    fill(&site.file("data/.dpl-kept-modules"), &[("precious", "1")]);
    let run = apply(&site).failure(1);
    assert!(run.stderr.contains("nothing is known of it"), "{}", run.stderr);
    assert_eq!(look(&site.file("data/.dpl-kept-modules"))["precious"], "1");
    assert_eq!(look(&site.file("data/modules"))["conf"], "1");
}
