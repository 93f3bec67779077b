//! `doctor`: what this host and engine are, and what will not work here.

mod host;
mod needs;
mod report;
mod snapshots;
mod stack;

use crate::catalogue::Catalogue;
use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::lock::others_at_work;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::engine::Engine;
use crate::report::Message;
use crate::services::examine;
use report::{DoctorCheck, Verdict, page};

pub use report::DoctorReport;

/// `dpl doctor`: 0, or 1 where there is a problem. Warnings leave it at 0.
pub fn run(arguments: &ManifestArguments, session: &mut Session) -> Result<u8, Failure> {
    // A manifest widens what is looked at; without one the engine is still worth a look.
    let project = match session.project(arguments.manifest.as_deref()) {
        Ok(project) => Some(project),
        Err(Failure::Usage { .. }) => None,
        Err(failure) => return Err(failure),
    };
    let engine = session.engine()?;
    let checks = look(&engine, project.as_deref(), session)?;
    let report = DoctorReport { ok: checks.iter().all(|check| check.verdict != Verdict::Problem), checks };
    let code = u8::from(!report.ok);
    if session.output.json {
        session.output.document(&report)?;
        return Ok(code);
    }
    session.output.data(&page(&report, &session.output, session.output.width()))?;
    Ok(code)
}

fn look(engine: &Engine, project: Option<&Project>, session: &mut Session) -> Result<Vec<DoctorCheck>, Failure> {
    // The document is in English in every language.
    let catalogue = if session.output.json { Catalogue::english() } else { session.output.catalogue };
    let say = |message: Message| catalogue.text(&message);
    let facts = session.wait_for(async { Ok(engine.facts().await?) })?;
    let mut checks = host::checks(engine, facts, &say);
    if let Some(project) = project {
        checks.extend(host::paths(project, &say));
        let at_work = others_at_work(project, session)?;
        let mut found = session.wait_for(async { Ok(examine(engine, project.manifest()).await?) })?;
        if let Some(holder) = at_work {
            // What is beside its containers belongs to it: nothing was left.
            found.leftovers.clear();
            let check = DoctorCheck::ok("lock", say(holder));
            checks.push(check.but(Verdict::Warning, say(message!("doctor-look-again"))));
        }
        checks.extend(stack::checks(&found, &say));
        checks.extend(needs::secrets(&project.loaded.used_files(), &say));
        checks.extend(needs::images(project, session, &say)?);
        checks.extend(needs::databases(project, engine, session, &say)?);
        checks.extend(snapshots::snapshots(project, catalogue, &say));
    }
    checks.extend(facts.warnings.iter().map(|warning| DoctorCheck {
        name: "engine says",
        verdict: Verdict::Warning,
        found: warning.clone(),
        advice: None,
    }));
    Ok(checks)
}
