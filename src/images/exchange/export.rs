//! Store → one archive that every `docker load` takes.
//!
//! It is what engines write since 25: an OCI layout and a `manifest.json` in one tar. Engines before that, and those
//! of the classic store, read `manifest.json`, those of the containerd store the layout. Layers are uncompressed, as
//! 20.10 wants them, and each is there once. The documents that name images come last, after every layer has passed
//! its digests, so that nothing damaged can become an image.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failpoint;
use crate::fs::{Digest, Mode, Output, OutputOptions, OutputTarget};
use crate::images::disk_space::{self, DiskSpace, SpaceCheck};
use crate::images::engine_layers::plain_manifest;
use crate::images::error::ImagesError;
use crate::images::exchange::parts::{PartsWriter, must_be_few, part_path};
use crate::images::exchange::space;
use crate::images::formats::archive_writer::{ArchiveWriter, blob_path, index_json, manifest_item, manifest_json};
use crate::images::formats::compression::{Compression, CompressionOptions, Encoder};
use crate::images::formats::documents::{CONTAINERD_NAME, Descriptor, MANIFEST_TYPE, REF_NAME};
use crate::images::names::{containerd_name, engine_name};
use crate::images::pipes::blocking;
use crate::images::store::layer_check::{LayerOf, UnpackFailure, measure, unpack_into};
use crate::images::store::layout::{Layout, StoredImage, StoredLayer, is_part_of};
use crate::images::store::verify::other_platforms;
use crate::manifest::Reference;
use crate::report::{Activity, Message, Reporter};

/// Where an export goes.
pub enum ExportTarget {
    /// A path, by the rules of [`Output`]: a file appears under its name when it is whole.
    Path(PathBuf),
    /// Files `FILE.001`, `FILE.002`, … of this many bytes, which appear when all of them are whole.
    Parts { output: PathBuf, part_bytes: u64 },
    /// A stream; one that breaks off is no archive.
    Stream(Box<dyn Write + Send>),
}

impl ExportTarget {
    /// What messages call it.
    fn shown(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Parts { output, .. } => part_path(output, 1).display().to_string(),
            Self::Stream(_) => "-".to_owned(),
        }
    }
}

/// How to export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Of the file as a whole; `docker load` of 20.10 reads gzip and uncompressed ones.
    pub compression: CompressionOptions,
    /// What to do when the disk seems too small for the file.
    pub space: SpaceCheck,
}

/// What `dpl images export` prints: what would be exported, or was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ExportReport {
    /// The file; `-` for standard output.
    pub output: String,
    /// Whether it has been done; false for what `--dry-run` shows.
    pub done: bool,
    /// In the order that they were asked for, each reference once.
    pub images: Vec<ExportedImage>,
    /// Distinct layers in the archive.
    pub layers: u64,
    /// Their bytes before the file is compressed; null where nobody wrote that down.
    pub layer_bytes: Option<u64>,
    /// Bytes written.
    pub written_bytes: u64,
    /// The files of an export in parts, `FILE.001` and on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// What would be written where, for what `--dry-run` shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskSpace>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// An image of an export.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExportedImage {
    pub reference: String,
    /// The digest of the image's configuration.
    pub image_id: String,
    pub layers_total: u64,
}

/// What [`export()`] would do; changes nothing.
///
/// # Errors
/// References that the store does not have (all of them named), and images with a missing or truncated blob.
pub async fn plan_export(
    store_dir: &Path,
    references: &[Reference],
    target: ExportTarget,
    options: ExportOptions,
) -> Result<ExportReport, ImagesError> {
    let (folder, references) = (store_dir.to_owned(), references.to_vec());
    blocking(move || {
        must_not_be_of_the_store(&folder, &target)?;
        let contents = Contents::read(&folder, &references)?;
        contents.must_fit_into_parts(&target, options)?;
        let disks = contents.disks(&target, options);
        Ok(ExportReport { disks, ..contents.report(&target.shown()) })
    })
    .await
}

