//! Ctrl-C, SIGTERM and SIGHUP once work has begun.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::ask::terminal;
use crate::cli::text::output::Output;
use crate::report::{Message, Reporter};

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// So long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Watches for signals from the first question or action on, since a handler once installed stays for the life of the
/// process.
///
/// While an action runs, the first Ctrl-C or SIGTERM asks it to stop at its next safe point and the second ends the
/// program; a look of the menu ends at the first; between two of them, at a prompt, the first one ends the program, and
/// the terminal is as it was. SIGHUP, a terminal that went away, ends a look and stops no action.
pub struct InterruptWatch {
    busy: Arc<Mutex<Busy>>,
}

/// What is said before the program ends in the middle of something.
fn last_words(busy: &Busy) -> Option<Message> {
    match busy {
        Busy::Action(_) => Some(message!("stopped-at-once")),
        Busy::Nothing | Busy::Look(_) => None,
    }
}

/// What is said where an end was asked for when nothing was left to be stopped.
pub fn came_too_late(reporter: &Reporter, is_done: bool) -> Option<Message> {
    (is_done && reporter.asked_to_stop()).then(|| message!("stop-came-late"))
}

/// What an interrupt would end.
#[derive(Debug, Clone, Default)]
enum Busy {
    #[default]
    Nothing,
    /// It stops at its next safe point.
    Action(CancellationToken),
    /// It changes nothing, and may end anywhere.
    Look(CancellationToken),
}

impl InterruptWatch {
    /// Must be called inside the runtime.
    pub fn start(output: Output) -> std::io::Result<Self> {
        let busy: Arc<Mutex<Busy>> = Arc::default();
        let watched = busy.clone();
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let mut hangups = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                let is_hangup = tokio::select! {
                    _ = interrupts.recv() => false,
                    _ = terminations.recv() => false,
                    _ = hangups.recv() => true,
                };
                let busy = watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if is_hangup {
                    // Nobody can see a look any more; a question notices it by itself.
                    if let Busy::Look(stop) = busy {
                        stop.cancel();
                    }
                    continue;
                }
                match busy {
                    Busy::Action(stop) if !stop.is_cancelled() => {
                        stop.cancel();
                        output.say(&message!("stopping-safely"));
                    }
                    Busy::Look(stop) if !stop.is_cancelled() => stop.cancel(),
                    busy => {
                        terminal::put_back();
                        if let Some(words) = last_words(&busy) {
                            // A terminal that takes no more text keeps nobody from ending it.
                            let output = output.clone();
                            let said = tokio::task::spawn_blocking(move || output.say(&words));
                            let _ = tokio::time::timeout(LAST_WORDS, said).await;
                        }
                        std::process::exit(INTERRUPTED);
                    }
                }
            }
        });
        Ok(Self { busy })
    }

    /// An action begins that `stop` stops.
    pub fn action_begins(&self, stop: CancellationToken) {
        self.set(Busy::Action(stop));
    }

    /// A look begins that `stop` ends.
    pub fn look_begins(&self, stop: CancellationToken) {
        self.set(Busy::Look(stop));
    }

    /// What had begun has ended.
    pub fn ended(&self) {
        self.set(Busy::Nothing);
    }

    /// What ends the look that is under way.
    pub fn end_of_look(&self) -> Option<CancellationToken> {
        match &*self.busy.lock().unwrap_or_else(PoisonError::into_inner) {
            Busy::Look(stop) => Some(stop.clone()),
            Busy::Nothing | Busy::Action(_) => None,
        }
    }

    fn set(&self, busy: Busy) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = busy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_is_ended_in_its_middle_says_how_to_go_on_and_a_look_says_nothing() {
        let stop = CancellationToken::new();
        assert_eq!(last_words(&Busy::Action(stop.clone())).map(|words| words.key), Some("stopped-at-once"));
        assert_eq!(last_words(&Busy::Look(stop)), None);
        assert_eq!(last_words(&Busy::Nothing), None);
    }

    #[test]
    fn an_end_that_was_asked_for_when_all_was_done_is_answered() {
        let stop = CancellationToken::new();
        let reporter = Reporter::new(Vec::new(), stop.clone());
        assert_eq!(came_too_late(&reporter, true), None);
        stop.cancel();
        assert_eq!(came_too_late(&reporter, true).map(|words| words.key), Some("stop-came-late"));
        assert_eq!(came_too_late(&reporter, false), None);
    }
}
