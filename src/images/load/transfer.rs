//! One transfer to the engine: the images that come from one place, each looked at afterwards and then given its name.
//!
//! First without the layers that the engine has (a thin archive, docs/thin-load.md), then with all of them where the engine
//! lacks one after all: it may have been pruned meanwhile, or have the image without its content.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::engine::{Engine, EngineError, ImageStore};
use crate::failpoint;
use crate::images::engine_layers::{EngineLayers, lacking_each};
use crate::images::error::{self, ImagesError};
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

/// A transfer that is to be made.
pub struct PlannedTransfer {
    pub place: usize,
    /// The images that the engine has to get.
    pub batch: Batch,
    /// What the engine has when those before are done.
    pub known: EngineLayers,
    /// The places of those that bring layers which these images need.
    pub after: Vec<usize>,
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
    /// How many layers of each image the last attempt sent.
    layers_sent: Vec<u64>,
}

impl PlannedTransfer {
    /// Makes it; gives its place with the result.
    pub async fn make(
        self,
        engine: &Engine,
        reporter: &Reporter,
        state: watch::Receiver<TransferState>,
    ) -> (usize, Result<Vec<LoadedImage>, ImagesError>) {
        let place = self.place;
        if reporter.asked_to_stop() {
            return (place, Err(ImagesError::Stopped));
        }
        if state.borrow().given_up {
            return (place, Err(ImagesError::GivenUp));
        }
        let names: Vec<String> = self.batch.images.iter().map(|image| image.name.clone()).collect();
        let gate = CloseGate::new(state, self.after.clone());
        let store = self.known.store();
        let under_way =
            Transfer { engine, reporter, store, gate, bytes_sent: 0, layer_bytes: 0, layers_sent: Vec::new() };
        let mut loaded = Vec::new();
        let result = under_way.run(self, &mut loaded).await;
        if let Err(error) = &result {
            for name in names.iter().filter(|name| loaded.iter().all(|image| image.reference != **name)) {
                reporter.failed(Activity::LoadImage, name, error);
            }
        }
        (place, result.map(|()| loaded))
    }
}

/// Names an image that the engine has.
pub async fn name_only(
    engine: &Engine,
    reporter: &Reporter,
    image: &LoadImage,
    id: &str,
) -> Result<LoadedImage, ImagesError> {
    reporter.began(Activity::LoadImage, &image.name, Some(0));
    finish(engine, reporter, (image, id), Sent::default()).await
}

/// What was sent for an image. What several images share counts for the first of them.
#[derive(Default)]
struct Sent {
    layers: u64,
    bytes: u64,
}

/// So often an image is sent again that somebody removed before it had its name.
const SENT_AGAIN: usize = 3;

