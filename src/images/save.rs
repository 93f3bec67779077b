//! Engine → store: one export for all images that changed, none for those that did not.
//!
//! The export is parsed while it streams, in a thread; each layer is hashed, compressed and written by others, and
//! nothing else is ever written. The index names the images when all of their blobs are durable.

use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::archive::{ArchiveError, ArchivedImage, LayerFile, read_archive};
use super::blobs::{IntakeError, LayerIntake, PendingLayer, TakenLayer};
use super::chunks::{TaskReader, blocking};
use super::compression::{Compression, CompressionOptions};
use super::documents::Descriptor;
use super::error::ImagesError;
use super::layout::{StoredImage, StoredLayer, distinct};
use super::presence::Identity;
use super::reports::{SaveReport, SaveResult, SavedImage};
use super::save_archives::save_archives;
use super::save_plan::{Plan, Step, Wanted, Written, look_up, plan};
use super::save_progress::ExportProgress;
use super::space::{self, SpaceCheck};
use super::store::{KnownLayers, NewName, StoreWriter, known_layers};
use super::tarball::{Streamed, TarError};
use super::unique;
use crate::engine::{Engine, ImageStore};
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
    let (folder, image_store) = (store_dir.to_owned(), engine.facts().image_store);
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
    space::check(&written.disks(engine, store_dir, options, &estimates), options.space, reporter)?;
    let progress = ExportProgress::new(reporter.clone(), &exported, &estimates);
    progress.begin(plans.iter().filter(|plan| !matches!(plan.step, Step::Keep(_))).map(|plan| &plan.wanted.name));
    let exported: Vec<String> = exported.into_iter().map(|wanted| wanted.name).collect();
    let (project, options) = (options.project.clone(), options.compression_options());
    let work = Work { store, plans, image_store, options, project, known, reporter: reporter.clone() };
    let subjects: Vec<String> = work.changed().map(str::to_owned).collect();
    let result = if exported.is_empty() {
        blocking(move || work.finish(Vec::new(), Vec::new(), 0)).await
    } else {
        with_export(engine, &exported, reporter, move |reader| work.take_export(reader, progress)).await
    };
    result.inspect_err(|error| {
        for subject in subjects {
            reporter.failed(Activity::SaveImage, subject, error);
        }
    })
}

/// Exports images and lets `work` read the stream in a thread. What the engine reports goes before what its broken
/// stream looked like.
pub(super) async fn with_export<T: Send + 'static>(
    engine: &Engine,
    names: &[String],
    reporter: &Reporter,
    work: impl FnOnce(TaskReader) -> Result<T, ImagesError> + Send + 'static,
) -> Result<T, ImagesError> {
    // Of up to some 400 KiB each, as they come from the socket.
    const WAITING_CHUNKS: usize = 6;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING_CHUNKS);
    let working = blocking(move || work(TaskReader::new(receiver)));
    let passing_on = async move {
        let mut stream = pin!(engine.export_images(names));
        loop {
            let chunk = tokio::select! {
                biased;
                () = reporter.stop_asked() => Err(ImagesError::Interrupted { done: 0, all: names.len() }),
                chunk = stream.next() => match chunk {
                    Some(chunk) => chunk.map_err(ImagesError::from),
                    None => return Ok(()),
                },
            };
            match chunk {
                Ok(chunk) => {
                    if sender.send(Ok(chunk)).await.is_err() {
                        // Whoever reads has given up, for a reason of its own.
                        return Ok(());
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(io::Error::other("the export broke off"))).await;
                    return Err(error);
                }
            }
        }
    };
    let (result, passed) = futures::join!(working, passing_on);
    passed.and(result)
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

/// A layer of the export: its path, and what became of it.
struct Intake {
    path: String,
    state: IntakeState,
}

enum IntakeState {
    Pending(PendingLayer),
    Taken(TakenLayer),
    /// Being waited for; no one sees this.
    Gone,
}

/// How many layers may be on their way to the disk while the next one is read.
const LAYERS_IN_FLIGHT: usize = 3;

impl Work {
    fn changed(&self) -> impl Iterator<Item = &str> {
        self.plans.iter().filter(|plan| !matches!(plan.step, Step::Keep(_))).map(|plan| plan.wanted.name.as_str())
    }

