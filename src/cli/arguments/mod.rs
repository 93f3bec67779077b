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
    CompressionChoice, ExportArguments, FormatChoice, ImagesCommand, ImportArguments, LoadArguments, PruneArguments,
    RemoveImagesArguments, SaveArguments, VerifyArguments,
};
pub use looking::{ExecArguments, GraphArguments, GraphFormat, LogsArguments, StatsArguments, StatusArguments};
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
    /// Where lock, journal and records of what was done lie [default: DPL_STATE, else .dpl beside the manifest]
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
    /// How long to wait while another operator is at work, as 5m [default: not at all]
    #[arg(long, global = true, value_name = "TIME")]
    pub lock_wait: Option<String>,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
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
    /// The language of all but errors, --help and JSON: en, zh [default: by LC_ALL, LC_MESSAGES or LANG, else en]
    #[arg(long, global = true, value_enum, value_name = "LANGUAGE")]
    #[arg(hide_possible_values = true)]
    pub lang: Option<Language>,
    /// Show values of the environment that are no secrets
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
    /// The menu, as `dpl MANIFEST.json` opens it
    #[command(hide = true)]
    Menu(MenuArguments),
    /// Remember a manifest for this folder
    Use(UseArguments),
    /// Check a manifest: 0 or 3
    Check(ManifestArguments),
    /// Number and name of services and databases
    List(TargetArguments),
    /// The manifest with everything filled in and merged
    Config(ManifestArguments),
    /// A JSON Schema: of the manifest, or of a document that --json prints
    Schema(SchemaArguments),
    /// What this engine is, and what will not work here
    Doctor(ManifestArguments),
    /// Save images from the engine to the image store
    Save(SaveArguments),
    /// Load images from the image store into the engine
    Load(LoadArguments),
    /// The image store: list, verify, prune, import, export, remove
    #[command(subcommand)]
    Images(ImagesCommand),
    /// What start would do, and why
    Plan(PlanArguments),
    /// Start services, and what they depend on
    Start(StartArguments),
    /// Stop services, those first that depend on others
    Stop(TargetArguments),
    /// Restart services: changed ones anew, stopped ones too
    Restart(StartArguments),
    /// Remove the containers of services
    Remove(RemoveArguments),
    /// State and health of services
    Status(StatusArguments),
    /// What services have written
    Logs(LogsArguments),
    /// CPU, memory, network and disk of services
    Stats(StatsArguments),
    /// Who needs whom
    Graph(GraphArguments),
    /// Run a command in a service's container
    Exec(ExecArguments),
    /// Databases: list, dump, backup, verify, prune, rebuild, restore, rollback, sql
    #[command(subcommand)]
    Db(DatabaseCommand),
    /// What was done, when, by whom, and how it ended
    History(HistoryArguments),
    /// Services back to the images and the configuration that they had before an action
    Rollback(RollbackServicesArguments),
    /// Who is at work on this project
    #[command(subcommand)]
    Lock(LockCommand),
    /// A chain in deploy.py's notation: "2 - 25 - 3 - 25"
    Do(ChainArguments),
    /// What a shell needs to complete dpl's command lines
    Completions(CompletionsArguments),
    /// The manual's pages
    Man(ManArguments),
}

#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Who is at work, from where, since when, and whether they are alive
    Status(ManifestArguments),
    /// Remove the lock on the engine: whoever holds it stops before their next change
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
    /// Whose schema
    #[arg(default_value = "manifest")]
    pub document: String,
}

#[derive(Debug, Args)]
pub struct TargetArguments {
    /// A manifest (.json), and what to choose from it
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ChainArguments {
    /// Action - targets - action - targets, and a manifest (.json)
    #[arg(required_unless_present = "file", value_name = "CHAIN")]
    pub chain: Vec<String>,
    /// The chain in a file: one or more steps a line, `#` begins a remark [default: none]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// Whose script is printed
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
    /// Where all pages are written to [default: dpl's own page goes to standard output]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
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
