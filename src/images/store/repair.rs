//! Putting names back that a store's index lost: from the store's own records, where the images are still there. Then
//! layers are removed whose content is not what their digests say, so that the next save or import brings them again.
//!
//! An index that is missing or can't be read is set aside, and made again from the records and from the entries that can
//! be read out of it. An entry that was changed after `dpl` wrote it gives way to its record. An `oci-layout` that is
//! missing or can't be read is written again: all that it says is a version.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::fs::{Digest, HashingReader, open_regular};
use crate::images::error::{BlobDamage, ImagesError};
use crate::images::formats::documents::{CONTAINERD_NAME, Descriptor, Index, REF_NAME};
use crate::images::names::entry_names;
use crate::images::pipes::blocking;
use crate::images::store::collect::remove_file;
use crate::images::store::layout::{
    INDEX_FILE, LAYOUT_FILE, Layout, OWN_FOLDER, StoredImage, StoredLayer, distinct, read_small,
};
use crate::images::store::lock::StoreLock;
use crate::images::store::name_records::{NameRecord, is_surely_newer, lost_names, newer_record, record_of};
use crate::images::store::verify::{ProblemKind, StoreProblem, other_platforms, why_incomplete};
use crate::images::store::writer::{LAYOUT_VERSION, write};
use crate::report::{Activity, Reporter};

/// An index that could not be read, in the store's own folder; with a number behind it where there are several.
const DAMAGED_INDEX: &str = "index.json.damaged";
/// An empty file in the store's own folder: there was no index when it was made again.
const MISSING_INDEX: &str = "index.json.missing";

/// What `dpl images repair` prints: what would be done, or was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct RepairReport {
    /// The store's folder.
    pub store: String,
    /// Whether it has been done; false for what `--dry-run` shows.
    pub done: bool,
    /// Whether the index could not be read, or was missing, and is made again.
    pub index_replaced: bool,
    /// Whether the old index is kept as `.dpl-store/index.json.damaged`; false where it was missing.
    pub index_kept: bool,
    /// Names that are put back.
    pub names: Vec<RepairedName>,
    /// Names whose images are not whole any more, and that stay out.
    pub not_whole: Vec<String>,
    /// Names whose entries were changed or occur twice, and of which there is no record that could take their place.
    pub not_restored: Vec<String>,
    /// Digests of layers whose content is another one, and that are removed.
    pub damaged_layers: Vec<String>,
    /// Images that stay incomplete, and why: a repair has no content to give them.
    pub incomplete: Vec<StoreProblem>,
    /// What this repair and earlier ones set aside of an index: it may have named more than could be restored.
    pub set_aside: Vec<String>,
}

impl RepairReport {
    /// Images that can't be loaded from the store after the repair either, each once.
    pub fn unusable(&self) -> Vec<String> {
        let incomplete = self.incomplete.iter().map(|problem| &problem.reference);
        let mut seen = HashSet::new();
        incomplete.chain(&self.not_restored).filter(|name| seen.insert(*name)).cloned().collect()
    }
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
    blocking(move || {
        let Plan { mut report, index, .. } = plan(&folder)?;
        let layout = Layout::with_index(&folder, index);
        let damaged = damaged_layers(&layout, &Reporter::default())?;
        report.damaged_layers = shown(&damaged);
        report.incomplete.extend(incomplete(&layout, &damaged, &report.not_restored));
        report.set_aside = marks_shown(&folder)?;
        Ok(report)
    })
    .await
}

