//! Archives and layouts from elsewhere → store: verified on the way, and nothing written that the store has.
//!
//! What it comes in is read as data, in one pass. The index names the images when all of their blobs are durable.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use crate::failpoint;
use crate::fs::Digest;
use crate::images::disk_space::{self, DiskSpace, SpaceCheck};
use crate::images::error::{ImagesError, in_one_line};
use crate::images::exchange::inputs::{Input, Source};
use crate::images::exchange::offered::{Named, all_left_out, layout_images, named, read_documents};
use crate::images::exchange::space;
use crate::images::formats::compression::CompressionOptions;
use crate::images::formats::image_archive::{ArchiveContent, ArchiveError, ArchivedImage, LeftOut, PlatformWish};
use crate::images::formats::platform::{Platform, other_architecture};
use crate::images::formats::unpack_limit::UnpackLimit;
use crate::images::pipes::blocking;
use crate::images::stage::Stage;
use crate::images::store::archives::{self, OpenArchive};
use crate::images::store::collect::remove_unused;
use crate::images::store::layer_batch::{BatchFailure, LayerBatch, LayerDamage};
use crate::images::store::layer_writer::LayerWriter;
use crate::images::store::layout::{Layout, StoredLayer};
use crate::images::store::writer::{KnownLayers, NewName, StoreWriter, known_layers};
use crate::manifest::Reference;
use crate::report::{Activity, Message, Reporter};

/// How to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// Of layers that come uncompressed; those that come compressed stay as they are.
    pub compression: CompressionOptions,
    /// Which image of an index of several platforms is meant.
    pub platform: Platform,
    /// Whether the operator asked for that platform: an image of another one is left out then.
    pub is_platform_asked: bool,
    /// The name under which the only image of a file comes in, whatever it is called there.
    pub name: Option<Reference>,
    /// The project that the images are for; noted in the store, which several projects may share.
    pub project: Option<String>,
    /// What to do when the store's disk seems too small.
    pub space: SpaceCheck,
}

/// What `dpl images import` prints: what would be imported, or was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ImportReport {
    /// The store's folder.
    pub store: String,
    /// Whether it has been done; false for what `--dry-run` shows.
    pub done: bool,
    /// In the order of the files, and of each file's images.
    pub images: Vec<ImportedImage>,
    /// What the files hold besides images for this platform, and names that are not valid: left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<ImportLeftOut>,
    /// Bytes written to the store, all images together; 0 where only writing would tell.
    pub new_bytes: u64,
    /// What would be written where, for what `--dry-run` shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskSpace>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl ImportReport {
    /// Images that did not come in, since they are not whole where they come from.
    pub fn damaged(&self) -> Vec<String> {
        self.left_out.iter().filter(|left_out| left_out.damaged).map(|left_out| left_out.name.clone()).collect()
    }
}

/// An image of a file, under one of its references.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ImportedImage {
    /// The archive or the layout's folder.
    pub from: String,
    pub reference: String,
    /// The digest of the image's configuration.
    pub image_id: String,
    pub result: ImportResult,
    /// The image that the store had under this reference before, where that was another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    pub layers_total: u64,
    /// Layers that the store did not have; those that several images share count for the first of them.
    pub layers_new: u64,
    /// Bytes that the store did not have; 0 where only writing would tell.
    pub new_bytes: u64,
}

/// Something in a file that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImportLeftOut {
    /// The file or folder.
    pub from: String,
    pub name: String,
    pub why: Message,
    /// Whether it is an image that is not whole, or whose name another one has too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImportResult {
    /// The store has the image under this reference now, or would have it.
    Imported,
    /// It had it before.
    Unchanged,
}

