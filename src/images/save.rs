//! Engine → store: one export for all images that changed, none for those that did not.
//!
//! The export is parsed while it streams, in a thread; each layer is hashed, compressed and written by others, and
//! nothing else is ever written. The index names the images when all of their blobs are durable.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::archive::{ArchiveError, ArchivedImage, LayerFile, read_archive};
use super::blobs::{LayerIntake, TakenLayer};
use super::chunks::{TaskReader, blocking};
use super::compression::{Compression, CompressionOptions};
use super::documents::Descriptor;
use super::error::ImagesError;
use super::gather::{GatherFailure, Gathering};
use super::layout::{StoredImage, StoredLayer, distinct};
use super::presence::Identity;
use super::reports::{SaveReport, SaveResult, SavedImage, settled};
use super::save_archives::save_archives;
use super::save_plan::{Plan, Step, Wanted, Written, document, look_up, plan};
use super::save_progress::ExportProgress;
use super::space::{self, SpaceCheck};
use super::store::{KnownLayers, NewName, StoreWriter, known_layers};
use super::tarball::Streamed;
use super::unique;
use crate::engine::{Engine, EngineError, ImageStore};
use crate::failpoint;
use crate::fs::Digest;
use crate::manifest::types::Reference;
use crate::report::{Activity, Message, Reporter};

/// How to save.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// Of layers that come uncompressed; those that come compressed stay as they are. Of the whole file for
    /// [`StoreFormat::DockerArchive`], where Docker 20.10 reads gzip and uncompressed ones only.
    pub compression: Compression,
    /// The compressor's own scale; its usual level where `None`.
    pub level: Option<i32>,
    /// Threads that compress; as many as there are cores, up to 8, where `None`.
    pub threads: Option<u32>,
    pub format: StoreFormat,
    /// The project that the images are for; noted in the store, which several projects may share.
    pub project: Option<String>,
    /// What to do when a disk seems too small.
    pub space: SpaceCheck,
}

impl SaveOptions {
    pub(super) fn compression_options(&self) -> CompressionOptions {
        CompressionOptions { compression: self.compression, level: self.level, threads: self.threads }
    }
}

/// What a save writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoreFormat {
    /// The OCI image layout, each layer once.
    #[default]
    Layout,
    /// One `docker save` archive an image, under deploy.py's names.
    DockerArchive,
}

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
    space::check(&disks, options.space, reporter)?;
    settled(&document(&plans, image_store, &known).images, reporter);
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
    result.inspect_err(|error| {
        for subject in subjects {
            reporter.failed(Activity::SaveImage, subject, error);
        }
    })
}

/// So much of an export goes on to the thread that reads it together; and so many batches may wait for it.
const BATCH_BYTES: usize = 256 << 10;
const WAITING_BATCHES: usize = 2;

