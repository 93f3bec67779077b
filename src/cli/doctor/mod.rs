//! `doctor`: what this host and engine are, and what will not work here.

mod host;
mod stack;

use console::{Alignment, measure_text_width, pad_str};
use schemars::JsonSchema;
use serde::Serialize;

use super::arguments::ManifestArguments;
use super::failure::Failure;
use super::output::{Output, Tone};
use super::session::{Project, Session};
use crate::catalogue::Catalogue;
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
    session.output.data(&page(&report, &session.output))?;
    Ok(code)
}

/// A line for each check, and its advice under it.
fn page(report: &DoctorReport, output: &Output) -> String {
    let verdicts = [Verdict::Ok, Verdict::Warning, Verdict::Problem];
    let widest = |words: &mut dyn Iterator<Item = &str>| words.map(measure_text_width).max().unwrap_or_default();
    let word_width = widest(&mut verdicts.iter().map(|verdict| output.catalogue.word(verdict.word())));
    let title_width = widest(&mut report.checks.iter().map(|check| title(check.name, output.catalogue)));
    let padded = |text: &str, width| pad_str(text, width, Alignment::Left, None).into_owned();
    let mut text = String::new();
    for check in &report.checks {
        let tone = match check.verdict {
            Verdict::Ok => Tone::Good,
            Verdict::Warning => Tone::Attention,
            Verdict::Problem => Tone::Bad,
        };
        let word = padded(&output.paint_word(tone, check.verdict.word()), word_width);
        let title = padded(title(check.name, output.catalogue), title_width);
        text.push_str(&format!("{word}  {title}  {}\n", check.found));
        if let Some(advice) = &check.advice {
            text.push_str(&format!("{:word_width$}  {:title_width$}  → {advice}\n", "", ""));
        }
    }
    text
}

/// The catalogue's title for what was looked at.
fn title(name: &'static str, catalogue: &Catalogue) -> &'static str {
    catalogue.word(match name {
        "engine" => message!("doctor-title-engine"),
        "api" => message!("doctor-title-api"),
        "image store" => message!("doctor-title-image-store"),
        "storage driver" => message!("doctor-title-storage-driver"),
        "cgroups" => message!("doctor-title-cgroups"),
        "clock" => message!("doctor-title-clock"),
        "engine's disk" => message!("doctor-title-engine-disk"),
        "images' disk" => message!("doctor-title-images-disk"),
        "backups' disk" => message!("doctor-title-backups-disk"),
        "backups" => message!("doctor-title-backups"),
        "folders" => message!("doctor-title-folders"),
        "state" => message!("doctor-title-state"),
        "gpu" => message!("doctor-title-gpu"),
        "ports" => message!("doctor-title-ports"),
        "logs" => message!("doctor-title-logs"),
        "namesakes" => message!("doctor-title-namesakes"),
        "networks" => message!("doctor-title-networks"),
        "orphans" => message!("doctor-title-orphans"),
        "volumes" => message!("doctor-title-volumes"),
        "leftovers" => message!("doctor-title-leftovers"),
        "limits" => message!("doctor-title-limits"),
        "engine says" => message!("doctor-title-engine-says"),
        "images" => message!("doctor-title-images"),
        // A name without a title, which a test rules out, shows itself.
        name => return name,
    })
}

fn look(engine: &Engine, project: Option<&Project>, session: &mut Session) -> Result<Vec<DoctorCheck>, Failure> {
    // The document is in English, whoever asks for it.
    let catalogue = if session.output.json { Catalogue::english() } else { session.output.catalogue };
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

impl Verdict {
    /// The catalogue's word for it.
    fn word(self) -> Message {
        match self {
            Self::Ok => message!("word-ok"),
            Self::Warning => message!("word-warning"),
            Self::Problem => message!("word-problem"),
        }
    }
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
