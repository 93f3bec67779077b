//! Which layers may go as deltas, and of what: layers that the machines have, and this one too.
//!
//! A layer is held against those layers of its image's earlier version that the new images do not have any more: what was a layer of
//! Python packages becomes one of Python packages. Where no version of the image is known, all layers are candidates that the
//! machines have and the new images have not.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::goals::Held;
use super::{Lacking, PackGoal, PackInput};
use crate::fs::Digest;
use crate::images::{OutgoingLayer, blob_file, store_layers};
use crate::manifest::Reference;
use crate::packages::PackagesError;
use crate::packages::list_releases;

/// A layer that may go as a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaCandidate {
    pub layer: OutgoingLayer,
    /// The first image that has it.
    pub reference: String,
    /// What it may be made of, the lowest layer first.
    pub bases: Vec<OutgoingLayer>,
}

/// The layers of a package for these machines that may go as deltas. Blocking.
///
/// # Errors
/// The store can't be read.
pub fn delta_candidates(
    input: &PackInput,
    goals: &[PackGoal],
    whole: bool,
) -> Result<Vec<DeltaCandidate>, PackagesError> {
    let Some(store) = &input.store else { return Ok(Vec::new()) };
    let here = layers_here(store, &input.architecture)?;
    Ok(candidates(input, goals, whole, &here))
}

/// The layers that the store has for its images or for a release.
fn layers_here(store: &Path, architecture: &str) -> Result<HashMap<Digest, OutgoingLayer>, PackagesError> {
    let mut here = store_layers(store, architecture)?;
    // One that can't be read is the business of those who want it.
    let releases = list_releases(store).unwrap_or_default();
    for layer in releases.iter().flat_map(|release| &release.images).flat_map(|image| &image.layers) {
        let is_there = || std::fs::metadata(blob_file(store, &layer.blob)).is_ok_and(|blob| blob.len() == layer.bytes);
        if !here.contains_key(&layer.diff_id) && is_there() {
            here.insert(layer.diff_id.clone(), layer.clone());
        }
    }
    Ok(here)
}

pub(super) fn candidates(
    input: &PackInput,
    goals: &[PackGoal],
    whole: bool,
    here: &HashMap<Digest, OutgoingLayer>,
) -> Vec<DeltaCandidate> {
    let offer = input.offer();
    let machines: Vec<(Lacking, Held)> =
        goals.iter().map(|goal| (Lacking::of(goal, &offer, whole), goal.layers())).collect();
    let new: HashSet<&Digest> =
        input.images.iter().flat_map(|image| &image.layers).map(|layer| &layer.diff_id).collect();
    let old_images: Vec<(&str, Vec<Digest>)> = goals.iter().flat_map(PackGoal::images).collect();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for image in &input.images {
        for layer in image.layers.iter().filter(|layer| seen.insert(&layer.diff_id)) {
            let lacking: Vec<&Held> = machines
                .iter()
                .filter(|(lacking, _)| lacking.blobs.contains(&layer.blob))
                .map(|(_, held)| held)
                .collect();
            if lacking.is_empty() {
                continue;
            }
            // One that is carried for one machine is carried for all: a base is something that all of them have.
            let base = |diff_id: &Digest| {
                let is_base = !new.contains(diff_id) && lacking.iter().all(|held| held.has(diff_id));
                here.get(diff_id).filter(|_| is_base)
            };
            let with_it =
                input.images.iter().filter(|image| image.layers.iter().any(|other| other.diff_id == layer.diff_id));
            let names: HashSet<String> = with_it.map(|image| repository(&image.reference)).collect();
            let versions = old_images.iter().filter(|(reference, _)| names.contains(&repository(reference)));
            let mut bases = each_once(versions.flat_map(|(_, layers)| layers).filter_map(base));
            if bases.is_empty() {
                bases = each_once(old_images.iter().flat_map(|(_, layers)| layers).filter_map(base));
            }
            if bases.is_empty() {
                let mut all: Vec<&Digest> = here.keys().collect();
                all.sort();
                bases = each_once(all.into_iter().filter_map(base));
            }
            if !bases.is_empty() {
                found.push(DeltaCandidate { layer: layer.clone(), reference: image.reference.clone(), bases });
            }
        }
    }
    found
}

fn each_once<'l>(layers: impl Iterator<Item = &'l OutgoingLayer>) -> Vec<OutgoingLayer> {
    let mut seen = HashSet::new();
    layers.filter(|layer| seen.insert(&layer.diff_id)).cloned().collect()
}

/// What an image is called without its tag: a version of it has the same name.
fn repository(reference: &str) -> String {
    reference.parse::<Reference>().map_or_else(|_| reference.to_owned(), |reference| reference.name().to_owned())
}

impl DeltaCandidate {
    /// The bytes of its bases' tars; where nobody wrote them down, what they usually are.
    pub fn base_bytes(&self) -> u64 {
        let bytes =
            |layer: &OutgoingLayer| layer.uncompressed_bytes.unwrap_or(layer.bytes.saturating_mul(USUAL_FACTOR));
        self.bases.iter().map(bytes).fold(0, u64::saturating_add)
    }
}

/// Layers of programs have some three to four times the bytes of their blobs.
const USUAL_FACTOR: u64 = 4;
