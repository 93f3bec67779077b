//! Stock restic as the judge of what dpl writes, and as a writer beside it.

use std::fs;

use crate::place::{assert_same, blocks, dpl, fill, look, restic, restic_well, site, snapshot};

/// Restic before 0.17 keeps the bytes of a link's target only where they are UTF-8.
fn without_foreign_target(seen: &mut std::collections::BTreeMap<std::path::PathBuf, crate::place::Seen>) {
    assert!(seen.remove(std::path::Path::new("dangling")).is_some());
}

#[test]
fn restic_checks_lists_dumps_and_restores_what_dpl_wrote() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let id = snapshot(&site);
    restic_well(&site, &["check", "--read-data"]);
    let listed: serde_json::Value = serde_json::from_str(&restic_well(&site, &["snapshots", "--json"])).unwrap();
    assert_eq!(listed[0]["id"], id);
    assert_eq!(listed[0]["paths"][0], folder.to_str().unwrap());
    assert!(listed[0]["tags"].as_array().unwrap().iter().any(|tag| tag == "p/expert"), "{listed}");
    let names = restic_well(&site, &["ls", "latest"]);
    assert!(names.contains("/modules/deep/er/leaf"), "{names}");
    let leaf = folder.join("modules/deep/er/leaf");
    assert_eq!(restic_well(&site, &["dump", "latest", leaf.to_str().unwrap()]), "leaf");
    let target = site.file("by-restic");
    restic_well(&site, &["restore", "latest", "--target", target.to_str().unwrap()]);
    let restored = target.join(folder.strip_prefix("/").unwrap());
    let (mut by_restic, mut before) = (look(&restored), look(&folder));
    without_foreign_target(&mut by_restic);
    without_foreign_target(&mut before);
    assert_same(&by_restic, &before);
}

#[test]
fn dpl_restores_what_restic_wrote_and_both_share_what_is_equal() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    let mut before = look(&folder);
    without_foreign_target(&mut before);
    restic_well(&site, &["backup", folder.to_str().unwrap(), "--tag", "p/expert"]);
    let listed = dpl(&site, &["data", "list", "expert", "--json"]).success().json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    dpl(&site, &["data", "restore", "expert", "--snapshot", "latest", "--to", "beside", "--yes"]).success();
    let mut beside = look(&site.file("beside"));
    without_foreign_target(&mut beside);
    assert_same(&beside, &before);
    assert!(blocks(&site.file("beside/sparse")) < 1 << 20);
    // dpl's own snapshot of it adds next to nothing: chunks are cut alike.
    let size = |folder: &std::path::Path| -> u64 {
        let mut total = 0;
        for shelf in fs::read_dir(folder).unwrap() {
            for pack in fs::read_dir(shelf.unwrap().path()).unwrap() {
                total += pack.unwrap().metadata().unwrap().len();
            }
        }
        total
    };
    let data = site.file("backups/data/data");
    let with_restic = size(&data);
    snapshot(&site);
    assert!(size(&data) < with_restic + 100_000, "{} after {with_restic}", size(&data));
    dpl(&site, &["data", "verify", "--read-data"]).success();
}

#[test]
fn dpl_goes_on_with_what_a_prune_of_restic_left() {
    let site = site();
    let folder = site.file("data/expert");
    fill(&folder);
    snapshot(&site);
    fs::remove_file(folder.join("sparse")).unwrap();
    fs::write(folder.join("modules/big"), crate::place::noise(3_000_000, 8)).unwrap();
    let second = snapshot(&site);
    let first = restic_well(&site, &["snapshots", "--json"]);
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    restic_well(&site, &["forget", "--prune", first[0]["id"].as_str().unwrap()]);
    dpl(&site, &["data", "verify", "--read-data"]).success();
    let before = look(&folder);
    dpl(&site, &["data", "restore", "expert", "--snapshot", &second, "--to", "beside", "--yes"]).success();
    assert_same(&look(&site.file("beside")), &before);
    let third = snapshot(&site);
    assert!(restic(&site, &["check", "--read-data"]).status.success());
    assert_ne!(third, second);
}
