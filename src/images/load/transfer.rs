//! One transfer to the engine: the images that come from one place, thin first, in full where that falls short, each
//! looked at afterwards and then given its name.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::engine::{Engine, EngineError, ImageStore};
use crate::failpoint;
use crate::images::error::{self, ImagesError};
use crate::images::layers::{EngineLayers, lacking_each};
use crate::images::load::plan::is_whole;
use crate::images::load::report::{LoadResult, LoadedImage};
use crate::images::load::sources::{Batch, LoadImage};
use crate::images::load::tagging::{Retagged, retag};
use crate::images::load::upload::{CloseGate, Outcome, UploadProgress, send};
use crate::images::pipes::blocking;
use crate::images::stage::Stage;
use crate::report::{Activity, Reporter};

/// How far all transfers of one load have come.
#[derive(Debug, Clone)]
pub struct TransferState {
    /// The places of those whose images are in the engine.
    pub done: BTreeSet<usize>,
    /// One of them failed: what has not been closed stays open.
    pub given_up: bool,
}

/// Images to be delivered.
pub struct PlannedTransfer {
    place: usize,
    batch: Batch,
    images: Vec<Missing>,
    /// What the engine has when those before are done.
    known: EngineLayers,
    /// The places of those that bring layers which these images need.
    after: Vec<usize>,
}

/// What a transfer did.
#[derive(Default)]
pub struct TransferDone {
    pub images: Vec<LoadedImage>,
    pub bytes_sent: u64,
}

/// An image that the engine has to get, and what is known of it now.
struct Missing {
    image: LoadImage,
    layers_sent: u64,
    bytes_sent: u64,
}

/// A transfer under way.
struct Transfer<'a> {
    engine: &'a Engine,
    reporter: &'a Reporter,
    store: ImageStore,
    gate: CloseGate,
    /// What all attempts sent.
    bytes_sent: u64,
    /// What all attempts sent of layers.
    layer_bytes: u64,
}

impl PlannedTransfer {
    pub fn new(place: usize, batch: Batch, images: Vec<LoadImage>, known: EngineLayers, after: Vec<usize>) -> Self {
        let images = images.into_iter().map(|image| Missing { image, layers_sent: 0, bytes_sent: 0 }).collect();
        Self { place, batch, images, known, after }
    }

    pub fn image_count(&self) -> usize {
        self.images.len()
    }

    /// Makes it; gives its place with the result.
    pub async fn make(
        self,
        engine: &Engine,
        reporter: &Reporter,
        state: watch::Receiver<TransferState>,
    ) -> (usize, Result<TransferDone, ImagesError>) {
        let place = self.place;
        if reporter.asked_to_stop() {
            return (place, Err(ImagesError::Stopped));
        }
        if state.borrow().given_up {
            return (place, Err(ImagesError::GivenUp));
        }
        let names: Vec<String> = self.images.iter().map(|missing| missing.image.name.clone()).collect();
        let gate = CloseGate::new(state, self.after.clone());
        let store = self.known.store();
        let under_way = Transfer { engine, reporter, store, gate, bytes_sent: 0, layer_bytes: 0 };
        let mut loaded = Vec::new();
        let result = under_way.run(self, &mut loaded).await;
        if let Err(error) = &result {
            for name in names.iter().filter(|name| loaded.iter().all(|image| image.reference != **name)) {
                reporter.failed(Activity::LoadImage, name, error);
            }
        }
        (place, result.map(|bytes_sent| TransferDone { images: loaded, bytes_sent }))
    }

    /// Names an image that the engine has.
    pub async fn name_only(
        engine: &Engine,
        reporter: &Reporter,
        image: LoadImage,
        id: &str,
    ) -> Result<TransferDone, ImagesError> {
        reporter.began(Activity::LoadImage, &image.name, Some(0));
        let loaded = finish(engine, reporter, &Missing { image, layers_sent: 0, bytes_sent: 0 }, id).await?;
        Ok(TransferDone { images: vec![loaded], bytes_sent: 0 })
    }
}

