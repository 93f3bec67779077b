//! How far an export has come, told image by image while its layers pass.
//!
//! Engines from 25 on name a layer's file by its digest. Before that nothing says whose layer a file is until the
//! archive's end: the expected layer that comes closest in size is taken for it, which at worst moves bytes from one
//! bar to another.

use std::collections::HashSet;
use std::io::{self, Read};

use crate::fs::Digest;
use crate::images::save::layer_sizes::LayerEstimates;
use crate::images::save::plan::Wanted;
use crate::report::{Activity, Meter, Reporter};

/// Tells it. A layer counts for the first image that it belongs to.
pub struct ExportProgress {
    reporter: Reporter,
    subjects: Vec<Subject>,
    /// Layers that have not come yet.
    expected: Vec<ExpectedLayer>,
    current: usize,
}

/// One image; its total is an estimate until the layers' own sizes are seen.
struct Subject {
    meter: Meter,
}

struct ExpectedLayer {
    diff_id: String,
    bytes: u64,
    subject: usize,
}

impl ExportProgress {
    /// Of an export of these images.
    pub fn new(reporter: Reporter, exported: &[Wanted], estimates: &LayerEstimates) -> Self {
        let mut seen = HashSet::new();
        let mut expected = Vec::new();
        let subjects = exported.iter().enumerate().map(|(subject, wanted)| {
            let layers = wanted.view.diff_ids.iter().filter(|diff_id| seen.insert((*diff_id).clone()));
            let before = expected.len();
            expected.extend(layers.map(|diff_id| ExpectedLayer {
                diff_id: diff_id.clone(),
                bytes: estimates.of(diff_id),
                subject,
            }));
            let total_bytes: u64 = expected[before..].iter().map(|layer| layer.bytes).sum();
            Subject { meter: reporter.meter(Activity::SaveImage, &wanted.name, Some(total_bytes)) }
        });
        let subjects = subjects.collect();
        Self { reporter, subjects, expected, current: 0 }
    }

    /// Says what is going to be done, `names` being all images that will be saved, those included that need no export.
    pub fn begin<'a>(&self, names: impl Iterator<Item = &'a String>) {
        let names: Vec<&String> = names.collect();
        if names.is_empty() {
            return;
        }
        let total_bytes = self.subjects.iter().filter_map(|subject| subject.meter.total_bytes()).sum();
        self.reporter.planned(Activity::SaveImage, names.len(), Some(total_bytes));
        for name in names {
            let subject = self.subjects.iter().find(|subject| subject.meter.subject() == name);
            let total_bytes = subject.and_then(|subject| subject.meter.total_bytes()).unwrap_or_default();
            self.reporter.began(Activity::SaveImage, name, Some(total_bytes));
        }
    }

    /// A file of this size comes next.
    pub fn layer(&mut self, promised: Option<&Digest>, size_bytes: u64) {
        let promised = promised.map(ToString::to_string);
        let named = self.expected.iter().position(|layer| promised.as_ref() == Some(&layer.diff_id));
        // A tar is larger than what it holds, by its headers.
        let closest = || {
            let fitting = self.expected.iter().enumerate().filter(|(_, layer)| layer.bytes <= size_bytes);
            fitting.min_by_key(|(_, layer)| size_bytes - layer.bytes).map(|(at, _)| at)
        };
        if let Some(at) = named.or_else(closest) {
            let layer = self.expected.swap_remove(at);
            self.current = layer.subject;
            let meter = &mut self.subjects[layer.subject].meter;
            let total_bytes = meter.total_bytes().unwrap_or_default() + size_bytes;
            meter.set_total(total_bytes.saturating_sub(layer.bytes));
        }
    }

    /// Counts what is read through it.
    pub fn watch<'a, R: Read + ?Sized>(&'a mut self, body: &'a mut R) -> Watched<'a, R> {
        Watched { body, progress: self }
    }

    fn add(&mut self, bytes: u64) {
        if let Some(subject) = self.subjects.get_mut(self.current) {
            subject.meter.add(bytes);
        }
    }
}

/// A layer's content on its way.
pub struct Watched<'a, R: ?Sized> {
    body: &'a mut R,
    progress: &'a mut ExportProgress,
}

impl<R: Read + ?Sized> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        if read > 0 {
            self.progress.add(read as u64);
        }
        Ok(read)
    }
}
