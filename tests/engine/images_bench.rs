//! A place to try things at: an engine, a store folder, and images made on the spot.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use dpl::engine::{Address, Engine, ImageView};
use dpl::fs::Digest;
use dpl::images::{ImagesError, LoadOptions, LoadPlan, LoadReport, SaveOptions, SavePlan, SaveReport};
use dpl::manifest::model::Reference;
use dpl::report::{Event, Listener, Reporter};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub struct Bench {
    pub engine: Engine,
    pub store: PathBuf,
    prefix: String,
    ear: Arc<Ear>,
    reporter: Reporter,
    _folder: tempfile::TempDir,
}

/// An image to make: its layers, lowest first, each a file of random bytes.
pub struct Recipe {
    layers: Vec<Vec<u8>>,
    compressed: bool,
}

/// An image that was made.
pub struct Made {
    pub config_digest: String,
    pub config: Value,
    pub diff_ids: Vec<String>,
}

#[derive(Default)]
struct Ear(Mutex<Vec<Event>>);

impl Listener for Ear {
    fn hear(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A layer with one file of so many random bytes; half of them compress well.
pub fn layer(bytes: usize) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let mut content = vec![0; bytes / 2 + 16];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut content).unwrap();
    content.resize(bytes + 16, b'x');
    tar_of(&[(format!("file-{number}"), content)])
}

pub fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Whether an archive as docker writes it is of this image, and has all of it.
pub fn holds_image(archive: &[u8], made: &Made) -> bool {
    let (mut files, mut links) = (HashMap::new(), HashMap::new());
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        if let Some(target) = entry.link_name().unwrap() {
            // `../ID/layer.tar`, for a layer that is there already.
            links.insert(path, target.to_string_lossy().trim_start_matches("../").to_owned());
        } else {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(path, bytes);
        }
    }
    let digest_of = |path: &Value| -> Option<String> {
        let path = path.as_str()?;
        let bytes = files.get(links.get(path).map_or(path, String::as_str))?;
        let mut plain = Vec::new();
        let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
        let bytes = if is_gzip {
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).ok()?;
            &plain
        } else {
            bytes
        };
        Some(Digest::of(bytes).to_string())
    };
    let Some(manifest) = files.get("manifest.json") else { return false };
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let layers: Option<Vec<String>> = manifest[0]["Layers"].as_array().unwrap().iter().map(digest_of).collect();
    digest_of(&manifest[0]["Config"]).as_ref() == Some(&made.config_digest) && layers.as_ref() == Some(&made.diff_ids)
}

impl Recipe {
    pub fn of(layers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { layers: layers.into_iter().collect(), compressed: false }
    }

    /// With layers that are gzip'd inside the archive.
    pub fn compressed(mut self) -> Self {
        self.compressed = true;
        self
    }
}

