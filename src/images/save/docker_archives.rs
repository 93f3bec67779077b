//! Engine → one `docker save` archive an image, under deploy.py's names, for sites that still work with those.
//!
//! The engine's own bytes, compressed; read through on the way, so that no archive gets its name that does not hold
//! the image in full.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::engine::{Engine, ImageStore};
use crate::failpoint;
use crate::fs::{Digest, HashingReader, HashingWriter, Mode, Output, OutputOptions, TEMPORARY_MARK};
use crate::images::announce_plan;
use crate::images::disk_space;
use crate::images::error::ImagesError;
use crate::images::formats::compression::{CompressionOptions, Encoder, PlainReader};
use crate::images::formats::image_archive::{ArchiveError, ArchivedImage, LayerFile, read_archive};
use crate::images::formats::platform::Platform;
use crate::images::formats::tar_reader::Streamed;
use crate::images::identity::Identity;
use crate::images::names::archive_name_beside;
use crate::images::pipes::blocking;
use crate::images::save::engine_export::{export_error, find, with_export};
use crate::images::save::failures::SaveFailures;
use crate::images::save::layer_sizes::LayerEstimates;
use crate::images::save::options::SaveOptions;
use crate::images::save::plan::{Wanted, Written, known_id};
use crate::images::save::report::{PlannedSave, PlannedSaveResult, SaveReport, SaveResult, SavedImage};
use crate::images::store::archives::{ArchiveFolder, OldArchive};
use crate::images::store::lock::lock_folder;
use crate::report::{Activity, Meter, Reporter};

/// Writes an archive for each image whose archive is missing or holds another image.
pub(in crate::images) async fn save_archives(
    engine: &Engine,
    folder: &Path,
    wanted: Vec<Wanted>,
    options: &SaveOptions,
    reporter: &Reporter,
) -> Result<SaveReport, ImagesError> {
    let facts = engine.facts().await?;
    let (image_store, platform) = (facts.image_store, Platform::of_engine(facts));
    let mut report = SaveReport::default();
    let all = wanted.len();
    let (owned, options) = (folder.to_owned(), options.clone());
    let told_options = options.clone();
    let (_lock, jobs) = blocking(move || {
        let lock = lock_folder(&owned)?;
        Ok::<_, ImagesError>((lock, plan_archives(&owned, wanted, &options, (image_store, &platform))))
    })
    .await?;
    let kind = Written::archives(&jobs);
    let disks = kind.disks(engine, folder, &told_options, &LayerEstimates::default()).await?;
    disk_space::check(&disks, told_options.space, reporter)?;
    announce_plan(&jobs.iter().map(ArchiveJob::planned).collect::<Vec<_>>(), reporter);
    let coming: Vec<&Wanted> = jobs.iter().filter(|job| !job.is_done()).map(ArchiveJob::wanted).collect();
    if !coming.is_empty() {
        let total_bytes = coming.iter().map(|wanted| wanted.view.size_bytes).sum();
        reporter.planned(Activity::SaveImage, coming.len(), Some(total_bytes));
    }
    let files: Vec<PathBuf> = jobs.iter().map(|job| job.path.clone()).collect();
    let mut failures = SaveFailures::default();
    for job in jobs {
        let done = report.images.len();
        if reporter.asked_to_stop() {
            return Err(ImagesError::Interrupted { done, all });
        }
        let (name, names) = (job.wanted.name.clone(), [job.wanted.name.clone()]);
        let saved = match job.present.clone() {
            Some(saved) => {
                reporter.done(Activity::SaveImage, &name, message!("images-unchanged"));
                saved
            }
            None => {
                reporter.began(Activity::SaveImage, &name, Some(job.wanted.view.size_bytes));
                let told = reporter.clone();
                let written = with_export(engine, &names, reporter, move |reader| job.write(reader, &told)).await;
                let (saved, exported_bytes) = match written {
                    Ok(written) => written,
                    Err(error) => {
                        reporter.failed(Activity::SaveImage, &name, &error);
                        if !error.may_be_of_one_image() {
                            return Err(error.counted(done, all));
                        }
                        failures.add(name, error);
                        continue;
                    }
                };
                report.exported_bytes += exported_bytes;
                let message = message!("images-saved", new_bytes = saved.new_bytes);
                reporter.done(Activity::SaveImage, &name, message);
                saved
            }
        };
        report.new_bytes += saved.new_bytes;
        report.images.push(saved);
    }
    let (owned, read_for) = (folder.to_owned(), Platform::of_engine(engine.facts().await?));
    // Read once more now, so that the next save and the next load need not.
    blocking(move || {
        if let Ok(archives) = ArchiveFolder::open(&owned) {
            let mut archives = archives.for_platform(&read_for);
            for path in &files {
                let _ = archives.read_file(path);
            }
            archives.remember();
        }
    })
    .await;
    failures.result(report, all)
}

/// What has to be done for each image; changes nothing.
pub(in crate::images) fn plan_archives(
    folder: &Path,
    wanted: Vec<Wanted>,
    options: &SaveOptions,
    (image_store, platform): (ImageStore, &Platform),
) -> Vec<ArchiveJob> {
    let compression = options.compression;
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<String> = listed.filter_map(|file| file.file_name().into_string().ok()).collect();
    let mut known = ArchiveFolder::open(folder).ok().map(|known| known.for_platform(platform));
    let jobs = wanted.into_iter().map(|wanted| {
        let name = archive_name_beside(&wanted.reference, files.iter().map(String::as_str));
        let file = format!("{name}.tar{}", compression.compression.suffix());
        files.push(file.clone());
        let path = folder.join(file);
        let mut job = ArchiveJob { path, image_store, platform: platform.clone(), compression, wanted, present: None };
        job.present = known.as_mut().and_then(|known| job.find_present(known));
        job
    });
    jobs.collect()
}

