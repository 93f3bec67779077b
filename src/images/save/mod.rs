//! Engine → store: one export for all images that changed, none for those that did not.
//!
//! The export is parsed while it streams, in a thread; each layer is hashed, compressed and written by others, and
//! nothing else is ever written. The index names the images when all of their blobs are durable.

mod docker_archives;
mod engine_export;
mod layer_sizes;
pub mod options;
pub mod plan;
mod progress;
pub mod report;

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use crate::engine::{Engine, ImageStore};
use crate::failpoint;
use crate::fs::Digest;
use crate::images::announce_plan;
use crate::images::disk_space;
use crate::images::error::ImagesError;
use crate::images::formats::compression::CompressionOptions;
use crate::images::formats::documents::Descriptor;
use crate::images::formats::image_archive::{ArchivedImage, LayerFile, read_archive};
use crate::images::formats::tar_reader::Streamed;
use crate::images::identity::Identity;
use crate::images::pipes::{TaskReader, blocking};
use crate::images::save::docker_archives::save_archives;
use crate::images::save::engine_export::{EXPORT, export_error, find, with_export};
use crate::images::save::options::{SaveOptions, StoreFormat};
use crate::images::save::plan::{Plan, Step, Wanted, Written, document, look_up, plan};
use crate::images::save::progress::ExportProgress;
use crate::images::save::report::{SaveReport, SaveResult, SavedImage};
use crate::images::store::collect::remove_unused;
use crate::images::store::layer_batch::{BatchFailure, LayerBatch};
use crate::images::store::layer_writer::{LayerWriter, TakenLayer};
use crate::images::store::layout::{StoredImage, StoredLayer, distinct};
use crate::images::store::writer::{KnownLayers, NewName, StoreWriter, known_layers};
use crate::images::unique;
use crate::manifest::Reference;
use crate::report::{Activity, Reporter};

