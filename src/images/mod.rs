//! Images: the store that keeps each layer once; save (engine → store), load (store → engine), import and export.
//!
//! The store is an OCI image layout that other programs read; old `docker save` archives beside it load too. Nothing
//! here prints: progress and notices are events, results are reports. Names and digests from files become parts of
//! paths only through [`crate::fs::Digest`] and [`crate::fs::escape`].

mod disk_space;
mod engine_layers;
mod engine_prune;
mod error;
mod exchange;
#[cfg(test)]
mod foreign_stores;
mod formats;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod identity;
mod list;
mod load;
mod names;
mod pipes;
mod save;
mod stage;
mod store;
mod transfer;

/// Writing tar archives, and what each of their headers is.
pub mod archive {
    pub use super::formats::archive_writer::{ArchiveWriter, LayerEntry, LayerFailure};
    pub use super::formats::tar_reader::{BLOCK_BYTES, END_MARK, file_header, padding};
}

use std::collections::HashSet;

pub use disk_space::{DiskPurpose, DiskSpace, DiskVerdict, SpaceCheck, refused as refused_for_space};
pub use engine_layers::EngineLayers;
pub use engine_prune::{
    EngineLeftover, EnginePruneOptions, EnginePruneReport, EngineRecords, KeptCause, KeptLeftover, LeftoverCause,
    engine_prune, plan_engine_prune,
};
pub use error::{BlobDamage, ImagesError, Shortfall, as_told};
pub use exchange::export::{ExportOptions, ExportReport, ExportTarget, ExportedImage, export, plan_export};
pub use exchange::import::{
    ImportLeftOut, ImportOptions, ImportReport, ImportResult, ImportedImage, import, plan_import,
};
pub use exchange::parts::{part_path, replaced_part};
pub use formats::compression::{Compression, CompressionOptions};
pub use formats::documents::DocumentError;
pub use formats::image_archive::ArchiveError;
pub use formats::platform::{InvalidPlatform, NoPlatform, Platform, is_for_another_machine};
pub use formats::tar_reader::TarError;
pub use list::{ImageList, ListedArchive, ListedImage, OtherKind, list_images, unnamed_bytes};
pub use load::plan::plan_load;
pub use load::report::{LoadPlan, LoadReport, LoadResult, LoadedImage, PlannedLoad, PlannedLoadResult};
pub use load::tagging::rename;
pub use load::{LoadOptions, load};
pub use names::{KEPT_REPOSITORY, archive_name, engine_name, kept_tag};
pub use save::options::{SaveOptions, StoreFormat};
pub use save::plain_layers::export_plain_layers;
pub use save::plan::plan_save;
pub use save::report::{PlannedSave, PlannedSaveResult, SavePlan, SaveReport, SaveResult, SavedImage};
pub use save::save;
pub use store::collect::RemovedImage;
pub use store::layout::stored_names;
pub use store::lock::StoreHolder;
pub use store::owners::NeededImages;
pub use store::plain_layer::{PlainLayer, nameless_file};
pub use store::prune::{
    ArchivePruning, ArchiveState, KeptImage, PrunePlan, PruneReport, PrunedArchive, PrunedBlob, PrunedFile, plan_prune,
    prune,
};
pub use store::releases::{
    KeptFile, NeededBlob, is_release_name, read_release, release_file, release_names, release_signature,
    remove_release, write_release,
};
pub use store::remove::{RemoveReport, RemoveTargets, StillNeeded, plan_remove, remove};
pub use store::repair::{RepairReport, RepairedName, plan_repair, repair};
pub use store::verify::{ProblemKind, StoreProblem, Thoroughness, VerifyReport, verify};
pub use transfer::{
    ARRIVAL_DAYS, Adopted, Adoption, ContentImage, ContentLayer, IncomingBlob, LayerIntake, OutgoingBlob,
    OutgoingImage, OutgoingImages, OutgoingLayer, PART, StoreContents, adopt, blob_file, docker_manifest, has_arrived,
    incoming_folder, layout_documents, open_incoming, others_in_engine, outgoing_images, plain_layer, read_layer,
    recompress, store_contents, store_layers, sweep_arrivals,
};

use serde::Serialize;

use crate::fs::Digest;
use crate::manifest::Reference;
use crate::report::Reporter;

/// Each image once, in order. A reference by digest alone is refused: no archive carries it.
fn unique(references: &[Reference]) -> Result<Vec<Reference>, ImagesError> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for reference in references {
        let Some(name) = names::engine_name(reference) else {
            let digest = reference.digest().map(ToString::to_string).unwrap_or_default();
            return Err(ImagesError::NoTag { reference: reference.to_string(), digest });
        };
        if seen.insert(name) {
            kept.push(reference.clone());
        }
    }
    Ok(kept)
}

/// Says what is going to be done with these images, by its digest.
fn announce_plan<T: Serialize>(images: &[T], reporter: &Reporter) {
    if let Ok(digest) = Digest::of_json(&images) {
        reporter.settled(digest);
    }
}
