//! The command line's grammar.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Takes Docker stacks to machines without a registry, runs them there and keeps their databases safe.
#[derive(Debug, Parser)]
#[command(name = "dpl", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Targets: 25, 17..25, [2, 3], a name, a glob (metis_*), a group (@metis), all, !x to leave out.\n\
                        `dpl MANIFEST.json` alone opens the menu."
)]
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
    /// The manifest; also the first argument that names a .json file, DPL_MANIFEST, or the one remembered
    #[arg(short = 'f', long, global = true, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
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
    /// The image store: list, verify
    #[command(subcommand)]
    Images(ImagesCommand),
    /// What start would do, and why
    Plan(TargetArguments),
    /// Start services, and what they depend on
    Start(StartArguments),
    /// Stop services, those first that depend on others
    Stop(TargetArguments),
    /// Restart services: changed ones anew, stopped ones too
    Restart(StartArguments),
    /// Remove the containers of services
    Remove(TargetArguments),
    /// State and health of services
    Status(TargetArguments),
    /// What services have written
    Logs(LogsArguments),
    /// Databases: list, dump, rebuild, backup
    #[command(subcommand)]
    Db(DatabaseCommand),
    /// A chain in deploy.py's notation: "2 - 25 - 3 - 25"
    Do(ChainArguments),
}

#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Databases with their size and last backup
    List(TargetArguments),
    /// Dump databases as the delivery's seeds
    Dump(TargetArguments),
    /// Rebuild databases from their seeds: the old one goes only when the new one is proved
    Rebuild(TargetArguments),
    /// Back databases up
    Backup(TargetArguments),
}

#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// What the store holds, what is in the engine, and who uses it
    List(ManifestArguments),
    /// Compare all that the store holds with its digests: 0 or 1
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The manifest [default: the one remembered]
    pub manifest: Option<PathBuf>,
    /// Look at documents and sizes, and leave the content of layers unread
    #[arg(long)]
    pub quick: bool,
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
pub struct SaveArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// How layers are compressed [default: zstd in the store, gzip in archives]
    #[arg(long, value_enum)]
    pub compression: Option<CompressionChoice>,
    /// The level of compression [default: the compressor's own]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Threads that compress [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// What is written: the store, or deploy.py's archives
    #[arg(long, value_enum, default_value_t = FormatChoice::Layout)]
    pub format: FormatChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressionChoice {
    Zstd,
    Gzip,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatChoice {
    /// The image store: an OCI image layout
    Layout,
    /// One `docker save` archive for each image
    DockerArchive,
}

#[derive(Debug, Args)]
pub struct LoadArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
}

#[derive(Debug, Args)]
pub struct StartArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// How many containers are made or started at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// How long one service may take to become ready [default: as the manifest says, else 5m for a health check, 2m for other proofs]
    #[arg(long, value_name = "TIME")]
    pub wait_timeout: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogsArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Go on with what comes
    #[arg(long)]
    pub follow: bool,
    /// Lines from the end of each [default: all]
    #[arg(short = 'n', long, value_name = "LINES")]
    pub tail: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ChainArguments {
    /// Action - targets - action - targets, and a manifest (.json)
    #[arg(required = true, value_name = "CHAIN")]
    pub chain: Vec<String>,
}

/// Flags whose value is the argument behind them.
const VALUE_FLAGS: [&str; 6] = ["-f", "--manifest", "-H", "--host", "--progress", "--color"];

/// `dpl MANIFEST.json …` is `dpl menu MANIFEST.json …`.
pub fn with_menu(mut typed: Vec<OsString>) -> Vec<OsString> {
    let mut place = 1;
    while let Some(argument) = typed.get(place) {
        if VALUE_FLAGS.iter().any(|flag| argument == OsStr::new(flag)) {
            place += 2;
        } else if argument.as_encoded_bytes().starts_with(b"-") {
            place += 1;
        } else {
            if names_manifest(&argument.to_string_lossy()) {
                typed.insert(place, "menu".into());
            }
            break;
        }
    }
    typed
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
    }
}
