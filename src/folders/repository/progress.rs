//! The progress of rustic_core as events of ours.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::{HiddenProgress, Progress, ProgressBars, ProgressType, RusticProgress};

use crate::report::{Activity, Meter, Reporter};

/// Tells the bytes of one piece of work.
#[derive(Clone)]
pub struct ReportedBytes {
    reporter: Reporter,
    activity: Activity,
    subject: Arc<Mutex<String>>,
}

impl ReportedBytes {
    pub fn new(reporter: &Reporter, activity: Activity) -> Self {
        Self { reporter: reporter.clone(), activity, subject: Arc::default() }
    }

    /// What the next bytes belong to.
    pub fn set_subject(&self, subject: &str) {
        subject.clone_into(&mut self.subject.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for ReportedBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReportedBytes")
    }
}

impl ProgressBars for ReportedBytes {
    fn progress(&self, kind: ProgressType, _: &str) -> Progress {
        match kind {
            ProgressType::Bytes => {
                let subject = self.subject.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Progress::new(Bytes(Mutex::new(self.reporter.meter(self.activity, subject, None))))
            }
            ProgressType::Spinner | ProgressType::Counter => Progress::new(HiddenProgress),
        }
    }
}

struct Bytes(Mutex<Meter>);

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bytes")
    }
}

impl RusticProgress for Bytes {
    /// Nobody counts a folder's bytes beforehand.
    fn is_hidden(&self) -> bool {
        true
    }

    fn set_length(&self, total: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).set_total(total);
    }

    fn set_title(&self, _: &str) {}

    fn inc(&self, bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
    }

    fn finish(&self) {}
}
