//! The grammar with all that a person reads about it: the first page, examples, defaults; and the manual's pages.
//!
//! The arguments' own doc comments are the text. What is added here is what belongs to no single argument.

mod examples;
mod man;
mod overview;
#[cfg(test)]
mod tests;

use clap::builder::StyledStr;
use clap::{ArgAction, Command, CommandFactory};

use super::arguments::Arguments;

pub use man::run as man;

/// The command line's grammar, with its help.
pub fn grammar() -> Command {
    let root = Arguments::command();
    let help = overview::page(&root);
    decorate(root, &mut Vec::new()).override_help(help)
}

/// A command and those below it; `path` names the commands above it, the program left out.
fn decorate(command: Command, path: &mut Vec<String>) -> Command {
    let command = command.mut_args(say_default);
    let shown = examples::of(&path.join(" "));
    let command = match shown.is_empty() {
        true => command,
        false => command.after_help(examples::section(shown)),
    };
    command.mut_subcommands(|below| {
        path.push(below.get_name().to_owned());
        let below = decorate(below, path);
        path.pop();
        below
    })
}

/// A switch is off until it is given; said at each one, as every other flag says its own default.
fn say_default(argument: clap::Arg) -> clap::Arg {
    if !matches!(argument.get_action(), ArgAction::SetTrue) {
        return argument;
    }
    let text = argument.get_help().map(StyledStr::to_string).unwrap_or_default();
    argument.help(format!("{text} [default: off]"))
}
