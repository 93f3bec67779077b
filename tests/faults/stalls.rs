//! Transfers in which nothing moves any more, and disks without room: each is noticed, and said in a way that helps.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dpl::engine::{Address, Engine, EngineErrorKind, StallLimits};

use crate::harness::{Ended, run};
use crate::proxy::Proxy;
use crate::subjects::images::write_image;
use crate::support::Site;
use crate::support_engine::{Stack, eventually};
use crate::support_fake_engine::{Answer, FakeEngine, Rule};
use crate::tally::Tally;

const MANIFEST: &str = r#"{"project": "fake", "paths": {"images": "store"}, "services": {"a": {"image": "a:1"}}}"#;
const ID: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A fake engine, and a site that gives up after a second of silence.
struct Fake {
    site: Site,
    engine: FakeEngine,
    _tally: Tally,
}

impl Fake {
    fn with(rules: Vec<Rule>) -> Self {
        let mut site = Site::with_manifest(MANIFEST);
        let engine = FakeEngine::start(&site.file("docker.sock"), rules);
        site.set("DOCKER_HOST", &engine.address).set("DPL_STALL_TIMEOUT", "1s");
        std::fs::create_dir(site.file("store")).unwrap();
        Self { site, engine, _tally: Tally::of_one("fake-engine") }
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32, words: &[&str]) -> Ended {
        let ended = run(&self.site, arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {}", ended.stderr);
        for word in words {
            assert!(ended.stderr.contains(word), "no `{word}` in: {}", ended.stderr);
        }
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
    // The first question is asked before anything else.
    rules.push(("GET", "/_ping", Answer::OnceThenClose(200, "\"OK\"")));
    Fake::with(rules).ends(&["save"], 4, &["no longer answers", "hint:"]);
}

#[test]
fn an_export_that_is_slow_is_no_stall_however_long_it_takes() {
    // A piece comes only when the engine has been asked whether it is there, which happens after a quarter of the limit:
    // all of it takes longer than the limit. That it is no archive shows after 512 bytes.
    let slowly = format!("HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{}", "x".repeat(600));
    let mut fake = Fake::with(export(Answer::WhenAsked { bytes: slowly.into_bytes(), pieces: 8 }));
    fake.site.set("DPL_STALL_TIMEOUT", "2s");
    let ended = fake.ends(&["save"], 1, &["error:"]);
    assert!(!ended.stderr.contains("nothing has moved"), "{}", ended.stderr);
    assert!(fake.asked("/_ping") > 5, "{:?}", fake.engine.requests());
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

/// What an engine says to everything that a first start asks, with one service and nothing there yet.
fn empty_engine() -> Vec<Rule> {
    let images: &'static str = Box::leak(
        format!(
            r#"[{{"Id":"{ID}","ParentId":"","RepoTags":["a:1"],"RepoDigests":[],"Created":1,"Size":1,"SharedSize":-1,"Labels":{{}},"Containers":-1}}]"#
        )
        .into_boxed_str(),
    );
    vec![
        ("GET", "/containers/json", Answer::Json(200, "[]")),
        ("GET", "/images/json", Answer::Json(200, images)),
        view(),
        ("GET", "/images/sha256", view().2),
        ("GET", "/networks", Answer::Json(200, "[]")),
        ("GET", "/volumes", Answer::Json(200, r#"{"Volumes":[]}"#)),
        ("POST", "/networks/create", Answer::Json(201, r#"{"Id":"n1","Warning":""}"#)),
        ("POST", "/containers/create?name=fake-a-1", Answer::Json(201, r#"{"Id":"c1","Warnings":[]}"#)),
        ("POST", "/containers/c1/start", Answer::Json(204, "")),
    ]
}

/// Not only transfers: a call whose answer never begins, and one whose answer never ends.
#[test]
fn no_call_is_waited_for_for_ever() {
    // Where nothing was changed yet, and where it was: the engine can't be reached at all, or a step failed.
    let calls: &[(&str, &str, &[&str], i32)] = &[
        ("GET", "/info", &["start"], 4),
        ("GET", "/containers/json", &["status"], 1),
        ("GET", "/images/json", &["load"], 1),
        ("GET", "/images/a:1/json", &["save"], 1),
        ("GET", "/networks", &["start"], 1),
        ("GET", "/volumes", &["start"], 1),
        ("POST", "/containers/create?name=fake-dpl-lock", &["start"], 1),
        ("POST", "/networks/create", &["start"], 1),
        ("POST", "/containers/create?name=fake-a-1", &["start"], 1),
        ("POST", "/containers/c1/start", &["start"], 1),
        ("GET", "/containers/c1/json", &["start"], 1),
    ];
    let half = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n[{\"Id\":";
    std::thread::scope(|scope| {
        for (method, path, command, code) in calls {
            for (what, answer) in [("begins", Answer::Stall), ("ends", Answer::Begin(half.as_bytes().to_vec()))] {
                scope.spawn(move || {
                    let fake = Fake::with([vec![(*method, *path, answer)], empty_engine()].concat());
                    write_image(&fake.site.file("store/a_1.tar"), "a:1", &[vec![0; 1024]]);
                    let ended = run(&fake.site, command);
                    let said = format!("{method} {path} never {what}: {}{}", ended.status, ended.stderr);
                    assert_eq!(ended.status.code(), Some(*code), "{said}");
                    // A step that failed says why; what ends the command at once says what to do as well.
                    let is_step = *method == "POST" || path.contains("/c1/");
                    assert!(ended.stderr.contains("error:") && (is_step || ended.stderr.contains("hint:")), "{said}");
                    assert!(!ended.stderr.contains("panicked"), "{said}");
                    assert!(fake.asked(path) > 0, "{said}: it was not called: {:?}", fake.engine.requests());
                });
            }
        }
    });
}

/// A command may say nothing for hours; an engine that answers nobody any more is no reason to wait so long.
#[test]
fn a_command_in_a_container_ends_when_the_engine_freezes() {
    let manifest = r#"{"project": "PROJECT", "services": {"a": {"image": "redis:7.0", "stop_signal": "SIGKILL"}}}"#;
    let stack = Stack::new(manifest);
    stack.run(&["start"]).success();
    let proxy = Proxy::start(&stack.site.file("proxy.sock"), &stack.engine);
    let script = "until test -e /speak; do sleep 0.1; done; echo more; sleep 60";
    let mut command = stack.site.command(&["exec", "-f", "stack.json", "a", "sh", "-c", script]);
    command.env("DOCKER_HOST", &proxy.address).env("DPL_STALL_TIMEOUT", "2s");
    let said = std::fs::File::create(stack.site.file("said")).unwrap();
    let mut child = command.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
    let said = || std::fs::read_to_string(stack.site.file("said")).unwrap();
    // Each question comes after a quarter of the limit: the command is silent for longer than that, and nothing is wrong.
    eventually("the engine is asked six times", || proxy.probes.load(Ordering::SeqCst) > 6);
    assert!(child.try_wait().unwrap().is_none(), "{}", said());
    stack.docker(&["exec", &stack.container("a"), "touch", "/speak"]);
    eventually("the command speaks", || said().contains("more"));
    proxy.is_frozen.store(true, Ordering::SeqCst);
    eventually("dpl has given up", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(4), "{}", said());
    assert!(said().contains("no longer answers") && said().contains("hint:"), "{}", said());
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

    // A dry run ends as the run does.
    let ended = fake.ends(&["save", "--dry-run"], 1, &["not enough space in", "--no-space-check"]);
    assert!(ended.stdout.contains("too little") && ended.stdout.contains("8.4 MB"), "{}", ended.stdout);
    for more in [&["--compression", "none"][..], &["--format", "docker-archive"], &[]] {
        let words = ["not enough space in", "store", "are free", "free some space", "--no-space-check"];
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
        let dry = fake.ends(&["load", "--dry-run"], i32::from(is_local), &[]);
        if is_local {
            assert!(dry.stdout.contains("too little") && dry.stdout.contains("12.6 MB"), "{}", dry.stdout);
            fake.ends(&["load"], 1, &["not enough space in", "4.2 MB are free", "free some space", "--no-space-check"]);
            assert_eq!(fake.asked("/images/load"), 0);
            fake.ends(&["load", "--dry-run", "--no-space-check"], 0, &[]);
            fake.ends(&["load", "--no-space-check"], 1, &["the fake takes nothing"]);
        } else {
            assert!(dry.stdout.contains("unknown"), "{}", dry.stdout);
            fake.ends(&["load", "--verbose"], 1, &["on another host", "the fake takes nothing"]);
            assert!(!fake.ends(&["load"], 1, &[]).stderr.contains("on another host"));
        }
    }
}

#[tokio::test]
async fn a_measurement_that_does_not_come_is_no_container_that_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let gone = r#"{"message":"No such container: c2"}"#;
    let fake = FakeEngine::start(
        &folder.path().join("docker.sock"),
        vec![
            ("GET", "/containers/c1/stats", Answer::Stall),
            ("GET", "/containers/c2/stats", Answer::Json(404, gone)),
            ("GET", "/containers/c3/stats", Answer::Json(200, r#"{"memory_stats":{}}"#)),
        ],
    );
    let _tally = Tally::of_one("fake-engine");
    let address = Address::resolve(Some(&fake.address)).unwrap();
    let engine = Engine::connect_within(address, StallLimits::of(Duration::from_secs(1))).await.unwrap();
    let error = engine.usage("c1").await.expect_err("it was not measured");
    assert_eq!(error.kind(), EngineErrorKind::TimedOut);
    assert_eq!(engine.usage("c2").await.unwrap(), None);
    assert_eq!(engine.usage("c3").await.unwrap(), None);
}

/// Nothing comes any more, and nothing breaks off either: only a question tells.
#[test]
fn followed_logs_of_an_engine_that_froze_end() {
    let silent = vec![
        ("GET", "/containers/json", Answer::OnceThenStall(200, "[]")),
        ("GET", "/events", Answer::Begin(HEAD.as_bytes().to_vec())),
    ];
    let mut fake = Fake::with([silent, empty_engine()].concat());
    fake.site.set("DPL_ENGINE_PATIENCE", "1s");
    let ended = run(&fake.site, &["logs", "--follow", "a"]);
    assert!([Some(1), Some(4)].contains(&ended.status.code()), "{}", ended.stderr);
    assert!(ended.stderr.contains("no answer in time") && ended.stderr.contains("hint:"), "{}", ended.stderr);
    assert!(fake.asked("/containers/json") > 1, "{:?}", fake.engine.requests());
}

/// A stop may take as long as the grace period, whatever that is: what ends it is an engine that no longer answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_restart_wait_for_a_container_but_not_for_an_engine_that_is_gone() {
    for call in ["stop", "restart"] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let path = if call == "stop" { "/containers/c1/stop" } else { "/containers/c1/restart" };
        let fake = FakeEngine::start(&socket, vec![("POST", path, Answer::Stall)]);
        let address = Address::resolve(Some(&fake.address)).unwrap();
        let engine = Engine::connect_within(address, StallLimits::of(Duration::from_secs(1))).await.unwrap();
        let _tally = Tally::of_one("fake-engine");
        let grace = Some(Duration::from_secs(3600));
        let work = tokio::spawn(async move {
            match call {
                "stop" => engine.stop_container("c1", grace).await,
                _ => engine.restart_container("c1").await,
            }
        });
        // Longer than any silence that a transfer is allowed: the engine answers, and is waited for.
        fake.wait_for(12, "/_ping");
        assert!(!work.is_finished(), "{call}: {:?}", work.await);
        std::fs::remove_file(&socket).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), work).await.expect("it ends").unwrap();
        let error = ended.expect_err("it did not stop");
        assert!(error.is_unreachable(), "{call}: {error:?}");
    }
}
