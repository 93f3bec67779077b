//! What a load has to do, found out by looking: nothing here changes the engine or the store. `load` carries out what
//! this look found, and `--dry-run` shows it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use futures::{StreamExt, TryStreamExt};

use crate::engine::{Engine, ImageStore, ImageView};
use crate::images::disk_space::{self, DiskNeed, DiskPurpose};
use crate::images::engine_layers::{EngineLayers, lacking_each};
use crate::images::error::ImagesError;
use crate::images::formats::platform::{Platform, other_architecture};
use crate::images::load::report::{LoadPlan, PlannedLoad, PlannedLoadResult};
use crate::images::load::sources::{ArchiveCache, Batch, LoadImage, find_sources};
use crate::images::names::engine_name;
use crate::images::pipes::blocking;
use crate::images::unique;
use crate::manifest::Reference;
use crate::report::{Message, Reporter};

/// What is to be done for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::images) enum LoadStep {
    /// The engine has it under this reference.
    Keep,
    /// The engine has it without this reference, or will have it by then.
    Name,
    Send,
}

/// Engine and store as a load found them.
pub(in crate::images) struct LoadLook {
    /// Each image with what is to be done for it.
    pub batches: Vec<Batch<(LoadImage, LoadStep)>>,
    /// What the engine has of layers; nothing is known where nothing is to be sent.
    pub layers: EngineLayers,
    /// The engine's ID of the image that each reference names.
    pub named: BTreeMap<String, String>,
    /// Images that can't be loaded, in the order that they were asked for, and why.
    pub failures: Vec<(String, ImagesError)>,
    pub notices: Vec<Message>,
}

/// How many images are asked for at once when the engine is looked over.
const INSPECTED_AT_ONCE: usize = 8;

/// What [`super::load()`] would do now; changes nothing.
///
/// # Errors
/// Those that a load finds before anything is sent: references that nothing in the folder has (all of them named), an
/// image that the engine does not have and of which the store lacks a blob or a part of it.
pub async fn plan_load(engine: &Engine, images_dir: &Path, references: &[Reference]) -> Result<LoadPlan, ImagesError> {
    let references = unique(references)?;
    let mut look =
        LoadLook::take(engine, images_dir, &references, ArchiveCache::ReadOnly, &Reporter::default()).await?;
    not_all_loaded(std::mem::take(&mut look.failures), references.len())?;
    let mut plan = look.plan(engine).await?;
    sort_as_asked(&mut plan.images, &references, |image| &image.reference);
    Ok(plan)
}

/// The error for images that can't be loaded; of one that was alone it is its own.
pub(super) fn not_all_loaded(failures: Vec<(String, ImagesError)>, all: usize) -> Result<(), ImagesError> {
    let failed: Vec<String> = failures.iter().map(|(name, _)| name.clone()).collect();
    match failures.into_iter().next() {
        None => Ok(()),
        Some((_, error)) if all == 1 => Err(error),
        Some((_, error)) => Err(ImagesError::NotAllLoaded { failed, all, source: Box::new(error) }),
    }
}

/// Whether the engine has all of an image. One without layers has nothing to lack: some engines show those as they
/// show images whose layers are missing.
pub(in crate::images) async fn is_whole(
    engine: &Engine,
    image: &LoadImage,
    view: &ImageView,
) -> Result<bool, ImagesError> {
    Ok(image.identity.diff_ids().is_empty() || engine.image_is_whole(view).await?)
}

/// Brings what was done or found in the order of batches into the order that was asked for.
pub(in crate::images) fn sort_as_asked<T>(images: &mut [T], references: &[Reference], name: impl Fn(&T) -> &str) {
    let names: Vec<Option<String>> = references.iter().map(engine_name).collect();
    images.sort_by_key(|image| names.iter().position(|asked| asked.as_deref() == Some(name(image))));
}

