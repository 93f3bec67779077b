//! Progress: bars at a terminal, plain lines elsewhere, JSON lines on request; all on standard error.

mod lines;
mod styles;
mod tally;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use self::lines::{LineResult, ProgressLine as Line};
use self::tally::{Figures, Key, Overall, Tally};
use self::target::StderrTarget;
use crate::catalogue::Catalogue;
use crate::cli::text::output::{Output, ProgressMode, Tone};
use crate::cli::text::terminal_size;
use crate::report::{Activity, Event, Listener, Message, Outcome};

pub use lines::ProgressLine;

/// Draws what work reports.
pub struct ProgressListener(Arc<Listening>);

struct Listening {
    output: Output,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tally: Tally,
    /// At a terminal: one for each piece of work, and one for all of a kind.
    work_bars: HashMap<Key, ProgressBar>,
    overall_bars: HashMap<Activity, ProgressBar>,
    /// Parts (tables) that are done, and all of them.
    parts: HashMap<Key, (u64, u64)>,
    /// When work was last told of in JSON.
    told: HashMap<Key, Instant>,
    has_ticker: bool,
    /// What a plain line said last, and when a line was last written.
    last_plain: String,
}

/// Plain lines come this often while something is under way.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
/// JSON lines of one piece of work come no more often.
const JSON_INTERVAL: Duration = Duration::from_millis(250);
/// Bars are drawn so many times a second at most.
const FRAMES: u8 = 20;
/// A bar's figures change no more often, so that they can be read.
const TICK: Duration = Duration::from_millis(120);

impl ProgressListener {
    pub fn new(output: Output) -> Self {
        let bars = MultiProgress::with_draw_target(match output.progress {
            ProgressMode::Auto => ProgressDrawTarget::term_like_with_hz(Box::<StderrTarget>::default(), FRAMES),
            _ => ProgressDrawTarget::hidden(),
        });
        Self(Arc::new(Listening { output, bars, state: Mutex::default() }))
    }
}

impl Listening {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line above the bars.
    fn line(&self, text: &str) {
        match self.output.progress {
            ProgressMode::Auto => self.bars.suspend(|| self.output.line(text)),
            _ => self.output.line(text),
        }
    }

    fn text(&self, message: &Message) -> String {
        self.output.catalogue.text(message)
    }

    fn verb(&self, activity: Activity) -> String {
        self.text(&verb(activity))
    }

    fn new_bar(&self) -> ProgressBar {
        ProgressBar::no_length().with_style(styles::waiting(self.output.catalogue))
    }

    fn planned(&self, activity: Activity, count: usize, total_bytes: Option<u64>) {
        let mut state = self.state();
        state.tally.planned(activity, count, total_bytes, Instant::now());
        if self.output.progress == ProgressMode::Auto && count > 1 {
            let bar = self.bars.add(self.new_bar());
            bar.set_prefix(self.text(&message!("progress-all")));
            let earlier = state.overall_bars.insert(activity, bar);
            drop(state);
            earlier.inspect(|bar| self.remove(bar));
        }
    }

    fn began(self: &Arc<Self>, activity: Activity, subject: &str, total_bytes: Option<u64>) {
        let key = (activity, subject.to_owned());
        let mut state = self.state();
        state.tally.began(key.clone(), total_bytes, Instant::now());
        if self.output.progress == ProgressMode::Auto {
            let bar = match state.overall_bars.get(&activity) {
                // All together stay below what they are made of.
                Some(overall) => self.bars.insert_before(overall, self.new_bar()),
                None => self.bars.add(self.new_bar()),
            };
            let what = format!("{} {subject}", self.verb(activity));
            bar.set_prefix(styles::prefix(&what, terminal_size::of_stderr().0));
            bar.enable_steady_tick(TICK);
            state.work_bars.insert(key, bar);
        } else if self.output.progress == ProgressMode::Plain && !std::mem::replace(&mut state.has_ticker, true) {
            drop(state);
            let listening = Arc::downgrade(self);
            thread::spawn(move || tick(&listening));
        }
    }