impl Transfer<'_> {
    /// Thin, and full where that falls short.
    async fn run(mut self, transfer: PlannedTransfer, loaded: &mut Vec<LoadedImage>) -> Result<u64, ImagesError> {
        let PlannedTransfer { batch, images, known, .. } = transfer;
        let (batch, mut missing) = measured(batch, images).await?;
        let all = EngineLayers::none(self.store);
        let is_thin = missing.iter().any(|image| {
            known.lacking(image.image.identity.diff_ids()).len() < all.lacking(image.image.identity.diff_ids()).len()
        });
        match self.attempt(&batch, &mut missing, &known).await? {
            None => {}
            Some(shortfall) if is_thin && !shortfall.is_final() => {
                for image in &missing {
                    let message = message!("images-load-full", reference = &image.image.name);
                    self.reporter.notice(message);
                }
                failpoint!("images.load.before-full");
                if let Some(shortfall) = self.attempt(&batch, &mut missing, &all).await? {
                    self.clear_away(&missing).await;
                    return Err(shortfall.into_error());
                }
            }
            Some(shortfall) => {
                self.clear_away(&missing).await;
                return Err(shortfall.into_error());
            }
        }
        for image in &missing {
            let id = image.image.payload.engine_id(self.store);
            loaded.push(finish(self.engine, self.reporter, image, &id).await?);
        }
        Ok(self.bytes_sent)
    }

    /// Sends what `known` lacks of the images, and looks at what became of them.
    async fn attempt(
        &mut self,
        batch: &Batch,
        missing: &mut [Missing],
        known: &EngineLayers,
    ) -> Result<Option<Shortfall>, ImagesError> {
        let lacking = lacking_each(known, missing.iter().map(|image| image.image.identity.diff_ids()));
        let images = missing.iter().map(|image| image.image.payload.clone()).collect();
        let payload = batch.payload(self.store, images, lacking.concat());
        let total_bytes = payload.layer_bytes();
        // One stream for all of them: its progress is told under the first one's name.
        let before = self.layer_bytes;
        self.layer_bytes += total_bytes;
        if self.bytes_sent == 0 {
            for (at, image) in missing.iter().enumerate() {
                let total = if at == 0 { total_bytes } else { 0 };
                self.reporter.began(Activity::LoadImage, &image.image.name, Some(total));
            }
        }
        let subject = missing[0].image.name.clone();
        let progress = UploadProgress::new(self.reporter.clone(), subject, self.store, before, total_bytes);
        let stage =
            Stage::begin("load, send", format_args!("{} and {total_bytes} bytes of layers", missing[0].image.name));
        let outcome = send(self.engine, payload, Arc::new(progress), self.gate.clone()).await;
        stage.end(&outcome);
        let (sent, refusal) = match outcome {
            Outcome::Sent { bytes } => (bytes, None),
            Outcome::Refused { bytes, error } => (bytes, Some(error)),
            Outcome::Stopped if self.reporter.asked_to_stop() => {
                return Err(ImagesError::Stopped);
            }
            Outcome::Stopped => return Err(ImagesError::GivenUp),
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
        &self,
        missing: &[Missing],
        mut refusal: Option<EngineError>,
    ) -> Result<Option<Shortfall>, ImagesError> {
        for image in missing {
            let id = image.image.payload.engine_id(self.store);
            let view = match self.engine.inspect_image(&id).await {
                Ok(view) => view,
                // An engine that went away during the load says so twice; the first time tells more.
                Err(error) => return Err(refusal.take().unwrap_or(error).into()),
            };
            let why = match view {
                None => error::Shortfall::NoImage,
                Some(view) if !is_whole(self.engine, &image.image, &view).await? => error::Shortfall::Incomplete,
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
            let id = image.image.payload.engine_id(self.store);
            let Ok(Some(view)) = self.engine.inspect_image(&id).await else {
                continue;
            };
            if view.tags.is_empty() && matches!(self.engine.image_is_whole(&view).await, Ok(false)) {
                let _ = self.engine.remove_image(&id).await;
            }
        }
    }
}

/// Gives a whole image its name.
async fn finish(engine: &Engine, reporter: &Reporter, done: &Missing, id: &str) -> Result<LoadedImage, ImagesError> {
    let image = &done.image;
    let Retagged { kept_as } = retag(engine, &image.reference, &image.name, id).await?;
    if let Some(kept_as) = &kept_as {
        let message = message!("images-kept-under", reference = &image.name, kept = kept_as);
        reporter.notice(message);
    }
    let message = message!(
        "images-loaded",
        layers_sent = done.layers_sent,
        layers_total = image.identity.diff_ids().len(),
        bytes_sent = done.bytes_sent
    );
    reporter.done(Activity::LoadImage, &image.name, message);
    Ok(LoadedImage {
        reference: image.name.clone(),
        image_id: image.identity.config_digest.to_string(),
        result: LoadResult::Loaded,
        layers_total: image.identity.diff_ids().len() as u64,
        layers_sent: done.layers_sent,
        bytes_sent: done.bytes_sent,
        total_bytes: image.payload.total_bytes(),
        kept_as,
    })
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
    /// Whether sending more can't help: the engine is gone, or hangs.
    fn is_final(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.is_unreachable() || refusal.is_stalled())
    }

    fn into_error(self) -> ImagesError {
        ImagesError::FellShort { reference: self.reference, why: self.why, source: self.refusal }
    }
}
