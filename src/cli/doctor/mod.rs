//! `doctor`: what this host and engine are, and what will not work here.

mod host;
mod stack;

use schemars::JsonSchema;
use serde::Serialize;

use super::arguments::ManifestArguments;
use super::failure::Failure;
use super::output::Tone;
use super::session::{Project, Session};
use crate::engine::Engine;
use crate::report::Message;
use crate::services::examine;

/// What `doctor --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorReport {
    /// Whether there is no problem; warnings don't count.
    pub ok: bool,
    pub checks: Vec<DoctorCheck>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorCheck {
    /// What was looked at: `engine`, `api`, `image store`, `storage driver`, `cgroups`, `clock`, `ports`, `gpu`, `logs`, …
    pub name: &'static str,
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Problem,
}

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
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in &report.checks {
        let (tone, word) = match check.verdict {
            Verdict::Ok => (Tone::Good, "ok     "),
            Verdict::Warning => (Tone::Attention, "warning"),
            Verdict::Problem => (Tone::Bad, "problem"),
        };
        let word = session.output.paint(tone, word);
        session.output.data(&format!("{word}  {:width$}  {}\n", check.name, check.found))?;
        if let Some(advice) = &check.advice {
            session.output.data(&format!("         {:width$}  → {advice}\n", ""))?;
        }
    }
    Ok(code)
}

fn look(engine: &Engine, project: Option<&Project>, session: &mut Session) -> Result<Vec<DoctorCheck>, Failure> {
    let catalogue = session.output.catalogue.clone();
    let say = |message: Message| catalogue.text(&message);
    let facts = session.wait_for(async { Ok(engine.facts().await?) })?;
    let mut checks = host::checks(engine, facts, &say);
    if let Some(project) = project {
        checks.extend(host::paths(project, &say));
        let found = session.wait_for(async { Ok(examine(engine, project.manifest()).await?) })?;
        checks.extend(stack::checks(&found, &say));
    }
    checks.extend(facts.warnings.iter().map(|warning| DoctorCheck {
        name: "engine says",
        verdict: Verdict::Warning,
        found: warning.clone(),
        advice: None,
    }));
    Ok(checks)
}

type Say<'a> = &'a dyn Fn(Message) -> String;

impl DoctorCheck {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    /// The same as something that is not well, and what to do.
    fn but(self, verdict: Verdict, advice: String) -> Self {
        Self { verdict, advice: Some(advice), ..self }
    }
}
