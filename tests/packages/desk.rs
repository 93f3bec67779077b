//! A desk with images in its store, and machines that have never seen it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Run, Site};

/// A desk whose project has the services `web` and `worker`.
pub struct Desk {
    pub site: Site,
}

/// The layers of images, lowest first, by their services.
pub type Images<'a> = &'a [(&'a str, &'a [&'a [u8]])];

impl Desk {
    pub fn new() -> Self {
        let mut site = Site::new();
        let keys = site.file("keys").display().to_string();
        site.set("DPL_KEYS", keys);
        site.write("seeds/d/backup.json", "{}");
        site.write("seeds/d/archive/toc.dat", "PGDMP of d");
        site.write("conf/web.conf", "listen 80\n");
        let desk = Self { site };
        desk.manifest("1");
        desk
    }

    /// `text` is a value in the manifest.
    pub fn manifest(&self, text: &str) {
        let manifest = json!({
            "project": "p",
            "paths": {"images": "store"},
            "configs": {"c": {"file": "conf/web.conf"}},
            "databases": {"d": {"service": "web", "seed": "seeds/d"}},
            "services": {
                "web": {"image": "web:1", "environment": {"A": text}, "configs": ["c"]},
                "worker": {"image": "worker:1"},
            },
        });
        self.site.write("stack.json", &serde_json::to_string_pretty(&manifest).unwrap());
    }

    /// Brings images into the store, as `docker save` wrote them.
    pub fn images(&self, images: Images<'_>) {
        let path = self.site.file("images.tar");
        let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
        let mut add = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content).unwrap();
        };
        let (mut manifest, mut written) = (Vec::new(), std::collections::BTreeSet::new());
        for (service, layers) in images {
            let digests: Vec<dpl::fs::Digest> = layers.iter().map(|layer| dpl::fs::Digest::of(layer)).collect();
            let diff_ids: Vec<String> = digests.iter().map(ToString::to_string).collect();
            let config = json!({"os": "linux", "architecture": std_architecture(), "rootfs": {"diff_ids": diff_ids}});
            let paths: Vec<String> = digests.iter().map(|digest| format!("{}/layer.tar", digest.hex())).collect();
            for (path, layer) in paths.iter().zip(*layers) {
                if written.insert(path.clone()) {
                    add(path, layer);
                }
            }
            let name = format!("{service}.json");
            add(&name, config.to_string().as_bytes());
            manifest.push(json!({"Config": name, "RepoTags": [format!("{service}:1")], "Layers": paths}));
        }
        add("manifest.json", Value::from(manifest).to_string().as_bytes());
        tar.finish().unwrap();
        drop(tar);
        self.run(&["images", "import", "images.tar"]).success();
        fs::remove_file(path).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        self.site.run(&[&["-f", "stack.json"], arguments].concat())
    }

    /// Packs, and gives the file.
    #[track_caller]
    pub fn pack(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.site.file(name);
        let output = path.display().to_string();
        self.run(&[&["pack", "--output", &output], arguments].concat()).success();
        path
    }
}

fn std_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

/// A layer that does not compress: a tar of one file.
pub fn layer(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("f{seed}"), content.as_slice()).unwrap();
    tar.into_inner().unwrap()
}

/// A machine with an empty folder.
pub fn machine() -> Site {
    Site::new()
}

pub fn unpack(machine: &Site, package: &Path, arguments: &[&str]) -> Run {
    let path = package.display().to_string();
    machine.run(&[&["unpack", &path, "--yes"], arguments].concat())
}

/// The names in a machine's image store.
pub fn names(machine: &Site) -> Vec<String> {
    let mut names = dpl::images::stored_names(&machine.file("store"));
    names.sort();
    names
}

/// The images of a machine's store: names and IDs.
#[track_caller]
pub fn images(machine: &Site) -> Vec<(String, String)> {
    let listed = machine.run(&["-f", "stack.json", "--json", "images", "list"]).success().json();
    let images = listed["images"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut images: Vec<_> = images.map(|image| (text(&image["reference"]), text(&image["image_id"]))).collect();
    images.sort();
    images
}

/// Everything below a folder but what dpl keeps for itself: paths and digests.
pub fn tree(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".dpl", ".dpl-store"].contains(&name.as_str()) || name.starts_with(".dpl-received") {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            let content = fs::read(&path).unwrap();
            let below = path.strip_prefix(root).unwrap().display().to_string();
            found.push((below, dpl::fs::Digest::of(&content).to_string()));
        }
    }
}
