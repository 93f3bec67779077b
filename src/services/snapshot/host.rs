//! What only the engine's host knows and a plan depends on: ports that are held, folders that are missing, data folders
//! of another PostgreSQL, GPUs. Looked at before anything is touched, and only for services that begin to run.
//!
//! A dry run looks with this process's own eyes; what takes a throw-away container is left out of it.

use std::collections::BTreeSet;
use std::path::Path;

use super::helper::Helpers;
use super::observed::Observed;
use super::reach::Reach;
use super::starting::{Starting, starting};
use super::{Depth, folders, gpus, packet_filter, postgres_data, sockets};
use crate::engine::{Engine, EngineError};
use crate::manifest::Manifest;
use crate::manifest::model::{Protocol, is_cdi_name};
use crate::services::error::ServicesError;
use crate::services::request::Request;

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

/// Looks, and notes what it finds.
pub(super) async fn survey(
    engine: &Engine,
    manifest: &Manifest,
    request: &Request,
    depth: Depth,
    observed: &mut Observed,
) -> Result<(), ServicesError> {
    let starting = starting(request, manifest, observed);
    let helpers = Helpers::new(engine, &manifest.project, &images(manifest, observed));
    if depth == Depth::WithHelpers {
        gpus::probe(&helpers, manifest, &starting, observed)
            .await
            .map_err(|source| ServicesError::GpuProbe { source })?;
    }
    look(engine, manifest, &starting, depth, &helpers, observed)
        .await
        .map_err(|source| ServicesError::Survey { source })
}

async fn look(
    engine: &Engine,
    manifest: &Manifest,
    starting: &[Starting<'_>],
    depth: Depth,
    helpers: &Helpers<'_>,
    observed: &mut Observed,
) -> Result<(), EngineError> {
    let may_try = depth == Depth::WithHelpers;
    let ports = sockets::wanted(starting, observed);
    if !ports.is_empty() {
        if Reach::shares_network(engine, &observed.networks).await {
            observed.held_ports = if may_try { sockets::held_here(&ports) } else { sockets::listed_here(&ports) };
        } else if may_try {
            observed.held_ports = sockets::held_there(&ports, helpers).await?;
        } else {
            // Of another machine nothing was looked at, which is said as well.
            observed.are_ports_unseen = observed.engine.is_local;
        }
    }
    let loses_port = |starting: &Starting| {
        observed.runs(starting.name) && starting.service.ports.iter().any(|port| port.published.is_some())
    };
    if may_try
        && starting.iter().any(loses_port)
        && let Some(image) = helpers.images().first()
    {
        // With the host's packet filter emptied behind the engine's back, neither the new container starts nor the old one.
        observed.publishes_ports = match packet_filter::is_whole(engine).await {
            true => Some(true),
            false => helpers.publishes_a_port(image).await?,
        };
    }
    if observed.engine.is_local {
        observed.missing_devices = missing_devices(starting);
    }
    if !observed.engine.is_local && may_try {
        observed.missing_sources = folders::missing(starting, helpers).await?;
        observed.is_host_unseen = false;
    }
    observed.data_folders = postgres_data::data_folders(manifest, starting, depth, helpers, observed).await?;
    Ok(())
}

/// Devices that are not there: the engine finds that out when it starts the container, which is when the old one is down.
fn missing_devices(starting: &[Starting<'_>]) -> BTreeSet<String> {
    let devices = starting.iter().flat_map(|starting| &starting.service.devices);
    let paths = devices.map(|device| &device.source).filter(|source| !is_cdi_name(source));
    // One that may not be looked at may be there.
    paths.filter(|path| matches!(Path::new(path).try_exists(), Ok(false))).cloned().collect()
}

/// Images that are there, each once, in the manifest's order.
fn images(manifest: &Manifest, observed: &Observed) -> Vec<String> {
    let mut images: Vec<String> = Vec::new();
    for (_, _, service) in manifest.services.iter() {
        if let Some(image) = observed.image(&service.image).filter(|image| !images.contains(&image.id)) {
            images.push(image.id.clone());
        }
    }
    images
}
