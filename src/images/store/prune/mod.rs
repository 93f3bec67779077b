//! What a store holds and no manifest of the project needs: found out, shown, and taken out.
//!
//! The plan is made without the lock, for the operator to look at; the run makes it again under the lock and refuses
//! what was not shown. Old archives are listed, and removed only on request.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use crate::failpoint;
use crate::fs::{Digest, sync_dir};
use crate::images::error::ImagesError;
use crate::images::formats::documents::{Descriptor, foreign_name};
use crate::images::pipes::blocking;
use crate::images::store::archives::{ArchiveFolder, OldArchive};
use crate::images::store::collect::{
    Removal, RemovedImage, manifests_among, reached_as_far_as_it_goes, remove_file, size_of, stale_records,
    unnamed_blobs,
};
use crate::images::store::layer_check::measure;
use crate::images::store::layout::{Layout, distinct};
use crate::images::store::lock::{StoreLock, unfinished};
use crate::images::store::name_records::{
    NameRecord, damaged_records, forget_names, lost_names, newer_records, record_of,
};
use crate::images::store::owners::{Claim, NeededImages};
use crate::images::store::released::released;
use crate::images::store::releases::needed_by_releases;
use crate::images::store::repair::rebuilt_marks;
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
    /// What a repair set aside of an index, where all that it can have named has a name again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<PrunedFile>,
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
    /// References that a manifest needs and that neither the index nor a record of the store names. Manifests that
    /// nothing names may be theirs, and stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// References of which the store has a record that is newer than the index. The images of both stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newer: Vec<String>,
    /// Files of the store because of which nobody knows all the names that it had: records that are damaged, and an index
    /// that was rebuilt. Manifests that nothing names stay while they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsure: Vec<String>,
    /// Blobs that came within the last hour and that no image names: another program may be writing them, and they stay.
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

/// A file of the store that nobody needs any more.
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
    /// A manifest names one of its images, and the store does not have that very one, or not for all platforms.
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
    /// When it was looked: what was too young to go then is so when it is carried out.
    now: SystemTime,
}

/// Looks for what is not needed; changes nothing. A folder without a store and without archives has nothing.
///
/// # Errors
/// A store that can't be read, and an image that stays and can't be read: what it needs is not guessed.
pub async fn plan_prune(
    images_dir: &Path,
    needed: &NeededImages,
    archives: ArchivePruning,
    reporter: &Reporter,
) -> Result<PrunePlan, ImagesError> {
    plan_prune_at(images_dir, needed, archives, reporter, SystemTime::now()).await
}