    fn take_export(mut self, reader: TaskReader, mut progress: ExportProgress) -> Result<SaveReport, ImagesError> {
        let folder = self.store.layout().folder().to_owned();
        let intake = LayerIntake::new(&folder, self.options, std::mem::take(&mut self.known));
        let mut layers: Vec<Intake> = Vec::new();
        let mut counted = Counted { inner: reader, bytes: 0 };
        let read: Result<_, SaveFailure> = read_archive(Streamed(&mut counted), |file: LayerFile<'_>, body| {
            progress.layer(file.promised.as_ref(), file.size_bytes);
            let mut body = progress.watch(body);
            let pending = intake.take(&mut body, file.size_bytes, file.promised.as_ref());
            let pending = pending.map_err(|error| from_intake(file.path, error))?;
            layers.push(Intake { path: file.path.to_owned(), state: IntakeState::Pending(pending) });
            if let Some(earlier) = layers.len().checked_sub(LAYERS_IN_FLIGHT) {
                layers[earlier].settle()?;
            }
            Ok(layers.len() - 1)
        });
        failpoint!("images.save.after-export");
        // Whatever went wrong, nobody may still be writing when the store's lock is given back.
        let settled = layers.iter_mut().map(Intake::settle).fold(Ok(()), Result::and);
        let images: Vec<ArchivedImage<usize>> = read.map_err(ImagesError::from)?;
        settled.map_err(ImagesError::from)?;
        let bytes = counted.bytes;
        self.finish(images, layers, bytes)
    }

    /// Joins layers to images and lets the references name them.
    fn finish(
        mut self,
        images: Vec<ArchivedImage<usize>>,
        layers: Vec<Intake>,
        exported_bytes: u64,
    ) -> Result<SaveReport, ImagesError> {
        let mut uncounted: Vec<Option<u64>> =
            layers.iter().map(|layer| layer.taken().map(|taken| taken.new_bytes)).collect();
        let mut names = Vec::new();
        let mut saved = Vec::new();
        for plan in &self.plans {
            let wanted = &plan.wanted;
            let (image, new_bytes, result) = match &plan.step {
                Step::Keep(image) => (Stored::of(image), 0, SaveResult::Unchanged),
                Step::Name(image) => (Stored::of(image), 0, SaveResult::Saved),
                Step::Export => {
                    let found = find(&images, wanted, self.image_store);
                    let found = found.ok_or_else(|| ImagesError::ExportDiffers { reference: wanted.name.clone() })?;
                    let mut new_bytes = 0;
                    for at in &found.layers {
                        new_bytes += uncounted[*at].take().unwrap_or_default();
                    }
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

fn join(store: &StoreWriter, image: &ArchivedImage<usize>, layers: &[Intake]) -> Result<Joined, ImagesError> {
    let mut stored: Vec<StoredLayer> = Vec::new();
    for (at, expected) in image.layers.iter().zip(image.config.diff_ids()) {
        let layer = layers[*at].taken().map(|taken| &taken.layer).filter(|layer| layer.diff_id == *expected);
        let Some(layer) = layer else {
            let source = ArchiveError::WrongDiffId { path: layers[*at].path.clone(), expected: expected.clone() };
            return Err(export_error(source));
        };
        stored.push(layer.clone());
    }
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

impl Intake {
    fn settle(&mut self) -> Result<(), SaveFailure> {
        match std::mem::replace(&mut self.state, IntakeState::Gone) {
            IntakeState::Pending(pending) => {
                let taken = pending.finish().map_err(|error| from_intake(&self.path, error))?;
                self.state = IntakeState::Taken(taken);
            }
            state => self.state = state,
        }
        Ok(())
    }

    fn taken(&self) -> Option<&TakenLayer> {
        match &self.state {
            IntakeState::Taken(taken) => Some(taken),
            _ => None,
        }
    }
}

/// What stops the reading of an export.
pub(super) enum SaveFailure {
    Archive(ArchiveError),
    Images(ImagesError),
}

impl From<ArchiveError> for SaveFailure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<SaveFailure> for ImagesError {
    fn from(failure: SaveFailure) -> Self {
        match failure {
            SaveFailure::Archive(source) => export_error(source),
            SaveFailure::Images(error) => error,
        }
    }
}

pub(super) fn export_error(source: ArchiveError) -> ImagesError {
    ImagesError::Archive { origin: "the engine's export".to_owned(), source: Box::new(source) }
}

fn from_intake(path: &str, error: IntakeError) -> SaveFailure {
    let path = path.to_owned();
    match error {
        IntakeError::Source(source) => SaveFailure::Archive(TarError::Read(source).into()),
        IntakeError::Undecodable(source) => SaveFailure::Archive(ArchiveError::Layer { path, source }),
        IntakeError::WrongDigest => SaveFailure::Archive(ArchiveError::WrongDigest { path }),
        IntakeError::Bomb => SaveFailure::Archive(ArchiveError::Bomb),
        IntakeError::Store { path, source } => SaveFailure::Images(ImagesError::file("write", &path, source)),
    }
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
