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
/// More values than this in one document come from one that was made to hurt: a byte of text can become hundreds in
/// memory. An index of a thousand images has about 10,000.
const VALUES_LIMIT: usize = 100_000;
/// No disk holds a blob of 64 TiB; sums of sizes below stay numbers.
pub const BLOB_LIMIT_BYTES: u64 = 1 << 46;

const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
/// Beginnings of what layers of file systems are called.
const LAYER_TYPES: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
const DOCKER_INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The familiar reference with its tag, where other tools look for the name of an image in a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The normalised reference, where containerd looks for it.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// What cosign (and hauler, with its code) says an entry is.
const KIND: &str = "kind";
const COSIGN_KINDS: &str = "dev.cosignproject.cosign/";
/// When `dpl` saved the image, RFC 3339.
pub const SAVED_AT: &str = "dpl.saved-at";
/// What engines with the containerd store call the image: their manifests' digests, separated by spaces.
pub const ENGINE_IDS: &str = "dpl.engine-ids";
/// The digest of all else that the entry says: an entry that `dpl` wrote has it.
const SEAL: &str = "dpl.seal";
/// The projects that are known to need the reference, separated by spaces: one's prune leaves another's images alone.
pub const PROJECTS: &str = "dpl.projects";
/// A layer's size in bytes once decompressed: a tar header has to say it before the first byte is there.
pub const UNCOMPRESSED_SIZE: &str = "dpl.uncompressed-size";

