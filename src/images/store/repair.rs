//! Putting names back that a store's index lost: from the store's own records, where the images are still there.
//!
//! An index that is missing or can't be read is set aside and made again from the records.

use std::fs;
use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::images::error::ImagesError;
use crate::images::formats::documents::{Descriptor, Index};
use crate::images::pipes::blocking;
use crate::images::store::layout::{INDEX_FILE, LAYOUT_FILE, Layout, OWN_FOLDER};
use crate::images::store::lock::StoreLock;
use crate::images::store::name_records::{NameRecord, lost_names};
use crate::images::store::writer::{LAYOUT_VERSION, write};
use crate::report::{Activity, Reporter};

/// What `dpl images repair` prints: what would be done, or was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct RepairReport {
    /// The store's folder.
    pub store: String,
    /// Whether it has been done; false for what `--dry-run` shows.
    pub done: bool,
    /// Whether the index could not be read and is made again, the old one kept as `.dpl-store/index.json.damaged`.
    pub index_replaced: bool,
    /// Names that are put back.
    pub names: Vec<RepairedName>,
    /// Names whose images are not whole any more, and that stay out.
    pub not_whole: Vec<String>,
}

/// A name that is put back.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RepairedName {
    pub reference: String,
    /// The digest of the image's configuration; null for what is not an image that an engine runs.
    pub image_id: Option<String>,
}

/// What [`repair()`] would do; changes nothing.
///
/// # Errors
/// A folder that was never a store.
pub async fn plan_repair(images_dir: &Path) -> Result<RepairReport, ImagesError> {
    let folder = images_dir.to_owned();
    blocking(move || Ok(plan(&folder)?.report)).await
}

/// Puts lost names back, under the store's lock. Names that the index has stay as they are.
///
/// # Errors
/// Those of [`plan_repair`]; somebody else writes to the store.
pub async fn repair(images_dir: &Path, reporter: &Reporter) -> Result<RepairReport, ImagesError> {
    let (folder, reporter) = (images_dir.to_owned(), reporter.clone());
    blocking(move || {
        plan(&folder)?;
        let _lock = StoreLock::take(&folder)?;
        let plan = plan(&folder)?;
        if plan.report.index_replaced {
            set_index_aside(&folder)?;
        }
        if plan.report.index_replaced || !plan.entries.is_empty() {
            let mut index = plan.index;
            index.manifests.extend(plan.entries);
            write(&folder.join(INDEX_FILE), &index.to_bytes())?;
        }
        if !folder.join(LAYOUT_FILE).exists() {
            write(&folder.join(LAYOUT_FILE), LAYOUT_VERSION)?;
        }
        for name in &plan.report.names {
            reporter.done(Activity::NameImage, &name.reference, message!("images-named"));
        }
        Ok(RepairReport { done: true, ..plan.report })
    })
    .await
}

struct Plan {
    report: RepairReport,
    index: Index,
    entries: Vec<Descriptor>,
}

fn plan(folder: &Path) -> Result<Plan, ImagesError> {
    let why = "it has no oci-layout and no index.json, and no records of its own";
    let not_a_store = || ImagesError::NotAStore { folder: folder.to_owned(), why };
    let (layout, index_replaced) = match Layout::open(folder) {
        Ok(Some(layout)) => (layout, false),
        Ok(None) if folder.join(OWN_FOLDER).is_dir() => (Layout::with_index(folder, Index::default()), true),
        Ok(None) => return Err(not_a_store()),
        Err(ImagesError::Document { path, .. }) if path.ends_with(INDEX_FILE) => {
            (Layout::with_index(folder, Index::default()), true)
        }
        Err(ImagesError::NotAStore { .. }) if !folder.join(INDEX_FILE).exists() => {
            (Layout::with_index(folder, Index::default()), true)
        }
        Err(error) => return Err(error),
    };
    let lost = lost_names(&layout)?;
    if index_replaced && lost.is_empty() && !folder.join(INDEX_FILE).exists() && !folder.join(LAYOUT_FILE).exists() {
        return Err(not_a_store());
    }
    let mut report = RepairReport { store: folder.display().to_string(), index_replaced, ..RepairReport::default() };
    let mut entries = Vec::new();
    for NameRecord { name, entry } in lost {
        let read = layout.read_image(&entry);
        let image_id = match &read {
            Ok(image) if layout.missing_blob(image).is_none() => Some(image.config_digest.to_string()),
            Err(ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. }) => None,
            _ => {
                report.not_whole.push(name);
                continue;
            }
        };
        report.names.push(RepairedName { reference: name, image_id });
        entries.push(entry);
    }
    let index = layout.index;
    Ok(Plan { report, index, entries })
}

/// Keeps what there is of an index that can't be read.
fn set_index_aside(folder: &Path) -> Result<(), ImagesError> {
    let (from, to) = (folder.join(INDEX_FILE), folder.join(OWN_FOLDER).join("index.json.damaged"));
    match fs::rename(&from, &to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImagesError::file("set aside", &from, error)),
        _ => Ok(()),
    }
}