/// As [`plan_prune`], as if it were `now`.
pub(in crate::images) async fn plan_prune_at(
    images_dir: &Path,
    needed: &NeededImages,
    archives: ArchivePruning,
    reporter: &Reporter,
    now: SystemTime,
) -> Result<PrunePlan, ImagesError> {
    let (folder, needed, reporter) = (images_dir.to_owned(), needed.clone(), reporter.clone());
    blocking(move || {
        let known = ArchiveFolder::open(&folder)?.with_reporter(&reporter);
        plan(&folder, &needed, archives, known, now)
    })
    .await
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
    let (known, now) = (shown.folder.list_again()?.with_reporter(&reporter), shown.now);
    let shown = shown.report.clone();
    blocking(move || {
        if !folder.is_dir() {
            return Ok(PruneReport { done: true, ..shown });
        }
        let lock = StoreLock::take(&folder)?;
        let plan = plan(&folder, &needed, archives, known, now)?;
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
    now: SystemTime,
) -> Result<PrunePlan, ImagesError> {
    let mut report = PruneReport { store: folder.display().to_string(), ..PruneReport::default() };
    let layout = Layout::open(folder)?;
    let mut removal = Removal::default();
    let mut forgotten = Vec::new();
    let mut set_aside = Vec::new();
    let read_archives = known.read_all();
    if let Some(layout) = &layout {
        let (lost, unneeded): (Vec<NameRecord>, Vec<NameRecord>) = lost_names(layout)?
            .into_iter()
            .partition(|record| needed.claim(&record.entry, Some(&record.name)).is_some());
        report.lost = lost.iter().map(|record| record.name.clone()).collect();
        let mut recorded: Vec<Descriptor> = lost.into_iter().map(|record| record.entry).collect();
        recorded.extend(needed_by_releases(folder)?);
        for record in newer_records(layout) {
            report.newer.push(record.name);
            recorded.push(record.entry);
        }
        removal = Removal::plan(layout, &recorded, |entry, name| {
            needed.claim(entry, name).is_none() && !is_other_kind(layout, entry)
        })?;
        let mut unnamed = unnamed_blobs(layout, &recorded, &removal)?;
        let archived = read_archives.iter().flat_map(|(_, read)| read.iter().flat_map(OldArchive::references));
        let archived: HashSet<String> = archived.collect();
        // One that can't be read may have the image that it is named after.
        let is_named_after = |name: &str| name.parse().is_ok_and(|name: Reference| known.has_named(&name));
        let missing = missing(layout, needed, |name| archived.contains(name) || is_named_after(name));
        set_aside = no_longer_unsure(layout, &unnamed, &unneeded, &missing)?;
        let mut kept = young(layout, &unnamed, now);
        report.young = unnamed.keys().filter(|digest| kept.contains(*digest)).count() as u64;
        unnamed.retain(|digest, _| !kept.contains(digest));
        let orphans = orphans(layout, &unnamed, &unneeded);
        if !orphans.is_empty() {
            report.unsure = unsure(layout)?;
            report.missing = missing;
            if !report.unsure.is_empty() || !report.missing.is_empty() {
                kept.extend(reached_as_far_as_it_goes(layout, &orphans));
            }
        }
        unnamed.retain(|digest, _| !kept.contains(digest));
        removal.keep(&kept);
        // The record of what is still coming stays with it.
        let goes = unneeded.into_iter().filter(|record| !kept.contains(&record.entry.digest));
        forgotten = goes.map(|record| record.name).collect();
        report.images = removal.images.clone();
        for (digest, size_bytes) in unnamed {
            report.blobs.push(PrunedBlob { digest: digest.to_string(), size_bytes });
            removal.blobs.insert(digest, size_bytes);
        }
        report.records = stale_records(layout)?.len() as u64;
        for (entry, name) in layout.named_entries() {
            let (reference, projects) = match needed.claim(entry, name.as_deref()) {
                Some(Claim::Projects(projects)) => (entry.shown_name(), projects),
                // A tag alone, or a name that another image has now, is nothing that `images remove` takes.
                Some(Claim::Unnamed) => (entry.digest.short().to_owned(), Vec::new()),
                None if is_other_kind(layout, entry) => {
                    report.others.push(name.unwrap_or_else(|| entry.shown_name()));
                    continue;
                }
                Some(Claim::Manifest { .. }) | None => continue,
            };
            report.kept.push(KeptImage { reference, projects });
        }
        report.others.extend(layout.index.foreign.iter().map(foreign_name));
    }
    let leftovers = unfinished(folder)?;
    for (path, size_bytes) in &leftovers {
        report.leftovers.push(PrunedFile { path: path.display().to_string(), size_bytes: *size_bytes });
    }
    for (path, size_bytes) in &set_aside {
        report.set_aside.push(PrunedFile { path: path.display().to_string(), size_bytes: *size_bytes });
    }
    let leftovers = [leftovers, set_aside].concat();
    let mut removed_archives = Vec::new();
    for (path, read) in read_archives {
        let size_bytes = size_of(&path)?.unwrap_or_default();
        let (references, state) = match &read {
            Err(ImagesError::Interrupted { .. }) => return Err(ImagesError::Stopped),
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
    // The one that removes has a reporter of its own.
    let folder = known.with_reporter(&Reporter::default());
    let archive_bytes: u64 = report.archives.iter().filter(|file| file.removed).map(|file| file.size_bytes).sum();
    let leftover_bytes: u64 = leftovers.iter().map(|(_, bytes)| bytes).sum();
    report.freed_bytes = removal.blobs.values().sum::<u64>() + leftover_bytes + archive_bytes;
    Ok(PrunePlan { report, removal, forgotten, leftovers, archives: removed_archives, folder, now })
}

/// How long a blob that nothing names is left alone.
const YOUNG: Duration = Duration::from_secs(3600);

/// Blobs that another program may be about to name, with all that documents among them lead to: skopeo, rsync and
/// others write the index last, and know nothing of our lock. What `dpl` itself took out of the index is no such blob.
/// What an interrupted save left is not told from what comes with a copy of a store, and waits as that does.
fn young(layout: &Layout, unnamed: &BTreeMap<Digest, u64>, now: SystemTime) -> HashSet<Digest> {
    let released = released(layout);
    let is_young = |digest: &Digest| {
        let blob = std::fs::symlink_metadata(layout.blob_path(digest));
        !released.contains(digest) && blob.is_ok_and(|blob| came_within_the_hour(&blob, now))
    };
    let young = unnamed.iter().filter(|(digest, _)| is_young(digest));
    let young: Vec<Descriptor> = young.map(|(digest, size)| Descriptor::new("", digest.clone(), *size)).collect();
    reached_as_far_as_it_goes(layout, &young)
}

/// A copy may keep the time of the content; when the file itself was last changed, it can't. A time that is still to come
/// is that of a clock that is wrong, and says nothing of how old the file is.
fn came_within_the_hour(file: &Metadata, now: SystemTime) -> bool {
    let seconds = u64::try_from(file.ctime()).unwrap_or_default();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let came = file.modified().map_or(changed, |modified| modified.max(changed));
    now.duration_since(came).map_or(true, |age| age < YOUNG)
}

/// Manifests that nothing names, that `dpl` did not take out of the index itself, and of which no record tells: some name
/// may have been theirs.
fn orphans(layout: &Layout, unnamed: &BTreeMap<Digest, u64>, recorded: &[NameRecord]) -> Vec<Descriptor> {
    let released = released(layout);
    let is_known =
        |digest: &Digest| released.contains(digest) || recorded.iter().any(|record| record.entry.digest == *digest);
    manifests_among(layout, unnamed.iter().filter(|(digest, _)| !is_known(digest)))
}

/// Files because of which nobody knows all the names that the store had.
fn unsure(layout: &Layout) -> Result<Vec<String>, ImagesError> {
    let lost = damaged_records(layout)?.into_iter().filter(|record| !record.is_named).map(|record| record.path);
    Ok(lost.chain(rebuilt_marks(layout.folder())?).map(|path| path.display().to_string()).collect())
}

/// What a repair set aside of an index and is of no use any more: no manifest in the store is without a name, young ones
/// neither, and no manifest of the project needs a name that is nowhere.
fn no_longer_unsure(
    layout: &Layout,
    unnamed: &BTreeMap<Digest, u64>,
    unneeded: &[NameRecord],
    missing: &[String],
) -> Result<Vec<(PathBuf, u64)>, ImagesError> {
    let marks = rebuilt_marks(layout.folder())?;
    if marks.is_empty() || !missing.is_empty() || !orphans(layout, unnamed, unneeded).is_empty() {
        return Ok(Vec::new());
    }
    let with_size = |path: PathBuf| {
        let size_bytes = size_of(&path)?.unwrap_or_default();
        Ok::<_, ImagesError>((path, size_bytes))
    };
    marks.into_iter().map(with_size).collect()
}

/// References that a manifest needs and that are found nowhere: not in the index, not in a record, not in an archive.
fn missing(layout: &Layout, needed: &NeededImages, is_archived: impl Fn(&str) -> bool) -> Vec<String> {
    let named: HashSet<String> = layout.named_entries().filter_map(|(_, name)| name).collect();
    let is_recorded = |name: &str| record_of(layout.folder(), name).is_some();
    let missing = needed.names().filter(|name| !named.contains(*name) && !is_recorded(name) && !is_archived(name));
    missing.map(str::to_owned).collect()
}

/// Whether it is something that another program put there and no manifest could name: a chart, a signature, an image
/// for other platforms.
fn is_other_kind(layout: &Layout, entry: &Descriptor) -> bool {
    matches!(layout.read_image(entry), Err(ImagesError::OtherKind { .. } | ImagesError::NoPlatform { .. }))
}

/// Whether an archive is needed besides the store.
fn state_of(archive: &OldArchive, layout: Option<&Layout>, needed: &NeededImages) -> ArchiveState {
    let references = archive.references();
    // What an image that is not whole would have been needed for, nobody knows.
    if references.is_empty() || !archive.damaged.is_empty() {
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
    // The store has one image of each name, and somebody with another machine may want another one.
    match !archive.has_other_platforms && wanted.all(is_stored) {
        true => ArchiveState::InStore,
        false => ArchiveState::Needed,
    }
}

impl PrunePlan {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        let report = &self.report;
        report.images.is_empty()
            && self.removal.blobs.is_empty()
            && report.leftovers.is_empty()
            && report.set_aside.is_empty()
            && report.records == 0
            && self.archives.is_empty()
    }

    /// What goes must have been shown; less is fine.
    fn must_be_within(&self, shown: &PruneReport) -> Result<(), ImagesError> {
        let changed = |what: Message| Err(ImagesError::PlanChanged { what });
        for image in &self.report.images {
            let same = |other: &&RemovedImage| other.reference == image.reference && other.image_id == image.image_id;
            if !shown.images.iter().any(|other| same(&other)) {
                return changed(message!("changed-image-goes", image = image.reference));
            }
        }
        let known: BTreeSet<&PrunedBlob> = shown.blobs.iter().collect();
        if let Some(blob) = self.report.blobs.iter().find(|blob| !known.contains(blob)) {
            return changed(message!("changed-blob-goes", digest = blob.digest));
        }
        if let Some(file) = self.report.set_aside.iter().find(|file| !shown.set_aside.contains(file)) {
            return changed(message!("changed-file-goes", file = file.path));
        }
        for archive in self.report.archives.iter().filter(|archive| archive.removed) {
            if !shown.archives.contains(archive) {
                return changed(message!("changed-archive-goes", file = archive.file));
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
        sync_dir(folder).map_err(|source| ImagesError::file(message!("verb-sync"), folder, source))?;
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
