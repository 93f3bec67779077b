//! An image's manifest and its configuration.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::descriptor::Descriptor;
use super::{
    CONFIG_TYPE, DOCKER_CONFIG_TYPE, DocumentError, LAYER_TYPES, MANIFEST_TYPE, check_version, is_index_type,
    is_manifest_type, null_is_empty, parse, shown,
};
use crate::fs::Digest;

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
        let manifest: Self = parse(message!("document-image-manifest"), bytes)?;
        if is_index_type(&manifest.media_type)
            || parse::<Foreign>(message!("document-image-manifest"), bytes)?.manifests.is_some()
        {
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
            return Err(DocumentError::MediaType {
                what: message!("document-image-manifest"),
                media_type: shown(&self.media_type),
            });
        }
        if self.config.media_type != CONFIG_TYPE && self.config.media_type != DOCKER_CONFIG_TYPE {
            return Err(self.config.wrong_type(message!("document-image-config")));
        }
        for layer in &self.layers {
            if layer.media_type.ends_with("+encrypted") {
                return Err(DocumentError::Encrypted { media_type: shown(&layer.media_type) });
            }
            if !LAYER_TYPES.iter().any(|known| layer.media_type.starts_with(known)) {
                return Err(layer.wrong_type(message!("document-layer")));
            }
        }
        Ok(())
    }

    /// The bytes to store: equal manifests give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps with string keys always serialise")
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
        parse(message!("document-image-config"), bytes)
    }

    /// The digests of the uncompressed layers, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }
}

fn manifest_type() -> String {
    MANIFEST_TYPE.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::formats::documents::{CONFIG_DESCRIPTOR, Index};

    #[test]
    fn a_document_that_is_index_and_manifest_at_once_is_refused() {
        let both = format!(r#"{{"schemaVersion":2,"config":{CONFIG_DESCRIPTOR},"layers":[],"manifests":[]}}"#);
        assert!(matches!(ImageManifest::parse(both.as_bytes()), Err(DocumentError::Ambiguous)));
        assert!(matches!(Index::parse(both.as_bytes()), Err(DocumentError::Ambiguous)));
    }

    #[test]
    fn a_configuration_without_layers_parses() {
        let config = ImageConfig::parse(br#"{"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#).unwrap();
        assert!(config.diff_ids().is_empty());
        assert!(ImageConfig::parse(br#"{"os":"linux"}"#).is_err());
    }
}
