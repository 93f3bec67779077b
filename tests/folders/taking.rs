//! Snapshots: taken, listed, compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::place::{dpl, fill, restic_well, site, snapshot};
use crate::support::Site;

#[test]
fn the_repository_is_made_once_with_a_password_of_its_own_and_a_sheet_to_print() {
    let site = Site::in_memory(crate::place::MANIFEST);
    let asked = dpl(&site, &["data", "init"]).failure(2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert!(!site.file("backups/data/config").exists());
    let would = dpl(&site, &["data", "init", "--dry-run", "--json"]).success().json();
    assert_eq!(would["created"], false);
    assert!(!site.file("secrets").exists(), "a dry run writes nothing");
    let made = dpl(&site, &["data", "init", "--yes"]).success();
    let password = fs::read_to_string(site.file("secrets/repository")).unwrap();
    assert_eq!(password.trim().len(), 64);
    assert_eq!(fs::metadata(site.file("secrets/repository")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(made.stdout.contains(password.trim()), "the sheet has the password: {}", made.stdout);
    assert!(made.stdout.contains("restic -r"), "{}", made.stdout);
    // Again: the same repository, the same sheet; the document has no password.
    let again = dpl(&site, &["data", "init", "--yes"]).success();
    assert_eq!(again.stdout, made.stdout);
    let document = dpl(&site, &["data", "init", "--yes", "--json"]).success();
    assert!(!document.stdout.contains(password.trim()));
    assert_eq!(document.json()["created"], false);
    assert_eq!(dpl(&site, &["data", "init", "--dry-run", "--json"]).success().json(), document.json());
    restic_well(&site, &["snapshots"]);
    let journal = fs::read_to_string(site.state("journal.jsonl")).unwrap();
    assert!(!journal.contains(password.trim()));
}

#[test]
fn an_init_replaces_no_link_that_leads_nowhere_and_none_runs_beside_another() {
    let site = Site::in_memory(crate::place::MANIFEST);
    fs::create_dir_all(site.file("secrets")).unwrap();
    let password = site.file("secrets/repository");
    // The disk with the password is not there.
    std::os::unix::fs::symlink("../safe/repository", &password).unwrap();
    dpl(&site, &["data", "init", "--yes"]).failure(1);
    assert_eq!(fs::read_link(&password).unwrap(), std::path::Path::new("../safe/repository"));
    assert!(!site.file("backups/data/config").exists());
    fs::remove_file(&password).unwrap();
    fs::create_dir_all(site.file("backups/data")).unwrap();
    let held = fs::File::open(site.file("backups/data")).unwrap();
    held.lock().unwrap();
    dpl(&site, &["data", "init", "--yes"]).failure(1);
    assert!(!site.file("backups/data/config").exists());
    drop(held);
    dpl(&site, &["data", "init", "--yes"]).success();
}

#[test]
fn without_a_repository_the_way_to_one_is_said() {
    let site = Site::in_memory(crate::place::MANIFEST);
    let run = dpl(&site, &["data", "snapshot"]).failure(1);
    assert!(run.stderr.contains("dpl data init"), "{}", run.stderr);
    let listed = dpl(&site, &["data", "list"]).success();
    assert!(listed.stdout.contains("expert") && listed.stderr.contains("dpl data init"), "{listed:?}");
}

#[test]
fn a_wrong_password_is_said_and_nothing_is_written() {
    let site = site();
    fs::write(site.file("secrets/repository"), "another one\n").unwrap();
    let run = dpl(&site, &["data", "snapshot", "expert"]).failure(1);
    assert!(run.stderr.contains("does not open"), "{}", run.stderr);
    assert_eq!(fs::read_dir(site.file("backups/data/snapshots")).unwrap().count(), 0);
}

#[test]
fn snapshots_are_listed_with_their_ids_and_share_what_is_equal() {
    let site = site();
    fill(&site.file("data/expert"));
    let first = snapshot(&site);
    let second = snapshot(&site);
    let listed = dpl(&site, &["data", "list", "--json"]).success().json();
    assert_eq!(listed["data"][0]["name"], "expert");
    // The manifest has no databases: data folders begin with 1.
    assert_eq!(listed["data"][0]["index"], 1);
    assert_eq!(listed["data"][1]["index"], 2);
    let snapshots = listed["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [&first, &second]);
    assert!(snapshots[0]["added_bytes"].as_u64().unwrap() > 3_000_000);
    assert!(snapshots[1]["added_bytes"].as_u64().unwrap() < 10_000, "{}", snapshots[1]);
    let table = dpl(&site, &["data", "list"]).success().stdout;
    assert!(table.contains(&first[..8]), "{table}");
}

#[test]
fn a_data_folder_is_chosen_by_name_glob_and_number() {
    let site = site();
    for (selector, chosen) in [("expert", vec!["expert"]), ("w*", vec!["wheels"]), ("1..2", vec!["expert", "wheels"])] {
        let listed = dpl(&site, &["data", "list", selector, "--json"]).success().json();
        let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|data| data["name"].clone()).collect();
        assert_eq!(names, chosen, "{selector}");
    }
    let none = dpl(&site, &["data", "snapshot", "exprt"]).failure(2);
    assert!(none.stderr.contains("expert"), "{}", none.stderr);
    dpl(&site, &["data", "prune", "--yes"]).failure(2);
}

#[test]
fn what_is_left_out_is_not_in_the_snapshot() {
    let site = site();
    for name in ["cache/x", "modules/cache/y", "a.tmp", "a.txt", ".dpl-staging/z"] {
        site.write(&format!("data/expert/{name}"), name);
    }
    let id = snapshot(&site);
    let listed = restic_well(&site, &["ls", &id[..8]]);
    assert!(listed.contains("/a.txt"), "{listed}");
    for gone in ["cache", "a.tmp", ".dpl-"] {
        assert!(!listed.contains(gone), "{gone} is in\n{listed}");
    }
}

#[test]
fn a_difference_is_told_by_its_kind() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let first = snapshot(&site);
    let same = dpl(&site, &["data", "diff", "expert", "--json"]).success().json();
    assert_eq!(same["changes"].as_array().unwrap().len(), 0, "{same}");
    fs::write(folder.join("new"), "new").unwrap();
    fs::write(folder.join("modules/deep/er/leaf"), "LEAF").unwrap();
    fs::set_permissions(folder.join("config.json"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(folder.join("link")).unwrap();
    // Another kind of thing, with something in it.
    fs::remove_file(folder.join("pipe")).unwrap();
    fs::create_dir(folder.join("pipe")).unwrap();
    fs::write(folder.join("pipe/inside"), "x").unwrap();
    let changes = |run: &[&str]| -> Vec<(String, String)> {
        let document = dpl(&site, run).success().json();
        let changes = document["changes"].as_array().unwrap();
        let text = |change: &serde_json::Value, key: &str| change[key].as_str().unwrap().to_owned();
        changes.iter().map(|change| (text(change, "path"), text(change, "change"))).collect()
    };
    let expected = [
        ("config.json", "properties"),
        ("link", "removed"),
        ("modules/deep/er/leaf", "content"),
        ("new", "added"),
        ("pipe", "content"),
        ("pipe/inside", "added"),
    ]
    .map(|(path, change)| (path.to_owned(), change.to_owned()));
    assert_eq!(changes(&["data", "diff", "expert", "--json"]), expected);
    let second = snapshot(&site);
    assert_eq!(changes(&["data", "diff", "expert", "--from", &first[..8], "--to", &second[..8], "--json"]), expected);
    assert_eq!(changes(&["data", "diff", "1", "--json"]), []);
}

#[test]
fn a_folder_that_is_not_there_is_said_and_leaves_no_snapshot() {
    let site = site();
    fs::remove_dir(site.file("data/expert")).unwrap();
    let run = dpl(&site, &["data", "snapshot", "expert"]).failure(1);
    assert!(run.stderr.contains("data/expert"), "{}", run.stderr);
    assert_eq!(fs::read_dir(site.file("backups/data/snapshots")).unwrap().count(), 0);
}

#[test]
fn a_folder_that_has_lost_all_its_files_is_refused_until_that_is_said_to_be_meant() {
    let site = site();
    let folder = site.file("data/expert");
    // Nothing was there before either: nobody is asked.
    snapshot(&site);
    site.write("data/expert/models/a", "a");
    let id = snapshot(&site);
    // As a mount point looks whose disk is missing, with a folder that an engine made for a container.
    fs::remove_file(folder.join("models/a")).unwrap();
    site.write("data/expert/cache/x", "left out");
    site.write("data/wheels/b", "b");
    let run = dpl(&site, &["data", "snapshot"]).failure(1);
    assert!(run.stderr.contains("the last snapshot of expert has 1 file"), "{}", run.stderr);
    assert!(run.stderr.contains("--allow-empty"), "{}", run.stderr);
    let listed = dpl(&site, &["data", "list", "--json"]).success().json();
    let snapshots = listed["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2, "{listed}");
    assert_eq!(snapshots[1]["id"].as_str(), Some(id.as_str()));
    dpl(&site, &["data", "snapshot", "expert", "--allow-empty"]).success();
    snapshot(&site);
}

/// A file that is removed, one that grows, and one that becomes a pipe, between the look at their folder and their turn.
#[test]
fn files_that_vanish_or_change_while_they_are_read_are_told() {
    use std::io::Write;
    let site = site();
    let folder = site.file("data/expert");
    fs::write(folder.join("a-first"), crate::place::noise(40_000_000, 3)).unwrap();
    for name in ["gone", "growing", "piped"] {
        fs::write(folder.join(name), vec![b'x'; 100_000]).unwrap();
    }
    let mut command = site.command(&["-f", "stack.json", "data", "snapshot", "expert", "--json"]);
    command.env("DPL_FAILPOINT", "folders.walk.listed:1").env("DPL_FAILPOINT_FREEZES", "1");
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    crate::locks::wait_until_stopped(child.id());
    fs::remove_file(folder.join("gone")).unwrap();
    fs::OpenOptions::new().append(true).open(folder.join("growing")).unwrap().write_all(b"more").unwrap();
    fs::remove_file(folder.join("piped")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("piped"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    crate::locks::go_on(child.id());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let troubles = document["snapshots"][0]["troubles"].as_array().unwrap();
    let whats: Vec<&str> = troubles.iter().map(|trouble| trouble["what"].as_str().unwrap()).collect();
    assert_eq!(whats.len(), 3, "{whats:?}");
    assert!(whats[0].contains("gone vanished") && whats[1].contains("growing changed") && whats[2].contains("piped"));
    restic_well(&site, &["check", "--read-data"]);
    let listed = restic_well(&site, &["ls", "latest"]);
    assert!(listed.contains("growing") && !listed.contains("/gone"), "{listed}");
}

/// The snapshot is kept, and the exit code says that it is not whole.
#[test]
fn a_file_that_can_not_be_read_is_missed_loudly() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let site = Site::with_manifest(crate::place::MANIFEST);
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["data/expert/fine", "data/expert/sealed", "data/expert/closed/inside"] {
        site.write(name, name);
    }
    dpl(&site, &["data", "init", "--yes"]).success();
    let program = site.file("program");
    fs::copy(site.command(&[]).get_program(), &program).unwrap();
    let owner = format!("{NOBODY}:{NOBODY}");
    assert!(std::process::Command::new("chown").args(["-R", &owner]).arg(site.path()).status().unwrap().success());
    for name in ["sealed", "closed"] {
        let path = site.file(&format!("data/expert/{name}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let mut command = std::process::Command::new(&program);
    command.args(["-f", "stack.json", "data", "snapshot", "expert", "--json"]).current_dir(site.path()).env_clear();
    let output = command.env("HOME", "/nonexistent").uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let troubles = document["snapshots"][0]["troubles"].as_array().unwrap();
    assert_eq!(troubles.iter().filter(|trouble| trouble["is_loss"] == true).count(), 2, "{document}");
    assert!(said.contains("sealed could not be read") && said.contains("2 files were not"), "{said}");
    let listed = restic_well(&site, &["ls", "latest"]);
    assert!(listed.contains("/fine") && !listed.contains("/sealed"), "{listed}");
}

#[test]
fn a_snapshot_that_is_interrupted_leaves_none_and_no_lock_and_the_next_goes_on() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let mut command = site.command(&["-f", "stack.json", "data", "snapshot", "expert"]);
    command.env("DPL_FAILPOINT", "folders.walk.listed:2").env("DPL_FAILPOINT_FREEZES", "1");
    let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    crate::locks::wait_until_stopped(child.id());
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    crate::locks::go_on(child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_dir(site.file("backups/data/snapshots")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(site.file("backups/data/locks")).unwrap().count(), 0);
    restic_well(&site, &["check", "--read-data"]);
    snapshot(&site);
    restic_well(&site, &["check", "--read-data"]);
}

#[test]
fn services_of_which_nobody_can_tell_whether_they_run_are_named_and_the_snapshot_is_taken() {
    let site = site();
    let manifest = crate::place::MANIFEST.replace("\"data/wheels\"", "\"data/wheels\", \"used_by\": [\"web\"]");
    site.write("stack.json", &manifest);
    let run = dpl(&site, &["data", "snapshot", "wheels"]).success();
    assert!(run.stderr.contains("can't be told: web"), "{}", run.stderr);
    // To stop them takes an engine: nothing is done without one.
    dpl(&site, &["data", "snapshot", "wheels", "--stop"]).failure(4);
    assert_eq!(fs::read_dir(site.file("backups/data/snapshots")).unwrap().count(), 1);
}
