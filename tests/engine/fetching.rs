//! Backups and the journal of a site, brought to the desk: verified, resumed, nothing twice, and nothing but what is meant.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::at_sites::Sites;
use crate::support_engine::{Stack, eventually};

const PASSWORD: &str = "a password of the site";

const STACK: &str = r#"{"project": "PROJECT", "paths": {"images": "store", "backups": "backups"},
    "databases": {"shop": {"service": "db", "password": {"file": "secret"}}, "other": {"service": "db", "password": {"file": "secret"}}},
    "services": {"db": {"image": "postgres:15", "command": ["postgres", "-c", "fsync=off"],
        "environment": {"POSTGRES_PASSWORD": {"file": "secret"}, "POSTGRES_DB": "shop"}, "ready": {"tcp": 5432}}}}"#;

/// A site whose database `shop` has a backup, and a desk.
pub struct Kept {
    pub sites: Sites,
    /// The backup at the site.
    pub there: PathBuf,
    pub id: String,
}

impl Kept {
    pub fn new() -> Self {
        let stack = Stack::new(STACK);
        stack.site.write("secret", PASSWORD);
        stack.run(&["start", "--yes"]).success();
        eventually("the server has the database", || {
            stack.run(&["db", "sql", "shop", "create table if not exists t as select 1 as a", "--yes"]).code == 0
        });
        let made = stack.run(&["db", "backup", "shop", "--json"]).success().json();
        let id = made["backups"][0]["id"].as_str().unwrap().to_owned();
        let there = stack.site.file("backups/databases").join(&id);
        let sites = Sites::of(stack, "");
        sites.desk.write("desk.json", r#"{"project": "desk", "paths": {"backups": "kept"}, "services": {}}"#);
        Self { sites, there, id }
    }

    fn fetch(&self, more: &[&str]) -> crate::support::Run {
        self.sites.run(&[&["-f", "desk.json", "fetch", "site"], more].concat())
    }

    fn here(&self) -> PathBuf {
        self.sites.desk.file("kept/sites/site/databases").join(&self.id)
    }

    fn state(&self) -> Value {
        self.fetch(&["--dry-run", "--json"]).success().json()["sites"][0]["backups"][0]["state"].clone()
    }

    /// Changes the record of the backup there.
    fn change(&self, change: impl Fn(&mut Value)) {
        let path = self.there.join("backup.json");
        let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut record);
        fs::write(&path, record.to_string()).unwrap();
    }