/// Puts lost names back and removes damaged layers, under the store's lock. Names that the index has rightly stay as they
/// are.
///
/// # Errors
/// Those of [`plan_repair`]; somebody else writes to the store.
pub async fn repair(images_dir: &Path, reporter: &Reporter) -> Result<RepairReport, ImagesError> {
    let (folder, reporter) = (images_dir.to_owned(), reporter.clone());
    blocking(move || {
        plan(&folder)?;
        let _lock = StoreLock::take(&folder)?;
        let Plan { mut report, index, is_changed, is_marked } = plan(&folder)?;
        if report.index_replaced {
            set_index_aside(&folder)?;
        }
        if is_changed {
            write(&folder.join(INDEX_FILE), &index.to_bytes())?;
        }
        if !is_marked {
            write(&folder.join(LAYOUT_FILE), LAYOUT_VERSION)?;
        }
        for name in &report.names {
            reporter.done(Activity::NameImage, &name.reference, message!("images-named"));
        }
        let layout = Layout::with_index(&folder, index);
        let damaged = damaged_layers(&layout, &reporter)?;
        damaged.iter().try_for_each(|digest| remove_file(&layout.blob_path(digest)))?;
        report.damaged_layers = shown(&damaged);
        report.incomplete.extend(incomplete(&layout, &damaged, &report.not_restored));
        report.set_aside = marks_shown(&folder)?;
        Ok(RepairReport { done: true, ..report })
    })
    .await
}

fn shown(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(ToString::to_string).collect()
}

struct Plan {
    report: RepairReport,
    /// As it is to be.
    index: Index,
    is_changed: bool,
    /// Whether `oci-layout` is there and can be read.
    is_marked: bool,
}

fn plan(folder: &Path) -> Result<Plan, ImagesError> {
    let why = message!("store-without-records");
    let not_a_store = || ImagesError::NotAStore { folder: folder.to_owned(), why: why.clone() };
    let (opened, is_marked) = match Layout::open(folder) {
        Err(ImagesError::Document { path, .. }) if path.ends_with(LAYOUT_FILE) => {
            (Layout::open_by_index(folder), false)
        }
        opened => (opened, folder.join(LAYOUT_FILE).exists()),
    };
    let (layout, index_replaced) = match opened {
        Ok(Some(layout)) => (layout, false),
        Ok(None) if folder.join(OWN_FOLDER).is_dir() => (Layout::with_index(folder, Index::default()), true),
        Ok(None) => return Err(not_a_store()),
        Err(ImagesError::Document { path, .. }) if path.ends_with(INDEX_FILE) => {
            let damaged = read_small(&path)?.unwrap_or_default();
            (Layout::with_index(folder, Index::salvage(&damaged)), true)
        }
        Err(ImagesError::NotAStore { .. }) if !folder.join(INDEX_FILE).exists() => {
            (Layout::with_index(folder, Index::default()), true)
        }
        Err(error) => return Err(error),
    };
    let lost = lost_names(&layout)?;
    let index_kept = index_replaced && folder.join(INDEX_FILE).exists();
    if index_replaced && lost.is_empty() && !index_kept && !folder.join(LAYOUT_FILE).exists() {
        return Err(not_a_store());
    }
    let store = folder.display().to_string();
    let mut report = RepairReport { store, index_replaced, index_kept, ..RepairReport::default() };
    let mut index = layout.index.clone();
    index.manifests = mended(&layout, &lost, &mut report);
    for NameRecord { name, entry } in lost {
        match image_of(&layout, &entry) {
            Ok(image_id) => {
                report.names.push(RepairedName { reference: name, image_id });
                index.manifests.push(entry);
            }
            Err(error) => {
                let (kind, problem) = (ProblemKind::Image, why_incomplete(&layout, &error));
                report.incomplete.push(StoreProblem { reference: name.clone(), kind, problem });
                report.not_whole.push(name);
            }
        }
    }
    let is_changed = index_replaced || index != layout.index;
    Ok(Plan { report, index, is_changed, is_marked })
}

