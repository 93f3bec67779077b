//! Transfers in which nothing moves any more, and disks without room: each is noticed, and said in a way that helps.

use std::time::{Duration, Instant};

use crate::harness::{Ended, run};
use crate::subjects::images::write_image;
use crate::support::Site;
use crate::support_fake_engine::{Answer, FakeEngine, Rule};

const MANIFEST: &str = r#"{"project": "fake", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;
const ID: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A fake engine, and a site that gives up after a second of silence.
struct Fake {
    site: Site,
    engine: FakeEngine,
}

impl Fake {
    fn with(rules: Vec<Rule>) -> Self {
        let mut site = Site::with_manifest(MANIFEST);
        let engine = FakeEngine::start(&site.file("docker.sock"), rules);
        site.set("DOCKER_HOST", &engine.address).set("DPL_STALL_TIMEOUT", "1s");
        std::fs::create_dir(site.file("store")).unwrap();
        Self { site, engine }
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, words: &[&str]) -> Ended {
        let ended = run(&self.site, arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {}", ended.stderr);
        for word in words {
            assert!(ended.stderr.contains(word), "no `{word}` in: {}", ended.stderr);
        }
        assert!(ended.took < Duration::from_secs(15), "{arguments:?} took {:?}", ended.took);
        ended
    }

    fn asked(&self, request: &str) -> usize {
        self.engine.requests().iter().filter(|heard| heard.contains(request)).count()
    }
}

/// What the engine says of the image of the manifest.
fn view() -> Rule {
    let view = format!(
        r#"{{"Id":"{ID}","RepoTags":["a:1"],"Size":1024,"RootFS":{{"Type":"layers","Layers":["{ID}"]}},"Config":{{}}}}"#
    );
    ("GET", "/images/a:1/json", Answer::Json(200, Box::leak(view.into_boxed_str())))
}

fn export(answer: Answer) -> Vec<Rule> {
    vec![view(), ("GET", "/images/get", answer.clone()), ("GET", "/images/a:1/get", answer)]
}

#[test]
fn an_export_in_which_nothing_moves_ends_with_what_to_do() {
    let silent = [
        ("before its head", Answer::Stall),
        ("after its head", Answer::Begin(HEAD.as_bytes().to_vec())),
        ("in the middle", Answer::Begin(format!("{HEAD}5\r\nhello\r\n").into_bytes())),
    ];
    for (what, answer) in silent {
        for format in ["layout", "docker-archive"] {
            println!("{what}, {format}");
            let fake = Fake::with(export(answer.clone()));
            fake.ends(
                &["save", "--format", format],
                1,
                &[
                    "can't export image a:1",
                    "nothing has moved",
                    "though the engine answers",
                    "hint:",
                    "DPL_STALL_TIMEOUT",
                ],
            );
            assert!(fake.asked("/_ping") > 0, "the engine was asked whether it is there");
        }
    }
}

#[test]
fn an_engine_that_answers_nothing_at_all_any_more_is_not_reached() {
    let mut rules = export(Answer::Stall);
    rules.push(("GET", "/_ping", Answer::Close));
    Fake::with(rules).ends(&["save"], 4, &["answers nothing any more", "hint:"]);
}

#[test]
fn an_export_that_is_slow_is_no_stall_however_long_it_takes() {
    // More than the limit of 1 s until enough has come to see that it is no archive, in pauses that are far shorter.
    let slowly = format!("HTTP/1.1 200 OK\r\nContent-Length: 1400\r\n\r\n{}", "x".repeat(1400));
    let fake = Fake::with(export(Answer::Slowly(slowly.into_bytes())));
    let begun = Instant::now();
    let ended = fake.ends(&["save"], 1, &["error:"]);
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(!ended.stderr.contains("nothing has moved"), "{}", ended.stderr);
}

#[test]
fn a_load_in_which_nothing_moves_ends_and_is_not_tried_again() {
    for (what, answer) in [("taken in, never answered", Answer::Stall), ("not even taken in", Answer::Deaf)] {
        println!("{what}");
        let rules = vec![("GET", "/images/json", Answer::Json(200, "[]")), ("POST", "/images/load", answer)];
        let fake = Fake::with(rules);
        write_image(&fake.site.file("store/a_1.tar"), "a:1", &[vec![0; 8 << 20]]);
        fake.ends(&["load"], 1, &["a:1", "nothing has moved", "hint:", "DPL_STALL_TIMEOUT"]);
        assert_eq!(fake.asked("/images/load"), 1);
        assert_eq!(fake.asked("/tag"), 0, "no name was moved");
    }
}

#[test]
fn a_limit_that_is_none_is_a_wrong_usage() {
    let mut fake = Fake::with(export(Answer::Stall));
    for wrong in ["soon", "0s"] {
        fake.site.set("DPL_STALL_TIMEOUT", wrong);
        fake.ends(&["save"], 2, &["DPL_STALL_TIMEOUT"]);
    }
}

/// A disk of so many bytes, for as long as the test lasts.
struct SmallDisk {
    folder: std::path::PathBuf,
}

impl SmallDisk {
    fn mounted(folder: std::path::PathBuf, bytes: u64) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let options = format!("size={bytes}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&folder)
            .status()
            .unwrap();
        assert!(mounted.success(), "these tests run as root (scripts/test.sh)");
        Self { folder }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.folder).status();
    }
}

