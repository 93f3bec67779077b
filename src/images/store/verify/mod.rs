//! Whether a store is what it says: documents, sizes, digests, and that every reference is whole. Changes nothing.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::documents::{Descriptor, REF_NAME};
use crate::images::formats::platform::Platform;
use crate::images::pipes::blocking;
use crate::images::store::archives::{self, ArchiveFolder};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{LAYOUT_FILE, Layout, StoredImage, distinct};
use crate::images::store::name_records::lost_names;
use crate::images::store::owners::NeededImages;
use crate::manifest::Reference;
use crate::report::{Activity, Reporter, in_one_line};

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
    /// References that the manifests name and that neither the store's index nor an archive beside it is named after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StoreProblem {
    /// The image that is not whole.
    pub reference: String,
    /// What is wrong, with the file.
    pub problem: String,
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
        let layout = Layout::open(&folder)?;
        let archives = ArchiveFolder::open(&folder)?.with_reporter(&reporter);
        if layout.is_none() && archives.is_empty() {
            let why = "it has no oci-layout, no index.json and no archives";
            return Err(ImagesError::NotAStore { folder, why });
        }
        let mut report = match &layout {
            Some(layout) => verify_layout(layout, thoroughness, &reporter)?,
            None => VerifyReport::default(),
        };
        verify_archives(archives, thoroughness, &mut report, &reporter)?;
        if let Some((needed, layout)) = needed.zip(layout) {
            compare_with_needed(&layout, &needed, &mut report)?;
        }
        report.ok = report.problems.is_empty();
        Ok(report)
    })
    .await
}

/// What manifests need and the index does not name: a problem where the image is there and only its name was lost.
fn compare_with_needed(layout: &Layout, needed: &NeededImages, report: &mut VerifyReport) -> Result<(), ImagesError> {
    let lost = lost_names(layout)?;
    let named: HashSet<String> = layout.named_entries().filter_map(|(_, name)| name).collect();
    let archives = ArchiveFolder::open(layout.folder())?;
    for name in needed.names().filter(|name| !named.contains(*name)) {
        if lost.iter().any(|record| record.name == name) {
            let problem = "the image is in the store, and index.json does not name it any more, as when another store is \
                copied over this one; `dpl images repair` puts the name back";
            report.problems.push(StoreProblem { reference: name.to_owned(), problem: problem.to_owned() });
        } else if !name.parse().is_ok_and(|reference: Reference| archives.has_named(&reference)) {
            report.missing.push(name.to_owned());
        }
    }
    Ok(())
}

/// Looks at the archives beside the store, of which a load takes what the store does not have. What no load would take
/// for an archive of images (somebody's `backup.tar.gz`) is not a problem of the store's.
fn verify_archives(
    mut archives: ArchiveFolder,
    thoroughness: Thoroughness,
    report: &mut VerifyReport,
    reporter: &Reporter,
) -> Result<(), ImagesError> {
    let all = archives.read_all();
    let count = all.len();
    for (done, (path, read)) in all.into_iter().enumerate() {
        if reporter.asked_to_stop() {
            return Err(ImagesError::Interrupted { done, all: count });
        }
        let subject = path.display().to_string();
        let looked = read.and_then(|archive| match thoroughness {
            Thoroughness::Quick => Ok(archive.images.len() as u64),
            Thoroughness::Full => {
                let total_bytes = std::fs::metadata(&path).ok().map(|file| file.len());
                reporter.began(Activity::VerifyImage, &subject, total_bytes);
                archives::verify(&path, reporter.meter(Activity::VerifyImage, &subject, total_bytes))
            }
        });
        match looked {
            Ok(_) => {
                report.archives += 1;
                if thoroughness == Thoroughness::Full {
                    reporter.done(Activity::VerifyImage, &subject, message!("images-whole"));
                }
            }
            Err(_) if reporter.asked_to_stop() => return Err(ImagesError::Interrupted { done, all: count }),
            Err(error) if error.is_another_kind_of_file() || error.is_for_other_platforms() => {}
            Err(error) => {
                report.archives += 1;
                let problem = in_one_line(&error);
                reporter.failed(Activity::VerifyImage, &subject, &problem);
                report.problems.push(StoreProblem { reference: subject, problem });
            }
        }
    }
    archives.remember();
    Ok(())
}