/// Why bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("it is not a valid {what}")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("it is larger than any {what}: {size_bytes} bytes")]
    TooLarge { what: &'static str, size_bytes: u64 },
    #[error("it can be read as an index and as a manifest at once")]
    Ambiguous,
    #[error("it has more values than any {what}")]
    TooManyValues { what: &'static str },
    #[error("unexpected media type {media_type:?} (expected: {what})")]
    MediaType { what: &'static str, media_type: String },
    #[error("a layer of it is encrypted ({media_type:?}), which no engine can load")]
    Encrypted { media_type: String },
    #[error("the entry of {reference} in it is not as it was written")]
    BrokenSeal { reference: String },
    #[error("it gives the name {reference} to two images")]
    NameTwice { reference: String },
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
    #[serde(deserialize_with = "blob_size")]
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

    pub fn without(mut self, annotation: &str) -> Self {
        self.annotations.remove(annotation);
        self
    }

    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// Whether it is something about an image, under the very name of that: cosign saves signatures and attestations so.
    pub fn is_about_an_image(&self) -> bool {
        let kind = self.annotation(KIND).and_then(|kind| kind.strip_prefix(COSIGN_KINDS));
        kind.is_some_and(|kind| !matches!(kind, "image" | "imageIndex"))
    }

    /// What messages and lists call an entry of an index: text from elsewhere, so without what could move a cursor.
    pub fn shown_name(&self) -> String {
        // The longest reference: 255 bytes of name and 128 of tag.
        const LONGEST: usize = 384;
        let name = self.annotation(REF_NAME).unwrap_or_else(|| self.digest.short());
        if name.len() <= LONGEST && !name.chars().any(char::is_control) {
            name.to_owned()
        } else {
            name.chars().take(LONGEST).collect::<String>().escape_debug().to_string()
        }
    }

    /// The entry with the digest of all that it says, so that a flipped bit in it can be found.
    pub fn sealed(mut self) -> Self {
        self.annotations.remove(SEAL);
        let seal = self.seal();
        self.with(SEAL, seal)
    }

    /// Whether it is an entry that `dpl` wrote.
    pub fn is_sealed(&self) -> bool {
        self.annotation(SEAL).is_some()
    }

    /// False for an entry of `dpl`'s own that does not say what was written. What others wrote has no seal.
    pub fn seal_holds(&self) -> bool {
        let mut plain = self.clone();
        match plain.annotations.remove(SEAL) {
            Some(seal) => plain.seal() == seal || plain.lost_ref_name().is_some_and(|before| before.seal() == seal),
            // A flipped bit can turn the key `annotations` into an unknown one; the seal is then somewhere in `rest`.
            None => self.annotation(SAVED_AT).is_none() && self.rest.values().all(|other| other.get(SEAL).is_none()),
        }
    }

    /// The entry before another program took its `ref.name` from it and left all else, as skopeo does with the entry of
    /// a tag that it moves.
    fn lost_ref_name(&self) -> Option<Self> {
        if self.annotation(REF_NAME).is_some() {
            return None;
        }
        let name = self.annotation(CONTAINERD_NAME)?;
        let library = name.strip_prefix("docker.io/").unwrap_or(name);
        Some(self.clone().with(REF_NAME, library.strip_prefix("library/").unwrap_or(library)))
    }

    fn seal(&self) -> String {
        Digest::of(&serde_json::to_vec(self).expect("maps with string keys always serialise")).hex().to_owned()
    }

    /// Whether it names one image.
    pub fn check_is_manifest(&self) -> Result<(), DocumentError> {
        if is_manifest_type(&self.media_type) { Ok(()) } else { Err(self.wrong_type("image manifest")) }
    }

    fn wrong_type(&self, what: &'static str) -> DocumentError {
        DocumentError::MediaType { what, media_type: shown(&self.media_type) }
    }

    /// Whether it names an index instead of one image.
    pub fn is_index(&self) -> bool {
        is_index_type(&self.media_type)
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
    /// BuildKit writes `null` where an image has none.
    #[serde(default, deserialize_with = "null_is_empty")]
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
        if is_index_type(&manifest.media_type) || parse::<Foreign>("image manifest", bytes)?.manifests.is_some() {
            return Err(DocumentError::Ambiguous);
        }
        check_version(manifest.schema_version)?;
        manifest.check_types()?;
        Ok(manifest)
    }

    /// What is no image of a file system (a chart, a signature, something encrypted) is refused by name, before its
    /// parts are taken for something else.
    fn check_types(&self) -> Result<(), DocumentError> {
        if !is_manifest_type(&self.media_type) {
            return Err(DocumentError::MediaType { what: "image manifest", media_type: shown(&self.media_type) });
        }
        if self.config.media_type != CONFIG_TYPE && self.config.media_type != DOCKER_CONFIG_TYPE {
            return Err(self.config.wrong_type("image configuration"));
        }
        for layer in &self.layers {
            if layer.media_type.ends_with("+encrypted") {
                return Err(DocumentError::Encrypted { media_type: shown(&layer.media_type) });
            }
            if !LAYER_TYPES.iter().any(|known| layer.media_type.starts_with(known)) {
                return Err(layer.wrong_type("layer of an image"));
            }
        }
        Ok(())
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

impl DocumentError {
    /// Whether the document is whole and of another kind than an image that an engine runs: a chart, a signature, a
    /// manifest of schema 1, something encrypted. That is no damage.
    pub fn is_other_kind(&self) -> bool {
        matches!(self, Self::MediaType { .. } | Self::Encrypted { .. } | Self::SchemaVersion(1))
    }
}

impl Index {
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let index: Self = parse("image index", bytes)?;
        if index.rest.contains_key("config") || index.rest.contains_key("layers") {
            return Err(DocumentError::Ambiguous);
        }
        if !is_index_type(&index.media_type) {
            return Err(DocumentError::MediaType { what: "image index", media_type: shown(&index.media_type) });
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

pub(in crate::images) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > DOCUMENT_LIMIT_BYTES {
        return Err(DocumentError::TooLarge { what, size_bytes });
    }
    if count_values(bytes) > VALUES_LIMIT {
        return Err(DocumentError::TooManyValues { what });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { what, source })
}

/// At least as many as there are values in a JSON text: what separates and opens them, outside of strings.
fn count_values(bytes: &[u8]) -> usize {
    let (mut count, mut is_string, mut is_escaped) = (0, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b',' | b'[' | b'{' if !is_string => count += 1,
            _ => {}
        }
    }
    count
}

fn blob_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if size <= BLOB_LIMIT_BYTES { Ok(size) } else { Err(serde::de::Error::custom("a size beyond that of any blob")) }
}

/// Text from a document, fit for an error message.
fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

fn check_version(version: u32) -> Result<(), DocumentError> {
    if version == 2 { Ok(()) } else { Err(DocumentError::SchemaVersion(version)) }
}

fn is_manifest_type(media_type: &str) -> bool {
    [MANIFEST_TYPE, DOCKER_MANIFEST_TYPE].contains(&media_type)
}

fn is_index_type(media_type: &str) -> bool {
    [INDEX_TYPE, DOCKER_INDEX_TYPE].contains(&media_type)
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
    fn the_longest_reference_is_shown_whole_and_nothing_moves_a_cursor() {
        let entry = |name: &str| Descriptor::new("x", Digest::of(b"x"), 1).with(REF_NAME, name);
        let longest = format!("{}:{}", "a".repeat(255), "b".repeat(128));
        assert_eq!(entry(&longest).shown_name(), longest);
        assert_eq!(entry("a\u{1b}[2J").shown_name(), "a\\u{1b}[2J");
        assert_eq!(entry(&"a".repeat(1000)).shown_name().len(), 384);
    }

    #[test]
    fn a_configuration_without_layers_parses() {
        let config = ImageConfig::parse(br#"{"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#).unwrap();
        assert!(config.diff_ids().is_empty());
        assert!(ImageConfig::parse(br#"{"os":"linux"}"#).is_err());
    }
}
