//! What can go wrong with releases and packages.

use std::io;
use std::path::PathBuf;

use super::delta::DeltaError;
use crate::catalogue::told;
use crate::fs::Digest;
use crate::images::ImagesError;
use crate::report::{Listed, Message, Told};
use crate::sites::shown;

/// A release or a package that can't be made, read or received.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// There is no release of that name.
    NoRelease {
        name: String,
        known: Vec<String>,
    },
    /// Releases can't have this name.
    ReleaseName {
        name: String,
    },
    NotAPackage,
    /// A later dpl made it.
    Format {
        format: u32,
    },
    /// The index can't be understood.
    Index(#[source] serde_json::Error),
    /// It is not what a package can be.
    Damaged {
        why: Message,
    },
    /// It ends too early.
    CutOff,
    Read(#[source] io::Error),
    Write(#[source] io::Error),
    /// The file of a package.
    File {
        path: PathBuf,
        source: Box<PackagesError>,
    },
    /// Something that goes into a package can't be read.
    Source {
        path: PathBuf,
        source: io::Error,
    },
    SourceChanged {
        path: PathBuf,
    },
    SeedChanged {
        database: String,
        release: String,
    },
    TooManyCopies {
        path: String,
    },
    /// It is for images of several architectures.
    Architectures {
        names: Vec<String>,
    },
    OtherProject {
        package: String,
        here: String,
    },
    /// The machine lacks what the package takes for granted.
    Lacks {
        images: Vec<String>,
        layers: usize,
    },
    LacksSeeds {
        databases: Vec<String>,
    },
    /// There is no project where it is to be unpacked, and no manifest in the package.
    NoManifest {
        folder: String,
    },
    /// A newer release was unpacked before.
    Older {
        release: String,
        created: String,
        newest: String,
        newest_created: String,
    },
    /// An entry is not what the index says.
    Differs {
        name: String,
    },
    /// A layer can't be rebuilt from its delta.
    Rebuild {
        layer: Digest,
        source: DeltaError,
    },
    /// No delta can be made of a layer.
    MakeDelta {
        layer: Digest,
        source: DeltaError,
    },
    /// The engine does not give a layer that it had a moment ago.
    EngineBase {
        layer: Digest,
        image: String,
    },
    /// What came can't be received, or put in place.
    Receive {
        why: Message,
    },
    NoSpace {
        folder: String,
        needed: u64,
        free: u64,
    },
    /// The disk takes no files so large.
    FileTooLarge {
        path: PathBuf,
        bytes: u64,
        most: u64,
    },
    /// The disk takes no file of this name, as FAT and exFAT of some.
    FileName {
        path: PathBuf,
    },
    Stopped,
    NotAPart {
        path: PathBuf,
    },
    /// It belongs to another package.
    OtherPart {
        path: PathBuf,
    },
    MissingParts {
        numbers: Vec<u64>,
        parts: u64,
    },
    DamagedParts {
        paths: Vec<PathBuf>,
    },
    /// What is packed now is not what the parts are of.
    OtherPackage {
        list: PathBuf,
    },
    /// It is not a key of minisign's form.
    NotAKey,
    KeyName {
        name: String,
    },
    KeyExists {
        path: PathBuf,
    },
    KeyFile {
        path: PathBuf,
        source: io::Error,
    },
    /// Others could have written it.
    KeyFileOwner {
        path: PathBuf,
    },
    /// The secret key is encrypted.
    KeyPassword,
    MakeKey {
        why: String,
    },
    /// Several could sign.
    WhichKey {
        names: Vec<String>,
    },
    /// Where a key is trusted.
    Unsigned,
    BadSignature,
    OtherKey {
        id: String,
        trusted: Vec<String>,
    },
    RevokedKey {
        id: String,
    },
    /// Not transparent: a search for the error among the causes must find it.
    Images(#[from] ImagesError),
}

impl Told for PackagesError {
    fn message(&self) -> Message {
        match self {
            Self::NoRelease { name, .. } => message!("error-no-release", name = name),
            Self::ReleaseName { name } => message!("error-release-name", name = format!("{name:?}")),
            Self::NotAPackage => message!("error-not-a-package"),
            Self::Format { format } => message!("error-package-format", format = format),
            Self::Index(_) => message!("error-package-index"),
            Self::Damaged { why } => message!("error-package-damaged", why = why),
            Self::CutOff => message!("error-package-cut-off"),
            Self::Read(_) => message!("error-package-read"),
            Self::Write(_) => message!("error-package-write"),
            Self::File { path, .. } => message!("error-package-file", path = path.display()),
            Self::Source { path, .. } => message!("send-source", path = path.display()),
            Self::SourceChanged { path } => message!("error-package-source-changed", path = path.display()),
            Self::SeedChanged { database, release } => {
                message!("error-package-seed-changed", database = database, release = release)
            }
            Self::TooManyCopies { path } => message!("error-package-copies", path = path),
            Self::Architectures { names } => message!("error-package-architectures", names = Listed::of(names)),
            Self::OtherProject { package, here } => {
                message!("error-package-project", package = shown(package), here = shown(here))
            }
            Self::Lacks { images, layers } => {
                let images = Listed::of(images.iter().map(|image| shown(image)));
                message!("error-package-lacks", layers = layers, images = images)
            }
            Self::LacksSeeds { databases } => {
                let databases = Listed::of(databases.iter().map(|database| shown(database)));
                message!("error-package-lacks-seeds", databases = databases)
            }
            Self::NoManifest { folder } => message!("error-package-no-manifest", folder = folder),
            Self::Older { release, created, newest, newest_created } => message!(
                "error-package-older",
                release = shown(release),
                created = created,
                newest = shown(newest),
                newest_created = newest_created
            ),
            Self::Differs { name } => message!("error-package-differs", name = shown(name)),
            Self::Rebuild { layer, .. } => message!("error-package-rebuild", layer = layer.short()),
            Self::MakeDelta { layer, .. } => message!("error-package-make-delta", layer = layer.short()),
            Self::EngineBase { layer, image } => {
                message!("error-package-engine-base", layer = layer.short(), image = shown(image))
            }
            Self::Receive { why } => message!("error-package-receive", why = why),
            Self::NoSpace { folder, needed, free } => {
                message!("error-package-space", folder = folder, free = free, needed = needed)
            }
            Self::FileTooLarge { path, bytes, most } => {
                message!("error-package-file-large", path = path.display(), bytes = bytes, most = most)
            }
            Self::FileName { path } => message!("error-package-file-name", path = path.display()),
            Self::Stopped => message!("error-package-stopped"),
            Self::NotAPart { path } => message!("error-part-not-one", path = path.display()),
            Self::OtherPart { path } => message!("error-part-other", path = path.display()),
            Self::MissingParts { numbers, parts } => {
                message!("error-parts-missing", parts = parts, numbers = Listed::of(numbers))
            }
            Self::DamagedParts { paths } => {
                message!("error-parts-damaged", paths = Listed::of(paths.iter().map(|path| path.display())))
            }
            Self::OtherPackage { list } => message!("error-parts-changed", list = list.display()),
            Self::NotAKey => message!("error-key-not-one"),
            Self::KeyName { name } => message!("error-key-name", name = format!("{name:?}")),
            Self::KeyExists { path } => message!("error-key-exists", path = path.display()),
            Self::KeyFile { path, .. } => message!("error-key-file", path = path.display()),
            Self::KeyFileOwner { path } => message!("error-key-file-owner", path = path.display()),
            Self::KeyPassword => message!("error-key-password"),
            Self::MakeKey { why } => message!("error-key-make", why = why),
            Self::WhichKey { names } => message!("error-key-which", names = Listed::of(names)),
            Self::Unsigned => message!("error-package-unsigned"),
            Self::BadSignature => message!("error-package-signature"),
            Self::OtherKey { id, trusted } if trusted.is_empty() => {
                message!("error-package-no-key-left", id = shown(id))
            }
            Self::OtherKey { id, trusted } => {
                message!("error-package-other-key", id = shown(id), trusted = Listed::of(trusted))
            }
            Self::RevokedKey { id } => message!("error-package-revoked", id = shown(id)),
            Self::Images(error) => error.message(),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::NoRelease { known, .. } if known.is_empty() => Some(message!("hint-no-releases")),
            Self::NoRelease { known, .. } => Some(message!("hint-one-of", names = Listed::of(known))),
            Self::Format { .. } => Some(message!("hint-package-format")),
            Self::NotAPackage => Some(message!("hint-not-a-package")),
            Self::CutOff | Self::Damaged { .. } | Self::Differs { .. } => Some(message!("hint-package-again")),
            Self::Rebuild { .. } => Some(message!("hint-package-rebuild")),
            Self::MakeDelta { .. } => Some(message!("hint-package-make-delta")),
            Self::EngineBase { .. } => Some(message!("hint-package-lacks")),
            Self::SourceChanged { .. } => Some(message!("hint-package-source")),
            Self::SeedChanged { .. } => Some(message!("hint-package-seed")),
            Self::Lacks { .. } | Self::LacksSeeds { .. } => Some(message!("hint-package-lacks")),
            Self::NoManifest { .. } => Some(message!("hint-package-no-manifest")),
            Self::Older { .. } => Some(message!("hint-package-older")),
            Self::MissingParts { .. } | Self::DamagedParts { .. } => Some(message!("hint-parts")),
            Self::OtherPackage { .. } => Some(message!("hint-parts-changed")),
            Self::KeyPassword => Some(message!("hint-key-password")),
            Self::KeyFileOwner { .. } => Some(message!("hint-key-file-owner")),
            Self::WhichKey { .. } => Some(message!("hint-key-which")),
            Self::Unsigned => Some(message!("hint-package-unsigned")),
            Self::OtherKey { .. } => Some(message!("hint-package-other-key")),
            Self::BadSignature => Some(message!("hint-package-again")),
            Self::NoSpace { .. } => Some(message!("hint-package-space")),
            Self::Write(source) if source.kind() == io::ErrorKind::StorageFull => Some(message!("hint-disk-full")),
            Self::FileTooLarge { .. } => Some(message!("hint-package-split")),
            // A FAT that is mounted by FUSE says so only when it is there.
            Self::Write(source) if source.kind() == io::ErrorKind::FileTooLarge => Some(message!("hint-package-split")),
            Self::FileName { .. } => Some(message!("hint-package-file-name")),
            _ => None,
        }
    }
}

told!(PackagesError; super::delta::as_told, crate::sites::as_told);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_or_takes_no_file_so_large_is_told_with_what_to_do() {
        let hint = |kind: io::ErrorKind| {
            let source = Box::new(PackagesError::Write(kind.into()));
            let error = PackagesError::File { path: PathBuf::from("all.tar"), source };
            crate::catalogue::hint(&error, as_told)
        };
        assert_eq!(hint(io::ErrorKind::StorageFull), Some(message!("hint-disk-full")));
        assert_eq!(hint(io::ErrorKind::FileTooLarge), Some(message!("hint-package-split")));
        assert_eq!(hint(io::ErrorKind::PermissionDenied), None);
    }
}