/// What each layer was found to be, since images share them: its uncompressed size where it was read, or what is wrong.
/// A blob that is right for one diff ID and size is not for another.
type SeenLayers = HashMap<(Digest, Digest, u64), Result<Option<u64>, ImagesError>>;

fn verify_layout(
    layout: &Layout,
    thoroughness: Thoroughness,
    reporter: &Reporter,
) -> Result<VerifyReport, ImagesError> {
    let mut report = VerifyReport { problems: layout_problems(layout), ..VerifyReport::default() };
    let mut seen: SeenLayers = HashMap::new();
    let all = layout.index.manifests.len();
    for (done, entry) in layout.index.manifests.iter().enumerate() {
        if reporter.asked_to_stop() {
            return Err(ImagesError::Interrupted { done, all });
        }
        let name = entry.shown_name();
        let mut problems = match layout.read_image(entry) {
            Err(ImagesError::OtherKind { .. }) => {
                report.others.push(name);
                continue;
            }
            Err(ImagesError::NoPlatform { .. }) => Vec::new(),
            Ok(image) => verify_image(layout, &image, thoroughness, &mut seen, reporter),
            Err(error) => vec![in_one_line(&error)],
        };
        for other in other_platforms(layout, entry) {
            problems.extend(match layout.read_manifest(&other, name.clone()) {
                Err(ImagesError::OtherKind { .. }) => Vec::new(),
                Ok(image) => verify_image(layout, &image, thoroughness, &mut seen, reporter),
                Err(error) => vec![in_one_line(&error)],
            });
        }
        report.images += 1;
        match problems.first() {
            Some(problem) => reporter.failed(Activity::VerifyImage, &name, problem),
            None => reporter.done(Activity::VerifyImage, &name, message!("images-whole")),
        }
        let problems = problems.into_iter().map(|problem| StoreProblem { reference: name.clone(), problem });
        report.problems.extend(problems);
    }
    report.layers = seen.len() as u64;
    report.ok = report.problems.is_empty();
    Ok(report)
}

/// What is wrong with the layout itself, which other programs would stumble over.
fn layout_problems(layout: &Layout) -> Vec<StoreProblem> {
    let mut problems = Vec::new();
    let mut problem = |reference: &str, problem: String| {
        problems.push(StoreProblem { reference: reference.to_owned(), problem });
    };
    if !layout.folder().join(LAYOUT_FILE).exists() {
        problem(LAYOUT_FILE, format!("{LAYOUT_FILE} is missing in {}", layout.folder().display()));
    }
    let mut seen: HashMap<String, &Digest> = HashMap::new();
    for (entry, name) in layout.named_entries().filter(|(entry, _)| !entry.is_about_an_image()) {
        // Some programs read the one, some the other.
        let names: HashSet<String> = entry.annotation(REF_NAME).map(str::to_owned).into_iter().chain(name).collect();
        let mut others = names.into_iter().filter_map(|name| seen.insert(name, &entry.digest));
        if others.any(|other| *other != entry.digest) {
            problem(
                &entry.shown_name(),
                "two images have this name in index.json, and programs differ in which they take".to_owned(),
            );
        }
    }
    problems
}

/// The images of an index of several platforms that this machine would not use; a copy need not hold all of them.
fn other_platforms(layout: &Layout, entry: &Descriptor) -> Vec<Descriptor> {
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
) -> Vec<String> {
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
                problems.push(format!("{} unpacks to {bytes} bytes, unlike its manifest says", path.display()));
            }
            Ok(_) => {}
            Err(error) => {
                // The first image that needs the layer is not the only one.
                if let ImagesError::DamagedBlob { reference, .. } = error {
                    image.name.clone_into(reference);
                }
                problems.push(in_one_line(error));
            }
        }
        done_bytes += layer.size_bytes;
        reporter.advanced(Activity::VerifyImage, &image.name, done_bytes, Some(total_bytes));
    }
    problems
}

#[cfg(test)]
mod tests;