/// Writes one archive with all the images.
///
/// # Errors
/// Those of [`plan_export`]; damage that only reading finds, and then no file comes to be.
pub async fn export(
    store_dir: &Path,
    references: &[Reference],
    target: ExportTarget,
    options: ExportOptions,
    reporter: &Reporter,
) -> Result<ExportReport, ImagesError> {
    let started = Instant::now();
    let (folder, references, reporter) = (store_dir.to_owned(), references.to_vec(), reporter.clone());
    blocking(move || {
        let output = target.shown();
        must_not_be_of_the_store(&folder, &target)?;
        let contents = Contents::read(&folder, &references)?;
        contents.must_fit_into_parts(&target, options)?;
        disk_space::check(&contents.disks(&target, options), options.space, &reporter)?;
        contents.platforms_left_out().into_iter().for_each(|message| reporter.warn(message));
        let total = contents.report(&output).layer_bytes;
        reporter.began(Activity::ExportImage, &output, total);
        match contents.write(target, options, &output, &reporter) {
            Ok((written_bytes, parts)) => {
                let report = contents.report(&output);
                let message = message!("images-exported", images = report.images.len(), bytes = written_bytes);
                reporter.done(Activity::ExportImage, &output, message);
                let seconds = started.elapsed().as_secs_f64();
                let parts = parts.iter().map(|part| part.display().to_string()).collect();
                Ok(ExportReport { done: true, written_bytes, parts, seconds, ..report })
            }
            Err(error) => {
                reporter.failed(Activity::ExportImage, &output, &error);
                Err(error)
            }
        }
    })
    .await
}

/// An export over `index.json` would take all names from the store.
fn must_not_be_of_the_store(folder: &Path, target: &ExportTarget) -> Result<(), ImagesError> {
    let path = match target {
        ExportTarget::Path(path) => path.clone(),
        ExportTarget::Parts { output, .. } => part_path(output, 1),
        ExportTarget::Stream(_) => return Ok(()),
    };
    // What can't be looked at is told when it is opened.
    match OutputTarget::of(&path) {
        Ok(OutputTarget::New(file) | OutputTarget::Existing(file)) if is_part_of(folder, &file) => {
            Err(ImagesError::ExportIntoStore { path, folder: folder.to_owned() })
        }
        _ => Ok(()),
    }
}

/// What goes into an archive.
struct Contents {
    layout: Layout,
    /// Each image once, with the references that name it.
    images: Vec<(StoredImage, Vec<Reference>)>,
    /// Each reference with its name and image, in the order that they were asked for.
    names: Vec<(String, usize)>,
}

impl Contents {
    fn read(folder: &Path, references: &[Reference]) -> Result<Self, ImagesError> {
        let not_stored = |references| ImagesError::NotStored { references, folder: folder.to_owned() };
        let names = || references.iter().filter_map(engine_name);
        let layout = Layout::open(folder)?.ok_or_else(|| not_stored(names().collect()))?;
        let mut contents = Self { layout, images: Vec::new(), names: Vec::new() };
        let mut missing = Vec::new();
        for reference in references {
            let name = engine_name(reference).ok_or_else(|| ImagesError::NoTag {
                reference: reference.to_string(),
                digest: reference.digest().map(ToString::to_string).unwrap_or_default(),
            })?;
            if contents.names.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let Some(image) = contents.layout.image(reference)? else {
                missing.push(name);
                continue;
            };
            if let Some(error) = contents.layout.missing_blob(&image) {
                return Err(error);
            }
            let known = contents.images.iter().position(|(other, _)| other.config_digest == image.config_digest);
            let at = known.unwrap_or_else(|| {
                contents.images.push((image, Vec::new()));
                contents.images.len() - 1
            });
            contents.images[at].1.push(reference.clone());
            contents.names.push((name, at));
        }
        if missing.is_empty() { Ok(contents) } else { Err(not_stored(missing)) }
    }

