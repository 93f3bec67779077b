//! The images that `manifest.json` names, the document of `docker save`.

use serde::Deserialize;

use super::left_out::Aside;
use super::{ArchiveContent, ArchiveError, ArchivedImage, INDEX, MANIFEST, promised, shown};
use crate::fs::Digest;
use crate::images::formats::documents::{ImageConfig, ImageManifest, Index, parse};
use crate::images::names::entry_names;

/// An entry of `manifest.json` (moby, `image/tarexport`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManifestItem {
    config: String,
    pub repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl<L: Clone> ArchiveContent<L> {
    pub(super) fn manifest_or_names(
        &self,
        manifest: &[u8],
        aside: &mut Aside,
    ) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
        let mut images = Vec::new();
        for item in manifest_items(manifest)? {
            match self.image(&item) {
                Ok(image) => images.push(image),
                Err(error) => {
                    aside.damaged.push((item.shown_name(), error));
                    aside.names_of_damaged.extend(item.repo_tags.into_iter().flatten());
                }
            }
        }
        if images.iter().all(|image| image.references.is_empty()) {
            self.add_names_of_index(&mut images);
        }
        Ok(images)
    }

    pub(super) fn image(&self, item: &ManifestItem) -> Result<ArchivedImage<L>, ArchiveError> {
        self.read_image(item).map_err(|error| match (error, item.repo_tags.iter().flatten().next()) {
            (ArchiveError::MissingFile { path }, Some(name)) => ArchiveError::ImageNotWhole { name: shown(name), path },
            (error, _) => error,
        })
    }

    fn read_image(&self, item: &ManifestItem) -> Result<ArchivedImage<L>, ArchiveError> {
        let config_path = &item.config;
        let config_bytes = self.find(&self.documents, config_path)?.clone();
        let config_digest = Digest::of(&config_bytes);
        if promised(config_path).is_some_and(|promised| promised != config_digest) {
            return Err(ArchiveError::WrongDigest { path: shown(config_path) });
        }
        let config = ImageConfig::parse(&config_bytes)
            .map_err(|source| ArchiveError::Document { path: shown(config_path), source })?;
        let paths = item.layers.as_deref().unwrap_or_default();
        let (layers, diff_ids) = (paths.len(), config.diff_ids().len());
        if layers != diff_ids {
            return Err(ArchiveError::LayerCount { config: config_digest, layers, diff_ids });
        }
        let layers = paths.iter().map(|path| self.find(&self.layers, path).cloned()).collect::<Result<_, _>>()?;
        let references = item.repo_tags.clone().unwrap_or_default();
        Ok(ArchivedImage { references, config_digest, config_bytes, config, layers })
    }

    /// BuildKit has written archives whose `manifest.json` names no image and whose `index.json` does.
    pub(super) fn add_names_of_index(&self, images: &mut [ArchivedImage<L>]) {
        let Some(Ok(index)) = self.documents.get(INDEX).map(|bytes| Index::parse(bytes)) else {
            return;
        };
        for (entry, name) in index.manifests.iter().zip(entry_names(&index.manifests)) {
            let Some(name) = name else { continue };
            let nested = self.blob(entry).ok().and_then(|bytes| Index::parse(bytes).ok());
            let manifests = nested.map_or_else(|| vec![entry.clone()], |index| index.manifests);
            let manifests = manifests.iter().filter_map(|one| ImageManifest::parse(self.blob(one).ok()?).ok());
            let configs: Vec<Digest> = manifests.map(|manifest| manifest.config.digest).collect();
            if let Some(image) = images.iter_mut().find(|image| configs.contains(&image.config_digest)) {
                image.references.push(name);
            }
        }
    }
}

impl ManifestItem {
    /// What messages call it.
    fn shown_name(&self) -> String {
        shown(self.repo_tags.iter().flatten().next().unwrap_or(&self.config))
    }
}

pub(super) fn manifest_items(manifest: &[u8]) -> Result<Vec<ManifestItem>, ArchiveError> {
    parse(message!("words", text = MANIFEST), manifest)
        .map_err(|source| ArchiveError::Document { path: MANIFEST.to_owned(), source })
}
