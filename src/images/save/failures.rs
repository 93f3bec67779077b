//! What came of a save: images that are saved, and those that could not be while the others were.

use crate::images::error::ImagesError;
use crate::images::save::report::SaveReport;

/// Each image with why it is not saved, in order.
#[derive(Default)]
pub struct SaveFailures(pub Vec<(String, ImagesError)>);

impl SaveFailures {
    pub fn add(&mut self, name: String, error: ImagesError) {
        self.0.push((name, error));
    }

    /// The report, unless an image of it is missing; the error of an image that was alone is its own.
    pub fn result(self, report: SaveReport, all: usize) -> Result<SaveReport, ImagesError> {
        let failed: Vec<String> = self.0.iter().map(|(name, _)| name.clone()).collect();
        match self.0.into_iter().next() {
            None => Ok(report),
            Some((_, error)) if all == 1 => Err(error),
            Some((_, error)) => Err(ImagesError::NotAllSaved { failed, all, source: Box::new(error) }),
        }
    }
}

/// What came of one export.
#[derive(Default)]
pub struct SavedTogether {
    pub report: SaveReport,
    pub failures: SaveFailures,
}

impl SavedTogether {
    pub fn add(&mut self, other: Self) {
        self.report.images.extend(other.report.images);
        self.report.exported_bytes += other.report.exported_bytes;
        self.report.new_bytes += other.report.new_bytes;
        self.failures.0.extend(other.failures.0);
    }
}

impl ImagesError {
    /// How many images were done where the operator asked for an end.
    pub(super) fn counted(self, done: usize, all: usize) -> Self {
        match self {
            Self::Stopped => Self::Interrupted { done, all },
            error => error,
        }
    }
}
