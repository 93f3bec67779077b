//! What services use: CPU, memory, network, disk, one measurement of each container that serves.

use futures::future::try_join_all;

use crate::engine::{ContainerUsage, Engine, EngineError};
use crate::manifest::Manifest;
use crate::services::container::labels;
use crate::services::error::ServicesError;
use crate::services::reports::{ContainerStats, StatsReport, StatusReport, Usage};
use crate::services::snapshot::observed::Role;
use crate::services::snapshot::ownership::own_containers;

/// Measures the chosen services' containers, all at once: a second or two, whatever their number.
pub async fn stats(engine: &Engine, manifest: &Manifest, selection: &[String]) -> Result<StatsReport, ServicesError> {
    if let Some(unknown) = selection.iter().find(|name| manifest.services.get(name).is_none()) {
        return Err(ServicesError::UnknownService(unknown.clone()));
    }
    let observe = |source| ServicesError::Observe { project: manifest.project.clone(), source };
    let summaries = own_containers(engine, manifest).await.map_err(observe)?;
    let mut containers: Vec<ContainerStats> = summaries
        .into_iter()
        .filter(|summary| Role::of_name(&summary.name) == Role::Main)
        .filter_map(|summary| {
            let service = summary.labels.get(labels::SERVICE).filter(|service| selection.contains(service))?.clone();
            let (index, ..) = manifest.services.iter().find(|(_, name, _)| *name == service)?;
            let number = labels::number(&summary.labels);
            Some(ContainerStats { index, service, number, name: summary.name, id: summary.id, usage: None })
        })
        .collect();
    containers.sort_by_key(|container| (container.index, container.number));
    let measured = try_join_all(containers.iter().map(|container| measure(engine, &container.id))).await;
    for (container, usage) in containers.iter_mut().zip(measured.map_err(observe)?) {
        container.usage = usage;
    }
    Ok(StatsReport { project: manifest.project.clone(), containers })
}

/// Measures the containers of a status that run.
pub async fn add_usage(engine: &Engine, report: &mut StatusReport) -> Result<(), ServicesError> {
    let observe = |source| ServicesError::Observe { project: report.project.clone(), source };
    let containers = report.services.iter_mut().flat_map(|service| &mut service.containers);
    let running: Vec<_> = containers.filter(|container| container.finished_at.is_none()).collect();
    let measured = try_join_all(running.iter().map(|container| async move {
        measure(engine, &container.id).await.map_err(|error| error.about(&container.id, &container.name))
    }))
    .await;
    for (container, usage) in running.into_iter().zip(measured.map_err(observe)?) {
        container.usage = usage;
    }
    Ok(())
}

async fn measure(engine: &Engine, id: &str) -> Result<Option<Usage>, EngineError> {
    Ok(engine.usage(id).await?.map(|usage: ContainerUsage| Usage {
        cpu_percent: usage.cpu_percent.unwrap_or_default(),
        memory_bytes: usage.memory_bytes,
        memory_limit_bytes: usage.memory_limit_bytes,
        received_bytes: usage.received_bytes,
        sent_bytes: usage.sent_bytes,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
        pids: usage.pids,
    }))
}
