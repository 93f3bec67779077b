//! Reading what `docker save` writes, in one pass, as data.
//!
//! Engines before 25 write `<id>/layer.tar`, a repeated layer as a symbolic link, and `<digest>.json`; since 25 they
//! write `blobs/sha256/<digest>`. Both say in `manifest.json`, which comes last, which file is what; so every file
//! that may be a layer is handed on as it comes, and what it was is known at the end.

mod file_kinds;
mod left_out;

use std::collections::HashMap;
use std::io::{self, Read};

use serde::Deserialize;

use self::file_kinds::{describes_an_image, is_attestation, is_document, may_be_layer};
use self::left_out::{Aside, check_names, damaged_left_out, only_those_for};
pub use self::left_out::{LeftOut, take_doubled_names};
use crate::fs::Digest;
use crate::images::formats::archive_writer::blob_path;
use crate::images::formats::documents::{
    DOCUMENT_LIMIT_BYTES, Descriptor, DocumentError, ImageConfig, ImageManifest, Index, parse,
};
use crate::images::formats::in_one_line;
use crate::images::formats::platform::{NoPlatform, Platform};
use crate::images::formats::tar_reader::{TarError, TarKind, TarReader, TarSource};
use crate::images::names::engine_name;
use crate::images::names::entry_names;
use crate::report::{Message, Told};

/// Why an archive is not one of images.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    Tar(#[from] TarError),
    NoManifest,
    NotImages { is_root_file_system: bool },
    OneNameForSeveral { count: usize },
    NoNames,
    NothingUsable { first: String, why: Message },
    Platform { path: String, source: Box<NoPlatform> },
    OtherPlatform { image: String, found: String, wanted: String },
    Document { path: String, source: DocumentError },
    MissingFile { path: String },
    ImageNotWhole { name: String, path: String },
    WrongDigest { path: String },
    Layer { path: String, source: io::Error },
    WrongDiffId { path: String, expected: Digest },
    LayerCount { config: Digest, layers: usize, diff_ids: usize },
    Twice { path: String },
    BehindLink { path: String },
    TooManyDocuments,
    TooManyNames,
    TooManyLayers,
    NameTwice { reference: String },
    Bomb,
}

impl Told for ArchiveError {
    fn message(&self) -> Message {
        match self {
            Self::Tar(error) => error.message(),
            Self::NoManifest => message!("error-archive-no-manifest"),
            Self::NotImages { is_root_file_system: true } => message!("error-archive-root-files"),
            Self::NotImages { is_root_file_system: false } => message!("error-archive-other-files"),
            Self::OneNameForSeveral { count } => message!("error-archive-one-name", count = count),
            Self::NoNames => message!("error-archive-no-names"),
            Self::NothingUsable { first, why } => message!("error-archive-nothing-usable", first = first, why = why),
            Self::Platform { path, .. } => message!("error-archive-platform", path = path),
            Self::OtherPlatform { image, found, wanted } => {
                message!("error-archive-other-platform", image = image, found = found, wanted = wanted)
            }
            Self::Document { path, .. } => message!("error-archive-document", path = path),
            Self::MissingFile { path } => message!("error-archive-missing-file", path = path),
            Self::ImageNotWhole { name, path } => message!("error-archive-not-whole", name = name, path = path),
            Self::WrongDigest { path } => message!("error-archive-digest", path = path),
            Self::Layer { path, .. } => message!("error-archive-layer", path = path),
            Self::WrongDiffId { path, expected } => {
                message!("error-archive-diff-id", path = path, expected = expected)
            }
            Self::LayerCount { config, layers, diff_ids } => {
                message!("error-archive-layer-count", config = config, layers = layers, diff_ids = diff_ids)
            }
            Self::Twice { path } => message!("error-archive-twice", path = path),
            Self::BehindLink { path } => message!("error-archive-behind-link", path = path),
            Self::TooManyDocuments => message!("error-archive-documents"),
            Self::TooManyNames => message!("error-archive-names"),
            Self::TooManyLayers => message!("error-archive-layers"),
            Self::NameTwice { reference } => message!("error-archive-name-twice", reference = reference),
            Self::Bomb => message!("error-archive-bomb"),
        }
    }
}

