//! The image store's housekeeping: prune and remove, of the store and of what loads left in the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Subject;
use super::images::{layer, leftovers, named_in_store, write_image};
use crate::harness::{Chance, run};
use crate::support::Site;
use crate::support_engine::Stack;

const BOTH: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "keep_releases": 1, "services": {
    "a": {"image": "PROJECT/a:1"}, "b": {"image": "PROJECT/b:1"}}}"#;
const ONE: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "keep_releases": 1, "services": {
    "a": {"image": "PROJECT/a:1"}}}"#;

/// A blob that came just now and that nothing names: another program may be about to.
const COMING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Which command is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Prune,
    Remove,
}

/// A store with two images that share a layer, of which one goes.
pub struct Housekeeping {
    stack: Stack,
    deed: Deed,
}

impl Housekeeping {
    pub fn new(deed: Deed) -> Self {
        let stack = Stack::new(BOTH);
        let mut chance = Chance::of(&stack.project);
        let base = layer("base", chance.bytes(300_000));
        for name in ["a", "b"] {
            let archive = stack.site.file("made.tar");
            let own = layer(name, chance.bytes(50_000));
            write_image(&archive, &format!("{}/{name}:1", stack.project), &[base.clone(), own]);
            stack.docker(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
        }
        run(&stack.site, &["save"]).success("the save");
        run(&stack.site, &["save", "--format", "docker-archive", "b"]).success("the archive");
        fs::rename(stack.site.file("store"), stack.site.file("full")).unwrap();
        let subject = Self { stack, deed };
        if deed == Deed::Prune {
            subject.stack.rewrite(ONE);
        }
        subject
    }

    fn store(&self) -> PathBuf {
        self.stack.site.file("store")
    }

    fn name(&self, image: &str) -> String {
        format!("{}/{image}:1", self.stack.project)
    }

    fn archive(&self) -> PathBuf {
        self.store().join(format!("{}-b_1.tar.gz", self.stack.project))
    }
}

impl Subject for Housekeeping {
    fn site(&self) -> &Site {
        &self.stack.site
    }

    fn command(&self) -> Vec<&'static str> {
        match self.deed {
            Deed::Prune => vec!["images", "prune", "--archives"],
            Deed::Remove => vec!["images", "remove", "--force", "b"],
        }
    }

    fn prepare(&mut self) {
        let _ = fs::remove_dir_all(self.store());
        copy(&self.stack.site.file("full"), &self.store());
        fs::write(self.store().join(".dpl-tmp-left"), "half").unwrap();
        fs::write(self.store().join("blobs/sha256").join(COMING), "of a copy that goes on").unwrap();
    }

    fn holds(&self, context: &str) {
        let named = named_in_store(&self.store(), context);
        assert!(named.contains_key(&self.name("a")), "{context}: {named:?}");
        run(&self.stack.site, &["images", "verify"]).success(context);
    }

    fn before_again(&mut self) {
        // A removal that was done but for the blobs leaves nothing that could be removed once more.
        let is_gone = !named_in_store(&self.store(), "again").contains_key(&self.name("b"));
        if self.deed == Deed::Remove && is_gone {
            run(&self.stack.site, &["images", "remove", "--force", "b"]).refused("again");
            run(&self.stack.site, &["images", "prune"]).success("again");
            run(&self.stack.site, &["save", "b"]).success("again");
        }
    }

    fn is_done(&self, context: &str) {
        let named = named_in_store(&self.store(), context);
        assert_eq!(named.keys().collect::<Vec<_>>(), [&self.name("a")], "{context}");
        if self.deed == Deed::Prune {
            assert_eq!(leftovers(&self.store()), Vec::<PathBuf>::new(), "{context}");
            // What it took out of the index itself is gone, however often it was cut off.
            let mut left = blobs(&self.store());
            assert!(left.remove(COMING), "{context}: what another program may be writing");
            assert_eq!(left, needed(&self.store()), "{context}");
            assert!(!self.archive().exists(), "{context}");
        } else {
            assert!(blobs(&self.store()).is_superset(&needed(&self.store())), "{context}");
            assert!(self.archive().exists(), "{context}");
        }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        wipe(&self.stack, &[self.name("a"), self.name("b")]);
    }
}

/// Which way archives go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Import,
    Export,
}

/// An archive of two images that goes into a store with an older one of them, or comes out of a store.
pub struct Exchange {
    stack: Stack,
    way: Way,
    /// The names and IDs of what the archive holds.
    new: BTreeMap<String, String>,
    old: String,
    archive: PathBuf,
}

impl Exchange {
    pub fn new(way: Way) -> Self {
        let stack = Stack::new(BOTH);
        let mut chance = Chance::of(&stack.project);
        let base = layer("base", chance.bytes(300_000));
        let mut new = BTreeMap::new();
        let mut make = |name: &str| {
            let (file, name) = (stack.site.file("made.tar"), format!("{}/{name}:1", stack.project));
            let id = write_image(&file, &name, &[base.clone(), layer(&name, chance.bytes(50_000))]);
            stack.docker(&["load", "--quiet", "--input", file.to_str().unwrap()]);
            (name, id)
        };
        let (a, old) = make("a");
        run(&stack.site, &["save", "a"]).success("the save");
        fs::rename(stack.site.file("store"), stack.site.file("old")).unwrap();
        new.extend([make("a"), make("b")]);
        let archive = stack.site.file("all.tar");
        stack.docker(&["save", "--output", archive.to_str().unwrap(), &a, &format!("{}/b:1", stack.project)]);
        run(&stack.site, &["save"]).success("the save");
        fs::rename(stack.site.file("store"), stack.site.file("full")).unwrap();
        Self { stack, way, new, old, archive }
    }