    /// An archive for `docker load` has one image of each name: what else the store has under it is told.
    fn platforms_left_out(&self) -> Vec<Message> {
        let references = self.images.iter().flat_map(|(_, references)| references);
        let is_one_of_several = |reference: &&Reference| {
            self.layout.entry(reference).is_some_and(|entry| !other_platforms(&self.layout, entry).is_empty())
        };
        let message = |reference: &Reference| {
            let name = engine_name(reference).unwrap_or_else(|| reference.to_string());
            message!("images-export-one-platform", reference = name, platform = self.layout.platform())
        };
        references.filter(is_one_of_several).map(message).collect()
    }

    /// Each layer once.
    fn layers(&self) -> Vec<(&StoredLayer, &str)> {
        let mut seen = std::collections::HashSet::new();
        let all =
            self.images.iter().flat_map(|(image, _)| image.layers.iter().map(|layer| (layer, image.name.as_str())));
        all.filter(|(layer, _)| seen.insert(&layer.diff_id)).collect()
    }

    fn disks(&self, target: &ExportTarget, options: ExportOptions) -> Vec<DiskSpace> {
        let sizes = self.layers().into_iter().map(|(layer, _)| layer.uncompressed_bytes.unwrap_or(layer.size_bytes));
        space::for_export(target, sizes.sum(), options.compression.compression)
    }

    /// An archive that is not compressed is at least as large as its layers: one of too many parts is refused before it is
    /// written.
    fn must_fit_into_parts(&self, target: &ExportTarget, options: ExportOptions) -> Result<(), ImagesError> {
        let ExportTarget::Parts { output, part_bytes } = target else {
            return Ok(());
        };
        if options.compression.compression != Compression::None {
            return Ok(());
        }
        let known: u64 = self.layers().into_iter().filter_map(|(layer, _)| layer.uncompressed_bytes).sum();
        must_be_few(known, *part_bytes).map_err(|source| ImagesError::file(message!("verb-write"), output, source))
    }

    fn report(&self, output: &str) -> ExportReport {
        let image = |(name, at): &(String, usize)| ExportedImage {
            reference: name.clone(),
            image_id: self.images[*at].0.config_digest.to_string(),
            layers_total: self.images[*at].0.layers.len() as u64,
        };
        let layers = self.layers();
        ExportReport {
            output: output.to_owned(),
            images: self.names.iter().map(image).collect(),
            layers: layers.len() as u64,
            layer_bytes: layers.iter().map(|(layer, _)| layer.uncompressed_bytes).sum(),
            ..ExportReport::default()
        }
    }

    /// Gives the bytes written, and the parts of an archive in parts.
    fn write(
        &self,
        target: ExportTarget,
        options: ExportOptions,
        output: &str,
        reporter: &Reporter,
    ) -> Result<(u64, Vec<PathBuf>), ImagesError> {
        let options = options.compression;
        let path = Path::new(output);
        let failed = |source| ImagesError::file(message!("verb-write"), path, source);
        match target {
            ExportTarget::Path(path) => {
                let gives_up = || reporter.asked_to_stop();
                let opening = OutputOptions { mode: Mode::Shared, mark: MARK, gives_up: &gives_up };
                let out = match Output::create(&path, &opening) {
                    Err(_) if reporter.asked_to_stop() => return Err(ImagesError::Interrupted { done: 0, all: 1 }),
                    opened => opened.map_err(failed)?,
                };
                let (mut out, bytes) = self.write_all(out, options, output, reporter)?;
                failpoint!("images.export.before-rename");
                out.flush().map_err(failed)?;
                out.commit().map_err(failed)?;
                failpoint!("images.export.after-rename");
                Ok((bytes, Vec::new()))
            }
            ExportTarget::Parts { output: path, part_bytes } => {
                let out = PartsWriter::new(&path, part_bytes, MARK);
                let (out, bytes) = self.write_all(out, options, output, reporter)?;
                let parts = out.commit().map_err(failed)?;
                Ok((bytes, parts))
            }
            ExportTarget::Stream(stream) => {
                let (mut stream, bytes) = self.write_all(stream, options, output, reporter)?;
                stream.flush().map_err(failed)?;
                Ok((bytes, Vec::new()))
            }
        }
    }

