//! A site that says what no dpl would say: it is shown, and does nothing to the screen of the desk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::at_sites::Sites;
use crate::site_programs::in_a_world_of_its_own;
use crate::support::Run;
use crate::support_engine::Stack;

/// What a terminal would do something about: another title, other colours, another line, the cursor elsewhere.
const EVIL: &str = "\u{1b}]0;owned\u{7}\u{9b}31m\r\nevil\u{7f}\u{8}";

/// In the place of dpl at the site: answers each request with the frames that `answers.json` has for it.
const SERVER: &str = r#"#!/usr/bin/env python3
import json, struct, sys

answers = json.load(open("ANSWERS"))

def say(kind, payload):
    payload = payload if isinstance(payload, str) else json.dumps(payload)
    payload = payload.encode()
    sys.stdout.buffer.write(kind.encode() + struct.pack("<I", len(payload)) + payload)
    sys.stdout.buffer.flush()

def hear():
    head = sys.stdin.buffer.read(5)
    if len(head) < 5:
        sys.exit()
    payload = sys.stdin.buffer.read(struct.unpack("<I", head[1:])[0])
    return json.loads(payload) if head[:1] == b"j" else {}

if "noise" in answers:
    sys.stderr.write(answers["noise"])
    sys.exit(1)
sys.stdout.buffer.write(b"\0dpl-serve\0")
say("j", answers["hello"])
request = hear()["request"]
for kind, payload in answers.get(request, []):
    say(kind, payload)
# The sender hears that all of it is there, and what was put in place.
while True:
    heard = hear()
    if heard.get("to") == "offer":
        say("j", {"reply": "receiver", "from": "has", "file": heard["file"]})
    elif heard.get("to") == "place_files":
        say("j", {"reply": "receiver", "from": "files_placed", "placed": [answers["evil"]], "kept": [answers["evil"]]})
"#;

struct Hostile {
    sites: Sites,
    folder: TempDir,
}

