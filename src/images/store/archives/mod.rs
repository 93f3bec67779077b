//! `docker save` archives that lie beside the store, as deploy.py wrote them: `.tar`, packed with gzip, zstd, xz or bzip2,
//! in the store's folder or in folders below it.
//!
//! They are found by the references inside them; a name only says where to look first. What an archive holds is
//! remembered (`memory`), since reading a compressed one takes seconds.

mod folder;
mod memory;
mod source;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::folder::{ArchiveFolder, FoundArchive, NewerArchive};
pub use self::source::{OpenArchive, open, open_parts, open_stream, open_watched};
use crate::fs::{Digest, HashingReader, HashingWriter};
use crate::images::error::ImagesError;
use crate::images::formats::compression::{Compression, MAGIC_BYTES, PlainReader};
use crate::images::formats::image_archive::{
    ArchiveError, ArchivedImage, LayerFile, LeftOut, WholeImages, read_archive, read_whole_images,
};
use crate::images::formats::platform::Platform;
use crate::images::formats::unpack_limit::{LimitExceeded, UnpackLimit};
use crate::images::names::engine_name;
use crate::manifest::Reference;
use crate::report::{Message, Meter};

/// An archive whose content is known.
#[derive(Debug, Clone)]
pub struct OldArchive {
    pub path: PathBuf,
    pub images: Vec<ArchivedImage<ArchivedLayer>>,
    /// Images in it that are not whole, and why: they keep no other from being loaded.
    pub damaged: Vec<LeftOut>,
    /// Whether it has images for other platforms, too, than the one that it was read for.
    pub has_other_platforms: bool,
}

/// A layer in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedLayer {
    /// The entry's path inside the archive.
    pub path: String,
    pub uncompressed_bytes: u64,
}

impl OldArchive {
    /// Reads an archive's documents and the sizes of its layers, no more of the layers than it must.
    fn read_opened(path: &Path, archive: OpenArchive, platform: &Platform) -> Result<Self, ImagesError> {
        let origin = path.display().to_string();
        let failed = |source| ImagesError::file(message!("verb-read"), path, source);
        let budget = UnpackLimit::of(fs::metadata(path).map_err(failed)?.len());
        let measure = |file: LayerFile<'_>, body: &mut dyn Read| measure(&file, body, &budget);
        let read = read_whole_images(archive, platform, measure);
        let read = read.map_err(|source| ImagesError::Archive { origin, source: Box::new(source) })?;
        let WholeImages { images, damaged, has_other_platforms } = read;
        Ok(Self { path: path.to_owned(), images, damaged, has_other_platforms })
    }

    /// The names of its images, each with its tag; what is no reference is left out.
    pub fn references(&self) -> Vec<String> {
        let written = self.images.iter().flat_map(|image| &image.references);
        written.filter_map(|text| engine_name(&text.parse::<Reference>().ok()?)).collect()
    }

    /// The image that the archive has under this name.
    pub fn image(&self, name: &str) -> Option<&ArchivedImage<ArchivedLayer>> {
        let wanted = Some(name.to_owned());
        self.images.iter().find(|image| {
            image.references.iter().any(|reference| {
                reference == name
                    || reference.parse().is_ok_and(|reference: Reference| engine_name(&reference) == wanted)
            })
        })
    }
}

impl OldArchive {
    /// Why the image that the archive has under this name can't be used.
    fn why_damaged(&self, name: &str) -> Option<&Message> {
        let is_it = |written: &str| {
            written == name || written.parse().ok().as_ref().and_then(engine_name).as_deref() == Some(name)
        };
        self.damaged.iter().find(|damaged| is_it(&damaged.name)).map(|damaged| &damaged.why)
    }
}

impl ArchivedImage<ArchivedLayer> {
    /// Each diff ID with its layer's size.
    pub fn sizes(&self) -> Vec<(Digest, u64)> {
        let sizes = self.layers.iter().map(|layer| layer.uncompressed_bytes);
        self.config.diff_ids().iter().cloned().zip(sizes).collect()
    }
}

