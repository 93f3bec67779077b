//! `dpl send`: what a site lacks gets there, whatever becomes of the connection, and takes nothing away from what is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::images::bench::{Bench, Recipe, layer};
use crate::support::{Run, Site};
use crate::support_engine::{eventually, shared_engine, unique};
use crate::support_ssh::{Sshd, control_socket, masters, process_of};

/// A desk with a project, and a site with an empty folder. Both have the same engine: what is wiped there is lacking there.
struct Line {
    bench: Bench,
    _sshd: Sshd,
    desk: Site,
    there: Site,
}

impl Line {
    /// `images` are services and images; `more` are further lines of the site's sshd_config.
    async fn new(name: &str, images: &[&str], more: &str) -> Self {
        let bench = Bench::new(name).await;
        let (mut desk, there) = (Site::new(), Site::new());
        let (folder, records) = (there.path().display(), desk.path().display());
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/site-cache");
        let sshd = Sshd::start(&format!(
            "SetEnv DOCKER_HOST={} XDG_CACHE_HOME={cache} XDG_STATE_HOME={records}/records\n{more}",
            shared_engine()
        ));
        sshd.admit(&mut desk);
        desk.set("XDG_RUNTIME_DIR", desk.path().display().to_string());
        desk.set("HOME", desk.path().display().to_string());
        desk.set("DOCKER_HOST", shared_engine());
        desk.write(
            "sites.json",
            &format!(
                r#"{{"sites": {{"site": {{"ssh": "{}", "folder": "{folder}", "manifest": "stack.json"}}}}}}"#,
                sshd.address()
            ),
        );
        let line = Self { bench, _sshd: sshd, desk, there };
        line.write_manifest(images, "");
        line
    }

