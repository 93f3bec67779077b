//! What a store holds and no manifest of the project needs: found out, shown, and taken out.
//!
//! The plan is made without the lock, for the operator to look at; the run makes it again under the lock and refuses
//! what was not shown. Old archives are listed, and removed only on request.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::failpoint;
use crate::fs::{Digest, sync_dir};
use crate::images::error::ImagesError;
use crate::images::formats::documents::Descriptor;
use crate::images::pipes::blocking;
use crate::images::store::archives::{ArchiveFolder, OldArchive};
use crate::images::store::collect::{
    Removal, RemovedImage, manifests_among, reached_as_far_as_it_goes, remove_file, size_of, stale_records,
    unnamed_blobs,
};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{Layout, OWN_FOLDER, distinct, open_regular};
use crate::images::store::lock::{StoreLock, unfinished};
use crate::images::store::name_records::{NameRecord, forget_names, has_records, lost_names};
use crate::images::store::owners::{Claim, NeededImages};
use crate::images::store::writer::{LAYERS, known_records};
use crate::manifest::Reference;
use crate::report::{Activity, Reporter};

/// What to do with old archives that are not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchivePruning {
    /// They are listed.
    Keep,
    Remove,
}

/// What `dpl images prune` prints: what would be removed, or was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct PruneReport {
    /// The store's folder.
    pub store: String,
    /// Whether it has been done; false for what `--dry-run` shows.
    pub done: bool,
    /// Images that no manifest names.
    pub images: Vec<RemovedImage>,
    /// Blobs that no image names, such as those of interrupted saves.
    pub blobs: Vec<PrunedBlob>,
    /// What interrupted writers left unfinished.
    pub leftovers: Vec<PrunedFile>,
    /// Notes in the store's own folder on layers that it does not have.
    pub records: u64,
    /// Old archives beside the store.
    pub archives: Vec<PrunedArchive>,
    /// Images that no manifest of the project names and that stay all the same.
    pub kept: Vec<KeptImage>,
    /// What other programs keep there besides images for this machine: charts, signatures. It stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// References that a manifest needs and that the index does not name any more: their images are still there, so that
    /// `dpl images repair` can put the names back. What belongs to them stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// References that a manifest needs and that a store without records of its names does not name. Manifests that
    /// nothing names may be theirs, and stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Blobs that another program may be writing just now: they are younger than an hour, and stay.
    #[serde(default)]
    pub young: u64,
    /// Bytes that all of it frees.
    pub freed_bytes: u64,
}

/// A blob that no image names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct PrunedBlob {
    pub digest: String,
    pub size_bytes: u64,
}

/// A file that an interrupted writer left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PrunedFile {
    pub path: String,
    pub size_bytes: u64,
}

/// An old archive in the store's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PrunedArchive {
    pub file: String,
    pub size_bytes: u64,
    /// The images in it.
    pub references: Vec<String>,
    pub state: ArchiveState,
    /// Whether it is removed: only with `--archives`, and only one that is not needed.
    pub removed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveState {
    /// No manifest names any of its images.
    Unneeded,
    /// The store has the same images.
    InStore,
    /// A manifest names one of its images, and the store does not have that very one.
    Needed,
    /// It can't be read, or its images have no names: nobody knows.
    Unknown,
}

/// An image that stays although no manifest of the project names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeptImage {
    pub reference: String,
    /// The other projects that it was saved for; none for an entry without a name.
    pub projects: Vec<String>,
}

/// What a prune would remove; shown, then carried out.
pub struct PrunePlan {
    pub report: PruneReport,
    removal: Removal,
    /// Names that the index lost and nobody needs.
    forgotten: Vec<String>,
    leftovers: Vec<(PathBuf, u64)>,
    archives: Vec<OldArchive>,
    /// What is known of the old archives by now: to read a compressed one takes seconds.
    folder: ArchiveFolder,
}

/// Looks for what is not needed; changes nothing. A folder without a store and without archives has nothing.
///
/// # Errors
/// A store that can't be read, and an image that stays and can't be read: what it needs is not guessed.
pub async fn plan_prune(
    images_dir: &Path,
    needed: &NeededImages,
    archives: ArchivePruning,
) -> Result<PrunePlan, ImagesError> {
    let (folder, needed) = (images_dir.to_owned(), needed.clone());
    blocking(move || plan(&folder, &needed, archives, ArchiveFolder::open(&folder)?)).await
}

