//! Store → engine: only what the engine lacks, verified on the way and looked at afterwards.
//!
//! For each image: present already, or else a thin load, a look at what became of it, a full load if that fell short.
//! The engine gets images without names; a name moves only to an image that has been found whole, and the image that
//! loses it is kept under another one first. So whatever fails, the name leads where it led before.

use std::path::Path;
use std::time::Instant;

use super::adopt::{Adopted, adopt};
use super::chunks::blocking;
use super::error::{self, ImagesError};
use super::load_plan::{self, LoadLook, LoadStep, PlannedBatch, sort_as_asked};
use super::reports::{LoadReport, LoadResult, LoadedImage};
use super::send::{Outcome, Progress, send};
use super::sources::{Batch, Learning, LoadImage};
use super::thin::{EngineLayers, lacking_each};
use super::unique;
use crate::engine::{Engine, EngineError, ImageStore};
use crate::manifest::types::Reference;
use crate::report::{Activity, Message, Reporter};

/// How to load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {}

/// Loads images from the store, or from old archives beside it, into the engine.
///
/// # Errors
/// Before anything is sent: a reference that nothing in the folder has (all of them named), an image of the store with
/// a missing or truncated blob. Later: what the engine refuses, and damage that only reading finds; the images before
/// that one are loaded then, which the events tell.
pub async fn load(
    engine: &Engine,
    images_dir: &Path,
    references: &[Reference],
    options: &LoadOptions,
    reporter: &Reporter,
) -> Result<LoadReport, ImagesError> {
    let LoadOptions {} = options;
    let started = Instant::now();
    let references = unique(references)?;
    let look = LoadLook::take(engine, images_dir, &references, Learning::Remembers).await?;
    for notice in look.notices {
        reporter.warn(notice);
    }
    let store = engine.facts().image_store;
    let (loaded, wanted) = (Vec::new(), references.len());
    let mut loader = Loader { engine, reporter, store, layers: look.layers, loaded, bytes_sent: 0, wanted };
    for batch in look.batches {
        loader.load_batch(batch).await?;
    }
    let Loader { loaded: mut images, bytes_sent, .. } = loader;
    sort_as_asked(&mut images, &references, |image| &image.reference);
    Ok(LoadReport { images, bytes_sent, seconds: started.elapsed().as_secs_f64() })
}

/// One load, as far as it has come.
struct Loader<'a> {
    engine: &'a Engine,
    reporter: &'a Reporter,
    store: ImageStore,
    /// What the engine has.
    layers: EngineLayers,
    loaded: Vec<LoadedImage>,
    bytes_sent: u64,
    wanted: usize,
}

/// An image that the engine has to get, and what is known of it now.
struct Missing {
    image: LoadImage,
    layers_sent: u64,
    bytes_sent: u64,
    /// What a first attempt sent of layers.
    layer_bytes: u64,
}

impl Missing {
    fn new(image: LoadImage) -> Self {
        Self { image, layers_sent: 0, bytes_sent: 0, layer_bytes: 0 }
    }
}

impl<'a> Loader<'a> {
    /// Loads the images that come from one place.
    async fn load_batch(&mut self, planned: PlannedBatch) -> Result<(), ImagesError> {
        let PlannedBatch { batch, images } = planned;
        let mut missing: Vec<Missing> = Vec::new();
        let mut unnamed: Vec<LoadImage> = Vec::new();
        self.stop_if_asked()?;
        for (image, step) in images {
            match step {
                LoadStep::Keep => self.report_present(&image),
                LoadStep::Name => unnamed.push(image),
                LoadStep::Send => missing.push(Missing::new(image)),
            }
        }
        let batch = self.send_batch(batch, missing).await?;
        for image in unnamed {
            self.stop_if_asked()?;
            match load_plan::unnamed(self.engine, &image).await? {
                Some(view) => {
                    self.reporter.began(Activity::LoadImage, &image.name, Some(0));
                    self.finish(Missing::new(image), &view.id).await?;
                }
                // It went away since it was looked for.
                None => drop(self.send_batch(batch.clone(), vec![Missing::new(image)]).await?),
            }
        }
        Ok(())
    }

