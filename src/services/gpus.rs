//! Whether the engine can give GPUs to containers.
//!
//! No API tells: a container is created with any request, and only its start fails. So a throw-away container asks for
//! the very GPUs and is started with a program that no image has. Devices are attached before the program is looked
//! for: an engine that gives them refuses the program (400), one that can't fails earlier (500). Tried on 20.10 and 28.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ServicesError;
use super::graph::Graph;
use super::labels;
use super::observe::{Gpus, Snapshot};
use super::spec;
use crate::engine::{ContainerSpec, Engine, EngineError, EngineErrorKind};
use crate::failpoint;
use crate::manifest::Manifest;

/// A path that no image has.
const NO_PROGRAM: &str = "/dpl-gpu-probe/no-such-program";

/// Tries it, where one of the chosen services, or one that they need, asks for GPUs and its image is there; notes the
/// answer in the snapshot. Makes and removes a container, so it is not for a dry run.
pub async fn probe_gpus(
    engine: &Engine,
    manifest: &Manifest,
    selection: &[String],
    snapshot: &mut Snapshot,
) -> Result<(), ServicesError> {
    let chosen: BTreeSet<&str> = selection.iter().map(String::as_str).collect();
    let needed = Graph::of(manifest).needed_by(&chosen);
    let wanting = manifest
        .services
        .iter()
        .filter(|(_, name, service)| service.wants_gpu() && (chosen.contains(name) || needed.contains(name)))
        .find_map(|(_, _, service)| Some((service, snapshot.image(&service.image)?.id.clone())));
    let Some((service, image)) = wanting else {
        return Ok(());
    };
    let labels = BTreeMap::from([(labels::PROBE.to_owned(), manifest.project.clone())]);
    let spec = ContainerSpec {
        name: format!("{}.dpl-gpu-probe-{}", manifest.project, std::process::id()),
        image,
        entrypoint: Some(vec![NO_PROGRAM.to_owned()]),
        command: Some(Vec::new()),
        network_mode: Some("none".to_owned()),
        gpus: spec::wanted_gpus(service),
        runtime: service.runtime.clone(),
        labels,
        ..ContainerSpec::default()
    };
    snapshot.gpus = try_start(engine, &spec).await.map_err(|source| ServicesError::GpuProbe { source })?;
    Ok(())
}

async fn try_start(engine: &Engine, spec: &ContainerSpec) -> Result<Gpus, EngineError> {
    // What a killed run left of its own try.
    let labels: Vec<(&str, &str)> = spec.labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
    for left in engine.list_containers(&labels).await? {
        engine.discard_container(&left).await?;
    }
    failpoint!("services.gpus.before-probe");
    let id = engine.create_container(spec).await?;
    failpoint!("services.gpus.after-create");
    let started = engine.start_container(&id).await;
    engine.discard_container(&id).await?;
    match started {
        Ok(()) => Ok(Gpus::Present),
        Err(error) => match error.kind() {
            EngineErrorKind::Refused | EngineErrorKind::NotFound => Ok(Gpus::Present),
            EngineErrorKind::Failed => Ok(Gpus::Absent),
            _ => Err(error),
        },
    }
}
