//! Store → engine: only what the engine lacks, verified on the way and looked at afterwards.
//!
//! Several loads are under way at once: while the engine applies one image's layers, it takes the next one's in. An
//! image that needs layers of another one is not closed before that one has been found whole. The engine gets images
//! without names; a name moves only to an image that has been found whole, and the image that loses it is kept under
//! another one first. So whatever fails, the name leads where it led before.

pub mod payload;
pub mod plan;
pub mod report;
pub mod sources;
pub mod tagging;
mod transfer;
mod upload;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::Instant;

use futures::StreamExt;
use tokio::sync::watch;

use crate::engine::{Engine, ImageStore};
use crate::fs::Digest;
use crate::images::announce_plan;
use crate::images::disk_space::{self, SpaceCheck};
use crate::images::engine_layers::EngineLayers;
use crate::images::error::ImagesError;
use crate::images::load::payload::Origin;
use crate::images::load::plan::{LoadLook, LoadStep, sort_as_asked};
use crate::images::load::report::{LoadReport, LoadResult, LoadedImage};
use crate::images::load::sources::{ArchiveCache, Batch, LoadImage};
use crate::images::load::transfer::{PlannedTransfer, TransferState, name_only};
use crate::images::stage::Stage;
use crate::images::unique;
use crate::manifest::Reference;
use crate::report::{Activity, Reporter};
use crate::state::LoadLog;

/// How to load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Where it is written down what was loaded; nowhere where `None`.
    pub releases: Option<LoadLog>,
    /// What to do when the engine's disk seems too small.
    pub space: SpaceCheck,
}

/// How many loads are under way at once: one that is applied, one that is sent meanwhile, and one more, since two
/// images without common layers are applied beside each other. What they have in the engine's spool is their layers.
pub(in crate::images) const LOADS_AT_ONCE: usize = 3;

/// Loads images from the store, or from old archives beside it, into the engine.
///
/// # Errors
/// Before anything is sent: a reference that nothing in the folder has (all of them named), an engine's disk without room
/// for it. Later: what the engine refuses, and damage that only reading finds; the images before that one are loaded then,
/// which the events tell. When all others are loaded: images that the engine does not have and of which the store lacks a
/// blob or a part of it.
pub async fn load(
    engine: &Engine,
    images_dir: &Path,
    references: &[Reference],
    options: &LoadOptions,
    reporter: &Reporter,
) -> Result<LoadReport, ImagesError> {
    let started = Instant::now();
    let references = unique(references)?;
    let stage = Stage::begin("load, look", format_args!("{} images in {}", references.len(), images_dir.display()));
    let mut look = LoadLook::take(engine, images_dir, &references, ArchiveCache::ReadWrite, reporter).await?;
    let failures = std::mem::take(&mut look.failures);
    // Of an image that is alone the error says it.
    for (name, error) in failures.iter().filter(|_| references.len() > 1) {
        reporter.failed(Activity::LoadImage, name, error);
    }
    if !failures.is_empty() && failures.len() == references.len() {
        return plan::not_all_loaded(failures, references.len()).map(|()| LoadReport::default());
    }
    let plan = look.plan(engine).await?;
    let layers: u64 = plan.images.iter().map(|image| image.layers_to_send).sum();
    stage.end(format_args!("{layers} layers are to be sent"));
    let store = engine.image_store().await?;
    let (named, coming) = (look.named.clone(), look.coming(store));
    for notice in plan.notices {
        reporter.warn(notice);
    }
    disk_space::check(&plan.disks, options.space, reporter)?;
    announce_plan(&plan.images, reporter);
    if let Some(releases) = &options.releases {
        releases.before_load(&named, &coming)?;
    }
    let total_bytes = plan.images.iter().filter_map(|image| image.bytes_to_send).sum();
    let mut images = Vec::new();
    let steps = LoadSteps::of(look);
    for image in &steps.present {
        images.push(report_present(image, reporter));
    }
    if steps.to_do() > 0 {
        reporter.planned(Activity::LoadImage, steps.to_do(), Some(total_bytes));
    }
    let Loaded { images: loaded, failure } = steps.carry_out(engine, store, reporter).await;
    images.extend(loaded);
    match failure {
        Some(ImagesError::Stopped) => Err(ImagesError::Interrupted { done: images.len(), all: references.len() }),
        Some(error) => Err(error),
        None => {
            if let Some(releases) = &options.releases {
                let is_changed = images.iter().any(|image| image.result == LoadResult::Loaded);
                let named = if is_changed { plan::named_ids(engine, &references).await? } else { named };
                releases.after_load(&named)?;
            }
            plan::not_all_loaded(failures, references.len())?;
            sort_as_asked(&mut images, &references, |image| &image.reference);
            let bytes_sent = images.iter().map(|image| image.bytes_sent).sum();
            Ok(LoadReport { images, bytes_sent, seconds: started.elapsed().as_secs_f64() })
        }
    }
}

