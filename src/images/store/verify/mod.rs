//! Whether a store is what it says: documents, sizes, digests, and that every reference is whole. Changes nothing.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::fs::Digest;
use crate::images::error::{ImagesError, in_one_line};
use crate::images::formats::documents::{Descriptor, foreign_name};
use crate::images::formats::platform::Platform;
use crate::images::names::all_names;
use crate::images::pipes::blocking;
use crate::images::store::archives::{self, ArchiveFolder, OldArchive};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{LAYOUT_FILE, Layout, StoredImage, distinct, why_absent};
use crate::images::store::name_records::{damaged_records, lost_names, newer_records};
use crate::images::store::owners::NeededImages;
use crate::manifest::Reference;
use crate::report::{Activity, Message, Reporter, Told as _};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// Reads the documents, and of layers only how large they are.
    Quick,
    /// Reads every layer and compares its digests, compressed and not.
    Full,
}

/// What `dpl images verify` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Whether the contents of layers and archives were read; false for `--quick`, which looks at documents and sizes.
    pub contents_read: bool,
    /// References that were looked at.
    pub images: u64,
    /// Distinct layers that were looked at.
    pub layers: u64,
    /// Archives in the folder that were looked at.
    pub archives: u64,
    pub problems: Vec<StoreProblem>,
    /// What other programs keep there besides images: charts, signatures. Nothing is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// References that the manifests name and that neither the store's index nor an archive beside it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StoreProblem {
    /// The image, the archive or the file of the store that something is wrong with.
    pub reference: String,
    /// What it is, which decides what helps.
    pub kind: ProblemKind,
    /// What is wrong, with the file.
    pub problem: Message,
}

/// What something is wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A name or an entry of the index: a repair restores it from the store's records.
    Index,
    /// A record of the store's own folder; the problem says what to do.
    Record,
    /// The content of an image: it has to be brought again.
    Image,
    /// An archive in the folder: it has to be brought again, and no repair changes it.
    Archive,
}

/// Verifies all that the store's index names.
///
/// # Errors
/// A folder that has no store, or whose index can't be read: then nothing can be said of its images. What is wrong
/// with images is in the report.
pub async fn verify(
    images_dir: &Path,
    needed: Option<&NeededImages>,
    thoroughness: Thoroughness,
    reporter: &Reporter,
) -> Result<VerifyReport, ImagesError> {
    let (folder, reporter, needed) = (images_dir.to_owned(), reporter.clone(), needed.cloned());
    blocking(move || {
        if let Some(why) = why_absent(&folder) {
            return Err(ImagesError::NotAStore { folder, why });
        }
        let layout = Layout::open(&folder)?;
        let mut archives = ArchiveFolder::open(&folder)?.with_reporter(&reporter);
        if layout.is_none() && archives.is_empty() {
            let why = message!("store-without-archives");
            return Err(ImagesError::NotAStore { folder, why });
        }
        let mut report = match &layout {
            Some(layout) => verify_layout(layout, thoroughness, &reporter)?,
            None => VerifyReport::default(),
        };
        let archived = verify_archives(&mut archives, thoroughness, &mut report, &reporter)?;
        if let Some(needed) = needed {
            // One that can't be read may have the image that it is named after.
            let is_named_after = |name: &str| name.parse().is_ok_and(|name: Reference| archives.has_named(&name));
            let is_archived = |name: &str| archived.contains(name) || is_named_after(name);
            compare_with_needed(layout.as_ref(), &needed, is_archived, &mut report)?;
        }
        archives.remember();
        report.contents_read = thoroughness == Thoroughness::Full;
        report.ok = report.problems.is_empty();
        Ok(report)
    })
    .await
}

/// What manifests need and the index does not name: a problem where the image is there and only its name was lost.
fn compare_with_needed(
    layout: Option<&Layout>,
    needed: &NeededImages,
    is_archived: impl Fn(&str) -> bool,
    report: &mut VerifyReport,
) -> Result<(), ImagesError> {
    let lost = layout.map(lost_names).transpose()?.unwrap_or_default();
    let entries = layout.into_iter().flat_map(|layout| layout.named_entries());
    let named: HashSet<String> = entries.filter_map(|(_, name)| name).collect();
    let foreign: Vec<String> =
        layout.into_iter().flat_map(|layout| layout.index.foreign.iter().map(foreign_name)).collect();
    for name in needed.names().filter(|name| !named.contains(*name)) {
        if lost.iter().any(|record| record.name == name) {
            let (kind, problem) = (ProblemKind::Index, message!("store-name-lost"));
            report.problems.push(StoreProblem { reference: name.to_owned(), kind, problem });
        } else if is_archived(name) {
            continue;
        } else if foreign.iter().any(|other| other == name) {
            // It is in the store, and no load can use it.
            report.others.retain(|other| other != name);
            let (kind, problem) = (ProblemKind::Image, message!("error-entry-unusable"));
            report.problems.push(StoreProblem { reference: name.to_owned(), kind, problem });
        } else {
            report.missing.push(name.to_owned());
        }
    }
    Ok(())
}