#[test]
fn a_store_without_room_is_said_before_anything_is_exported() {
    let view = format!(
        r#"{{"Id":"{ID}","RepoTags":["a:1"],"Size":90000000,"RootFS":{{"Type":"layers","Layers":["{ID}"]}},"Config":{{}}}}"#
    );
    let view: &'static str = Box::leak(view.into_boxed_str());
    let fake = Fake::with(vec![("GET", "/images/a:1/json", Answer::Json(200, view))]);
    let disk = SmallDisk::mounted(fake.site.file("store"), 8 << 20);

    let ended = fake.ends(&["save", "--dry-run"], 0, &[]);
    assert!(ended.stdout.contains("too little") && ended.stdout.contains("8.4 MB"), "{}", ended.stdout);
    for more in [&["--compression", "none"][..], &["--format", "docker-archive"], &[]] {
        let words = ["too little room in", "store", "are free", "make room", "--no-space-check"];
        fake.ends(&[&["save"], more].concat(), 1, &words);
    }
    assert_eq!(fake.asked("/get"), 0, "nothing was exported");
    assert!(!disk.folder.join("blobs/sha256").read_dir().is_ok_and(|mut blobs| blobs.next().is_some()));
    // The fake exports nothing: that it is asked to is enough.
    fake.ends(&["save", "--no-space-check"], 1, &["can't export"]);
    assert_eq!(fake.asked("/get"), 1);
}

#[test]
fn an_engine_without_room_is_said_before_anything_is_sent() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mounted(folder.path().join("docker"), 4 << 20);
    for (name, is_local) in [(host.trim(), true), ("another-host", false)] {
        let info = format!(
            r#"{{"ID":"fake","Name":"{name}","Driver":"overlay2","DriverStatus":[],"DockerRootDir":"{}"}}"#,
            disk.folder.display()
        );
        let info: &'static str = Box::leak(info.into_boxed_str());
        let load = Answer::Json(500, r#"{"message":"the fake takes nothing"}"#);
        let fake = Fake::with(vec![
            ("GET", "/info", Answer::Json(200, info)),
            ("GET", "/images/json", Answer::Json(200, "[]")),
            ("POST", "/images/load", load),
        ]);
        write_image(&fake.site.file("store/a_1.tar"), "a:1", &[vec![0; 6 << 20]]);
        let dry = fake.ends(&["load", "--dry-run"], 0, &[]);
        if is_local {
            assert!(dry.stdout.contains("too little") && dry.stdout.contains("12.6 MB"), "{}", dry.stdout);
            fake.ends(&["load"], 1, &["too little room in", "4.2 MB are free", "make room", "--no-space-check"]);
            assert_eq!(fake.asked("/images/load"), 0);
            fake.ends(&["load", "--no-space-check"], 1, &["the fake takes nothing"]);
        } else {
            assert!(dry.stdout.contains("unknown"), "{}", dry.stdout);
            fake.ends(&["load", "--verbose"], 1, &["on another host", "the fake takes nothing"]);
            assert!(!fake.ends(&["load"], 1, &[]).stderr.contains("on another host"));
        }
    }
}
