//! What a machine lacks of a selection: a pure function of its inventory and of what this machine offers, whatever carries it
//! there.
//!
//! `offer` is the selection, `document` the plan as it is printed, `images` the part that knows layers, `space` what each disk has to hold.

mod document;
mod images;
mod offer;
mod space;

pub use document::{
    FileResult, ImageResult, PlannedBase, PlannedBlob, PlannedDelta, PlannedFile, PlannedImage, PlannedSeed, SpaceNeed,
    TransferPlan,
};
pub use offer::{DeltaBase, LayerDelta, LeftOutBecause, LeftOutFile, Offer, OfferedFile, OfferedSeed};

use crate::fs::Digest;
use crate::sites::inventory::Inventory;

/// How to plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Replace what was changed there.
    pub overwrite: bool,
    /// Bring layers to the store that only the engine there has.
    pub whole: bool,
}

/// What is to be sent to the machine of the inventory.
pub fn plan(inventory: &Inventory, offer: &Offer, options: PlanOptions) -> TransferPlan {
    let of_images = images::plan(inventory, offer, options.whole);
    let files: Vec<PlannedFile> = offer
        .files
        .iter()
        .map(|file| {
            let there = inventory.files.iter().find(|there| there.path == file.path);
            let (present, received) =
                there.map_or((None, None), |there| (there.digest.as_ref(), there.received.as_ref()));
            PlannedFile {
                path: file.path.clone(),
                purpose: file.purpose,
                result: becomes(&file.digest, present, received, options),
                bytes: file.bytes,
                replaces: present.cloned(),
                is_recorded: received == Some(&file.digest),
            }
        })
        .collect();
    let seeds: Vec<PlannedSeed> = offer
        .seeds
        .iter()
        .map(|seed| {
            let there = inventory.seeds.iter().find(|there| there.database == seed.database);
            let (present, received) =
                there.map_or((None, None), |there| (there.digest.as_ref(), there.received.as_ref()));
            PlannedSeed {
                database: seed.database.clone(),
                result: becomes(&seed.digest, present, received, options),
                bytes: seed.bytes,
                digest: seed.digest.clone(),
            }
        })
        .collect();
    TransferPlan::of(of_images, files, seeds, offer.left_out.clone(), inventory)
}

/// What becomes of a file or a seed: one that was changed there since the last transfer stays.
pub(in crate::sites) fn becomes(
    offered: &Digest,
    present: Option<&Digest>,
    received: Option<&Digest>,
    options: PlanOptions,
) -> FileResult {
    match present {
        None => FileResult::New,
        Some(present) if present == offered => FileResult::Unchanged,
        Some(present) if received == Some(present) || options.overwrite => FileResult::Replaced,
        Some(_) => FileResult::Kept,
    }
}

#[cfg(test)]
mod tests;
