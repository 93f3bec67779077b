//! What is sent to a site: files, where they belong there, and what is made of them.

use std::path::{Path, PathBuf};

use crate::fs::Digest;
use crate::images::{OutgoingImage, blob_file};
use crate::sites::offer::Sources;
use crate::sites::plan::{FileResult, ImageResult, Offer, TransferPlan};
use crate::sites::protocol::{ProjectFile, ProjectPlace, Target};

/// All that is sent.
#[derive(Debug, Clone)]
pub struct SendOrder {
    pub(super) project: ProjectPlace,
    /// Who sends.
    pub(super) desk: String,
    /// The most bytes a second.
    pub(super) limit: Option<u64>,
    /// Files of the project, in the order in which they are put in place. The site is told of those, too, that it has: it
    /// remembers that a transfer would have brought them.
    pub(super) project_files: Vec<SendFile>,
    /// Blobs, and files of seeds.
    pub(super) content: Vec<SendFile>,
    /// Images that get their names.
    pub(super) images: Vec<OutgoingImage>,
    /// Seeds that are put in place: database and digest.
    pub(super) seeds: Vec<(String, Digest)>,
    store: Option<PathBuf>,
}

/// A file that is sent.
#[derive(Debug, Clone)]
pub(super) struct SendFile {
    pub target: Target,
    pub digest: Digest,
    pub bytes: u64,
    pub source: PathBuf,
    /// What people call it.
    pub subject: String,
    /// Whether the site is not expected to have it.
    pub is_missing: bool,
}

/// Who sends what, and how.
#[derive(Debug, Clone)]
pub struct Sender {
    pub project: ProjectPlace,
    pub desk: String,
    pub limit: Option<u64>,
}

impl SendOrder {
    /// What a plan says of an offer.
    pub fn of(plan: &TransferPlan, offer: &Offer, sources: &Sources, sender: Sender) -> Self {
        let mut order = Self {
            project: sender.project,
            desk: sender.desk,
            limit: sender.limit,
            project_files: Vec::new(),
            content: Vec::new(),
            images: Vec::new(),
            seeds: Vec::new(),
            store: sources.store.clone(),
        };
        let told = |file: &&crate::sites::plan::PlannedFile| file.result != FileResult::Kept;
        for planned in plan.files.iter().filter(told) {
            let offered = offer.files.iter().find(|offered| offered.path == planned.path);
            let (Some(offered), Some(source)) = (offered, sources.files.get(&planned.path)) else { continue };
            order.project_files.push(SendFile {
                target: Target::Project(ProjectFile {
                    path: planned.path.clone(),
                    private: offered.private,
                    executable: offered.executable,
                    replaces: planned.replaces.clone(),
                }),
                digest: offered.digest.clone(),
                bytes: offered.bytes,
                source: source.clone(),
                subject: planned.path.clone(),
                is_missing: planned.result.is_sent(),
            });
        }
        if let Some(store) = &sources.store {
            let blobs = plan.blobs.iter().map(|blob| blob_of(store, &blob.digest, blob.bytes, &blob.reference));
            order.content.extend(blobs);
        }
        for seed in plan.seeds.iter().filter(|seed| seed.result.is_sent()) {
            let Some(source) = sources.seeds.get(&seed.database) else { continue };
            order.content.extend(source.files.iter().map(|file| SendFile {
                target: Target::Seeds {
                    database: seed.database.clone(),
                    seed: seed.digest.clone(),
                    path: file.path.clone(),
                },
                digest: file.digest.clone(),
                bytes: file.bytes,
                source: if file.path.is_empty() { source.path.clone() } else { source.path.join(&file.path) },
                subject: format!("{} {}", seed.database, file.path).trim_end().to_owned(),
                is_missing: true,
            }));
            order.seeds.push((seed.database.clone(), seed.digest.clone()));
        }
        let sent = plan.images.iter().filter(|image| image.result == ImageResult::Sent);
        let offered = |reference: &str| offer.images.iter().find(|image| image.reference == reference).cloned();
        order.images = sent.filter_map(|image| offered(&image.reference)).collect();
        order
    }

    /// A blob of one of the images.
    pub(super) fn blob(&self, digest: &Digest) -> Option<SendFile> {
        let store = self.store.as_ref()?;
        self.images.iter().find_map(|image| {
            let documents = [&image.config, &image.manifest].map(|document| (&document.digest, document.bytes));
            let layers = image.layers.iter().map(|layer| (&layer.blob, layer.bytes));
            let (_, bytes) = documents.into_iter().chain(layers).find(|(known, _)| *known == digest)?;
            Some(blob_of(store, digest, bytes, &image.reference))
        })
    }
}

fn blob_of(store: &Path, digest: &Digest, bytes: u64, reference: &str) -> SendFile {
    SendFile {
        target: Target::Images,
        digest: digest.clone(),
        bytes,
        source: blob_file(store, digest),
        subject: format!("{reference} {}", digest.short()),
        is_missing: true,
    }
}
