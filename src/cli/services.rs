//! `plan`, and `start`, `stop`, `restart` and `remove` as the operator sees them.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::arguments::TargetArguments;
use super::failure::Failure;
use super::operations::{Converge, document};
use super::select::{self, Unselected};
use super::session::{Project, Session};
use super::table;
use crate::images::{LoadOptions, load};
use crate::manifest::Reference;
use crate::report::{Message, Reporter};
use crate::services::{
    Action, Options, Plan, Request, ServiceOutcome, ServicesError, ServicesReport, Snapshot, Warning, execute, observe,
    plan, probe_gpus,
};

/// The command's word for an action.
pub fn word(action: Action) -> &'static str {
    match action {
        Action::Start => "start",
        Action::Restart => "restart",
        Action::Stop => "stop",
        Action::Remove => "remove",
    }
}

/// `dpl plan`: what `start` would do.
pub fn show_plan(arguments: &TargetArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let selection = select::services(project.manifest(), &selectors, Unselected::All)?;
    let request = Request { action: Action::Start, selection, options: Options::default() };
    let snapshot = look(&project, session)?;
    let plan = plan(&request, project.manifest(), &snapshot)?;
    print(&plan, session)?;
    if session.output.json {
        session.output.document(&plan)?;
    }
    Ok(0)
}

/// `--dry-run` of an action.
pub fn show(converge: &Converge, project: &Project, session: &mut Session) -> Result<Value, Failure> {
    let snapshot = look(project, session)?;
    let plan = plan(&request(converge), project.manifest(), &snapshot)?;
    print(&plan, session)?;
    document(&plan)
}

fn request(converge: &Converge) -> Request {
    Request { action: converge.action, selection: converge.services.clone(), options: converge.options.clone() }
}

fn look(project: &Project, session: &mut Session) -> Result<Snapshot, Failure> {
    let engine = session.engine()?;
    Ok(session.runtime()?.block_on(observe(&engine, project.manifest()))?)
}

/// The plan as lines: what, on what, why.
fn print(plan: &Plan, session: &Session) -> Result<(), Failure> {
    if session.output.json {
        return Ok(());
    }
    warn(plan, session, |message| session.output.warn(message));
    if !plan.changes_anything() {
        session.output.say(&Message::new("plan-nothing"));
        return Ok(());
    }
    let rows = plan.steps.iter().filter(|step| step.operation.changes()).map(|step| {
        vec![
            session.output.catalogue.text(&step.operation.message()),
            session.output.catalogue.text(&step.cause.message()),
        ]
    });
    session.output.data(&table::columns(&["STEP", "CAUSE"], rows.collect()))
}

/// Says what the plan warns of; folders that will be made are counted, since a first start makes many.
fn warn(plan: &Plan, session: &Session, say: impl Fn(&Message)) {
    let is_folder = |warning: &&Warning| matches!(warning, Warning::SourceIsMade { .. });
    let (folders, others): (Vec<&Warning>, Vec<&Warning>) = plan.warnings.iter().partition(is_folder);
    let one_by_one = session.output.verbose || folders.len() < 3;
    for warning in others.into_iter().chain(folders.iter().copied().filter(|_| one_by_one)) {
        say(&warning.message());
    }
    if !one_by_one {
        say(&Message::new("services-folders-made").with("count", folders.len()));
    }
}

/// Does what the plan says. Images that only the store has are loaded first.
pub fn converge(
    converge: &Converge,
    project: &Arc<Project>,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Value, Failure> {
    let begun = Instant::now();
    let engine = session.engine()?;
    let runtime = session.runtime()?;
    let manifest = project.manifest();
    let request = request(converge);
    let starts = matches!(converge.action, Action::Start | Action::Restart);
    let executed = runtime.block_on(async {
        let mut snapshot = observe(&engine, manifest).await?;
        if starts {
            probe_gpus(&engine, manifest, &request.selection, &mut snapshot).await?;
        }
        let mut planned = plan(&request, manifest, &snapshot);
        if let Some(missing) = planned.as_ref().err().and_then(ServicesError::only_missing_images)
            && let Some(store) = &manifest.paths.images
        {
            let missing: Vec<Reference> = missing.into_iter().cloned().collect();
            load(&engine, store, &missing, &LoadOptions::default(), reporter).await?;
            snapshot = observe(&engine, manifest).await?;
            probe_gpus(&engine, manifest, &request.selection, &mut snapshot).await?;
            planned = plan(&request, manifest, &snapshot);
        }
        let plan = planned?;
        warn(&plan, session, |message| reporter.warn(message.clone()));
        Ok::<_, Failure>(execute(&engine, manifest, &plan, &converge.execute, reporter).await)
    })?;
    match executed {
        Ok(report) => {
            say_done(&report, begun, session);
            document(&report)
        }
        Err(ServicesError::Interrupted { report }) => {
            let skipped = names(&report, |outcome| outcome == ServiceOutcome::Skipped);
            session.output.say(&Message::new("services-left").with("targets", skipped.join(", ")));
            Err(Failure::Interrupted)
        }
        Err(error) => Err(error.into()),
    }
}

fn names(report: &ServicesReport, wanted: impl Fn(ServiceOutcome) -> bool) -> Vec<&str> {
    report.services.iter().filter(|service| wanted(service.result)).map(|service| service.name.as_str()).collect()
}

fn say_done(report: &ServicesReport, begun: Instant, session: &Session) {
    let count = |outcomes: &[ServiceOutcome]| names(report, |outcome| outcomes.contains(&outcome)).len();
    let time = table::duration(begun.elapsed());
    let message = match report.action {
        Action::Start | Action::Restart => Message::new("services-up")
            .with("created", count(&[ServiceOutcome::Created]))
            .with("recreated", count(&[ServiceOutcome::Recreated]))
            .with("started", count(&[ServiceOutcome::Started, ServiceOutcome::Restarted]))
            .with("time", time),
        Action::Stop => {
            Message::new("services-stopped").with("count", count(&[ServiceOutcome::Stopped])).with("time", time)
        }
        Action::Remove => {
            Message::new("services-removed").with("count", count(&[ServiceOutcome::Removed])).with("time", time)
        }
    };
    session.output.say(&message);
}
