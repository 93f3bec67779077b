//! The scripts of shells, and the answers that they ask for at each Tab.
//!
//! A script asks `dpl __complete SHELL …` with what stands before the cursor. The answer is a line for each candidate,
//! value, tab, description; `:files` or `:folders` leaves the rest to the shell. It comes from the grammar, the manifest
//! and the folders that it names: no engine, no secret, no word on standard error, since all of it would stand in the
//! middle of somebody's command line.

mod candidates;
mod command_line;
mod kinds;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Command, ValueEnum};

use candidates::{Answer, Candidate};
use words::Words;

/// A shell that can complete dpl's command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// What can be offered that no manifest and no folder says.
pub struct Offered {
    pub grammar: Command,
    /// The documents that have a schema.
    pub documents: Vec<&'static str>,
}

/// The command that scripts call; no part of the grammar, since nobody types it.
const ASK: &str = "__complete";

/// The script of a shell.
pub fn script(shell: CompletionShell) -> &'static str {
    match shell {
        CompletionShell::Bash => include_str!("scripts/dpl.bash"),
        CompletionShell::Zsh => include_str!("scripts/dpl.zsh"),
        CompletionShell::Fish => include_str!("scripts/dpl.fish"),
    }
}

/// Whether a shell's script is asking.
pub fn is_asked(typed: &[OsString]) -> bool {
    typed.get(1).is_some_and(|word| word == ASK)
}

/// `dpl __complete bash LINE`, where LINE is what stands before the cursor; `dpl __complete zsh|fish WORD…`, the last
/// one being what the cursor stands behind.
pub fn answer(typed: &[OsString], offered: &Offered) -> ExitCode {
    let typed: Vec<String> = typed.iter().skip(2).map(|word| word.to_string_lossy().into_owned()).collect();
    let Some((shell, rest)) = typed.split_first() else {
        return ExitCode::from(2);
    };
    let text = match (shell.as_str(), rest) {
        ("bash", [line, ..]) => {
            let breaks = std::env::var("COMP_WORDBREAKS").unwrap_or_default();
            in_bash(&Words::of_line(line), &breaks, offered)
        }
        ("zsh" | "fish", words) if !words.is_empty() => plainly(&Words::of_words(words), offered),
        _ => return ExitCode::from(2),
    };
    // A shell that no longer listens is no reason for a word.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Value, tab, description.
fn plainly(words: &Words, offered: &Offered) -> String {
    let answer = candidates::of(words, offered);
    let mut text = String::new();
    for candidate in matching(&answer, &words.current) {
        let _ = writeln!(text, "{}\t{}", candidate.value, candidate.about);
    }
    text + directive(&answer)
}

/// bash replaces only what stands behind the last of its word breaks, and takes what it gets as it is: quoted here, and
/// followed by a space where the word is complete.
fn in_bash(words: &Words, breaks: &str, offered: &Offered) -> String {
    let answer = candidates::of(words, offered);
    let typed = words.current.as_str();
    // A word that begins with an `@` is a host's name to bash, and replaced as a whole.
    let is_break = |letter: char| letter != '@' && !letter.is_whitespace() && breaks.contains(letter);
    let kept = match words.quoted {
        true => 0,
        false => typed.rfind(is_break).map_or(0, |place| place + 1),
    };
    let mut text = String::new();
    for candidate in matching(&answer, typed) {
        let Some(rest) = candidate.value.get(kept..) else { continue };
        let rest = if words.quoted { rest.to_owned() } else { quote(rest) };
        let end = if candidate.goes_on() || words.quoted { "" } else { " " };
        let _ = writeln!(text, "{rest}{end}");
    }
    text + directive(&answer)
}

fn matching<'a>(answer: &'a Answer, typed: &'a str) -> impl Iterator<Item = &'a Candidate> {
    answer.candidates.iter().filter(move |candidate| candidate.value.starts_with(typed))
}

fn directive(answer: &Answer) -> &'static str {
    match answer.rest {
        candidates::Rest::Nothing => "",
        candidates::Rest::Files => ":files\n",
        candidates::Rest::Folders => ":folders\n",
    }
}

/// A backslash before whatever a shell would not take as it stands.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"@%+=:,./_-~!".contains(letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}