impl LoadLook {
    pub async fn take(
        engine: &Engine,
        folder: &Path,
        references: &[Reference],
        cache: ArchiveCache,
        reporter: &Reporter,
    ) -> Result<Self, ImagesError> {
        let (folder, wanted, reporter) = (folder.to_owned(), references.to_vec(), reporter.clone());
        let platform = Platform::of_engine(engine.facts().await?);
        let found = blocking(move || find_sources(&folder, &platform, &wanted, cache, &reporter)).await?;
        let named = named(engine, references).await?;
        let mut notices = found.notices;
        let architecture = engine.facts().await?.architecture.clone();
        let store = engine.image_store().await?;
        let (mut batches, mut failures) = (Vec::new(), found.damaged);
        // Images of which the engine will have the layers and the configuration once the earlier steps are done.
        let mut coming = HashSet::new();
        for batch in found.batches {
            let mut images = Vec::new();
            for image in batch.images {
                notices.extend(other_architecture(&image.name, &image.identity.config, &architecture));
                let is_named = match named.get(&image.name) {
                    Some(view) => is_here(engine, &image, view).await?,
                    None => false,
                };
                let step = if is_named {
                    LoadStep::Keep
                } else if coming.contains(&image.identity.config_digest) || unnamed(engine, &image).await?.is_some() {
                    LoadStep::Name
                } else if let Err(error) = check_layers(&image, store) {
                    failures.push((image.name, error));
                    continue;
                } else {
                    coming.insert(image.identity.config_digest.clone());
                    LoadStep::Send
                };
                images.push((image, step));
            }
            batches.push(Batch { origin: batch.origin, images });
        }
        let layers = if coming.is_empty() {
            EngineLayers::none(engine.image_store().await?)
        } else {
            EngineLayers::of_engine(engine).await?
        };
        let named = named.into_iter().map(|(name, view)| (name, view.id)).collect();
        let mut look = Self { batches, layers, named, failures, notices };
        look.leave_out_incomplete();
        sort_as_asked(&mut look.failures, references, |(name, _)| name);
        Ok(look)
    }

    /// Leaves out images that the store lacks a layer of which the engine will lack, too, when their turn comes.
    pub(super) fn leave_out_incomplete(&mut self) {
        let mut known = self.layers.clone();
        let mut left_out = HashSet::new();
        for Batch { origin, images } in &mut self.batches {
            for (image, step) in std::mem::take(images) {
                // It was to get its name from an image that does not come.
                let comes_itself = left_out.contains(&image.identity.config_digest);
                let step = if step == LoadStep::Name && comes_itself { LoadStep::Send } else { step };
                if step == LoadStep::Send {
                    if let Err(error) = origin.check_blobs(&known.lacking(image.identity.diff_ids())) {
                        left_out.insert(image.identity.config_digest.clone());
                        self.failures.push((image.name, error));
                        continue;
                    }
                    known.add(image.identity.diff_ids());
                    left_out.remove(&image.identity.config_digest);
                }
                images.push((image, step));
            }
        }
    }

    /// The IDs that the engine will give to what it gets, as far as they are known.
    pub fn coming(&self, store: ImageStore) -> Vec<String> {
        let images = self.batches.iter().flat_map(|batch| &batch.images);
        let coming = images.filter(|(_, step)| *step != LoadStep::Keep);
        coming.map(|(image, _)| image.payload.engine_id(store)).collect()
    }