/// The ID of the image that an entry leads to, `None` for what is no image that an engine runs here.
///
/// # Errors
/// It is not whole.
fn image_of(layout: &Layout, entry: &Descriptor) -> Result<Option<String>, ImagesError> {
    match layout.read_image(entry) {
        Ok(image) => match layout.missing_blob(&image) {
            None => Ok(Some(image.config_digest.to_string())),
            Some(error) => Err(error),
        },
        Err(ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Images of the index that lack blobs, or whose layers are `damaged`; those in `told` are told of already. Of an index of
/// several platforms, each image counts that is here.
fn incomplete(layout: &Layout, damaged: &[Digest], told: &[String]) -> Vec<StoreProblem> {
    let why = |read: Result<StoredImage, ImagesError>| match read {
        Ok(image) => match distinct(&image.layers).find(|layer| damaged.contains(&layer.blob)) {
            Some(StoredLayer { blob, .. }) => {
                let (reference, path, why) = (String::new(), layout.blob_path(blob), BlobDamage::WrongDigest);
                Some(why_incomplete(layout, &ImagesError::DamagedBlob { reference, path, why }))
            }
            None => layout.missing_blob(&image).map(|error| why_incomplete(layout, &error)),
        },
        Err(ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. }) => None,
        Err(error) => Some(why_incomplete(layout, &error)),
    };
    let mut incomplete = Vec::new();
    for (entry, name) in layout.named_entries() {
        let older = name.as_deref().and_then(|name| older_image(layout, damaged, entry, name));
        let reference = name.unwrap_or_else(|| entry.shown_name());
        if told.contains(&reference) {
            continue;
        }
        let others = other_platforms(layout, entry);
        let others = others.iter().map(|other| layout.read_manifest(other, reference.clone()));
        let problem = std::iter::once(layout.read_image(entry)).chain(others).find_map(why);
        let problem = problem.map(|why| match older {
            Some(id) => message!("store-older-whole", why = why, id = id, reference = reference),
            None => why,
        });
        let kind = ProblemKind::Image;
        incomplete.extend(problem.map(|problem| StoreProblem { reference: reference.clone(), kind, problem }));
    }
    incomplete
}

/// The ID of the image that a name had before it came to an entry, where that image is still whole: an index that was
/// copied over this one may have come without its blobs.
fn older_image(layout: &Layout, damaged: &[Digest], entry: &Descriptor, name: &str) -> Option<String> {
    let record = record_of(layout.folder(), name).filter(|record| record.entry.digest != entry.digest)?;
    let image = layout.read_image(&record.entry).ok()?;
    let is_whole =
        layout.missing_blob(&image).is_none() && image.layers.iter().all(|layer| !damaged.contains(&layer.blob));
    is_whole.then(|| image.config_digest.short().to_owned())
}

/// The entries of the index, where those that were changed, those of one name and those that are older than their
/// records give way to intact records.
fn mended(layout: &Layout, lost: &[NameRecord], report: &mut RepairReport) -> Vec<Descriptor> {
    let entries = &layout.index.manifests;
    let names = entry_names(entries);
    let comes_back = |entry: &Descriptor| lost.iter().any(|record| record.entry.digest == entry.digest);
    let mut mended = Vec::new();
    let mut decided: HashSet<&String> = HashSet::new();
    for (entry, name) in entries.iter().zip(&names) {
        // One whose name is not what was written: the record brings it back under the right one.
        let is_superseded = !entry.seal_holds() && comes_back(entry);
        let Some(name) = name else {
            mended.extend((!is_superseded).then(|| entry.clone()));
            continue;
        };
        if !decided.insert(name) {
            continue;
        }
        let named = entries.iter().zip(&names).filter(|(_, other)| other.as_deref() == Some(name.as_str()));
        let same: Vec<&Descriptor> = named.map(|(entry, _)| entry).collect();
        let is_changed = same.iter().any(|entry| !entry.seal_holds());
        let is_twice = same.iter().any(|other| other.digest != entry.digest);
        let record = record_of(layout.folder(), name).filter(|record| {
            let is_one_of_them = same.iter().any(|entry| entry.digest == record.entry.digest);
            let is_newer = newer_record(layout, name).is_some() && is_surely_newer(record, entry);
            is_changed || is_twice && is_one_of_them || is_newer
        });
        let restored = record.and_then(|record| Some((image_of(layout, &record.entry).ok()?, record)));
        let Some((image_id, record)) = restored else {
            if (is_changed || is_twice) && !is_superseded {
                report.not_restored.push(name.clone());
            }
            mended.extend(same.into_iter().filter(|entry| entry.seal_holds() || !comes_back(entry)).cloned());
            continue;
        };
        if is_changed || is_twice {
            let is_other =
                |other: &&&Descriptor| other.digest != record.entry.digest && layout.blob_path(&other.digest).exists();
            let others = same.iter().filter(is_other);
            mended.extend(others.map(|other| without_name(other)));
        }
        report.names.push(RepairedName { reference: name.clone(), image_id });
        mended.push(record.entry);
    }
    mended
}

/// An entry that keeps what it leads to in the store, and is called nothing.
fn without_name(entry: &Descriptor) -> Descriptor {
    let mut entry = entry.clone().without(REF_NAME).without(CONTAINERD_NAME);
    // What `dpl` said of it was said of an entry with a name.
    entry.annotations.retain(|annotation, _| !annotation.starts_with("dpl."));
    entry
}

/// Keeps what there is of an index that can't be read, or writes down that there was none: either way, what it named is
/// not known.
fn set_index_aside(folder: &Path) -> Result<(), ImagesError> {
    let own = folder.join(OWN_FOLDER);
    let from = folder.join(INDEX_FILE);
    match fs::rename(&from, free_name(&own)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => write(&own.join(MISSING_INDEX), b""),
        Err(error) => Err(ImagesError::file(message!("verb-set-aside"), &from, error)),
        Ok(()) => Ok(()),
    }
}

/// `index.json.damaged`, and `index.json.damaged.2` and on where earlier repairs left one: it is the only copy.
fn free_name(own: &Path) -> PathBuf {
    let name = |number: usize| match number {
        1 => own.join(DAMAGED_INDEX),
        _ => own.join(format!("{DAMAGED_INDEX}.{number}")),
    };
    let mut number = 1;
    while name(number).exists() {
        number += 1;
    }
    name(number)
}

/// The files that tell that the index was made again, and may lack names that the old one had.
pub(in crate::images) fn rebuilt_marks(folder: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let own = folder.join(OWN_FOLDER);
    let failed = |source| ImagesError::file(message!("verb-list"), &own, source);
    let listed = match fs::read_dir(&own) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut marks = Vec::new();
    for file in listed {
        let file = file.map_err(failed)?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name == MISSING_INDEX || name.starts_with(DAMAGED_INDEX) {
            marks.push(file.path());
        }
    }
    marks.sort();
    Ok(marks)
}

fn marks_shown(folder: &Path) -> Result<Vec<String>, ImagesError> {
    Ok(rebuilt_marks(folder)?.iter().map(|mark| mark.display().to_string()).collect())
}

/// Layers of the length that their manifests say and of another content: no look at sizes finds them, so that a save
/// would take them for whole.
fn damaged_layers(layout: &Layout, reporter: &Reporter) -> Result<Vec<Digest>, ImagesError> {
    let mut seen = HashSet::new();
    let mut damaged = Vec::new();
    for image in all_images(layout) {
        reporter.began(Activity::VerifyImage, &image.name, None);
        for layer in distinct(&image.layers) {
            if reporter.asked_to_stop() {
                return Err(ImagesError::Stopped);
            }
            if seen.insert(layer.blob.clone()) && is_damaged(layout, layer)? {
                damaged.push(layer.blob.clone());
            }
        }
        if image.layers.iter().any(|layer| damaged.contains(&layer.blob)) {
            reporter.failed(Activity::VerifyImage, &image.name, message!("damage-digest"));
        } else {
            reporter.done(Activity::VerifyImage, &image.name, message!("images-read"));
        }
    }
    Ok(damaged)
}

/// The images of the index that can be read, those for other platforms too: a verify reads them all.
fn all_images(layout: &Layout) -> Vec<StoredImage> {
    let mut images = Vec::new();
    for entry in &layout.index.manifests {
        images.extend(layout.read_image(entry).ok());
        let others = other_platforms(layout, entry);
        images.extend(others.iter().filter_map(|other| layout.read_manifest(other, entry.shown_name()).ok()));
    }
    images
}

fn is_damaged(layout: &Layout, layer: &StoredLayer) -> Result<bool, ImagesError> {
    let path = layout.blob_path(&layer.blob);
    let failed = |source| ImagesError::file(message!("verb-read"), &path, source);
    // What can't be opened can't be told to be another content.
    let Ok(file) = open_regular(&path) else {
        return Ok(false);
    };
    if file.metadata().map_err(failed)?.len() != layer.size_bytes {
        return Ok(false);
    }
    let mut reader = HashingReader::new(file);
    io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
    let (_, digest, _) = reader.finish();
    Ok(digest != layer.blob)
}