    fn advanced(&self, activity: Activity, subject: &str, done: u64, total: Option<u64>) {
        let key = (activity, subject.to_owned());
        let mut state = self.state();
        let Some(figures) = state.tally.advanced(&key, done, total, Instant::now()) else {
            return;
        };
        if self.output.progress != ProgressMode::Auto {
            return;
        }
        let parts = self.parts_text(&state, &key);
        if let Some(bar) = state.work_bars.get(&key) {
            self.draw(bar, &figures, None);
            if !parts.is_empty() {
                bar.set_message(format!("{}{parts}", bar.message()));
            }
        }
        if let Some(overall) = state.tally.overall(activity)
            && let Some(bar) = state.overall_bars.get(&activity)
        {
            self.draw(bar, &overall.figures, Some(&overall));
        }
    }

    fn counted(&self, activity: Activity, subject: &str, (done, total): (u64, u64)) {
        let parts = &mut self.state().parts;
        let known = parts.entry((activity, subject.to_owned())).or_default();
        *known = (done.max(known.0), total);
    }

    /// `, 3 of 12 tables`, or nothing.
    fn parts_text(&self, state: &State, key: &Key) -> String {
        let Some((done, total)) = state.parts.get(key) else {
            return String::new();
        };
        let parts = message!("progress-tables", done = done, total = total);
        format!(", {}", self.text(&parts))
    }

    fn draw(&self, bar: &ProgressBar, figures: &Figures, overall: Option<&Overall>) {
        if figures.total_bytes.is_some_and(|total| total > 0) && bar.length().is_none() {
            bar.set_length(1000);
            bar.set_style(styles::moving(terminal_size::of_stderr().0));
        }
        bar.set_position(figures.permille);
        let text = self.figures_text(figures);
        bar.set_message(match overall {
            Some(overall) => format!("{}, {text}", self.count_text(overall)),
            None => text,
        });
    }

    /// `812 MB of 1.4 GB, 210 MB/s, 4 s left`, as far as it is known.
    fn figures_text(&self, figures: &Figures) -> String {
        let bytes = match figures.total_bytes {
            Some(total) => message!("progress-of", done = figures.done_bytes, total = total),
            None => message!("progress-bytes", done = figures.done_bytes),
        };
        let mut text = self.text(&bytes);
        if let Some(rate) = figures.bytes_per_second {
            text = format!("{text}, {}", self.text(&message!("progress-rate", rate = rate)));
        }
        if let Some(left) = figures.left {
            let left = message!("progress-left", left = left.as_secs_f64());
            text = format!("{text}, {}", self.text(&left));
        }
        text
    }

    fn count_text(&self, overall: &Overall) -> String {
        self.text(&message!("progress-count", ended = overall.ended, count = overall.count))
    }

    /// What a plain line says of all that is under way; the same line is not said twice.
    fn plain_line(&self) {
        let mut state = self.state();
        let Some(((activity, subject), time, figures)) = state.tally.latest() else {
            return;
        };
        let head = format!("{} {subject}", self.verb(activity));
        let time = self.text(&message!("progress-since", time = time.as_secs_f64()));
        let mut text = match (figures.done_bytes, state.tally.overall(activity)) {
            (0, _) => format!("{head}: {time}"),
            (_, None) => {
                let parts = self.parts_text(&state, &(activity, subject));
                format!("{head}: {}{parts}", self.figures_text(&figures))
            }
            (_, Some(overall)) => {
                let all = self.text(&message!("progress-all"));
                let (bytes, whole) = (self.figures_text(&figures), self.figures_text(&overall.figures));
                format!("{head}: {bytes}; {all} {}, {whole}", self.count_text(&overall))
            }
        };
        if text == state.last_plain {
            text = format!("{text}, {time}");
        } else {
            state.last_plain = text.clone();
        }
        drop(state);
        self.output.line(&text);
    }

    fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.bars.remove(bar);
    }

    fn ended(&self, activity: Activity, subject: &str, outcome: &Outcome) {
        let key = (activity, subject.to_owned());
        let mut state = self.state();
        let work = state.tally.ended(&key);
        let bar = state.work_bars.remove(&key);
        state.parts.remove(&key);
        let mut finished = Vec::from_iter(bar);
        match state.tally.overall(activity) {
            Some(overall) => {
                if let Some(bar) = state.overall_bars.get(&activity) {
                    self.draw(bar, &overall.figures, Some(&overall));
                }
            }
            None => finished.extend(state.overall_bars.remove(&activity)),
        }
        drop(state);
        finished.iter().for_each(|bar| self.remove(bar));
        if matches!(outcome, Outcome::Done(_)) && is_detail(activity) && !self.output.verbose {
            return;
        }
        let time =
            work.map(|work| format!(" ({})", self.output.catalogue.duration(work.since.elapsed()))).unwrap_or_default();
        let text = match outcome {
            Outcome::Done(message) => {
                format!("{} {subject}: {}{time}", self.output.paint_err(Tone::Good, "✓"), self.text(message))
            }
            Outcome::Failed { reason } => {
                let reason = self.output.catalogue.text(reason);
                format!("{} {subject}: {reason}{time}", self.output.paint_err(Tone::Bad, "✗"))
            }
        };
        self.line(&text);
    }

    fn json(&self, event: &Event) {
        // Programs read it.
        let english = |message: &Message| Catalogue::english().text(message);
        let now = Instant::now();
        let mut state = self.state();
        let line = match event {
            Event::Planned { activity, count, total_bytes } => {
                state.tally.planned(*activity, *count, *total_bytes, now);
                Line::Planned { activity: activity.word(), count: *count, total_bytes: *total_bytes }
            }
            Event::Began { activity, subject, total_bytes } => {
                state.tally.began((*activity, subject.clone()), *total_bytes, now);
                Line::Began { activity: activity.word(), subject: subject.clone(), total_bytes: *total_bytes }
            }
            Event::Advanced { activity, subject, done_bytes, total_bytes } => {
                let key = (*activity, subject.clone());
                let Some(figures) = state.tally.advanced(&key, *done_bytes, *total_bytes, now) else {
                    return;
                };
                let is_last = figures.total_bytes == Some(figures.done_bytes);
                let told = state.told.get(&key);
                if !is_last && told.is_some_and(|told| now.duration_since(*told) < JSON_INTERVAL) {
                    return;
                }
                state.told.insert(key, now);
                let all = state.tally.overall(*activity).map(Into::into);
                Line::Advanced { activity: activity.word(), subject: subject.clone(), figures: figures.into(), all }
            }
            Event::Counted { activity, subject, done, total } => {
                Line::Counted { activity: activity.word(), subject: subject.clone(), done: *done, total: *total }
            }
            Event::Ended { activity, subject, outcome } => {
                let key = (*activity, subject.clone());
                state.tally.ended(&key);
                state.told.remove(&key);
                let (result, text) = match outcome {
                    Outcome::Done(message) => (LineResult::Done, english(message)),
                    Outcome::Failed { reason } => (LineResult::Failed, english(reason)),
                };
                Line::Ended { activity: activity.word(), subject: subject.clone(), result, text }
            }
            Event::Settled { .. } => return,
            Event::Detail(_) if !self.output.verbose => return,
            Event::Notice(message) | Event::Detail(message) => {
                Line::Notice { key: message.key, text: english(message) }
            }
            Event::Warning(message) => Line::Warning { key: message.key, text: english(message) },
        };
        drop(state);
        if let Ok(text) = serde_json::to_string(&line) {
            self.output.line(&text);
        }
    }
}

/// Writes a plain line now and then, as long as anyone listens.
fn tick(listening: &Weak<Listening>) {
    loop {
        thread::sleep(PLAIN_INTERVAL);
        match listening.upgrade() {
            Some(listening) => listening.plain_line(),
            None => return,
        }
    }
}

