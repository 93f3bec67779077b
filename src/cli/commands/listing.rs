//! `list` and `config`: what the manifest says, without an engine and without a secret.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::cli::grammar::arguments::{ManifestArguments, TargetArguments};
use crate::cli::session::Session;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, Column};
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
    let chosen = chosen(manifest, &selectors)?;
    let report = report(manifest, &project.path.display().to_string(), &chosen);
    if session.output.json {
        session.output.document(&report)?;
        return Ok(0);
    }
    let (catalogue, width) = (session.output.catalogue, session.output.width());
    let mut tables = Vec::new();
    if !report.services.is_empty() || report.databases.is_empty() {
        tables.push(services_table(&report, catalogue, width));
    }
    if !report.databases.is_empty() {
        tables.push(databases_table(&report, catalogue, width));
    }
    session.output.data(&tables.join("\n"))?;
    Ok(0)
}

/// The names of services and of databases that are listed.
struct Chosen {
    services: Vec<String>,
    databases: Vec<String>,
}

/// What the selectors choose. A name that no service has may be a database's; a number is always a service's.
fn chosen(manifest: &Manifest, selectors: &[String]) -> Result<Chosen, Failure> {
    let services = |selectors: &[String]| select::services(manifest, selectors, Unselected::All);
    let databases = |selectors: &[String]| select::databases(manifest, selectors, Unselected::All);
    let failure = match services(selectors) {
        Ok(services) => {
            let databases = if selectors.is_empty() { databases(&[])? } else { Vec::new() };
            return Ok(Chosen { services, databases });
        }
        Err(failure) => failure,
    };
    let (of_databases, of_services): (Vec<String>, Vec<String>) = selectors.iter().cloned().partition(|selector| {
        let alone = std::slice::from_ref(selector);
        selector.chars().any(char::is_alphabetic) && services(alone).is_err() && databases(alone).is_ok()
    });
    if of_databases.is_empty() {
        return Err(failure);
    }
    let services = if of_services.is_empty() { Vec::new() } else { services(&of_services)? };
    Ok(Chosen { services, databases: databases(&of_databases)? })
}

fn report(manifest: &Manifest, path: &str, chosen: &Chosen) -> ListReport {
    let services = manifest.services.iter().filter(|(_, name, _)| chosen.services.iter().any(|chosen| chosen == name));
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
            .filter(|(_, name, _)| chosen.databases.iter().any(|chosen| chosen == name))
            .map(|(index, name, database)| ListedDatabase {
                index,
                name: name.to_owned(),
                service: database.server_name(),
            })
            .collect(),
    }
}

fn services_table(report: &ListReport, catalogue: &Catalogue, width: Option<usize>) -> String {
    let row = |service: &ListedService| {
        vec![
            format!("{:>2}", service.index),
            service.name.clone(),
            service.image.clone(),
            service.groups.join(" "),
            if service.gpu { "GPU".to_owned() } else { String::new() },
        ]
    };
    let title = |key| Column::new(catalogue.word(key));
    let columns = [
        title(message!("column-number")),
        title(message!("column-service")).at_least(24),
        title(message!("column-image")).at_least(8).leaves(1),
        title(message!("column-groups")).at_least(6).leaves(2),
        Column::new(""),
    ];
    table::within(&columns, report.services.iter().map(row).collect(), width)
}

fn databases_table(report: &ListReport, catalogue: &Catalogue, width: Option<usize>) -> String {
    let row = |database: &ListedDatabase| {
        vec![format!("{:>2}", database.index), database.name.clone(), database.service.clone()]
    };
    let title = |key| Column::new(catalogue.word(key));
    let columns = [
        title(message!("column-number")),
        title(message!("column-database")).at_least(8),
        title(message!("column-service")).at_least(8).leaves(1),
    ];
    table::within(&columns, report.databases.iter().map(row).collect(), width)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::{Database, Service};

    #[test]
    fn a_name_that_no_service_has_chooses_a_database() {
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        for name in ["postgres", "web"] {
            let service = Service { image: "a:1".parse().unwrap(), ..Service::default() };
            manifest.services.push(name.to_owned(), Some(service));
        }
        for name in ["minerva", "expert", "web"] {
            manifest.databases.push(name.to_owned(), Some(Database::default()));
        }
        let of = |selectors: &[&str]| {
            let selectors: Vec<String> = selectors.iter().map(|one| (*one).to_owned()).collect();
            chosen(&manifest, &selectors).map(|chosen| [chosen.services.join(" "), chosen.databases.join(" ")])
        };
        assert_eq!(of(&[]).unwrap(), ["postgres web", "minerva expert web"]);
        assert_eq!(of(&["expert"]).unwrap(), ["", "expert"]);
        assert_eq!(of(&["expert", "1"]).unwrap(), ["postgres", "expert"]);
        assert_eq!(of(&["web"]).unwrap(), ["web", ""]);
        // There is a third database and no third service: a number is a service's.
        assert!(of(&["3"]).is_err() && of(&["expert", "nobody"]).is_err());
    }

    #[test]
    fn the_tables_fit_40_60_80_and_120_columns_in_both_languages() {
        let service = |index, name: &str, group: &str| ListedService {
            index,
            name: name.to_owned(),
            image: format!("expert/{name}:v1.5_no_subtask"),
            groups: vec![group.to_owned(), "platform".to_owned()],
            gpu: index == 25,
        };
        let report = ListReport {
            project: "danganju".to_owned(),
            manifest: "/srv/site/stack.json".to_owned(),
            services: vec![service(1, "档案管理接口服务", "档案"), service(25, "metis_worker_manager", "metis")],
            databases: vec![ListedDatabase { index: 1, name: "minerva".to_owned(), service: "postgres".to_owned() }],
        };
        for (language, width) in table::every_width() {
            let catalogue = Catalogue::of(language);
            table::assert_fits(&services_table(&report, catalogue, Some(width)), width);
            table::assert_fits(&databases_table(&report, catalogue, Some(width)), width);
        }
    }
}
