//! `data diff`.

use clap::Args;

use super::place::{folder, open};
use crate::cli::session::Session;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::folders::{self, Access, DiffDocument, DifferencesDocument, short};
use crate::report::Reporter;

#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The data folder, by name or number
    #[arg(value_name = "DATA")]
    pub data: String,
    /// The older state: the beginning of a snapshot's ID, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub from: String,
    /// The newer state [default: what is there now]
    #[arg(long, value_name = "SNAPSHOT")]
    pub to: Option<String>,
}

/// `dpl data diff`.
pub fn run(arguments: &DiffArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(None)?;
    let name = only_one(&select::data(project.manifest(), std::slice::from_ref(&arguments.data), Unselected::All)?)?;
    let folder = folder(&project, &name)?;
    let found = session.look(|_| {
        let store = open(&project, Access::Look)?;
        let from = folders::find_snapshot(&store, &folder, &arguments.from)?;
        let to = arguments.to.as_deref().map(|id| folders::find_snapshot(&store, &folder, id)).transpose()?;
        let differences = folders::differences(&store, &folder, (&from, to.as_ref()), &Reporter::default())?;
        Ok(DiffDocument { data: name.clone(), from: from.id, to: to.map(|to| to.id), differences })
    })?;
    if session.output.json {
        session.output.document(&found)?;
        return Ok(0);
    }
    show(&found.differences, session)?;
    let (from, differences) = (short(&found.from), &found.differences);
    let counts = summary(differences, session);
    match &found.to {
        Some(to) => session.output.say(&message!("data-diff-between", from = from, to = short(to), counts = counts)),
        None => session.output.say(&message!("data-diff-now", from = from, counts = counts)),
    }
    Ok(0)
}

/// The one data folder that a selector must choose.
pub fn only_one(names: &[String]) -> Result<String, Failure> {
    match names {
        [name] => Ok(name.clone()),
        _ => Err(Failure::usage(message!("usage-one-data-folder"))),
    }
}

/// The places that differ, each with a sign: `+` added, `-` removed, `M` other bytes, `P` other properties.
pub fn show(differences: &DifferencesDocument, session: &Session) -> Result<(), Failure> {
    let mut text = String::new();
    for change in &differences.changes {
        let (sign, tone) = match change.change.as_str() {
            "added" => ("+", Tone::Good),
            "removed" => ("-", Tone::Bad),
            "content" => ("M", Tone::Attention),
            _ => ("P", Tone::Quiet),
        };
        let slash = if change.is_folder { "/" } else { "" };
        let path = without_controls(&change.path);
        text.push_str(&format!("{} {path}{slash}\n", session.output.paint(tone, sign)));
    }
    session.output.data(&text)?;
    Ok(())
}

/// Names may hold anything: what would move the cursor is shown, not done.
fn without_controls(path: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    path.chars().map(shown).collect()
}

/// How many places differ, by kind.
pub fn summary(differences: &DifferencesDocument, session: &Session) -> String {
    let DifferencesDocument { added, changed, removed, properties, .. } = differences;
    session.output.catalogue.text(&message!(
        "data-differences",
        added = added,
        changed = changed,
        properties = properties,
        removed = removed
    ))
}
