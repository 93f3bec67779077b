//! Verifying and pruning.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::locks::{go_on, wait_until_stopped};
use crate::place::{dpl, noise, restic_well, site, snapshot};
use crate::support::Site;

fn ids(site: &Site) -> Vec<String> {
    let listed = dpl(site, &["data", "list", "expert", "--json"]).success().json();
    let snapshots = listed["snapshots"].as_array().unwrap();
    snapshots.iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
}

fn packs(site: &Site) -> Vec<PathBuf> {
    let shelves = fs::read_dir(site.file("backups/data/data")).unwrap();
    shelves.flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap()).map(|pack| pack.unwrap().path()).collect()
}

/// Three snapshots, of which the rules keep the last one.
fn three() -> (Site, Vec<String>) {
    let site = site();
    for round in 0..3 {
        fs::write(site.file("data/expert/models"), noise(2_000_000, round)).unwrap();
        snapshot(&site);
    }
    let all = ids(&site);
    assert_eq!(all.len(), 3);
    (site, all)
}

#[test]
fn a_prune_keeps_what_the_rules_say_and_frees_the_rest() {
    let (site, all) = three();
    let bytes = |site: &Site| packs(site).iter().map(|pack| fs::metadata(pack).unwrap().len()).sum::<u64>();
    let before = bytes(&site);
    let would = dpl(&site, &["data", "prune", "expert", "--dry-run", "--json"]).success().json();
    assert_eq!(would["done"], false);
    assert_eq!(would["data"][0]["removed"].as_array().unwrap().len(), 2, "{would}");
    assert!(would["freed_bytes"].as_u64().unwrap() > 3_900_000, "{would}");
    assert_eq!(ids(&site), all, "a dry run removes nothing");
    let done = dpl(&site, &["data", "prune", "expert", "--yes", "--json"]).success().json();
    assert_eq!(done["done"], true);
    assert_eq!(ids(&site), all[2..]);
    assert!(bytes(&site) + 3_900_000 < before, "{} of {before} are left", bytes(&site));
    restic_well(&site, &["check", "--read-data"]);
}

#[test]
fn the_last_verified_snapshot_is_never_pruned() {
    let (site, all) = three();
    dpl(&site, &["data", "verify", "--read-data"]).success();
    fs::write(site.file("data/expert/models"), noise(2_000_000, 9)).unwrap();
    let newest = snapshot(&site);
    let done = dpl(&site, &["data", "prune", "expert", "--yes", "--json"]).success().json();
    assert_eq!(ids(&site), [all[2].clone(), newest], "{done}");
    let kept = done["data"][0]["kept"].as_array().unwrap();
    assert!(kept[0]["kept_by"].as_array().unwrap().iter().any(|rule| rule == "last verified"), "{done}");
}

#[test]
fn a_prune_removes_no_snapshot_that_it_did_not_show() {
    let (site, all) = three();
    let mut command = site.command(&["-f", "stack.json", "data", "prune", "expert", "--yes"]);
    command.env("DPL_FAILPOINT", "folders.prune.shown").env("DPL_FAILPOINT_FREEZES", "1");
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_stopped(child.id());
    // By the rules the third goes too, once there is a fourth.
    fs::write(site.file("data/expert/models"), noise(2_000_000, 9)).unwrap();
    let mut other = site.command(&["-f", "stack.json", "--state", "other-state", "data", "snapshot", "expert"]);
    assert!(other.output().unwrap().status.success());
    go_on(child.id());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not what was shown"), "{said}");
    let four = ids(&site);
    assert_eq!(four[..3], all);
    dpl(&site, &["data", "prune", "expert", "--yes"]).success();
    assert_eq!(ids(&site), four[3..]);
}

#[test]
fn snapshots_that_restores_took_push_out_no_other() {
    let (site, all) = three();
    for round in 20..22 {
        fs::write(site.file("data/expert/models"), noise(1_000, round)).unwrap();
        dpl(&site, &["data", "restore", "expert", "--snapshot", "latest", "--yes"]).success();
    }
    let before = ids(&site);
    assert_eq!(before.len(), 5);
    dpl(&site, &["data", "prune", "expert", "--yes"]).success();
    assert_eq!(ids(&site), [all[2].clone(), before[4].clone()]);
}

#[test]
fn a_damaged_pack_is_found_by_reading_and_a_missing_one_without() {
    let (site, _) = three();
    dpl(&site, &["data", "verify"]).success();
    let pack = packs(&site).into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let whole = fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    dpl(&site, &["data", "verify"]).success();
    let found = dpl(&site, &["data", "verify", "--read-data", "--json"]).failure(1);
    assert!(!found.json()["damage"].as_array().unwrap().is_empty(), "{}", found.stdout);
    let listed = dpl(&site, &["data", "list", "expert", "--json"]).success().json();
    assert!(listed["snapshots"][0]["verified_at"].is_null(), "damaged ones are not verified: {listed}");
    fs::write(&pack, &whole[..whole.len() - 1]).unwrap();
    dpl(&site, &["data", "verify"]).failure(1);
    fs::remove_file(&pack).unwrap();
    dpl(&site, &["data", "verify"]).failure(1);
    fs::write(&pack, &whole).unwrap();
    dpl(&site, &["data", "verify", "--read-data"]).success();
}

#[test]
fn snapshots_of_others_in_the_repository_are_left_alone() {
    let (site, all) = three();
    restic_well(&site, &["backup", site.file("stack.json").to_str().unwrap(), "--tag", "mine"]);
    dpl(&site, &["data", "prune", "expert", "--yes"]).success();
    assert_eq!(ids(&site), all[2..]);
    let listed: serde_json::Value = serde_json::from_str(&restic_well(&site, &["snapshots", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    restic_well(&site, &["check", "--read-data"]);
}