/// Saves images of the engine into a store.
///
/// # Errors
/// References that the engine does not have are an error that names all of them, before anything is exported.
pub async fn save(
    engine: &Engine,
    store_dir: &Path,
    references: &[Reference],
    options: &SaveOptions,
    reporter: &Reporter,
) -> Result<SaveReport, ImagesError> {
    let started = Instant::now();
    let wanted = look_up(engine, &unique(references)?).await?;
    let mut report = match options.format {
        StoreFormat::Layout => save_to_layout(engine, store_dir, wanted, options, reporter).await?,
        StoreFormat::DockerArchive => save_archives(engine, store_dir, wanted, options, reporter).await?,
    };
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

async fn save_to_layout(
    engine: &Engine,
    store_dir: &Path,
    wanted: Vec<Wanted>,
    options: &SaveOptions,
    reporter: &Reporter,
) -> Result<SaveReport, ImagesError> {
    let all = wanted.len();
    let (folder, image_store) = (store_dir.to_owned(), engine.image_store().await?);
    let (store, plans) = blocking(move || {
        let store = StoreWriter::open(&folder)?;
        let plans =
            wanted.into_iter().map(|wanted| plan(Some(store.layout()), image_store, wanted)).collect::<Vec<_>>();
        Ok::<_, ImagesError>((store, plans))
    })
    .await?;
    let exported: Vec<Wanted> = plans.iter().filter(|plan| plan.exports()).map(|plan| plan.wanted.clone()).collect();
    let known = if exported.is_empty() { KnownLayers::new() } else { known_layers(store.layout()) };
    let written = Written::Layers { images: exported.clone(), known: known.clone() };
    let estimates = written.estimates(engine).await;
    let disks = written.disks(engine, store_dir, options, &estimates).await?;
    disk_space::check(&disks, options.space, reporter)?;
    announce_plan(&document(&plans, image_store, &known).images, reporter);
    let progress = ExportProgress::new(reporter.clone(), &exported, &estimates);
    progress.begin(plans.iter().filter(|plan| !matches!(plan.step, Step::Keep(_))).map(|plan| &plan.wanted.name));
    let exported: Vec<String> = exported.into_iter().map(|wanted| wanted.name).collect();
    let (project, options) = (options.project.clone(), options.compression_options());
    let work = Work { store, plans, image_store, options, project, known, reporter: reporter.clone() };
    let subjects: Vec<String> = work.changed().map(str::to_owned).collect();
    let result = if exported.is_empty() {
        blocking(move || work.finish_without_export()).await
    } else {
        with_export(engine, &exported, reporter, move |reader| work.take_export(reader, progress)).await
    };
    result
        .inspect_err(|error| {
            for subject in subjects {
                reporter.failed(Activity::SaveImage, subject, error);
            }
        })
        .map_err(|error| match error {
            ImagesError::Stopped => ImagesError::Interrupted { done: 0, all },
            error => error,
        })
}

/// All that the thread needs.
struct Work {
    store: StoreWriter,
    plans: Vec<Plan>,
    image_store: ImageStore,
    options: CompressionOptions,
    project: Option<String>,
    known: KnownLayers,
    reporter: Reporter,
}

impl Work {
    fn changed(&self) -> impl Iterator<Item = &str> {
        self.plans.iter().filter(|plan| !matches!(plan.step, Step::Keep(_))).map(|plan| plan.wanted.name.as_str())
    }

    fn new_batch(&mut self) -> LayerBatch {
        let known = std::mem::take(&mut self.known);
        LayerBatch::new(LayerWriter::new(self.store.layout().folder(), self.options, known))
    }

    /// For images that the store has: only their names change, if anything.
    fn finish_without_export(mut self) -> Result<SaveReport, ImagesError> {
        let nothing = self.new_batch();
        self.finish(&[], &nothing, 0)
    }

    fn take_export(mut self, reader: TaskReader, mut progress: ExportProgress) -> Result<SaveReport, ImagesError> {
        let mut batch = self.new_batch();
        let mut counted = Counted { inner: reader, bytes: 0 };
        let read: Result<_, BatchFailure> = read_archive(Streamed(&mut counted), |file: LayerFile<'_>, body| {
            progress.layer(file.promised.as_ref(), file.size_bytes);
            let mut body = progress.watch(body);
            batch.take(&file, &mut body)
        });
        failpoint!("images.save.after-export");
        let settled = batch.settle();
        let images: Vec<ArchivedImage<usize>> = read.map_err(|failure| failure.in_what_comes_from(EXPORT))?;
        settled.map_err(|failure| failure.in_what_comes_from(EXPORT))?;
        self.finish(&images, &batch, counted.bytes)
    }

    /// Joins layers to images and lets the references name them.
    fn finish(
        mut self,
        images: &[ArchivedImage<usize>],
        batch: &LayerBatch,
        exported_bytes: u64,
    ) -> Result<SaveReport, ImagesError> {
        // Layers that several images share count for the first of them.
        let mut counted: HashSet<Digest> = HashSet::new();
        let mut used: HashSet<Digest> = HashSet::new();
        let mut names = Vec::new();
        let mut saved = Vec::new();
        for plan in &self.plans {
            let wanted = &plan.wanted;
            // A tag may have moved between the look and the export: then the ID that was seen is another image's.
            let mut is_inspected = true;
            let (image, new_bytes, result) = match &plan.step {
                Step::Keep(image) => (Stored::of(image), 0, SaveResult::Unchanged),
                Step::Name(image) => (Stored::of(image), 0, SaveResult::Saved),
                Step::Export => {
                    let found = find(images, wanted, self.image_store);
                    let found = found.ok_or_else(|| ImagesError::ExportDiffers { reference: wanted.name.clone() })?;
                    let layers = batch.layers_of(found).map_err(export_error)?;
                    used.extend(layers.iter().map(|taken| taken.layer.blob.clone()));
                    is_inspected =
                        Identity::of_config(&found.config_digest, &found.config).is(self.image_store, &wanted.view);
                    let is_new = |taken: &&&TakenLayer| counted.insert(taken.layer.blob.clone());
                    let new_bytes: u64 = layers.iter().filter(is_new).map(|taken| taken.new_bytes).sum();
                    let stored = join(&self.store, found, &layers)?;
                    (stored.image, new_bytes + stored.new_bytes, SaveResult::Saved)
                }
            };
            if result == SaveResult::Saved {
                names.push(NewName {
                    reference: wanted.reference.clone(),
                    manifest: image.manifest.clone(),
                    engine_ids: if is_inspected { self.engine_ids(wanted, &image) } else { image.engine_ids.clone() },
                });
            }
            saved.push(SavedImage {
                reference: wanted.name.clone(),
                image_id: image.config_digest.to_string(),
                result,
                new_bytes,
                total_bytes: image.total_bytes,
            });
        }
        let kept: Vec<Reference> = self
            .plans
            .iter()
            .filter(|plan| matches!(plan.step, Step::Keep(_)))
            .map(|plan| plan.wanted.reference.clone())
            .collect();
        self.store.name_images_for(self.project.as_deref(), &names, &kept)?;
        remove_unused(self.store.layout(), batch, &used)?;
        for image in &saved {
            let message = match image.result {
                SaveResult::Saved => message!("images-saved", new_bytes = image.new_bytes),
                SaveResult::Unchanged => message!("images-unchanged"),
            };
            self.reporter.done(Activity::SaveImage, &image.reference, message);
        }
        let new_bytes = saved.iter().map(|image| image.new_bytes).sum();
        Ok(SaveReport { images: saved, exported_bytes, new_bytes, seconds: 0.0 })
    }

    /// What engines with the containerd store call the image, those that were seen before included.
    fn engine_ids(&self, wanted: &Wanted, image: &Stored) -> Vec<String> {
        let mut ids = image.engine_ids.clone();
        let known: Option<Digest> = wanted.view.id.parse().ok();
        if self.image_store == ImageStore::Containerd && known.is_some() && !ids.contains(&wanted.view.id) {
            ids.push(wanted.view.id.clone());
        }
        ids
    }
}

/// What the report and the index need to know of an image in the store.
struct Stored {
    manifest: Descriptor,
    config_digest: Digest,
    total_bytes: u64,
    engine_ids: Vec<String>,
}

impl Stored {
    fn of(image: &StoredImage) -> Self {
        Self {
            manifest: image.manifest.clone(),
            config_digest: image.config_digest.clone(),
            total_bytes: image.total_bytes(),
            engine_ids: image.engine_ids.clone(),
        }
    }
}

struct Joined {
    image: Stored,
    new_bytes: u64,
}

fn join(store: &StoreWriter, image: &ArchivedImage<usize>, layers: &[&TakenLayer]) -> Result<Joined, ImagesError> {
    let stored: Vec<StoredLayer> = layers.iter().map(|taken| taken.layer.clone()).collect();
    failpoint!("images.save.before-config");
    let added = store.add_image(&image.config_bytes, &stored)?;
    let layer_bytes: u64 = distinct(&stored).map(|layer| layer.size_bytes).sum();
    let total_bytes = layer_bytes + image.config_bytes.len() as u64 + added.manifest.size;
    let config_digest = image.config_digest.clone();
    let image = Stored { manifest: added.manifest, config_digest, total_bytes, engine_ids: Vec::new() };
    Ok(Joined { image, new_bytes: added.new_bytes })
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
