//! The command line's grammar.

mod databases;
mod history;
mod images;
mod looking;
mod replace;
mod services;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::catalogue::Language;

pub use databases::{
    DatabaseCommand, DatabaseListArguments, DatabaseVerifyArguments, DumpArguments, LeftoversArguments,
    LeftoversCommand, ShellArguments, SqlArguments,
};
pub use history::{HistoryArguments, HistoryCommand, RollbackServicesArguments};
pub use images::{
    CompressionArguments, CompressionChoice, ExportArguments, FormatChoice, ImagesCommand, ImportArguments,
    LoadArguments, PruneArguments, RemoveImagesArguments, SaveArguments, VerifyArguments,
};
pub use looking::{ExecArguments, GraphArguments, GraphFormat, LogsArguments, StatsArguments, StatusArguments, Tail};
pub use replace::{ConvertArguments, RebuildArguments, ReplaceArguments, RestoreArguments, RollbackArguments};
pub use services::{PlanArguments, RemoveArguments, StartArguments, WishArguments};

/// Takes Docker stacks to machines without a registry, runs them there and keeps their databases safe.
#[derive(Debug, Parser)]
#[command(name = "dpl", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct GlobalArguments {
    /// The manifest [default: the first argument that names a .json file, DPL_MANIFEST, the one remembered]
    #[arg(short = 'f', long, global = true, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// The folder for the lock, the journal and other records [default: DPL_STATE, else .dpl beside the manifest]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// The engine: unix://, tcp://, ssh:// or a Docker context [default: as the docker command finds it]
    #[arg(short = 'H', long, global = true, value_name = "ENGINE")]
    pub host: Option<String>,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Show what would be done, and change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Answer every question with yes
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// How long to wait for another operator to finish, for example 5m [default: not at all]
    #[arg(long, global = true, value_name = "TIME")]
    pub lock_wait: Option<String>,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more details
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// How progress is shown: auto (bars at a terminal, else plain lines), plain, json, none
    #[arg(long, global = true, value_enum, default_value_t = ProgressMode::Auto, value_name = "HOW")]
    #[arg(hide_possible_values = true)]
    pub progress: ProgressMode,
    /// When to use colours: auto (at a terminal, unless NO_COLOR is set or TERM is dumb), always, never
    #[arg(long, global = true, value_enum, default_value_t = ColorMode::Auto, value_name = "WHEN")]
    #[arg(hide_possible_values = true)]
    pub color: ColorMode,
    /// The language: en, zh [default: by LC_ALL, LC_MESSAGES, LC_CTYPE and LANG, else en]
    #[arg(long, global = true, value_enum, value_name = "LANGUAGE")]
    #[arg(hide_possible_values = true)]
    pub lang: Option<Language>,
    /// Show the values of environment variables that are not secrets
    #[arg(long, global = true)]
    pub show_values: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars at a terminal, else plain lines
    Auto,
    /// Lines
    Plain,
    /// JSON lines on standard error
    Json,
    /// Nothing
    None,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorMode {
    /// At a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open the menu, as `dpl MANIFEST.json` does
    #[command(hide = true)]
    Menu(MenuArguments),
    /// Remember a manifest for this folder
    Use(UseArguments),
    /// Check a manifest; exit code 3 when it is wrong
    Check(ManifestArguments),
    /// List services and databases with their numbers
    List(TargetArguments),
    /// Print the resolved manifest, with variables filled in and files merged
    Config(ManifestArguments),
    /// Print a JSON Schema: of the manifest, or of a document that --json prints
    Schema(SchemaArguments),
    /// Check the engine, and what in the manifest will not work on it
    Doctor(ManifestArguments),
    /// Save images from the engine to the image store
    Save(SaveArguments),
    /// Load images from the image store into the engine
    Load(LoadArguments),
    /// Manage the image store: list, verify, repair, prune, import, export, remove
    #[command(subcommand)]
    Images(ImagesCommand),
    /// Show what `start` would do, and why
    Plan(PlanArguments),
    /// Start services and what they depend on
    Start(StartArguments),
    /// Stop services; dependents stop first
    Stop(TargetArguments),
    /// Restart services; those that changed are recreated, stopped ones are started
    Restart(StartArguments),
    /// Remove the containers of services
    Remove(RemoveArguments),
    /// Show the state and health of services
    Status(StatusArguments),
    /// Show the logs of services
    Logs(LogsArguments),
    /// Show CPU, memory, network and disk use of services
    Stats(StatsArguments),
    /// Show which services depend on which
    Graph(GraphArguments),
    /// Run a command in a service's container
    Exec(ExecArguments),
    /// Manage databases: list, dump, backup, verify, prune, rebuild, restore, rollback, sql
    #[command(subcommand)]
    Db(DatabaseCommand),
    /// Show what was done, when, by whom and with what result
    History(HistoryArguments),
    /// Return services to the images and configuration they had before an action
    Rollback(RollbackServicesArguments),
    /// Show or release the lock of this project
    #[command(subcommand)]
    Lock(LockCommand),
    /// Run a chain of actions, in the notation of deploy.py: "2 - 25 - 3 - 25"
    Do(ChainArguments),
    /// Print the completion script for a shell
    Completions(CompletionsArguments),
    /// Print or write the manual pages
    Man(ManArguments),
    /// Show the help of a command, or the flags of every command
    #[command(hide = true)]
    Help(HelpArguments),
}

