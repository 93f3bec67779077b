//! Engine → store: one export for all images that changed, none for those that did not.
//!
//! The export is parsed while it streams, in a thread; each layer is hashed, compressed and written by others, and
//! nothing else is ever written. The index names the images when all of their blobs are durable. One that can't be
//! exported keeps no other from it.

mod docker_archives;
mod engine_export;
mod failures;
mod join;
mod layer_sizes;
pub mod options;
pub mod plain_layers;
pub mod plan;
mod progress;
pub mod report;
mod work;

use std::path::Path;
use std::time::Instant;

use crate::engine::Engine;
use crate::images::announce_plan;
use crate::images::disk_space;
use crate::images::error::{ImagesError, in_one_line};
use crate::images::formats::platform::Platform;
use crate::images::pipes::blocking;
use crate::images::save::docker_archives::save_archives;
use crate::images::save::engine_export::with_export;
use crate::images::save::failures::SavedTogether;
use crate::images::save::join::Join;
use crate::images::save::options::{SaveOptions, StoreFormat};
use crate::images::save::plan::{Step, Wanted, Written, document, look_up, plan};
use crate::images::save::progress::ExportProgress;
use crate::images::save::report::SaveReport;
use crate::images::save::work::Work;
use crate::images::stage::Stage;
use crate::images::store::writer::{KnownLayers, StoreWriter, known_layers};
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
    let together = export_together(engine, store_dir, wanted.clone(), options, (reporter, Announcement::Made)).await;
    let saved = match together {
        Err(broken) if all > 1 && broken.error.may_be_of_one_image() => {
            reporter.notice(message!("images-save-each", why = in_one_line(&broken.error)));
            save_each(engine, store_dir, wanted, options, reporter).await?
        }
        Err(broken) => return Err(broken.told(reporter).counted(0, all)),
        Ok(saved) => saved,
    };
    saved.failures.result(saved.report, all)
}

/// Exports the images one by one, after an export of all of them failed: an engine that can't export one of them refuses
/// all.
async fn save_each(
    engine: &Engine,
    store_dir: &Path,
    wanted: Vec<Wanted>,
    options: &SaveOptions,
    reporter: &Reporter,
) -> Result<SavedTogether, ImagesError> {
    let all = wanted.len();
    let mut saved = SavedTogether::default();
    for image in wanted {
        if reporter.asked_to_stop() {
            return Err(ImagesError::Interrupted { done: saved.report.images.len(), all });
        }
        let name = image.name.clone();
        match export_together(engine, store_dir, vec![image], options, (reporter, Announcement::Silent)).await {
            Ok(one) => saved.add(one),
            Err(broken) => {
                let error = broken.told(reporter);
                if !error.may_be_of_one_image() {
                    return Err(error.counted(saved.report.images.len(), all));
                }
                saved.failures.add(name, error);
            }
        }
    }
    Ok(saved)
}

/// An export of which nothing came.
struct BrokenExport {
    error: ImagesError,
    /// The images that it was for.
    subjects: Vec<String>,
}

impl BrokenExport {
    /// The error, said of each image.
    fn told(self, reporter: &Reporter) -> ImagesError {
        for subject in self.subjects {
            reporter.failed(Activity::SaveImage, subject, &self.error);
        }
        self.error
    }
}

impl From<ImagesError> for BrokenExport {
    fn from(error: ImagesError) -> Self {
        Self { error, subjects: Vec::new() }
    }
}

/// Whether it is said what is going to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announcement {
    Made,
    /// It has been said.
    Silent,
}

async fn export_together(
    engine: &Engine,
    store_dir: &Path,
    wanted: Vec<Wanted>,
    options: &SaveOptions,
    (reporter, announcement): (&Reporter, Announcement),
) -> Result<SavedTogether, BrokenExport> {
    let facts = engine.facts().await.map_err(ImagesError::from)?;
    let (folder, image_store, platform) = (store_dir.to_owned(), facts.image_store, Platform::of_engine(facts));
    let opened_for = platform.clone();
    let look = Stage::begin("save, look", format_args!("{} images, {image_store:?} store, {platform}", wanted.len()));
    let (store, plans) = blocking(move || {
        let store = StoreWriter::open_for(&folder, &opened_for)?;
        let plans =
            wanted.into_iter().map(|wanted| plan(Some(store.layout()), image_store, wanted)).collect::<Vec<_>>();
        Ok::<_, ImagesError>((store, plans))
    })
    .await?;
    let exported: Vec<Wanted> = plans.iter().filter(|plan| plan.exports()).map(|plan| plan.wanted.clone()).collect();
    look.end(format_args!("{} of {} have to be exported", exported.len(), plans.len()));
    let known = if exported.is_empty() { KnownLayers::new() } else { known_layers(store.layout()) };
    let written = Written::Layers { images: exported.clone(), known: known.clone() };
    let estimates = written.estimates(engine).await;
    let disks = written.disks(engine, store_dir, options, &estimates).await?;
    disk_space::check(&disks, options.space, reporter)?;
    if announcement == Announcement::Made {
        announce_plan(&document(&plans, image_store, &known).images, reporter);
    }
    let progress = ExportProgress::new(reporter.clone(), &exported, &estimates);
    progress.begin(plans.iter().filter(|plan| !matches!(plan.step, Step::Keep(_))).map(|plan| &plan.wanted.name));
    let exported: Vec<String> = exported.into_iter().map(|wanted| wanted.name).collect();
    let (project, options) = (options.project.clone(), options.compression);
    let join = Join { store, plans, image_store, project, reporter: reporter.clone() };
    let work = Work { join, platform, options, known };
    let subjects: Vec<String> = work.changed().map(str::to_owned).collect();
    let export = Stage::begin("save, export", exported.join(", "));
    let result = if exported.is_empty() {
        blocking(move || work.finish_without_export()).await
    } else {
        with_export(engine, &exported, reporter, move |reader| work.take_export(reader, progress)).await
    };
    let saved = result.map_err(|error| BrokenExport { error, subjects })?;
    let SaveReport { exported_bytes, new_bytes, .. } = saved.report;
    export.end(format_args!("{exported_bytes} bytes came, {new_bytes} are new in the store"));
    Ok(saved)
}
