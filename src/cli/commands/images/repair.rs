//! `images repair` as the operator sees it.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::shown::print;
use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::operations::{self, Operation, Shown, document, path};
use crate::cli::session::{Project, Session, WorkPlace};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::images::{ImagesError, RepairReport, StoreProblem, plan_repair, repair};
use crate::report::{Listed, Message, Reporter};

/// `dpl images repair`: it adds names and removes only what can't be used, so that nothing has to be asked.
pub fn repair_store(arguments: &ManifestArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    operations::act(&Repair, &project, session)
}

struct Repair;

impl Operation for Repair {
    fn announcement(&self) -> Message {
        message!("will-repair-images")
    }

    fn command(&self) -> String {
        "dpl images repair".to_owned()
    }

    fn place(&self) -> WorkPlace {
        WorkPlace::Here
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let report = session.runtime()?.block_on(plan_repair(store))?;
        let would = session.output.paint_word(Tone::Attention, message!("word-would-name"));
        let rows = report.names.iter().map(|name| vec![name.reference.clone(), would.clone()]).collect();
        print([message!("column-image"), message!("column-result")], rows, session)?;
        tell(&report, session);
        let failures = still_unusable(&report, store).into_iter().collect();
        Ok(Shown { failures, ..Shown::of(&report)? })
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let report = session.runtime()?.block_on(repair(store, reporter))?;
        tell(&report, session);
        let message = message!("images-repair-done", names = report.names.len(), store = &report.store);
        session.output.say(&message);
        let document = document(&report)?;
        match still_unusable(&report, store) {
            None => Ok(document),
            Some(failure) => Err(Failure::Some { document, failures: vec![failure] }),
        }
    }
}

/// The images that a repair can't make whole.
fn still_unusable(report: &RepairReport, store: &Path) -> Option<Failure> {
    let references = report.unusable();
    (!references.is_empty()).then(|| ImagesError::StillUnusable { references, folder: store.to_owned() }.into())
}

fn tell(report: &RepairReport, session: &Session) {
    if report.index_kept {
        session.output.warn(&message!("images-repair-index", store = &report.store));
    } else if report.index_replaced {
        session.output.warn(&message!("images-repair-index-missing", store = &report.store));
    }
    for StoreProblem { reference, problem, .. } in &report.incomplete {
        let message = match report.not_whole.contains(reference) {
            true => message!("images-repair-not-whole", reference = reference, why = problem),
            false => message!("images-repair-incomplete", reference = reference, why = problem),
        };
        session.output.warn(&message);
    }
    for reference in &report.not_restored {
        session.output.warn(&message!("images-repair-no-record", reference = reference));
    }
    for digest in &report.damaged_layers {
        session.output.warn(&match report.done {
            true => message!("images-repair-removed", digest = digest),
            false => message!("images-repair-damaged", digest = digest),
        });
    }
    if !report.set_aside.is_empty() {
        let files = Listed::of(&report.set_aside);
        session.output.say(&message!("images-repair-set-aside", files = files, count = report.set_aside.len()));
    }
}
