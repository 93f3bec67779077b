//! Archives and layouts, byte by byte: as they should be, and with what a hostile hand does to them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use dpl::fs::Digest;
use serde_json::{Value, json};

use crate::support_fake_engine::{Answer, Rule};

/// Entries of a tar file, and what follows them.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// A header with any kind, name, link and size, then the content with its padding.
    pub fn entry(mut self, kind: u8, path: &[u8], link: &[u8], size: u64, content: &[u8]) -> Self {
        let octal = format!("{size:011o}\0");
        self.0.extend(header(kind, path, link, octal.as_bytes()));
        self.content(content)
    }

    /// As [`Tar::entry`], with any bytes in the size field.
    pub fn sized(mut self, field: &[u8], path: &str, content: &[u8]) -> Self {
        self.0.extend(header(b'0', path.as_bytes(), b"", field));
        self.content(content)
    }

    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(b'0', path.as_bytes(), b"", content.len() as u64, content)
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path.as_bytes(), target.as_bytes(), 0, b"")
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path.as_bytes(), target.as_bytes(), 0, b"")
    }

    /// An extension header: `x`, `g`, `L` or `K`.
    pub fn extension(self, kind: u8, content: &[u8]) -> Self {
        self.entry(kind, b"extension", b"", content.len() as u64, content)
    }

    pub fn pax(self, key: &str, value: &[u8]) -> Self {
        let record = pax_record(key, value);
        self.extension(b'x', &record)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend(content);
        self.0.extend(vec![0; (512 - content.len() % 512) % 512]);
        self
    }
}

/// A header block with its checksum.
pub fn header(kind: u8, path: &[u8], link: &[u8], size: &[u8]) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, size);
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// An image: layers and a configuration that fits them.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<Vec<u8>>,
    pub config: Vec<u8>,
}

impl Image {
    pub fn new(word: &str) -> Self {
        let layer = |name: String| Tar::default().file(&name, name.repeat(90).as_bytes()).end();
        let layers = vec![layer(format!("{word}-lower")), layer(format!("{word}-upper"))];
        let config = config_of(&diff_ids(&layers)).to_string().into_bytes();
        Self { layers, config }
    }

    pub fn config_name(&self) -> String {
        format!("{}.json", self.config_digest().hex())
    }

    pub fn config_digest(&self) -> Digest {
        Digest::of(&self.config)
    }

    pub fn layer_paths(&self) -> Vec<String> {
        self.layers.iter().map(|layer| format!("{}/layer.tar", Digest::of(layer).hex())).collect()
    }

    /// Its entry in `manifest.json`.
    pub fn item(&self, tags: &[&str]) -> Value {
        json!({"Config": self.config_name(), "RepoTags": tags, "Layers": self.layer_paths()})
    }

    /// Its layers and its configuration, in an archive.
    pub fn files(&self, tar: Tar) -> Tar {
        let files = self.layer_paths().into_iter().zip(&self.layers);
        let tar = files.fold(tar, |tar, (path, layer)| tar.file(&path, layer));
        tar.file(&self.config_name(), &self.config)
    }

    /// The archive of this image alone, with something else before its `manifest.json`.
    pub fn archive_with(&self, other: impl FnOnce(Tar) -> Tar) -> Vec<u8> {
        let manifest = Value::Array(vec![self.item(&["a:1"])]).to_string();
        other(self.files(Tar::default())).file("manifest.json", manifest.as_bytes()).end()
    }

    /// The archive with another `manifest.json`.
    pub fn archive_named(&self, manifest: &str) -> Vec<u8> {
        self.files(Tar::default()).file("manifest.json", manifest.as_bytes()).end()
    }
}

/// An engine's answers when it has this image as `a:1`.
pub fn image_rules(image: &Image) -> Vec<Rule> {
    let view = json!({"Id": image.config_digest().to_string(), "RepoTags": ["a:1"], "Size": 1, "Os": "linux",
        "Architecture": "amd64", "Config": {"Cmd": ["/a"]},
        "RootFS": {"Type": "layers", "Layers": diff_ids(&image.layers)}});
    let export = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), image.archive_with(|tar| tar)].concat();
    vec![
        ("GET", "/images/a:1/json", Answer::Json(200, Box::leak(view.to_string().into_boxed_str()))),
        ("GET", "/images/get", Answer::Raw(export.clone())),
        ("GET", "/images/a:1/get", Answer::Raw(export)),
    ]
}

pub fn diff_ids(layers: &[Vec<u8>]) -> Vec<String> {
    layers.iter().map(|layer| Digest::of(layer).to_string()).collect()
}

pub fn config_of(diff_ids: &[String]) -> Value {
    json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/a"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout as another program writes it, in parts that can be changed before it is written.
#[derive(Clone)]
pub struct Store {
    pub image: Image,
    pub version: Vec<u8>,
    pub index: Value,
    pub manifest: Value,
    /// By the hex digits that they are named by.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// What the index is, instead of the text of `index`.
    pub raw_index: Option<Vec<u8>>,
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

impl Store {
    pub fn new(word: &str) -> Self {
        let image = Image::new(word);
        let layers: Vec<Value> = image.layers.iter().map(|layer| descriptor(LAYER_TYPE, layer)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, &image.config), "layers": layers});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []});
        let blobs = image.layers.iter().chain([&image.config]).map(|blob| (hex(blob), blob.clone())).collect();
        let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        Self { image, version, index, manifest, blobs, raw_index: None }
    }

    /// Another layer in place of the upper one: its blob, its type, its content.
    pub fn with_layer(mut self, blob: &[u8], media_type: &str, plain: &[u8]) -> Self {
        self.image.layers[1] = plain.to_vec();
        self.image.config = config_of(&diff_ids(&self.image.layers)).to_string().into_bytes();
        self.blobs.insert(hex(blob), blob.to_vec());
        self.manifest["layers"][1] = descriptor(media_type, blob);
        let config = self.image.config.clone();
        self.with_config(config)
    }

    pub fn with_config(mut self, config: Vec<u8>) -> Self {
        self.manifest["config"] = descriptor(CONFIG_TYPE, &config);
        self.blobs.insert(hex(&config), config);
        self
    }

    /// Changes the manifest; the index will name it as it is then.
    pub fn manifest(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.manifest);
        self
    }

    /// Lets the index name the manifest `a:1`, and changes it.
    pub fn index(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let text = self.manifest.to_string().into_bytes();
        let mut entry = descriptor(MANIFEST_TYPE, &text);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "a:1"});
        self.index["manifests"].as_array_mut().unwrap().push(entry);
        self.blobs.insert(hex(&text), text);
        change(&mut self.index);
        self
    }

    pub fn named(self) -> Self {
        self.index(|_| ())
    }

    pub fn blob(mut self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Self {
        change(&mut self.blobs);
        self
    }

    pub fn write(&self, folder: &Path) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for (name, bytes) in &self.blobs {
            std::fs::write(blobs.join(name), bytes).unwrap();
        }
        let index = self.raw_index.clone().unwrap_or_else(|| self.index.to_string().into_bytes());
        std::fs::write(folder.join("index.json"), index).unwrap();
        std::fs::write(folder.join("oci-layout"), &self.version).unwrap();
    }
}

pub fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex().to_owned()
}
