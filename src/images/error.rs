//! What can go wrong between an engine and a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::engine::{EngineError, EngineErrorKind};
use crate::fs::Digest;
use crate::images::disk_space::bytes_text;
use crate::images::formats::documents::DocumentError;
use crate::images::formats::image_archive::ArchiveError;
use crate::images::formats::platform::NoPlatform;
use crate::images::store::layout::{INDEX_FILE, OWN_FOLDER};
use crate::images::store::lock::StoreHolder;
use crate::report::Message;
use crate::state::StateError;

/// A save, a load or a look into a store that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    #[error("the engine has no image {}", list(.references))]
    NotInEngine { references: Vec<String> },
    #[error(
        "there is no image {} in {}, neither in the store nor in an archive in it{}",
        list(.references), .folder.display(), not_read(.unreadable)
    )]
    NotInStore {
        references: Vec<String>,
        folder: PathBuf,
        /// Archives that could not be read, and why: the image may be in one of them.
        unreadable: Vec<(PathBuf, String)>,
    },
    #[error("{} is not an archive of images that can be used: {why}", .path.display())]
    UnusableArchive {
        path: PathBuf,
        why: String,
        /// Whether it is a tar archive of something else, and nothing is wrong with it.
        is_another_kind: bool,
    },
    #[error("{reference} names an image by digest alone, which no archive can carry")]
    NoTag { reference: String, digest: String },

    #[error(
        "there is too little room in {}: at least {} will be written there, {} are free",
        .folder.display(), bytes_text(*.needed_bytes), bytes_text(*.free_bytes)
    )]
    NoSpace { folder: PathBuf, needed_bytes: u64, free_bytes: u64 },
    #[error("can't {operation} {}", .path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("another dpl is writing to the image store {}{}", .folder.display(), by(.holder))]
    StoreBusy { folder: PathBuf, holder: Option<Box<StoreHolder>> },
    #[error("{} is not an image store that can be used: {why}", .folder.display())]
    NotAStore { folder: PathBuf, why: &'static str },
    #[error("{} is damaged", .path.display())]
    Document { path: PathBuf, source: DocumentError },
    #[error("{reference} is damaged in the store: {why} ({})", .path.display())]
    DamagedBlob { reference: String, path: PathBuf, why: BlobDamage },
    #[error("{reference} can't be read in the store, so that the blobs that it needs are not known")]
    UnreadableImage { reference: String, source: Box<ImagesError> },
    /// A chart, a signature or the like, which other programs keep in layouts too. Nothing is wrong with it.
    #[error("{reference} in the store is not an image that an engine runs")]
    OtherKind { reference: String, path: PathBuf, source: DocumentError },
    #[error("what would be removed has changed since it was shown: {what}")]
    PlanChanged { what: String },
    #[error("there is no image {} in the store {}", list(.references), .folder.display())]
    NotStored { references: Vec<String>, folder: PathBuf },
    #[error("{}", needed_by(.images))]
    StillNeeded { images: Vec<(String, String)> },
    #[error("{reference} is an index of several platforms, of which none can be used here")]
    NoPlatform { reference: String, source: Box<NoPlatform> },

    #[error("{origin} is not an archive of images that can be used")]
    Archive { origin: String, source: Box<ArchiveError> },
    #[error("the engine's export does not contain {reference} as the engine described it")]
    ExportDiffers { reference: String },
    #[error("the image {reference} is not whole in the engine")]
    NotWholeInEngine { reference: String, source: Box<ArchiveError> },
    /// The others are saved; the source is why the first of these is not.
    #[error("{} of {all} images could not be saved: {}", .failed.len(), list(.failed))]
    NotAllSaved { failed: Vec<String>, all: usize, source: Box<ImagesError> },

    /// More than any engine of the classic store takes (moby, `layer.maxLayerDepth`).
    #[error("{reference} has {layers} layers, and this engine takes {most} at most")]
    TooManyLayers { reference: String, layers: usize, most: usize },

    /// Not transparent: whoever looks for the engine's error among the causes must find it.
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("{reference} did not become an image in the engine: {why}; what it had under that name is still there")]
    FellShort { reference: String, why: Shortfall, source: Option<EngineError> },
    #[error("stopped on request; {done} of {all} images were done")]
    Interrupted { done: usize, all: usize },
    #[error("stopped on request")]
    Stopped,
    #[error("not loaded, because another image failed")]
    GivenUp,
}

/// How a blob differs from what its name and descriptor say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobDamage {
    Missing,
    WrongSize { size_bytes: u64, expected_bytes: u64 },
    WrongDigest,
    WrongDiffId { expected: Digest },
    Undecodable(String),
}

