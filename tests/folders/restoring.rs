//! Restores: in place, beside, of a path; what is there before and after.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::place::{assert_same, blocks, dpl, fill, id, look, noise, site, snapshot};

#[test]
fn everything_that_a_folder_can_hold_comes_back_beside() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let before = look(&folder);
    let id = snapshot(&site);
    dpl(&site, &["data", "restore", "expert", "--snapshot", &id[..8], "--to", "beside", "--yes"]).success();
    assert_same(&look(&site.file("beside")), &before);
    let (sparse, original) = (blocks(&site.file("beside/sparse")), blocks(&folder.join("sparse")));
    assert!(sparse <= original + 65_536, "{sparse} bytes on disk, {original} before");
}

#[test]
fn a_restore_in_place_undoes_everything_and_what_was_there_is_kept() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    site.write("data/expert/cache/kept", "left out, so it stays");
    let id_before = snapshot(&site);
    let before = look(&folder);
    fs::write(folder.join("new"), "new").unwrap();
    fs::write(folder.join("config.json"), "{\"a\": 2}\n").unwrap();
    fs::remove_dir_all(folder.join("modules/deep")).unwrap();
    fs::write(folder.join("modules/deep"), "a file now").unwrap();
    fs::remove_file(folder.join("modules/same")).unwrap();
    fs::write(folder.join("modules/same"), noise(3_000_000, 7)).unwrap();
    fs::remove_file(folder.join("link")).unwrap();
    fs::create_dir_all(folder.join("link/below")).unwrap();
    fs::remove_file(folder.join("character")).unwrap();
    rustix::fs::lremovexattr(folder.join("config.json"), "trusted.origin").unwrap();
    let changed = look(&folder);
    let would =
        dpl(&site, &["data", "restore", "expert", "--snapshot", "latest", "--dry-run", "--json"]).success().json();
    assert_eq!(would["done"], false);
    // `new`, `link/below`.
    assert_eq!(would["removed"], 2, "{would}");
    assert_same(&look(&folder), &changed);
    let asked = dpl(&site, &["data", "restore", "expert", "--snapshot", "latest"]).failure(2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    let done =
        dpl(&site, &["data", "restore", "expert", "--snapshot", &id_before[..8], "--yes", "--json"]).success().json();
    assert_same(&look(&folder), &before);
    // The way back of the way back.
    let saved = id(&done["saved_as"]);
    dpl(&site, &["data", "restore", "expert", "--snapshot", &saved, "--to", "beside", "--yes"]).success();
    let (mut beside, mut kept) = (look(&site.file("beside")), changed);
    // What is left out is in no snapshot.
    kept.retain(|path, _| !path.starts_with("cache"));
    // The times of the folder itself: cache/ was made in it before.
    beside.remove(std::path::Path::new(""));
    kept.remove(std::path::Path::new(""));
    assert_same(&beside, &kept);
    let listed = dpl(&site, &["data", "list", "expert", "--json"]).success().json();
    assert_eq!(listed["snapshots"].as_array().unwrap().last().unwrap()["before_restore"], true);
}

#[test]
fn what_is_written_after_the_present_state_was_saved_is_neither_replaced_nor_removed() {
    let site = site();
    let folder = site.file("data/expert");
    for name in ["a", "b", "sub/c", "sub/d"] {
        site.write(&format!("data/expert/{name}"), "as it was");
    }
    snapshot(&site);
    for name in ["a", "b"] {
        site.write(&format!("data/expert/{name}"), "as it is");
    }
    fs::remove_dir_all(folder.join("sub")).unwrap();
    let restore = ["data", "restore", "expert", "--snapshot", "latest", "--yes"];
    let mut child = crate::locks::frozen_at(&site, "folders.restore.saved", &restore);
    // A service goes on working. File systems count in ticks: the times are later than those of the snapshot.
    let begun = std::time::SystemTime::now();
    for (name, text) in [("a", "written meanwhile"), ("upload", "new meanwhile")] {
        while {
            site.write(&format!("data/expert/{name}"), text);
            fs::metadata(folder.join(name)).unwrap().modified().unwrap() <= begun
        } {}
    }
    crate::locks::go_on(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!((text("a"), text("upload")), ("written meanwhile".to_owned(), "new meanwhile".to_owned()));
    assert_eq!((text("b"), text("sub/c")), ("as it was".to_owned(), "as it was".to_owned()));
    // Again: `latest` is the same snapshot, though the restore took one; all that goes is saved now.
    let done = dpl(&site, &[&restore[..], &["--json"]].concat()).success().json();
    assert_eq!(text("a"), "as it was");
    assert!(!folder.join("upload").exists());
    let saved = id(&done["saved_as"]);
    dpl(&site, &["data", "restore", "expert", "--snapshot", &saved, "--to", "beside", "--yes"]).success();
    assert_eq!(fs::read_to_string(site.file("beside/a")).unwrap(), "written meanwhile");
    assert_eq!(fs::read_to_string(site.file("beside/upload")).unwrap(), "new meanwhile");
}

#[test]
fn a_restore_of_what_is_right_touches_nothing() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let id = snapshot(&site);
    let inode = |name: &str| fs::symlink_metadata(folder.join(name)).unwrap();
    let names = ["modules/big", "link", "pipe", "sparse"];
    let before: Vec<(u64, i64)> = names.iter().map(|name| (inode(name).ino(), inode(name).ctime_nsec())).collect();
    let done = dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--yes", "--json"]).success().json();
    assert_eq!(done["changes"].as_array().unwrap().len(), 0, "{done}");
    assert!(done["saved_as"].is_null(), "nothing was replaced: {done}");
    let after: Vec<(u64, i64)> = names.iter().map(|name| (inode(name).ino(), inode(name).ctime_nsec())).collect();
    assert_eq!(before, after);
}

