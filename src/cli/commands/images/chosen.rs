//! Which images are meant, and which the project needs.

use crate::cli::session::Project;
use crate::cli::session::select::{self, Unselected};
use crate::cli::text::failure::Failure;
use crate::images::NeededImages;
use crate::manifest::{Reference, Variables, manifests_beside};

/// The images of services, each once, by the number of the first service that has it.
pub fn references(services: &[String], project: &Project) -> Vec<Reference> {
    let mut references: Vec<Reference> = Vec::new();
    for service in services.iter().filter_map(|name| project.manifest().services.get(name)) {
        if !references.contains(&service.image) {
            references.push(service.image.clone());
        }
    }
    references
}

/// What is meant by targets: a `:` or `/` makes a reference, all else selects services, whose images are meant.
pub fn chosen(targets: &[String], project: &Project, unselected: Unselected) -> Result<Vec<Reference>, Failure> {
    let (written, selectors): (Vec<&String>, Vec<&String>) =
        targets.iter().partition(|target| target.contains([':', '/']) && !target.starts_with('@'));
    let mut chosen: Vec<Reference> = Vec::new();
    for text in written.iter() {
        chosen.push(text.parse().map_err(|error: crate::manifest::model::InvalidValue| Failure::usage(error.0))?);
    }
    if !selectors.is_empty() || written.is_empty() {
        let selectors: Vec<String> = selectors.into_iter().cloned().collect();
        let services = select::services(project.manifest(), &selectors, unselected)?;
        chosen.extend(references(&services, project));
    }
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|reference| seen.insert(reference.clone()));
    Ok(chosen)
}

/// What the project needs of its store, by all manifests that can be found.
pub fn needed(project: &Project) -> Result<NeededImages, Failure> {
    let beside = manifests_beside(&project.path, &Variables::of_process())?;
    Ok(NeededImages::of(project.manifest(), &beside))
}