/// Looks at the archives beside the store, of which a load takes what the store does not have; gives the names of the
/// images in them. What no load would take for an archive of images (somebody's `backup.tar.gz`) is not a problem of the
/// store's.
fn verify_archives(
    archives: &mut ArchiveFolder,
    thoroughness: Thoroughness,
    report: &mut VerifyReport,
    reporter: &Reporter,
) -> Result<HashSet<String>, ImagesError> {
    let all = archives.read_all();
    let count = all.len();
    let mut archived = HashSet::new();
    for (done, (path, read)) in all.into_iter().enumerate() {
        if reporter.asked_to_stop() {
            return Err(ImagesError::Interrupted { done, all: count });
        }
        let subject = path.display().to_string();
        archived.extend(read.iter().flat_map(OldArchive::references));
        let not_whole = read.as_ref().ok().and_then(|archive| archive.damaged.first().map(|one| one.why.clone()));
        // This machine's images are not the only ones that matter: the engine may be on another.
        let is_archive = |read: &Result<_, ImagesError>| match read {
            Ok(_) => true,
            Err(error) => error.has_only_others(),
        };
        let looked = match (is_archive(&read), thoroughness) {
            (true, Thoroughness::Full) => {
                let total_bytes = std::fs::metadata(&path).ok().map(|file| file.len());
                reporter.began(Activity::VerifyImage, &subject, total_bytes);
                archives::verify(&path, reporter.meter(Activity::VerifyImage, &subject, total_bytes)).map(drop)
            }
            _ => read.map(drop),
        };
        match looked {
            Err(error) if !error.has_only_others() => {
                if reporter.asked_to_stop() {
                    return Err(ImagesError::Interrupted { done, all: count });
                }
                if error.is_another_kind_of_file() {
                    continue;
                }
                report.archives += 1;
                let problem = in_one_line(&error);
                reporter.failed(Activity::VerifyImage, &subject, &problem);
                report.problems.push(StoreProblem { reference: subject, kind: ProblemKind::Archive, problem });
            }
            Ok(()) | Err(_) => {
                report.archives += 1;
                if let Some(problem) = not_whole {
                    reporter.failed(Activity::VerifyImage, &subject, &problem);
                    report.problems.push(StoreProblem { reference: subject, kind: ProblemKind::Archive, problem });
                } else if thoroughness == Thoroughness::Full {
                    reporter.done(Activity::VerifyImage, &subject, message!("images-whole"));
                }
            }
        }
    }
    Ok(archived)
}

/// What each layer was found to be, since images share them: its uncompressed size where it was read, or what is wrong.
/// A blob that is right for one diff ID and size is not for another.
type SeenLayers = HashMap<(Digest, Digest, u64), Result<Option<u64>, ImagesError>>;

fn verify_layout(
    layout: &Layout,
    thoroughness: Thoroughness,
    reporter: &Reporter,
) -> Result<VerifyReport, ImagesError> {
    let mut report = VerifyReport { problems: layout_problems(layout)?, ..VerifyReport::default() };
    report.others.extend(layout.index.foreign.iter().map(foreign_name));
    let mut seen: SeenLayers = HashMap::new();
    let all = layout.index.manifests.len();
    for (done, entry) in layout.index.manifests.iter().enumerate() {
        if reporter.asked_to_stop() {
            return Err(ImagesError::Interrupted { done, all });
        }
        let name = entry.shown_name();
        let of_image = |problem| (ProblemKind::Image, problem);
        let read_through = |image: &StoredImage, seen: &mut SeenLayers| {
            verify_image(layout, image, thoroughness, seen, reporter).into_iter().map(of_image).collect::<Vec<_>>()
        };
        let mut problems = match layout.read_image(entry) {
            Err(ImagesError::OtherKind { .. }) => {
                report.others.push(name);
                continue;
            }
            Err(ImagesError::NoPlatform { .. }) => Vec::new(),
            Ok(image) => read_through(&image, &mut seen),
            Err(error) if error.is_of_a_changed_entry() => vec![(ProblemKind::Index, in_one_line(&error))],
            Err(error) => vec![of_image(why_incomplete(layout, &error))],
        };
        for other in other_platforms(layout, entry) {
            problems.extend(match layout.read_manifest(&other, name.clone()) {
                Err(ImagesError::OtherKind { .. }) => Vec::new(),
                Ok(image) => read_through(&image, &mut seen),
                Err(error) => vec![of_image(why_incomplete(layout, &error))],
            });
        }
        report.images += 1;
        match (problems.first(), thoroughness) {
            (Some((_, problem)), _) => reporter.failed(Activity::VerifyImage, &name, problem),
            (None, Thoroughness::Full) => reporter.done(Activity::VerifyImage, &name, message!("images-whole")),
            (None, Thoroughness::Quick) => reporter.done(Activity::VerifyImage, &name, message!("images-sizes-right")),
        }
        let problem = |(kind, problem)| StoreProblem { reference: name.clone(), kind, problem };
        report.problems.extend(problems.into_iter().map(problem));
    }
    report.layers = seen.len() as u64;
    report.ok = report.problems.is_empty();
    Ok(report)
}