impl Listener for ProgressListener {
    fn hear(&self, event: &Event) {
        let listening = &self.0;
        if listening.output.progress == ProgressMode::Json {
            return listening.json(event);
        }
        match event {
            Event::Warning(message) => {
                listening.line(&listening.output.warning(message));
            }
            _ if listening.output.progress == ProgressMode::None => {}
            Event::Notice(message) => listening.line(&listening.text(message)),
            Event::Detail(message) => {
                if listening.output.verbose {
                    listening.line(&listening.text(message));
                }
            }
            Event::Planned { activity, count, total_bytes } => listening.planned(*activity, *count, *total_bytes),
            Event::Began { activity, subject, total_bytes } => listening.began(*activity, subject, *total_bytes),
            Event::Advanced { activity, subject, done_bytes, total_bytes } => {
                listening.advanced(*activity, subject, *done_bytes, *total_bytes);
            }
            Event::Counted { activity, subject, done, total } => {
                listening.counted(*activity, subject, (*done, *total));
            }
            Event::Ended { activity, subject, outcome } => listening.ended(*activity, subject, outcome),
            Event::Settled { .. } => {}
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

fn verb(activity: Activity) -> Message {
    match activity {
        Activity::SaveImage => message!("doing-save-image"),
        Activity::LoadImage => message!("doing-load-image"),
        Activity::VerifyImage => message!("doing-verify-image"),
        Activity::ImportImage => message!("doing-import-image"),
        Activity::ReadArchive => message!("doing-read-archive"),
        Activity::ExportImage => message!("doing-export-image"),
        Activity::PruneImages => message!("doing-prune-images"),
        Activity::RemoveImage => message!("doing-remove-image"),
        Activity::NameImage => message!("doing-name-image"),
        Activity::CreateNetwork => message!("doing-create-network"),
        Activity::CreateVolume => message!("doing-create-volume"),
        Activity::CreateContainer => message!("doing-create-container"),
        Activity::StartContainer => message!("doing-start-container"),
        Activity::WaitReady => message!("doing-wait-ready"),
        Activity::StopContainer => message!("doing-stop-container"),
        Activity::PauseContainer => message!("doing-pause-container"),
        Activity::RenameContainer => message!("doing-rename-container"),
        Activity::RemoveContainer => message!("doing-remove-container"),
        Activity::DumpDatabase => message!("doing-dump-database"),
        Activity::VerifyDump => message!("doing-verify-dump"),
        Activity::CreateDatabase => message!("doing-create-database"),
        Activity::RestoreDatabase => message!("doing-restore-database"),
        Activity::PatchDatabase => message!("doing-patch-database"),
        Activity::SwapDatabase => message!("doing-swap-database"),
        Activity::RemoveNetwork => message!("doing-remove-network"),
        Activity::RemoveVolume => message!("doing-remove-volume"),
        Activity::RestartContainer => message!("doing-restart-container"),
        Activity::UpdateContainer => message!("doing-update-container"),
        Activity::ConvertDump => message!("doing-convert-dump"),
        Activity::RemoveBackup => message!("doing-remove-backup"),
        Activity::SnapshotFolder => message!("doing-snapshot-folder"),
        Activity::RestoreFolder => message!("doing-restore-folder"),
        Activity::VerifySnapshots => message!("doing-verify-snapshots"),
        Activity::PruneSnapshots => message!("doing-prune-snapshots"),
        Activity::FetchBackup => message!("doing-fetch-backup"),
        Activity::FetchJournal => message!("doing-fetch-journal"),
        Activity::SendFile => message!("doing-send-file"),
        Activity::PlaceFile => message!("doing-place-file"),
        Activity::CreateRelease => message!("doing-create-release"),
        Activity::RemoveRelease => message!("doing-remove-release"),
        Activity::WritePackage => message!("doing-write-package"),
        Activity::MakeDelta => message!("doing-make-delta"),
        Activity::RebuildLayer => message!("doing-rebuild-layer"),
        Activity::ReadPackage => message!("doing-read-package"),
        Activity::DropDatabase => message!("doing-drop-database"),
        Activity::StageFiles => message!("doing-stage-files"),
        Activity::SwapFiles => message!("doing-swap-files"),
    }
}
