//! `save` and `load` as the operator sees them.

use std::sync::Arc;

use serde_json::Value;

use super::failure::Failure;
use super::operations::{document, path};
use super::output::Tone;
use super::session::{Project, Session};
use super::table;
use crate::images::{
    LoadOptions, LoadResult, PlannedLoadResult, PlannedSaveResult, SaveOptions, SaveResult, plan_load, plan_save,
};
use crate::manifest::Reference;
use crate::report::{Message, Reporter};
use crate::state::choose_manifest;

/// The images of services, each once, by the number of the first service that has it.
fn references(services: &[String], project: &Project) -> Vec<Reference> {
    let mut references: Vec<Reference> = Vec::new();
    for service in services.iter().filter_map(|name| project.manifest().services.get(name)) {
        if !references.contains(&service.image) {
            references.push(service.image.clone());
        }
    }
    references
}

/// Saves the services' images from the engine to the store.
pub fn save(
    services: &[String],
    options: &SaveOptions,
    project: &Arc<Project>,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Value, Failure> {
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let engine = session.engine()?;
    let references = references(services, project);
    let report = session.runtime()?.block_on(crate::images::save(&engine, store, &references, options, reporter))?;
    let saved = report.images.iter().filter(|image| image.result == SaveResult::Saved).count();
    let message = Message::new("save-done")
        .with("saved", saved)
        .with("unchanged", report.images.len() - saved)
        .with("new", table::size(report.new_bytes))
        .with("time", table::seconds(report.seconds));
    session.output.say(&message);
    document(&report)
}

/// Loads the services' images from the store into the engine, and remembers the manifest for this folder.
pub fn load(
    services: &[String],
    options: &LoadOptions,
    project: &Arc<Project>,
    session: &mut Session,
    reporter: &Reporter,
) -> Result<Value, Failure> {
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let engine = session.engine()?;
    let references = references(services, project);
    let report = session.runtime()?.block_on(crate::images::load(&engine, store, &references, options, reporter))?;
    let folder = std::env::current_dir().map_err(|error| Failure::Work(Box::new(error)))?;
    choose_manifest(&folder, &project.path)?;
    let loaded = report.images.iter().filter(|image| image.result == LoadResult::Loaded).count();
    let message = Message::new("load-done")
        .with("loaded", loaded)
        .with("present", report.images.len() - loaded)
        .with("sent", table::size(report.bytes_sent))
        .with("time", table::seconds(report.seconds));
    session.output.say(&message);
    document(&report)
}

/// `save --dry-run`.
pub fn show_save(
    services: &[String],
    options: &SaveOptions,
    project: &Project,
    session: &mut Session,
) -> Result<Value, Failure> {
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let engine = session.engine()?;
    let references = references(services, project);
    let plan = session.runtime()?.block_on(plan_save(&engine, store, &references, options))?;
    let rows = plan.images.iter().map(|image| {
        let (tone, result) = match image.result {
            PlannedSaveResult::WouldSave => (Tone::Attention, "would save"),
            PlannedSaveResult::Unchanged => (Tone::Good, "unchanged"),
        };
        vec![
            image.reference.clone(),
            session.output.paint(tone, result),
            format!("{} of {}", image.layers_to_send, image.layers_total),
            table::size(image.engine_bytes),
        ]
    });
    print(&["IMAGE", "RESULT", "NEW LAYERS", "IN THE ENGINE"], rows.collect(), session)?;
    document(&plan)
}

/// `load --dry-run`.
pub fn show_load(services: &[String], project: &Project, session: &mut Session) -> Result<Value, Failure> {
    let store = path(project.manifest().paths.images.as_deref(), "images")?;
    let engine = session.engine()?;
    let references = references(services, project);
    let plan = session.runtime()?.block_on(plan_load(&engine, store, &references))?;
    for notice in &plan.notices {
        session.output.warn(notice);
    }
    let rows = plan.images.iter().map(|image| {
        let (tone, result) = match image.result {
            PlannedLoadResult::WouldLoad => (Tone::Attention, "would load"),
            PlannedLoadResult::Present => (Tone::Good, "present"),
        };
        vec![
            image.reference.clone(),
            session.output.paint(tone, result),
            format!("{} of {}", image.layers_to_send, image.layers_total),
            image.bytes_to_send.map_or_else(|| "?".to_owned(), table::size),
            image.from.clone(),
        ]
    });
    print(&["IMAGE", "RESULT", "LAYERS TO SEND", "SIZE", "FROM"], rows.collect(), session)?;
    document(&plan)
}

/// A table, unless a document is printed instead.
fn print(header: &[&str], rows: Vec<Vec<String>>, session: &Session) -> Result<(), Failure> {
    if session.output.json {
        return Ok(());
    }
    session.output.data(&table::columns(header, rows))
}
