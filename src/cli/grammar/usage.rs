//! A command line that the grammar does not take, as a page like any other: what is wrong, and what was meant.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error, FromArgMatches, ValueEnum};

use super::arguments::GlobalArguments;
use super::help::language_of;
use crate::cli::text::failure::{Failure, in_one_line};
use crate::cli::text::output::{ColorMode, Output};
use crate::cli::text::stdout;
use crate::manifest::nearest;
use crate::report::{Listed, Message};

#[cfg(test)]
mod tests;

/// Shows what `error` has to say of words that `root`, the grammar in English, does not take, and gives the exit code. Help and versions are no errors.
pub fn show(error: &Error, typed: &[OsString], root: &Command) -> u8 {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    match output(typed, root) {
        Some(output) if !is_help => failure(error, typed, root).show(&output),
        output => {
            if let (false, Err(closed), Some(output)) = (error.use_stderr(), stdout::check(), output) {
                return Failure::Output(closed).show(&output);
            }
            // A reader that has closed the pipe has seen enough.
            let _ = error.print();
            u8::from(error.use_stderr()) * 2
        }
    }
}

/// How the page is shown, as far as that can be told from arguments that make no sense.
fn output(typed: &[OsString], root: &Command) -> Option<Output> {
    let matches = root.clone().try_get_matches_from(["dpl"]).ok()?;
    let mut settings = GlobalArguments::from_arg_matches(&matches).ok()?.output();
    let words: Vec<&str> = typed.iter().filter_map(|word| word.to_str()).collect();
    let value = |flag: &str| {
        words.iter().enumerate().find_map(|(place, word)| match word.strip_prefix(flag) {
            Some("") => words.get(place + 1).copied(),
            Some(value) => value.strip_prefix('='),
            None => None,
        })
    };
    if let Some(color) = value("--color").and_then(|value| ColorMode::from_str(value, false).ok()) {
        settings.color = color;
    }
    settings.lang = Some(language_of(typed));
    Some(Output::new(&settings))
}

fn failure(error: &Error, typed: &[OsString], root: &Command) -> Failure {
    let (path, command) = place(error, typed, root);
    let what = first_word(&text(error, ContextKind::InvalidArg));
    let value = text(error, ContextKind::InvalidValue);
    let see = message!("hint-see-help", command = &path);
    let one_of = |valid: &str| message!("hint-one-of", names = Listed::of(valid.split(", ")));
    let meant = |meant: Option<String>| meant.map(|meant| message!("hint-did-you-mean", meant = meant));
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let wrong = text(error, ContextKind::InvalidSubcommand);
            let headline = match path.as_str() {
                "dpl" => message!("usage-no-command", word = wrong),
                _ => message!("usage-no-subcommand", path = path, word = wrong),
            };
            let names = command.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
            let others = OF_OTHERS.iter().find(|(word, _)| *word == wrong && path == "dpl");
            let found = others.map(|(_, own)| (*own).to_owned());
            let found = found.or_else(|| nearest(&wrong, names).map(str::to_owned)).or_else(|| elsewhere(&wrong, root));
            Failure::usage_with_hint(headline, meant(found).unwrap_or(see))
        }
        ErrorKind::UnknownArgument if what.starts_with('-') => {
            let found = flag(&what, command, root).or_else(|| some(text(error, ContextKind::SuggestedArg)));
            Failure::usage_with_hint(message!("usage-no-flag", path = path, flag = what), meant(found).unwrap_or(see))
        }
        ErrorKind::UnknownArgument => {
            Failure::usage_with_hint(message!("usage-too-many", path = path, what = what), see)
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            let valid = text(error, ContextKind::ValidValue);
            let hint = match valid.is_empty() {
                true if path == "dpl logs" && what == "--manifest" => {
                    message!("hint-logs-follow", targets = "SERVICE")
                }
                true => see,
                false => one_of(&valid),
            };
            Failure::usage_with_hint(message!("usage-value-missing", flag = what), hint)
        }
        ErrorKind::InvalidValue => {
            let valid = text(error, ContextKind::ValidValue);
            let found = nearest(&value, valid.split(", ")).map(str::to_owned);
            let hint = meant(found).unwrap_or_else(|| one_of(&valid));
            Failure::usage_with_hint(message!("usage-value-wrong", flag = what, value = value), hint)
        }
        ErrorKind::ValueValidation => {
            let message = match error.source() {
                Some(why) => {
                    message!("usage-value-wrong-because", flag = what, value = value, why = in_one_line(why))
                }
                None => message!("usage-value-wrong", flag = what, value = value),
            };
            Failure::usage_with_hint(message, see)
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = text(error, ContextKind::InvalidArg);
            Failure::usage_with_hint(
                message!("usage-argument-missing", path = path, what = Listed::of(missing.split(", "))),
                usage(error).unwrap_or(see),
            )
        }
        ErrorKind::ArgumentConflict => {
            let other = text(error, ContextKind::PriorArg);
            // A command that takes arguments or a command below it, and got both.
            let what = match what.is_empty() {
                true => text(error, ContextKind::InvalidSubcommand),
                false => what,
            };
            let headline = match first_word(&other) {
                other if other == what => message!("usage-flag-twice", flag = what),
                other => message!("usage-flags-conflict", flag = what, other = other),
            };
            Failure::usage_with_hint(headline, see)
        }
        ErrorKind::MissingSubcommand => {
            let names = command.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
            let hint = message!("hint-one-of", names = Listed::of(names));
            Failure::usage_with_hint(message!("usage-command-missing", path = path), hint)
        }
        ErrorKind::TooManyValues => {
            Failure::usage_with_hint(message!("usage-value-unexpected", flag = what, value = value), see)
        }
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            let wanted = some(text(error, ContextKind::ExpectedNumValues));
            let wanted = wanted.unwrap_or_else(|| text(error, ContextKind::MinValues));
            let given = text(error, ContextKind::ActualNumValues);
            let headline = message!("usage-number-of-values", flag = what, wanted = wanted, given = given);
            Failure::usage_with_hint(headline, see)
        }
        ErrorKind::NoEquals => {
            let flag = what.split('=').next().unwrap_or_default();
            Failure::usage_with_hint(message!("usage-equals-missing", flag = flag), see)
        }
        ErrorKind::InvalidUtf8 => {
            let wrong = typed.iter().find(|word| word.to_str().is_none()).map(|word| word.to_string_lossy());
            Failure::usage_with_hint(message!("usage-not-utf8", word = wrong.unwrap_or_default()), see)
        }
        // Kinds that parsing does not give, and those of later versions of clap: in its own English.
        _ => {
            let rendered = error.to_string();
            let headline = rendered.lines().next().unwrap_or_default();
            let text = headline.strip_prefix("error: ").unwrap_or(headline);
            Failure::usage_with_hint(message!("usage-text", text = text), see)
        }
    }
}

