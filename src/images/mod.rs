//! Images: the store that keeps each layer once, and its two roads, engine → store and store → engine.
//!
//! The store is an OCI image layout that other programs read; old `docker save` archives beside it load too. Nothing
//! here prints: progress and notices are events, results are reports. Names and digests from files become parts of
//! paths only through [`crate::fs::Digest`] and [`crate::fs::escape`].

mod adopt;
mod archive;
mod blobs;
mod budget;
mod chunks;
mod compression;
mod deliver;
mod documents;
mod engine_prune;
mod error;
mod estimate;
mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gather;
mod gzip;
mod import;
mod layout;
mod list;
mod load;
mod load_plan;
mod naming;
mod needed;
mod old_archives;
mod platform;
mod presence;
mod prune;
mod removal;
mod remove;
mod reports;
#[cfg(test)]
mod sample_layers;
mod save;
mod save_archives;
mod save_plan;
mod save_progress;
mod send;
mod shipment;
mod sidecar;
mod sources;
mod space;
mod store;
mod store_lock;
mod tarball;
mod thin;
mod verify;

use std::collections::HashSet;

pub use adopt::rename;
pub use archive::ArchiveError;
pub use compression::Compression;
pub use documents::DocumentError;
pub use engine_prune::{
    EngineLeftover, EnginePruneOptions, EnginePruneReport, EngineRecords, KeptCause, KeptLeftover, LeftoverCause,
    engine_prune, plan_engine_prune,
};
pub use error::{BlobDamage, ImagesError, Shortfall};
pub use export::{ExportOptions, ExportReport, ExportTarget, ExportedImage, export, plan_export};
pub use import::{ImportOptions, ImportReport, ImportResult, ImportedImage, import, plan_import};
pub use layout::stored_names;
pub use list::{ImageList, ListedImage, list_images};
pub use load::{LoadOptions, load};
pub use load_plan::plan_load;
pub use naming::{KEPT_REPOSITORY, archive_name, kept_tag};
pub use needed::NeededImages;
pub use platform::{InvalidPlatform, NoPlatform, Platform};
pub use prune::{
    ArchivePruning, ArchiveState, KeptImage, PrunePlan, PruneReport, PrunedArchive, PrunedBlob, PrunedFile, plan_prune,
    prune,
};
pub use removal::RemovedImage;
pub use remove::{RemoveReport, StillNeeded, plan_remove, remove};
pub use reports::{
    LoadPlan, LoadReport, LoadResult, LoadedImage, PlannedLoad, PlannedLoadResult, PlannedSave, PlannedSaveResult,
    SavePlan, SaveReport, SaveResult, SavedImage,
};
pub use save::{SaveOptions, StoreFormat, save};
pub use save_plan::plan_save;
pub use space::{DiskPurpose, DiskSpace, DiskVerdict, SpaceCheck};
pub use store_lock::StoreHolder;
pub use tarball::TarError;
pub use verify::{StoreProblem, Thoroughness, VerifyReport, verify};

use crate::manifest::types::Reference;

/// Each image once, in order. A reference by digest alone is refused: no archive carries it.
fn unique(references: &[Reference]) -> Result<Vec<Reference>, ImagesError> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for reference in references {
        let Some(name) = naming::engine_name(reference) else {
            let digest = reference.digest().map(ToString::to_string).unwrap_or_default();
            return Err(ImagesError::NoTag { reference: reference.to_string(), digest });
        };
        if seen.insert(name) {
            kept.push(reference.clone());
        }
    }
    Ok(kept)
}