    fn store(&self) -> PathBuf {
        self.stack.site.file("store")
    }

    fn output(&self) -> PathBuf {
        self.stack.site.file("out/out.tar")
    }

    /// The archive that came out, as an empty store reads it.
    fn exported(&self, context: &str) -> BTreeMap<String, String> {
        let site = &self.stack.site;
        let away = site.file("away");
        fs::rename(self.store(), &away).unwrap();
        run(site, &["images", "import", "out/out.tar"]).success(context);
        let named = named_in_store(&self.store(), context);
        fs::remove_dir_all(self.store()).unwrap();
        fs::rename(away, self.store()).unwrap();
        named
    }
}

impl Subject for Exchange {
    fn site(&self) -> &Site {
        &self.stack.site
    }

    fn command(&self) -> Vec<&'static str> {
        match self.way {
            Way::Import => vec!["images", "import", "all.tar"],
            Way::Export => vec!["images", "export", "--output", "out/out.tar"],
        }
    }

    fn prepare(&mut self) {
        let _ = fs::remove_dir_all(self.store());
        let from = if self.way == Way::Import { "old" } else { "full" };
        copy(&self.stack.site.file(from), &self.store());
        if self.way == Way::Export {
            fs::create_dir_all(self.stack.site.file("out")).unwrap();
            fs::copy(&self.archive, self.output()).unwrap();
        }
    }

    fn holds(&self, context: &str) {
        let named = named_in_store(&self.store(), context);
        let a = &named[&format!("{}/a:1", self.stack.project)];
        assert!(*a == self.old || self.new.values().any(|id| id == a), "{context}: {named:?}");
        run(&self.stack.site, &["images", "verify"]).success(context);
        if self.way == Way::Export {
            assert_eq!(self.exported(context), self.new, "{context}: the old archive or the new one");
        }
    }

    fn is_done(&self, context: &str) {
        assert_eq!(named_in_store(&self.store(), context), self.new, "{context}");
        assert_eq!(leftovers(&self.store()), Vec::<PathBuf>::new(), "{context}");
        if self.way == Way::Export {
            assert_eq!(self.exported(context), self.new, "{context}");
            let files = fs::read_dir(self.stack.site.file("out")).unwrap().map(|file| file.unwrap().file_name());
            let unfinished: Vec<_> = files.filter(|name| name.to_string_lossy().starts_with(".dpl-export-")).collect();
            assert!(unfinished.is_empty(), "{context}: {unfinished:?}");
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        wipe(&self.stack, &self.new.keys().cloned().collect::<Vec<_>>());
    }
}

/// What a load left in the engine: the image that had the name before.
pub struct EngineLeftovers {
    stack: Stack,
    old: (PathBuf, String),
    new: String,
}

impl EngineLeftovers {
    pub fn new() -> Self {
        let stack = Stack::new(ONE);
        let mut chance = Chance::of(&stack.project);
        let name = format!("{}/a:1", stack.project);
        let mut make = |file: &str| {
            let archive = stack.site.file(file);
            let id = write_image(&archive, &name, &[layer(file, chance.bytes(20_000))]);
            (archive, id)
        };
        let (old, new) = (make("old.tar"), make("new.tar"));
        stack.docker(&["load", "--quiet", "--input", new.0.to_str().unwrap()]);
        run(&stack.site, &["save"]).success("the save");
        Self { stack, old, new: new.1 }
    }

    fn kept(&self) -> String {
        format!("dpl-kept:{}", &self.old.1["sha256:".len()..][..32])
    }
}

impl Subject for EngineLeftovers {
    fn site(&self) -> &Site {
        &self.stack.site
    }

    fn command(&self) -> Vec<&'static str> {
        vec!["images", "prune", "--engine"]
    }

    fn prepare(&mut self) {
        wipe(&self.stack, &[self.new.clone(), self.old.1.clone()]);
        self.stack.docker(&["load", "--quiet", "--input", self.old.0.to_str().unwrap()]);
        run(&self.stack.site, &["load"]).success("the load");
    }

    fn holds(&self, context: &str) {
        let id =
            self.stack.docker(&["image", "inspect", "--format", "{{.Id}}", &format!("{}/a:1", self.stack.project)]);
        assert_eq!(id, self.new, "{context}");
    }

    fn is_done(&self, context: &str) {
        self.holds(context);
        let listed = self.stack.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        assert!(!listed.contains(&self.kept()), "{context}: {listed}");
    }
}

impl Drop for EngineLeftovers {
    fn drop(&mut self) {
        wipe(&self.stack, &[self.new.clone(), self.old.1.clone()]);
    }
}

pub fn wipe(stack: &Stack, images: &[String]) {
    // Those that are not there keep nobody from the others.
    let _ = std::process::Command::new("docker")
        .args(["image", "rm", "--force"])
        .args(images)
        .env("DOCKER_HOST", &stack.engine)
        .output();
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn blobs(store: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(store.join("blobs/sha256")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// The blobs that the index leads to.
fn needed(store: &Path) -> BTreeSet<String> {
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let hex = |descriptor: &Value| descriptor["digest"].as_str().unwrap()["sha256:".len()..].to_owned();
    let mut needed = BTreeSet::new();
    for entry in read(store.join("index.json"))["manifests"].as_array().unwrap() {
        let manifest = read(store.join("blobs/sha256").join(hex(entry)));
        needed.extend([hex(entry), hex(&manifest["config"])]);
        needed.extend(manifest["layers"].as_array().unwrap().iter().map(hex));
    }
    needed
}
