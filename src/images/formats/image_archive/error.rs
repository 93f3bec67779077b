//! Why an archive is not one of images.

use std::io;

use crate::fs::Digest;
use crate::images::formats::documents::DocumentError;
use crate::images::formats::platform::NoPlatform;
use crate::images::formats::tar_reader::TarError;
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
