//! One export on its way into the store, read in a thread: each file that may be a layer goes into the store as it comes.

use crate::failpoint;
use crate::images::error::ImagesError;
use crate::images::formats::compression::CompressionOptions;
use crate::images::formats::image_archive::{ArchiveContent, ArchivedImage};
use crate::images::formats::platform::Platform;
use crate::images::formats::tar_reader::Streamed;
use crate::images::pipes::TaskReader;
use crate::images::save::engine_export::EXPORT;
use crate::images::save::failures::SavedTogether;
use crate::images::save::join::{Join, ReadExport};
use crate::images::save::plan::Step;
use crate::images::save::progress::ExportProgress;
use crate::images::store::layer_batch::{BatchFailure, LayerBatch, LayerDamage};
use crate::images::store::layer_writer::LayerWriter;
use crate::images::store::writer::KnownLayers;

/// All that the thread needs.
pub struct Work {
    pub join: Join,
    pub platform: Platform,
    pub options: CompressionOptions,
    pub known: KnownLayers,
}

impl Work {
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        self.join.plans.iter().filter(|plan| !matches!(plan.step, Step::Keep(_))).map(|plan| plan.wanted.name.as_str())
    }

    fn new_batch(&mut self) -> LayerBatch {
        let known = std::mem::take(&mut self.known);
        LayerBatch::new(LayerWriter::new(self.join.store.layout().folder(), self.options, known))
            .with_damage(LayerDamage::EndsItsImages)
    }

    /// For images that the store has: only their names change, if anything.
    pub fn finish_without_export(mut self) -> Result<SavedTogether, ImagesError> {
        let batch = self.new_batch();
        self.join.finish(&ReadExport { images: Vec::new(), batch, bytes: 0 }, Vec::new())
    }

    pub fn take_export(
        mut self,
        mut reader: TaskReader,
        mut progress: ExportProgress,
    ) -> Result<SavedTogether, ImagesError> {
        let mut batch = self.new_batch();
        let mut not_whole = Vec::new();
        let read: Result<_, BatchFailure> = ArchiveContent::read(Streamed(&mut reader), |file, body| {
            progress.layer(file.promised.as_ref(), file.size_bytes);
            let mut body = progress.watch(body);
            batch.take(&file, &mut body)
        });
        failpoint!("images.save.after-export");
        let settled = batch.settle();
        let images = read.and_then(|content| Ok(content.exported_images(&self.platform, &mut not_whole)?));
        let images: Vec<ArchivedImage<usize>> = images.map_err(|failure| failure.in_what_comes_from(EXPORT))?;
        settled.map_err(|failure| failure.in_what_comes_from(EXPORT))?;
        self.join.finish(&ReadExport { images, batch, bytes: reader.read_bytes() }, not_whole)
    }
}