/// A layer's uncompressed size: the entry's own, unless the layer is compressed inside the archive.
fn measure(file: &LayerFile<'_>, body: &mut dyn Read, budget: &UnpackLimit) -> Result<ArchivedLayer, ArchiveError> {
    let failed = |source| ArchiveError::Layer { path: file.path.to_owned(), source };
    let mut first = Vec::with_capacity(MAGIC_BYTES);
    (&mut *body).take(MAGIC_BYTES as u64).read_to_end(&mut first).map_err(failed)?;
    let uncompressed_bytes = match Compression::of(&first) {
        Compression::None => file.size_bytes,
        compression => {
            let plain = PlainReader::new(first.as_slice().chain(body), compression).map_err(failed)?;
            // One byte more than is left, which tells a bomb from what just fits.
            let bytes = io::copy(&mut plain.take(budget.left_bytes() + 1), &mut io::sink()).map_err(failed)?;
            budget.spend(bytes).map_err(|LimitExceeded| ArchiveError::Bomb)?;
            bytes
        }
    };
    Ok(ArchivedLayer { path: file.path.to_owned(), uncompressed_bytes })
}

/// Reads an archive to its end, and compares each layer of its images with the digest that the configuration says, and each
/// file that is called after its digest with that: those of other platforms, too.
///
/// # Errors
/// What is not an archive of images, or is damaged; one that has images for other platforms only, when it has been read.
pub fn verify(path: &Path, meter: Meter) -> Result<u64, ImagesError> {
    let failed = |source| ImagesError::file(message!("verb-read"), path, source);
    let damaged = |source| ImagesError::Archive { origin: path.display().to_string(), source: Box::new(source) };
    let limit = UnpackLimit::of(fs::metadata(path).map_err(failed)?.len());
    let hash = |file: LayerFile<'_>, body: &mut dyn Read| diff_id(&file, body, &limit);
    let platform = &Platform::host();
    let images = read_archive(open_watched(path, Some(meter)).map_err(failed)?, platform, hash);
    let images: Vec<ArchivedImage<(String, Digest)>> = images.map_err(damaged)?;
    for image in &images {
        for ((path, found), expected) in image.layers.iter().zip(image.config.diff_ids()) {
            if found != expected {
                return Err(damaged(ArchiveError::WrongDiffId { path: path.clone(), expected: expected.clone() }));
            }
        }
    }
    Ok(images.len() as u64)
}

fn diff_id(file: &LayerFile<'_>, body: &mut dyn Read, limit: &UnpackLimit) -> Result<(String, Digest), ArchiveError> {
    let failed = |source| ArchiveError::Layer { path: file.path.to_owned(), source };
    let mut first = Vec::with_capacity(MAGIC_BYTES);
    (&mut *body).take(MAGIC_BYTES as u64).read_to_end(&mut first).map_err(failed)?;
    let compression = Compression::of(&first);
    let mut raw = HashingReader::new(first.as_slice().chain(body));
    let plain = match compression {
        // It is as large as its entry says, and what it unpacks to is itself.
        Compression::None => None,
        _ => {
            let mut plain = PlainReader::new(&mut raw, compression).map_err(failed)?;
            let mut hasher = HashingWriter::new(io::sink());
            let bytes = io::copy(&mut (&mut plain).take(limit.left_bytes() + 1), &mut hasher).map_err(failed)?;
            limit.spend(bytes).map_err(|LimitExceeded| ArchiveError::Bomb)?;
            Some(hasher.finish().1)
        }
    };
    io::copy(&mut raw, &mut io::sink()).map_err(failed)?;
    let (_, digest, _) = raw.finish();
    if file.promised.as_ref().is_some_and(|promised| *promised != digest) {
        return Err(ArchiveError::WrongDigest { path: file.path.to_owned() });
    }
    Ok((file.path.to_owned(), plain.unwrap_or(digest)))
}

#[cfg(test)]
mod tests;
