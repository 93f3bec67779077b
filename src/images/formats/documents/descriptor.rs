//! What a document names by digest and size, and what is said about it there.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    BLOB_LIMIT_BYTES, CONTAINERD_NAME, COSIGN_KINDS, DocumentError, KIND, REF_NAME, SAVED_AT, SEAL, is_index_type,
    is_manifest_type, null_is_empty, shown,
};
use crate::fs::Digest;
use crate::report::Message;

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
        if is_manifest_type(&self.media_type) {
            Ok(())
        } else {
            Err(self.wrong_type(message!("document-image-manifest")))
        }
    }

    pub(super) fn wrong_type(&self, what: Message) -> DocumentError {
        DocumentError::MediaType { what, media_type: shown(&self.media_type) }
    }

    /// Whether it names an index instead of one image.
    pub fn is_index(&self) -> bool {
        is_index_type(&self.media_type)
    }
}

fn blob_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if size <= BLOB_LIMIT_BYTES { Ok(size) } else { Err(serde::de::Error::custom("a size beyond that of any blob")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_reference_is_shown_whole_and_nothing_moves_a_cursor() {
        let entry = |name: &str| Descriptor::new("x", Digest::of(b"x"), 1).with(REF_NAME, name);
        let longest = format!("{}:{}", "a".repeat(255), "b".repeat(128));
        assert_eq!(entry(&longest).shown_name(), longest);
        assert_eq!(entry("a\u{1b}[2J").shown_name(), "a\\u{1b}[2J");
        assert_eq!(entry(&"a".repeat(1000)).shown_name().len(), 384);
    }
}