    fn write_all<W: Write>(
        &self,
        out: W,
        options: CompressionOptions,
        output: &str,
        reporter: &Reporter,
    ) -> Result<(W, u64), ImagesError> {
        let failed = |source| ImagesError::file(message!("verb-write"), Path::new(output), source);
        let mut sizes: HashMap<&Digest, u64> = HashMap::new();
        for (layer, name) in self.layers() {
            let bytes = match layer.uncompressed_bytes {
                Some(bytes) => bytes,
                None => measure(&self.layout, layer, name)?,
            };
            sizes.insert(&layer.diff_id, bytes);
        }
        let total_bytes = sizes.values().sum();
        let mut meter = reporter.meter(Activity::ExportImage, output, Some(total_bytes));
        let mut archive = ArchiveWriter::new(Encoder::new(Counted { inner: out, bytes: 0 }, &options).map_err(failed)?);
        archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
        for (layer, name) in self.layers() {
            failpoint!("images.export.before-layer");
            let (path, size_bytes) = (blob_path(&layer.diff_id), sizes[&layer.diff_id]);
            let of = LayerOf { layout: &self.layout, layer, name };
            let unpacked = unpack_into(&mut archive, (&path, size_bytes), of, |bytes| {
                meter.add(bytes);
                !reporter.asked_to_stop()
            });
            unpacked.map_err(|failure| match failure {
                UnpackFailure::Write(source) => failed(source),
                UnpackFailure::Stopped => ImagesError::Stopped,
                UnpackFailure::Layer(error) => error,
            })?;
        }
        let (items, index) = self.documents(&mut archive, &sizes).map_err(failed)?;
        failpoint!("images.export.before-manifest");
        archive.file("index.json", &index_json(&index)).map_err(failed)?;
        archive.file("manifest.json", &manifest_json(&items)).map_err(failed)?;
        let (encoder, _) = archive.finish().map_err(failed)?;
        let counted = encoder.finish().map_err(failed)?;
        Ok((counted.inner, counted.bytes))
    }

    /// Writes each image's configuration and manifest; gives what `manifest.json` and `index.json` say of them.
    fn documents<W: Write>(
        &self,
        archive: &mut ArchiveWriter<W>,
        sizes: &HashMap<&Digest, u64>,
    ) -> io::Result<(Vec<Value>, Vec<Descriptor>)> {
        let (mut items, mut index) = (Vec::new(), Vec::new());
        for (image, references) in &self.images {
            let layers: Vec<(Digest, u64)> =
                image.layers.iter().map(|layer| (layer.diff_id.clone(), sizes[&layer.diff_id])).collect();
            let manifest = plain_manifest(&image.config_digest, image.config_bytes.len() as u64, &layers).to_bytes();
            let digest = Digest::of(&manifest);
            archive.file(&blob_path(&image.config_digest), &image.config_bytes)?;
            archive.file(&blob_path(&digest), &manifest)?;
            for reference in references {
                let descriptor = Descriptor::new(MANIFEST_TYPE, digest.clone(), manifest.len() as u64)
                    .with(CONTAINERD_NAME, containerd_name(reference));
                index.push(descriptor.with(REF_NAME, engine_name(reference).unwrap_or_default()));
            }
            let paths: Vec<String> = layers.iter().map(|(diff_id, _)| blob_path(diff_id)).collect();
            let names = references.iter().filter_map(engine_name).collect();
            items.push(manifest_item(&blob_path(&image.config_digest), Some(names), &paths));
        }
        Ok((items, index))
    }
}

/// What unfinished exports are called: others than the store's own, since they lie in anybody's folder.
const MARK: &str = ".dpl-export-";

/// Counts what is written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
