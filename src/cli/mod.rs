//! Everything that meets a person: arguments, menu, prompts, tables, progress, error pages.
//!
//! The only room that prints, asks or knows clap and indicatif. It turns what was typed (a command, a
//! choice of the menu, a chain) into an `Operation`, and decides nothing that the operation decides.

mod arguments;
mod chain;
mod check;
mod completion;
mod databases;
mod doctor;
mod exec;
mod failure;
mod graph;
mod help;
mod history;
mod images;
mod interrupt;
mod journal;
mod keyboard;
mod line;
mod listing;
mod lock;
mod log;
mod logs;
mod manifest_page;
mod menu;
mod operations;
mod output;
mod picker;
mod progress;
mod prompt;
mod schemas;
mod select;
mod services;
mod session;
mod stats;
mod status;
mod table;
mod terminal;
mod usage;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;

use arguments::{Arguments, Command};
use failure::Failure;
use output::Output;
use session::Session;

/// Runs the program with the arguments of this process.
pub fn run() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    if completion::is_asked(&typed) {
        return completion::answer(&typed);
    }
    let after_dashes = arguments::count_after_dashes(&typed);
    let grammar = help::grammar(help::language_of(&typed));
    let parsed = grammar
        .try_get_matches_from(arguments::with_menu(typed.clone()))
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return ExitCode::from(usage::show(&error, &typed)),
    };
    let output = Output::new(&parsed.global);
    if let Err(failure) = log::begin() {
        return ExitCode::from(failure.show(&output));
    }
    let mut session = Session::new(parsed.global, after_dashes, output.clone());
    let command = parsed.command.unwrap_or(Command::Menu(arguments::MenuArguments { manifest: None }));
    match dispatch(command, &mut session) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.show(&output)),
    }
}

fn dispatch(command: Command, session: &mut Session) -> Result<u8, Failure> {
    match command {
        Command::Menu(arguments) => menu::run(arguments, session),
        Command::Use(arguments) => check::use_manifest(&arguments, session),
        Command::Check(arguments) => check::check(&arguments, session),
        Command::List(arguments) => listing::list(&arguments, session),
        Command::Config(arguments) => listing::config(&arguments, session),
        Command::Schema(arguments) => schemas::print(&arguments, session),
        Command::Doctor(arguments) => doctor::run(&arguments, session),
        Command::Save(arguments) => images::save(&arguments, session),
        Command::Load(arguments) => images::load(&arguments, session),
        Command::Images(command) => images::run(&command, session),
        Command::Plan(arguments) => services::show_plan(&arguments, session),
        Command::Start(arguments) => services::start(&arguments, session),
        Command::Stop(arguments) => services::stop(&arguments, session),
        Command::Restart(arguments) => services::restart(&arguments, session),
        Command::Remove(arguments) => services::remove(&arguments, session),
        Command::Status(arguments) => status::run(&arguments, session),
        Command::Logs(arguments) => logs::run(&arguments, session),
        Command::Db(command) => databases::run(&command, session),
        Command::Stats(arguments) => stats::run(&arguments, session),
        Command::Graph(arguments) => graph::run(&arguments, session),
        Command::Exec(arguments) => exec::run(&arguments, session),
        Command::History(arguments) => history::run(&arguments, session),
        Command::Rollback(arguments) => services::roll_back(&arguments, session),
        Command::Lock(command) => lock::run(&command, session),
        Command::Do(arguments) => chain::run(&arguments, session),
        Command::Completions(arguments) => completion::print(&arguments, session),
        Command::Man(arguments) => help::man(&arguments, session),
        Command::Help(arguments) => help::show(&arguments, session),
    }
}