/// What is wrong with the layout itself, which other programs would stumble over.
fn layout_problems(layout: &Layout) -> Result<Vec<StoreProblem>, ImagesError> {
    let mut problems = Vec::new();
    let mut problem = |reference: &str, kind: ProblemKind, problem: Message| {
        problems.push(StoreProblem { reference: reference.to_owned(), kind, problem });
    };
    if !layout.folder().join(LAYOUT_FILE).exists() {
        let missing = message!("store-file-missing", file = LAYOUT_FILE, folder = layout.folder().display());
        problem(LAYOUT_FILE, ProblemKind::Index, missing);
    }
    let mut seen: HashMap<String, &Digest> = HashMap::new();
    for (entry, name) in layout.named_entries().filter(|(entry, _)| !entry.is_about_an_image()) {
        let mut others = all_names(entry, name).into_iter().filter_map(|name| seen.insert(name, &entry.digest));
        if others.any(|other| *other != entry.digest) {
            problem(&entry.shown_name(), ProblemKind::Index, message!("store-two-images"));
        }
    }
    for record in newer_records(layout) {
        problem(&record.name, ProblemKind::Index, message!("store-record-newer"));
    }
    for record in damaged_records(layout)? {
        let path = record.path.strip_prefix(layout.folder()).unwrap_or(&record.path).display().to_string();
        let is_named = record.is_named;
        let what = if is_named { message!("store-record-damaged") } else { message!("store-record-lost") };
        problem(&path, ProblemKind::Record, what);
    }
    Ok(problems)
}

/// The images of an index of several platforms that this machine would not use; a copy need not hold all of them.
pub(in crate::images) fn other_platforms(layout: &Layout, entry: &Descriptor) -> Vec<Descriptor> {
    if !entry.is_index() {
        return Vec::new();
    }
    let platforms = layout.platforms(entry).unwrap_or_default();
    let chosen = layout.platform().choose(&platforms).map(|chosen| chosen.digest.clone()).ok();
    let others = platforms.iter().filter(|other| chosen.as_ref() != Some(&other.digest));
    let is_there = |other: &&Descriptor| !Platform::is_attestation(other) && layout.blob_path(&other.digest).exists();
    others
        .filter(is_there)
        .map(|other| Descriptor { annotations: entry.annotations.clone(), ..other.clone() })
        .collect()
}

fn verify_image(
    layout: &Layout,
    image: &StoredImage,
    thoroughness: Thoroughness,
    seen: &mut SeenLayers,
    reporter: &Reporter,
) -> Vec<Message> {
    let total_bytes = distinct(&image.layers).map(|layer| layer.size_bytes).sum();
    reporter.began(Activity::VerifyImage, &image.name, Some(total_bytes));
    let mut done_bytes = 0;
    let mut problems = Vec::new();
    for layer in distinct(&image.layers) {
        let key = (layer.blob.clone(), layer.diff_id.clone(), layer.size_bytes);
        let found = seen.entry(key).or_insert_with(|| match thoroughness {
            Thoroughness::Quick => layout.open_layer(layer, &image.name).map(|_| None),
            Thoroughness::Full => measure(layout, layer, &image.name).map(Some),
        });
        match found {
            Ok(Some(bytes)) if layer.uncompressed_bytes.is_some_and(|said| said != *bytes) => {
                let path = layout.blob_path(&layer.blob);
                problems.push(message!("store-other-size", path = path.display(), bytes = bytes));
            }
            Ok(_) => {}
            Err(error) => problems.push(why_incomplete(layout, error)),
        }
        done_bytes += layer.size_bytes;
        reporter.advanced(Activity::VerifyImage, &image.name, done_bytes, Some(total_bytes));
    }
    problems
}

/// What is wrong with an image whose name and store are said already.
pub(in crate::images) fn why_incomplete(layout: &Layout, error: &ImagesError) -> Message {
    match error {
        ImagesError::DamagedBlob { path, why, .. } => {
            let path = path.strip_prefix(layout.folder()).unwrap_or(path);
            message!("because", what = path.display(), why = why.message())
        }
        error => in_one_line(error),
    }
}

#[cfg(test)]
mod tests;
