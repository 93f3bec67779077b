//! `on`: any command of dpl at a site, beside its engine, as if it were typed there.

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::{Map, Value};

use super::command::{SiteCommand, captured, run_there};
use super::{SitesFile, read, remote as connect, select};
use crate::cli::ask::remote;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::manifest::Site;
use crate::report::Listed;
use crate::sites::{RunAtSite, list_runs, shown};

#[derive(Debug, Args)]
pub struct OnArguments {
    #[command(flatten)]
    pub file: SitesFile,
    /// The site, or several: a name, a glob, @GROUP
    #[arg(value_name = "SITE")]
    pub site: String,
    /// A command of dpl and its arguments; `attach [ID]` shows one that outlived its connection [default: the menu]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// At so many sites at once commands run that only look.
const AT_ONCE: usize = 16;

/// `dpl on`: ends with the command's own exit code, or with 4 where the site can't be reached.
pub fn run(arguments: &OnArguments, session: &mut Session) -> Result<u8, Failure> {
    let list = read(&arguments.file, session)?;
    let sites = select(&list, std::slice::from_ref(&arguments.site))?;
    refuse_flags_of_this_machine(arguments, session)?;
    if arguments.command.iter().find(|word| !word.starts_with('-')).is_some_and(|word| word == "attach") {
        let (name, site) = only_one(&sites, &arguments.site)?;
        let words: Vec<String> = arguments.command.iter().filter(|word| *word != "attach").cloned().collect();
        return attach(name, site, &words, session);
    }
    let typed = SiteCommand::parse(&arguments.command)?;
    if let [(name, site)] = sites.as_slice() {
        return run_there(name, site, &typed, session);
    }
    match typed.changes {
        true => one_after_the_other(&sites, &typed, session),
        false => side_by_side(&sites, &typed, session),
    }
}

/// What stands before `on` is about this machine: an engine or a folder of records there would be ignored.
fn refuse_flags_of_this_machine(arguments: &OnArguments, session: &Session) -> Result<(), Failure> {
    let global = &session.global;
    let state = global.state.as_ref().map(|folder| ("--state", folder.to_string_lossy().into_owned()));
    let Some((flag, value)) = global.host.clone().map(|host| ("--host", host)).or(state) else { return Ok(()) };
    let words: Vec<&str> = ["dpl", "on", &arguments.site, flag, &value]
        .into_iter()
        .chain(arguments.command.iter().map(String::as_str))
        .collect();
    let hint = message!("hint-on-flag-there", command = shell_words::join(words));
    Err(Failure::usage_with_hint(message!("usage-on-flag-here", flag = flag), hint))
}

fn only_one<'s>(sites: &'s [(String, Site)], typed: &str) -> Result<&'s (String, Site), Failure> {
    match sites {
        [one] => Ok(one),
        _ => Err(Failure::usage(message!("usage-one-site", selector = typed))),
    }
}

/// `dpl on SITE attach [ID]`, or `--list`.
fn attach(name: &str, site: &Site, words: &[String], session: &mut Session) -> Result<u8, Failure> {
    let remote = connect(name, site)?;
    let runtime = session.runtime()?;
    let is_json = session.output.json || words.iter().any(|word| word == "--json");
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--json").collect();
    match words.as_slice() {
        ["--list"] => {
            let runs = runtime.block_on(list_runs(&remote))?;
            if is_json {
                session.output.document(&runs)?;
                return Ok(0);
            }
            session.output.data(&super::table_of_sites::runs(&runs, &session.output))?;
            Ok(0)
        }
        [] | [_] => {
            let what = RunAtSite {
                terminal: remote::terminal(),
                attach_to: Some(words.first().map(|id| (*id).to_owned()).unwrap_or_default()),
                ..RunAtSite::default()
            };
            runtime.block_on(remote::interact(&remote, &what, &session.output))
        }
        _ => Err(Failure::usage(message!("usage-attach"))),
    }
}

/// What changes something runs at one site after the other, and no further than the first failure.
fn one_after_the_other(sites: &[(String, Site)], typed: &SiteCommand, session: &mut Session) -> Result<u8, Failure> {
    for (place, (name, site)) in sites.iter().enumerate() {
        session.output.say(&message!("site-next", site = name, number = place + 1, count = sites.len()));
        let result = run_there(name, site, typed, session);
        if !matches!(result, Ok(0)) {
            let rest: Vec<&str> = sites[place + 1..].iter().map(|(name, _)| name.as_str()).collect();
            if !rest.is_empty() {
                session.output.warn(&message!("sites-not-reached", sites = Listed::of(rest)));
            }
            return result;
        }
    }
    Ok(0)
}

/// What a command at one of several sites came to.
struct Looked {
    name: String,
    code: u8,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// What only looks runs at all of them at once; each line has its site before it. The worst exit code counts.
fn side_by_side(sites: &[(String, Site)], typed: &SiteCommand, session: &mut Session) -> Result<u8, Failure> {
    let runtime = session.runtime()?;
    let planned: Vec<_> =
        sites.iter().map(|(name, site)| (name.clone(), connect(name, site), typed.at(site, session, None))).collect();
    let output = session.output.clone();
    let looked: Vec<Looked> = runtime.block_on(async {
        let looks = planned.into_iter().map(|(name, remote, what)| {
            let output = output.clone();
            async move {
                let seen = match remote {
                    Ok(remote) => captured(&remote, &what).await,
                    Err(failure) => Err(failure),
                };
                seen.map_or_else(
                    |failure| Looked {
                        code: failure.exit_code(),
                        stdout: Vec::new(),
                        stderr: format!("{}\n", failure.in_words(output.catalogue)).into_bytes(),
                        name: name.clone(),
                    },
                    |(code, stdout, stderr)| Looked { name: name.clone(), code, stdout, stderr },
                )
            }
        });
        stream::iter(looks).buffered(AT_ONCE).collect().await
    });
    show(&looked, typed.is_json(), &session.output)?;
    Ok(looked.iter().map(|looked| looked.code).max().unwrap_or_default())
}

fn show(looked: &[Looked], is_json: bool, output: &Output) -> Result<(), Failure> {
    let width = looked.iter().map(|looked| console::measure_text_width(&looked.name)).max().unwrap_or_default();
    let named =
        |name: &str, line: &str| format!("{}  {line}", console::pad_str(name, width, console::Alignment::Left, None));
    for looked in looked {
        for line in String::from_utf8_lossy(&looked.stderr).lines() {
            output.line(&named(&looked.name, &shown(line)));
        }
    }
    if output.json || is_json {
        let document: Map<String, Value> = looked
            .iter()
            .map(|looked| (looked.name.clone(), serde_json::from_slice(&looked.stdout).unwrap_or_default()))
            .collect();
        return Ok(output.document(&document)?);
    }
    let mut first_line: Option<String> = None;
    let mut text = String::new();
    for looked in looked {
        for (place, line) in String::from_utf8_lossy(&looked.stdout).lines().enumerate() {
            // A table's titles stand once.
            let is_title_again = place == 0 && first_line.as_deref() == Some(line);
            if place == 0 && first_line.is_none() {
                first_line = Some(line.to_owned());
                let title = output.catalogue.word(message!("column-site"));
                text.push_str(&named(title, &shown(line)));
                text.push('\n');
            } else if !is_title_again {
                text.push_str(&named(&looked.name, &shown(line)));
                text.push('\n');
            }
        }
    }
    Ok(output.data(&text)?)
}