impl ArchiveError {
    /// Whether what is wrong is only that something is not an image for this platform.
    pub fn is_other_kind(&self) -> bool {
        match self {
            Self::Platform { .. } => true,
            Self::Document { source, .. } => source.is_other_kind(),
            _ => false,
        }
    }

    /// Whether a layer is not what the archive says of it.
    pub fn is_of_a_layer(&self) -> bool {
        matches!(self, Self::WrongDigest { .. } | Self::WrongDiffId { .. } | Self::Layer { .. })
    }

    /// Whether the file's content is at fault, and not the disk that it was read from.
    pub fn is_about_content(&self) -> bool {
        let is_content = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
            )
        };
        match self {
            Self::Tar(TarError::Read(source)) | Self::Layer { source, .. } => is_content(source),
            _ => true,
        }
    }
}

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
/// All names together: those of a hundred images with 127 layers each take 3 MiB.
const NAMES_LIMIT_BYTES: usize = 8 << 20;
/// Each costs a file and a few syncs on its way into a store; sixty images that share nothing have so many.
const LAYERS_LIMIT: usize = 8192;
/// Archives of images have a `VERSION` beside each layer, and little else that is neither document nor layer.
const OTHER_FILES_LIMIT: usize = 16;
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

/// As [`read_archive`]; an image that is not whole goes into `damaged`, and keeps no other from being taken.
pub fn read_whole_images<L: Clone, E: From<ArchiveError>>(
    source: impl TarSource,
    platform: &Platform,
    damaged: &mut Vec<LeftOut>,
    take_layer: impl FnMut(LayerFile<'_>, &mut dyn Read) -> Result<L, E>,
) -> Result<Vec<ArchivedImage<L>>, E> {
    let (images, aside) = ArchiveContent::read(source, take_layer)?.take_apart(PlatformWish::Usual(platform))?;
    damaged.extend(damaged_left_out(&aside.damaged));
    Ok(images)
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

/// An entry of `manifest.json` (moby, `image/tarexport`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl<L: Clone> ArchiveContent<L> {
    /// Reads an archive to its end. `take_layer` gets each file that may be a layer, with its content, of which it reads as
    /// much as it likes.
    pub fn read<S: TarSource, E: From<ArchiveError>>(
        source: S,
        mut take_layer: impl FnMut(LayerFile<'_>, &mut dyn Read) -> Result<L, E>,
    ) -> Result<Self, E> {
        let mut files = Self {
            documents: HashMap::new(),
            layers: HashMap::new(),
            links: HashMap::new(),
            held_bytes: 0,
            names_bytes: 0,
            other_files: 0,
        };
        let mut reader = TarReader::new(source);
        while let Some(entry) = reader.next_entry().map_err(ArchiveError::from)? {
            let size_bytes = match entry.kind {
                TarKind::Folder => continue,
                TarKind::Link { target } => {
                    files.check_new(&entry.path)?;
                    files.names_bytes += target.len();
                    files.links.insert(entry.path, target);
                    continue;
                }
                TarKind::File { size_bytes } => size_bytes,
            };
            files.check_new(&entry.path)?;
            if entry.path.rsplit('/').next() == Some("VERSION") {
                continue;
            }
            let mut first = Vec::with_capacity(512);
            let peeked = (&mut reader).take(512).read_to_end(&mut first);
            peeked.map_err(|error| ArchiveError::from(reader.broken(error)))?;
            if is_attestation(&first) {
                continue;
            }
            if is_document(&first) {
                // No document of an image is larger; what describes its packages may be.
                if size_bytes <= DOCUMENT_LIMIT_BYTES || entry.path == MANIFEST || entry.path == INDEX {
                    files.hold(entry.path, size_bytes, first, &mut reader)?;
                }
            } else {
                if files.layers.len() == LAYERS_LIMIT {
                    return Err(ArchiveError::TooManyLayers.into());
                }
                files.check_kind(&entry.path, &first)?;
                let promised = promised(&entry.path);
                let file = LayerFile { path: &entry.path, size_bytes, promised };
                let layer = take_layer(file, &mut first.as_slice().chain(&mut reader))?;
                files.layers.insert(entry.path, layer);
            }
        }
        Ok(files)
    }

    /// Programs differ in which of two entries of one name they take.
    fn check_new(&mut self, path: &str) -> Result<(), ArchiveError> {
        if self.documents.contains_key(path) || self.layers.contains_key(path) || self.links.contains_key(path) {
            return Err(ArchiveError::Twice { path: shown(path) });
        }
        // Unpacked, it would lie elsewhere than its name says.
        if path.match_indices('/').any(|(at, _)| self.links.contains_key(&path[..at])) {
            return Err(ArchiveError::BehindLink { path: shown(path) });
        }
        self.names_bytes += path.len();
        if self.names_bytes > NAMES_LIMIT_BYTES {
            return Err(ArchiveError::TooManyNames);
        }
        Ok(())
    }

    /// Gives up on an archive of something else before all of it has been read, or written to a store. Blobs are never
    /// counted: other programs keep anything under their digests.
    fn check_kind(&mut self, path: &str, first: &[u8]) -> Result<(), ArchiveError> {
        if path.starts_with("blobs/") || path.ends_with(".tar") || may_be_layer(first) {
            return Ok(());
        }
        self.other_files += 1;
        if self.other_files <= OTHER_FILES_LIMIT {
            return Ok(());
        }
        let folders = ["etc/", "usr/", "bin/", "dev/"];
        let is_root = |path: &String| path == ".dockerenv" || folders.iter().any(|folder| path.starts_with(folder));
        let is_root_file_system =
            is_root(&path.to_owned()) || self.layers.keys().any(is_root) || self.links.keys().any(is_root);
        Err(ArchiveError::NotImages { is_root_file_system })
    }

    fn hold<S: TarSource>(
        &mut self,
        path: String,
        size: u64,
        first: Vec<u8>,
        reader: &mut TarReader<S>,
    ) -> Result<(), ArchiveError> {
        if size > DOCUMENT_LIMIT_BYTES {
            let what = message!("words", text = if path == INDEX { INDEX } else { MANIFEST });
            return Err(ArchiveError::Document { path, source: DocumentError::TooLarge { what, size_bytes: size } });
        }
        let mut bytes = first;
        reader.read_to_end(&mut bytes).map_err(|error| reader.broken(error))?;
        if !describes_an_image(&path, &bytes) {
            return Ok(());
        }
        self.held_bytes += size;
        if self.held_bytes > DOCUMENTS_LIMIT_BYTES {
            return Err(ArchiveError::TooManyDocuments);
        }
        self.documents.insert(path, bytes);
        Ok(())
    }

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

    fn take_apart(&self, wish: PlatformWish<'_>) -> Result<(Vec<ArchivedImage<L>>, Aside), ArchiveError> {
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

    fn manifest_or_names(&self, manifest: &[u8], aside: &mut Aside) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
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

    fn image(&self, item: &ManifestItem) -> Result<ArchivedImage<L>, ArchiveError> {
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
    fn add_names_of_index(&self, images: &mut [ArchivedImage<L>]) {
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

    /// The images of an OCI layout (image-spec, "Image Layout") without a `manifest.json` beside it. What is not an image
    /// is left out, unless nothing else is there; so is what is not whole.
    fn layout_images(&self, platform: &Platform, aside: &mut Aside) -> Result<Vec<ArchivedImage<L>>, ArchiveError> {
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
                aside.others.push(LeftOut { name: shown, why: in_one_line(&error) });
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

    fn layout_image(
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

    /// A document of a layout, which must be the one that its name promises.
    fn blob(&self, descriptor: &Descriptor) -> Result<&Vec<u8>, ArchiveError> {
        let path = blob_path(&descriptor.digest);
        let bytes = self.find(&self.documents, &path)?;
        if Digest::of(bytes) == descriptor.digest { Ok(bytes) } else { Err(ArchiveError::WrongDigest { path }) }
    }

    fn find<'a, T>(&self, among: &'a HashMap<String, T>, path: &str) -> Result<&'a T, ArchiveError> {
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

impl ManifestItem {
    /// What messages call it.
    fn shown_name(&self) -> String {
        shown(self.repo_tags.iter().flatten().next().unwrap_or(&self.config))
    }
}

fn manifest_items(manifest: &[u8]) -> Result<Vec<ManifestItem>, ArchiveError> {
    parse(message!("words", text = MANIFEST), manifest)
        .map_err(|source| ArchiveError::Document { path: MANIFEST.to_owned(), source })
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
