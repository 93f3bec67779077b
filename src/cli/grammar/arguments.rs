//! What several commands take, and words that name a manifest.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::catalogue::Language;
use crate::cli::text::output::{ColorMode, OutputSettings, ProgressMode};

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

impl GlobalArguments {
    /// What they say of how the program speaks.
    pub fn output(&self) -> OutputSettings {
        let Self { json, quiet, verbose, progress, color, lang, .. } = *self;
        OutputSettings { json, quiet, verbose, progress, color, lang }
    }
}

#[derive(Debug, Args)]
pub struct ManifestArguments {
    /// The manifest [default: the one remembered]
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TargetArguments {
    /// A manifest (.json), and services or databases in it
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
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
const VALUE_FLAGS: [&str; 9] =
    ["-f", "--manifest", "--state", "-H", "--host", "--progress", "--color", "--lang", "--lock-wait"];

/// `dpl MANIFEST.json` is `dpl menu MANIFEST.json`, and `dpl MANIFEST.json COMMAND …` is `dpl -f MANIFEST.json COMMAND …`.
pub fn with_menu(mut typed: Vec<OsString>) -> Vec<OsString> {
    if let Some(place) = next_word(&typed, 1).filter(|place| names_manifest(&typed[*place].to_string_lossy())) {
        let command_follows = next_word(&typed, place + 1).is_some();
        typed.insert(place, if command_follows { "-f" } else { "menu" }.into());
    }
    typed
}

/// What stands behind the site of `dpl on SITE …` is for the site, flags too: it goes behind a `--`.
pub fn with_dashes_behind_site(mut typed: Vec<OsString>) -> Vec<OsString> {
    let Some(on) = next_word(&typed, 1).filter(|place| typed[*place] == *"on") else { return typed };
    let mut site = next_word(&typed, on + 1);
    // `on`'s own flag with a value.
    while let Some(place) = site.filter(|place| typed[place - 1] == *"--sites") {
        site = next_word(&typed, place + 1);
    }
    if let Some(place) = site.filter(|place| place + 1 < typed.len() && typed[place + 1] != *"--") {
        typed.insert(place + 1, "--".into());
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

    #[test]
    fn what_stands_behind_a_site_is_for_the_site() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let read = |text: &str| with_dashes_behind_site(words(text));
        assert_eq!(read("dpl on a -f m.json list"), words("dpl on a -- -f m.json list"));
        assert_eq!(
            read("dpl -f m.json on --sites s.json a list -H x"),
            words("dpl -f m.json on --sites s.json a -- list -H x")
        );
        assert_eq!(read("dpl on a exec b -- ls"), words("dpl on a -- exec b -- ls"));
        assert_eq!(read("dpl on a -- list"), words("dpl on a -- list"));
        assert_eq!(read("dpl on a"), words("dpl on a"));
        assert_eq!(read("dpl status on a"), words("dpl status on a"));
    }

    #[test]
    fn a_manifest_alone_opens_the_menu() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(with_menu(words("dpl a.json")), words("dpl menu a.json"));
        assert_eq!(with_menu(words("dpl --yes -H x a.json")), words("dpl --yes -H x menu a.json"));
        assert_eq!(with_menu(words("dpl --state x a.json")), words("dpl --state x menu a.json"));
        assert_eq!(with_menu(words("dpl -f a.json list")), words("dpl -f a.json list"));
        assert_eq!(with_menu(words("dpl load a.json")), words("dpl load a.json"));
        assert_eq!(with_menu(words("dpl a.json --progress plain")), words("dpl menu a.json --progress plain"));
        assert_eq!(with_menu(words("dpl a.json -y status 25")), words("dpl -f a.json -y status 25"));
    }
}
