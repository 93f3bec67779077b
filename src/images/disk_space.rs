//! Whether the disks have room for what is going to be written, looked at before anything is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::fs::Disk;
use crate::images::error::ImagesError;
use crate::report::Reporter;

/// What is written to a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskPurpose {
    /// The image store, or the folder of archives.
    Store,
    /// What the engine writes down before it sends an export.
    Spool,
    /// Layers in the engine, with what it writes down before it applies them.
    Engine,
    /// The file of an export.
    Export,
}

/// Whether what is free will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskVerdict {
    Enough,
    /// It depends on how well the layers compress.
    Unsure,
    TooLittle,
    /// Nothing can be known of that disk, on another host above all.
    Unknown,
}

/// A disk that will be written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiskSpace {
    #[serde(serialize_with = "crate::fs::serialize_shown")]
    pub folder: PathBuf,
    pub purpose: DiskPurpose,
    /// What will be written at least.
    pub needed_bytes: u64,
    /// What will be written at most: layers that do not compress at all.
    pub needed_at_most_bytes: u64,
    /// Null where it can't be known.
    pub free_bytes: Option<u64>,
    pub verdict: DiskVerdict,
}

/// What to do about a disk that is too small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpaceCheck {
    /// An error before anything is written.
    #[default]
    Refuse,
    /// Go on: the operator knows better.
    Ignore,
}

/// Layers are hardly ever compressed to less than this part of their size.
const LEAST_COMPRESSED: u64 = 4;

/// What is going to be written to a folder.
#[derive(Debug, Clone)]
pub struct DiskNeed {
    /// `None` on another host.
    pub folder: Option<PathBuf>,
    /// How messages call a folder that is not known.
    pub place: PathBuf,
    pub purpose: DiskPurpose,
    pub at_least: u64,
    pub at_most: u64,
}

impl DiskNeed {
    pub fn exactly(folder: &Path, purpose: DiskPurpose, bytes: u64) -> Self {
        let folder = folder.to_owned();
        Self { place: folder.clone(), folder: Some(folder), purpose, at_least: bytes, at_most: bytes }
    }

    /// Of so many bytes that are going to be compressed.
    pub fn compressed(folder: &Path, purpose: DiskPurpose, bytes: u64) -> Self {
        Self { at_least: Self::least_compressed(bytes), ..Self::exactly(folder, purpose, bytes) }
    }

    /// Hardly anything is compressed to less.
    pub fn least_compressed(bytes: u64) -> u64 {
        bytes / LEAST_COMPRESSED
    }

    /// In the engine's folder, which is `None` on another host.
    pub fn in_engine(folder: Option<&Path>, place: &Path, purpose: DiskPurpose, bytes: u64) -> Self {
        let need = Self::exactly(place, purpose, bytes);
        Self { folder: folder.map(Path::to_owned), ..need }
    }
}

/// Looks at the disks of what is needed; needs that meet on one disk are added up.
pub fn look(needs: &[DiskNeed]) -> Vec<DiskSpace> {
    let disks: Vec<Option<Disk>> = needs.iter().map(|need| need.folder.as_deref().and_then(Disk::of)).collect();
    let mut sums: HashMap<u64, (u64, u64)> = HashMap::new();
    for (need, disk) in needs.iter().zip(&disks) {
        if let Some(disk) = disk {
            let sum = sums.entry(disk.device).or_default();
            *sum = (sum.0 + need.at_least, sum.1 + need.at_most);
        }
    }
    let spaces = needs.iter().zip(&disks).map(|(need, disk)| {
        let verdict = match disk {
            None => DiskVerdict::Unknown,
            Some(disk) => match sums.get(&disk.device).copied().unwrap_or_default() {
                (at_least, _) if disk.free_bytes < at_least => DiskVerdict::TooLittle,
                (_, at_most) if disk.free_bytes < at_most => DiskVerdict::Unsure,
                _ => DiskVerdict::Enough,
            },
        };
        DiskSpace {
            folder: need.place.clone(),
            purpose: need.purpose,
            needed_bytes: need.at_least,
            needed_at_most_bytes: need.at_most,
            free_bytes: disk.as_ref().map(|disk| disk.free_bytes),
            verdict,
        }
    });
    spaces.collect()
}

/// Why nothing will be written, where something can't fit and the operator did not say to go on.
pub fn refused(spaces: &[DiskSpace], check: SpaceCheck) -> Option<ImagesError> {
    let refused = |space: &DiskSpace| {
        let free_bytes = space.free_bytes.filter(|_| space.verdict == DiskVerdict::TooLittle)?;
        let (folder, needed_bytes) = (space.folder.clone(), space.needed_bytes);
        Some(ImagesError::NoSpace { folder, needed_bytes, free_bytes })
    };
    spaces.iter().filter(|_| check == SpaceCheck::Refuse).find_map(refused)
}

/// Refuses what can't fit, and warns of what may not.
pub fn check(spaces: &[DiskSpace], check: SpaceCheck, reporter: &Reporter) -> Result<(), ImagesError> {
    if let Some(error) = refused(spaces, check) {
        return Err(error);
    }
    for space in spaces {
        match (space.verdict, space.free_bytes) {
            (DiskVerdict::TooLittle, Some(free_bytes)) => reporter.warn(message!(
                "images-space-short",
                folder = space.folder.display(),
                needed = space.needed_bytes,
                free = free_bytes
            )),
            (DiskVerdict::Unsure, Some(free_bytes)) => reporter.warn(message!(
                "images-space-unsure",
                folder = space.folder.display(),
                at_most = space.needed_at_most_bytes,
                free = free_bytes
            )),
            (DiskVerdict::Unknown, _) => {
                reporter.detail(message!("images-space-unknown", folder = space.folder.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_meets_on_one_disk_is_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let free = Disk::of(folder.path()).unwrap().free_bytes;
        let part = free / 3 * 2;
        let needs = [
            DiskNeed::exactly(folder.path(), DiskPurpose::Store, part),
            DiskNeed::exactly(&folder.path().join("not/yet/there"), DiskPurpose::Engine, part),
        ];
        let spaces = look(&needs);
        assert!(spaces.iter().all(|space| space.verdict == DiskVerdict::TooLittle), "{spaces:?}");
        let refused = check(&spaces, SpaceCheck::Refuse, &Reporter::default()).unwrap_err();
        assert!(matches!(refused, ImagesError::NoSpace { needed_bytes, .. } if needed_bytes == part), "{refused:?}");
        check(&spaces, SpaceCheck::Ignore, &Reporter::default()).unwrap();
        assert_eq!(look(&needs[..1])[0].verdict, DiskVerdict::Enough);
    }

    #[test]
    fn layers_that_may_compress_leave_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let free = Disk::of(folder.path()).unwrap().free_bytes;
        let verdict = |bytes| look(&[DiskNeed::compressed(folder.path(), DiskPurpose::Store, bytes)])[0].verdict;
        let verdicts = [verdict(free / 2), verdict(free * 2), verdict(free * 5)];
        assert_eq!(verdicts, [DiskVerdict::Enough, DiskVerdict::Unsure, DiskVerdict::TooLittle]);
        let elsewhere = DiskNeed::in_engine(None, Path::new("/var/lib/docker"), DiskPurpose::Engine, u64::MAX);
        assert_eq!(look(&[elsewhere])[0].verdict, DiskVerdict::Unknown);
    }
}
