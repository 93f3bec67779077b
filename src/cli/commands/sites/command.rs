//! A command of dpl for a site: read by the grammar here, run there.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::FromArgMatches;
use tokio::sync::mpsc;

use super::remote as connect;
use crate::catalogue::Language;
use crate::cli::ask::remote;
use crate::cli::commands::{self, Arguments, Command};
use crate::cli::grammar::arguments::with_menu;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::{ColorMode, ProgressMode};
use crate::manifest::Site;
use crate::sites::{Remote, RunAtSite, Said, ToSite, run as run_at};
use crate::state::Operator;

/// Runs it at the site with the terminal, the input and the output of this process; gives its exit code.
pub(in crate::cli::commands) fn run_there(
    name: &str,
    site: &Site,
    command: &SiteCommand,
    session: &mut Session,
) -> Result<u8, Failure> {
    let remote = connect(name, site)?;
    let what = command.at(site, session, remote::terminal());
    let runtime = session.runtime()?;
    runtime.block_on(remote::interact(&remote, &what, &session.output))
}

/// A command for a site, as it was typed.
pub(in crate::cli::commands) struct SiteCommand {
    words: Vec<String>,
    arguments: Arguments,
    /// Whether it changes something: then it outlives its connection.
    pub changes: bool,
}

impl SiteCommand {
    /// The site's dpl has the same grammar: what makes no sense there is told here.
    pub fn parse(words: &[String]) -> Result<Self, Failure> {
        let whole =
            with_menu(["dpl"].into_iter().chain(words.iter().map(String::as_str)).map(OsString::from).collect());
        let words: Vec<String> = whole.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        let parsed = commands::grammar(Language::English)
            .try_get_matches_from(whole)
            .and_then(|matches| Arguments::from_arg_matches(&matches));
        match parsed {
            Ok(arguments) => {
                let changes = arguments.command.as_ref().is_none_or(Command::outlives_its_connection);
                if matches!(arguments.command, Some(Command::On(_) | Command::Send(_) | Command::Serve(_))) {
                    return Err(Failure::usage(message!("usage-on-again")));
                }
                Ok(Self { words, arguments, changes })
            }
            // Help is the same here and there.
            Err(error) if !error.use_stderr() => {
                Err(Failure::usage(message!("usage-help-here", command = words.join(" "))))
            }
            Err(error) => {
                let said = error.render().to_string();
                let line = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(Failure::usage(message!("usage-at-site", why = line)))
            }
        }
    }

    /// Whether one JSON document is asked for.
    pub fn is_json(&self) -> bool {
        self.arguments.global.json
    }

    /// What is to run at a site.
    pub fn at(&self, site: &Site, session: &Session, terminal: Option<crate::sites::TerminalRequest>) -> RunAtSite {
        let (here, there) = (&session.global, &self.arguments.global);
        let mut arguments = Vec::new();
        if let (Some(manifest), None) = (&site.manifest, &there.manifest) {
            arguments.extend(["-f".to_owned(), manifest.clone()]);
        }
        let flags = [
            (here.json && !there.json, "--json"),
            (here.dry_run && !there.dry_run, "--dry-run"),
            (here.yes && !there.yes, "--yes"),
            (here.quiet && !there.quiet && !there.verbose, "--quiet"),
            (here.verbose && !there.verbose && !there.quiet, "--verbose"),
            (here.show_values && !there.show_values, "--show-values"),
        ];
        arguments.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.to_owned()));
        if let (Some(wait), None) = (&here.lock_wait, &there.lock_wait) {
            arguments.extend(["--lock-wait".to_owned(), wait.clone()]);
        }
        if there.lang.is_none() {
            let language = session.output.catalogue.language();
            arguments.extend(["--lang".to_owned(), language.code().to_owned()]);
        }
        if there.color == ColorMode::Auto {
            let color = match here.color {
                ColorMode::Auto if session.output.color_out() => "always",
                ColorMode::Auto | ColorMode::Never => "never",
                ColorMode::Always => "always",
            };
            arguments.extend(["--color".to_owned(), color.to_owned()]);
        }
        if let (Some(progress), ProgressMode::Auto) = (progress(here.progress), there.progress) {
            arguments.extend(["--progress".to_owned(), progress.to_owned()]);
        }
        arguments.extend(self.words.iter().cloned());
        let mut environment: BTreeMap<String, String> = site.variables.clone();
        for name in ["TERM", "COLORTERM"] {
            environment.extend(env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
        RunAtSite {
            arguments,
            folder: site.folder.clone().map(PathBuf::from),
            environment,
            terminal,
            outlives_connection: self.changes,
            takes_input: self.arguments.command.as_ref().is_none_or(Command::may_read_input),
            desk: desk(),
            attach_to: None,
        }
    }
}

fn progress(mode: ProgressMode) -> Option<&'static str> {
    match mode {
        ProgressMode::Auto => None,
        ProgressMode::Plain => Some("plain"),
        ProgressMode::Json => Some("json"),
        ProgressMode::None => Some("none"),
    }
}

/// Who asks, for the other desks of a site.
pub(in crate::cli::commands) fn desk() -> String {
    let operator = Operator::of_process();
    format!("{}@{}", operator.user, operator.host)
}

/// More of what a command says is not kept.
const MOST_CAPTURED: usize = 16 << 20;

/// Runs it and gives what it said: exit code, standard output, standard error.
pub(in crate::cli::commands) async fn captured(
    remote: &Remote,
    what: &RunAtSite,
) -> Result<(u8, Vec<u8>, Vec<u8>), Failure> {
    let (sender, mut input) = mpsc::channel(1);
    // Nobody types at several sites at once.
    let _ = sender.send(ToSite::InputEnd).await;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = run_at(remote, what, &mut input, &mut |said| {
        let (kept, bytes) = match said {
            Said::Output(bytes) => (&mut stdout, bytes),
            Said::Error(bytes) => (&mut stderr, bytes),
            Said::Lost(_) | Said::Back | Said::EndsWithLogin => return Ok(()),
        };
        match kept.len() + bytes.len() > MOST_CAPTURED {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => {
                kept.extend_from_slice(&bytes);
                Ok(())
            }
        }
    })
    .await?;
    Ok((code, stdout, stderr))
}
