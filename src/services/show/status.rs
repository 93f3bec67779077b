//! `status`: what runs, how well, and how it differs from the manifest.

use crate::engine::{ContainerState, ContainerView, Engine, HealthState};
use crate::manifest::Manifest;
use crate::manifest::model::{MountKind, Service};
use crate::services::container::labels;
use crate::services::error::ServicesError;
use crate::services::reports::{ContainerStatus, OtherFolder, ServiceStatus, StatusReport};
use crate::services::snapshot::drift;
use crate::services::snapshot::observed::{Observed, ObservedContainer, Role, is_up};
use crate::services::snapshot::resources::{network_drift, volume_drift};

/// The state of the chosen services, by number.
pub async fn status(engine: &Engine, manifest: &Manifest, selection: &[String]) -> Result<StatusReport, ServicesError> {
    if let Some(unknown) = selection.iter().find(|name| manifest.services.get(name).is_none()) {
        return Err(ServicesError::UnknownService(unknown.clone()));
    }
    let snapshot = Observed::look_for_status(engine, manifest).await?;
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
    let other_folders = snapshot.other_folders.iter();
    let other_folders =
        other_folders.map(|(folder, last_created)| OtherFolder { folder: folder.clone(), last_created: *last_created });
    StatusReport {
        project: manifest.project.clone(),
        services,
        orphans: snapshot.orphans(manifest).map(of_container).collect(),
        other_folders: other_folders.collect(),
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
    // An interrupted replacement left its old container, or its new one, beside the one that has the name.
    if !mains.is_empty() && all.iter().any(|seen| matches!(seen.role, Role::Kept | Role::Next)) {
        drift.push("replacement".to_owned());
    }
    if !mains.is_empty() && snapshot.inputs.get(name).is_some_and(|inputs| !inputs.errors().is_empty()) {
        drift.push("environment (unreadable)".to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHOSEN: &str = "a";

    /// A service of one image, with so many containers.
    fn manifest(scale: u32) -> Manifest {
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let service = Service { image: "a:1".parse().unwrap(), scale: Some(scale), ..Service::default() };
        manifest.services.push(CHOSEN.to_owned(), Some(service));
        manifest
    }

    fn container(number: u32, role: Role, change: impl FnOnce(&mut ContainerView)) -> ObservedContainer {
        let name = format!("p-a-{number}{}", role.suffix());
        let mut view =
            ContainerView { id: name.clone(), name, state: ContainerState::Running, ..ContainerView::default() };
        change(&mut view);
        ObservedContainer { service: CHOSEN.to_owned(), number, role, view }
    }

    fn running(number: u32) -> ObservedContainer {
        container(number, Role::Main, |_| {})
    }

    fn in_state(number: u32, state: ContainerState) -> ObservedContainer {
        container(number, Role::Main, |view| view.state = state)
    }

    fn status_of(scale: u32, snapshot: &Observed) -> ServiceStatus {
        report(&manifest(scale), &[CHOSEN.to_owned()], snapshot).services.remove(0)
    }

    fn with(containers: Vec<ObservedContainer>) -> Observed {
        Observed { containers, ..Observed::default() }
    }

    #[test]
    fn the_state_of_a_service_is_that_of_all_its_containers_or_partial() {
        for (scale, containers, state, running) in [
            (1, Vec::new(), "missing", 0),
            (0, Vec::new(), "none", 0),
            (2, vec![running(1), running(2)], "running", 2),
            (2, vec![running(1)], "partial", 1),
            (2, vec![running(1), in_state(2, ContainerState::Exited)], "partial", 1),
            (2, vec![in_state(1, ContainerState::Exited), in_state(2, ContainerState::Exited)], "exited", 0),
            // What is kept aside serves nobody.
            (1, vec![container(1, Role::Kept, |_| {})], "missing", 0),
        ] {
            let status = status_of(scale, &with(containers));
            assert_eq!((status.state.as_str(), status.running, status.wanted), (state, running, scale as usize));
        }
    }

    #[test]
    fn what_an_interrupted_replacement_left_and_an_environment_that_can_t_be_read_are_drift() {
        let drift = |snapshot: &Observed, wanted: &str| status_of(1, snapshot).drift.iter().any(|one| one == wanted);
        assert!(!drift(&with(vec![running(1)]), "replacement"));
        for role in [Role::Kept, Role::Next] {
            assert!(drift(&with(vec![running(1), container(1, role, |_| {})]), "replacement"));
        }
        let file = crate::manifest::model::EnvFile {
            path: "/nowhere/x.env".into(),
            required: true,
            ..crate::manifest::model::EnvFile::default()
        };
        let service = Service { env_file: vec![file], ..Service::default() };
        let mut snapshot = with(vec![running(1)]);
        assert!(!drift(&snapshot, "environment (unreadable)"));
        snapshot.inputs.insert(CHOSEN.to_owned(), crate::services::Inputs::read(&service));
        assert!(drift(&snapshot, "environment (unreadable)"));
    }

    #[test]
    fn a_container_of_somebody_else_under_its_name_is_foreign_only_where_there_is_none_of_ours() {
        let snapshot = Observed { namesakes: vec![running(1)], ..Observed::default() };
        let status = status_of(1, &snapshot);
        assert_eq!((status.state.as_str(), status.namesakes), ("foreign", vec!["p-a-1".to_owned()]));
        let both = Observed { namesakes: vec![running(2)], containers: vec![running(1)], ..Observed::default() };
        assert_eq!(status_of(1, &both).state, "running");
    }

    #[test]
    fn the_worst_health_of_what_is_up_counts() {
        let health =
            |number, health, state| container(number, Role::Main, |view| (view.health, view.state) = (health, state));
        let up = ContainerState::Running;
        let of = |containers| status_of(3, &with(containers)).health;
        let (well, ill) = (health(1, HealthState::Healthy, up), health(2, HealthState::Unhealthy, up));
        assert_eq!(of(vec![well.clone(), ill, health(3, HealthState::Starting, up)]), "unhealthy");
        assert_eq!(of(vec![well.clone(), health(2, HealthState::Starting, up)]), "starting");
        // What an ended container said last is nothing of today's.
        assert_eq!(of(vec![well, health(2, HealthState::Unhealthy, ContainerState::Exited)]), "healthy");
        assert_eq!(of(vec![running(1)]), "none");
    }

    #[test]
    fn times_exit_codes_and_parts_are_told_where_they_mean_something() {
        let never = "0001-01-01T00:00:00Z";
        let ended = container(1, Role::Main, |view| {
            (view.state, view.exit_code) = (ContainerState::Exited, 137);
            (view.started_at, view.finished_at) = ("2026-01-01T00:00:00Z".into(), "2026-01-02T00:00:00Z".into());
        });
        let made = container(1, Role::Next, |view| {
            view.state = ContainerState::Created;
            (view.started_at, view.finished_at) = (never.into(), never.into());
            view.labels.insert(labels::GPUS.to_owned(), labels::GPUS_DROPPED.to_owned());
        });
        let again = container(1, Role::Kept, |view| {
            view.exit_code = 3;
            (view.started_at, view.finished_at) = ("2026-01-03T00:00:00Z".into(), "2026-01-02T00:00:00Z".into());
        });
        let status = status_of(1, &with(vec![made, again, ended]));
        assert_eq!(status.since.as_deref(), Some("2026-01-02T00:00:00Z"), "an ended one is in its state since its end");
        let told: Vec<_> = status
            .containers
            .iter()
            .map(|container| (container.role.as_str(), container.exit_code, container.finished_at.is_some()))
            .collect();
        assert_eq!(told, [("main", Some(137), true), ("kept", None, false), ("next", None, false)]);
        assert_eq!(
            (&status.containers[2].started_at, &status.containers[2].dropped),
            (&None, &vec!["gpus".to_owned()])
        );
    }

    #[test]
    fn another_number_of_containers_is_drift_and_only_chosen_services_are_told() {
        let snapshot = with(vec![running(1)]);
        assert!(status_of(2, &snapshot).drift.contains(&"scale".to_owned()));
        assert!(!status_of(1, &snapshot).drift.contains(&"scale".to_owned()));
        assert!(status_of(1, &Observed::default()).drift.is_empty(), "what is missing is told by its state");
        let mut stray = running(1);
        stray.service = "gone".to_owned();
        let report = report(&manifest(1), &[], &with(vec![stray]));
        assert!(report.services.is_empty());
        assert_eq!(report.orphans.len(), 1);
    }
}
