//! Ctrl-C, SIGTERM and SIGHUP while work runs.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::Output;
use crate::report::Message;

/// Watches for signals until it is dropped: the first Ctrl-C or SIGTERM asks the work to stop at its next safe point,
/// the second ends the program. SIGHUP, a terminal that went away, stops nothing.
pub struct InterruptWatch {
    task: tokio::task::JoinHandle<()>,
}

impl InterruptWatch {
    /// Must be called inside the runtime.
    pub fn start(stop: CancellationToken, output: Output) -> std::io::Result<Self> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let mut hangups = signal(SignalKind::hangup())?;
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                    _ = hangups.recv() => continue,
                }
                if stop.is_cancelled() {
                    std::process::exit(130);
                }
                stop.cancel();
                output.say(&Message::new("stopping-safely"));
            }
        });
        Ok(Self { task })
    }
}

impl Drop for InterruptWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
