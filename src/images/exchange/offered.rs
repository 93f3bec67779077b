//! What the files and folders of an import offer: their images by their names, and what is left out of them.

use std::io::Read;
use std::path::Path;

use crate::images::error::{ImagesError, in_one_line};
use crate::images::exchange::import::{ImportLeftOut, ImportOptions};
use crate::images::formats::documents::foreign_name;
use crate::images::formats::image_archive::{
    ArchiveContent, ArchiveError, ArchivedImage, DOCUMENTS_LIMIT_BYTES, LayerFile, LeftOut, PlatformWish,
    take_doubled_names,
};
use crate::images::names::{engine_name, entry_names};
use crate::images::store::archives::OpenArchive;
use crate::images::store::layer_batch::BatchFailure;
use crate::images::store::layout::{Layout, StoredLayer};
use crate::manifest::Reference;
use crate::report::Told as _;

/// An image of a file under one of its names.
pub(super) struct Named<'a, L> {
    pub image: &'a ArchivedImage<L>,
    pub reference: Reference,
    /// With its tag.
    pub name: String,
}

/// The images of a file that have names; unnamed ones are left out.
pub(super) fn named<'a, L>(file: &Path, images: &'a [ArchivedImage<L>]) -> Result<Vec<Named<'a, L>>, ImagesError> {
    let mut named = Vec::new();
    for image in images {
        for reference in image.references.iter().filter_map(|text| text.parse::<Reference>().ok()) {
            if let Some(name) = engine_name(&reference) {
                named.push(Named { image, reference, name });
            }
        }
    }
    if named.is_empty() {
        let origin = file.display().to_string();
        return Err(ImagesError::Archive { origin, source: Box::new(ArchiveError::NoNames) });
    }
    Ok(named)
}

/// The images of a layout, with what `take` makes of each layer; those without a name only where one is given to them. One
/// that is not whole, or for another platform than the one that was asked for, is left out.
///
/// # Errors
/// None of them can be taken.
pub(super) fn layout_images<L>(
    source: &Layout,
    options: &ImportOptions,
    left_out: &mut Vec<LeftOut>,
    mut take: impl FnMut(&StoredLayer) -> Result<L, BatchFailure>,
) -> Result<Vec<ArchivedImage<L>>, BatchFailure> {
    let mut images: Vec<ArchivedImage<L>> = Vec::new();
    let mut held_bytes = 0;
    let (mut first_damage, mut first_other) = (None, None);
    let mut names_of_damaged = Vec::new();
    for (entry, name) in source.index.manifests.iter().zip(entry_names(&source.index.manifests)) {
        let shown = || name.clone().unwrap_or_else(|| entry.shown_name());
        let image = match source.read_image_for(entry, &options.platform) {
            Ok(_) if name.is_none() && options.name.is_none() => {
                left_out.push(LeftOut::other(shown(), message!("error-image-no-name")));
                continue;
            }
            Ok(image) if options.is_platform_asked && !options.platform.runs(&image.config) => {
                let (found, wanted) = (image.config.architecture, options.platform.to_string());
                let error = ArchiveError::OtherPlatform { image: shown(), found, wanted };
                left_out.push(LeftOut::other(shown(), in_one_line(&error)));
                first_other.get_or_insert(BatchFailure::from(error));
                continue;
            }
            Ok(image) => image,
            Err(error @ (ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. })) => {
                left_out.push(LeftOut::other(shown(), in_one_line(&error)));
                first_other.get_or_insert(BatchFailure::from(error));
                continue;
            }
            // Nobody asked for it.
            Err(_) if name.is_none() => continue,
            Err(error) => {
                let failure = BatchFailure::from(error);
                left_out.push(LeftOut::damaged(shown(), failure.in_one_line()));
                first_damage.get_or_insert(failure);
                names_of_damaged.extend(name);
                continue;
            }
        };
        // Under how many names it may be: its documents are held once.
        if let Some(known) = images.iter_mut().find(|known| known.config_digest == image.config_digest) {
            known.references.extend(name);
            continue;
        }
        held_bytes += image.config_bytes.len() as u64;
        if held_bytes > DOCUMENTS_LIMIT_BYTES {
            return Err(ArchiveError::TooManyDocuments.into());
        }
        let layers: Result<Vec<L>, BatchFailure> = image.layers.iter().map(&mut take).collect();
        let layers = match layers {
            Ok(layers) => layers,
            Err(failure) if failure.is_of_a_layer() => {
                left_out.push(LeftOut::damaged(shown(), failure.in_one_line()));
                first_damage.get_or_insert(failure);
                names_of_damaged.extend(name);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let references = name.into_iter().collect();
        let (config_digest, config_bytes, config) = (image.config_digest, image.config_bytes, image.config);
        images.push(ArchivedImage { references, config_digest, config_bytes, config, layers });
    }
    left_out.extend(
        source.index.foreign.iter().map(|entry| LeftOut::other(foreign_name(entry), message!("error-entry-unusable"))),
    );
    for (name, error) in take_doubled_names(&mut images, &names_of_damaged) {
        left_out.push(LeftOut::damaged(name, in_one_line(&error)));
        first_damage.get_or_insert(BatchFailure::from(error));
    }
    match first_damage.or(first_other) {
        Some(failure) if images.is_empty() => return Err(failure),
        None if source.index.manifests.is_empty() && !source.index.foreign.is_empty() => {
            let (first, why) = (foreign_name(&source.index.foreign[0]), message!("error-entry-unusable"));
            return Err(ArchiveError::NothingUsable { first, why }.into());
        }
        _ => {}
    }
    Ok(images)
}

/// What is left out of a file, images without a name and names that are not valid included.
pub(super) fn all_left_out<L>(file: &Path, images: &[ArchivedImage<L>], left_out: Vec<LeftOut>) -> Vec<ImportLeftOut> {
    let names = images.iter().flat_map(|image| &image.references);
    let invalid = names.filter_map(|name| {
        let error = name.parse::<Reference>().err()?;
        Some(LeftOut::other(name.escape_debug().take(300).collect(), error.message()))
    });
    let from = file.display().to_string();
    let unnamed = images.iter().filter(|image| image.references.is_empty());
    let unnamed =
        unnamed.map(|image| LeftOut::other(image.config_digest.short().to_owned(), message!("error-image-no-name")));
    let all = left_out.into_iter().chain(unnamed).chain(invalid);
    all.map(|LeftOut { name, why, is_damaged }| ImportLeftOut { from: from.clone(), name, why, damaged: is_damaged })
        .collect()
}

/// An archive's images without their layers' contents.
pub(super) fn read_documents(
    archive: OpenArchive,
    wish: PlatformWish<'_>,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<ArchivedImage<u64>>, ArchiveError> {
    let take = |layer: LayerFile<'_>, _: &mut dyn Read| Ok::<_, ArchiveError>(layer.size_bytes);
    ArchiveContent::read(archive, take)?.images(wish, left_out)
}
