//! Stores of other programs on a real engine: saved into, loaded from, verified, pruned, imported and exported, with
//! `docker load` and skopeo as judges of what is left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::exchange::{Pair, pair, skopeo};
use crate::support_engine::Stack;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD: &str = "io.containerd.image.name";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

struct Store<'a>(&'a Path);

impl Store<'_> {
    fn index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.0.join("index.json")).unwrap()).unwrap()
    }

    fn write_index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
    }

    fn document(&self, media_type: &str, document: &Value) -> Value {
        let bytes = document.to_string();
        let digest = dpl::fs::Digest::of(bytes.as_bytes());
        fs::write(self.0.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    fn read(&self, descriptor: &Value) -> Value {
        let hex = &descriptor["digest"].as_str().unwrap()["sha256:".len()..];
        serde_json::from_slice(&fs::read(self.0.join("blobs/sha256").join(hex)).unwrap()).unwrap()
    }
}

fn named(mut descriptor: Value, annotations: Value) -> Value {
    descriptor["annotations"] = annotations;
    descriptor
}

/// As skopeo copies an image out of a registry, by its whole reference.
fn skopeo_shape(pair: &Pair, folder: &Path) {
    let archive = pair.stack.site.file("a.tar");
    pair.stack.docker(&["save", "--output", archive.to_str().unwrap(), &pair.a]);
    let from = format!("docker-archive:{}:{}", archive.display(), pair.a);
    skopeo(&["copy", "--quiet", &from, &format!("oci:{}:docker.io/{}", folder.display(), pair.a)]);
}

/// As regctl: a list and manifests of Docker's own types, and a tag alone beside a whole reference.
fn regctl_shape(pair: &Pair, folder: &Path) {
    skopeo_shape(pair, folder);
    let store = Store(folder);
    let mut manifest = store.read(&store.index()["manifests"][0]);
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    manifest["mediaType"] = docker.into();
    manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    for layer in manifest["layers"].as_array_mut().unwrap() {
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    }
    let manifest = store.document(docker, &manifest);
    let mut for_here = manifest.clone();
    for_here["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let list = store.document(list, &json!({"schemaVersion": 2, "mediaType": list, "manifests": [for_here]}));
    store.write_index(&[named(manifest, json!({REF_NAME: pair.a})), named(list, json!({REF_NAME: "v0.3"}))]);
}

/// As BuildKit: the image and its attestation behind an index, by containerd's name.
fn buildkit_shape(pair: &Pair, folder: &Path) {
    skopeo_shape(pair, folder);
    let store = Store(folder);
    let mut image = store.index()["manifests"][0].clone();
    image.as_object_mut().unwrap().remove("annotations");
    image["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let statement = json!({"_type": "https://in-toto.io/Statement/v0.1", "predicate": {}});
    let statement = store.document("application/vnd.in-toto+json", &statement);
    let config = store.document("application/vnd.oci.image.config.v1+json", &json!({"rootfs": {"diff_ids": []}}));
    let attestation = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement]});
    let mut attestation = store.document(OCI_MANIFEST, &attestation);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [image, attestation]});
    let index = store.document(OCI_INDEX, &index);
    store.write_index(&[named(index, json!({CONTAINERD: format!("docker.io/{}", pair.a), REF_NAME: "1"}))]);
}

/// As hauler: an image, and beside it a chart and a signature.
fn hauler_shape(pair: &Pair, folder: &Path) {
    skopeo_shape(pair, folder);
    let store = Store(folder);
    let mut entries = store.index()["manifests"].as_array().unwrap().clone();
    entries[0]["annotations"]["kind"] = "dev.cosignproject.cosign/image".into();
    for (config, layer, name) in [
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "chart:1"),
        (
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "team/app:sha256-0.sig",
        ),
    ] {
        let (config, layer) = (store.document(config, &json!({})), store.document(layer, &json!({"name": name})));
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
        entries.push(named(store.document(OCI_MANIFEST, &manifest), json!({REF_NAME: name})));
    }
    store.write_index(&entries);
}