/// What [`import()`] would do now; changes nothing. Reads the documents of each file, and its layers only as far as it
/// must: damage in them shows when they are imported.
///
/// # Errors
/// A file that is no archive of images and no layout.
pub async fn plan_import(
    store_dir: &Path,
    files: &[PathBuf],
    options: &ImportOptions,
) -> Result<ImportReport, ImagesError> {
    let (folder, files, options) = (store_dir.to_owned(), files.to_vec(), options.clone());
    blocking(move || {
        let layout = Layout::open_for(&folder, &options.platform)?;
        let known = layout.as_ref().map(known_layers).unwrap_or_default();
        let inputs = Input::of(&files)?;
        let disks = space::for_import(&folder, layout.as_ref(), &inputs, &options);
        let mut report = ImportReport { store: folder.display().to_string(), disks, ..ImportReport::default() };
        let mut coming = HashSet::new();
        for input in inputs.iter().filter(|input| input.is_readable_again()) {
            let (mut left_out, file) = (Vec::new(), input.path());
            let mut images = match input.open()? {
                Source::Archive(archive) => read_documents(archive, options.wish(), &mut left_out)
                    .map_err(|source| ImagesError::Archive { origin: input.to_string(), source: Box::new(source) })?,
                Source::Layout(source) => {
                    let look = |layer: &StoredLayer| match known.contains_key(&layer.diff_id) {
                        true => Ok(0),
                        false => source.open_layer(layer, &input.to_string()).map(|_| 0).map_err(BatchFailure::from),
                    };
                    layout_images(&source, &options, &mut left_out, look).map_err(|failure| failure.in_file(file))?
                }
            };
            options.rename(file, &mut images)?;
            report.left_out.extend(all_left_out(file, &images, left_out));
            for Named { image, reference, name } in named(file, &images)? {
                let is_new = |id: &&Digest| !known.contains_key(*id) && coming.insert((*id).clone());
                let layers_new = image.config.diff_ids().iter().filter(is_new).count() as u64;
                let before = layout.as_ref().and_then(|layout| stored_id(layout, &reference));
                report.images.push(imported(file, image, name, before, (layers_new, 0)));
            }
        }
        Ok(report)
    })
    .await
}

/// Takes the images of archives and layouts into the store.
///
/// # Errors
/// Before anything is written: a file that can't be opened. Later: what is no archive of images or is damaged; the
/// files before that one are imported then, which the events tell.
pub async fn import(
    store_dir: &Path,
    files: &[PathBuf],
    options: &ImportOptions,
    reporter: &Reporter,
) -> Result<ImportReport, ImagesError> {
    let started = Instant::now();
    let (folder, files, options, reporter) = (store_dir.to_owned(), files.to_vec(), options.clone(), reporter.clone());
    blocking(move || {
        let inputs = Input::of(&files)?;
        for input in inputs.iter().filter(|input| input.is_readable_again()) {
            input.open()?;
        }
        let layout = Layout::open_for(&folder, &options.platform)?;
        let disks = space::for_import(&folder, layout.as_ref(), &inputs, &options);
        disk_space::check(&disks, options.space, &reporter)?;
        let store = StoreWriter::open_for(&folder, &options.platform)?;
        let mut import = Import { store, options, reporter, report: ImportReport::default() };
        for (done, input) in inputs.iter().enumerate() {
            if import.reporter.asked_to_stop() {
                return Err(ImagesError::Interrupted { done, all: inputs.len() });
            }
            let subject = input.to_string();
            import.reporter.began(Activity::ImportImage, &subject, input.size_bytes());
            match import.take_file(input) {
                Ok(message) => import.reporter.done(Activity::ImportImage, &subject, message),
                // Reading was broken off: what it says of the archive is not true of it.
                Err(_) if import.reporter.asked_to_stop() => {
                    import.reporter.failed(Activity::ImportImage, &subject, &ImagesError::Stopped);
                    return Err(ImagesError::Interrupted { done, all: inputs.len() });
                }
                Err(error) => {
                    import.reporter.failed(Activity::ImportImage, &subject, &error);
                    return Err(error);
                }
            }
        }
        let mut report = import.report;
        report.store = folder.display().to_string();
        report.done = true;
        report.new_bytes = report.images.iter().map(|image| image.new_bytes).sum();
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    })
    .await
}

impl ImportOptions {
    pub(super) fn wish(&self) -> PlatformWish<'_> {
        if self.is_platform_asked { PlatformWish::Asked(&self.platform) } else { PlatformWish::Usual(&self.platform) }
    }

    /// Gives the only image of a file the name that was asked for.
    fn rename<L>(&self, file: &Path, images: &mut [ArchivedImage<L>]) -> Result<(), ImagesError> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        match images {
            [image] => {
                image.references = vec![name.to_string()];
                Ok(())
            }
            _ => {
                let (origin, count) = (file.display().to_string(), images.len());
                Err(ImagesError::Archive { origin, source: Box::new(ArchiveError::OneNameForSeveral { count }) })
            }
        }
    }
}

/// No archive that somebody pipes in is taken to be larger: 4 TiB of layers fit into what it may unpack to.
const LARGEST_STREAM_BYTES: u64 = 128 << 20;

