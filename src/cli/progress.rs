//! Progress: bars at a terminal, plain lines elsewhere, JSON lines on request; all on standard error.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::arguments::ProgressMode;
use super::output::{Output, Tone};
use super::table;
use crate::report::{Activity, Event, Listener, Message, Outcome};

/// Draws what work reports.
pub struct ProgressListener {
    output: Output,
    bars: MultiProgress,
    running: Mutex<HashMap<(Activity, String), Running>>,
}

/// A piece of work that has begun.
struct Running {
    since: Instant,
    bar: Option<ProgressBar>,
    /// When its bytes were last said in a plain line.
    said: Instant,
}

/// Plain lines come this often while bytes move.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

impl ProgressListener {
    pub fn new(output: Output) -> Self {
        let bars = MultiProgress::with_draw_target(match output.progress {
            ProgressMode::Auto => ProgressDrawTarget::stderr(),
            _ => ProgressDrawTarget::hidden(),
        });
        Self { output, bars, running: Mutex::new(HashMap::new()) }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(Activity, String), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line above the bars.
    fn line(&self, text: &str) {
        match self.output.progress {
            ProgressMode::Auto => self.bars.suspend(|| self.output.line(text)),
            _ => self.output.line(text),
        }
    }

    fn began(&self, activity: Activity, subject: &str, total_bytes: Option<u64>) {
        let bar = (self.output.progress == ProgressMode::Auto).then(|| {
            let bar = self.bars.add(bar(total_bytes));
            bar.set_prefix(format!("{} {subject}", self.verb(activity)));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let now = Instant::now();
        self.running().insert((activity, subject.to_owned()), Running { since: now, bar, said: now });
    }

    fn advanced(&self, activity: Activity, subject: &str, done: u64, total: Option<u64>) {
        let mut running = self.running();
        let Some(work) = running.get_mut(&(activity, subject.to_owned())) else {
            return;
        };
        if let Some(bar) = &work.bar {
            if let Some(total) = total.filter(|total| bar.length() != Some(*total)) {
                bar.set_length(total);
                bar.set_style(bytes_style());
            }
            // A bar never runs backwards, whatever the order in which threads report.
            bar.set_position(bar.position().max(done));
        } else if self.output.progress == ProgressMode::Plain && work.said.elapsed() >= PLAIN_INTERVAL {
            work.said = Instant::now();
            let of = total.map(|total| format!(" / {}", table::size(total))).unwrap_or_default();
            self.output.line(&format!("{} {subject}: {}{of}", self.verb(activity), table::size(done)));
        }
    }

    fn ended(&self, activity: Activity, subject: &str, outcome: &Outcome) {
        let work = self.running().remove(&(activity, subject.to_owned()));
        let time = work.as_ref().map(|work| table::duration(work.since.elapsed())).unwrap_or_default();
        if let Some(bar) = work.and_then(|work| work.bar) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        if matches!(outcome, Outcome::Done(_)) && is_detail(activity) && !self.output.verbose {
            return;
        }
        let text = match outcome {
            Outcome::Done(message) => {
                let text = self.output.catalogue.text(message);
                format!("{} {subject}: {text} ({time})", self.output.paint_err(Tone::Good, "✓"))
            }
            Outcome::Failed { reason } => {
                format!("{} {subject}: {reason} ({time})", self.output.paint_err(Tone::Bad, "✗"))
            }
        };
        self.line(&text);
    }

    fn verb(&self, activity: Activity) -> String {
        self.output.catalogue.text(&verb(activity))
    }

    fn json(&self, event: &Event) {
        let line = match event {
            Event::Began { activity, subject, total_bytes } => {
                json!({ "event": "began", "activity": activity.word(), "subject": subject, "total_bytes": total_bytes })
            }
            Event::Advanced { activity, subject, done_bytes, total_bytes } => json!({
                "event": "advanced", "activity": activity.word(), "subject": subject,
                "done_bytes": done_bytes, "total_bytes": total_bytes
            }),
            Event::Ended { activity, subject, outcome } => {
                let (result, text) = match outcome {
                    Outcome::Done(message) => ("done", self.output.catalogue.text(message)),
                    Outcome::Failed { reason } => ("failed", reason.clone()),
                };
                json!({ "event": "ended", "activity": activity.word(), "subject": subject, "result": result, "text": text })
            }
            Event::Notice(message) => {
                json!({ "event": "notice", "key": message.key, "text": self.output.catalogue.text(message) })
            }
            Event::Warning(message) => {
                json!({ "event": "warning", "key": message.key, "text": self.output.catalogue.text(message) })
            }
        };
        self.output.line(&line.to_string());
    }
}

impl Listener for ProgressListener {
    fn hear(&self, event: &Event) {
        if self.output.progress == ProgressMode::Json {
            return self.json(event);
        }
        match event {
            Event::Warning(message) => {
                let text = self.output.catalogue.text(message);
                self.line(&format!("{} {text}", self.output.paint_err(Tone::Attention, "warning:")));
            }
            _ if self.output.progress == ProgressMode::None => {}
            Event::Notice(message) => self.line(&self.output.catalogue.text(message)),
            Event::Began { activity, subject, total_bytes } => self.began(*activity, subject, *total_bytes),
            Event::Advanced { activity, subject, done_bytes, total_bytes } => {
                self.advanced(*activity, subject, *done_bytes, *total_bytes);
            }
            Event::Ended { activity, subject, outcome } => self.ended(*activity, subject, outcome),
        }
    }
}

/// Steps on the way to one that tells: a line for each would bury that one.
fn is_detail(activity: Activity) -> bool {
    matches!(
        activity,
        Activity::CreateContainer | Activity::StartContainer | Activity::RenameContainer | Activity::UpdateContainer
    )
}

fn bar(total_bytes: Option<u64>) -> ProgressBar {
    match total_bytes {
        Some(total) => ProgressBar::new(total).with_style(bytes_style()),
        None => ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("{spinner} {prefix} {elapsed}").expect("the template is valid")),
    }
}

fn bytes_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {bytes} / {total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is valid")
}

fn verb(activity: Activity) -> Message {
    match activity {
        Activity::SaveImage => Message::new("doing-save-image"),
        Activity::LoadImage => Message::new("doing-load-image"),
        Activity::VerifyImage => Message::new("doing-verify-image"),
        Activity::CreateNetwork => Message::new("doing-create-network"),
        Activity::CreateVolume => Message::new("doing-create-volume"),
        Activity::CreateContainer => Message::new("doing-create-container"),
        Activity::StartContainer => Message::new("doing-start-container"),
        Activity::WaitReady => Message::new("doing-wait-ready"),
        Activity::StopContainer => Message::new("doing-stop-container"),
        Activity::RenameContainer => Message::new("doing-rename-container"),
        Activity::RemoveContainer => Message::new("doing-remove-container"),
        Activity::DumpDatabase => Message::new("doing-dump-database"),
        Activity::VerifyDump => Message::new("doing-verify-dump"),
        Activity::CreateDatabase => Message::new("doing-create-database"),
        Activity::RestoreDatabase => Message::new("doing-restore-database"),
        Activity::SwapDatabase => Message::new("doing-swap-database"),
        Activity::RemoveNetwork => Message::new("doing-remove-network"),
        Activity::RemoveVolume => Message::new("doing-remove-volume"),
        Activity::RestartContainer => Message::new("doing-restart-container"),
        Activity::UpdateContainer => Message::new("doing-update-container"),
        Activity::DropDatabase => Message::new("doing-drop-database"),
    }
}
