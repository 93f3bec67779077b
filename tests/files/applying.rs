//! What an apply does in each mode, and the way back.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::place::{apply, files, fill, look, manifest, own, site};

const OLD: &[(&str, &str)] = &[("a.py", "1"), ("sub/b.py", "1"), ("gone.py", "1"), ("same.py", "same")];
const NEW: &[(&str, &str)] = &[("a.py", "2"), ("sub/b.py", "1"), ("new/c.py", "1"), ("same.py", "same")];

#[test]
fn a_mirror_is_exactly_what_was_delivered_and_the_rollback_what_was_there() {
    let site = site(r#", "mode": "mirror", "most_removed": 50"#);
    fill(&site.file("delivery"), NEW);
    fill(&site.file("data/modules"), OLD);
    let before = look(&site.file("data/modules"));
    let inode = fs::metadata(site.file("data/modules/same.py")).unwrap().ino();

    let plan = files(&site, &["plan", "--json"]).success().json();
    let folder = &plan["files"][0];
    assert_eq!((folder["added"].as_u64(), folder["changed"].as_u64()), (Some(1), Some(1)), "{plan}");
    assert_eq!((folder["removed"].as_u64(), folder["unchanged"].as_u64()), (Some(1), Some(2)), "{plan}");
    assert_eq!((folder["present"].as_u64(), folder["copied_bytes"].as_u64()), (Some(4), Some(2)), "{plan}");
    assert_eq!(folder["asks_for_count"], false);
    let page = files(&site, &["plan", "--paths"]).success().stdout;
    for line in ["  ~ a.py\n", "  - gone.py\n", "  + new/\n", "  + new/c.py\n"] {
        assert!(page.contains(line), "{page}");
    }
    files(&site, &["apply", "--dry-run"]).success();
    assert_eq!(look(&site.file("data/modules")), before, "a plan changes nothing");
    assert!(own(&site.file("data")).is_empty());

    let done = files(&site, &["apply", "--yes", "--json"]).success().json();
    assert_eq!(done["files"][0]["swapped"], true);
    assert_eq!(look(&site.file("data/modules")), look(&site.file("delivery")));
    assert_eq!(own(&site.file("data")), [".dpl-kept-modules"]);
    assert_eq!(look(&site.file("data/.dpl-kept-modules")), before);
    let now = fs::metadata(site.file("data/modules/same.py")).unwrap().ino();
    assert_eq!(now, inode, "what does not change is linked, not copied");

    let again = apply(&site).success();
    assert!(again.stderr.contains("everything is in place already"), "{}", again.stderr);
    let listed = site.run(&["-f", "stack.json", "files", "list", "--json"]).success().json();
    assert_eq!(listed["files"][0]["delivered_files"], 4);
    assert!(listed["files"][0]["kept_since"].is_string());

    files(&site, &["rollback", "--yes"]).success();
    assert_eq!(look(&site.file("data/modules")), before);
    files(&site, &["rollback", "--yes"]).success();
    assert_eq!(look(&site.file("data/modules")), look(&site.file("delivery")), "and there again");
}

#[test]
fn merge_replaces_and_removes_nothing_and_add_replaces_nothing() {
    let with_mode = |mode: &str| {
        let site = site(&format!(r#", "mode": "{mode}""#));
        fill(&site.file("delivery"), NEW);
        fill(&site.file("data/modules"), OLD);
        apply(&site).success();
        look(&site.file("data/modules"))
    };
    let merged = with_mode("merge");
    assert_eq!((merged["a.py"].as_str(), merged["gone.py"].as_str(), merged["new/c.py"].as_str()), ("2", "1", "1"));
    let added = with_mode("add");
    assert_eq!((added["a.py"].as_str(), added["gone.py"].as_str(), added["new/c.py"].as_str()), ("1", "1", "1"));
}

#[test]
fn what_the_manifest_leaves_out_is_neither_delivered_nor_removed() {
    let site = site(r#", "mode": "mirror", "exclude": ["cache/", "*.pyc", "conf/local.yaml"]"#);
    fill(&site.file("delivery"), &[("a.py", "1"), ("a.pyc", "theirs"), ("conf/local.yaml", "theirs"), ("conf/x", "1")]);
    fill(&site.file("data/modules"), &[("cache/deep/x", "1"), ("b.pyc", "mine"), ("conf/local.yaml", "mine")]);
    apply(&site).success();
    let now = look(&site.file("data/modules"));
    let names: Vec<&str> = now.keys().map(String::as_str).collect();
    let left = ["a.py", "b.pyc", "cache/", "cache/deep/", "cache/deep/x", "conf/", "conf/local.yaml", "conf/x"];
    assert_eq!(names, left);
    assert_eq!(now["conf/local.yaml"], "mine");
}

#[test]
fn a_renamed_target_moves_and_the_rollback_gives_it_its_old_name() {
    let site = site("");
    manifest(&site, "data/wheel", r#", "mode": "mirror", "was": ["wheels"]"#);
    fill(&site.file("delivery"), &[("a.whl", "1"), ("b.whl", "2")]);
    fill(&site.file("data/wheels"), &[("a.whl", "1"), ("b.whl", "1")]);
    let before = look(&site.file("data/wheels"));
    let inode = fs::metadata(site.file("data/wheels/a.whl")).unwrap().ino();
    let plan = files(&site, &["plan"]).success();
    assert!(plan.stderr.contains("the folder `wheels` becomes SITE/data/wheel"), "{}", plan.stderr);
    apply(&site).success();
    assert!(!site.file("data/wheels").exists());
    assert_eq!(look(&site.file("data/wheel")), look(&site.file("delivery")));
    assert_eq!(fs::metadata(site.file("data/wheel/a.whl")).unwrap().ino(), inode, "moved, not copied");
    files(&site, &["rollback", "--yes"]).success();
    assert!(!site.file("data/wheel").exists());
    assert_eq!(look(&site.file("data/wheels")), before);
    // And once more, from the start.
    apply(&site).success();
    assert_eq!(look(&site.file("data/wheel")), look(&site.file("delivery")));
    // One that comes back beside the target is left alone.
    fill(&site.file("data/wheels"), &[("mine", "1")]);
    let plan = files(&site, &["plan"]).success();
    assert!(plan.stderr.contains("SITE/data/wheels stays"), "{}", plan.stderr);
}

#[test]
fn a_target_that_was_not_there_goes_with_the_rollback() {
    let site = site("");
    fill(&site.file("delivery"), NEW);
    apply(&site).success();
    assert_eq!(look(&site.file("data/modules")), look(&site.file("delivery")));
    assert!(own(&site.file("data")).is_empty());
    files(&site, &["rollback", "--yes"]).success();
    assert!(!site.file("data/modules").exists());
    let run = files(&site, &["rollback", "--yes"]).failure(1);
    assert!(run.stderr.contains("nothing is kept of `modules`"), "{}", run.stderr);
    apply(&site).success();
    assert_eq!(look(&site.file("data/modules")), look(&site.file("delivery")));
    assert!(own(&site.file("data")).is_empty());
}

#[test]
fn permissions_times_links_and_names_of_any_bytes_arrive() {
    let site = site(r#", "permissions": { "files": "0640", "folders": "0750" }"#);
    let delivery = site.file("delivery");
    fill(&delivery, &[("sub/a", "1")]);
    let odd = OsStr::from_bytes(b"odd\xff%name");
    fs::write(delivery.join(odd), "odd").unwrap();
    symlink("sub/a", delivery.join("link")).unwrap();
    symlink("/nowhere", delivery.join("dangling")).unwrap();
    apply(&site).success();
    let target = site.file("data/modules");
    let mode = |path: &str| fs::metadata(target.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("sub"), mode("sub/a")), (0o750, 0o750, 0o640));
    assert_eq!(fs::read_to_string(target.join(odd)).unwrap(), "odd");
    assert_eq!(fs::read_link(target.join("dangling")).unwrap().to_str(), Some("/nowhere"));
    let modified = |folder: &std::path::Path| fs::metadata(folder.join("sub/a")).unwrap().modified().unwrap();
    assert_eq!(modified(&delivery), modified(&target));
    let again = files(&site, &["apply", "--yes", "--json"]).success().json();
    assert_eq!(again["files"][0]["swapped"], false, "{again}");
    let status = site.run(&["-f", "stack.json", "files", "status", "--json"]).success().json();
    assert_eq!(status["files"][0]["local"], serde_json::json!([]));
    // Somebody edits the one with the odd name.
    fs::write(target.join(odd), "edited").unwrap();
    let status = files(&site, &["status", "--json"]).success().json();
    assert_eq!(status["files"][0]["local"][0]["path"], "odd%FF%25name");
}

#[test]
fn a_file_system_without_links_gets_copies() {
    let mut site = site("");
    site.set("DPL_PRETENDS", "files.no-links");
    fill(&site.file("delivery"), NEW);
    fill(&site.file("data/modules"), OLD);
    fs::set_permissions(site.file("data/modules/gone.py"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("a.py", site.file("data/modules/link")).unwrap();
    apply(&site).success();
    let now = look(&site.file("data/modules"));
    assert_eq!((now["a.py"].as_str(), now["gone.py"].as_str(), now["link"].as_str()), ("2", "1", "-> a.py"));
    assert_eq!(fs::metadata(site.file("data/modules/gone.py")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_target_behind_a_link_is_replaced_where_it_really_is() {
    let site = site(r#", "mode": "mirror""#);
    fill(&site.file("delivery"), NEW);
    fill(&site.file("data/disk/modules"), &[("a.py", "1")]);
    symlink("disk/modules", site.file("data/modules")).unwrap();
    apply(&site).success();
    assert!(fs::symlink_metadata(site.file("data/modules")).unwrap().file_type().is_symlink());
    assert_eq!(look(&site.file("data/disk/modules")), look(&site.file("delivery")));
    assert_eq!(own(&site.file("data/disk")), [".dpl-kept-modules"]);
}

#[test]
fn a_target_that_cannot_be_renamed_is_changed_path_by_path_and_back() {
    let mut site = site(r#", "mode": "mirror", "most_removed": 50"#);
    site.set("DPL_PRETENDS", "files.target-mounted");
    fill(&site.file("delivery"), NEW);
    fill(&site.file("data/modules"), OLD);
    let target = site.file("data/modules");
    let (before, inode) = (look(&target), fs::metadata(&target).unwrap().ino());
    let plan = files(&site, &["plan"]).success();
    assert!(plan.stderr.contains("something is mounted at SITE/data/modules"), "{}", plan.stderr);
    apply(&site).success();
    assert_eq!(look(&target), look(&site.file("delivery")));
    assert_eq!(fs::metadata(&target).unwrap().ino(), inode);
    assert_eq!(own(&target), [".dpl-kept"]);
    files(&site, &["rollback", "--yes"]).success();
    assert_eq!(look(&target), before);
    files(&site, &["rollback", "--yes"]).success();
    assert_eq!(look(&target), look(&site.file("delivery")));
}

#[test]
fn a_rollback_names_the_target_that_it_works_on() {
    let site = site("");
    fill(&site.file("delivery"), &[("conf", "2")]);
    fill(&site.file("data/modules"), &[("conf", "1")]);
    apply(&site).success();
    // The manifest names another one by now.
    manifest(&site, "data/elsewhere", "");
    for arguments in [["rollback", "--dry-run", "--json"], ["rollback", "--yes", "--json"]] {
        let document = files(&site, &arguments).success().json();
        let to = document["files"][0]["to"].as_str().unwrap();
        assert!(to.ends_with("data/modules"), "{document}");
    }
    assert_eq!(look(&site.file("data/modules"))["conf"], "1");
}

#[test]
fn several_folders_are_put_in_place_by_one_command_and_the_journal_has_it() {
    let site = site("");
    site.write(
        "stack.json",
        r#"{ "project": "p", "services": { "web": { "image": "web:1" } }, "files": {
            "conf": { "from": "delivery/conf", "to": "conf" },
            "modules": { "from": "delivery/modules", "to": "modules" } } }"#,
    );
    fill(&site.file("delivery/conf"), &[("x", "1")]);
    fill(&site.file("delivery/modules"), &[("y", "1")]);
    files(&site, &["apply", "--yes"]).success();
    assert_eq!((look(&site.file("conf")).len(), look(&site.file("modules")).len()), (1, 1));
    let history = site.run(&["history", "stack.json", "--json"]).success().json();
    assert_eq!(history["actions"][0]["command"], "dpl files apply conf modules", "{history}");
    fill(&site.file("delivery/conf"), &[("x", "2")]);
    fill(&site.file("delivery/modules"), &[("y", "2")]);
    files(&site, &["apply", "conf", "--yes"]).success();
    assert_eq!((look(&site.file("conf"))["x"].as_str(), look(&site.file("modules"))["y"].as_str()), ("2", "1"));
}
