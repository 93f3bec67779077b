//! `check` and `use`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::grammar::arguments::ManifestArguments;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::manifest_page;
use crate::manifest::{Problem, Severity, Sources, Variables, read_manifest};
use crate::report::Message;
use crate::state::choose_manifest;

#[derive(Debug, Args)]
pub struct UseArguments {
    /// The manifest to remember
    #[arg(id = "file", value_name = "MANIFEST")]
    pub manifest: PathBuf,
}

/// What `check --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckReport {
    /// The manifest's file, as it was named.
    pub manifest: String,
    /// Whether it can be used.
    pub ok: bool,
    /// Everything that was found, in the order of its place.
    pub problems: Vec<CheckProblem>,
}

/// A problem and its place.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckProblem {
    /// `error` or `warning`.
    pub severity: &'static str,
    pub message: Message,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// `dpl check`: 0, or 3 where the manifest is wrong.
pub fn check(arguments: &ManifestArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = match session.project(arguments.manifest.as_deref()) {
        Ok(project) => project,
        Err(Failure::Manifest(errors)) if session.output.json => {
            session.output.document(&report(&errors.sources, &errors.problems))?;
            return Ok(3);
        }
        Err(failure) => return Err(failure),
    };
    let loaded = &project.loaded;
    if session.output.json {
        session.output.document(&report(&loaded.sources, &loaded.warnings))?;
        return Ok(0);
    }
    manifest_page::show(&session.output, &loaded.sources, &loaded.warnings);
    let manifest = &loaded.manifest;
    let message = message!(
        "check-ok",
        path = shown(&loaded.sources),
        services = manifest.services.len(),
        databases = manifest.databases.len(),
        warnings = loaded.warnings.len()
    );
    session.output.say(&message);
    Ok(0)
}

/// `dpl use`: remembers a manifest that is right.
pub fn use_manifest(arguments: &UseArguments, session: &mut Session) -> Result<u8, Failure> {
    read_manifest(&arguments.manifest, Variables::of_process())?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(Failure::Output);
    let manifest = absolute(&arguments.manifest)?;
    let folder = absolute(Path::new("."))?;
    choose_manifest(&folder, &manifest)?;
    let message = message!("use-remembered", path = manifest.display(), folder = folder.display());
    session.output.say(&message);
    Ok(0)
}

fn shown(sources: &Sources) -> String {
    sources.files().first().map(|file| file.shown.display().to_string()).unwrap_or_default()
}

fn report(sources: &Sources, problems: &[Problem]) -> CheckReport {
    CheckReport {
        manifest: shown(sources),
        ok: problems.iter().all(|problem| problem.severity != Severity::Error),
        problems: problems
            .iter()
            .map(|problem| {
                let place = problem.span.map(|span| sources.line_and_column(span.file, span.start));
                CheckProblem {
                    severity: match problem.severity {
                        Severity::Error => "error",
                        Severity::Warning => "warning",
                    },
                    message: problem.message.clone(),
                    help: problem.help.clone(),
                    file: problem.span.map(|span| sources.file(span.file).shown.display().to_string()),
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                }
            })
            .collect(),
    }
}
