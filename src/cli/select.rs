//! From selectors to names, with what each command means when none is given.

use super::failure::Failure;
use crate::manifest::{Choices, Manifest};
use crate::report::Message;

/// What a command means when nothing is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unselected {
    All,
    /// It has something else to do.
    Nothing,
    /// It changes or interrupts something: what is meant must be said.
    Refused {
        command: &'static str,
    },
}

/// The services that the selectors choose, by number.
pub fn services(manifest: &Manifest, selectors: &[String], unselected: Unselected) -> Result<Vec<String>, Failure> {
    select(Choices::services(manifest), selectors, unselected, "services", "17..25")
}

/// The databases that the selectors choose, by number.
pub fn databases(manifest: &Manifest, selectors: &[String], unselected: Unselected) -> Result<Vec<String>, Failure> {
    select(Choices::databases(manifest), selectors, unselected, "databases", "2")
}

fn select(
    choices: Choices,
    selectors: &[String],
    unselected: Unselected,
    nouns: &str,
    example: &str,
) -> Result<Vec<String>, Failure> {
    if selectors.iter().all(|selector| selector.trim().is_empty()) {
        return match unselected {
            Unselected::All => Ok(choices.all()),
            Unselected::Nothing => Ok(Vec::new()),
            Unselected::Refused { command } => Err(Failure::usage_with_hint(
                format!("`dpl {command}` wants to be told which {nouns}"),
                Message::new("hint-choose").with("command", command).with("example", example),
            )),
        };
    }
    Ok(choices.select(selectors)?)
}
