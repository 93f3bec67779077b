//! The menu: deploy.py's numbers, then a numbered list to apply the action to, and back.

use std::io::{self, IsTerminal};

use super::arguments::MenuArguments;
use super::failure::Failure;
use super::operations::{self, MENU, TargetKind};
use super::prompt;
use super::session::{Project, Session};
use super::table;
use crate::report::Message;

/// `dpl MANIFEST.json`, or `dpl` alone.
///
/// At a terminal a failed action shows its page and comes back to the menu; without one it ends the run with its exit
/// code, so that a failed load is never followed by the restart.
pub fn run(arguments: MenuArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    let at_terminal = io::stdin().is_terminal();
    loop {
        session.output.line(&actions(&project, session));
        let Some(choice) = question(session, &Message::new("menu-which-action"))? else {
            return Ok(0);
        };
        let choice: String = choice.trim().chars().map(crate::manifest::narrow).collect();
        if choice.is_empty() && at_terminal {
            continue;
        }
        if choice == "0" || choice == "q" {
            return Ok(0);
        }
        match act(&choice, &project, session) {
            Ok(Step::Done | Step::Back) => {}
            Ok(Step::Leave) => return Ok(0),
            Err(failure) if at_terminal => {
                failure.show(&session.output);
            }
            Err(failure) => return Err(failure),
        }
    }
}

enum Step {
    Done,
    Back,
    Leave,
}

fn act(choice: &str, project: &std::sync::Arc<Project>, session: &mut Session) -> Result<Step, Failure> {
    let Some(entry) = choice.parse::<u32>().ok().and_then(|number| MENU.iter().find(|entry| entry.number == number))
    else {
        return Err(Failure::usage(format!(
            "there is no action {choice}: they go from 1 to {}, and 0 leaves",
            MENU.len()
        )));
    };
    session.output.line(&targets(entry.targets, project, session));
    let Some(targets) = question(session, &Message::new("menu-which-targets"))? else {
        return Ok(Step::Leave);
    };
    match targets.trim() {
        "" => return Ok(Step::Back),
        "0" | "q" => return Ok(Step::Leave),
        _ => {}
    }
    let operation = operations::of_menu(entry.number, &[targets], project)?;
    session.output.say(&operation.announcement());
    operation.confirm(project, session)?;
    operations::perform(operation.as_ref(), project, session)?;
    Ok(Step::Done)
}

fn question(session: &Session, message: &Message) -> Result<Option<String>, Failure> {
    prompt::ask(&format!("{} ", session.output.catalogue.text(message)))
}

fn actions(project: &Project, session: &Session) -> String {
    let title = Message::new("menu-title")
        .with("project", &project.manifest().project)
        .with("path", project.path.file_name().unwrap_or_default().to_string_lossy());
    let mut text = format!("\n{}\n", session.output.catalogue.text(&title));
    for entry in MENU {
        text.push_str(&format!("  {}  {}\n", entry.number, session.output.catalogue.text(&entry.title())));
    }
    text.push_str(&format!("  0  {}", session.output.catalogue.text(&Message::new("menu-leave"))));
    text
}

fn targets(kind: TargetKind, project: &Project, session: &Session) -> String {
    let manifest = project.manifest();
    let rows: Vec<Vec<String>> = match kind {
        TargetKind::Services => manifest
            .services
            .iter()
            .map(|(number, name, service)| vec![format!("{number:>3}"), name.to_owned(), service.image.to_string()])
            .collect(),
        TargetKind::Databases => manifest
            .databases
            .iter()
            .map(|(number, name, database)| vec![format!("{number:>3}"), name.to_owned(), database.server_name()])
            .collect(),
    };
    let header = match kind {
        TargetKind::Services => ["column-number", "column-service", "column-image"],
        TargetKind::Databases => ["column-number", "column-database", "column-service"],
    };
    table::columns(&session.output.catalogue.words(header), rows).trim_end().to_owned()
}