/// As cosign: the image, and under its very name its signature; without cosign's own mark nothing tells them apart.
fn cosign_shape(pair: &Pair, folder: &Path) {
    skopeo_shape(pair, folder);
    let store = Store(folder);
    let image = store.index()["manifests"][0].clone();
    let config = store.document("application/vnd.oci.image.config.v1+json", &json!({"rootfs": {"diff_ids": []}}));
    let layer = store.document("application/vnd.dev.cosign.simplesigning.v1+json", &json!({"critical": {}}));
    let signature = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
    let signature = store.document(OCI_MANIFEST, &signature);
    let entries = [(signature, "sigs"), (image, "image")].map(|(entry, kind)| {
        let kind = format!("dev.cosignproject.cosign/{kind}");
        named(entry, json!({REF_NAME: format!("docker.io/{}", pair.a), "kind": kind}))
    });
    store.write_index(&entries);
}

/// As oras: files with an empty configuration and a type of their own, beside an image.
fn oras_shape(pair: &Pair, folder: &Path) {
    skopeo_shape(pair, folder);
    let store = Store(folder);
    let mut entries = store.index()["manifests"].as_array().unwrap().clone();
    let (config, file) =
        (store.document("application/vnd.oci.empty.v1+json", &json!({})), store.document("text/plain", &json!("text")));
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.team.notes",
        "config": config, "layers": [file]});
    let mut artifact = named(store.document(OCI_MANIFEST, &manifest), json!({REF_NAME: "notes"}));
    artifact["artifactType"] = "application/vnd.team.notes".into();
    entries.push(artifact);
    store.write_index(&entries);
}

/// buildah and podman on a storage of their own.
struct Containers {
    folder: tempfile::TempDir,
}

impl Containers {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let (root, runroot) = (self.folder.path().join("root"), self.folder.path().join("run"));
        let output = Command::new(program)
            .args(["--storage-driver", "vfs", "--root"])
            .arg(root)
            .arg("--runroot")
            .arg(runroot)
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}: scripts/test.sh installs it"));
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Takes the engine's image in; gives its name there.
    fn take(&self, pair: &Pair) -> String {
        let archive = pair.stack.site.file("a.tar");
        pair.stack.docker(&["save", "--output", archive.to_str().unwrap(), &pair.a]);
        // A name without a registry may be localhost's to podman, depending on how the engine wrote the archive.
        let loaded = self.run("podman", &["load", "--quiet", "--input", archive.to_str().unwrap()]);
        let name = format!("docker.io/{}", pair.a);
        self.run("podman", &["tag", loaded.split_whitespace().last().expect("it says the name"), &name]);
        name
    }
}

fn podman_shape(pair: &Pair, folder: &Path) {
    let containers = Containers::new();
    let name = containers.take(pair);
    containers.run("podman", &["save", "--quiet", "--format", "oci-dir", "--output", folder.to_str().unwrap(), &name]);
}

fn buildah_shape(pair: &Pair, folder: &Path) {
    let containers = Containers::new();
    let name = containers.take(pair);
    containers.run("buildah", &["push", "--quiet", &name, &format!("oci:{}:{name}", folder.display())]);
}

/// What skopeo reads of each entry, by name and digest. It follows no entry of Docker's own types.
fn read_by_skopeo(folder: &Path) -> BTreeMap<(String, String), String> {
    let index = Store(folder).index();
    let entries = index["manifests"].as_array().unwrap().iter().filter_map(|entry| {
        let name = entry["annotations"][REF_NAME].as_str()?;
        let place = format!("oci:{}:{name}", folder.display());
        let read = Command::new("skopeo").args(["inspect", "--raw", &place]).output().unwrap();
        let raw = String::from_utf8(read.stdout).unwrap();
        read.status.success().then(|| ((name.to_owned(), entry["digest"].as_str().unwrap().to_owned()), raw))
    });
    entries.collect()
}