/// Exports images and lets `work` read the stream in a thread. What the engine reports goes before what its broken
/// stream looked like.
pub(super) async fn with_export<T: Send + 'static>(
    engine: &Engine,
    names: &[String],
    reporter: &Reporter,
    work: impl FnOnce(TaskReader) -> Result<T, ImagesError> + Send + 'static,
) -> Result<T, ImagesError> {
    let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
    let working = blocking(move || work(TaskReader::new(receiver)));
    // A task of its own runs where the connection's does: here, each piece of 32 KiB would wake another thread.
    let export = engine.export_images(names);
    let passing_on = tokio::spawn(pass_on(export, names.len(), sender, reporter.clone()));
    let (result, passed) = futures::join!(working, passing_on);
    match passed {
        Ok(passed) => passed.and(result),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Passes an export on. Pieces that come while nobody takes them gather: fewer, larger batches wake the thread less.
async fn pass_on(
    export: impl Stream<Item = Result<Bytes, EngineError>>,
    images: usize,
    sender: mpsc::Sender<io::Result<Vec<Bytes>>>,
    reporter: Reporter,
) -> Result<(), ImagesError> {
    let mut export = pin!(export);
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    loop {
        let piece = tokio::select! {
            biased;
            () = reporter.stop_asked() => Err(ImagesError::Interrupted { done: 0, all: images }),
            piece = export.next(), if batch_bytes < BATCH_BYTES => match piece {
                Some(piece) => piece.map_err(ImagesError::from),
                None => {
                    let _ = sender.send(Ok(batch)).await;
                    return Ok(());
                }
            },
            room = sender.reserve(), if batch_bytes > 0 => match room {
                Ok(room) => {
                    room.send(Ok(std::mem::take(&mut batch)));
                    batch_bytes = 0;
                    continue;
                }
                // Whoever reads has given up, for a reason of its own.
                Err(_) => return Ok(()),
            },
        };
        match piece {
            Ok(piece) => {
                batch_bytes += piece.len();
                batch.push(piece);
            }
            Err(error) => {
                let _ = sender.send(Err(io::Error::other("the export broke off"))).await;
                return Err(error);
            }
        }
    }
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

    fn gathering(&mut self) -> Gathering {
        let known = std::mem::take(&mut self.known);
        Gathering::new(LayerIntake::new(self.store.layout().folder(), self.options, known))
    }

    /// For images that the store has: only their names change, if anything.
    fn finish_without_export(mut self) -> Result<SaveReport, ImagesError> {
        let nothing = self.gathering();
        self.finish(&[], &nothing, 0)
    }

    fn take_export(mut self, reader: TaskReader, mut progress: ExportProgress) -> Result<SaveReport, ImagesError> {
        let mut gathering = self.gathering();
        let mut counted = Counted { inner: reader, bytes: 0 };
        let read: Result<_, GatherFailure> = read_archive(Streamed(&mut counted), |file: LayerFile<'_>, body| {
            progress.layer(file.promised.as_ref(), file.size_bytes);
            let mut body = progress.watch(body);
            gathering.take(&file, &mut body)
        });
        failpoint!("images.save.after-export");
        let settled = gathering.settle();
        let images: Vec<ArchivedImage<usize>> = read.map_err(|failure| failure.in_what_comes_from(EXPORT))?;
        settled.map_err(|failure| failure.in_what_comes_from(EXPORT))?;
        self.finish(&images, &gathering, counted.bytes)
    }

    /// Joins layers to images and lets the references name them.
    fn finish(
        mut self,
        images: &[ArchivedImage<usize>],
        gathering: &Gathering,
        exported_bytes: u64,
    ) -> Result<SaveReport, ImagesError> {
        // Layers that several images share count for the first of them.
        let mut counted: HashSet<Digest> = HashSet::new();
        let mut names = Vec::new();
        let mut saved = Vec::new();
        for plan in &self.plans {
            let wanted = &plan.wanted;
            let (image, new_bytes, result) = match &plan.step {
                Step::Keep(image) => (Stored::of(image), 0, SaveResult::Unchanged),
                Step::Name(image) => (Stored::of(image), 0, SaveResult::Saved),
                Step::Export => {
                    let found = find(images, wanted, self.image_store);
                    let found = found.ok_or_else(|| ImagesError::ExportDiffers { reference: wanted.name.clone() })?;
                    let layers = gathering.layers_of(found).map_err(export_error)?;
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
                    engine_ids: self.engine_ids(wanted, &image),
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
        for image in &saved {
            let message = match image.result {
                SaveResult::Saved => Message::new("images-saved").with("new_bytes", image.new_bytes),
                SaveResult::Unchanged => Message::new("images-unchanged"),
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

/// The exported image of a reference: by its name, else by what the engine calls it or what it is made of.
pub(super) fn find<'a, L>(
    images: &'a [ArchivedImage<L>],
    wanted: &Wanted,
    store: ImageStore,
) -> Option<&'a ArchivedImage<L>> {
    let is_named = |image: &&ArchivedImage<L>| image.references.contains(&wanted.name);
    let is_it =
        |image: &&ArchivedImage<L>| Identity::of_config(&image.config_digest, &image.config).is(store, &wanted.view);
    images.iter().find(is_named).or_else(|| images.iter().find(is_it))
}

/// Where errors say that an export comes from.
const EXPORT: &str = "the engine's export";

pub(super) fn export_error(source: ArchiveError) -> ImagesError {
    ImagesError::Archive { origin: EXPORT.to_owned(), source: Box::new(source) }
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
