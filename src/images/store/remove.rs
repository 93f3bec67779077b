//! Taking single references out of a store.

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
use crate::images::store::name_records::lost_names;
use crate::images::store::owners::{Claim, NeededImages};
use crate::manifest::Reference;
use crate::report::{Activity, Reporter};

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

/// What [`remove()`] would do; changes nothing.
///
/// # Errors
/// References that the store does not have (all of them named); with [`StillNeeded::Refused`], references that a
/// manifest names or another project saved, with who needs them.
pub async fn plan_remove(
    images_dir: &Path,
    references: &[Reference],
    needed: &NeededImages,
    still_needed: StillNeeded,
) -> Result<RemoveReport, ImagesError> {
    let (folder, references, needed) = (images_dir.to_owned(), references.to_vec(), needed.clone());
    blocking(move || {
        let layout = open(&folder, &references)?;
        Ok(report(&folder, &plan(&layout, &references, &needed, still_needed)?))
    })
    .await
}

/// Takes references out of the store: the index first, then the blobs that nothing else needs.
///
/// # Errors
/// Those of [`plan_remove`]; somebody else writes to the store; a reference names another image than was shown.
pub async fn remove(
    images_dir: &Path,
    references: &[Reference],
    needed: &NeededImages,
    still_needed: StillNeeded,
    shown: &RemoveReport,
    reporter: &Reporter,
) -> Result<RemoveReport, ImagesError> {
    let (folder, references, needed) = (images_dir.to_owned(), references.to_vec(), needed.clone());
    let (shown, reporter) = (shown.clone(), reporter.clone());
    blocking(move || {
        // A folder without a store gets no lock.
        open(&folder, &references)?;
        let lock = StoreLock::take(&folder)?;
        let layout = open(&folder, &references)?;
        let removal = plan(&layout, &references, &needed, still_needed)?;
        for image in &removal.images {
            let same = |other: &RemovedImage| other.reference == image.reference && other.image_id == image.image_id;
            if !shown.images.iter().any(same) {
                let what = format!("{} names another image now", image.reference);
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

fn open(folder: &Path, references: &[Reference]) -> Result<Layout, ImagesError> {
    Layout::open(folder)?.ok_or_else(|| not_stored(folder, references.iter()))
}

fn not_stored<'a>(folder: &Path, references: impl Iterator<Item = &'a Reference>) -> ImagesError {
    let references = references.map(ToString::to_string).collect();
    ImagesError::NotStored { references, folder: folder.to_owned() }
}

fn plan(
    layout: &Layout,
    references: &[Reference],
    needed: &NeededImages,
    still_needed: StillNeeded,
) -> Result<Removal, ImagesError> {
    let mut missing = references.iter().filter(|reference| layout.entry(reference).is_none()).peekable();
    if missing.peek().is_some() {
        return Err(not_stored(layout.folder(), missing));
    }
    let wanted: Vec<String> = references.iter().filter_map(engine_name).collect();
    let goes = |_: &Descriptor, name: Option<&str>| name.is_some_and(|name| wanted.iter().any(|other| other == name));
    if still_needed == StillNeeded::Refused {
        let mut images = Vec::new();
        for reference in references {
            let by = match layout
                .entry(reference)
                .and_then(|entry| needed.claim(entry, engine_name(reference).as_deref()))
            {
                Some(Claim::Manifest { services }) => services.join(", "),
                Some(Claim::Projects(projects)) => format!("another project, {}", projects.join(", ")),
                Some(Claim::Unnamed) | None => continue,
            };
            images.push((reference.to_string(), by));
        }
        if !images.is_empty() {
            return Err(ImagesError::StillNeeded { images });
        }
    }
    let recorded: Vec<Descriptor> = lost_names(layout)?.into_iter().map(|record| record.entry).collect();
    Removal::plan(layout, &recorded, goes)
}

fn report(folder: &Path, removal: &Removal) -> RemoveReport {
    RemoveReport {
        store: folder.display().to_string(),
        done: false,
        images: removal.images.clone(),
        freed_bytes: removal.blobs.values().sum(),
    }
}