    /// `more` are further keys of the manifest.
    fn write_manifest(&self, images: &[&str], more: &str) {
        let services: Vec<String> = images
            .iter()
            .map(|image| {
                let service = image.split(':').next().unwrap();
                format!(r#""{service}": {{"image": "{}"}}"#, self.bench.name(image))
            })
            .collect();
        let project = unique("s");
        let known = fs::read_to_string(self.desk.file("project")).unwrap_or(project);
        self.desk.write("project", &known);
        let text = format!(
            r#"{{"project": "{known}", "paths": {{"images": "store"}}{more}, "services": {{{}}}}}"#,
            services.join(", ")
        );
        self.desk.write("stack.json", &text);
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.desk.run(&[&["-f", "stack.json"], arguments].concat())
    }

    /// Sends all, and gives what is said of the site.
    #[track_caller]
    fn send(&self, arguments: &[&str]) -> Value {
        let sent = self.run(&[&["--json", "--yes", "send", "site"], arguments].concat()).success();
        sent.json()["sites"][0].clone()
    }

    fn save(&self) {
        self.run(&["save"]).success();
    }

    fn begin(&self, arguments: &[&str]) -> (Child, PathBuf) {
        let said = self.desk.file("said");
        let file = fs::File::create(&said).unwrap();
        let mut command = self.desk.command(&[&["-f", "stack.json"], arguments].concat());
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        (command.spawn().unwrap(), said)
    }

    /// Kills the connection under the last command.
    fn cut(&self) {
        let last = masters(&self.desk).pop().unwrap();
        if let Some(process) = process_of(&control_socket(&last)) {
            assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
        }
    }

    /// How many bytes of blobs have arrived there, whole or in part.
    fn arrived(&self) -> u64 {
        bytes_in(&self.there.file("store/.dpl-store/incoming")) + bytes_in(&self.there.file("store/blobs/sha256"))
    }

    fn names_there(&self) -> Vec<String> {
        let mut names = dpl::images::stored_names(&self.there.file("store"));
        names.sort();
        names
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn results(of: &Value) -> Vec<String> {
    of.as_array().unwrap().iter().map(|one| one["result"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_send_brings_all_and_a_second_one_nothing() {
    let line = Line::new("first", &["one:1", "two:1"], "").await;
    let base = layer(1_000_000);
    let one = line.bench.make("one:1", &Recipe::of([base.clone(), layer(50_000)])).await;
    line.bench.make("two:1", &Recipe::of([base, layer(60_000)])).await;
    line.write_manifest(
        &["one:1", "two:1"],
        r#", "env_file": "vars.env", "configs": {"a": {"file": "conf/a.conf"}}, "secrets": {"k": {"file": "key.txt"}},
            "databases": {"d": {"service": "one", "seed": "seeds/d"}}"#,
    );
    line.desk.write("vars.env", "A=1\n");
    line.desk.write("conf/a.conf", "a\n");
    line.desk.write("key.txt", "secret\n");
    line.desk.write("seeds/d/backup.json", "{}");
    line.desk.write("seeds/d/archive/toc.dat", "PGDMP");
    line.save();
    line.bench.wipe(&["one:1", "two:1"]).await;

    let planned = line.run(&["--json", "send", "site", "--dry-run"]).success().json()["sites"][0].clone();
    assert_eq!(results(&planned["plan"]["images"]), ["sent", "sent"]);
    assert_eq!(planned["done"], Value::Null);
    assert_eq!(fs::read_dir(line.there.path()).unwrap().count(), 0, "a plan changes nothing there");

    let sent = line.send(&[]);
    let bytes = sent["done"]["bytes"].as_u64().unwrap();
    assert!(bytes > 500_000 && bytes < 650_000, "the base goes once: {sent}");
    assert_eq!(sent["plan"]["bytes"], sent["done"]["bytes"], "{sent}");
    for (path, text) in [("vars.env", "A=1\n"), ("conf/a.conf", "a\n"), ("seeds/d/archive/toc.dat", "PGDMP")] {
        assert_eq!(fs::read_to_string(line.there.file(path)).unwrap(), text, "{path}");
    }
    assert!(!line.there.file("key.txt").exists() && sent.to_string().contains(r#""reason":"secret""#), "{sent}");
    assert_eq!(line.names_there(), [line.bench.name("one:1"), line.bench.name("two:1")]);

    // The site's own commands know what came: it is whole, it can be loaded, and the journal says from whom.
    line.run(&["send", "site", "--only", "manifest", "--secrets", "--yes"]).success();
    assert_eq!(fs::metadata(line.there.file("key.txt")).unwrap().permissions().mode() & 0o777, 0o600);
    line.run(&["on", "site", "images", "verify"]).success();
    line.run(&["on", "site", "load"]).success();
    line.bench.assert_is("one:1", &one).await;
    let history = line.run(&["on", "site", "history", "--json"]).success().stdout;
    assert!(history.contains("dpl send --only images (from ") && history.contains("name-image"), "{history}");

    let again = line.send(&["--secrets"]);
    assert_eq!((&again["plan"]["bytes"], &again["done"]), (&0.into(), &Value::Null), "{again}");
    let said = line.run(&["send", "site", "--secrets"]).success();
    assert!(said.stderr.contains("lacks nothing"), "nothing is asked: {}", said.stderr);
    assert_eq!(bytes_in(&line.there.file("store/.dpl-store/incoming")), 0);
    line.bench.wipe(&["one:1", "two:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_manifest_needs_is_there_before_it_in_the_store_that_it_names() {
    let line = Line::new("moved", &["one:1"], "").await;
    line.bench.make("one:1", &Recipe::of([layer(300_000)])).await;
    line.save();
    line.bench.wipe(&["one:1"]).await;
    line.send(&[]);
    let old = fs::read_to_string(line.there.file("stack.json")).unwrap();
    // The images of the desk stay where they are; those of the site move.
    line.desk.write("stack.json", &old.replace(r#""images": "store""#, r#""images": "${STORE}""#));
    let desk = |store: &str, arguments: &[&str]| {
        let mut command = line.desk.command(&[&["-f", "stack.json", "--yes"], arguments].concat());
        let run = command.env("STORE", store).output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    // Without a value at the site the manifest can't be read there: nothing of it is put in place.
    let (code, said) = desk("store", &["send", "site"]);
    assert!(code == Some(1) && said.contains("STORE"), "{said}");
    assert_eq!(fs::read_to_string(line.there.file("stack.json")).unwrap(), old);
    let sites = fs::read_to_string(line.desk.file("sites.json")).unwrap();
    line.desk.write("sites.json", &sites.replace(r#""manifest""#, r#""variables": {"STORE": "moved"}, "manifest""#));
    let (code, said) = desk("store", &["send", "site"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(dpl::images::stored_names(&line.there.file("moved")), [line.bench.name("one:1")]);
    assert_ne!(fs::read_to_string(line.there.file("stack.json")).unwrap(), old);
    line.run(&["on", "site", "images", "verify"]).success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_more_text_than_a_request_holds_is_planned_as_it_will_be() {
    let line = Line::new("long", &["one:1"], "").await;
    line.bench.make("one:1", &Recipe::of([layer(300_000)])).await;
    line.save();
    line.bench.wipe(&["one:1"]).await;
    line.send(&[]);
    // The store of the site moves with the manifest that comes, whose values alone are more than one frame.
    let values: String = (0..6000).map(|number| format!("VALUE_{number}={}\n", "x".repeat(50))).collect();
    line.desk.write("vars.env", &values);
    fs::write(line.desk.file("key.bin"), [0xff, 0xfe, 0]).unwrap();
    let old = fs::read_to_string(line.desk.file("stack.json")).unwrap();
    let moved = r#""env_file": "vars.env", "secrets": {"k": {"file": "key.bin"}}, "paths": {"images": "${STORE}"}"#;
    line.desk.write("stack.json", &old.replace(r#""paths": {"images": "store"}"#, moved));
    let sites = fs::read_to_string(line.desk.file("sites.json")).unwrap();
    line.desk.write("sites.json", &sites.replace(r#""manifest""#, r#""variables": {"STORE": "moved"}, "manifest""#));
    let mut send = line.desk.command(&["-f", "stack.json", "--yes", "send", "site", "--secrets"]);
    let sent = send.env("STORE", "store").output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(dpl::images::stored_names(&line.there.file("moved")), [line.bench.name("one:1")]);
    assert_eq!(fs::read_to_string(line.there.file("vars.env")).unwrap(), values);
    assert_eq!(fs::read(line.there.file("key.bin")).unwrap(), [0xff, 0xfe, 0]);
    line.run(&["on", "site", "images", "verify"]).success();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_there_has_does_not_travel_unless_the_store_is_to_have_it() {
    let line = Line::new("engine", &["new:1"], "").await;
    let base = layer(800_000);
    let new = line.bench.make("new:1", &Recipe::of([base.clone(), layer(40_000)])).await;
    line.save();
    line.bench.wipe(&["new:1"]).await;
    line.bench.make("old:1", &Recipe::of([base, layer(10)])).await;
    let sent = line.send(&[]);
    assert!(sent["done"]["bytes"].as_u64().unwrap() < 60_000, "{sent}");
    line.run(&["on", "site", "load"]).success();
    line.bench.assert_is("new:1", &new).await;
    assert_eq!(line.send(&[])["plan"]["bytes"], 0, "what is whole between store and engine is there");

    // The engine loses the image, and with it the layers: what is there is not enough, and that is said.
    line.bench.wipe(&["new:1", "old:1"]).await;
    let failed = line.run(&["on", "site", "load"]).failure(1);
    assert!(failed.stderr.contains("missing"), "{}", failed.stderr);
    let sent = line.send(&[]);
    assert!(sent["done"]["bytes"].as_u64().unwrap() > 390_000, "{sent}");
    line.run(&["on", "site", "load"]).success();
    line.run(&["on", "site", "images", "verify"]).success();
    line.bench.assert_is("new:1", &new).await;
    fs::remove_dir_all(line.there.file("store")).unwrap();
    assert!(line.send(&["--whole"])["done"]["bytes"].as_u64().unwrap() > 390_000);
    line.run(&["on", "site", "images", "verify"]).success();
    line.bench.wipe(&["new:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_again_and_again_costs_little_and_the_send_comes_to_its_end() {
    let line = Line::new("cuts", &["one:1"], "").await;
    let made = line.bench.make("one:1", &Recipe::of([layer(14_000_000), layer(6_000_000), layer(1_000)])).await;
    line.save();
    line.bench.wipe(&["one:1"]).await;
    let (mut desk, said) = line.begin(&["--json", "--yes", "send", "site", "--limit", "4MB/s"]);
    for reached in [0, 2_000_000, 5_000_000, 9_000_000] {
        eventually("more has arrived", || line.arrived() > reached || desk.try_wait().unwrap().is_some());
        line.cut();
    }
    let status = desk.wait().unwrap();
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.matches("is lost").count() >= 3, "{said}");
    let report: Value = serde_json::from_str(&said[said.find("\n{").unwrap_or(0)..]).unwrap();
    let bytes = report["sites"][0]["done"]["bytes"].as_u64().unwrap();
    assert!(bytes < 20_000_000, "it goes on inside a file: {bytes}");
    line.run(&["on", "site", "images", "verify"]).success();
    line.run(&["on", "site", "load"]).success();
    line.bench.assert_is("one:1", &made).await;
    line.bench.wipe(&["one:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_that_is_killed_goes_on_where_it_was() {
    let line = Line::new("killed", &["one:1"], "MaxSessions 1").await;
    line.bench.make("one:1", &Recipe::of([layer(8_000_000)])).await;
    line.save();
    line.bench.wipe(&["one:1"]).await;
    let (mut desk, _) = line.begin(&["--yes", "send", "site", "--limit", "1MB/s"]);
    eventually("something has arrived", || line.arrived() > 2_500_000);
    desk.kill().unwrap();
    desk.wait().unwrap();
    line.cut();
    assert!(line.names_there().is_empty(), "no name before all is there");
    let sent = line.send(&[]);
    assert!(sent["done"]["bytes"].as_u64().unwrap() < 2_000_000, "{sent}");
    assert_eq!(line.names_there().len(), 1);
    line.run(&["on", "site", "images", "verify"]).success();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_at_the_site_stays_unless_it_is_to_be_overwritten() {
    let line = Line::new("changed", &["one:1"], "").await;
    line.write_manifest(&["one:1"], r#", "configs": {"a": {"file": "a.conf"}, "b": {"file": "b.conf"}}"#);
    line.desk.write("a.conf", "a1\n");
    line.desk.write("b.conf", "b1\n");
    line.there.write("b.conf", "the site's own\n");
    let sent = line.send(&["--only", "manifest"]);
    let first = sent["plan"]["files"].clone();
    let of = |files: &Value, path: &str| {
        files.as_array().unwrap().iter().find(|file| file["path"] == path).unwrap()["result"].clone()
    };
    assert_eq!((of(&first, "a.conf"), of(&first, "b.conf")), ("new".into(), "kept".into()), "{sent}");
    // What was sent and not changed is replaced; what was changed there is not.
    line.desk.write("a.conf", "a2\n");
    assert_eq!(line.send(&["--only", "manifest"])["done"]["placed"], serde_json::json!(["a.conf"]));
    line.there.write("a.conf", "edited at the site\n");
    line.desk.write("a.conf", "a3\n");
    let said = line.run(&["send", "site", "--only", "manifest", "--yes"]).success();
    assert!(said.stderr.contains("changed there, kept") && said.stderr.contains("--overwrite"), "{}", said.stderr);
    assert_eq!(fs::read_to_string(line.there.file("a.conf")).unwrap(), "edited at the site\n");
    line.send(&["--only", "manifest", "--overwrite"]);
    assert_eq!(fs::read_to_string(line.there.file("a.conf")).unwrap(), "a3\n");
    assert_eq!(fs::read_to_string(line.there.file("b.conf")).unwrap(), "b1\n");
    // A link there leads nothing out of the folder.
    std::os::unix::fs::symlink("/etc", line.there.file("out")).unwrap();
    line.write_manifest(&["one:1"], r#", "configs": {"a": {"file": "out/dpl-test.conf"}}"#);
    line.desk.write("out/dpl-test.conf", "x\n");
    let failed = line.run(&["send", "site", "--only", "manifest", "--yes"]).failure(1);
    assert!(failed.stderr.contains("leads out of its folder"), "{}", failed.stderr);
    assert!(!Path::new("/etc/dpl-test.conf").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deliveries_merge_and_an_index_that_names_missing_blobs_is_repaired() {
    let line = Line::new("merge", &["one:1", "two:1"], "").await;
    line.bench.make("one:1", &Recipe::of([layer(50_000)])).await;
    line.bench.make("two:1", &Recipe::of([layer(60_000)])).await;
    line.save();
    line.bench.wipe(&["one:1", "two:1"]).await;
    line.send(&["one"]);
    line.send(&["two"]);
    let both = [line.bench.name("one:1"), line.bench.name("two:1")];
    assert_eq!(line.names_there(), both);
    for blob in fs::read_dir(line.there.file("store/blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        if blob.metadata().unwrap().len() > 20_000 {
            fs::remove_file(blob.path()).unwrap();
        }
    }
    line.run(&["on", "site", "images", "verify"]).failure(1);
    line.send(&[]);
    assert_eq!(line.names_there(), both);
    line.run(&["on", "site", "images", "verify"]).success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_there_is_said_before_and_what_came_stays() {
    let line = Line::new("full", &["one:1"], "").await;
    line.bench.make("one:1", &Recipe::of([layer(2_000_000), layer(6_000_000)])).await;
    line.save();
    line.bench.wipe(&["one:1"]).await;
    let store = line.there.file("store");
    fs::create_dir(&store).unwrap();
    let mount = |options: &str| {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&store).status().unwrap();
        assert!(mounted.success());
    };
    mount("size=3m");
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(store.clone());
    line.run(&["send", "site", "--only", "manifest", "--yes"]).success();
    let refused = line.run(&["send", "site", "--yes"]).failure(1);
    assert!(refused.stderr.contains("--no-space-check"), "{}", refused.stderr);
    assert_eq!(line.arrived(), 0);
    let failed = line.run(&["send", "site", "--yes", "--no-space-check"]).failure(1);
    assert!(failed.stderr.contains("No space left"), "{}", failed.stderr);
    assert!(line.arrived() > 500_000);
    mount("remount,size=64m");
    let sent = line.send(&[]);
    assert!(sent["done"]["bytes"].as_u64().unwrap() < 3_900_000, "{sent}");
    line.run(&["on", "site", "images", "verify"]).success();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_only_the_engine_here_has_are_saved_first() {
    let line = Line::new("unsaved", &["one:1"], "").await;
    line.bench.make("one:1", &Recipe::of([layer(50_000)])).await;
    let planned = line.run(&["send", "site", "--dry-run"]).success();
    assert!(planned.stderr.contains("would be saved from the engine first"), "{}", planned.stderr);
    assert!(!line.desk.file("store").exists());
    line.run(&["send", "site", "--yes"]).success();
    assert_eq!(line.names_there().len(), 1);
    line.write_manifest(&["one:1", "nowhere:1"], "");
    let failed = line.run(&["send", "site", "--yes"]).failure(1);
    assert!(failed.stderr.contains("nowhere:1"), "{}", failed.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_is_the_same_from_the_desk_and_there_and_says_who_has_which_layer() {
    let line = Line::new("inventory", &["one:1"], "").await;
    let made = line.bench.make("one:1", &Recipe::of([layer(40_000), layer(10)])).await;
    line.save();
    line.send(&[]);
    let mut of_site = line.run(&["inventory", "site"]).success().json();
    let there = line.desk.command(&["inventory", "-f", "stack.json"]).current_dir(line.there.path()).output().unwrap();
    let mut there: Value = serde_json::from_slice(&there.stdout).unwrap();
    // Others write to the same disk meanwhile.
    for inventory in [&mut of_site, &mut there] {
        assert!(inventory["store"]["free"].take().as_u64().is_some_and(|free| free > 0), "{inventory}");
    }
    for part in ["project", "manifest", "host", "folder", "store", "files", "seeds"] {
        assert_eq!(of_site[part], there[part], "{part}");
    }
    assert_eq!(of_site["store"]["images"][0]["image_id"], made.config_digest, "{of_site}");
    let layers = of_site["layers"].as_array().unwrap();
    for diff_id in &made.diff_ids {
        assert!(layers.iter().any(|layer| layer["diff_id"] == *diff_id), "{diff_id}: {of_site}");
    }
    let image = of_site["engine"]["images"].as_array().unwrap().iter().find(|image| image["id"] == made.config_digest);
    assert_eq!(image.unwrap()["references"][0], line.bench.name("one:1"), "{of_site}");
    // A code of a site without much in it fits; one with too much says how to do without.
    let drawn = line.run(&["inventory", "site", "--qr"]);
    assert!(matches!(drawn.code, 0 | 2), "{}", drawn.stderr);
    let text = of_site.to_string();
    assert!(!text.contains(&line.desk.path().display().to_string()), "nothing of the desk is in it: {text}");
    line.bench.wipe(&["one:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_for_a_site_carries_what_the_site_itself_says_that_it_lacks() {
    let line = Line::new("forsite", &["one:1"], "").await;
    let base = layer(400_000);
    line.bench.make("one:1", &Recipe::of([base.clone()])).await;
    line.save();
    line.send(&[]);
    line.bench.make("one:1", &Recipe::of([base, layer(20_000)])).await;
    line.save();
    // The site has the same engine, and lacks what that has not.
    line.bench.wipe(&["one:1"]).await;
    let package = line.desk.file("x.tar").display().to_string();
    for goal in ["site", "site:site"] {
        let pack = ["--json", "--yes", "pack", "--for", goal, "--unsigned", "-o", &package];
        let packed = line.run(&pack).success().json();
        assert_eq!(packed["goals"][0]["name"], goal, "{packed}");
        assert!((10_000..60_000).contains(&packed["goals"][0]["bytes"].as_u64().unwrap()), "{packed}");
    }
    let unpack = line.desk.command(&["unpack", &package, "--yes"]).current_dir(line.there.path()).output().unwrap();
    assert!(unpack.status.success(), "{unpack:?}");
    assert_eq!(line.names_there(), [line.bench.name("one:1")]);
}