/// Removes what was shown, under the store's lock.
///
/// # Errors
/// Somebody else writes to the store; something would go now that was not shown.
pub async fn prune(
    images_dir: &Path,
    needed: &NeededImages,
    archives: ArchivePruning,
    shown: &PrunePlan,
    reporter: &Reporter,
) -> Result<PruneReport, ImagesError> {
    let (folder, needed, reporter) = (images_dir.to_owned(), needed.clone(), reporter.clone());
    let (known, shown) = (shown.folder.list_again()?, shown.report.clone());
    blocking(move || {
        if !folder.is_dir() {
            return Ok(PruneReport { done: true, ..shown });
        }
        let lock = StoreLock::take(&folder)?;
        let plan = plan(&folder, &needed, archives, known)?;
        plan.must_be_within(&shown)?;
        let subject = folder.display().to_string();
        reporter.began(Activity::PruneImages, &subject, Some(plan.report.freed_bytes));
        match plan.carry_out(&lock, &folder, &reporter) {
            Ok(report) => {
                let message = message!("images-pruned", images = report.images.len(), freed_bytes = report.freed_bytes);
                reporter.done(Activity::PruneImages, &subject, message);
                Ok(report)
            }
            Err(error) => {
                reporter.failed(Activity::PruneImages, &subject, &error);
                Err(error)
            }
        }
    })
    .await
}

fn plan(
    folder: &Path,
    needed: &NeededImages,
    archives: ArchivePruning,
    mut known: ArchiveFolder,
) -> Result<PrunePlan, ImagesError> {
    let mut report = PruneReport { store: folder.display().to_string(), ..PruneReport::default() };
    let layout = Layout::open(folder)?;
    let mut removal = Removal::default();
    let mut forgotten = Vec::new();
    if let Some(layout) = &layout {
        let (lost, unneeded): (Vec<NameRecord>, Vec<NameRecord>) = lost_names(layout)?
            .into_iter()
            .partition(|record| needed.claim(&record.entry, Some(&record.name)).is_some());
        forgotten = unneeded.into_iter().map(|record| record.name).collect();
        report.lost = lost.iter().map(|record| record.name.clone()).collect();
        let recorded: Vec<Descriptor> = lost.into_iter().map(|record| record.entry).collect();
        removal = Removal::plan(layout, &recorded, |entry, name| {
            needed.claim(entry, name).is_none() && !is_other_kind(layout, entry)
        })?;
        report.images = removal.images.clone();
        let mut unnamed = unnamed_blobs(layout, &recorded, &removal)?;
        let young = young_layers(layout, &unnamed)?;
        report.young = young.len() as u64;
        unnamed.retain(|digest, _| !young.contains(digest));
        if !has_records(folder) {
            let named: HashSet<String> = layout.named_entries().filter_map(|(_, name)| name).collect();
            report.missing = needed.names().filter(|name| !named.contains(*name)).map(str::to_owned).collect();
            let manifests = manifests_among(layout, &unnamed);
            if !report.missing.is_empty() && !manifests.is_empty() {
                let theirs = reached_as_far_as_it_goes(layout, &manifests);
                unnamed.retain(|digest, _| !theirs.contains(digest));
                removal.blobs.retain(|digest, _| !theirs.contains(digest));
            } else {
                report.missing.clear();
            }
        }
        for (digest, size_bytes) in unnamed {
            report.blobs.push(PrunedBlob { digest: digest.to_string(), size_bytes });
            removal.blobs.insert(digest, size_bytes);
        }
        report.records = stale_records(layout)?.len() as u64;
        for (entry, name) in layout.named_entries() {
            let projects = match needed.claim(entry, name.as_deref()) {
                Some(Claim::Projects(projects)) => projects,
                Some(Claim::Unnamed) => Vec::new(),
                None if is_other_kind(layout, entry) => {
                    report.others.push(name.unwrap_or_else(|| entry.shown_name()));
                    continue;
                }
                Some(Claim::Manifest { .. }) | None => continue,
            };
            report.kept.push(KeptImage { reference: entry.shown_name(), projects });
        }
    }
    let leftovers = unfinished(folder)?;
    for (path, size_bytes) in &leftovers {
        report.leftovers.push(PrunedFile { path: path.display().to_string(), size_bytes: *size_bytes });
    }
    let mut removed_archives = Vec::new();
    for (path, read) in known.read_all() {
        let size_bytes = size_of(&path)?.unwrap_or_default();
        let (references, state) = match &read {
            Ok(archive) => (archive.references(), state_of(archive, layout.as_ref(), needed)),
            Err(_) => (Vec::new(), ArchiveState::Unknown),
        };
        let goes = matches!(state, ArchiveState::Unneeded | ArchiveState::InStore);
        let removed = goes && archives == ArchivePruning::Remove;
        let file = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        report.archives.push(PrunedArchive { file, size_bytes, references, state, removed });
        if let (true, Ok(archive)) = (removed, read) {
            removed_archives.push(archive);
        }
    }
    let archive_bytes: u64 = report.archives.iter().filter(|file| file.removed).map(|file| file.size_bytes).sum();
    let leftover_bytes: u64 = leftovers.iter().map(|(_, bytes)| bytes).sum();
    report.freed_bytes = removal.blobs.values().sum::<u64>() + leftover_bytes + archive_bytes;
    Ok(PrunePlan { report, removal, forgotten, leftovers, archives: removed_archives, folder: known })
}

/// How long a layer that nothing names is left alone when it is not `dpl` that wrote it.
const YOUNG: Duration = Duration::from_secs(3600);

