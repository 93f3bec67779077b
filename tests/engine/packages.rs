//! Releases from one engine to another by files alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::images::bench::{Bench, Made, Recipe, holds_image, layer};
use crate::support::{Run, Site};
use crate::support_engine::{PrivateEngine, docker_on, shared_engine, unique};

/// A desk with an engine, and a machine with another one, which have only files in common.
struct Delivery {
    bench: Bench,
    desk: Site,
    vault: Site,
    engine: PrivateEngine,
    project: String,
}

impl Delivery {
    /// The machine's engine is of another kind where `DPL_TEST_OTHER_ENGINE` has options of engine.sh.
    async fn new(name: &str) -> Self {
        let options = std::env::var("DPL_TEST_OTHER_ENGINE").unwrap_or_default();
        let options: Vec<&str> = options.split_whitespace().collect();
        let (bench, engine) = (Bench::new(name).await, PrivateEngine::start(&options));
        let (mut desk, mut vault) = (Site::new(), Site::new());
        desk.set("DOCKER_HOST", shared_engine());
        vault.set("DOCKER_HOST", engine.address.clone());
        desk.write("seeds/d/backup.json", "{}");
        Self { bench, desk, vault, engine, project: unique("p") }
    }

    fn manifest(&self, images: &[&str], seed: &str) {
        self.desk.write("seeds/d/archive/toc.dat", seed);
        let services: Vec<String> = images
            .iter()
            .enumerate()
            .map(|(number, image)| format!(r#""s{number}": {{"image": "{}"}}"#, self.bench.name(image)))
            .collect();
        let (project, services) = (&self.project, services.join(", "));
        self.desk.write(
            "stack.json",
            &format!(
                r#"{{"project": "{project}", "paths": {{"images": "store"}},
                    "databases": {{"d": {{"service": "s0", "seed": "seeds/d"}}}}, "services": {{{services}}}}}"#
            ),
        );
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.desk.run(&[&["-f", "stack.json"], arguments].concat())
    }

    fn there(&self, arguments: &[&str]) -> Run {
        self.vault.run(&[&["-f", "stack.json"], arguments].concat())
    }

    #[track_caller]
    fn pack(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.desk.file(name);
        let output = path.display().to_string();
        self.run(&[&["pack", "--unsigned", "-o", &output], arguments].concat()).success();
        path
    }

    /// The engine there has the image as it was made, and exports it: its configuration, and all its layers.
    #[track_caller]
    fn assert_there(&self, image: &str, made: &Made) {
        let name = self.bench.name(image);
        let inspect = ["image", "inspect", "--format", "{{json .RootFS.Layers}}", &name];
        let layers: Vec<String> = serde_json::from_str(&docker_on(&self.engine.address, &inspect)).unwrap();
        assert_eq!(layers, made.diff_ids, "{image}");
        // Not by its ID, which is that of its manifest in a containerd store.
        let saved = Command::new("docker").args(["-H", &self.engine.address, "save", &name]).output().unwrap();
        assert!(saved.status.success() && holds_image(&saved.stdout, made), "{image}");
    }

