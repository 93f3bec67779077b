//! The JSON documents of an OCI image layout, as far as the store reads and writes them (image-spec: "Descriptor",
//! "Image Manifest", "Image Index", "Image Configuration").
//!
//! Types of our own instead of a library's: digests are of the one spelling that may become a path, annotations keep
//! an order so that equal documents are equal bytes, and what others wrote into the index is kept. A configuration
//! that is passed on is passed on as the bytes it came in, never as what was understood of it.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::fs::Digest;

/// No document that describes images is larger; registries refuse manifests above 4 MiB too. `serde_json` itself
/// ends at 128 levels of nesting.
pub const DOCUMENT_LIMIT_BYTES: u64 = 4 << 20;

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The familiar reference with its tag, where other tools look for the name of an image in a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The normalised reference, where containerd looks for it.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// When `dpl` saved the image, RFC 3339.
pub const SAVED_AT: &str = "dpl.saved-at";
/// What engines with the containerd store call the image: their manifests' digests, separated by spaces.
pub const ENGINE_IDS: &str = "dpl.engine-ids";
/// A layer's size in bytes once decompressed: a tar header has to say it before the first byte is there.
pub const UNCOMPRESSED_SIZE: &str = "dpl.uncompressed-size";

/// Why bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("it is no {what}")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("it is larger than any {what}: {size_bytes} bytes")]
    TooLarge { what: &'static str, size_bytes: u64 },
    #[error("it can be read as an index and as a manifest at once")]
    Ambiguous,
    #[error("its schema version is {0}, and only 2 is known")]
    SchemaVersion(u32),
    #[error("its layers and the diff IDs of its configuration differ in number: {layers} and {diff_ids}")]
    LayerCount { layers: usize, diff_ids: usize },
}

/// What a document names by digest and size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What others wrote and we don't use (`platform`, `artifactType`, …).
    #[serde(flatten)]
    pub rest: serde_json::Map<String, Value>,
}

impl Descriptor {
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, annotations: BTreeMap::new(), rest: Default::default() }
    }

    pub fn with(mut self, annotation: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(annotation.to_owned(), value.into());
        self
    }

    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// Whether it names an index instead of one image.
    pub fn is_index(&self) -> bool {
        self.media_type == INDEX_TYPE || self.media_type == DOCKER_INDEX_TYPE
    }
}

/// One image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    pub schema_version: u32,
    #[serde(default = "manifest_type")]
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

impl ImageManifest {
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: manifest_type(), config, layers }
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Foreign {
            manifests: Option<IgnoredAny>,
        }
        let manifest: Self = parse("image manifest", bytes)?;
        if parse::<Foreign>("image manifest", bytes)?.manifests.is_some() {
            return Err(DocumentError::Ambiguous);
        }
        check_version(manifest.schema_version)?;
        Ok(manifest)
    }

    /// The bytes to store: equal manifests give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps with string keys always serialise")
    }
}

/// The list of the images in a layout (`index.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default = "index_type")]
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    /// What others wrote into it.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, Value>,
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, media_type: index_type(), manifests: Vec::new(), rest: Default::default() }
    }
}

impl Index {
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let index: Self = parse("image index", bytes)?;
        if index.rest.contains_key("config") || index.rest.contains_key("layers") {
            return Err(DocumentError::Ambiguous);
        }
        check_version(index.schema_version)?;
        Ok(index)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("maps with string keys always serialise")
    }
}

/// What the store has to know of an image's configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub created: Option<String>,
    /// The run configuration, as it stands there.
    #[serde(default)]
    pub config: Value,
    pub rootfs: RootFs,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RootFs {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<Digest>,
}

impl ImageConfig {
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        parse("image configuration", bytes)
    }

    /// The digests of the uncompressed layers, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }
}

pub(super) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > DOCUMENT_LIMIT_BYTES {
        return Err(DocumentError::TooLarge { what, size_bytes });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { what, source })
}

fn check_version(version: u32) -> Result<(), DocumentError> {
    if version == 2 { Ok(()) } else { Err(DocumentError::SchemaVersion(version)) }
}

fn manifest_type() -> String {
    MANIFEST_TYPE.to_owned()
}

fn index_type() -> String {
    INDEX_TYPE.to_owned()
}

/// Go programs write `null` for an empty list or map.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,
        "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

    #[test]
    fn a_document_that_is_index_and_manifest_at_once_is_refused() {
        let both = format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[],"manifests":[]}}"#);
        assert!(matches!(ImageManifest::parse(both.as_bytes()), Err(DocumentError::Ambiguous)));
        assert!(matches!(Index::parse(both.as_bytes()), Err(DocumentError::Ambiguous)));
    }

    #[test]
    fn digests_that_lead_elsewhere_are_no_digests() {
        let escaping = r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1,"digest":"sha256:../../etc/x"}]}"#;
        assert!(matches!(Index::parse(escaping.as_bytes()), Err(DocumentError::Json { .. })));
    }

    #[test]
    fn the_index_keeps_what_others_wrote_into_it() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{CONFIG}],"annotations":{{"a":"b"}}}}"#,
            CONFIG.replace("{\"mediaType", r#"{"platform":{"os":"linux"},"annotations":null,"mediaType"#)
        );
        let index = Index::parse(text.as_bytes()).unwrap();
        let again: Value = serde_json::from_slice(&index.to_bytes()).unwrap();
        assert_eq!(again["manifests"][0]["platform"]["os"], "linux");
        assert_eq!(again["annotations"]["a"], "b");
        assert_eq!(again["manifests"][1].as_object().unwrap().len(), 3);
    }

    #[test]
    fn deep_and_large_documents_are_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{deep}}}"#);
        assert!(Index::parse(deep.as_bytes()).is_err());
        let large = vec![b' '; DOCUMENT_LIMIT_BYTES as usize + 1];
        assert!(matches!(Index::parse(&large), Err(DocumentError::TooLarge { .. })));
    }

    #[test]
    fn a_configuration_without_layers_parses() {
        let config = ImageConfig::parse(br#"{"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#).unwrap();
        assert!(config.diff_ids().is_empty());
        assert!(ImageConfig::parse(br#"{"os":"linux"}"#).is_err());
    }
}
