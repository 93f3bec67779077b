//! The images that the index of an OCI layout names (image-spec, "Image Layout").

use super::left_out::Aside;
use super::{ArchiveContent, ArchiveError, ArchivedImage, INDEX, LeftOut, shown};
use crate::fs::Digest;
use crate::images::formats::archive_writer::blob_path;
use crate::images::formats::documents::{Descriptor, ImageConfig, ImageManifest, Index};
use crate::images::formats::in_one_line;
use crate::images::formats::platform::Platform;
use crate::images::names::entry_names;

impl<L: Clone> ArchiveContent<L> {
    /// The images of an OCI layout (image-spec, "Image Layout") without a `manifest.json` beside it. What is not an image
    /// is left out, unless nothing else is there; so is what is not whole.
    pub(super) fn layout_images(
        &self,
        platform: &Platform,
        aside: &mut Aside,
    ) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
        let index = self.documents.get(INDEX).ok_or(ArchiveError::NoManifest)?;
        let index = Index::parse(index).map_err(|source| ArchiveError::Document { path: INDEX.to_owned(), source })?;
        let mut images: Vec<ArchivedImage<L>> = Vec::new();
        let mut first_error = None;
        for (entry, name) in index.manifests.iter().zip(entry_names(&index.manifests)) {
            let Err(error) = self.layout_image(entry, name.clone(), platform, &mut images) else {
                continue;
            };
            let shown = name.clone().unwrap_or_else(|| entry.shown_name());
            if error.is_other_kind() {
                aside.others.push(LeftOut::other(shown, in_one_line(&error)));
                first_error.get_or_insert(error);
            } else {
                aside.damaged.push((shown, error));
                aside.names_of_damaged.extend(name);
            }
        }
        match first_error {
            Some(error) if images.is_empty() && aside.damaged.is_empty() => Err(error),
            _ => Ok(images),
        }
    }

    pub(super) fn layout_image(
        &self,
        entry: &Descriptor,
        name: Option<String>,
        platform: &Platform,
        images: &mut Vec<ArchivedImage<L>>,
    ) -> Result<(), ArchiveError> {
        let wrong = |path: &str| {
            let path = shown(path);
            move |source| ArchiveError::Document { path, source }
        };
        // An index of platforms may stand between the layout's own and the image.
        let (mut descriptor, mut path) = (entry.clone(), blob_path(&entry.digest));
        if descriptor.is_index() {
            let nested = Index::parse(self.blob(&descriptor)?).map_err(wrong(&path))?;
            let chosen = platform.choose(&nested.manifests);
            descriptor = chosen
                .map_err(|source| ArchiveError::Platform { path: shown(&path), source: Box::new(source) })?
                .clone();
            path = blob_path(&descriptor.digest);
        }
        descriptor.check_is_manifest().map_err(wrong(&path))?;
        let manifest = ImageManifest::parse(self.blob(&descriptor)?).map_err(wrong(&path))?;
        let config_bytes = self.blob(&manifest.config)?.clone();
        let config = ImageConfig::parse(&config_bytes).map_err(wrong(&blob_path(&manifest.config.digest)))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids().len());
        let config_digest = manifest.config.digest.clone();
        if layers != diff_ids {
            return Err(ArchiveError::LayerCount { config: config_digest, layers, diff_ids });
        }
        let references: Vec<String> = name.into_iter().collect();
        if let Some(known) = images.iter_mut().find(|image| image.config_digest == config_digest) {
            known.references.extend(references);
            return Ok(());
        }
        let layers = manifest.layers.iter().map(|layer| self.find(&self.layers, &blob_path(&layer.digest)).cloned());
        let layers = layers.collect::<Result<_, _>>()?;
        images.push(ArchivedImage { references, config_digest, config_bytes, config, layers });
        Ok(())
    }

    /// Whether an index in it has images for several platforms, of which one is meant.
    pub(super) fn has_several_platforms(&self) -> bool {
        let is_image = |one: &&Descriptor| !Platform::is_attestation(one) && self.blob(one).is_ok();
        let nested = self.documents.iter().filter(|(path, _)| *path != INDEX);
        let mut indexes = nested.filter_map(|(_, bytes)| Index::parse(bytes).ok());
        indexes.any(|index| index.manifests.iter().filter(is_image).count() > 1)
    }

    /// A document of a layout, which must be the one that its name promises.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<&Vec<u8>, ArchiveError> {
        let path = blob_path(&descriptor.digest);
        let bytes = self.find(&self.documents, &path)?;
        if Digest::of(bytes) == descriptor.digest { Ok(bytes) } else { Err(ArchiveError::WrongDigest { path }) }
    }
}
