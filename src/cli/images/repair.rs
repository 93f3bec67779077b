//! `images repair` as the operator sees it.

use std::sync::Arc;

use serde_json::Value;

use super::print;
use crate::cli::arguments::ManifestArguments;
use crate::cli::failure::Failure;
use crate::cli::operations::{self, Operation, document, path};
use crate::cli::output::Tone;
use crate::cli::session::{Project, Session};
use crate::images::{RepairReport, plan_repair, repair};
use crate::report::{Message, Reporter};

/// `dpl images repair`: it only adds names, so that nothing has to be asked.
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

    fn needs_engine(&self) -> bool {
        false
    }

    fn show(&self, project: &Arc<Project>, session: &mut Session) -> Result<Value, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let report = session.runtime()?.block_on(plan_repair(store))?;
        let would = session.output.paint_word(Tone::Attention, message!("word-would-name"));
        let rows = report.names.iter().map(|name| vec![name.reference.clone(), would.clone()]).collect();
        print([message!("column-image"), message!("column-result")], rows, session)?;
        tell(&report, session);
        document(&report)
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let store = path(project.manifest().paths.images.as_deref(), "images")?;
        let report = session.runtime()?.block_on(repair(store, reporter))?;
        tell(&report, session);
        let message = message!("images-repair-done", names = report.names.len(), store = &report.store);
        session.output.say(&message);
        document(&report)
    }
}

fn tell(report: &RepairReport, session: &Session) {
    if report.index_replaced {
        session.output.warn(&message!("images-repair-index", store = &report.store));
    }
    for reference in &report.not_whole {
        session.output.warn(&message!("images-repair-not-whole", reference = reference));
    }
}