impl std::fmt::Display for BlobDamage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => formatter.write_str("a blob is missing"),
            Self::WrongSize { size_bytes, expected_bytes } => {
                write!(formatter, "a blob has {size_bytes} bytes instead of {expected_bytes}")
            }
            Self::WrongDigest => formatter.write_str("a blob's content does not have the digest that it is named by"),
            Self::WrongDiffId { expected } => write!(formatter, "a layer does not unpack to {expected}"),
            Self::Undecodable(why) => write!(formatter, "a layer can't be decompressed: {why}"),
        }
    }
}

/// In what way the engine's image differs from what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    NoImage,
    OtherLayers,
    Incomplete,
    OtherTag,
}

impl std::fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::NoImage => "the engine does not have it after the load",
            Self::OtherLayers => "the engine shows other layers for it",
            Self::Incomplete => "the engine lacks parts of it",
            Self::OtherTag => "the name leads to another image",
        })
    }
}

impl ImagesError {
    /// What to do about it, where something can be done: a sentence of the catalogue.
    pub fn hint(&self) -> Option<Message> {
        match self {
            Self::NotInEngine { .. } => Some(message!("hint-image-into-engine")),
            Self::NotInStore { .. } => Some(message!("hint-image-into-store")),
            Self::NoTag { digest, .. } => Some(message!("hint-image-tag", digest = digest)),
            Self::NoSpace { .. } => Some(message!("hint-images-space")),
            Self::StoreBusy { .. } => Some(message!("hint-locked")),
            Self::Document { path, .. } if path.ends_with(INDEX_FILE) => Some(message!("hint-images-repair")),
            Self::Document { .. } => Some(message!("hint-store-again")),
            Self::NotAStore { folder, .. } if folder.join(OWN_FOLDER).is_dir() => Some(message!("hint-images-repair")),
            Self::DamagedBlob { path, .. } => Some(message!("hint-blob-again", path = path.display())),
            Self::UnreadableImage { reference, .. } => Some(message!("hint-image-unreadable", reference = reference)),
            Self::PlanChanged { .. } => Some(message!("hint-plan-again")),
            Self::NotStored { .. } => Some(message!("hint-images-list")),
            Self::StillNeeded { .. } => Some(message!("hint-images-force")),
            Self::ExportDiffers { .. } => Some(message!("hint-save-again")),
            Self::NotWholeInEngine { .. } => Some(message!("hint-image-not-whole")),
            Self::TooManyLayers { .. } => Some(message!("hint-image-layers")),
            Self::NotAllSaved { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// Whether a file that lies where archives of images do is an archive of something else.
    pub fn is_another_kind_of_file(&self) -> bool {
        match self {
            Self::Archive { source, .. } => {
                matches!(**source, ArchiveError::NoManifest | ArchiveError::NotImages { .. })
            }
            Self::UnusableArchive { is_another_kind, .. } => *is_another_kind,
            _ => false,
        }
    }

    /// Whether an archive has images for other platforms only, and nothing is wrong with it.
    pub(in crate::images) fn is_for_other_platforms(&self) -> bool {
        matches!(self, Self::Archive { source, .. } if matches!(**source, ArchiveError::Platform { .. }))
    }

    /// Whether it may be that one image of several is at fault: then the others can still be exported without it.
    pub(in crate::images) fn may_be_of_one_image(&self) -> bool {
        match self {
            Self::Engine(error) => matches!(
                error.kind(),
                EngineErrorKind::Failed
                    | EngineErrorKind::NotFound
                    | EngineErrorKind::Conflict
                    | EngineErrorKind::Refused
            ),
            Self::Archive { .. } | Self::NotWholeInEngine { .. } | Self::ExportDiffers { .. } => true,
            _ => false,
        }
    }

    pub(in crate::images) fn file(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { operation, path: path.to_owned(), source }
    }
}

fn needed_by(images: &[(String, String)]) -> String {
    images.iter().map(|(image, by)| format!("{image} is needed by {by}")).collect::<Vec<_>>().join("; ")
}

fn by(holder: &Option<Box<StoreHolder>>) -> String {
    holder.as_ref().map(|holder| format!(" ({holder})")).unwrap_or_default()
}

fn not_read(archives: &[(PathBuf, String)]) -> String {
    archives.iter().map(|(path, why)| format!("; {} could not be read: {why}", path.display())).collect()
}

fn list(references: &[String]) -> String {
    references.join(", ")
}