/// Layers that another program may be about to name: skopeo and others write the index last, and know nothing of our lock.
/// What `dpl` wrote is known by its records: nobody is writing such while the lock is free.
fn young_layers(layout: &Layout, unnamed: &BTreeMap<Digest, u64>) -> Result<HashSet<Digest>, ImagesError> {
    let records = layout.folder().join(OWN_FOLDER).join(LAYERS);
    let records = known_records(&records).map_err(|source| ImagesError::file("list", &records, source))?;
    let ours: HashSet<Digest> = records.into_iter().filter_map(|(_, layer)| Some(layer?.blob)).collect();
    let is_young = |digest: &&Digest| {
        let path = layout.blob_path(digest);
        let age = std::fs::metadata(&path).and_then(|blob| blob.modified()).ok().and_then(|time| time.elapsed().ok());
        let mut first = [0];
        let is_document = open_regular(&path).and_then(|mut blob| blob.read(&mut first)).is_ok() && first == *b"{";
        !ours.contains(*digest) && !is_document && age.is_some_and(|age| age < YOUNG)
    };
    Ok(unnamed.keys().filter(is_young).cloned().collect())
}

/// Whether it is something that another program put there and no manifest could name: a chart, a signature, an image
/// for other platforms.
fn is_other_kind(layout: &Layout, entry: &Descriptor) -> bool {
    matches!(layout.read_image(entry), Err(ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. }))
}

/// Whether an archive is needed besides the store.
fn state_of(archive: &OldArchive, layout: Option<&Layout>, needed: &NeededImages) -> ArchiveState {
    let references = archive.references();
    if references.is_empty() {
        return ArchiveState::Unknown;
    }
    let mut wanted = references.iter().filter(|name| needed.users(name).is_some()).peekable();
    if wanted.peek().is_none() {
        return ArchiveState::Unneeded;
    }
    let is_stored = |name: &String| {
        let reference: Option<Reference> = name.parse().ok();
        let stored = layout.zip(reference).and_then(|(layout, reference)| {
            let image = layout.image(&reference).ok()??;
            layout.missing_blob(&image).is_none().then_some(image.config_digest)
        });
        stored.is_some() && archive.image(name).map(|image| &image.config_digest) == stored.as_ref()
    };
    if wanted.all(is_stored) { ArchiveState::InStore } else { ArchiveState::Needed }
}

impl PrunePlan {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        let report = &self.report;
        report.images.is_empty()
            && self.removal.blobs.is_empty()
            && report.leftovers.is_empty()
            && report.records == 0
            && self.archives.is_empty()
    }

    /// What goes must have been shown; less is fine.
    fn must_be_within(&self, shown: &PruneReport) -> Result<(), ImagesError> {
        let changed = |what: String| Err(ImagesError::PlanChanged { what });
        for image in &self.report.images {
            let same = |other: &&RemovedImage| other.reference == image.reference && other.image_id == image.image_id;
            if !shown.images.iter().any(|other| same(&other)) {
                return changed(format!("{} would go now", image.reference));
            }
        }
        let known: BTreeSet<&PrunedBlob> = shown.blobs.iter().collect();
        if let Some(blob) = self.report.blobs.iter().find(|blob| !known.contains(blob)) {
            return changed(format!("the blob {} would go now", blob.digest));
        }
        for archive in self.report.archives.iter().filter(|archive| archive.removed) {
            if !shown.archives.contains(archive) {
                return changed(format!("the archive {} would go now", archive.file));
            }
        }
        Ok(())
    }

    fn carry_out(self, lock: &StoreLock, folder: &Path, reporter: &Reporter) -> Result<PruneReport, ImagesError> {
        let layout = Layout::open(folder)?;
        if let Some(layout) = &layout {
            // An archive goes only when what takes its place has been read through.
            for archive in self.archives.iter() {
                verify_replacements(archive, layout)?;
            }
            forget_names(folder, self.forgotten.iter().map(String::as_str))?;
            self.removal.carry_out(lock, layout, reporter)?;
        }
        for (path, _) in &self.leftovers {
            failpoint!("images.prune.before-leftover");
            remove_file(path)?;
        }
        for archive in &self.archives {
            if reporter.asked_to_stop() {
                return Err(ImagesError::Stopped);
            }
            failpoint!("images.prune.before-archive");
            remove_file(&archive.path)?;
        }
        self.folder.list_again()?.remember();
        sync_dir(folder).map_err(|source| ImagesError::file("sync", folder, source))?;
        Ok(PruneReport { done: true, ..self.report })
    }
}

/// Reads the layers of the images in the store that an archive has too.
fn verify_replacements(archive: &OldArchive, layout: &Layout) -> Result<(), ImagesError> {
    for name in archive.references() {
        let Ok(reference) = name.parse::<Reference>() else {
            continue;
        };
        // An image that can't be read takes the place of nothing.
        let Some(image) = layout.image(&reference)? else {
            continue;
        };
        if archive.image(&name).is_some_and(|other| other.config_digest == image.config_digest) {
            for layer in distinct(&image.layers) {
                measure(layout, layer, &name)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