#[test]
fn a_changed_content_is_seen_where_size_and_time_are_the_same() {
    let site = site();
    let path = site.file("data/expert/config");
    fs::write(&path, "one").unwrap();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let id = snapshot(&site);
    fs::write(&path, "two").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--yes"]).success();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
}

#[test]
fn a_path_alone_is_restored_and_the_rest_stays() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let id = snapshot(&site);
    fs::write(folder.join("config.json"), "changed").unwrap();
    fs::write(folder.join("modules/deep/er/leaf"), "changed").unwrap();
    dpl(&site, &["data", "restore", "expert", "config.json", "--snapshot", &id, "--yes"]).success();
    assert_eq!(fs::read_to_string(folder.join("config.json")).unwrap(), "{\"a\": 1}\n");
    assert_eq!(fs::read_to_string(folder.join("modules/deep/er/leaf")).unwrap(), "changed");
    fs::remove_dir_all(folder.join("modules")).unwrap();
    dpl(&site, &["data", "restore", "expert", "modules/deep", "--snapshot", &id, "--yes"]).success();
    assert_eq!(fs::read_to_string(folder.join("modules/deep/er/leaf")).unwrap(), "leaf");
    assert!(!folder.join("modules/big").exists());
    dpl(&site, &["data", "restore", "expert", "config.json", "--snapshot", &id, "--to", "out", "--yes"]).success();
    assert_eq!(fs::read_to_string(site.file("out/config.json")).unwrap(), "{\"a\": 1}\n");
    for path in ["../wheels", "/etc", "nothing"] {
        let code = dpl(&site, &["data", "restore", "expert", path, "--snapshot", &id, "--yes"]).code;
        assert!(code == 1 || code == 2, "{path}: {code}");
    }
}

#[test]
fn nothing_is_written_where_a_link_leads_out_of_the_folder() {
    let site = site();
    site.write("data/expert/modules/a", "a");
    let id = snapshot(&site);
    fs::create_dir(site.file("elsewhere")).unwrap();
    fs::remove_dir_all(site.file("data/expert/modules")).unwrap();
    std::os::unix::fs::symlink(site.file("elsewhere"), site.file("data/expert/modules")).unwrap();
    dpl(&site, &["data", "restore", "expert", "modules/a", "--snapshot", &id, "--yes"]).failure(1);
    assert_eq!(fs::read_dir(site.file("elsewhere")).unwrap().count(), 0);
    // The whole folder: the link goes, what it led to stays.
    site.write("elsewhere/mine", "mine");
    dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--yes"]).success();
    assert_eq!(fs::read_to_string(site.file("data/expert/modules/a")).unwrap(), "a");
    assert_eq!(fs::read_to_string(site.file("elsewhere/mine")).unwrap(), "mine");
}

#[test]
fn a_file_with_a_name_outside_the_folder_is_replaced_and_not_written_through() {
    let site = site();
    site.write("data/expert/a", "as it was");
    let id = snapshot(&site);
    fs::write(site.file("data/expert/a"), "as it is").unwrap();
    fs::hard_link(site.file("data/expert/a"), site.file("outside")).unwrap();
    dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--yes"]).success();
    assert_eq!(fs::read_to_string(site.file("data/expert/a")).unwrap(), "as it was");
    assert_eq!(fs::read_to_string(site.file("outside")).unwrap(), "as it is");
}

