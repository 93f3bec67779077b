//! Taking single images out of a store, by their references, or by their IDs where they have none.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::images::error::ImagesError;
use crate::images::formats::documents::Descriptor;
use crate::images::names::engine_name;
use crate::images::pipes::blocking;
use crate::images::store::collect::{Removal, RemovedImage};
use crate::images::store::layout::Layout;
use crate::images::store::lock::StoreLock;
use crate::images::store::name_records::{lost_names, newer_records};
use crate::images::store::owners::{Claim, NeededImages};
use crate::images::store::releases::needed_by_releases;
use crate::manifest::Reference;
use crate::report::{Activity, Listed, Reporter};

/// Whether images that are still needed go too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StillNeeded {
    Refused,
    Removed,
}

/// What `dpl images remove` prints: what would be removed, or was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct RemoveReport {
    /// The store's folder.
    pub store: String,
    /// Whether it has been done; false for what `--dry-run` shows.
    pub done: bool,
    pub images: Vec<RemovedImage>,
    /// Bytes that all of it frees.
    pub freed_bytes: u64,
}

/// What is to be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoveTargets {
    pub references: Vec<Reference>,
    /// Beginnings of IDs or digests of images that have no name: 12 hex digits or more.
    pub ids: Vec<String>,
}

impl RemoveTargets {
    /// The hex digits of what may be the beginning of an ID or a digest, with `sha256:` or without.
    pub fn id_of(text: &str) -> Option<&str> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        ((12..=64).contains(&hex.len()) && is_hex).then_some(hex)
    }

    /// As a person writes them.
    pub fn names(&self) -> Vec<String> {
        self.references.iter().map(ToString::to_string).chain(self.ids.iter().cloned()).collect()
    }
}

impl From<Vec<Reference>> for RemoveTargets {
    fn from(references: Vec<Reference>) -> Self {
        Self { references, ids: Vec::new() }
    }
}

/// What [`remove()`] would do; changes nothing.
///
/// # Errors
/// References that the store does not have (all of them named); with [`StillNeeded::Refused`], references that a
/// manifest names or another project saved, with who needs them.
pub async fn plan_remove(
    images_dir: &Path,
    targets: &RemoveTargets,
    needed: &NeededImages,
    still_needed: StillNeeded,
) -> Result<RemoveReport, ImagesError> {
    let (folder, targets, needed) = (images_dir.to_owned(), targets.clone(), needed.clone());
    blocking(move || {
        let layout = open(&folder, &targets)?;
        Ok(report(&folder, &plan(&layout, &targets, &needed, still_needed)?))
    })
    .await
}

/// Takes references out of the store: the index first, then the blobs that nothing else needs.
///
/// # Errors
/// Those of [`plan_remove`]; somebody else writes to the store; a reference names another image than was shown.
pub async fn remove(
    images_dir: &Path,
    targets: &RemoveTargets,
    needed: &NeededImages,
    still_needed: StillNeeded,
    shown: &RemoveReport,
    reporter: &Reporter,
) -> Result<RemoveReport, ImagesError> {
    let (folder, targets, needed) = (images_dir.to_owned(), targets.clone(), needed.clone());
    let (shown, reporter) = (shown.clone(), reporter.clone());
    blocking(move || {
        // A folder without a store gets no lock.
        open(&folder, &targets)?;
        let lock = StoreLock::take(&folder)?;
        let layout = open(&folder, &targets)?;
        let removal = plan(&layout, &targets, &needed, still_needed)?;
        for image in &removal.images {
            let same = |other: &RemovedImage| other.reference == image.reference && other.image_id == image.image_id;
            if !shown.images.iter().any(same) {
                let what = message!("changed-other-image", image = image.reference);
                return Err(ImagesError::PlanChanged { what });
            }
        }
        for image in &removal.images {
            reporter.began(Activity::RemoveImage, &image.reference, Some(image.freed_bytes));
        }
        let result = removal.carry_out(&lock, &layout, &reporter);
        for image in &removal.images {
            match &result {
                Ok(()) => {
                    let message = message!("images-removed", freed_bytes = image.freed_bytes);
                    reporter.done(Activity::RemoveImage, &image.reference, message);
                }
                Err(error) => reporter.failed(Activity::RemoveImage, &image.reference, error),
            }
        }
        result.map(|()| RemoveReport { done: true, ..report(&folder, &removal) })
    })
    .await
}

