//! The JSON documents of an OCI image layout, as far as the store reads and writes them (image-spec: "Descriptor",
//! "Image Manifest", "Image Index", "Image Configuration").
//!
//! Types of our own instead of a library's: digests are of the one spelling that may become a path, annotations keep
//! an order so that equal documents are equal bytes, and what others wrote into the index is kept. A configuration
//! that is passed on is passed on as the bytes it came in, never as what was understood of it.

mod descriptor;
mod image;
mod index;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

pub use self::descriptor::Descriptor;
pub use self::image::{ImageConfig, ImageManifest};
pub use self::index::Index;
pub(in crate::images) use self::index::{foreign_name, other_algorithm};
use crate::report::{Message, Told};

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
/// A whole descriptor, of an empty configuration.
#[cfg(test)]
const CONFIG_DESCRIPTOR: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,
    "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;
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
    Json { what: Message, source: serde_json::Error },
    TooLarge { what: Message, size_bytes: u64 },
    Ambiguous,
    TooManyValues { what: Message },
    MediaType { what: Message, media_type: String },
    Encrypted { media_type: String },
    BrokenSeal { reference: String },
    NameTwice { reference: String },
    SchemaVersion(u32),
    LayerCount { layers: usize, diff_ids: usize },
}

impl Told for DocumentError {
    fn message(&self) -> Message {
        match self {
            Self::Json { what, .. } => message!("error-document-json", what = what),
            Self::TooLarge { what, size_bytes } => message!("error-document-too-large", what = what, size = size_bytes),
            Self::Ambiguous => message!("error-document-ambiguous"),
            Self::TooManyValues { what } => message!("error-document-values", what = what),
            Self::MediaType { what, media_type } => {
                message!("error-document-media-type", found = format!("{media_type:?}"), what = what)
            }
            Self::Encrypted { media_type } => {
                message!("error-document-encrypted", found = format!("{media_type:?}"))
            }
            Self::BrokenSeal { reference } => message!("error-document-seal", reference = reference),
            Self::NameTwice { reference } => message!("error-document-name-twice", reference = reference),
            Self::SchemaVersion(version) => message!("error-document-schema", version = version),
            Self::LayerCount { layers, diff_ids } => {
                message!("error-document-layer-count", layers = layers, diff_ids = diff_ids)
            }
        }
    }
}

impl DocumentError {
    /// Whether the document is whole and of another kind than an image that an engine runs: a chart, a signature, a
    /// manifest of schema 1, something encrypted. That is no damage.
    pub fn is_other_kind(&self) -> bool {
        matches!(self, Self::MediaType { .. } | Self::Encrypted { .. } | Self::SchemaVersion(1))
    }
}

pub(in crate::images) fn parse<T: DeserializeOwned>(what: Message, bytes: &[u8]) -> Result<T, DocumentError> {
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

/// Go programs write `null` for an empty list or map.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