#[test]
fn a_target_in_which_something_is_is_refused() {
    let site = site();
    site.write("data/expert/a", "a");
    let id = snapshot(&site);
    site.write("used/mine", "mine");
    let run = dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--to", "used", "--yes"]).failure(1);
    assert!(run.stderr.contains("used"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(site.file("used/mine")).unwrap(), "mine");
    let none = dpl(&site, &["data", "restore", "expert", "--snapshot", "ffffffff", "--yes"]).failure(1);
    assert!(none.stderr.contains("dpl data list"), "{}", none.stderr);
}

#[test]
fn what_is_left_out_by_now_stays_as_it_is_though_the_snapshot_has_it() {
    let site = site();
    site.write("data/wheels/cache/x", "old");
    site.write("data/wheels/a", "old");
    let id = id(&dpl(&site, &["data", "snapshot", "wheels", "--json"]).success().json()["snapshots"][0]["id"]);
    let manifest = crate::place::MANIFEST.replace("\"data/wheels\"", "\"data/wheels\", \"exclude\": [\"cache/\"]");
    site.write("stack.json", &manifest);
    site.write("data/wheels/cache/x", "new");
    site.write("data/wheels/a", "new");
    let changes = dpl(&site, &["data", "diff", "wheels", "--json"]).success().json()["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    dpl(&site, &["data", "restore", "wheels", "--snapshot", &id, "--yes"]).success();
    assert_eq!(fs::read_to_string(site.file("data/wheels/a")).unwrap(), "old");
    assert_eq!(fs::read_to_string(site.file("data/wheels/cache/x")).unwrap(), "new");
}

#[test]
fn a_folder_that_was_deleted_whole_comes_back() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let before = look(&folder);
    let id = snapshot(&site);
    fs::remove_dir_all(site.file("data")).unwrap();
    let done = dpl(&site, &["data", "restore", "expert", "--snapshot", &id, "--yes", "--json"]).success().json();
    assert!(done["saved_as"].is_null(), "nothing was there: {done}");
    assert_same(&look(&folder), &before);
}

#[test]
fn what_is_mounted_in_the_folder_is_left_out_where_the_manifest_says_so() {
    let site = site();
    let manifest = crate::place::MANIFEST.replace("\"data/wheels\"", "\"data/wheels\", \"one_file_system\": true");
    site.write("stack.json", &manifest);
    site.write("data/wheels/a", "a");
    fs::create_dir(site.file("data/wheels/mounted")).unwrap();
    let mounted = site.file("data/wheels/mounted");
    let mount = |words: &[&str]| std::process::Command::new(words[0]).args(&words[1..]).arg(&mounted).status().unwrap();
    assert!(mount(&["mount", "-t", "tmpfs", "none"]).success());
    fs::write(mounted.join("elsewhere"), "x").unwrap();
    let taken = dpl(&site, &["data", "snapshot", "wheels", "--json"]);
    fs::write(site.file("data/wheels/a"), "changed").unwrap();
    let restored = dpl(&site, &["data", "restore", "wheels", "--snapshot", "latest", "--yes"]);
    let there = fs::read_to_string(mounted.join("elsewhere"));
    let names = crate::place::restic_well(&site, &["ls", "latest"]);
    assert!(mount(&["umount"]).success());
    taken.success();
    restored.success();
    assert_eq!(there.unwrap(), "x");
    assert!(names.contains("/mounted") && !names.contains("elsewhere"), "{names}");
    assert_eq!(fs::read_to_string(site.file("data/wheels/a")).unwrap(), "a");
}

#[test]
fn what_somebody_puts_into_a_folder_in_which_a_restore_was_interrupted_stays() {
    let site = site();
    site.write("data/expert/a", "a");
    let id = snapshot(&site);
    // As an interrupted restore leaves it.
    site.write("beside/.dpl-restoring", &id);
    site.write("beside/mine", "mine");
    let restore = ["data", "restore", "expert", "--snapshot", id.as_str(), "--to", "beside", "--yes"];
    let run = dpl(&site, &restore).failure(1);
    assert!(run.stderr.contains("beside"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(site.file("beside/mine")).unwrap(), "mine");
    fs::remove_file(site.file("beside/mine")).unwrap();
    dpl(&site, &restore).success();
    assert_eq!(fs::read_to_string(site.file("beside/a")).unwrap(), "a");
}