fn open(folder: &Path, targets: &RemoveTargets) -> Result<Layout, ImagesError> {
    Layout::open(folder)?.ok_or_else(|| not_stored(folder, targets.names()))
}

fn not_stored(folder: &Path, references: Vec<String>) -> ImagesError {
    ImagesError::NotStored { references, folder: folder.to_owned() }
}

fn plan(
    layout: &Layout,
    targets: &RemoveTargets,
    needed: &NeededImages,
    still_needed: StillNeeded,
) -> Result<Removal, ImagesError> {
    let RemoveTargets { references, ids } = targets;
    let unnamed = unnamed_entries(layout);
    let has_id = |id: &String| unnamed.iter().any(|(_, hexes)| hexes.iter().any(|hex| hex.starts_with(id.as_str())));
    let missing = references.iter().filter(|reference| layout.entry(reference).is_none()).map(ToString::to_string);
    let missing: Vec<String> = missing.chain(ids.iter().filter(|id| !has_id(id)).cloned()).collect();
    if !missing.is_empty() {
        return Err(not_stored(layout.folder(), missing));
    }
    let wanted: Vec<String> = references.iter().filter_map(engine_name).collect();
    let is_wanted = |(_, hexes): &&(&Descriptor, Vec<String>)| {
        ids.iter().any(|id| hexes.iter().any(|hex| hex.starts_with(id.as_str())))
    };
    let by_id: Vec<&Descriptor> = unnamed.iter().filter(is_wanted).map(|(entry, _)| *entry).collect();
    let goes = |entry: &Descriptor, name: Option<&str>| match name {
        Some(name) => wanted.iter().any(|other| other == name),
        None => by_id.contains(&entry),
    };
    if still_needed == StillNeeded::Refused {
        let by_name = references.iter().filter_map(|reference| {
            let claim = needed.claim(layout.entry(reference)?, engine_name(reference).as_deref());
            Some((reference.to_string(), claim))
        });
        let by_id = by_id.iter().map(|entry| (entry.digest.short().to_owned(), needed.claim(entry, None)));
        let mut images = Vec::new();
        for (image, claim) in by_name.chain(by_id) {
            let by = match claim {
                Some(Claim::Manifest { services }) => message!("words", text = Listed::of(services)),
                Some(Claim::Projects(projects)) => message!("needed-by-projects", projects = Listed::of(projects)),
                Some(Claim::Unnamed) | None => continue,
            };
            images.push((image, by));
        }
        if !images.is_empty() {
            return Err(ImagesError::StillNeeded { images });
        }
    }
    let mut recorded: Vec<Descriptor> = lost_names(layout)?.into_iter().map(|record| record.entry).collect();
    let newer = newer_records(layout).into_iter().filter(|record| !wanted.contains(&record.name));
    recorded.extend(newer.map(|record| record.entry));
    recorded.extend(needed_by_releases(layout.folder())?);
    Removal::plan(layout, &recorded, goes)
}

/// The entries without a name, each with the hex digits of its digest and of its image's ID.
fn unnamed_entries(layout: &Layout) -> Vec<(&Descriptor, Vec<String>)> {
    let unnamed = layout.named_entries().filter(|(_, name)| name.is_none()).map(|(entry, _)| entry);
    let ids = |entry: &Descriptor| {
        let image = layout.read_image(entry).ok();
        let id = image.map(|image| image.config_digest.hex().to_owned());
        [entry.digest.hex().to_owned()].into_iter().chain(id).collect()
    };
    unnamed.map(|entry| (entry, ids(entry))).collect()
}

fn report(folder: &Path, removal: &Removal) -> RemoveReport {
    RemoveReport {
        store: folder.display().to_string(),
        done: false,
        images: removal.images.clone(),
        freed_bytes: removal.blobs.values().sum(),
    }
}
