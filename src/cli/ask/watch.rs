//! Pages that are drawn again and again, until Ctrl-C.

use std::time::Duration;

use super::terminal::{Screen, Signals};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::report::Told as _;

/// The exit code of something that only an interrupt ends.
const INTERRUPTED: u8 = 130;

/// One document is what `--json` promises.
pub fn refuse_json(output: &Output) -> Result<(), Failure> {
    match output.json {
        true => Err(Failure::usage(message!("usage-json-and-watch"))),
        false => Ok(()),
    }
}

/// Draws what `look` gives, every `pause` and whenever the terminal's size changes. An engine that does not answer for a
/// while is told, and asked again.
pub async fn run(
    output: &Output,
    pause: Duration,
    look: impl AsyncFn() -> Result<String, Failure>,
) -> Result<u8, Failure> {
    // What fails at once fails as it would without being drawn.
    let mut page = look().await?;
    let screen = Screen::open()?;
    let mut signals = Signals::watch().map_err(Failure::Terminal)?;
    let more = |count: usize| output.catalogue.text(&message!("watch-more", count = count));
    loop {
        screen.draw(&page, more)?;
        tokio::select! {
            () = signals.end.asked() => return Ok(INTERRUPTED),
            _ = signals.resize.recv() => {}
            () = tokio::time::sleep(pause) => {}
        }
        page = tokio::select! {
            () = signals.end.asked() => return Ok(INTERRUPTED),
            looked = look() => match looked {
                Ok(page) => page,
                Err(failure @ Failure::Work(_)) => output.catalogue.text(&failure.message()),
                Err(failure) => return Err(failure),
            },
        };
    }
}
