//! Finding the container that a command is to run in.

use crate::engine::{ContainerSummary, ContainerView, Engine};
use crate::manifest::Manifest;
use crate::services::container::labels;
use crate::services::error::ServicesError;
use crate::services::snapshot::observed::Role;
use crate::services::snapshot::ownership::own_containers;

/// A service's container that serves: the one of this number, or the first that runs.
pub async fn serving_container(
    engine: &Engine,
    manifest: &Manifest,
    service: &str,
    number: Option<u32>,
) -> Result<ContainerView, ServicesError> {
    if manifest.services.get(service).is_none() {
        return Err(ServicesError::UnknownService(service.to_owned()));
    }
    let observe = |source| ServicesError::Observe { project: manifest.project.clone(), source };
    let mut found = Vec::new();
    let ours = own_containers(engine, manifest).await.map_err(observe)?.into_iter();
    let ours = ours.filter(|container| container.labels.get(labels::SERVICE).is_some_and(|name| name == service));
    for ContainerSummary { id, .. } in ours {
        // One that is gone between the list and its inspect is simply gone.
        if let Some(view) = engine.inspect_container(&id).await.map_err(observe)?
            && Role::of_name(&view.name) == Role::Main
        {
            found.push((labels::number(&view.labels), view));
        }
    }
    found.sort_by_key(|(number, view)| (!view.state.is_running(), *number));
    let chosen = match number {
        Some(wanted) => found.into_iter().find(|(number, _)| *number == wanted),
        None => found.into_iter().next(),
    };
    match chosen {
        Some((_, view)) if view.state.is_running() => Ok(view),
        Some((_, view)) => {
            let (container, state) = (view.name, view.state);
            Err(ServicesError::NotRunning { service: service.to_owned(), container, state })
        }
        None => Err(ServicesError::NoContainer { service: service.to_owned(), number }),
    }
}
