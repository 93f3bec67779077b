//! What the archives of a folder were found to hold, so that none is read twice: reading a compressed one takes
//! seconds. Lies in the store's own folder as `archives.json`; whatever can't be read of it is only forgotten.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::{ArchivedLayer, OldArchive};
use crate::fs::{Digest, create_dir_durably};
use crate::images::formats::documents::ImageConfig;
use crate::images::formats::image_archive::{ArchivedImage, LeftOut};
use crate::images::formats::platform::Platform;
use crate::images::store::layout::OWN_FOLDER;
use crate::images::store::sidecar::{read_sidecar, write_sidecar};
use crate::report::Message;

const MEMORY: &str = "archives.json";

/// What tells one state of a file from another. Size and modification time alone do not: raw archives are padded to
/// equal sizes, and tools that build reproducibly write equal times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub size_bytes: u64,
    /// Since 1970; enough until 2554.
    pub modified_nanoseconds: u64,
    /// `None` in records of older versions, which are read again.
    #[serde(default)]
    changed_nanoseconds: Option<i64>,
    #[serde(default)]
    inode: Option<u64>,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> io::Result<Self> {
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            size_bytes: metadata.len(),
            modified_nanoseconds: u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX),
            changed_nanoseconds: metadata.ctime().checked_mul(1_000_000_000).map(|all| all + metadata.ctime_nsec()),
            inode: Some(metadata.ino()),
        })
    }
}

/// What is known of archives, by their path below the folder.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    archives: BTreeMap<String, RememberedArchive>,
}

#[derive(Clone, Serialize, Deserialize)]
struct RememberedArchive {
    #[serde(flatten)]
    stamp: Stamp,
    /// For which platform it was read: an index of several means one of them. Earlier versions knew this machine's only.
    #[serde(default)]
    platform: Option<String>,
    images: Vec<RememberedImage>,
    /// Images in it that are not whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<RememberedDamage>,
    /// Whether it has images for other platforms, or other things, too; `None` in records of older versions: those archives are
    /// read again.
    #[serde(default)]
    has_other_platforms: Option<bool>,
    /// Why its images can't be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unusable: Option<Unusable>,
}

#[derive(Clone, Serialize, Deserialize)]
struct RememberedImage {
    references: Vec<String>,
    /// The configuration's text, byte for byte.
    config: String,
    layers: Vec<ArchivedLayer>,
}

#[derive(Clone, Serialize, Deserialize)]
struct RememberedDamage {
    name: String,
    #[serde(with = "crate::catalogue::by_key")]
    why: Message,
}

/// Why a file has no images that can be used.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Unusable {
    #[serde(with = "crate::catalogue::by_key")]
    pub why: Message,
    /// Whether it is a tar archive of something else, and nothing is wrong with it.
    pub is_another_kind: bool,
    /// Whether it has nothing but what is not an image for this platform, and nothing is wrong with it.
    #[serde(default, rename = "is_for_other_platforms")]
    pub has_only_others: bool,
}

/// What an archive was found to be.
pub(super) enum Known {
    Images { images: Vec<ArchivedImage<ArchivedLayer>>, damaged: Vec<LeftOut>, has_other_platforms: bool },
    Unusable(Unusable),
}

impl Memory {
    pub fn read(folder: &Path) -> Self {
        read_sidecar(&folder.join(OWN_FOLDER).join(MEMORY)).unwrap_or_default()
    }

    pub fn get(&self, name: &str, stamp: &Stamp, platform: &Platform) -> Option<Known> {
        let is_it = |known: &&RememberedArchive| {
            let platform_then = known.platform.clone().unwrap_or_else(|| Platform::host().to_string());
            known.stamp == *stamp && platform_then == platform.to_string()
        };
        let known = self.archives.get(name).filter(is_it)?;
        // An older version did not tell charts, signatures and the like from what is damaged.
        let has_other_platforms = known.has_other_platforms?;
        if let Some(unusable) = &known.unusable {
            return Some(Known::Unusable(unusable.clone()));
        }
        let images = known.images.iter().map(RememberedImage::image).collect::<Option<_>>()?;
        let damaged = known.damaged.iter().cloned().map(|RememberedDamage { name, why }| LeftOut::damaged(name, why));
        Some(Known::Images { images, damaged: damaged.collect(), has_other_platforms })
    }

    /// Whether it was added; an image whose configuration is not UTF-8 can't be.
    pub fn add(&mut self, name: &str, stamp: Stamp, platform: &Platform, archive: &OldArchive) -> bool {
        let Some(images) = archive.images.iter().map(RememberedImage::of).collect() else {
            return false;
        };
        let damaged = archive.damaged.iter().cloned().map(|LeftOut { name, why, .. }| RememberedDamage { name, why });
        let (platform, damaged) = (Some(platform.to_string()), damaged.collect());
        let has_other_platforms = Some(archive.has_other_platforms);
        let remembered = RememberedArchive { stamp, platform, images, damaged, has_other_platforms, unusable: None };
        self.archives.insert(name.to_owned(), remembered);
        true
    }

    pub fn add_unusable(&mut self, name: &str, stamp: Stamp, platform: &Platform, unusable: Unusable) {
        let platform = Some(platform.to_string());
        let (images, damaged, unusable) = (Vec::new(), Vec::new(), Some(unusable));
        let has_other_platforms = Some(unusable.as_ref().is_some_and(|unusable| unusable.has_only_others));
        let remembered = RememberedArchive { stamp, platform, images, damaged, has_other_platforms, unusable };
        self.archives.insert(name.to_owned(), remembered);
    }

    /// Writes it down, where the folder can be written: it only ever saves time.
    pub fn write(mut self, folder: &Path, is_present: impl Fn(&str) -> bool) {
        self.archives.retain(|name, _| is_present(name));
        let own = folder.join(OWN_FOLDER);
        if !own.is_symlink() && create_dir_durably(&own).is_ok() {
            let _ = write_sidecar(&own.join(MEMORY), &self);
        }
    }
}

impl RememberedImage {
    fn of(image: &ArchivedImage<ArchivedLayer>) -> Option<Self> {
        let config = String::from_utf8(image.config_bytes.clone()).ok()?;
        Some(Self { references: image.references.clone(), config, layers: image.layers.clone() })
    }

    fn image(&self) -> Option<ArchivedImage<ArchivedLayer>> {
        let config_bytes = self.config.clone().into_bytes();
        let config = ImageConfig::parse(&config_bytes).ok()?;
        (config.diff_ids().len() == self.layers.len()).then(|| ArchivedImage {
            references: self.references.clone(),
            config_digest: Digest::of(&config_bytes),
            config_bytes,
            config,
            layers: self.layers.clone(),
        })
    }
}
