//! What can go wrong between an engine and a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::catalogue::told;
use crate::engine::{EngineError, EngineErrorKind};
use crate::fs::Digest;
use crate::images::formats::documents::DocumentError;
use crate::images::formats::image_archive::ArchiveError;
use crate::images::formats::platform::NoPlatform;
use crate::images::names::first_part;
use crate::images::store::layout::{INDEX_FILE, LAYOUT_FILE, OWN_FOLDER};
use crate::images::store::lock::StoreHolder;
use crate::report::{Listed, Message, Several, Told};
use crate::state::StateError;

/// A save, a load or a look into a store that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    NotInEngine {
        references: Vec<String>,
    },
    NotInStore {
        references: Vec<String>,
        folder: PathBuf,
        /// Archives that could not be read, and why: the image may be in one of them.
        unreadable: Vec<(PathBuf, Message)>,
        /// Whether the image of one of them is in the store, and only the index lost its name.
        is_name_lost: bool,
    },
    UnusableArchive {
        path: PathBuf,
        why: Message,
        /// Whether it is a tar archive of something else, and nothing is wrong with it.
        is_another_kind: bool,
        /// Whether it has nothing but what is not an image for this platform, and nothing is wrong with it.
        has_only_others: bool,
    },
    /// An older archive has an image of this name; whether that is the one that is meant, only the operator knows.
    NewerUnread {
        reference: String,
        newer: PathBuf,
        /// Why it could not be read.
        why: Message,
        older: PathBuf,
    },
    NoTag {
        reference: String,
        digest: String,
    },

    NoSpace {
        folder: PathBuf,
        needed_bytes: u64,
        free_bytes: u64,
    },
    File {
        operation: Message,
        path: PathBuf,
        source: io::Error,
    },
    StoreBusy {
        folder: PathBuf,
        holder: Option<Box<StoreHolder>>,
    },
    NotAStore {
        folder: PathBuf,
        why: Message,
    },
    /// Its `oci-layout` has another version than the one that this program knows.
    LayoutVersion {
        folder: PathBuf,
        version: String,
    },
    /// What a repair could not make whole.
    StillUnusable {
        references: Vec<String>,
        folder: PathBuf,
    },
    Document {
        path: PathBuf,
        source: DocumentError,
    },
    DamagedBlob {
        reference: String,
        path: PathBuf,
        why: BlobDamage,
    },
    UnreadableImage {
        reference: String,
        source: Box<ImagesError>,
    },
    /// A chart, a signature or the like, which other programs keep in layouts too. Nothing is wrong with it.
    OtherKind {
        reference: String,
        path: PathBuf,
        source: DocumentError,
    },
    PlanChanged {
        what: Message,
    },
    NotStored {
        references: Vec<String>,
        folder: PathBuf,
    },
    StillNeeded {
        /// Each with who needs it.
        images: Vec<(String, Message)>,
    },
    NoPlatform {
        reference: String,
        source: Box<NoPlatform>,
    },

    Archive {
        origin: String,
        source: Box<ArchiveError>,
    },
    ExportDiffers {
        reference: String,
    },
    /// An archive would take the place of a file that the store needs.
    ExportIntoStore {
        path: PathBuf,
        folder: PathBuf,
    },
    ArrivedDiffers {
        reference: String,
    },
    NotWholeInEngine {
        reference: String,
        source: Box<ArchiveError>,
    },
    /// The others are saved; the source is why the first of these is not.
    NotAllSaved {
        failed: Vec<String>,
        all: usize,
        source: Box<ImagesError>,
    },

    /// The others can be, and are unless this is a dry run; why these can't has been told.
    NotAllImported {
        failed: Vec<String>,
    },
    /// The others are loaded; the source is why the first of these can't be.
    NotAllLoaded {
        failed: Vec<String>,
        all: usize,
        source: Box<ImagesError>,
    },

    /// More than any engine of the classic store takes (moby, `layer.maxLayerDepth`).
    TooManyLayers {
        reference: String,
        layers: usize,
        most: usize,
    },

    /// Not transparent: a search for the engine's error among the causes must find it.
    Engine(#[from] EngineError),
    State(#[from] StateError),
    /// A release of that name is there.
    ReleaseExists {
        name: String,
    },
    DamagedRelease {
        name: String,
        path: PathBuf,
    },
    FellShort {
        reference: String,
        why: Shortfall,
        /// Whether the reference named an image before, which it still names, or which was kept.
        had_image: bool,
        source: Option<EngineError>,
    },
    Interrupted {
        done: usize,
        all: usize,
    },
    Stopped,
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

impl Told for BlobDamage {
    fn message(&self) -> Message {
        match self {
            Self::Missing => message!("damage-missing"),
            Self::WrongSize { size_bytes, expected_bytes } => {
                message!("damage-size", size = size_bytes, expected = expected_bytes)
            }
            Self::WrongDigest => message!("damage-digest"),
            Self::WrongDiffId { expected } => message!("damage-diff-id", expected = expected),
            Self::Undecodable(why) => message!("damage-undecodable", why = why),
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

impl Told for Shortfall {
    fn message(&self) -> Message {
        match self {
            Self::NoImage => message!("shortfall-no-image"),
            Self::OtherLayers => message!("shortfall-other-layers"),
            Self::Incomplete => message!("shortfall-incomplete"),
            Self::OtherTag => message!("shortfall-other-tag"),
        }
    }
}

impl Told for ImagesError {
    fn message(&self) -> Message {
        match self {
            Self::NotInEngine { references } => message!("error-not-in-engine", references = list(references)),
            Self::NotInStore { references, folder, unreadable, .. } => not_in_store(references, folder, unreadable),
            Self::UnusableArchive { path, why, .. } => {
                message!("error-unusable-archive", path = path.display(), why = why)
            }
            Self::NewerUnread { reference, newer, why, older } => message!(
                "error-newer-unread",
                reference = reference,
                newer = newer.display(),
                why = why,
                older = older.display()
            ),
            Self::NoTag { reference, .. } => message!("error-no-tag", reference = reference),
            Self::NoSpace { folder, needed_bytes, free_bytes } => {
                message!("error-no-space", folder = folder.display(), needed = needed_bytes, free = free_bytes)
            }
            Self::File { operation, path, .. } => {
                message!("error-file", operation = operation, path = path.display())
            }
            Self::StoreBusy { folder, holder } => match holder.as_deref() {
                None => message!("error-store-busy", folder = folder.display()),
                Some(StoreHolder { user, host, pid, since }) => message!(
                    "error-store-busy-by",
                    folder = folder.display(),
                    user = user,
                    host = host,
                    pid = pid,
                    since = since
                ),
            },
            Self::NotAStore { folder, why } => message!("error-not-a-store", folder = folder.display(), why = why),
            Self::LayoutVersion { folder, version } => {
                let why = message!("store-layout-unknown", version = version);
                message!("error-not-a-store", folder = folder.display(), why = why)
            }
            Self::StillUnusable { references, folder } => message!(
                "error-still-unusable",
                count = references.len(),
                folder = folder.display(),
                references = list(references)
            ),
            Self::Document { path, .. } => message!("error-document-damaged", path = path.display()),
            Self::DamagedBlob { reference, path, why } => {
                message!("error-damaged-blob", reference = reference, why = why.message(), path = path.display())
            }
            Self::UnreadableImage { reference, .. } => message!("error-unreadable-image", reference = reference),
            Self::OtherKind { reference, .. } => message!("error-other-kind", reference = reference),
            Self::PlanChanged { what } => message!("error-plan-changed", what = what),
            Self::NotStored { references, folder } => {
                message!("error-not-stored", references = list(references), folder = folder.display())
            }
            Self::StillNeeded { images } => {
                let needed = images.iter().map(|(image, by)| message!("error-image-needed", image = image, by = by));
                message!("words", text = Several(needed.collect()))
            }
            Self::NoPlatform { reference, .. } => message!("error-no-platform-usable", reference = reference),
            Self::Archive { origin, .. } => message!("error-archive", origin = origin),
            Self::ExportDiffers { reference } => message!("error-export-differs", reference = reference),
            Self::ExportIntoStore { path, folder } => {
                message!("error-export-into-store", path = path.display(), folder = folder.display())
            }
            Self::ArrivedDiffers { reference } => message!("error-arrived-differs", reference = reference),
            Self::NotWholeInEngine { reference, .. } => message!("error-not-whole-in-engine", reference = reference),
            Self::NotAllSaved { failed, all, .. } => {
                message!("error-not-all-saved", count = failed.len(), all = all, failed = list(failed))
            }
            Self::NotAllImported { failed } => {
                message!("error-not-all-imported", count = failed.len(), failed = list(failed))
            }
            Self::NotAllLoaded { failed, all, .. } => {
                message!("error-not-all-loaded", count = failed.len(), all = all, failed = list(failed))
            }
            Self::TooManyLayers { reference, layers, most } => {
                message!("error-too-many-layers", reference = reference, layers = layers, most = most)
            }
            Self::ReleaseExists { name } => message!("error-release-exists", name = name),
            Self::DamagedRelease { name, path } => {
                message!("error-release-damaged", name = name, path = path.display())
            }
            Self::Engine(error) => error.message(),
            Self::State(error) => error.message(),
            Self::FellShort { reference, why, had_image: true, .. } => {
                message!("error-fell-short-kept", reference = reference, why = why.message())
            }
            Self::FellShort { reference, why, .. } => {
                message!("error-fell-short", reference = reference, why = why.message())
            }
            Self::Interrupted { done, all } => message!("error-images-interrupted", done = done, all = all),
            Self::Stopped => message!("error-stopped"),
            Self::GivenUp => message!("error-given-up"),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::NotInEngine { .. } => Some(message!("hint-image-into-engine")),
            Self::NotInStore { is_name_lost: true, .. } => Some(message!("hint-images-lost")),
            Self::NotInStore { .. } => Some(message!("hint-image-into-store")),
            Self::NewerUnread { newer, older, .. } => {
                Some(message!("hint-newer-unread", newer = newer.display(), older = older.display()))
            }
            Self::NoTag { digest, .. } => Some(message!("hint-image-tag", digest = digest)),
            Self::NoSpace { .. } => Some(message!("hint-images-space")),
            Self::StoreBusy { .. } => Some(message!("hint-locked")),
            Self::Document { .. } if self.is_of_a_changed_entry() => Some(message!("hint-images-entry")),
            Self::Document { path, .. } if path.ends_with(INDEX_FILE) => Some(message!("hint-images-repair")),
            Self::Document { path, .. } if path.ends_with(LAYOUT_FILE) => Some(message!("hint-layout-repair")),
            Self::Document { .. } => Some(message!("hint-store-again")),
            Self::LayoutVersion { .. } => Some(message!("hint-layout-version")),
            Self::NotAStore { why, .. } if *why == message!("store-without-archives") => {
                Some(message!("hint-store-empty"))
            }
            Self::NotAStore { folder, .. } if folder.join(OWN_FOLDER).is_dir() => Some(message!("hint-images-repair")),
            Self::NotAStore { folder, .. } if !folder.exists() => Some(message!("hint-store-absent")),
            Self::Archive { origin, source } => match first_part(Path::new(origin)) {
                Some(first) => Some(message!("hint-first-part", first = first.display())),
                None if source.is_of_a_layer() && Path::new(origin).is_file() => Some(message!("hint-archive-damaged")),
                None => None,
            },
            Self::StillUnusable { .. } => Some(message!("hint-still-unusable")),
            Self::DamagedBlob { why: BlobDamage::Missing, .. } => Some(message!("hint-blob-missing")),
            Self::DamagedBlob { .. } => Some(message!("hint-blob-again")),
            Self::UnreadableImage { source, .. } if source.is_of_a_changed_entry() => {
                Some(message!("hint-images-entry"))
            }
            Self::UnreadableImage { reference, .. } => Some(message!("hint-image-unreadable", reference = reference)),
            Self::PlanChanged { .. } => Some(message!("hint-plan-again")),
            Self::NotStored { .. } => Some(message!("hint-images-list")),
            Self::StillNeeded { .. } => Some(message!("hint-images-force")),
            Self::ExportDiffers { .. } => Some(message!("hint-save-again")),
            Self::ExportIntoStore { .. } => Some(message!("hint-export-elsewhere")),
            Self::NotAllImported { .. } => Some(message!("hint-archive-damaged")),
            Self::NotWholeInEngine { .. } => Some(message!("hint-image-not-whole")),
            Self::TooManyLayers { .. } => Some(message!("hint-image-layers")),
            Self::ReleaseExists { name } => Some(message!("hint-release-exists", name = name)),
            Self::DamagedRelease { name, .. } => Some(message!("hint-release-damaged", name = name)),
            Self::FellShort { source: Some(said), .. } if said.is_disk_full() => {
                Some(message!("hint-engine-disk-full"))
            }
            Self::File { source, .. } if is_full(source) => Some(message!("hint-disk-full")),
            Self::File { source, .. } if is_absent(source) => Some(message!("hint-file-absent")),
            Self::File { source, .. } => crate::fs::lock_hint(source),
            _ => None,
        }
    }
}

told!(ImagesError; crate::images::formats::as_told, crate::engine::as_told, crate::manifest::as_told, crate::state::as_told);

impl ImagesError {
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

    /// Whether an archive has nothing but images for other platforms, charts, signatures and the like: nothing is wrong with
    /// it.
    pub(in crate::images) fn has_only_others(&self) -> bool {
        match self {
            Self::Archive { source, .. } => source.is_other_kind(),
            Self::UnusableArchive { has_only_others, .. } => *has_only_others,
            _ => false,
        }
    }

    /// Whether an entry of the index was changed after `dpl` wrote it, or two have one name.
    pub(in crate::images) fn is_of_a_changed_entry(&self) -> bool {
        matches!(
            self,
            Self::Document { source: DocumentError::BrokenSeal { .. } | DocumentError::NameTwice { .. }, .. }
        )
    }

    /// The images that can't be loaded, where others of the same load can: by name and tag.
    pub fn unloadable(&self) -> Vec<String> {
        match self {
            Self::NotInStore { references, .. } => references.clone(),
            Self::NotAllLoaded { failed, .. } => failed.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the engine does not have what it had a moment ago.
    pub(in crate::images) fn is_gone(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_not_found())
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

    pub(in crate::images) fn file(operation: Message, path: &Path, source: io::Error) -> Self {
        Self::File { operation, path: path.to_owned(), source }
    }
}

fn not_in_store(references: &[String], folder: &Path, unreadable: &[(PathBuf, Message)]) -> Message {
    let (references, folder) = (list(references), folder.display());
    if unreadable.is_empty() {
        return message!("error-not-in-store", references = references, folder = folder);
    }
    let unread =
        unreadable.iter().map(|(path, why)| message!("error-archive-unread", path = path.display(), why = why));
    let unread = Several(unread.collect());
    message!("error-not-in-store-unread", references = references, folder = folder, unread = unread)
}

fn list(references: &[String]) -> Listed {
    Listed::of(references)
}

/// Whether the disk, or what somebody may use of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the system says so; what carries a sentence of ours says itself what to do.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && error.raw_os_error().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::english;

    fn hint(error: &ImagesError) -> String {
        error.hint().map(|hint| english(&hint)).unwrap_or_default()
    }

    #[test]
    fn a_store_that_only_a_newer_dpl_reads_is_not_sent_to_a_repair() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(OWN_FOLDER)).unwrap();
        let of = |why| hint(&ImagesError::NotAStore { folder: folder.path().to_owned(), why });
        assert!(of(message!("store-index-missing")).contains("dpl images repair"), "the control");
        let newer = ImagesError::LayoutVersion { folder: folder.path().to_owned(), version: "9.0".to_owned() };
        let newer = hint(&newer);
        assert!(newer.contains("newer dpl") && !newer.contains("repair"), "{newer}");
        assert!(of(message!("store-without-archives")).contains("dpl images import"));
    }

    #[test]
    fn a_full_disk_a_file_that_is_not_there_and_a_damaged_layer_are_told_with_what_to_do() {
        let file = |kind: io::ErrorKind| ImagesError::file(message!("verb-read"), Path::new("x.tar"), kind.into());
        assert!(hint(&file(io::ErrorKind::StorageFull)).contains("free some space"));
        assert!(hint(&file(io::ErrorKind::QuotaExceeded)).contains("free some space"));
        let absent = std::fs::metadata("/nowhere/x.tar").unwrap_err();
        let absent = ImagesError::file(message!("verb-read"), Path::new("/nowhere/x.tar"), absent);
        assert!(hint(&absent).contains("is the path right"));
        assert_eq!(hint(&file(io::ErrorKind::NotFound)), "", "one of ours");
        assert_eq!(hint(&file(io::ErrorKind::PermissionDenied)), "");
        let (reference, path) = ("a:1".to_owned(), PathBuf::from("blobs/sha256/0"));
        let damaged = hint(&ImagesError::DamagedBlob { reference, path, why: BlobDamage::WrongDigest });
        assert!(damaged.contains("`dpl images repair`") && !damaged.contains("blobs/sha256"), "{damaged}");
    }
}
