//! What other programs write.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fs::Digest;
use crate::images::formats::platform::Platform;
use crate::images::store::layout::{INDEX_FILE, LAYOUT_FILE};

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(super) const CONTAINERD: &str = "io.containerd.image.name";

/// Writes a layout as programs other than `dpl` do: no records, no seals, no sizes of what is compressed.
pub(super) struct Foreign {
    folder: PathBuf,
    pub(super) entries: Vec<Value>,
}

impl Foreign {
    pub(super) fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join(LAYOUT_FILE), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self { folder: folder.to_owned(), entries: Vec::new() }
    }

    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    pub(super) fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// An image of one layer; its manifest's descriptor.
    pub(super) fn image(&self, manifest_type: &str, content: &str, architecture: &str) -> Value {
        let docker = manifest_type == DOCKER_MANIFEST;
        let (config_type, layer_type) = match docker {
            true => {
                ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
            }
            false => ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"),
        };
        let layer = content.repeat(1000);
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer.as_bytes()).to_string()]}});
        let layer = self.blob(layer_type, layer.as_bytes());
        let config = self.document(config_type, &config);
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]});
        let mut descriptor = self.document(manifest_type, &manifest);
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    }

    pub(super) fn index(&self, media_type: &str, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        self.document(media_type, &index)
    }

    pub(super) fn name(&mut self, mut descriptor: Value, annotations: &[(&str, &str)]) {
        let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
        descriptor["annotations"] = json!(annotations);
        self.entries.push(descriptor);
    }

    pub(super) fn write(self) {
        let index = json!({"schemaVersion": 2, "manifests": self.entries});
        fs::write(self.folder.join(INDEX_FILE), index.to_string()).unwrap();
    }
}

pub(super) fn here() -> String {
    Platform::host().architecture().to_owned()
}

/// skopeo with `--all`: an index of two platforms by its whole reference.
pub(super) fn skopeo_all(folder: &Path) {
    let mut store = Foreign::new(folder);
    let images = [store.image(OCI_MANIFEST, "one", &here()), store.image(OCI_MANIFEST, "other", "s390x")];
    let index = store.index(OCI_INDEX, &images);
    store.name(index, &[(REF_NAME, "docker.io/team/app:1")]);
    store.write();
}

/// regctl: Docker's types as the registry had them, and tags alone for names.
pub(super) fn regctl(folder: &Path) {
    let mut store = Foreign::new(folder);
    let images = [store.image(DOCKER_MANIFEST, "one", &here()), store.image(DOCKER_MANIFEST, "other", "s390x")];
    let index = store.index(DOCKER_LIST, &images);
    store.name(index, &[(REF_NAME, "v0.3")]);
    let image = store.image(DOCKER_MANIFEST, "one", &here());
    store.name(image, &[(REF_NAME, "team/docker:1")]);
    store.write();
}

/// BuildKit: the image and what says how it was made, by containerd's name and a tag alone.
pub(super) fn buildkit(folder: &Path) {
    let mut store = Foreign::new(folder);
    let image = store.image(OCI_MANIFEST, "one", &here());
    let config = store.document("application/vnd.oci.image.config.v1+json", &json!({"rootfs": {"diff_ids": []}}));
    let statement = store.blob("application/vnd.in-toto+json", br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#);
    let mut attestation = store.document(
        OCI_MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement]}),
    );
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"]});
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let index = store.index(OCI_INDEX, &[image, attestation]);
    store.name(index, &[(CONTAINERD, "docker.io/team/app:1"), (REF_NAME, "1")]);
    store.write();
}

/// hauler, zarf and oras: an image beside a chart, a signature and a file.
pub(super) fn artifacts(folder: &Path) {
    let mut store = Foreign::new(folder);
    let image = store.image(OCI_MANIFEST, "one", &here());
    store.name(image, &[(REF_NAME, "team/app:1"), ("kind", "dev.cosignproject.cosign/image")]);
    for (config_type, layer_type, name) in [
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "chart:1"),
        (
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "team/app:sha256-0.sig",
        ),
        ("application/vnd.oci.empty.v1+json", "text/plain", "file:1"),
    ] {
        let config = store.document(config_type, &json!({}));
        let layer = store.blob(layer_type, name.as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
        let manifest = store.document(OCI_MANIFEST, &manifest);
        store.name(manifest, &[(REF_NAME, name)]);
    }
    let other =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.artifact.manifest.v1+json", "manifests": []});
    let other = store.document(OCI_INDEX, &other);
    store.name(other, &[(REF_NAME, "index-of-something:1")]);
    store.write();
}

/// ctr, and a `docker save` of the containerd store that was unpacked: images of one tag, which is all that `ref.name` says.
pub(super) fn one_tag(folder: &Path) {
    let mut store = Foreign::new(folder);
    for (content, name) in [("one", "docker.io/team/app:latest"), ("two", "docker.io/team/other:latest")] {
        let image = store.image(OCI_MANIFEST, content, &here());
        store.name(image, &[(CONTAINERD, name), (REF_NAME, "latest")]);
    }
    store.write();
}

/// cosign: the image, and under its very name its signature.
pub(super) fn signed(folder: &Path) {
    let mut store = Foreign::new(folder);
    let image = store.image(OCI_MANIFEST, "one", &here());
    let config = store.document("application/vnd.oci.image.config.v1+json", &json!({"rootfs": {"diff_ids": []}}));
    let layer = store.blob("application/vnd.dev.cosign.simplesigning.v1+json", br#"{"critical":{}}"#);
    let signature = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
    let signature = store.document(OCI_MANIFEST, &signature);
    for (entry, kind) in [(signature, "sigs"), (image, "image")] {
        let kind = format!("dev.cosignproject.cosign/{kind}");
        store.name(entry, &[(REF_NAME, "team/app:1"), ("kind", &kind)]);
    }
    store.write();
}

pub(super) type Shape = (&'static str, fn(&Path), &'static str);

pub(super) const SHAPES: [Shape; 6] = [
    ("skopeo --all", skopeo_all, "team/app:1"),
    ("regctl", regctl, "team/docker:1"),
    ("BuildKit", buildkit, "team/app:1"),
    ("hauler, oras", artifacts, "team/app:1"),
    ("cosign", signed, "team/app:1"),
    ("ctr, docker save", one_tag, "team/app:latest"),
];
