//! The grammar with all that a person reads about it: the first page, examples, defaults; and the manual's pages.
//!
//! The arguments' own doc comments are the English text, and `zh.txt` has the Chinese for each of them. `-h` shows a command's
//! own flags and one example, `--help` its other example too; the flags that every command takes stand on a page of their
//! own (`dpl help flags`).

mod chinese;
mod examples;
pub mod man;
mod overview;
mod pages;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, ValueEnum};

use crate::catalogue::Language;

pub use pages::flags;

/// The grammar with its help in a language.
pub fn with_help(root: Command, language: Language) -> Command {
    let root = root.mut_args(off_the_command_pages);
    let root = decorate(root, &mut Vec::new(), language);
    let page = overview::page(&root, language);
    root.override_help(page)
}

/// The language of `--lang` in arguments that may make no sense, else that of the environment.
pub fn language_of(typed: &[OsString]) -> Language {
    let words: Vec<&str> = typed.iter().map_while(|word| word.to_str()).take_while(|word| *word != "--").collect();
    let flag = words.iter().enumerate().find_map(|(place, word)| match word.strip_prefix("--lang")? {
        "" => words.get(place + 1).copied(),
        value => value.strip_prefix('='),
    });
    let flag = flag.and_then(|value| Language::from_str(value, false).ok());
    Language::chosen(flag, |name| std::env::var_os(name))
}

/// What every command takes is shown once, not on each page; completion and the manual have it all the same.
fn off_the_command_pages(argument: Arg) -> Arg {
    match argument.is_global_set() {
        true => argument.hide_short_help(true).hide_long_help(true),
        false => argument,
    }
}

/// A command and those below it; `path` names the commands above it, the program left out.
fn decorate(command: Command, path: &mut Vec<String>, language: Language) -> Command {
    let command = command.mut_args(say_default);
    let command = match language {
        Language::English => command,
        Language::Chinese => chinese::translate(command, path),
    };
    let shown = examples::of(&path.join(" "));
    let short = examples::section(&shown[..shown.len().min(1)], language);
    let command = command.after_help(short).after_long_help(examples::section(shown, language));
    command.mut_subcommands(|below| {
        path.push(below.get_name().to_owned());
        let below = decorate(below, path, language);
        path.pop();
        below
    })
}

/// A switch is off until it is given; said at each one, as every other flag says its own default.
fn say_default(argument: Arg) -> Arg {
    if !matches!(argument.get_action(), ArgAction::SetTrue) {
        return argument;
    }
    let text = argument.get_help().map(StyledStr::to_string).unwrap_or_default();
    argument.help(format!("{text} [default: off]"))
}
