//! Ctrl-C, SIGTERM and SIGHUP once work has begun.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::Output;
use crate::report::Message;

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Watches for signals from the first action on, since a handler once installed stays for the life of the process.
///
/// While an action runs, the first Ctrl-C or SIGTERM asks it to stop at its next safe point and the second ends the
/// program; between two actions, at a prompt of the menu, the first one ends it. SIGHUP, a terminal that went away,
/// stops nothing.
pub struct InterruptWatch {
    action: Arc<Mutex<Option<CancellationToken>>>,
}

impl InterruptWatch {
    /// Must be called inside the runtime.
    pub fn start(output: Output) -> std::io::Result<Self> {
        let action: Arc<Mutex<Option<CancellationToken>>> = Arc::default();
        let watched = action.clone();
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let mut hangups = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                    _ = hangups.recv() => continue,
                }
                let stop = watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match stop.filter(|stop| !stop.is_cancelled()) {
                    Some(stop) => {
                        stop.cancel();
                        output.say(&Message::new("stopping-safely"));
                    }
                    None => std::process::exit(INTERRUPTED),
                }
            }
        });
        Ok(Self { action })
    }

    /// An action begins that `stop` stops.
    pub fn action_begins(&self, stop: CancellationToken) {
        *self.action.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
    }

    /// It has ended.
    pub fn action_ends(&self) {
        *self.action.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
