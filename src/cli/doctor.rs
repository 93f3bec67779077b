//! `doctor`: what this host and engine are, and what will not work here.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::arguments::ManifestArguments;
use super::failure::Failure;
use super::output::Tone;
use super::session::{Project, Session};
use super::table;
use crate::engine::{Engine, EngineFacts, ImageStore};
use crate::report::Message;

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
    /// What was looked at: `engine`, `api`, `image store`, `storage driver`, …
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

/// The oldest engine that dpl works with.
const OLDEST_API: (u32, u32) = (1, 41);

/// Less than this free is a problem, less than four times as much a warning.
const LITTLE_DISK: u64 = 5_000_000_000;

/// `dpl doctor`: 0, or 1 where there is a problem.
pub fn run(arguments: &ManifestArguments, session: &mut Session) -> Result<u8, Failure> {
    // A manifest widens what is looked at; without one the engine is still worth a look.
    let project = match session.project(arguments.manifest.as_deref()) {
        Ok(project) => Some(project),
        Err(Failure::Usage { .. }) => None,
        Err(failure) => return Err(failure),
    };
    let engine = session.engine()?;
    let checks = look(&engine, project.as_deref(), session);
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

fn look(engine: &Engine, project: Option<&Project>, session: &Session) -> Vec<DoctorCheck> {
    let facts = engine.facts();
    let say = |message: Message| session.output.catalogue.text(&message);
    let mut checks = vec![
        check("engine", format!("{} at {}", facts.version, engine.address())),
        api(facts, &say),
        check(
            "image store",
            match facts.image_store {
                ImageStore::Classic => "classic".to_owned(),
                ImageStore::Containerd => "containerd".to_owned(),
            },
        ),
        storage(facts, &say),
    ];
    if engine.address().is_local() {
        checks.extend(disk("engine's disk", &facts.root_dir, &say));
    }
    if let Some(project) = project {
        let paths = &project.manifest().paths;
        checks.extend(paths.images.as_deref().and_then(|path| disk("images' disk", path, &say)));
        checks.extend(paths.backups.as_deref().and_then(|path| disk("backups' disk", path, &say)));
        checks.push(state(project, &say));
    }
    checks.extend(facts.warnings.iter().map(|warning| DoctorCheck {
        name: "engine says",
        verdict: Verdict::Warning,
        found: warning.clone(),
        advice: None,
    }));
    checks
}

fn check(name: &'static str, found: String) -> DoctorCheck {
    DoctorCheck { name, verdict: Verdict::Ok, found, advice: None }
}

fn api(facts: &EngineFacts, say: &dyn Fn(Message) -> String) -> DoctorCheck {
    let mut check = check("api", facts.api_version.clone());
    if facts.api() < OLDEST_API {
        check.verdict = Verdict::Problem;
        check.advice = Some(say(Message::new("doctor-old-api")));
    }
    check
}

fn storage(facts: &EngineFacts, say: &dyn Fn(Message) -> String) -> DoctorCheck {
    let mut check = check("storage driver", facts.storage_driver.clone());
    if ["vfs", "fuse-overlayfs", "devicemapper"].contains(&facts.storage_driver.as_str()) {
        check.verdict = Verdict::Warning;
        check.advice = Some(say(Message::new("doctor-slow-storage")));
    }
    check
}

/// Free space where `path` is, or will be; `None` where that can't be told.
fn disk(name: &'static str, path: &Path, say: &dyn Fn(Message) -> String) -> Option<DoctorCheck> {
    let there = path.ancestors().find(|folder| folder.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let mut check =
        check(name, say(Message::new("doctor-free").with("free", table::size(free)).with("path", path.display())));
    if free < LITTLE_DISK * 4 {
        check.verdict = if free < LITTLE_DISK { Verdict::Problem } else { Verdict::Warning };
        check.advice = Some(say(Message::new("doctor-little-disk")));
    }
    Some(check)
}

fn state(project: &Project, say: &dyn Fn(Message) -> String) -> DoctorCheck {
    let state = project.state();
    let there = state.path().ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let mut check = check("state", state.path().display().to_string());
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
        check.verdict = Verdict::Problem;
        check.advice = Some(say(Message::new("doctor-state-read-only")));
    }
    check
}