#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Show who works on this project, from where, since when, and whether the process is alive
    Status(ManifestArguments),
    /// Remove the lock on the engine; its holder stops before the next change
    Release(ManifestArguments),
}

#[derive(Debug, Args)]
pub struct MenuArguments {
    /// The manifest
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UseArguments {
    /// The manifest to remember
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: PathBuf,
}

#[derive(Debug, Args)]
pub struct ManifestArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SchemaArguments {
    /// The document whose schema is printed
    #[arg(default_value = "manifest")]
    pub document: String,
}

#[derive(Debug, Args)]
pub struct TargetArguments {
    /// A manifest (.json), and services or databases in it
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ChainArguments {
    /// Action - targets - action - targets, and a manifest (.json)
    #[arg(required_unless_present = "file", value_name = "CHAIN")]
    pub chain: Vec<String>,
    /// A file with the chain: one or more steps a line, `#` begins a comment [default: none]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: CompletionShell,
}

/// A shell that can complete dpl's command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub struct ManArguments {
    /// The folder for all pages [default: print the page of dpl itself]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct HelpArguments {
    /// A command, or `flags`
    #[arg(value_name = "COMMAND")]
    pub topic: Vec<String>,
}

impl ValueEnum for Language {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.code()))
    }
}

/// Flags whose value is the argument behind them.
const VALUE_FLAGS: [&str; 8] = ["-f", "--manifest", "-H", "--host", "--progress", "--color", "--lang", "--lock-wait"];

/// `dpl MANIFEST.json` is `dpl menu MANIFEST.json`, and `dpl MANIFEST.json COMMAND …` is `dpl -f MANIFEST.json COMMAND …`.
pub fn with_menu(mut typed: Vec<OsString>) -> Vec<OsString> {
    if let Some(place) = next_word(&typed, 1).filter(|place| names_manifest(&typed[*place].to_string_lossy())) {
        let command_follows = next_word(&typed, place + 1).is_some();
        typed.insert(place, if command_follows { "-f" } else { "menu" }.into());
    }
    typed
}

/// The first argument from `place` on that is neither a flag nor a flag's value.
fn next_word(typed: &[OsString], mut place: usize) -> Option<usize> {
    while let Some(argument) = typed.get(place) {
        if VALUE_FLAGS.iter().any(|flag| argument == OsStr::new(flag)) {
            place += 2;
        } else if argument.as_encoded_bytes().starts_with(b"-") {
            place += 1;
        } else {
            return Some(place);
        }
    }
    None
}

/// How many arguments stand behind `--`: none of them names a manifest.
pub fn count_after_dashes(typed: &[OsString]) -> usize {
    match typed.iter().position(|argument| argument == "--") {
        Some(place) => typed.len() - place - 1,
        None => 0,
    }
}

/// Whether an argument is a manifest's file, not a selector.
pub fn names_manifest(argument: &str) -> bool {
    argument.len() > ".json".len() && argument.ends_with(".json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_manifest_alone_opens_the_menu() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(with_menu(words("dpl a.json")), words("dpl menu a.json"));
        assert_eq!(with_menu(words("dpl --yes -H x a.json")), words("dpl --yes -H x menu a.json"));
        assert_eq!(with_menu(words("dpl -f a.json list")), words("dpl -f a.json list"));
        assert_eq!(with_menu(words("dpl load a.json")), words("dpl load a.json"));
        assert_eq!(with_menu(words("dpl a.json --progress plain")), words("dpl menu a.json --progress plain"));
        assert_eq!(with_menu(words("dpl a.json -y status 25")), words("dpl -f a.json -y status 25"));
    }
}