/// What has to be done, in order.
struct LoadSteps {
    present: Vec<LoadImage>,
    transfers: Vec<PlannedTransfer>,
    /// Images that the engine has, or will have when all is sent, without this name, each with where it comes from.
    unnamed: Vec<(LoadImage, Origin)>,
}

/// What came of it.
struct Loaded {
    images: Vec<LoadedImage>,
    failure: Option<ImagesError>,
}

impl LoadSteps {
    fn of(look: LoadLook) -> Self {
        let mut steps = Self { present: Vec::new(), transfers: Vec::new(), unnamed: Vec::new() };
        // What the engine will have when all that comes before is there.
        let mut known = look.layers.clone();
        let mut bringing: Vec<HashSet<Digest>> = Vec::new();
        for Batch { origin, images } in look.batches {
            let mut missing = Vec::new();
            for (image, step) in images {
                match step {
                    LoadStep::Keep => steps.present.push(image),
                    LoadStep::Name => steps.unnamed.push((image, origin.clone())),
                    LoadStep::Send => missing.push(image),
                }
            }
            if missing.is_empty() {
                continue;
            }
            let lacks: HashSet<Digest> =
                missing.iter().flat_map(|image| look.layers.lacking_keys(image.identity.diff_ids())).collect();
            let after = (0..bringing.len()).filter(|at| !bringing[*at].is_disjoint(&lacks)).collect();
            let place = bringing.len();
            bringing.push(lacks);
            let before = known.clone();
            for image in &missing {
                known.add(image.identity.diff_ids());
            }
            let batch = Batch { origin, images: missing };
            steps.transfers.push(PlannedTransfer { place, batch, known: before, after });
        }
        steps
    }

    fn to_do(&self) -> usize {
        self.unnamed.len() + self.transfers.iter().map(|transfer| transfer.batch.images.len()).sum::<usize>()
    }

    async fn carry_out(self, engine: &Engine, store: ImageStore, reporter: &Reporter) -> Loaded {
        let mut loaded = Loaded { images: Vec::new(), failure: None };
        let (state, watcher) = watch::channel(TransferState { done: BTreeSet::new(), given_up: false });
        let mut next_place = self.transfers.len();
        let mut running = futures::stream::iter(self.transfers)
            .map(|transfer| transfer.make(engine, reporter, watcher.clone()))
            .buffer_unordered(LOADS_AT_ONCE);
        while let Some((place, result)) = running.next().await {
            loaded.take(result);
            state.send_modify(|state| match loaded.failure {
                None => drop(state.done.insert(place)),
                // Those that the engine has in full run on to their end; all others stop where they are.
                Some(_) => state.given_up = true,
            });
        }
        drop(running);
        for (image, origin) in self.unnamed {
            if loaded.failure.is_some() {
                break;
            }
            if reporter.asked_to_stop() {
                loaded.failure = Some(ImagesError::Stopped);
                break;
            }
            let named = match plan::unnamed(engine, &image).await {
                Ok(Some(view)) => name_only(engine, reporter, &image, &view.id).await.map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            let result = match named {
                Ok(Some(image)) => Ok(vec![image]),
                Err(error) if !error.is_gone() => Err(error),
                // It went away since it was looked for.
                Ok(None) | Err(_) => {
                    let batch = Batch { origin, images: vec![image] };
                    let (place, known) = (next_place, EngineLayers::none(store));
                    let transfer = PlannedTransfer { place, batch, known, after: Vec::new() };
                    next_place += 1;
                    transfer.make(engine, reporter, watcher.clone()).await.1
                }
            };
            loaded.take(result);
        }
        loaded
    }
}

impl Loaded {
    fn take(&mut self, result: Result<Vec<LoadedImage>, ImagesError>) {
        match result {
            Ok(images) => self.images.extend(images),
            // The first failure is the one to tell; another one that only followed from it says less.
            Err(error) => match &self.failure {
                None | Some(ImagesError::GivenUp) => self.failure = Some(error),
                Some(_) => {}
            },
        }
    }
}

fn report_present(image: &LoadImage, reporter: &Reporter) -> LoadedImage {
    reporter.done(Activity::LoadImage, &image.name, message!("images-present"));
    LoadedImage {
        reference: image.name.clone(),
        image_id: image.identity.config_digest.to_string(),
        result: LoadResult::Present,
        layers_total: image.identity.diff_ids().len() as u64,
        layers_sent: 0,
        bytes_sent: 0,
        total_bytes: image.payload.total_bytes(),
        kept_as: None,
    }
}

#[cfg(test)]
mod tests;
