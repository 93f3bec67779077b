//! Everything that meets a person: what the program says, what it asks, what it takes, what it does.
//!
//! The only module that prints, asks or knows clap and indicatif. It turns what was typed (a command, a choice of the menu, a
//! chain) into an `Operation`, and decides nothing that the operation decides. From the bottom up: `text`, `ask`, `grammar`,
//! `session`, `commands`; each may name those before it.

mod ask;
mod commands;
mod grammar;
mod session;
mod text;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;

use self::commands::menu::MenuArguments;
use self::commands::{Arguments, Command};
use self::grammar::arguments::{count_after_dashes, with_dashes_behind_site, with_menu};
use self::grammar::help::language_of;
use self::grammar::{completion, usage};
use self::session::{Session, log};
use self::text::output::{ColorMode, Output, OutputSettings, ProgressMode};
pub use self::text::stdout::look_before_start;
use crate::catalogue::Language;

/// Runs the program with the arguments of this process.
pub fn run() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let typed = match commands::arguments_of_package(typed) {
        Ok(typed) => typed,
        Err(failure) => {
            let (progress, color) = (ProgressMode::Auto, ColorMode::Auto);
            let settings = OutputSettings { json: false, quiet: false, verbose: false, progress, color, lang: None };
            return ExitCode::from(failure.show(&Output::new(&settings)));
        }
    };
    if completion::is_asked(&typed) {
        return completion::answer(&typed, &commands::offered(language_of(&[])));
    }
    let parsed = commands::grammar(language_of(&typed))
        .try_get_matches_from(with_dashes_behind_site(with_menu(typed.clone())))
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return ExitCode::from(usage::show(&error, &typed, &commands::grammar(Language::English))),
    };
    let output = Output::new(&parsed.global.output());
    if let Err(failure) = log::begin() {
        return ExitCode::from(failure.show(&output));
    }
    let mut session = Session::new(parsed.global, count_after_dashes(&typed), output.clone());
    let command = parsed.command.unwrap_or(Command::Menu(MenuArguments { manifest: None }));
    match commands::dispatch(command, &mut session) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.show(&output)),
    }
}
