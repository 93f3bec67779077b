//! Killed at the named points: the repository stays whole, and the next run does the rest.

use std::fs;

use crate::place::{assert_same, dpl, fill, look, noise, restic_well, site, snapshot};
use crate::support::Site;

/// Whether the process was killed there; a point that is not passed so often ends well.
fn killed(site: &Site, point: &str, pass: u32, arguments: &[&str]) -> bool {
    let mut command = site.command(&[&["-f", "stack.json"], arguments].concat());
    command.env("DPL_FAILPOINT", format!("{point}:{pass}"));
    command.output().unwrap().status.code().is_none()
}

#[track_caller]
fn assert_killed(site: &Site, point: &str, pass: u32, arguments: &[&str]) {
    assert!(killed(site, point, pass, arguments), "{point}:{pass} was not passed");
}

#[test]
fn an_init_that_is_killed_anywhere_is_done_by_the_next() {
    for (point, pass) in [
        ("folders.init.password-written", 1),
        ("folders.repository.before-rename", 1),
        ("folders.repository.before-rename", 2),
        ("fs.durable.after-rename", 3),
    ] {
        let site = Site::in_memory(crate::place::MANIFEST);
        fs::create_dir_all(site.file("data/expert")).unwrap();
        assert_killed(&site, point, pass, &["data", "init", "--yes"]);
        dpl(&site, &["data", "init", "--yes"]).success();
        site.write("data/expert/a", "a");
        snapshot(&site);
        restic_well(&site, &["check", "--read-data"]);
    }
}

#[test]
fn a_snapshot_that_is_killed_anywhere_leaves_the_repository_whole() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    // Several packs.
    fs::write(folder.join("models"), noise(50_000_000, 11)).unwrap();
    snapshot(&site);
    for (round, (point, pass)) in [
        ("folders.repository.locked", 1),
        ("folders.walk.listed", 2),
        ("folders.repository.before-rename", 1),
        ("folders.repository.before-rename", 2),
        ("folders.repository.before-rename", 3),
        ("folders.repository.before-rename", 4),
        ("fs.durable.after-rename", 3),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(folder.join("models"), noise(40_000_000, 20 + round as u64)).unwrap();
        assert_killed(&site, point, pass, &["data", "snapshot", "expert"]);
        // Restic sees as well that nobody holds the lock any more.
        restic_well(&site, &["unlock"]);
        restic_well(&site, &["check"]);
    }
    let before = look(&folder);
    let id = snapshot(&site);
    restic_well(&site, &["check", "--read-data"]);
    dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--to", "beside", "--yes"]).success();
    assert_same(&look(&site.file("beside")), &before);
}

#[test]
fn a_restore_that_is_killed_anywhere_is_done_by_the_next() {
    for (point, pass) in [
        ("folders.restore.saved", 1),
        ("folders.restore.file-written", 1),
        ("folders.restore.file-written", 3),
        ("folders.restore.file-renamed", 1),
        ("folders.restore.file-renamed", 2),
    ] {
        let site = site();
        let folder = site.file("data/expert");
        fill(&folder);
        let id = snapshot(&site);
        let before = look(&folder);
        for name in ["config.json", "modules/deep/er/leaf", "empty"] {
            fs::write(folder.join(name), "changed").unwrap();
        }
        fs::remove_file(folder.join("modules/big")).unwrap();
        let restore = ["data", "restore", "expert", "--snapshot", &id, "--yes"];
        assert_killed(&site, point, pass, &restore);
        // Each path has the old thing or the new one.
        let config = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(config == "changed" || config == "{\"a\": 1}\n", "{config}");
        dpl(&site, &restore).success();
        assert_same(&look(&folder), &before);
        // Beside the folder too: the second run goes on in a folder that is not empty.
        let beside = ["data", "restore", "expert", "--snapshot", &id, "--to", "beside", "--yes"];
        if killed(&site, point, pass, &beside) {
            dpl(&site, &beside).success();
        }
        assert_same(&look(&site.file("beside")), &before);
    }
}

#[test]
fn a_prune_that_is_killed_leaves_what_stays_whole() {
    for (point, pass) in [("folders.prune.snapshots-removed", 1), ("folders.repository.before-rename", 1)] {
        let site = site();
        let folder = site.file("data/expert");
        for round in 0..3 {
            fs::write(folder.join("models"), noise(20_000_000, round)).unwrap();
            fs::write(folder.join(format!("small-{round}")), noise(200_000, 50 + round)).unwrap();
            snapshot(&site);
        }
        assert_killed(&site, point, pass, &["data", "prune", "expert", "--yes"]);
        restic_well(&site, &["unlock"]);
        restic_well(&site, &["check", "--read-data"]);
        dpl(&site, &["data", "prune", "expert", "--yes"]).success();
        restic_well(&site, &["check", "--read-data"]);
        let listed = dpl(&site, &["data", "list", "expert", "--json"]).success().json();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    }
}