/// The command that the error is about: the usage line of the error tells it, else the words that were typed.
fn place<'a>(error: &Error, typed: &[OsString], root: &'a Command) -> (String, &'a Command) {
    let usage = text(error, ContextKind::Usage);
    let words: Vec<String> = match usage.is_empty() {
        true => typed.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        false => usage.split_whitespace().skip_while(|word| *word != "dpl").skip(1).map(str::to_owned).collect(),
    };
    let (mut path, mut command) = ("dpl".to_owned(), root);
    for word in words {
        match command.find_subcommand(&word) {
            Some(below) => {
                path.push(' ');
                path.push_str(&word);
                command = below;
            }
            // Flags of everywhere, and their values, may stand before the command.
            None if usage.is_empty() && command.has_subcommands() => {}
            None => break,
        }
    }
    (path, command)
}

/// Commands of Docker and Compose, and what they are called here.
const OF_OTHERS: [(&str, &str); 8] = [
    ("up", "dpl start"),
    ("down", "dpl remove"),
    ("rm", "dpl remove"),
    ("ps", "dpl status"),
    ("ls", "dpl list"),
    ("kill", "dpl stop"),
    ("pull", "dpl load"),
    ("run", "dpl exec"),
];

/// A command of another level: `dpl rebuild` is `dpl db rebuild`.
fn elsewhere(wrong: &str, root: &Command) -> Option<String> {
    root.get_subcommands().find_map(|group| {
        let below = group.get_subcommands().find(|below| below.get_name() == wrong)?;
        Some(format!("dpl {} {}", group.get_name(), below.get_name()))
    })
}

/// The flag of a command, or of all commands, that is nearest to a wrong one.
fn flag(wrong: &str, command: &Command, root: &Command) -> Option<String> {
    let wrong = wrong.strip_prefix("--")?;
    let arguments = command.get_arguments().chain(root.get_arguments());
    let names: Vec<&str> = arguments.filter_map(clap::Arg::get_long).collect();
    nearest(wrong, names).map(|name| format!("--{name}"))
}

fn usage(error: &Error) -> Option<Message> {
    let usage = text(error, ContextKind::Usage);
    let line = usage.lines().find_map(|line| line.trim().strip_prefix("Usage: ").or(Some(line.trim())))?;
    some(line.trim().to_owned()).map(|line| message!("hint-usage", usage = line))
}

fn text(error: &Error, kind: ContextKind) -> String {
    error.get(kind).map(ContextValue::to_string).unwrap_or_default()
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// `--jobs <N>` is `--jobs`, `<FILE>...` is `FILE`, and of `--all, --journal` the first counts.
fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().trim_matches(['<', '>', '[', ']', '.', ',']).to_owned()
}
