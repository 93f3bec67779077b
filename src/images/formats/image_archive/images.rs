//! The images of an archive that has been read, for the platform that is meant.

use std::collections::HashMap;

use super::docker_manifest::manifest_items;
use super::left_out::{Aside, check_names, only_those_for, take_doubled_names};
use super::{ArchiveContent, ArchiveError, ArchivedImage, INDEX, LeftOut, MANIFEST, NotWhole, PlatformWish, shown};
use crate::images::formats::documents::Index;
use crate::images::formats::platform::Platform;
use crate::images::names::{engine_name, entry_names};

impl<L: Clone> ArchiveContent<L> {
    /// The images in it; what is not an image beside them, and images that are not whole, go into `left_out`.
    ///
    /// # Errors
    /// None of them can be taken.
    pub fn images(
        &self,
        wish: PlatformWish<'_>,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
        let (images, aside) = self.take_apart(wish)?;
        left_out.extend(aside.all());
        Ok(images)
    }

    pub(super) fn take_apart(&self, wish: PlatformWish<'_>) -> Result<(Vec<ArchivedImage<L>>, Aside), ArchiveError> {
        let mut aside = Aside::default();
        let mut images = match (wish, self.documents.get(MANIFEST)) {
            (PlatformWish::Usual(platform), Some(manifest)) => self.images_for(platform, manifest, &mut aside)?,
            (PlatformWish::Usual(platform), None) => self.layout_images(platform, &mut aside)?,
            (PlatformWish::Asked(platform), manifest) => self.images_asked_for(platform, manifest, &mut aside)?,
        };
        aside.damaged.extend(take_doubled_names(&mut images, &aside.names_of_damaged));
        if images.is_empty() && !aside.damaged.is_empty() {
            return Err(aside.damaged.remove(0).1);
        }
        Ok((images, aside))
    }

    /// Engines with the containerd store write a `manifest.json` for their own platform beside an index of all of them. An
    /// image that an engine of another platform would not run is taken from the index, where that has one for it.
    fn images_for(
        &self,
        platform: &Platform,
        manifest: &[u8],
        aside: &mut Aside,
    ) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
        let mut images = self.manifest_or_names(manifest, aside)?;
        if images.iter().all(|image| platform.runs(&image.config)) {
            return Ok(images);
        }
        let Some(Ok(index)) = self.documents.get(INDEX).map(|bytes| Index::parse(bytes)) else {
            return Ok(images);
        };
        for (entry, name) in index.manifests.iter().zip(entry_names(&index.manifests)) {
            let mut found = Vec::new();
            let is_usable = name.is_some() && self.layout_image(entry, None, platform, &mut found).is_ok();
            let Some(found) = found.pop().filter(|found| is_usable && platform.runs(&found.config)) else {
                continue;
            };
            let has_name = |text: &String| text.parse().ok().as_ref().and_then(engine_name) == name;
            let others = images.iter_mut().filter(|image| !platform.runs(&image.config));
            for image in others.filter(|image| image.references.iter().any(has_name)) {
                *image = ArchivedImage { references: std::mem::take(&mut image.references), ..found.clone() };
            }
        }
        Ok(images)
    }

    /// As [`Self::images_for`], where the operator asked for the platform: the index counts where it has that, and images for
    /// others are left out.
    fn images_asked_for(
        &self,
        platform: &Platform,
        manifest: Option<&Vec<u8>>,
        aside: &mut Aside,
    ) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
        if self.documents.contains_key(INDEX) {
            let mut of_index = Aside::default();
            match self.layout_images(platform, &mut of_index) {
                Ok(images) if images.iter().any(|image| platform.runs(&image.config)) => {
                    *aside = of_index;
                    return only_those_for(platform, images, aside);
                }
                Err(error) if manifest.is_none() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        let images = match manifest {
            Some(manifest) => self.manifest_or_names(manifest, aside)?,
            None => self.layout_images(platform, aside)?,
        };
        only_those_for(platform, images, aside)
    }

    /// The images of an engine's own export. One that is not whole in the engine goes into `not_whole`, and keeps no other
    /// from being taken.
    pub fn exported_images(
        &self,
        platform: &Platform,
        not_whole: &mut Vec<NotWhole>,
    ) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
        let Some(manifest) = self.documents.get(MANIFEST) else {
            let (images, aside) = self.take_apart(PlatformWish::Usual(platform))?;
            let damaged = aside.damaged.into_iter();
            not_whole.extend(damaged.map(|(name, why)| NotWhole { names: vec![name], why }));
            return Ok(images);
        };
        let mut images = Vec::new();
        for item in manifest_items(manifest)? {
            match self.image(&item) {
                Ok(image) => images.push(image),
                Err(why) => not_whole.push(NotWhole { names: item.repo_tags.unwrap_or_default(), why }),
            }
        }
        if images.iter().all(|image| image.references.is_empty()) {
            self.add_names_of_index(&mut images);
        }
        check_names(&images)?;
        Ok(images)
    }

    pub(super) fn find<'a, T>(&self, among: &'a HashMap<String, T>, path: &str) -> Result<&'a T, ArchiveError> {
        let mut at = path;
        // A link leads to a file; one that leads to links again and again leads nowhere.
        for _ in 0..8 {
            if let Some(found) = among.get(at) {
                return Ok(found);
            }
            match self.links.get(at) {
                Some(target) => at = target,
                None => break,
            }
        }
        Err(ArchiveError::MissingFile { path: shown(path) })
    }
}