    /// Gives the backup a file of so many MiB.
    pub fn grow(&self, mib: usize) -> PathBuf {
        // As a dump of several tables at once has it: a folder.
        let archive = self.there.join("archive");
        if archive.is_file() {
            fs::rename(&archive, self.there.join("toc.dat")).unwrap();
            fs::create_dir(&archive).unwrap();
            fs::rename(self.there.join("toc.dat"), archive.join("toc.dat")).unwrap();
            self.change(|record| {
                record["archive"] = "directory".into();
                record["files"][0]["path"] = "archive/toc.dat".into();
            });
        }
        let path = archive.join("99999.dat.gz");
        let piece: Vec<u8> =
            (0..mib << 20).map(|place: usize| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(&path, &piece).unwrap();
        let said = Command::new("sha256sum").arg(&path).output().unwrap();
        let digest = String::from_utf8_lossy(&said.stdout)[..64].to_owned();
        self.change(|record| {
            let file =
                json!({"path": "archive/99999.dat.gz", "bytes": piece.len(), "sha256": format!("sha256:{digest}")});
            record["files"].as_array_mut().unwrap().push(file);
        });
        path
    }

    /// How much of the large file is here so far.
    fn arrived(&self) -> u64 {
        let home = self.here();
        let stamp = home.file_name().unwrap().to_string_lossy().into_owned();
        let part = home.with_file_name(format!(".dpl-arriving-{stamp}")).join("archive/99999.dat.gz.part");
        fs::metadata(part).map_or(0, |part| part.len())
    }
}

/// Whether two folders hold the same, but for what each machine has proved.
#[track_caller]
pub fn same(one: &Path, other: &Path) {
    let said = Command::new("diff").args(["-r", "--exclude", "verified.json"]).args([one, other]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}

#[test]
fn a_backup_and_the_journal_are_brought_here_verified_and_not_twice() {
    let kept = Kept::new();
    assert_eq!(kept.state(), "missing");
    assert!(!kept.here().exists());
    let fetched = kept.fetch(&["--json"]).success().json();
    let site = &fetched["sites"][0];
    assert_eq!((&site["backups"][0]["state"], &site["backups"][0]["id"]), (&"fetched".into(), &kept.id.clone().into()));
    assert!(site["backups"][0]["backup"]["checked_at"].is_string(), "{fetched}");
    same(&kept.here(), &kept.there);
    let journal = kept.sites.desk.file("kept/sites/site/journal.jsonl");
    let first = fs::read_to_string(&journal).unwrap();
    assert!(first.contains("db backup shop"), "{first}");
    // What was fetched is a backup as any other: it is restored and compared.
    kept.sites.stack.run(&["db", "verify", &kept.here().display().to_string()]).success();
    let before = fs::metadata(kept.here()).unwrap().modified().unwrap();
    kept.sites.stack.run(&["db", "backup", "shop"]).success();
    let again = kept.fetch(&["--all", "--json"]).success().json();
    let states: Vec<&Value> =
        again["sites"][0]["backups"].as_array().unwrap().iter().map(|backup| &backup["state"]).collect();
    assert_eq!(states, ["present", "fetched"], "{again}");
    assert_eq!(fs::metadata(kept.here()).unwrap().modified().unwrap(), before);
    // Of the journal only what is new came; what was here is its beginning.
    let second = fs::read_to_string(&journal).unwrap();
    assert!(second.starts_with(&first) && second.len() > first.len());
    assert_eq!(again["sites"][0]["journal"]["new_bytes"], second.len() - first.len());
    // By its ID, in Chinese, and what there is not.
    let said = kept.sites.run(&["-f", "desk.json", "--lang", "zh", "fetch", "site", &kept.id]).success();
    assert!(said.stderr.contains("本机已有") || said.stdout.contains("本机已有"), "{}{}", said.stdout, said.stderr);
    let failed = kept.fetch(&["nothing"]).failure(1);
    assert!(failed.stderr.contains("nothing"), "{}", failed.stderr);
    kept.fetch(&["shop/20200101T000000Z"]).failure(1);
    let failed = kept.sites.run(&["-f", "desk.json", "fetch", "gone"]).failure(4);
    assert!(failed.stderr.contains("can't connect"), "{}", failed.stderr);
}

#[test]
fn a_transfer_that_is_cut_goes_on_in_the_middle_of_a_file() {
    let kept = Kept::new();
    let large = kept.grow(24);
    let size = fs::metadata(&large).unwrap().len();
    let (mut desk, said) = kept.sites.begin(&["-f", "desk.json", "fetch", "site", "--limit", "4MB/s"]);
    // Half of it is left after the last cut: seconds, whatever else the machine does.
    for part in 1..=3 {
        eventually("more of it has arrived", || kept.arrived() > size * part / 6);
        kept.sites.cut();
    }
    let status = desk.wait().unwrap();
    let text = fs::read_to_string(&said).unwrap();
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains("connecting again"), "{text}");
    same(&kept.here(), &kept.there);
    // The desk itself is killed: the same command goes on.
    fs::remove_dir_all(kept.here()).unwrap();
    let (mut desk, _) = kept.sites.begin(&["-f", "desk.json", "fetch", "site", "--limit", "4MB/s"]);
    eventually("some of it has arrived", || kept.arrived() > size / 4);
    desk.kill().unwrap();
    desk.wait().unwrap();
    let arrived = kept.arrived();
    assert!(arrived > 0 && arrived < size && !kept.here().exists());
    let begun = std::time::Instant::now();
    kept.fetch(&["--limit", "2GB/s"]).success();
    assert!(begun.elapsed().as_secs() < 60);
    same(&kept.here(), &kept.there);
}

#[test]
fn what_a_hostile_site_sends_gets_no_name() {
    let kept = Kept::new();
    let large = kept.grow(1);
    let good = fs::read(&large).unwrap();
    let mut bad = good.clone();
    bad[1000] ^= 1;
    let secret = kept.sites.stack.site.file("secret");
    for what in ["damaged", "shorter", "longer", "a link", "a record that leads elsewhere"] {
        let record = fs::read(kept.there.join("backup.json")).unwrap();
        let _ = fs::remove_file(&large);
        match what {
            "damaged" => fs::write(&large, &bad).unwrap(),
            "shorter" => fs::write(&large, &good[1..]).unwrap(),
            "longer" => fs::write(&large, [&good[..], b"x"].concat()).unwrap(),
            "a link" => symlink(&secret, &large).unwrap(),
            _ => {
                fs::write(&large, &good).unwrap();
                kept.change(|record| record["files"][0]["path"] = "archive/../../../x".into());
            }
        }
        let said = kept.fetch(&[]);
        assert_eq!(said.code, 1, "{what}: {}", said.stderr);
        assert!(!kept.here().exists(), "{what}: {}", said.stderr);
        fs::write(kept.there.join("backup.json"), record).unwrap();
    }
    let everything = Command::new("grep").args(["-r", PASSWORD]).arg(kept.sites.desk.file("kept")).output().unwrap();
    assert!(everything.stdout.is_empty(), "{}", String::from_utf8_lossy(&everything.stdout));
    let _ = fs::remove_file(&large);
    fs::write(&large, &good).unwrap();
    kept.fetch(&[]).success();
    same(&kept.here(), &kept.there);
    // Another backup under the same ID takes no other's place.
    kept.change(|record| record["duration_ms"] = 7.into());
    let failed = kept.fetch(&[]).failure(1);
    assert!(failed.stderr.contains("another backup"), "{}", failed.stderr);
}

#[test]
fn what_a_support_case_needs_is_one_tar_without_secrets() {
    let kept = Kept::new();
    let said = kept.sites.run(&["fetch", "site", "--support", "-o", "case.tar"]).success();
    assert!(said.stderr.contains("case.tar") || said.stdout.contains("case.tar"));
    let tar = fs::read(kept.sites.desk.file("case.tar")).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert!(!text.contains(PASSWORD), "{name}");
        if name.ends_with("status.json") {
            let status: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(status["services"][0]["name"], "db");
        }
        names.push(name);
    }
    for file in ["doctor.json", "status.json", "history.json", "logs.txt", "config.json", "exit-codes.txt"] {
        assert!(names.contains(&format!("dpl-support-site/{file}")), "{names:?}");
    }
    kept.sites.run(&["fetch", "site", "--support"]).failure(2);
}