/// An archive that is to hold one image.
pub(in crate::images) struct ArchiveJob {
    path: PathBuf,
    image_store: ImageStore,
    platform: Platform,
    compression: CompressionOptions,
    wanted: Wanted,
    /// The archive as it is, when it holds this very image.
    present: Option<SavedImage>,
}

impl ArchiveJob {
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether the archive holds this very image.
    pub fn is_done(&self) -> bool {
        self.present.is_some()
    }

    /// What `--dry-run` says of it.
    pub fn planned(&self) -> PlannedSave {
        let layers_total = self.wanted.view.diff_ids.len() as u64;
        let (result, image_id) = match &self.present {
            Some(present) => (PlannedSaveResult::Unchanged, Some(present.image_id.clone())),
            None => (PlannedSaveResult::WouldSave, known_id(self.image_store, &self.wanted.view)),
        };
        PlannedSave {
            reference: self.wanted.name.clone(),
            image_id,
            result,
            layers_total,
            layers_to_send: if self.present.is_some() { 0 } else { layers_total },
            bytes_to_send: self.present.is_some().then_some(0),
            engine_bytes: self.wanted.view.size_bytes,
        }
    }

    fn find_present(&self, known: &mut ArchiveFolder) -> Option<SavedImage> {
        // Only this one: the folder may hold many others that nobody has read yet.
        let archive: OldArchive = known.read_file(&self.path)?;
        let image = archive.image(&self.wanted.name)?;
        let is_it = Identity::of_archived(image, &image.sizes()).is(self.image_store, &self.wanted.view);
        let total_bytes = std::fs::metadata(&self.path).ok()?.len();
        is_it.then(|| self.saved(&image.config_digest, SaveResult::Unchanged, 0, total_bytes))
    }

    /// Writes the archive; gives the size of the export too.
    fn write(self, reader: impl Read, reporter: &Reporter) -> Result<(SavedImage, u64), ImagesError> {
        let failed = |source| ImagesError::file(message!("verb-write"), &self.path, source);
        // A link to another disk stays one. Nobody else is writing here: the folder is locked.
        let gives_up = || reporter.asked_to_stop();
        let opening = OutputOptions { mode: Mode::Shared, mark: TEMPORARY_MARK, gives_up: &gives_up };
        let file = HashingWriter::new(Output::create(&self.path, &opening).map_err(failed)?);
        let encoder = Encoder::new(file, &self.compression).map_err(failed)?;
        let engine_bytes = self.wanted.view.size_bytes;
        let meter = reporter.meter(Activity::SaveImage, &self.wanted.name, Some(engine_bytes));
        let mut tee = Tee { inner: reader, out: encoder, write_error: None, meter };
        let images = read_archive(Streamed(&mut tee), &self.platform, hash_layer);
        if let Some(error) = tee.write_error.take() {
            return Err(failed(error));
        }
        let images: Vec<ArchivedImage<Digest>> = images.map_err(export_error)?;
        let image = find(&images, &self.wanted, self.image_store)
            .ok_or_else(|| ImagesError::ExportDiffers { reference: self.wanted.name.clone() })?;
        for (layer, expected) in image.layers.iter().zip(image.config.diff_ids()) {
            if layer != expected {
                let path = layer.to_string();
                return Err(export_error(ArchiveError::WrongDiffId { path, expected: expected.clone() }));
            }
        }
        let exported_bytes = tee.meter.done_bytes();
        let (file, _, size_bytes) = tee.out.finish().map_err(failed)?.finish();
        failpoint!("images.save.before-archive");
        file.commit().map_err(failed)?;
        failpoint!("images.save.after-archive");
        Ok((self.saved(&image.config_digest, SaveResult::Saved, size_bytes, size_bytes), exported_bytes))
    }

    fn saved(&self, config: &Digest, result: SaveResult, new_bytes: u64, total_bytes: u64) -> SavedImage {
        let reference = self.wanted.name.clone();
        SavedImage { reference, image_id: config.to_string(), result, new_bytes, total_bytes }
    }
}

/// The layer's diff ID.
fn hash_layer(file: LayerFile<'_>, body: &mut dyn Read) -> Result<Digest, ArchiveError> {
    let failed = |source| ArchiveError::Layer { path: file.path.to_owned(), source };
    let (plain, _) = PlainReader::sniff(body).map_err(failed)?;
    let mut hashing = HashingReader::new(plain);
    io::copy(&mut hashing, &mut io::sink()).map_err(failed)?;
    Ok(hashing.finish().1)
}

/// Writes all that is read through it.
struct Tee<R, W> {
    inner: R,
    out: W,
    write_error: Option<io::Error>,
    meter: Meter,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Err(error) = self.out.write_all(&buffer[..read]) {
            self.write_error = Some(error);
            return Err(io::Error::other("the archive can't be written"));
        }
        self.meter.add(read as u64);
        Ok(read)
    }
}