    /// Sends images and gives them their names.
    async fn send_batch(&mut self, batch: Batch, missing: Vec<Missing>) -> Result<Batch, ImagesError> {
        if missing.is_empty() {
            return Ok(batch);
        }
        let (batch, mut missing) = measured(batch, missing).await?;
        let result = self.ship(&batch, &mut missing).await;
        if let Err(error) = &result {
            for image in &missing {
                self.reporter.failed(Activity::LoadImage, &image.image.name, error);
            }
        }
        result.map(|()| batch)
    }

    /// Thin, and full where that falls short.
    async fn ship(&mut self, batch: &Batch, missing: &mut Vec<Missing>) -> Result<(), ImagesError> {
        let known = self.layers.clone();
        let all = EngineLayers::none(self.store);
        let is_thin = missing.iter().any(|image| {
            known.lacking(image.image.identity.diff_ids()).len() < all.lacking(image.image.identity.diff_ids()).len()
        });
        match self.attempt(batch, missing, &known).await? {
            None => {}
            Some(shortfall) if is_thin && !shortfall.is_final() => {
                for image in missing.iter() {
                    let message = Message::new("images-load-full").with("reference", &image.image.name);
                    self.reporter.notice(message);
                }
                if let Some(shortfall) = self.attempt(batch, missing, &all).await? {
                    self.clear_away(missing).await;
                    return Err(shortfall.into_error());
                }
            }
            Some(shortfall) => {
                self.clear_away(missing).await;
                return Err(shortfall.into_error());
            }
        }
        while !missing.is_empty() {
            let image = missing.remove(0);
            let id = image.image.shipped.engine_id(self.store);
            self.layers.add(image.image.identity.diff_ids());
            self.finish(image, &id).await?;
        }
        Ok(())
    }

    /// Sends what `known` lacks of the images, and looks at what became of them.
    async fn attempt(
        &mut self,
        batch: &Batch,
        missing: &mut [Missing],
        known: &EngineLayers,
    ) -> Result<Option<Shortfall>, ImagesError> {
        let lacking = lacking_each(known, missing.iter().map(|image| image.image.identity.diff_ids()));
        let send_ids = lacking.concat();
        let images = missing.iter().map(|image| image.image.shipped.clone()).collect();
        let shipment = batch.shipment(self.store, images, send_ids);
        let total_bytes = shipment.layer_bytes();
        // One stream for all of them: its progress is told under the first one's name.
        let before = std::mem::replace(&mut missing[0].layer_bytes, total_bytes);
        if before == 0 {
            for (at, image) in missing.iter().enumerate() {
                let total = if at == 0 { total_bytes } else { 0 };
                self.reporter.began(Activity::LoadImage, &image.image.name, Some(total));
            }
        }
        let subject = missing[0].image.name.clone();
        let progress = Progress::new(self.reporter.clone(), subject, before, before + total_bytes);
        let outcome = send(self.engine, shipment, progress).await;
        let (sent, refusal) = match outcome {
            Outcome::Sent { bytes } => (bytes, None),
            Outcome::Refused { bytes, error } => (bytes, Some(error)),
            Outcome::Stopped => return Err(self.interrupted()),
            Outcome::Failed(error) => return Err(error),
        };
        self.bytes_sent += sent;
        for (at, image) in missing.iter_mut().enumerate() {
            image.bytes_sent += if at == 0 { sent } else { 0 };
            image.layers_sent = lacking[at].len() as u64;
        }
        self.judge(missing, refusal).await
    }

