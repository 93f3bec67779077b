//! Reading what `docker save` writes, in one pass, as data.
//!
//! Engines before 25 write `<id>/layer.tar`, a repeated layer as a symbolic link, and `<digest>.json`; since 25 they
//! write `blobs/sha256/<digest>`. Both say in `manifest.json`, which comes last, which file is what; so every file
//! that may be a layer is handed on as it comes, and what it was is known at the end.

mod docker_manifest;
mod error;
mod file_kinds;
mod images;
mod layout;
mod left_out;
mod reader;

use std::collections::HashMap;
use std::io::Read;

pub use self::error::ArchiveError;
use self::left_out::damaged_left_out;
pub use self::left_out::{LeftOut, take_doubled_names};
use crate::fs::Digest;
use crate::images::formats::documents::ImageConfig;
use crate::images::formats::platform::Platform;
use crate::images::formats::tar_reader::TarSource;

/// An image of an archive; `L` is what became of each of its layers.
#[derive(Debug, Clone)]
pub struct ArchivedImage<L> {
    /// As the archive writes them: `name:tag`.
    pub references: Vec<String>,
    pub config_digest: Digest,
    pub config_bytes: Vec<u8>,
    pub config: ImageConfig,
    /// Lowest first, one for each diff ID.
    pub layers: Vec<L>,
}

/// A file that may be a layer.
pub struct LayerFile<'a> {
    pub path: &'a str,
    pub size_bytes: u64,
    /// The digest of its bytes where its name says one.
    pub promised: Option<Digest>,
}

/// All the documents of an archive or a layout together; each of an archive's layers has two small ones.
pub const DOCUMENTS_LIMIT_BYTES: u64 = 16 << 20;
const MANIFEST: &str = "manifest.json";
const INDEX: &str = "index.json";

/// For which platform an archive is read.
#[derive(Debug, Clone, Copy)]
pub enum PlatformWish<'a> {
    /// Of an index of several platforms, this one is meant; an archive that has only one image is taken as it is.
    Usual(&'a Platform),
    /// The operator asked for this one: an image of another is left out, and an error where nothing else is there.
    Asked(&'a Platform),
}

/// Reads an archive of which nobody asked for a platform: of an index of several, `platform` is meant. An image that is not
/// whole is an error.
pub fn read_archive<L: Clone, E: From<ArchiveError>>(
    source: impl TarSource,
    platform: &Platform,
    take_layer: impl FnMut(LayerFile<'_>, &mut dyn Read) -> Result<L, E>,
) -> Result<Vec<ArchivedImage<L>>, E> {
    let (images, aside) = ArchiveContent::read(source, take_layer)?.take_apart(PlatformWish::Usual(platform))?;
    match aside.damaged.into_iter().next() {
        Some((_, error)) => Err(error.into()),
        None => Ok(images),
    }
}

/// What an archive holds for one platform.
pub struct WholeImages<L> {
    pub images: Vec<ArchivedImage<L>>,
    /// Images that are not whole.
    pub damaged: Vec<LeftOut>,
    /// Whether it has images for other platforms under the same names.
    pub has_other_platforms: bool,
}

/// As [`read_archive`]; an image that is not whole keeps no other from being taken.
pub fn read_whole_images<L: Clone, E: From<ArchiveError>>(
    source: impl TarSource,
    platform: &Platform,
    take_layer: impl FnMut(LayerFile<'_>, &mut dyn Read) -> Result<L, E>,
) -> Result<WholeImages<L>, E> {
    let content = ArchiveContent::read(source, take_layer)?;
    let (images, aside) = content.take_apart(PlatformWish::Usual(platform))?;
    let damaged = damaged_left_out(&aside.damaged);
    Ok(WholeImages { images, damaged, has_other_platforms: content.has_several_platforms() })
}

/// An image of an export that lacks something, and what.
pub struct NotWhole {
    /// As the archive writes them.
    pub names: Vec<String>,
    pub why: ArchiveError,
}

/// What has been read of an archive.
pub struct ArchiveContent<L> {
    documents: HashMap<String, Vec<u8>>,
    layers: HashMap<String, L>,
    links: HashMap<String, String>,
    held_bytes: u64,
    names_bytes: usize,
    /// Files that are neither documents nor layers.
    other_files: usize,
}

/// The digest that `blobs/sha256/<hex>` and `<hex>.json` promise.
fn promised(path: &str) -> Option<Digest> {
    let hex = path.strip_prefix("blobs/sha256/").or_else(|| path.strip_suffix(".json"))?;
    format!("sha256:{hex}").parse().ok()
}

/// Text from an archive, fit for an error message.
fn shown(path: &str) -> String {
    path.chars().take(120).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests;
