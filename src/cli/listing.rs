//! `list` and `config`: what the manifest says, without an engine and without a secret.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::arguments::{ManifestArguments, TargetArguments};
use super::failure::Failure;
use super::output::Output;
use super::select::{self, Unselected};
use super::session::Session;
use super::table::{self, Column};
use crate::manifest::{Manifest, to_json};

/// What `list --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListReport {
    /// The project's name.
    pub project: String,
    /// The manifest's file, absolute.
    pub manifest: String,
    pub services: Vec<ListedService>,
    pub databases: Vec<ListedDatabase>,
}

/// A service by number.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedService {
    /// Its place in the manifest, from 1; numbers of removed services stay empty.
    pub index: usize,
    pub name: String,
    /// The image's reference.
    pub image: String,
    pub groups: Vec<String>,
    /// Whether it asks for a GPU.
    pub gpu: bool,
}

/// A database by number.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedDatabase {
    /// Its place in the manifest, from 1.
    pub index: usize,
    pub name: String,
    /// The service that runs its server; `host:port` of one outside the stack.
    pub service: String,
}

/// `dpl list`.
pub fn list(arguments: &TargetArguments, session: &mut Session) -> Result<u8, Failure> {
    let (project, selectors) = session.targets(&arguments.targets)?;
    let manifest = project.manifest();
    let chosen = select::services(manifest, &selectors, Unselected::All)?;
    let report = report(manifest, &project.path.display().to_string(), &chosen);
    if session.output.json {
        session.output.document(&report)?;
        return Ok(0);
    }
    session.output.data(&services_table(&report, &session.output))?;
    if selectors.is_empty() && !report.databases.is_empty() {
        session.output.data(&format!("\n{}", databases_table(&report, &session.output)))?;
    }
    Ok(0)
}

fn report(manifest: &Manifest, path: &str, chosen: &[String]) -> ListReport {
    let services = manifest.services.iter().filter(|(_, name, _)| chosen.iter().any(|chosen| chosen == name));
    ListReport {
        project: manifest.project.clone(),
        manifest: path.to_owned(),
        services: services
            .map(|(index, name, service)| ListedService {
                index,
                name: name.to_owned(),
                image: service.image.to_string(),
                groups: service.groups.clone(),
                gpu: service.wants_gpu(),
            })
            .collect(),
        databases: manifest
            .databases
            .iter()
            .map(|(index, name, database)| ListedDatabase {
                index,
                name: name.to_owned(),
                service: database.server_name(),
            })
            .collect(),
    }
}

fn services_table(report: &ListReport, output: &Output) -> String {
    let row = |service: &ListedService| {
        vec![
            format!("{:>2}", service.index),
            service.name.clone(),
            service.image.clone(),
            service.groups.join(" "),
            if service.gpu { "GPU".to_owned() } else { String::new() },
        ]
    };
    let title = |key| Column::new(output.catalogue.word(key));
    let columns = [
        title(message!("column-number")),
        title(message!("column-service")).at_least(24),
        title(message!("column-image")).at_least(8).leaves(1),
        title(message!("column-groups")).at_least(6).leaves(2),
        Column::new(""),
    ];
    table::within(&columns, report.services.iter().map(row).collect(), output.width())
}

fn databases_table(report: &ListReport, output: &Output) -> String {
    let row = |database: &ListedDatabase| {
        vec![format!("{:>2}", database.index), database.name.clone(), database.service.clone()]
    };
    let title = |key| Column::new(output.catalogue.word(key));
    let columns = [
        title(message!("column-number")),
        title(message!("column-database")).at_least(8),
        title(message!("column-service")).at_least(8).leaves(1),
    ];
    table::within(&columns, report.databases.iter().map(row).collect(), output.width())
}

/// What stands where a value must not be seen.
const MASK: &str = "***";

/// `dpl config`: the manifest in its long form. Values of the environment are masked; `--show-values` shows those that
/// are no secrets, and what it prints reads back as the same manifest.
pub fn config(arguments: &ManifestArguments, session: &mut Session) -> Result<u8, Failure> {
    let project = session.project(arguments.manifest.as_deref())?;
    let mut document = to_json(project.manifest());
    if !session.global.show_values {
        mask(&mut document);
    }
    session.output.document(&document)?;
    Ok(0)
}

/// Masks plain values of the environment; where a secret lies is no secret.
fn mask(document: &mut Value) {
    let services = document.get_mut("services").and_then(Value::as_object_mut);
    for service in services.into_iter().flat_map(|services| services.values_mut()) {
        let environment = service.get_mut("environment").and_then(Value::as_object_mut);
        for value in environment.into_iter().flat_map(|environment| environment.values_mut()) {
            if value.is_string() {
                *value = Value::from(MASK);
            }
        }
    }
}