/// Talks to dpl as a desk that means no good.
fn ask(sites: &Sites, request: &Value) -> String {
    let mut command = sites.desk.command(&["serve", "--stdio"]);
    let mut serve = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let text = request.to_string();
    let mut frame = vec![b'j'];
    frame.extend_from_slice(&(text.len() as u32).to_le_bytes());
    frame.extend_from_slice(text.as_bytes());
    // One that ends before it has read everything is judged by what it said.
    let _ = serve.stdin.take().unwrap().write_all(&frame);
    let output = serve.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_request_of_a_later_version_is_answered_in_words() {
    let kept = Sites::of(Stack::new(r#"{"project": "PROJECT", "services": {"a": {"image": "redis:7.0"}}}"#), "");
    for request in [json!({"request": "dance"}), json!({"request": "read", "files": 1}), json!([1, 2]), json!("x")] {
        let said = ask(&kept, &request);
        assert!(said.contains("\"reply\":\"failed\"") && said.contains("serve-no-request"), "{request}: {said}");
    }
}

#[test]
fn a_path_leads_out_of_no_root_and_only_files_are_read() {
    let kept = Kept::new();
    let folder = kept.sites.stack.site.path().display().to_string();
    let backups = kept.sites.stack.site.file("backups");
    symlink("/etc", backups.join("out")).unwrap();
    assert!(Command::new("mkfifo").arg(backups.join("pipe")).status().unwrap().success());
    let project = json!({"folder": folder, "manifest": "stack.json", "variables": {}});
    let read = |root: &str, path: &str| {
        let file = json!({"root": root, "path": path, "from": 0, "known": null, "proved": false, "most": 1 << 20, "optional": false});
        ask(&kept.sites, &json!({"request": "read", "project": project, "files": [file], "limit": null}))
    };
    assert!(read("backups", &format!("databases/{}/backup.json", kept.id)).contains("created_at"));
    assert!(read("state", "journal.jsonl").contains("db backup"));
    for (root, path) in [
        ("backups", "../secret"),
        ("backups", "/etc/passwd"),
        ("backups", "databases/../../secret"),
        ("backups", "out/passwd"),
        ("backups", "pipe"),
        ("backups", "databases"),
        ("backups", ""),
        ("state", "deployments.json"),
        ("state", "../../secret"),
        ("project", "secret"),
    ] {
        let said = read(root, path);
        assert!(said.contains("\"reply\":\"failed\"") && !said.contains(PASSWORD), "{root} {path}: {said}");
        assert!(!said.contains("root:x"), "{root} {path}");
    }
    let names = ask(&kept.sites, &json!({"request": "names", "project": project, "root": "backups", "path": "out"}));
    assert!(names.contains("\"reply\":\"failed\""), "{names}");
}

#[test]
fn a_backup_that_cannot_be_read_there_is_said_and_ends_with_a_failure() {
    let kept = Kept::new();
    fs::write(kept.there.join("backup.json"), "{").unwrap();
    let state = kept.state();
    assert_eq!(state, "failed");
    let run = kept.fetch(&[]).failure(1);
    assert!(run.stderr.contains("backup.json"), "{}", run.stderr);
    assert!(!kept.here().exists());
}

#[test]
fn a_fetch_that_is_killed_anywhere_is_finished_by_the_next() {
    let mut kept = Kept::new();
    for point in ["before-file", "before-name", "after-name"] {
        let _ = fs::remove_dir_all(kept.sites.desk.file("kept"));
        kept.sites.desk.set("DPL_FAILPOINT", format!("databases.arrival.{point}"));
        let killed = kept.fetch(&[]);
        assert_eq!(killed.code, -1, "{point}: {}", killed.stderr);
        assert_eq!(kept.here().exists(), point == "after-name", "{point}: it has its name when all of it is there");
        kept.sites.desk.set("DPL_FAILPOINT", "");
        kept.fetch(&[]).success();
        assert!(kept.here().join("backup.json").exists(), "{point}");
    }
}