    /// The engine's answers to a load prove nothing either way: only the images that it has afterwards do.
    async fn judge(
        &mut self,
        missing: &[Missing],
        mut refusal: Option<EngineError>,
    ) -> Result<Option<Shortfall>, ImagesError> {
        for image in missing {
            let id = image.image.shipped.engine_id(self.store);
            let view = match self.engine.inspect_image(&id).await {
                Ok(view) => view,
                // An engine that went away during the load says so twice; the first time tells more.
                Err(error) => return Err(refusal.take().unwrap_or(error).into()),
            };
            let why = match view {
                None => error::Shortfall::NoImage,
                Some(view) if !self.engine.image_is_whole(&view).await? => error::Shortfall::Incomplete,
                Some(view) if !image.image.identity.is(self.store, &view) => error::Shortfall::OtherLayers,
                Some(_) => continue,
            };
            return Ok(Some(Shortfall { reference: image.image.name.clone(), why, refusal: refusal.take() }));
        }
        Ok(None)
    }

    /// Removes what a failed load left registered without a name. It is of no use, and the next load does not need
    /// it gone, so that a failure here changes nothing.
    async fn clear_away(&self, missing: &[Missing]) {
        for image in missing {
            let id = image.image.shipped.engine_id(self.store);
            let Ok(Some(view)) = self.engine.inspect_image(&id).await else {
                continue;
            };
            if view.tags.is_empty() && matches!(self.engine.image_is_whole(&view).await, Ok(false)) {
                let _ = self.engine.remove_image(&id).await;
            }
        }
    }

    /// Gives a whole image its name.
    async fn finish(&mut self, done: Missing, id: &str) -> Result<(), ImagesError> {
        let image = &done.image;
        let adopted = adopt(self.engine, &image.reference, &image.name, id).await;
        let Adopted { kept_as } = adopted.inspect_err(|error| {
            self.reporter.failed(Activity::LoadImage, &image.name, error);
        })?;
        if let Some(kept_as) = &kept_as {
            let message = Message::new("images-kept-under").with("reference", &image.name).with("kept", kept_as);
            self.reporter.notice(message);
        }
        let message = Message::new("images-loaded")
            .with("layers_sent", done.layers_sent)
            .with("layers_total", image.identity.diff_ids().len())
            .with("bytes_sent", done.bytes_sent);
        self.reporter.done(Activity::LoadImage, &image.name, message);
        self.loaded.push(LoadedImage {
            reference: image.name.clone(),
            image_id: image.identity.config_digest.to_string(),
            result: LoadResult::Loaded,
            layers_total: image.identity.diff_ids().len() as u64,
            layers_sent: done.layers_sent,
            bytes_sent: done.bytes_sent,
            kept_as,
        });
        Ok(())
    }

    fn report_present(&mut self, image: &LoadImage) {
        self.reporter.done(Activity::LoadImage, &image.name, Message::new("images-present"));
        self.loaded.push(LoadedImage {
            reference: image.name.clone(),
            image_id: image.identity.config_digest.to_string(),
            result: LoadResult::Present,
            layers_total: image.identity.diff_ids().len() as u64,
            layers_sent: 0,
            bytes_sent: 0,
            kept_as: None,
        });
    }

    fn stop_if_asked(&self) -> Result<(), ImagesError> {
        if self.reporter.asked_to_stop() { Err(self.interrupted()) } else { Ok(()) }
    }

    fn interrupted(&self) -> ImagesError {
        ImagesError::Interrupted { done: self.loaded.len(), all: self.wanted }
    }
}

async fn measured(mut batch: Batch, mut missing: Vec<Missing>) -> Result<(Batch, Vec<Missing>), ImagesError> {
    blocking(move || {
        let mut images: Vec<LoadImage> = missing.iter().map(|missing| missing.image.clone()).collect();
        batch.measure(&mut images)?;
        for (missing, image) in missing.iter_mut().zip(images) {
            missing.image = image;
        }
        Ok((batch, missing))
    })
    .await
}

/// What the engine lacks after a load.
struct Shortfall {
    reference: String,
    why: error::Shortfall,
    /// What the engine said to it.
    refusal: Option<EngineError>,
}

impl Shortfall {
    /// Whether sending more can't help: the engine is gone.
    fn is_final(&self) -> bool {
        self.refusal.as_ref().is_some_and(EngineError::is_unreachable)
    }

    fn into_error(self) -> ImagesError {
        ImagesError::FellShort { reference: self.reference, why: self.why, source: self.refusal }
    }
}