pub fn text_of(error: &ImagesError) -> String {
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl Bench {
    pub async fn new(name: &str) -> Self {
        let address = std::env::var("DPL_TEST_ENGINE")
            .expect("DPL_TEST_ENGINE must name a private engine (unix://…): these tests need a real one");
        let engine = Engine::connect(Address::resolve(Some(&address)).unwrap()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ear = Arc::new(Ear::default());
        let reporter = Reporter::new(vec![Arc::clone(&ear) as Arc<dyn Listener>], CancellationToken::new());
        let mut random = [0; 4];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        let prefix = format!("{name}{:08x}", u32::from_ne_bytes(random));
        Self { engine, store: folder.path().join("store"), prefix, ear, reporter, _folder: folder }
    }

    pub fn name(&self, short: &str) -> String {
        format!("{}/{short}", self.prefix)
    }

    fn references(&self, names: &[&str]) -> Vec<Reference> {
        names.iter().map(|name| self.name(name).parse().unwrap()).collect()
    }

    pub async fn make(&self, name: &str, recipe: &Recipe) -> Made {
        let diff_ids: Vec<String> = recipe.layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({
            "architecture": self.engine.facts().await.unwrap().architecture, "os": "linux", "created": "2024-05-06T07:08:09.123Z",
            "config": {"Cmd": ["/start"], "Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"for": self.prefix}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "test"})).collect::<Vec<_>>(),
        });
        let bytes = serde_json::to_vec(&config).unwrap();
        let digest = Digest::of(&bytes);
        let mut files = Vec::new();
        for (layer, diff_id) in recipe.layers.iter().zip(&diff_ids) {
            let content = if recipe.compressed { gzip(layer) } else { layer.clone() };
            let file = (format!("{}/layer.tar", &diff_id[7..]), content);
            if !files.contains(&file) {
                files.push(file);
            }
        }
        let manifest = json!([{
            "Config": format!("{}.json", digest.hex()), "RepoTags": [self.name(name)],
            "Layers": diff_ids.iter().map(|diff_id| format!("{}/layer.tar", &diff_id[7..])).collect::<Vec<_>>(),
        }]);
        files.push((format!("{}.json", digest.hex()), bytes));
        files.push(("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()));
        let archive = bytes::Bytes::from(tar_of(&files));
        let mut lines = pin!(self.engine.load_images(futures::stream::iter([Ok(archive)])));
        while let Some(line) = lines.next().await {
            line.unwrap();
        }
        Made { config_digest: digest.to_string(), config: config["config"].clone(), diff_ids }
    }

    pub async fn tag(&self, name: &str, other: &str) {
        let other = self.name(other);
        let (repository, tag) = other.rsplit_once(':').unwrap();
        self.engine.tag_image(&self.name(name), repository, tag).await.unwrap();
    }

    pub async fn remove(&self, name: &str) {
        self.engine.remove_image(name).await.unwrap();
    }

    /// Takes the images and their layers from the engine.
    pub async fn wipe(&self, names: &[&str]) {
        for name in names {
            self.remove(&self.name(name)).await;
        }
    }

    pub async fn view(&self, name: &str) -> Option<ImageView> {
        self.engine.inspect_image(&self.name(name)).await.unwrap()
    }

    pub async fn assert_is(&self, name: &str, made: &Made) {
        self.assert_named(&self.name(name), made).await;
    }

    pub async fn assert_named(&self, name: &str, made: &Made) {
        let view = self.engine.inspect_image(name).await.unwrap().unwrap_or_else(|| panic!("no image {name}"));
        assert_eq!(view.diff_ids, made.diff_ids, "{name}");
        assert_eq!(Some(view.config), dpl::engine::run_config(&made.config), "{name}");
        let listed = self.engine.list_images().await.unwrap();
        let listed = listed.iter().find(|image| image.id == view.id).unwrap_or_else(|| panic!("{name} is not listed"));
        assert!(listed.complete, "{name} is not complete");
    }

    /// Whether `docker image save` gives the image's configuration and all of its layers.
    pub async fn can_be_exported(&self, name: &str, made: &Made) -> bool {
        let saved = std::process::Command::new("docker")
            .args(["image", "save", &self.name(name)])
            .env("DOCKER_HOST", std::env::var_os("DPL_TEST_ENGINE").unwrap())
            .output()
            .unwrap();
        saved.status.success() && holds_image(&saved.stdout, made)
    }

    pub async fn save(&self, names: &[&str]) -> Result<SaveReport, ImagesError> {
        self.save_with(names, &SaveOptions::default()).await
    }

    pub async fn save_with(&self, names: &[&str], options: &SaveOptions) -> Result<SaveReport, ImagesError> {
        self.save_as(names, options, &self.reporter).await
    }

    pub async fn save_as(
        &self,
        names: &[&str],
        options: &SaveOptions,
        reporter: &Reporter,
    ) -> Result<SaveReport, ImagesError> {
        dpl::images::save(&self.engine, &self.store, &self.references(names), options, reporter).await
    }

    pub async fn load(&self, names: &[&str]) -> Result<LoadReport, ImagesError> {
        self.load_as(names, &self.reporter).await
    }

    pub async fn load_as(&self, names: &[&str], reporter: &Reporter) -> Result<LoadReport, ImagesError> {
        dpl::images::load(&self.engine, &self.store, &self.references(names), &LoadOptions::default(), reporter).await
    }

    pub async fn plan_save(&self, names: &[&str]) -> Result<SavePlan, ImagesError> {
        let options = SaveOptions::default();
        dpl::images::plan_save(&self.engine, &self.store, &self.references(names), &options).await
    }

    pub async fn plan_load(&self, names: &[&str]) -> Result<LoadPlan, ImagesError> {
        dpl::images::plan_load(&self.engine, &self.store, &self.references(names)).await
    }

    /// A reporter whose operator has asked for an end.
    pub fn stopped(&self) -> Reporter {
        let stop = CancellationToken::new();
        stop.cancel();
        Reporter::new(Vec::new(), stop)
    }

    /// How often this message came up.
    pub fn heard(&self, key: &str) -> usize {
        use dpl::report::Outcome;
        let events = self.ear.0.lock().unwrap();
        let messages = events.iter().filter_map(|event| match event {
            Event::Notice(message) | Event::Warning(message) => Some(message),
            Event::Ended { outcome: Outcome::Done(message), .. } => Some(message),
            _ => None,
        });
        messages.filter(|message| message.key == key).count()
    }

    /// All files of the store with their times, but for the lock, which says who wrote last.
    pub fn store_files(&self) -> Vec<(PathBuf, std::time::SystemTime)> {
        let mut files = Vec::new();
        let mut folders = vec![self.store.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.metadata().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() != "lock" {
                    files.push((entry.path(), entry.metadata().unwrap().modified().unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    pub fn archives(&self) -> Vec<PathBuf> {
        let files = self.store_files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.parent() == Some(&self.store)).collect()
    }

    pub fn largest_blob(&self) -> PathBuf {
        let files = self.store_files().into_iter().map(|(path, _)| path);
        let blobs = files.filter(|path| path.parent() == Some(&self.store.join("blobs/sha256")));
        blobs.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
    }

    /// The engine's export, gzip'd in members of 100 kB as parallel compressors write it.
    pub async fn export_gzip_members(&self, names: &[&str], path: &Path) {
        let names: Vec<String> = names.iter().map(|name| self.name(name)).collect();
        let mut archive = Vec::new();
        let mut stream = pin!(self.engine.export_images(&names));
        while let Some(chunk) = stream.next().await {
            archive.extend_from_slice(&chunk.unwrap());
        }
        let members: Vec<u8> = archive.chunks(100_000).flat_map(gzip).collect();
        std::fs::write(path, members).unwrap();
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
