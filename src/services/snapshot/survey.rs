//! What only the engine's host knows and a plan depends on: ports that are held, folders that are missing, data folders
//! of another PostgreSQL, GPUs. Looked at before anything is touched, and only for services that begin to run.
//!
//! A dry run looks with this process's own eyes; what takes a throw-away container is left out of it.

use std::collections::BTreeSet;

use super::{folders, gpus, postgres_data, sockets};
use crate::engine::{Engine, EngineError};
use crate::manifest::Manifest;
use crate::manifest::graph::Graph;
use crate::manifest::model::{Protocol, Service};
use crate::services::error::ServicesError;
use crate::services::plan::{Operation, plan};
use crate::services::request::Request;
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::observed::Snapshot;
use crate::services::snapshot::reach::Reach;

/// How far a survey may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Nothing is made on the engine.
    ReadOnly,
    /// Throw-away containers may be made, and some started.
    WithHelpers,
}

/// A wanted port that something else than a container of this engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPort {
    /// As it is wanted.
    pub host_ip: Option<String>,
    pub port: u16,
    pub protocol: Protocol,
    pub by: Holder,
}

/// Why a port can't be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The process that has it, `nginx (7)`, where that is known.
    Process(Option<String>),
    /// The host has no such address.
    NoSuchAddress,
}

/// PostgreSQL's data folder, and the server that is to work on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    /// The folder of the host, or the volume, for a reader.
    pub place: String,
    /// The major version that wrote it: `15`, `9.6`.
    pub written_by: String,
    /// The image's.
    pub image: String,
}

/// A service that begins to run, or may.
#[derive(Clone, Copy)]
pub(super) struct Starting<'a> {
    pub name: &'a str,
    pub service: &'a Service,
    /// Whether it gets a new container.
    pub is_made: bool,
}

/// Looks, and notes what it finds in the snapshot.
pub async fn survey(
    engine: &Engine,
    manifest: &Manifest,
    request: &Request,
    depth: Depth,
    snapshot: &mut Snapshot,
) -> Result<(), ServicesError> {
    let starting = starting(request, manifest, snapshot);
    let helpers = Helpers::new(engine, &manifest.project, &images(manifest, snapshot));
    if depth == Depth::WithHelpers {
        gpus::probe(&helpers, manifest, &starting, snapshot)
            .await
            .map_err(|source| ServicesError::GpuProbe { source })?;
    }
    look(engine, manifest, &starting, depth, &helpers, snapshot)
        .await
        .map_err(|source| ServicesError::Survey { source })
}

async fn look(
    engine: &Engine,
    manifest: &Manifest,
    starting: &[Starting<'_>],
    depth: Depth,
    helpers: &Helpers<'_>,
    snapshot: &mut Snapshot,
) -> Result<(), EngineError> {
    let may_try = depth == Depth::WithHelpers;
    let ports = sockets::wanted(starting, snapshot);
    if !ports.is_empty() {
        if Reach::shares_network(engine, &snapshot.networks).await {
            snapshot.held_ports = sockets::held_here(&ports);
        } else if may_try {
            snapshot.held_ports = sockets::held_there(&ports, helpers).await?;
        }
    }
    if !snapshot.engine.is_local && may_try {
        snapshot.missing_sources = folders::missing(starting, helpers).await?;
        snapshot.is_host_unseen = false;
    }
    snapshot.data_folders = postgres_data::data_folders(manifest, starting, depth, helpers, snapshot).await?;
    Ok(())
}

/// The services that a first plan starts; all that it may touch, where it has problems already.
fn starting<'m>(request: &Request, manifest: &'m Manifest, snapshot: &Snapshot) -> Vec<Starting<'m>> {
    let draft = plan(request, manifest, snapshot).ok();
    let touched: Option<BTreeSet<(&str, bool)>> = draft.as_ref().map(|draft| {
        let steps = draft.steps.iter().filter_map(|step| {
            let service = step.service.as_deref()?;
            match step.operation {
                Operation::CreateContainer { .. } => Some((service, true)),
                Operation::StartContainer { .. } | Operation::RestartContainer { .. } => Some((service, false)),
                _ => None,
            }
        });
        steps.collect()
    });
    let chosen: BTreeSet<&str> = request.selection.iter().map(String::as_str).collect();
    let needed = Graph::of(manifest).needed_by(&chosen);
    let services = manifest.services.iter().filter_map(|(_, name, service)| {
        let is_made = match &touched {
            Some(touched) if touched.contains(&(name, true)) => true,
            Some(touched) if touched.contains(&(name, false)) => false,
            // Whether a GPU is there now decides about a container that had to do without.
            Some(_) if gpus::waits_for_one(name, service, snapshot) && chosen.contains(name) => false,
            Some(_) => return None,
            None if chosen.contains(name) || needed.contains(name) => true,
            None => return None,
        };
        Some(Starting { name, service, is_made })
    });
    services.collect()
}

/// Images that are there, each once, in the manifest's order.
fn images(manifest: &Manifest, snapshot: &Snapshot) -> Vec<String> {
    let mut images: Vec<String> = Vec::new();
    for (_, _, service) in manifest.services.iter() {
        if let Some(image) = snapshot.image(&service.image).filter(|image| !images.contains(&image.id)) {
            images.push(image.id.clone());
        }
    }
    images
}