/// One import, as far as it has come.
struct Import {
    store: StoreWriter,
    options: ImportOptions,
    reporter: Reporter,
    report: ImportReport,
}

impl Import {
    fn take_file(&mut self, input: &Input) -> Result<Message, ImagesError> {
        let file = input.path();
        let known = known_layers(self.store.layout());
        let writer = LayerWriter::new(self.store.layout().folder(), self.options.compression, known.clone());
        let mut left_out = Vec::new();
        let stage = Stage::begin("import, read", file.display());
        let source = input.open_stoppable(&self.reporter)?;
        // What is packed as a whole may hold layers that are packed again; the blobs of a layout are packed once. How large
        // a stream is nobody knows before its end.
        let writer = match &source {
            Source::Archive(_) => {
                let size_bytes = input.size_bytes().unwrap_or(LARGEST_STREAM_BYTES);
                writer.within(UnpackLimit::of(size_bytes))
            }
            Source::Layout(_) => writer,
        };
        let mut batch = LayerBatch::new(writer).with_damage(LayerDamage::EndsItsImages);
        let read = match source {
            Source::Archive(archive) => {
                self.refuse_before_writing(&archive, file)?;
                self.read_archive(archive, file, &mut batch, &mut left_out)
            }
            Source::Layout(layout) => self.read_layout(&layout, file, &known, (&mut batch, &mut left_out)),
        };
        let settled = batch.settle();
        let images = read.and_then(|images| settled.map(|()| images)).map_err(|failure| failure.in_file(file));
        let images = images.and_then(|mut images| {
            self.options.rename(file, &mut images)?;
            let mut first_damage = None;
            images.retain(|image| {
                let Err(error) = batch.layers_of(image) else { return true };
                let name = image.references.first().cloned();
                let name = name.unwrap_or_else(|| image.config_digest.short().to_owned());
                left_out.push(LeftOut::damaged(name, in_one_line(&error)));
                first_damage.get_or_insert(error);
                false
            });
            if let Some(source) = first_damage
                && images.iter().all(|image| image.references.is_empty())
            {
                return Err(BatchFailure::Archive(source).in_file(file));
            }
            named(file, &images)?;
            Ok(images)
        });
        let images = match images {
            Ok(images) => images,
            Err(error) => {
                // What an interrupted import has brought is of use to the next; what was refused is of none.
                if !self.reporter.asked_to_stop() {
                    remove_unused(self.store.layout(), &batch, &HashSet::new())?;
                }
                return Err(error);
            }
        };
        for left_out in all_left_out(file, &images, left_out) {
            let message =
                message!("images-left-out", file = &left_out.from, name = &left_out.name, why = &left_out.why);
            self.reporter.notice(message);
            self.report.left_out.push(left_out);
        }
        stage.end(format_args!("{} images", images.len()));
        let stage = Stage::begin("import, name", file.display());
        let before = self.report.images.len();
        self.join(file, &images, &batch)?;
        let taken = &self.report.images[before..];
        let new_bytes: u64 = taken.iter().map(|image| image.new_bytes).sum();
        let imported = taken.iter().filter(|image| image.result == ImportResult::Imported).count();
        stage.end(format_args!("{new_bytes} bytes are new in the store"));
        Ok(match imported {
            0 => message!("images-unchanged"),
            _ => message!("images-imported", images = imported, new_bytes = new_bytes),
        })
    }

    /// The documents of a raw archive can be read before its layers: one without a name that can be used is refused
    /// before gigabytes of it are in the store.
    fn refuse_before_writing(&self, archive: &OpenArchive, file: &Path) -> Result<(), ImagesError> {
        if !matches!(archive, OpenArchive::Raw(_)) {
            return Ok(());
        }
        let again = archives::open(file).map_err(|source| ImagesError::file(message!("verb-read"), file, source))?;
        let images = read_documents(again, self.options.wish(), &mut Vec::new());
        let origin = file.display().to_string();
        let mut images = images.map_err(|source| ImagesError::Archive { origin, source: Box::new(source) })?;
        self.options.rename(file, &mut images)?;
        named(file, &images).map(|_| ())
    }

