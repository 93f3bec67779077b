//! Layers of an export that are in the store become images: their documents, and last their names.

use std::collections::HashSet;

use crate::engine::ImageStore;
use crate::failpoint;
use crate::fs::Digest;
use crate::images::error::ImagesError;
use crate::images::formats::documents::Descriptor;
use crate::images::formats::image_archive::{ArchivedImage, NotWhole};
use crate::images::identity::Identity;
use crate::images::names::engine_name;
use crate::images::save::engine_export::find;
use crate::images::save::failures::SavedTogether;
use crate::images::save::plan::{Plan, Step, Wanted};
use crate::images::save::report::{SaveReport, SaveResult, SavedImage};
use crate::images::store::collect::remove_unused;
use crate::images::store::layer_batch::LayerBatch;
use crate::images::store::layer_writer::TakenLayer;
use crate::images::store::layout::{StoredImage, StoredLayer, distinct};
use crate::images::store::writer::{NewName, StoreWriter};
use crate::report::{Activity, Reporter};

/// All that it takes, beside what was exported.
pub struct Join {
    pub store: StoreWriter,
    pub plans: Vec<Plan>,
    pub image_store: ImageStore,
    pub project: Option<String>,
    pub reporter: Reporter,
}

impl Join {
    /// Joins layers to images and lets the references name them; an image that is not whole keeps no other from it.
    pub fn finish(mut self, export: &ReadExport, mut not_whole: Vec<NotWhole>) -> Result<SavedTogether, ImagesError> {
        let mut together = SavedTogether::default();
        let mut taken = Taken::default();
        let (mut names, mut kept) = (Vec::new(), Vec::new());
        for plan in &self.plans {
            let wanted = &plan.wanted;
            let (image, result) = match &plan.step {
                Step::Keep(image) => (Stored::of(image), SaveResult::Unchanged),
                Step::Name(image) => (self.known_as(Stored::of(image), wanted), SaveResult::Saved),
                Step::Export => match export.find(wanted, self.image_store, &mut not_whole) {
                    Ok(found) => (self.join(wanted, found, &mut taken)?, SaveResult::Saved),
                    Err(error) => {
                        self.reporter.failed(Activity::SaveImage, &wanted.name, &error);
                        together.failures.add(wanted.name.clone(), error);
                        continue;
                    }
                },
            };
            match result {
                SaveResult::Unchanged => kept.push(wanted.reference.clone()),
                SaveResult::Saved => names.push(NewName {
                    reference: wanted.reference.clone(),
                    manifest: image.manifest.clone(),
                    engine_ids: image.engine_ids.clone(),
                }),
            }
            together.report.images.push(SavedImage {
                reference: wanted.name.clone(),
                image_id: image.config_digest.to_string(),
                result,
                new_bytes: image.new_bytes,
                total_bytes: image.total_bytes,
            });
        }
        self.store.name_images_for(self.project.as_deref(), &names, &kept)?;
        remove_unused(self.store.layout(), &export.batch, &taken.used)?;
        let report = &mut together.report;
        report.new_bytes = report.images.iter().map(|image| image.new_bytes).sum();
        report.exported_bytes = export.bytes;
        self.tell_done(report);
        Ok(together)
    }

    fn tell_done(&self, report: &SaveReport) {
        for image in &report.images {
            let message = match image.result {
                SaveResult::Saved => message!("images-saved", new_bytes = image.new_bytes),
                SaveResult::Unchanged => message!("images-unchanged"),
            };
            self.reporter.done(Activity::SaveImage, &image.reference, message);
        }
    }