impl Hostile {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let cache = format!("export XDG_CACHE_HOME={} &&", folder.path().display());
        let stack = Stack::new(r#"{"project": "PROJECT", "services": {"a": {"image": "redis:7.0"}}}"#);
        let sites = Sites::of(stack, &in_a_world_of_its_own(folder.path(), &cache));
        sites.run(&["on", "site", "list"]).success();
        sites.desk.write("desk.json", r#"{"project": "desk", "paths": {"backups": "kept"}, "services": {}}"#);
        let hostile = Self { sites, folder };
        let program = hostile.program();
        // The program may still run.
        fs::remove_file(&program).unwrap();
        fs::write(&program, SERVER.replace("ANSWERS", &hostile.answers().display().to_string())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        hostile
    }

    /// Where dpl lies at the site.
    fn program(&self) -> PathBuf {
        let versions = fs::read_dir(self.folder.path().join("dpl")).unwrap().map(|entry| entry.unwrap().path());
        versions.map(|version| version.join("dpl")).find(|program| program.is_file()).unwrap()
    }

    fn answers(&self) -> PathBuf {
        self.folder.path().join("answers.json")
    }

    /// Lets the site answer a request so: frames, each with its letter.
    fn answer(&self, request: &str, frames: Value) {
        let mut answers = json!({"evil": EVIL, "hello": {"protocol": 1, "version": "1.0", "now": 0}});
        answers[request] = frames;
        fs::write(self.answers(), answers.to_string()).unwrap();
    }

    /// Runs a command at the desk: what the site says reaches the screen, and nothing in it is more than text.
    #[track_caller]
    fn shows(&self, arguments: &[&str]) -> Run {
        let run = self.sites.run(arguments);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("evil"), "{arguments:?}: {said:?}");
        assert!(said.chars().all(|letter| !letter.is_control() || letter == '\n'), "{arguments:?}: {said:?}");
        assert!(said.lines().all(|line| !line.trim_start().starts_with("evil")), "{arguments:?}: {said:?}");
        run
    }
}

fn failure() -> Value {
    json!([["j", {"reply": "failed", "why": {"text": EVIL, "said": null}}]])
}

fn inventory(more: Value) -> Value {
    let mut inventory = json!({
        "format": 1, "made_at": EVIL, "dpl": EVIL, "host": EVIL, "architecture": EVIL, "folder": EVIL, "manifest": EVIL, "project": EVIL,
        "folder_free": 1_000_000, "folder_disk": 1, "engine": null, "store": null, "layers": [], "seeds": [], "files": []
    });
    for (key, value) in more.as_object().unwrap() {
        inventory[key] = value.clone();
    }
    json!([["d", inventory], ["z", ""]])
}

#[test]
fn what_a_hostile_site_says_of_itself_does_nothing_to_the_screen() {
    let hostile = Hostile::new();
    let facts = |more: Value| {
        let mut facts = json!({
            "reply": "facts", "user": EVIL, "architecture": EVIL, "engine": {"version": EVIL, "store": EVIL}, "folder_free": 1,
            "engine_free": 1, "kills_user_processes": true, "forced_command": true, "program": EVIL
        });
        for (key, value) in more.as_object().unwrap() {
            facts[key] = value.clone();
        }
        json!([["j", facts]])
    };
    hostile.answer("facts", facts(json!({})));
    hostile.shows(&["sites", "--check", "site"]).success();
    let checked = hostile.shows(&["sites", "--check", "--json", "site"]).success().json();
    assert_eq!(checked["sites"][0]["program"], EVIL, "a document has it as it was said");
    for problem in ["engine_problem", "folder_problem"] {
        hostile.answer("facts", facts(json!({problem: {"text": EVIL, "said": null}})));
        hostile.shows(&["sites", "--check", "site"]).failure(1);
    }
    let run = json!({"id": EVIL, "command": EVIL, "desk": EVIL, "began": EVIL, "code": null, "is_running": true});
    hostile.answer("list", json!([["j", {"reply": "runs", "runs": [run]}]]));
    hostile.shows(&["on", "site", "attach", "--list"]).success();
    hostile.shows(&["--json", "on", "site", "attach", "--list"]).success();
    hostile.answer("inventory", inventory(json!({})));
    assert_eq!(hostile.shows(&["inventory", "site"]).success().json()["host"], EVIL);
}

#[test]
fn what_a_hostile_site_says_while_something_is_sent_or_fetched_does_nothing_to_the_screen() {
    let hostile = Hostile::new();
    let send = ["-f", "desk.json", "send", "site", "--yes", "--only", "manifest"];
    hostile.answer("inventory", inventory(json!({})));
    hostile.shows(&[&send[..], &["--dry-run"]].concat()).success();
    for (key, problem) in [("manifest_problem", EVIL), ("store_problem", EVIL)] {
        hostile.answer("inventory", inventory(json!({key: problem})));
        hostile.shows(&send).failure(1);
    }
    // Names that nobody sent, as if they were put in place.
    let mut answers: Value = serde_json::from_slice(&fs::read(hostile.answers()).unwrap()).unwrap();
    answers["inventory"] = inventory(json!({}));
    answers["receive"] = json!([["j", {"reply": "receiver", "from": "ready"}]]);
    fs::write(hostile.answers(), answers.to_string()).unwrap();
    hostile.shows(&send).success();
    hostile.shows(&[&["--json", "--progress", "json"], &send[..]].concat()).success();

    let offer = json!({"reply": "backup", "id": "d/20260101T000000Z", "database": EVIL, "created_at": EVIL, "bytes": 1,
        "problem": {"text": EVIL, "said": null}});
    hostile.answer("backups", json!([["j", offer], ["j", {"reply": "done"}]]));
    let fetch = ["-f", "desk.json", "fetch", "site"];
    hostile.shows(&[&fetch[..], &["--dry-run", "--json"]].concat());
}

#[test]
fn why_a_hostile_site_does_not_do_something_does_nothing_to_the_screen() {
    let hostile = Hostile::new();
    for request in ["inventory", "facts", "list", "backups", "run"] {
        hostile.answer(request, failure());
        let command: &[&str] = match request {
            "inventory" => &["inventory", "site"],
            "facts" => &["sites", "--check", "site"],
            "list" => &["on", "site", "attach", "--list"],
            "backups" => &["-f", "desk.json", "fetch", "site"],
            _ => &["on", "site", "restart", "a"],
        };
        hostile.shows(command).failure(1);
    }
    // At several sites at once lines are dpl's own.
    let said =
        json!([["j", {"reply": "began", "id": EVIL}], ["o", EVIL], ["e", EVIL], ["j", {"reply": "ended", "code": 3}]]);
    hostile.answer("run", said);
    hostile.shows(&["on", "site,other", "list"]).failure(3);
    hostile.answer("run", json!([["j", {"reply": "no_such_run"}]]));
    hostile.sites.run(&["on", "site", "restart", "a"]).failure(1);
    // Another protocol, and no dpl at all.
    hostile.answer("hello", json!({"protocol": 9, "version": EVIL, "now": 0}));
    hostile.shows(&["on", "site", "list"]).failure(1);
    hostile.answer("noise", json!(EVIL));
    hostile.shows(&["on", "site", "list"]).failure(4);
}
