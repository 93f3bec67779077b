//! From selectors to names, with what each command means when none is given.

use crate::cli::text::failure::Failure;
use crate::manifest::{Choices, Manifest, Noun, Selection};

/// What a command means when no selector is given. An empty one (`""`, `[]`) is an error of every command.
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
    service_selection(manifest, selectors, unselected).map(Selection::into_names)
}

/// The same, with what was meant by `all` alone.
pub fn service_selection(
    manifest: &Manifest,
    selectors: &[String],
    unselected: Unselected,
) -> Result<Selection, Failure> {
    select(&Choices::services(manifest), selectors, unselected, "17..25")
}

/// The databases that the selectors choose, by number.
pub fn databases(manifest: &Manifest, selectors: &[String], unselected: Unselected) -> Result<Vec<String>, Failure> {
    select(&Choices::databases(manifest), selectors, unselected, "2").map(Selection::into_names)
}

/// The data folders that the selectors choose, by number.
pub fn data(manifest: &Manifest, selectors: &[String], unselected: Unselected) -> Result<Vec<String>, Failure> {
    select(&Choices::data(manifest), selectors, unselected, "NAME").map(Selection::into_names)
}

fn select(
    choices: &Choices,
    selectors: &[String],
    unselected: Unselected,
    example: &str,
) -> Result<Selection, Failure> {
    let is_empty = selectors.iter().all(|selector| selector.trim().is_empty());
    match unselected {
        Unselected::All if selectors.is_empty() => Ok(choices.all()),
        Unselected::Nothing if selectors.is_empty() => Ok(Selection::none()),
        Unselected::Refused { command } if is_empty => {
            let verb = command.rsplit(' ').next().unwrap_or(command);
            Err(Failure::usage_with_hint(
                match choices.noun() {
                    Noun::Service => message!("usage-name-services", verb = verb),
                    Noun::Database => message!("usage-name-databases", verb = verb),
                    Noun::Data => message!("usage-name-data", verb = verb),
                    Noun::Site => message!("usage-name-sites", verb = verb),
                },
                message!("hint-choose", command = command, example = example),
            ))
        }
        _ => Ok(choices.select(selectors)?),
    }
}
