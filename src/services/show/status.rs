//! `status`: what runs, how well, and how it differs from the manifest.

use crate::engine::{ContainerState, ContainerView, Engine, HealthState};
use crate::manifest::Manifest;
use crate::manifest::model::{MountKind, Service};
use crate::services::container::labels;
use crate::services::error::ServicesError;
use crate::services::reports::{ContainerStatus, ServiceStatus, StatusReport};
use crate::services::snapshot::drift;
use crate::services::snapshot::observed::{Observed, ObservedContainer, Role, is_up};
use crate::services::snapshot::resources::{network_drift, volume_drift};

/// The state of the chosen services, by number.
pub async fn status(engine: &Engine, manifest: &Manifest, selection: &[String]) -> Result<StatusReport, ServicesError> {
    if let Some(unknown) = selection.iter().find(|name| manifest.services.get(name).is_none()) {
        return Err(ServicesError::UnknownService(unknown.clone()));
    }
    let snapshot = Observed::look(engine, manifest).await?;
    Ok(report(manifest, selection, &snapshot))
}

/// The same of a snapshot that is there already.
pub fn report(manifest: &Manifest, selection: &[String], snapshot: &Observed) -> StatusReport {
    let services = manifest
        .services
        .iter()
        .filter(|(_, name, _)| selection.iter().any(|chosen| chosen == name))
        .map(|(index, name, service)| of_service(manifest, (index, name, service), snapshot))
        .collect();
    StatusReport {
        project: manifest.project.clone(),
        services,
        orphans: snapshot.orphans(manifest).map(of_container).collect(),
    }
}

fn of_service(
    manifest: &Manifest,
    (index, name, service): (usize, &str, &Service),
    snapshot: &Observed,
) -> ServiceStatus {
    let mut all: Vec<&ObservedContainer> = snapshot.containers.iter().filter(|seen| seen.service == name).collect();
    all.sort_by_key(|seen| (seen.number, seen.role));
    let mains: Vec<&ObservedContainer> = all.iter().copied().filter(|seen| seen.role == Role::Main).collect();
    let mut drift: Vec<String> =
        mains.iter().flat_map(|seen| drift::of(manifest, service, seen, snapshot).names()).collect();
    let wanted = service.replicas() as usize;
    for key in service.network_keys() {
        let name = manifest.network_name(key);
        drift
            .extend(network_drift(manifest, key, snapshot).into_iter().map(|field| format!("networks.{name}.{field}")));
    }
    for key in service
        .volumes
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume)
        .filter_map(|mount| mount.source.as_deref())
    {
        let name = manifest.volume_name(key);
        drift.extend(volume_drift(manifest, key, snapshot).into_iter().map(|field| format!("volumes.{name}.{field}")));
    }
    let namesakes: Vec<String> =
        snapshot.namesakes.iter().filter(|seen| seen.service == name).map(|seen| seen.view.name.clone()).collect();
    if !mains.is_empty() && mains.len() != wanted {
        drift.push("scale".to_owned());
    }
    drift.sort();
    drift.dedup();
    ServiceStatus {
        index,
        name: name.to_owned(),
        groups: service.groups.clone(),
        image: service.image.to_string(),
        state: match mains.is_empty() && !namesakes.is_empty() {
            true => "foreign".to_owned(),
            false => state(&mains, wanted),
        },
        namesakes,
        health: health(&mains).word().to_owned(),
        drift,
        since: mains.iter().filter_map(|seen| since(&seen.view)).max(),
        running: mains.iter().filter(|seen| seen.view.state.is_running()).count(),
        wanted,
        containers: all.into_iter().map(of_container).collect(),
    }
}

fn state(mains: &[&ObservedContainer], wanted: usize) -> String {
    let Some(first) = mains.first() else {
        return if wanted == 0 { "none" } else { "missing" }.to_owned();
    };
    let same = mains.iter().all(|seen| seen.view.state == first.view.state) && mains.len() >= wanted;
    if same { first.view.state.word() } else { "partial" }.to_owned()
}

/// The worst of them.
fn health(mains: &[&ObservedContainer]) -> HealthState {
    let of = |seen: &&ObservedContainer| if is_up(seen.view.state) { seen.view.health } else { HealthState::None };
    let rank = |health: &HealthState| match health {
        HealthState::None => 0,
        HealthState::Healthy => 1,
        HealthState::Starting => 2,
        HealthState::Unhealthy => 3,
    };
    mains.iter().map(of).max_by_key(rank).unwrap_or_default()
}

/// The engine's way to say that a moment never was is the year 1.
fn moment(time: &str) -> Option<String> {
    (!time.is_empty() && !time.starts_with("0001-")).then(|| time.to_owned())
}

/// When it came into its state.
fn since(view: &ContainerView) -> Option<String> {
    match view.state {
        ContainerState::Exited | ContainerState::Dead => moment(&view.finished_at),
        _ => moment(&view.started_at),
    }
}

fn of_container(seen: &ObservedContainer) -> ContainerStatus {
    let view = &seen.view;
    let ended = !is_up(view.state) && view.state != ContainerState::Created;
    ContainerStatus {
        name: view.name.clone(),
        id: view.id.clone(),
        number: seen.number,
        role: match seen.role {
            Role::Main => "main",
            Role::Kept => "kept",
            Role::Next => "next",
            Role::Failed => "failed",
        }
        .to_owned(),
        state: view.state.word().to_owned(),
        health: view.health.word().to_owned(),
        image_id: view.image_id.clone(),
        started_at: moment(&view.started_at),
        finished_at: moment(&view.finished_at).filter(|_| ended),
        exit_code: ended.then_some(view.exit_code),
        oom_killed: view.oom_killed,
        restarts: view.restart_count,
        ports: view.published.iter().map(ToString::to_string).collect(),
        dropped: view.labels.get(labels::GPUS).map(|_| "gpus".to_owned()).into_iter().collect(),
        usage: None,
    }
}