fn digests(index: &Value) -> Vec<String> {
    let entries = index["manifests"].as_array().unwrap().iter();
    entries.map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[track_caller]
fn loads_as_it_was(pair: &Pair, shape: &str) {
    pair.wipe();
    let loaded = pair.stack.run(&["load", "a", "--json"]).success().json();
    assert_eq!(loaded["images"][0]["image_id"], pair.ids[0], "{shape}");
    let whole = pair.stack.site.file("whole.tar");
    pair.stack.docker(&["image", "save", "--output", whole.to_str().unwrap(), &pair.a]);
}

fn verified(stack: &Stack, shape: &str) {
    let report = stack.run(&["images", "verify", "--json"]).json();
    assert_eq!(report["ok"], true, "{shape}: {report}");
}

#[test]
fn stores_of_other_programs_are_loaded_from_saved_into_pruned_exported_and_imported() {
    type Shape = (&'static str, fn(&Pair, &Path));
    let shapes: [Shape; 8] = [
        ("skopeo", skopeo_shape),
        ("regctl", regctl_shape),
        ("BuildKit", buildkit_shape),
        ("hauler", hauler_shape),
        ("cosign", cosign_shape),
        ("oras", oras_shape),
        ("podman", podman_shape),
        ("buildah", buildah_shape),
    ];
    let pair = pair();
    let (stack, site) = (&pair.stack, &pair.stack.site);
    let both = site.file("both.tar");
    stack.docker(&["save", "--output", both.to_str().unwrap(), &pair.a, &pair.b]);
    for (shape, make) in shapes {
        let _ = fs::remove_dir_all(site.file("store"));
        let _ = fs::remove_dir_all(site.file("theirs"));
        stack.docker(&["load", "--input", both.to_str().unwrap()]);
        make(&pair, &site.file("store"));
        copy(&site.file("store"), &site.file("theirs"));
        let before = read_by_skopeo(&site.file("theirs"));
        assert!(!["skopeo", "podman", "buildah"].contains(&shape) || before.len() == 1, "the control");
        verified(stack, shape);
        loads_as_it_was(&pair, shape);

        // Saved into: an image that is there already, and one that is not.
        stack.docker(&["load", "--input", both.to_str().unwrap()]);
        stack.run(&["save", "--json"]).success();
        verified(stack, shape);
        let plan = stack.run(&["images", "prune", "--json", "--yes"]).success().json();
        assert_eq!(plan["images"], json!([]), "{shape}");
        verified(stack, shape);
        let after = read_by_skopeo(&site.file("store"));
        for (entry, text) in &before {
            assert_eq!(after.get(entry), Some(text), "{shape}: skopeo no longer reads {entry:?}");
        }
        let digests: Vec<String> = digests(&Store(&site.file("store")).index());
        for entry in self::digests(&Store(&site.file("theirs")).index()) {
            assert!(digests.contains(&entry), "{shape}: {entry} is not named any more");
        }
        loads_as_it_was(&pair, shape);

        // Exported, for `docker load`.
        stack.run(&["images", "export", "a", "--output", "out.tar", "--yes"]).success();
        pair.wipe();
        stack.docker(&["load", "--input", site.file("out.tar").to_str().unwrap()]);
        stack.docker(&["image", "inspect", &pair.a]);

        // Imported, into a store of ours.
        fs::remove_dir_all(site.file("store")).unwrap();
        let done = stack.run(&["images", "import", "theirs", "--json"]).success().json();
        assert_eq!(done["images"][0]["image_id"], pair.ids[0], "{shape}");
        let left_out = match shape {
            "hauler" => 2,
            "regctl" | "cosign" | "oras" => 1,
            _ => 0,
        };
        assert_eq!(done["left_out"].as_array().map_or(0, Vec::len), left_out, "{shape}: {done}");
        verified(stack, shape);
        loads_as_it_was(&pair, shape);
    }
}
