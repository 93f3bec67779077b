//! Archives as each generation of engines and podman write them, beside a store and into it; `docker load` is the judge of
//! what comes out.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use dpl::fs::Digest;
use serde_json::{Value, json};

use crate::exchange::{Pair, pair};
use crate::images::bench::{gzip, tar_of};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An image as the engine has it: its configuration's text and its layers.
struct Image {
    name: String,
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Image {
    /// Of what the engine saves, whichever it is.
    fn of(pair: &Pair) -> Self {
        let path = pair.stack.site.file("engine.tar");
        pair.stack.docker(&["save", "--output", path.to_str().unwrap(), &pair.a]);
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        for entry in tar::Archive::new(fs::File::open(&path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if let Some(target) = entry.link_name().unwrap() {
                links.insert(name, target.display().to_string().trim_start_matches("../").to_owned());
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
        let items: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let layer = |path: &Value| {
            let path = path.as_str().unwrap();
            let bytes = files.get(path).unwrap_or_else(|| &files[&links[path]]).clone();
            match bytes.starts_with(&[0x1f, 0x8b]) {
                false => bytes,
                true => {
                    let mut plain = Vec::new();
                    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
                    plain
                }
            }
        };
        Self {
            name: pair.a.clone(),
            config: files[items[0]["Config"].as_str().unwrap()].clone(),
            layers: items[0]["Layers"].as_array().unwrap().iter().map(layer).collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex().to_owned()
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len()})
}

type Files = Vec<(String, Vec<u8>)>;

fn items(config: &str, names: Value, layers: &[String]) -> (String, Vec<u8>) {
    let items = json!([{"Config": config, "RepoTags": names, "Layers": layers}]);
    ("manifest.json".to_owned(), items.to_string().into_bytes())
}

/// Engines before 25: a folder for each layer, and its configuration under its digest.
fn docker_20_10(image: &Image) -> Files {
    let mut files = Files::new();
    let mut paths = Vec::new();
    for layer in &image.layers {
        let id = hex(&[layer.as_slice(), b"id"].concat());
        files.push((format!("{id}/VERSION"), b"1.0".to_vec()));
        files.push((format!("{id}/json"), json!({"id": id}).to_string().into_bytes()));
        files.push((format!("{id}/layer.tar"), layer.clone()));
        paths.push(format!("{id}/layer.tar"));
    }
    let config = format!("{}.json", hex(&image.config));
    files.push((config.clone(), image.config.clone()));
    files.push(items(&config, json!([image.name]), &paths));
    files.push(("repositories".to_owned(), b"{}".to_vec()));
    files
}

/// podman and buildah, as `docker-archive`: layers by their digests, the whole name.
fn podman(image: &Image) -> Files {
    let paths: Vec<String> = image.layers.iter().map(|layer| format!("{}.tar", hex(layer))).collect();
    let mut files: Files = paths.iter().cloned().zip(image.layers.iter().cloned()).collect();
    let config = format!("{}.json", hex(&image.config));
    files.push((config.clone(), image.config.clone()));
    files.push(items(&config, json!([format!("docker.io/{}", image.name)]), &paths));
    files
}

/// A layout with these layers in it, and what its index says of the image.
fn layout(image: &Image, layers: &[Vec<u8>], layer_type: &str) -> (Files, Value) {
    let mut files: Files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    files.extend(layers.iter().map(|layer| (blob(layer), layer.clone())));
    files.push((blob(&image.config), image.config.clone()));
    let described: Vec<Value> = layers.iter().map(|layer| descriptor(layer_type, layer)).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &image.config),
        "layers": described});
    let manifest = manifest.to_string().into_bytes();
    files.push((blob(&manifest), manifest.clone()));
    (files, descriptor(MANIFEST, &manifest))
}

fn index_file(entry: &Value, annotations: Value) -> (String, Vec<u8>) {
    let mut entry = entry.clone();
    entry["annotations"] = annotations;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    ("index.json".to_owned(), index.to_string().into_bytes())
}

fn short_tag(image: &Image) -> Value {
    json!({"io.containerd.image.name": format!("docker.io/{}", image.name), "org.opencontainers.image.ref.name": "1"})
}

/// Engines since 25 with the classic store: a layout and a `manifest.json`, layers as they are.
fn docker_26(image: &Image) -> Files {
    let (mut files, entry) = layout(image, &image.layers, "application/vnd.oci.image.layer.v1.tar");
    files.push(index_file(&entry, short_tag(image)));
    let paths: Vec<String> = image.layers.iter().map(|layer| blob(layer)).collect();
    files.push(items(&blob(&image.config), json!([image.name]), &paths));
    files.push(("repositories".to_owned(), b"{}".to_vec()));
    files
}

/// Engines with the containerd store: layers as they were pulled, an index with an attestation between.
fn docker_containerd(image: &Image) -> Files {
    let packed: Vec<Vec<u8>> = image.layers.iter().map(|layer| gzip(layer)).collect();
    let (mut files, mut entry) = layout(image, &packed, "application/vnd.oci.image.layer.v1.tar+gzip");
    entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let statement = json!({"_type": "https://in-toto.io/Statement/v0.1"}).to_string().into_bytes();
    let config = json!({"rootfs": {"diff_ids": []}}).to_string().into_bytes();
    let attestation = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config),
        "layers": [descriptor("application/vnd.in-toto+json", &statement)]});
    let attestation = attestation.to_string().into_bytes();
    let mut about = descriptor(MANIFEST, &attestation);
    about["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    about["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let nested = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry, about]}).to_string().into_bytes();
    files.extend([&statement, &config, &attestation, &nested].map(|bytes| (blob(bytes), bytes.clone())));
    files.push(index_file(&descriptor(INDEX, &nested), short_tag(image)));
    let paths: Vec<String> = packed.iter().map(|layer| blob(layer)).collect();
    files.push(items(&blob(&image.config), json!([image.name]), &paths));
    files
}