impl Transfer<'_> {
    /// Brings the images and names them. An image without a name can be removed by `docker image prune`: then it is
    /// sent again.
    async fn run(mut self, transfer: PlannedTransfer, loaded: &mut Vec<LoadedImage>) -> Result<(), ImagesError> {
        let PlannedTransfer { batch, known, .. } = transfer;
        let batch = measured(batch).await?;
        let mut again = 0;
        loop {
            self.bring(&batch, &known).await?;
            match self.name(&batch.images, loaded).await {
                Err(error) if error.is_gone() && again < SENT_AGAIN => {
                    again += 1;
                    let name = &batch.images[loaded.len()].name;
                    self.reporter.notice(message!("images-load-again", reference = name));
                }
                result => return result,
            }
        }
    }

    /// Without the layers that the engine has; with all of them where what arrived is not whole.
    async fn bring(&mut self, batch: &Batch, known: &EngineLayers) -> Result<(), ImagesError> {
        let all = EngineLayers::none(self.store);
        let lacking = |known: &EngineLayers, image: &LoadImage| known.lacking(image.identity.diff_ids()).len();
        let is_thin = batch.images.iter().any(|image| lacking(known, image) < lacking(&all, image));
        let Some(first) = self.attempt(batch, known).await? else {
            return Ok(());
        };
        let is_tried_again = !first.is_final() && (is_thin || first.may_be_removed());
        let last = if is_tried_again {
            for image in &batch.images {
                self.reporter.notice(match first.may_be_removed() {
                    true => message!("images-load-again", reference = &image.name),
                    false => message!("images-load-full", reference = &image.name),
                });
            }
            failpoint!("images.load.before-full");
            self.attempt(batch, &all).await?
        } else {
            Some(first)
        };
        let Some(shortfall) = last else {
            return Ok(());
        };
        self.clear_away(&batch.images).await;
        let had_image = matches!(self.engine.inspect_image(&shortfall.reference).await, Ok(Some(_)));
        Err(shortfall.into_error(had_image))
    }

    /// Names those that have no name yet.
    async fn name(&self, images: &[LoadImage], loaded: &mut Vec<LoadedImage>) -> Result<(), ImagesError> {
        for (at, image) in images.iter().enumerate().skip(loaded.len()) {
            let id = image.payload.engine_id(self.store);
            let sent = Sent { layers: self.layers_sent[at], bytes: if at == 0 { self.bytes_sent } else { 0 } };
            loaded.push(finish(self.engine, self.reporter, (image, &id), sent).await?);
        }
        Ok(())
    }

    /// Sends what `known` lacks of the images, and looks at what became of them.
    async fn attempt(&mut self, batch: &Batch, known: &EngineLayers) -> Result<Option<Shortfall>, ImagesError> {
        let images = &batch.images;
        let lacking = lacking_each(known, images.iter().map(|image| image.identity.diff_ids()));
        let payload = batch.payload(self.store, lacking.concat());
        let total_bytes = payload.layer_bytes();
        // One stream for all of them: its progress is told under the first one's name.
        let before = self.layer_bytes;
        self.layer_bytes += total_bytes;
        if self.bytes_sent == 0 {
            for (at, image) in images.iter().enumerate() {
                let total = if at == 0 { total_bytes } else { 0 };
                self.reporter.began(Activity::LoadImage, &image.name, Some(total));
            }
        }
        let subject = images[0].name.clone();
        let stage = Stage::begin("load, send", format_args!("{subject} and {total_bytes} bytes of layers"));
        let progress = UploadProgress::new(self.reporter.clone(), subject, self.store, before, total_bytes);
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
        self.layers_sent = lacking.iter().map(|layers| layers.len() as u64).collect();
        self.judge(images, refusal).await
    }

    /// The engine's answers to a load prove nothing either way: only the images that it has afterwards do.
    async fn judge(
        &self,
        images: &[LoadImage],
        mut refusal: Option<EngineError>,
    ) -> Result<Option<Shortfall>, ImagesError> {
        for image in images {
            let id = image.payload.engine_id(self.store);
            let view = match self.engine.inspect_image(&id).await {
                Ok(view) => view,
                // An engine that went away during the load says so twice; the first time tells more.
                Err(error) => return Err(refusal.take().unwrap_or(error).into()),
            };
            let why = match view {
                None => error::Shortfall::NoImage,
                Some(view) if !is_whole(self.engine, image, &view).await? => error::Shortfall::Incomplete,
                Some(view) if !image.identity.is(self.store, &view) => error::Shortfall::OtherLayers,
                Some(_) => continue,
            };
            return Ok(Some(Shortfall { reference: image.name.clone(), why, refusal: refusal.take() }));
        }
        Ok(None)
    }

    /// Removes what a failed load left registered without a name. It is of no use, and the next load does not need
    /// it gone, so that a failure here changes nothing.
    async fn clear_away(&self, images: &[LoadImage]) {
        for image in images {
            let id = image.payload.engine_id(self.store);
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
async fn finish(
    engine: &Engine,
    reporter: &Reporter,
    (image, id): (&LoadImage, &str),
    sent: Sent,
) -> Result<LoadedImage, ImagesError> {
    let Retagged { kept_as } = retag(engine, &image.reference, &image.name, id).await?;
    if let Some(kept_as) = &kept_as {
        let message = message!("images-kept-under", reference = &image.name, kept = kept_as);
        reporter.notice(message);
    }
    let message = message!(
        "images-loaded",
        layers_sent = sent.layers,
        layers_total = image.identity.diff_ids().len(),
        bytes_sent = sent.bytes
    );
    reporter.done(Activity::LoadImage, &image.name, message);
    Ok(LoadedImage {
        reference: image.name.clone(),
        image_id: image.identity.config_digest.to_string(),
        result: LoadResult::Loaded,
        layers_total: image.identity.diff_ids().len() as u64,
        layers_sent: sent.layers,
        bytes_sent: sent.bytes,
        total_bytes: image.payload.total_bytes(),
        kept_as,
    })
}

async fn measured(mut batch: Batch) -> Result<Batch, ImagesError> {
    blocking(move || {
        batch.measure()?;
        Ok(batch)
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
    /// Whether sending more can't help: the engine is gone, hangs, or has no room.
    fn is_final(&self) -> bool {
        let is_final =
            |refusal: &EngineError| refusal.is_unreachable() || refusal.is_stalled() || refusal.is_disk_full();
        self.refusal.as_ref().is_some_and(is_final)
    }

    /// Whether it may have become an image that somebody removed since.
    fn may_be_removed(&self) -> bool {
        self.why == error::Shortfall::NoImage && self.refusal.is_none()
    }

    fn into_error(self, had_image: bool) -> ImagesError {
        ImagesError::FellShort { reference: self.reference, why: self.why, had_image, source: self.refusal }
    }
}
