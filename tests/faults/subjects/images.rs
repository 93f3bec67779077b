//! Save and load: a name that moves from an old image to a new one, and an image that was not there before.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dpl::fs::Digest;
use serde_json::{Value, json};

use super::Subject;
use crate::harness::{Chance, run};
use crate::support::Site;
use crate::support_engine::{Stack, is_whole, shared_engine};

const MANIFEST: &str = r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {
    "a": {"image": "PROJECT/a:1"}, "b": {"image": "PROJECT/b:1"}}}"#;

/// An image as an archive on disk, and its ID on a classic engine.
pub struct Made {
    archive: PathBuf,
    id: String,
}

/// How large the images are: so that work on them takes a while, or just takes place.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// More than can be on its way between two programs.
    Huge,
    Large,
    Small,
}

/// Two images that share a layer under one name, one after the other, and a third under another.
pub struct Images {
    pub stack: Stack,
    old: Made,
    pub new: Made,
    pub other: Made,
}

impl Images {
    pub fn new(size: Size) -> Self {
        Self::on(&shared_engine(), size)
    }

    pub fn on(engine: &str, size: Size) -> Self {
        let stack = Stack::on(engine, MANIFEST);
        let (shared, alone) = match size {
            Size::Huge => (2_000_000, 8_000_000),
            Size::Large => (2_000_000, 600_000),
            Size::Small => (150_000, 50_000),
        };
        let mut chance = Chance::of(&stack.project);
        let base = layer("base", chance.bytes(shared));
        let mut make = |name: &str, image: &str| {
            let archive = stack.site.file(&format!("{name}.tar"));
            let own = layer(name, chance.bytes(alone));
            let id = write_image(&archive, &format!("{}/{image}:1", stack.project), &[base.clone(), own]);
            Made { archive, id }
        };
        let (old, new, other) = (make("old", "a"), make("new", "a"), make("other", "b"));
        Self { stack, old, new, other }
    }

    fn name(&self, image: &str) -> String {
        format!("{}/{image}:1", self.stack.project)
    }

    pub fn store(&self) -> PathBuf {
        self.stack.site.file("store")
    }

    /// Brings an image to the engine, under its name.
    pub fn bring(&self, image: &Made) {
        self.stack.docker(&["load", "--quiet", "--input", image.archive.to_str().unwrap()]);
    }

    /// No image of this subject stays on the engine.
    fn wipe(&self) {
        // Those that are not there keep nobody from the others.
        self.try_docker(&["image", "rm", "--force", &self.old.id, &self.new.id, &self.other.id]);
    }

    fn try_docker(&self, arguments: &[&str]) -> Option<String> {
        let output = std::process::Command::new("docker")
            .args(arguments)
            .env("DOCKER_HOST", &self.stack.engine)
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The image that a name leads to, which must be whole: an engine can export only such a one.
    #[track_caller]
    fn on_engine(&self, name: &str, context: &str) -> Option<String> {
        let id = self.try_docker(&["image", "inspect", "--format", "{{.Id}}", name])?;
        assert!(is_whole(&self.stack.engine, name), "{context}: {name} is not whole");
        Some(id)
    }

    fn kept(&self) -> String {
        format!("dpl-kept:{}", &self.old.id["sha256:".len()..][..32])
    }

    /// Everything that the store names can be loaded into an engine that has nothing of it.
    #[track_caller]
    fn comes_back(&self, image: &str, context: &str) -> String {
        self.wipe();
        run(&self.stack.site, &["load", image]).success(context);
        self.on_engine(&self.name(image), context).unwrap()
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// `save`, to the layout or as archives.
pub struct Save {
    images: Images,
    as_archives: bool,
}

impl Save {
    pub fn to_layout(size: Size) -> Self {
        Self::to_layout_on(&shared_engine(), size)
    }

    pub fn to_layout_on(engine: &str, size: Size) -> Self {
        Self { images: Images::on(engine, size), as_archives: false }
    }

    pub fn to_archives(size: Size) -> Self {
        Self { images: Images::new(size), as_archives: true }
    }

    fn arguments(&self) -> Vec<&'static str> {
        if self.as_archives { vec!["save", "--format", "docker-archive"] } else { vec!["save"] }
    }
}

impl Subject for Save {
    fn site(&self) -> &Site {
        &self.images.stack.site
    }

    fn command(&self) -> Vec<&'static str> {
        self.arguments()
    }

    fn prepare(&mut self) {
        let images = &self.images;
        let _ = fs::remove_dir_all(images.store());
        images.wipe();
        images.bring(&images.old);
        run(&images.stack.site, &[self.arguments(), vec!["a"]].concat()).success("the first save");
        images.bring(&images.new);
        images.bring(&images.other);
    }

    fn holds(&self, context: &str) {
        let images = &self.images;
        if !self.as_archives {
            let named = named_in_store(&images.store(), context);
            let a = &named[&images.name("a")];
            assert!([&images.old.id, &images.new.id].contains(&a), "{context}: {named:?}");
            let b = named.get(&images.name("b"));
            assert!(b.is_none_or(|b| *b == images.other.id), "{context}: {named:?}");
        }
        let back = images.comes_back("a", context);
        assert!([&images.old.id, &images.new.id].contains(&&back), "{context}: {back}");
        images.wipe();
        images.bring(&images.new);
        images.bring(&images.other);
    }

    fn is_done(&self, context: &str) {
        let images = &self.images;
        if !self.as_archives {
            let named = named_in_store(&images.store(), context);
            let wanted =
                [(images.name("a"), images.new.id.clone()), (images.name("b"), images.other.id.clone())].into();
            assert_eq!(named, wanted, "{context}");
        }
        assert_eq!(leftovers(&images.store()), Vec::<PathBuf>::new(), "{context}");
        assert_eq!(images.comes_back("a", context), images.new.id, "{context}");
        assert_eq!(images.comes_back("b", context), images.other.id, "{context}");
    }
}

/// `load`, into an engine that has the old image, and with it a layer of the new ones.
pub struct Load(Images);

impl Load {
    pub fn new(size: Size) -> Self {
        Self::on(&shared_engine(), size)
    }