/// `docker buildx build --output type=oci` and skopeo's `oci-archive`: no `manifest.json`.
fn buildx_oci(image: &Image) -> Files {
    let packed: Vec<Vec<u8>> = image.layers.iter().map(|layer| gzip(layer)).collect();
    let (mut files, entry) = layout(image, &packed, "application/vnd.oci.image.layer.v1.tar+gzip");
    files.push(index_file(&entry, short_tag(image)));
    files
}

#[test]
fn archives_of_every_engine_are_verified_loaded_imported_saved_beside_pruned_and_exported() {
    type Shape = (&'static str, fn(&Image) -> Files);
    let shapes: [Shape; 5] = [
        ("20.10", docker_20_10),
        ("podman", podman),
        ("26, 28", docker_26),
        ("26, 28 with the containerd store", docker_containerd),
        ("buildx", buildx_oci),
    ];
    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    let image = Image::of(&pair);
    let archive = site.file("store/delivery.tar");
    for (shape, make) in shapes {
        let _ = fs::remove_dir_all(site.file("store"));
        fs::create_dir(site.file("store")).unwrap();
        fs::write(&archive, tar_of(&make(&image))).unwrap();

        // Beside a store that has nothing.
        let verified = stack.run(&["images", "verify", "--json"]).json();
        assert_eq!((&verified["ok"], &verified["archives"]), (&json!(true), &json!(1)), "{shape}: {verified}");
        pair.wipe();
        let loaded = stack.run(&["load", "a", "--json"]).success().json();
        assert_eq!(loaded["images"][0]["image_id"], pair.ids[0], "{shape}");
        stack.docker(&["image", "inspect", &pair.a]);

        // Saved beside, so that a prune may take it.
        stack.run(&["save", "a", "--json"]).success();
        let pruned = stack.run(&["images", "prune", "--archives", "--json", "--yes"]).success().json();
        assert_eq!(pruned["archives"][0]["removed"], true, "{shape}: {pruned}");
        assert!(!archive.exists(), "{shape}");

        // Imported, and exported again.
        fs::remove_dir_all(site.file("store")).unwrap();
        fs::write(site.file("x.tar"), tar_of(&make(&image))).unwrap();
        let done = stack.run(&["images", "import", "x.tar", "--json"]).success().json();
        assert_eq!(done["images"][0]["image_id"], pair.ids[0], "{shape}: {done}");
        assert_eq!(done["images"].as_array().unwrap().len(), 1, "{shape}: {done}");
        stack.run(&["images", "verify"]).success();
        stack.run(&["images", "export", "a", "--output", "out.tar", "--yes"]).success();
        pair.wipe();
        stack.docker(&["load", "--input", site.file("out.tar").to_str().unwrap()]);
        stack.docker(&["image", "inspect", &pair.a]);
        stack.run(&["load", "a"]).success();
    }
}
