//! Progress as JSON lines, for programs that watch (`--progress json`).

use schemars::JsonSchema;
use serde::Serialize;

use super::tally::{Figures, Overall};

/// One line of `--progress json`, on standard error.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ProgressLine {
    /// So much of one kind is going to be done, all together.
    Planned { activity: &'static str, count: usize, total_bytes: Option<u64> },
    /// Work on a subject begins: an image, a service, a database.
    Began { activity: &'static str, subject: String, total_bytes: Option<u64> },
    /// Bytes have moved; a few times a second at most.
    Advanced {
        activity: &'static str,
        subject: String,
        #[serde(flatten)]
        figures: LineFigures,
        /// All work of this kind, where more than one piece was planned.
        #[serde(skip_serializing_if = "Option::is_none")]
        all: Option<LineOverall>,
    },
    /// Parts of a subject (tables of a database) are done.
    Counted { activity: &'static str, subject: String, done: u64, total: u64 },
    /// Work on a subject has ended.
    Ended { activity: &'static str, subject: String, result: LineResult, text: String },
    /// Worth a line, nothing to worry about.
    Notice { key: &'static str, text: String },
    /// Something to look at; the work goes on.
    Warning { key: &'static str, text: String },
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LineResult {
    Done,
    Failed,
}

/// How far something has come.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LineFigures {
    pub done_bytes: u64,
    /// Null where it is not known. It may still grow a little while it is an estimate.
    pub total_bytes: Option<u64>,
    /// Over the last seconds; null where too little has been seen.
    pub bytes_per_second: Option<u64>,
    pub seconds_left: Option<u64>,
}

/// How far all work of one kind has come.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LineOverall {
    pub ended: usize,
    pub count: usize,
    #[serde(flatten)]
    pub figures: LineFigures,
}

impl From<Figures> for LineFigures {
    fn from(figures: Figures) -> Self {
        Self {
            done_bytes: figures.done_bytes,
            total_bytes: figures.total_bytes,
            bytes_per_second: figures.bytes_per_second,
            seconds_left: figures.left.map(|left| left.as_secs()),
        }
    }
}

impl From<Overall> for LineOverall {
    fn from(overall: Overall) -> Self {
        Self { ended: overall.ended, count: overall.count, figures: overall.figures.into() }
    }
}
