//! What a store holds and no manifest of the project needs: found out, shown, and taken out.
//!
//! The plan is made without the lock, for the operator to look at; the run makes it again under the lock and refuses
//! what was not shown. Old archives are listed, and removed only on request.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::failpoint;
use crate::fs::sync_dir;
use crate::images::error::ImagesError;
use crate::images::pipes::blocking;
use crate::images::store::archives::{ArchiveFolder, OldArchive};
use crate::images::store::collect::{
    Removal, RemovedImage, name_of, remove_file, size_of, stale_records, unnamed_blobs,
};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{Layout, distinct};
use crate::images::store::lock::{StoreLock, unfinished};
use crate::images::store::owners::{Claim, NeededImages};
use crate::manifest::Reference;
use crate::report::{Activity, Message, Reporter};

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
                let message = Message::new("images-pruned")
                    .with("images", report.images.len())
                    .with("freed_bytes", report.freed_bytes);
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
    if let Some(layout) = &layout {
        removal = Removal::plan(layout, |entry| needed.claim(entry).is_none())?;
        report.images = removal.images.clone();
        for (digest, size_bytes) in unnamed_blobs(layout, &removal)? {
            report.blobs.push(PrunedBlob { digest: digest.to_string(), size_bytes });
            removal.blobs.insert(digest, size_bytes);
        }
        report.records = stale_records(layout)?.len() as u64;
        for entry in &layout.index.manifests {
            let projects = match needed.claim(entry) {
                Some(Claim::Projects(projects)) => projects,
                Some(Claim::Unnamed) => Vec::new(),
                Some(Claim::Manifest { .. }) | None => continue,
            };
            report.kept.push(KeptImage { reference: name_of(entry), projects });
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
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        report.archives.push(PrunedArchive { file, size_bytes, references, state, removed });
        if let (true, Ok(archive)) = (removed, read) {
            removed_archives.push(archive);
        }
    }
    let archive_bytes: u64 = report.archives.iter().filter(|file| file.removed).map(|file| file.size_bytes).sum();
    let leftover_bytes: u64 = leftovers.iter().map(|(_, bytes)| bytes).sum();
    report.freed_bytes = removal.blobs.values().sum::<u64>() + leftover_bytes + archive_bytes;
    Ok(PrunePlan { report, removal, leftovers, archives: removed_archives, folder: known })
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
            self.removal.carry_out(lock, layout, reporter)?;
        }
        for (path, _) in &self.leftovers {
            failpoint!("images.prune.before-leftover");
            remove_file(path)?;
        }
        for archive in &self.archives {
            if reporter.asked_to_stop() {
                return Err(ImagesError::Interrupted { done: 0, all: self.archives.len() });
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
        let Some(image) = name.parse::<Reference>().ok().and_then(|name| layout.image(&name).ok().flatten()) else {
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