    /// Writes an exported image's documents.
    fn join(&self, wanted: &Wanted, found: ExportedImage<'_>, taken: &mut Taken) -> Result<Stored, ImagesError> {
        let ExportedImage { image, layers } = found;
        taken.used.extend(layers.iter().map(|layer| layer.layer.blob.clone()));
        let is_new = |layer: &&&TakenLayer| taken.counted.insert(layer.layer.blob.clone());
        let layer_bytes: u64 = layers.iter().filter(is_new).map(|layer| layer.new_bytes).sum();
        let mut stored = join(&self.store, image, &layers)?;
        stored.new_bytes += layer_bytes;
        // A tag may have moved between the look and the export: then the ID that was seen is another image's.
        let is_inspected = Identity::of_config(&image.config_digest, &image.config).is(self.image_store, &wanted.view);
        Ok(if is_inspected { self.known_as(stored, wanted) } else { stored })
    }

    /// Adds what engines with the containerd store call the image to what was seen before.
    fn known_as(&self, mut image: Stored, wanted: &Wanted) -> Stored {
        let known: Option<Digest> = wanted.view.id.parse().ok();
        if self.image_store == ImageStore::Containerd && known.is_some() && !image.engine_ids.contains(&wanted.view.id)
        {
            image.engine_ids.push(wanted.view.id.clone());
        }
        image
    }
}

/// An export that has been read to its end.
pub struct ReadExport {
    pub images: Vec<ArchivedImage<usize>>,
    pub batch: LayerBatch,
    pub bytes: u64,
}

/// An image of an export, with its layers in the store.
struct ExportedImage<'a> {
    image: &'a ArchivedImage<usize>,
    layers: Vec<&'a TakenLayer>,
}

impl ReadExport {
    fn find(
        &self,
        wanted: &Wanted,
        store: ImageStore,
        not_whole: &mut Vec<NotWhole>,
    ) -> Result<ExportedImage<'_>, ImagesError> {
        let reference = wanted.name.clone();
        if let Some(image) = find(&self.images, wanted, store) {
            let layers = self.batch.layers_of(image);
            let layers =
                layers.map_err(|source| ImagesError::NotWholeInEngine { reference, source: Box::new(source) })?;
            return Ok(ExportedImage { image, layers });
        }
        let is_it = |text: &String| text.parse().ok().as_ref().and_then(engine_name).as_ref() == Some(&wanted.name);
        match not_whole.iter().position(|image| image.names.iter().any(is_it)) {
            Some(at) => {
                let NotWhole { why, .. } = not_whole.swap_remove(at);
                Err(ImagesError::NotWholeInEngine { reference, source: Box::new(why) })
            }
            None => Err(ImagesError::ExportDiffers { reference }),
        }
    }
}

/// Layers that images of an export have used.
#[derive(Default)]
struct Taken {
    used: HashSet<Digest>,
    /// Layers that several images share count for the first of them.
    counted: HashSet<Digest>,
}

/// What the report and the index need to know of an image in the store.
struct Stored {
    manifest: Descriptor,
    config_digest: Digest,
    total_bytes: u64,
    /// What this save wrote of it.
    new_bytes: u64,
    engine_ids: Vec<String>,
}

impl Stored {
    fn of(image: &StoredImage) -> Self {
        Self {
            manifest: image.manifest.clone(),
            config_digest: image.config_digest.clone(),
            total_bytes: image.total_bytes(),
            new_bytes: 0,
            engine_ids: image.engine_ids.clone(),
        }
    }
}

/// The image with its documents written; what is new of its layers is not counted.
fn join(store: &StoreWriter, image: &ArchivedImage<usize>, layers: &[&TakenLayer]) -> Result<Stored, ImagesError> {
    let stored: Vec<StoredLayer> = layers.iter().map(|taken| taken.layer.clone()).collect();
    failpoint!("images.save.before-config");
    let added = store.add_image(&image.config_bytes, &stored)?;
    let layer_bytes: u64 = distinct(&stored).map(|layer| layer.size_bytes).sum();
    let total_bytes = layer_bytes + image.config_bytes.len() as u64 + added.manifest.size;
    Ok(Stored {
        manifest: added.manifest,
        config_digest: image.config_digest.clone(),
        total_bytes,
        new_bytes: added.new_bytes,
        engine_ids: Vec::new(),
    })
}