    pub fn on(engine: &str, size: Size) -> Self {
        let images = Images::on(engine, size);
        images.bring(&images.new);
        images.bring(&images.other);
        run(&images.stack.site, &["save"]).success("the save");
        Self(images)
    }
}

impl Subject for Load {
    fn site(&self) -> &Site {
        &self.0.stack.site
    }

    fn command(&self) -> Vec<&'static str> {
        vec!["load"]
    }

    fn prepare(&mut self) {
        self.0.wipe();
        self.0.bring(&self.0.old);
    }

    fn holds(&self, context: &str) {
        let images = &self.0;
        let a = images.on_engine(&images.name("a"), context).expect("the name leads somewhere");
        assert!([&images.old.id, &images.new.id].contains(&&a), "{context}: {a}");
        if a == images.new.id {
            assert_eq!(images.on_engine(&images.kept(), context).as_ref(), Some(&images.old.id), "{context}");
        }
        let b = images.on_engine(&images.name("b"), context);
        assert!(b.is_none_or(|b| b == images.other.id), "{context}");
    }

    fn is_done(&self, context: &str) {
        let images = &self.0;
        for (name, wanted) in [(images.name("a"), &images.new), (images.name("b"), &images.other)] {
            assert_eq!(images.on_engine(&name, context).as_ref(), Some(&wanted.id), "{context}");
        }
        assert_eq!(images.on_engine(&images.kept(), context).as_ref(), Some(&images.old.id), "{context}");
    }
}

/// The references that a store names and their images' IDs. Each blob that is named must be there, and be itself.
#[track_caller]
pub fn named_in_store(store: &Path, context: &str) -> BTreeMap<String, String> {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = fs::read(store.join("blobs").join(digest.replace(':', "/")))
            .unwrap_or_else(|error| panic!("{context}: {digest}: {error}"));
        assert_eq!(Digest::of(&bytes).to_string(), digest, "{context}");
        assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().unwrap(), "{context}");
        bytes
    };
    let index: Value = serde_json::from_slice(&fs::read(store.join("index.json")).unwrap()).unwrap();
    let mut named = BTreeMap::new();
    for entry in index["manifests"].as_array().unwrap() {
        let manifest: Value = serde_json::from_slice(&blob(entry)).unwrap();
        manifest["layers"].as_array().unwrap().iter().for_each(|layer| drop(blob(layer)));
        blob(&manifest["config"]);
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        let before = named.insert(name.to_owned(), manifest["config"]["digest"].as_str().unwrap().to_owned());
        assert_eq!(before, None, "{context}: {name} is named twice");
    }
    named
}

/// Temporary files below a folder.
pub fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with(".dpl-tmp-") {
            found.push(path);
        } else if path.is_dir() {
            found.extend(leftovers(&path));
        }
    }
    found
}

pub fn layer(name: &str, content: Vec<u8>) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, name, &content);
    layer.into_inner().unwrap()
}

/// Writes an archive as `docker load` takes it; gives the image's ID.
pub fn write_image(archive: &Path, reference: &str, layers: &[Vec<u8>]) -> String {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/base"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids.iter().map(Digest::to_string).collect::<Vec<_>>() },
    });
    let config = config.to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let paths: Vec<String> = diff_ids.iter().map(|diff_id| format!("{}.tar", diff_id.hex())).collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": [reference], "Layers": paths }]).to_string();
    let mut out = tar::Builder::new(Vec::new());
    for (path, layer) in paths.iter().zip(layers) {
        append(&mut out, path, layer);
    }
    append(&mut out, &config_name, config.as_bytes());
    append(&mut out, "manifest.json", manifest.as_bytes());
    fs::write(archive, out.into_inner().unwrap()).unwrap();
    Digest::of(config.as_bytes()).to_string()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
}