    async fn wipe(&self, images: &[&str]) {
        self.bench.wipe(images).await;
        for image in images {
            docker_on(&self.engine.address, &["image", "rm", "--force", &self.bench.name(image)]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_says_which_images_were_built_after_they_were_saved() {
    let delivery = Delivery::new("stale").await;
    delivery.bench.make("one:1", &Recipe::of([layer(2000)])).await;
    delivery.bench.make("worker:1", &Recipe::of([layer(3000)])).await;
    delivery.manifest(&["one:1", "worker:1"], "PGDMP 1");
    let first = delivery.run(&["release", "create", "v1"]).success();
    assert!(!first.stderr.contains("other images"), "{}", first.stderr);
    delivery.bench.make("one:1", &Recipe::of([layer(4000)])).await;
    let stale = delivery.run(&["release", "create", "v2"]).success();
    let line = stale.stderr.lines().find(|line| line.contains("other images")).unwrap_or_else(|| panic!("{stale:?}"));
    assert!(line.contains(&delivery.bench.name("one:1")) && !line.contains(&delivery.bench.name("worker:1")), "{line}");
    delivery.run(&["save"]).success();
    let fresh = delivery.run(&["release", "create", "v3"]).success();
    assert!(!fresh.stderr.contains("other images"), "{}", fresh.stderr);
    delivery.wipe(&["one:1", "worker:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_releases_arrive_at_an_engine_that_has_never_seen_a_network() {
    let delivery = Delivery::new("packed").await;
    let (base, old, new) = (layer(900_000), layer(50_000), layer(60_000));
    let one = delivery.bench.make("one:1", &Recipe::of([base.clone(), old.clone()])).await;
    let worker = delivery.bench.make("worker:1", &Recipe::of([base.clone()])).await;
    delivery.manifest(&["one:1", "worker:1"], "PGDMP 1");
    // Images that only the engine has are saved on the way.
    delivery.run(&["release", "create", "v1"]).success();
    let first = delivery.pack("v1.tar", &["--release", "v1", "--for", "none"]);
    let unpack = |package: &PathBuf| {
        let said = delivery.vault.run(&["--json", "unpack", &package.display().to_string(), "--yes"]).success().json();
        delivery.there(&["load", "--yes"]).success();
        said["receipt"].clone()
    };
    assert_eq!(unpack(&first)["images"], 2);
    delivery.assert_there("one:1", &one);
    delivery.assert_there("worker:1", &worker);

    // A new tag, and the worker as it was.
    let two = delivery.bench.make("one:2", &Recipe::of([base.clone(), new.clone()])).await;
    delivery.manifest(&["one:2", "worker:1"], "PGDMP 1");
    delivery.run(&["release", "create", "v2"]).success();
    let second = delivery.pack("v2.tar", &["--release", "v2", "--for", "v1"]);
    assert!(fs::metadata(&second).unwrap().len() < 100_000, "the base stays at home");
    let receipt = unpack(&second);
    assert_eq!((&receipt["images"], &receipt["images_before"]), (&1.into(), &1.into()), "{receipt}");
    delivery.assert_there("one:2", &two);

    // By what the machine itself says, in a file; an image whose layers are all there under other names, and a new seed.
    let inventory = delivery.there(&["inventory"]).success().stdout;
    delivery.desk.write("vault.json", &inventory);
    let three = delivery.bench.make("one:3", &Recipe::of([base.clone(), new, old])).await;
    delivery.manifest(&["one:3", "worker:1"], "PGDMP 3");
    delivery.run(&["release", "create", "v3"]).success();
    let third =
        delivery.pack("v3.tar", &["--release", "v3", "--for", &delivery.desk.file("vault.json").display().to_string()]);
    assert!(fs::metadata(&third).unwrap().len() < 60_000, "no layer is new: {}", fs::metadata(&third).unwrap().len());
    unpack(&third);
    delivery.assert_there("one:3", &three);
    assert_eq!(fs::read_to_string(delivery.vault.file("seeds/d/archive/toc.dat")).unwrap(), "PGDMP 3");
    delivery.there(&["images", "verify"]).success();

    let history = delivery.there(&["--json", "history", "-n", "20"]).success().json();
    let told: Vec<(String, Value)> = history["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| (action["command"].as_str().unwrap().to_owned(), action["result"].clone()))
        .collect();
    for release in ["v1", "v2", "v3"] {
        let unpacked = told.iter().filter(|(command, _)| command.contains(&format!("(release {release})")));
        assert_eq!(unpacked.count(), 1, "{told:?}");
    }
    assert_eq!(told.iter().filter(|(command, _)| command.starts_with("dpl load")).count(), 3, "{told:?}");
    assert!(told.iter().all(|(_, result)| result == "done"), "{told:?}");
    let receipts = delivery.there(&["--json", "receipt", "--last", "9"]).success().json();
    assert_eq!(receipts["receipts"].as_array().unwrap().len(), 3, "{receipts}");
    delivery.wipe(&["one:1", "one:2", "one:3", "worker:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_load_takes_a_full_package() {
    let delivery = Delivery::new("full").await;
    let base = layer(300_000);
    let one = delivery.bench.make("one:1", &Recipe::of([base.clone(), layer(20_000)])).await;
    let worker = delivery.bench.make("worker:1", &Recipe::of([base])).await;
    delivery.manifest(&["one:1", "worker:1"], "PGDMP");
    let package = delivery.pack("full.tar", &["--full", "--compression", "gzip"]);
    let load =
        Command::new("docker").args(["-H", &delivery.engine.address, "load", "-i"]).arg(&package).output().unwrap();
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    delivery.assert_there("one:1", &one);
    delivery.assert_there("worker:1", &worker);
    delivery.wipe(&["one:1", "worker:1"]).await;
}
