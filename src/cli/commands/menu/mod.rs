//! The menu: deploy.py's numbers, then a numbered list to apply the action to, the plan, and back.
//!
//! At a terminal a failed action shows its page and comes back to the menu, and so does one that Ctrl-C stopped; lines from
//! a pipe end at the first failure, with its exit code, so that a failed load is never followed by the restart.

pub mod entries;
mod lists;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::ask::picker::{Answer, Question, Reading};
use crate::cli::ask::prompt::Typed;
use crate::cli::ask::terminal;
use crate::cli::commands::sites::{self, SitesFile};
use crate::cli::session::operations;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::manifest::{Choices, narrow};
use crate::report::{Message, Told as _};
use entries::{Agreed, MENU, MenuEntry, TargetKind};
use lists::List;

#[derive(Debug, Args)]
pub struct MenuArguments {
    /// The manifest
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
}

/// `dpl MANIFEST.json`, or `dpl` alone.
pub fn run(arguments: MenuArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    session.watch_signals()?;
    let at_terminal = io::stdin().is_terminal();
    loop {
        match round(&project, session) {
            Ok(Step::Back) => {}
            Ok(Step::Leave) => return Ok(0),
            // A look that found something, or that Ctrl-C ended.
            Ok(Step::Done(0)) => {}
            Ok(Step::Done(_)) if at_terminal => {}
            Ok(Step::Done(code)) => return Ok(code),
            // Who leaves at a question has left; and a terminal that can't be used shows no second menu.
            Err(failure @ (Failure::Left | Failure::Terminal(_) | Failure::Output(_))) => return Err(failure),
            Err(failure) if at_terminal => {
                failure.show(&session.output);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// How one round through the menu ended.
enum Step {
    /// With this exit code.
    Done(u8),
    Back,
    Leave,
}

/// An action, what it applies to, its plan, and what comes of it.
fn round(project: &Arc<Project>, session: &mut Session) -> Result<Step, Failure> {
    let entry = match action(project, session)? {
        Chosen::One(entry) => entry,
        Chosen::Back => return Ok(Step::Back),
        Chosen::Leave => return Ok(Step::Leave),
    };
    let targets = match targets(entry, project, session)? {
        Chosen::One(targets) => targets,
        Chosen::Back => return Ok(Step::Back),
        Chosen::Leave => return Ok(Step::Leave),
    };
    if entry.kind.is_elsewhere() {
        return elsewhere(entry, &targets, project, session);
    }
    if entry.kind.only_looks() {
        return Ok(Step::Done(entries::look(entry.kind, &targets, session)?));
    }
    let backup = match entry.targets {
        TargetKind::Backup => match backup(&targets, project, session)? {
            Chosen::One(id) => Some(id),
            Chosen::Back => return Ok(Step::Back),
            Chosen::Leave => return Ok(Step::Leave),
        },
        _ => None,
    };
    let operation = entries::change(entry.kind, &targets, backup, project)?;
    session.output.say(&operation.announcement());
    if !session.global.dry_run && entries::agree(operation.as_ref(), project, session)? == Agreed::NothingToDo {
        return Ok(Step::Done(0));
    }
    operations::perform(operation.as_ref(), project, session)?;
    Ok(Step::Done(0))
}

/// What came of a question with a list.
enum Chosen<T> {
    One(T),
    Back,
    Leave,
}

/// Which action.
fn action(project: &Project, session: &mut Session) -> Result<Chosen<&'static MenuEntry>, Failure> {
    let list = lists::actions(project, session);
    let leaves = MENU.len();
    let catalogue = session.output.catalogue;
    let read = |text: &str| {
        let text = narrowed(text);
        match text.as_str() {
            "0" | "q" => Reading::Rows(vec![leaves]),
            _ => match text.parse::<usize>() {
                Ok(number) if (1..=leaves).contains(&number) => Reading::Rows(vec![number - 1]),
                _ if text.starts_with(char::is_alphabetic) => Reading::Words,
                _ => Reading::Wrong(catalogue.text(&entries::no_action(&text).message())),
            },
        }
    };
    let texts = Texts {
        short: message!("menu-action"),
        long: message!("menu-which-action"),
        hint: message!("menu-hint-action"),
    };
    match choose(&list, &texts, &read, session)? {
        Answer::Row(row) if row == leaves => Ok(Chosen::Leave),
        Answer::Row(row) => Ok(Chosen::One(entries::entry_of(row as u32 + 1)?)),
        Answer::Text(text) => match narrowed(&text).as_str() {
            "0" | "q" => Ok(Chosen::Leave),
            text => match text.parse() {
                Ok(number) => Ok(Chosen::One(entries::entry_of(number)?)),
                Err(_) => Err(entries::no_action(text)),
            },
        },
        Answer::Back => Ok(Chosen::Back),
        Answer::End => Ok(Chosen::Leave),
        Answer::Interrupted => Err(Failure::Left),
    }
}

/// What the action applies to: selectors as they were typed, or the name that was chosen.
fn targets(entry: &MenuEntry, project: &Arc<Project>, session: &mut Session) -> Result<Chosen<Vec<String>>, Failure> {
    let manifest = project.manifest();
    let (choices, list) = match entry.targets {
        TargetKind::Nothing => return Ok(Chosen::One(Vec::new())),
        TargetKind::Site | TargetKind::SiteAndServices => return site(session),
        TargetKind::Services => {
            (Choices::services(manifest), session.look(|session| lists::services(project, session))?)
        }
        TargetKind::Databases | TargetKind::Backup => {
            (Choices::databases(manifest), session.look(|session| lists::databases(project, session))?)
        }
    };
    chosen_of(&choices, &list, entry.targets, session)
}

/// Which site.
fn site(session: &mut Session) -> Result<Chosen<Vec<String>>, Failure> {
    let sites = sites::read(&SitesFile::default(), session)?;
    let list = lists::sites(&sites, session.output.catalogue);
    chosen_of(&Choices::sites(&sites), &list, TargetKind::Site, session)
}

/// What is done at the site that was chosen, once it is known with which services.
fn elsewhere(
    entry: &MenuEntry,
    site: &[String],
    project: &Arc<Project>,
    session: &mut Session,
) -> Result<Step, Failure> {
    let site = site.first().map(String::as_str).unwrap_or_default();
    let services = match entry.targets {
        TargetKind::SiteAndServices => {
            let list = session.look(|session| lists::services(project, session))?;
            match chosen_of(&Choices::services(project.manifest()), &list, TargetKind::Services, session)? {
                Chosen::One(targets) => targets,
                Chosen::Back => return Ok(Step::Back),
                Chosen::Leave => return Ok(Step::Leave),
            }
        }
        _ => Vec::new(),
    };
    Ok(Step::Done(entries::elsewhere(entry.kind, site, &services, session)?))
}

/// What is chosen from a list: selectors as they were typed, or the name of the row.
fn chosen_of(
    choices: &Choices,
    list: &List,
    kind: TargetKind,
    session: &mut Session,
) -> Result<Chosen<Vec<String>>, Failure> {
    let names = choices.names();
    let catalogue = session.output.catalogue;
    let leave = catalogue.word(message!("menu-leave")).to_owned();
    let read = |text: &str| match choices.select(&[text]) {
        _ if is_leaving(text) => Reading::Wrong(leave.clone()),
        Ok(chosen) => {
            let chosen = chosen.names().iter().filter_map(|name| names.iter().position(|other| other == name));
            Reading::Rows(chosen.collect())
        }
        Err(_) if narrowed(text).starts_with(char::is_alphabetic) && !text.contains(['*', '?']) => Reading::Words,
        Err(why) => Reading::Wrong(catalogue.text(&why.message())),
    };
    let (long, hint) = match kind {
        TargetKind::Databases => (message!("menu-which-databases"), message!("menu-hint-databases")),
        TargetKind::Backup | TargetKind::Site => (message!("menu-which-one"), message!("menu-hint-one")),
        _ => (message!("menu-which-targets"), message!("menu-hint-targets")),
    };
    let texts = Texts { short: message!("menu-targets"), long, hint };
    let answer = loop {
        let answer = choose(list, &texts, &read, session)?;
        // Asked again: what is typed next is meant for this question, not for that of the action. A pipe ends at a failure.
        match &answer {
            Answer::Text(text) if io::stdin().is_terminal() && !is_leaving(text) => {
                match choices.select(&[text.as_str()]) {
                    Ok(_) => break answer,
                    Err(why) => _ = Failure::from(why).show(&session.output),
                }
            }
            _ => break answer,
        }
    };
    Ok(match answer {
        Answer::Row(row) => Chosen::One(names.get(row).cloned().into_iter().collect()),
        Answer::Text(text) if is_leaving(&text) => Chosen::Leave,
        Answer::Text(text) => Chosen::One(vec![text]),
        Answer::Back => Chosen::Back,
        Answer::End => Chosen::Leave,
        Answer::Interrupted => return Err(Failure::Left),
    })
}

/// Which backup of the one database that was chosen; by its number, newest first, or by its ID.
fn backup(targets: &[String], project: &Arc<Project>, session: &mut Session) -> Result<Chosen<String>, Failure> {
    let (list, ids) = lists::backups(targets, project, session.output.catalogue)?;
    let count = ids.len();
    let wrong = |text: &str| Failure::usage(message!("usage-no-backup-number", text = text, count = count));
    let place = |text: &str| {
        let text = narrowed(text);
        let number = text.parse::<usize>().ok().filter(|number| (1..=count).contains(number)).map(|number| number - 1);
        number.or_else(|| ids.iter().position(|id| *id == text || id.rsplit('/').next() == Some(&text)))
    };
    let catalogue = session.output.catalogue;
    let leave = catalogue.word(message!("menu-leave")).to_owned();
    let read = |text: &str| match place(text) {
        _ if is_leaving(text) => Reading::Wrong(leave.clone()),
        Some(row) => Reading::Rows(vec![row]),
        None if narrowed(text).len() > 4 => Reading::Words,
        None => Reading::Wrong(catalogue.text(&wrong(text.trim()).message())),
    };
    let texts = Texts {
        short: message!("menu-backup-choice"),
        long: message!("menu-which-backup"),
        hint: message!("menu-hint-backup"),
    };
    match choose(&list, &texts, &read, session)? {
        Answer::Row(row) => ids.get(row).cloned().map(Chosen::One).ok_or_else(|| wrong("")),
        Answer::Text(text) if is_leaving(&text) => Ok(Chosen::Leave),
        Answer::Text(text) => place(&text).map(|row| Chosen::One(ids[row].clone())).ok_or_else(|| wrong(text.trim())),
        Answer::Back => Ok(Chosen::Back),
        Answer::End => Ok(Chosen::Leave),
        Answer::Interrupted => Err(Failure::Left),
    }
}

/// What is said around a list.
struct Texts {
    /// The prompt where keys are read.
    short: Message,
    /// The prompt where a line is read, with what may be typed.
    long: Message,
    /// What may be typed where keys are read.
    hint: Message,
}

/// Shows a list and reads what is chosen from it.
fn choose(
    list: &List,
    texts: &Texts,
    read: &dyn Fn(&str) -> Reading,
    session: &mut Session,
) -> Result<Answer, Failure> {
    for note in &list.notes {
        session.output.warn(note);
    }
    let catalogue = session.output.catalogue;
    if !terminal::takes_keys() {
        session.output.line(list.text(session.output.width()).trim_end());
        let prompt = catalogue.text(&texts.long);
        return Ok(match session.ask(&prompt)? {
            Typed::Line(line) if line.trim().is_empty() => Answer::Back,
            Typed::Line(line) => Answer::Text(line),
            Typed::Nothing => Answer::Back,
            Typed::End => Answer::End,
        });
    }
    let question = Question {
        prompt: catalogue.text(&texts.short),
        hint: catalogue.text(&texts.hint),
        nothing: catalogue.word(message!("menu-nothing-matches")).to_owned(),
        page: &|width| list.page(width),
        words: list.words.clone(),
        read,
        more: &|count, rest| catalogue.text(&message!("menu-more", count = count, rest = rest)),
    };
    session.choose(&question)
}

fn narrowed(text: &str) -> String {
    text.trim().chars().map(narrow).collect()
}

fn is_leaving(text: &str) -> bool {
    matches!(narrowed(text).as_str(), "0" | "q")
}