    fn read_archive(
        &self,
        archive: OpenArchive,
        file: &Path,
        batch: &mut LayerBatch,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<ArchivedImage<usize>>, BatchFailure> {
        let mut meter = self.reporter.meter(Activity::ImportImage, file.display().to_string(), None);
        let content: Result<_, BatchFailure> =
            ArchiveContent::read(archive, |layer, body| batch.take(&layer, &mut meter.over(body)));
        Ok(content?.images(self.options.wish(), left_out)?)
    }

    fn read_layout(
        &self,
        source: &Layout,
        file: &Path,
        known: &KnownLayers,
        (batch, left_out): (&mut LayerBatch, &mut Vec<LeftOut>),
    ) -> Result<Vec<ArchivedImage<usize>>, BatchFailure> {
        let mut meter = self.reporter.meter(Activity::ImportImage, file.display().to_string(), None);
        let mut taken: Vec<(Digest, usize)> = Vec::new();
        layout_images(source, &self.options, left_out, |layer| {
            if let Some((_, at)) = taken.iter().find(|(diff_id, _)| *diff_id == layer.diff_id) {
                return Ok(*at);
            }
            let at = match known.get(&layer.diff_id) {
                Some(known) => batch.add_known(known.clone()),
                None => {
                    let (mut blob, _) = source.open_layer(layer, &file.display().to_string())?;
                    let pending = batch.writer.take(&mut meter.over(&mut blob), layer.size_bytes, Some(&layer.blob));
                    let path = layer.blob.to_string();
                    let pending = pending.map_err(|error| BatchFailure::of(&path, error))?;
                    batch.add(&path, pending)?
                }
            };
            taken.push((layer.diff_id.clone(), at));
            Ok(at)
        })
    }

    /// Joins layers to images and lets the references name them.
    fn join(&mut self, file: &Path, images: &[ArchivedImage<usize>], batch: &LayerBatch) -> Result<(), ImagesError> {
        let failed = |source| ImagesError::Archive { origin: file.display().to_string(), source: Box::new(source) };
        let mut counted: HashSet<Digest> = HashSet::new();
        let mut used: HashSet<Digest> = HashSet::new();
        let (mut new_names, mut kept) = (Vec::new(), Vec::new());
        for Named { image, reference, name } in named(file, images)? {
            let layers = batch.layers_of(image).map_err(failed)?;
            let stored: Vec<StoredLayer> = layers.iter().map(|taken| taken.layer.clone()).collect();
            failpoint!("images.import.before-config");
            let added = self.store.add_image(&image.config_bytes, &stored)?;
            let mut new_bytes = added.new_bytes;
            let mut layers_new = 0;
            for taken in layers {
                used.insert(taken.layer.blob.clone());
                if taken.new_bytes > 0 && counted.insert(taken.layer.blob.clone()) {
                    new_bytes += taken.new_bytes;
                    layers_new += 1;
                }
            }
            // Who names a platform knows what it is for.
            if !self.options.is_platform_asked
                && let Some(message) = other_architecture(&name, &image.config, self.options.platform.architecture())
            {
                self.reporter.warn(message);
            }
            let before = stored_id(self.store.layout(), &reference);
            let report = imported(file, image, name, before, (layers_new, new_bytes));
            match report.result {
                ImportResult::Imported => {
                    new_names.push(NewName { reference, manifest: added.manifest, engine_ids: Vec::new() });
                }
                ImportResult::Unchanged => kept.push(reference),
            }
            if let Some(replaced) = &report.replaced {
                let message = message!(
                    "images-import-replaced",
                    reference = &report.reference,
                    id = &replaced["sha256:".len()..][..12]
                );
                self.reporter.notice(message);
            }
            self.report.images.push(report);
        }
        self.store.name_images_for(self.options.project.as_deref(), &new_names, &kept)?;
        remove_unused(self.store.layout(), batch, &used)
    }
}

fn imported<L>(
    file: &Path,
    image: &ArchivedImage<L>,
    name: String,
    before: Option<Digest>,
    (layers_new, new_bytes): (u64, u64),
) -> ImportedImage {
    let is_there = before.as_ref() == Some(&image.config_digest);
    ImportedImage {
        from: file.display().to_string(),
        reference: name,
        image_id: image.config_digest.to_string(),
        result: if is_there { ImportResult::Unchanged } else { ImportResult::Imported },
        replaced: before.filter(|_| !is_there).map(|id| id.to_string()),
        layers_total: image.layers.len() as u64,
        layers_new,
        new_bytes,
    }
}

/// The image that the store has under a reference, if all of it is there.
fn stored_id(layout: &Layout, reference: &Reference) -> Option<Digest> {
    let image = layout.image(reference).ok().flatten()?;
    layout.missing_blob(&image).is_none().then_some(image.config_digest)
}