    /// What would be sent, in the order of the batches.
    pub async fn plan(&self, engine: &Engine) -> Result<LoadPlan, ImagesError> {
        let mut known = self.layers.clone();
        let mut plan = LoadPlan { images: Vec::new(), disks: Vec::new(), notices: self.notices.clone() };
        let mut sent_together = Vec::new();
        for Batch { origin, images } in &self.batches {
            let sent = || images.iter().filter(|(_, step)| *step == LoadStep::Send);
            let mut lacking = lacking_each(&known, sent().map(|(image, _)| image.identity.diff_ids())).into_iter();
            for (image, step) in images {
                let lacking = if *step == LoadStep::Send { lacking.next().unwrap_or_default() } else { Vec::new() };
                let sizes: HashMap<_, _> = image.payload.layers.iter().cloned().collect();
                let bytes = lacking.iter().filter_map(|layer| sizes.get(layer)).sum();
                plan.images.push(PlannedLoad {
                    reference: image.name.clone(),
                    image_id: image.identity.config_digest.to_string(),
                    result: match step {
                        LoadStep::Keep => PlannedLoadResult::Present,
                        LoadStep::Name | LoadStep::Send => PlannedLoadResult::WouldLoad,
                    },
                    layers_total: image.identity.diff_ids().len() as u64,
                    layers_to_send: lacking.len() as u64,
                    bytes_to_send: (lacking.is_empty() || origin.knows_sizes()).then_some(bytes),
                    from: origin.place().display().to_string(),
                });
            }
            for (image, _) in sent() {
                known.add(image.identity.diff_ids());
            }
            let images = &plan.images[plan.images.len() - images.len()..];
            sent_together.push(images.iter().filter_map(|image| image.bytes_to_send).sum());
        }
        let needed = needed_in_engine(engine.image_store().await?, &sent_together);
        if needed > 0 {
            let (folder, place) = (engine.local_root_dir().await?, &engine.facts().await?.root_dir);
            plan.disks = disk_space::look(&[DiskNeed::in_engine(folder, place, DiskPurpose::Engine, needed)]);
        }
        Ok(plan)
    }
}

/// An engine of the classic store takes no image of more layers (moby, `layer.maxLayerDepth`), and says so only when it has
/// got all of it.
const MOST_LAYERS: usize = 125;

pub(super) fn check_layers(image: &LoadImage, store: ImageStore) -> Result<(), ImagesError> {
    let layers = image.identity.diff_ids().len();
    if store == ImageStore::Classic && layers > MOST_LAYERS {
        return Err(ImagesError::TooManyLayers { reference: image.name.clone(), layers, most: MOST_LAYERS });
    }
    Ok(())
}

/// The engine's ID of the image that each reference names now.
pub(in crate::images) async fn named_ids(
    engine: &Engine,
    references: &[Reference],
) -> Result<BTreeMap<String, String>, ImagesError> {
    Ok(named(engine, references).await?.into_iter().map(|(name, view)| (name, view.id)).collect())
}

/// What the engine's folder has to hold at most at one time, given the layers of each load. The classic store spools
/// an archive before it applies it and then drops it; the containerd store keeps layers as they came, beside what
/// they unpack to.
fn needed_in_engine(store: ImageStore, loads: &[u64]) -> u64 {
    match store {
        ImageStore::Classic => {
            let mut applied = 0;
            let peaks = loads.iter().map(|bytes| {
                applied += bytes;
                applied + bytes
            });
            peaks.max().unwrap_or_default()
        }
        ImageStore::Containerd => loads.iter().map(|bytes| bytes * 2).sum(),
    }
}

/// What the references name in the engine now.
async fn named(engine: &Engine, references: &[Reference]) -> Result<HashMap<String, ImageView>, ImagesError> {
    let views: Vec<Option<ImageView>> = futures::stream::iter(references.iter().filter_map(engine_name))
        .map(|name| async move { engine.inspect_image(&name).await })
        .buffered(INSPECTED_AT_ONCE)
        .try_collect()
        .await?;
    let named = references.iter().filter_map(engine_name).zip(views);
    Ok(named.filter_map(|(name, view)| Some((name, view?))).collect())
}

pub(in crate::images) async fn is_here(
    engine: &Engine,
    image: &LoadImage,
    view: &ImageView,
) -> Result<bool, ImagesError> {
    let store: ImageStore = engine.image_store().await?;
    Ok(image.identity.is(store, view) && is_whole(engine, image, view).await?)
}

/// The image, when the engine has it under another name or none.
pub(in crate::images) async fn unnamed(engine: &Engine, image: &LoadImage) -> Result<Option<ImageView>, ImagesError> {
    for id in image.identity.possible_ids(engine.image_store().await?) {
        match engine.inspect_image(&id).await? {
            Some(view) if is_here(engine, image, &view).await? => return Ok(Some(view)),
            _ => {}
        }
    }
    Ok(None)
}
