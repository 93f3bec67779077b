//! One snapshot of what a project has on its engine, and of what on this machine decides what may be done with it.
//!
//! Reads only: nothing is created, pulled or changed, so a dry run may look as long as it likes. One list, then an
//! inspect for each container of the project, all at once.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;

use super::images::look_at_images;
use super::observed::{EngineTraits, ForeignContainer, Observed, ObservedContainer, Role, is_up};
use super::ownership::InheritedLabels;
use super::sources::Sources;
use crate::engine::{ContainerSummary, ContainerView, Engine, EngineError, RestartPolicy};
use crate::manifest::model::NamespaceMode;
use crate::manifest::{Manifest, Variables, services_beside};
use crate::report::in_one_line;
use crate::services::container::environment::Inputs;
use crate::services::container::labels;
use crate::services::error::ServicesError;

impl Observed {
    /// Looks at everything once.
    pub async fn look(engine: &Engine, manifest: &Manifest) -> Result<Self, ServicesError> {
        look(engine, manifest)
            .await
            .map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })
    }
}

async fn look(engine: &Engine, manifest: &Manifest) -> Result<Observed, EngineError> {
    // What the engine is takes it as long to say as all the rest.
    let (facts, observed) = futures::try_join!(engine.facts(), look_at_all(engine, manifest))?;
    let architecture = facts.architecture.clone();
    let engine = EngineTraits { limits: facts.limits, architecture, ..observed.engine.clone() };
    Ok(Observed { engine, ..observed })
}

/// All but the engine itself.
async fn look_at_all(engine: &Engine, manifest: &Manifest) -> Result<Observed, EngineError> {
    let (summaries, listed, networks, volumes) = futures::try_join!(
        engine.list_container_summaries(),
        engine.list_images(),
        engine.list_networks(),
        engine.list_volumes()
    )?;
    let inherited = InheritedLabels::of(&listed);
    let names = container_names(manifest);
    // One that was taken over has none of our labels; the name under which it is kept aside is ours.
    let kept_for = |summary: &ContainerSummary| {
        let stem = Role::Kept.stem(&summary.name);
        let is_kept = stem != summary.name && inherited.owner(summary).is_none();
        names.get(stem).filter(|_| is_kept).cloned()
    };
    let (ours, others): (Vec<_>, Vec<_>) = summaries
        .into_iter()
        .partition(|summary| inherited.owner(summary) == Some(&manifest.project) || kept_for(summary).is_some());
    let namesakes: Vec<(&ContainerSummary, &(String, u32))> = others
        .iter()
        .filter(|summary| inherited.owner(summary).is_none())
        .filter_map(|summary| Some((summary, names.get(&summary.name)?)))
        .collect();
    let (views, namesake_views) = futures::try_join!(
        try_join_all(ours.iter().map(|summary| engine.inspect_container(&summary.id))),
        try_join_all(namesakes.iter().map(|(summary, _)| engine.inspect_container(&summary.id)))
    )?;
    // One that is gone between the list and its inspect is simply gone.
    let containers: Vec<ObservedContainer> =
        ours.iter().zip(views).filter_map(|(summary, view)| Some(seen(view?, kept_for(summary)))).collect();
    let namesakes: Vec<ObservedContainer> = namesakes
        .into_iter()
        .zip(namesake_views)
        .filter_map(|((_, place), view)| Some(seen(view?, Some(place.clone()))))
        .collect();

    let ids: BTreeMap<String, String> =
        listed.iter().flat_map(|image| image.tags.iter().map(|tag| (tag.clone(), image.id.clone()))).collect();
    let mut foreign_containers: Vec<ForeignContainer> =
        others.into_iter().map(|summary| foreign(&inherited, summary)).collect();
    let is_local = engine.address().is_local();
    let mut sources = Sources::default();
    if is_local {
        sources.look_at(manifest, &foreign_containers);
    }
    let (images, providers, ()) = futures::try_join!(
        look_at_images(engine, manifest, &containers, &ids),
        look_at_providers(engine, manifest),
        look_at_policies(engine, manifest, &sources, &mut foreign_containers)
    )?;
    let mut containers = containers;
    // Of two in one place, the one that has its name is the one that serves.
    containers.sort_by_key(|seen| names.get(&seen.view.name) != Some(&(seen.service.clone(), seen.number)));
    let (named_elsewhere, unread_manifest) = named_elsewhere(manifest, &containers);
    Ok(Observed {
        engine: EngineTraits { api: engine.api().numbers(), is_local, ..EngineTraits::default() },
        containers,
        foreign_containers,
        namesakes,
        providers,
        images,
        networks,
        volumes,
        inputs: manifest.services.iter().map(|(_, name, service)| (name.to_owned(), Inputs::read(service))).collect(),
        named_elsewhere,
        unread_manifest,
        missing_sources: std::mem::take(&mut sources.missing),
        sources,
        is_host_unseen: !is_local,
        ..Observed::default()
    })
}

/// The services that other manifests of the project name, where a container belongs to none of this one's, and why that
/// can't be said.
fn named_elsewhere(manifest: &Manifest, containers: &[ObservedContainer]) -> (BTreeSet<String>, Option<String>) {
    if containers.iter().all(|seen| manifest.services.get(&seen.service).is_some()) {
        return (BTreeSet::new(), None);
    }
    match services_beside(manifest, &Variables::of_process()) {
        Ok(services) => (services, None),
        Err(error) => (BTreeSet::new(), Some(in_one_line(&error))),
    }
}

/// Containers of other makers whose namespaces services share, by the name that the manifest has for them.
async fn look_at_providers(
    engine: &Engine,
    manifest: &Manifest,
) -> Result<BTreeMap<String, ContainerView>, EngineError> {
    let names: BTreeSet<&str> = manifest
        .services
        .iter()
        .flat_map(|(_, _, service)| [&service.network_mode, &service.pid, &service.ipc])
        .flatten()
        .filter_map(|mode| match mode {
            NamespaceMode::Container(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let views = try_join_all(names.iter().map(|name| engine.inspect_container(name))).await?;
    Ok(names.into_iter().zip(views).filter_map(|(name, view)| Some((name.to_owned(), view?))).collect())
}

/// The restart policies of foreign containers that are down and use data of ours: the engine may bring them back.
async fn look_at_policies(
    engine: &Engine,
    manifest: &Manifest,
    sources: &Sources,
    foreign: &mut [ForeignContainer],
) -> Result<(), EngineError> {
    let ours = sources.of_manifest(manifest);
    let shares = |other: &ForeignContainer| other.mounts.iter().any(|mount| ours.contains(&sources.of_mount(mount)));
    for other in foreign.iter_mut().filter(|other| !is_up(other.state) && shares(other)) {
        other.restart = engine.inspect_container(&other.id).await?.map(|view| view.restart).unwrap_or_default();
    }
    Ok(())
}

/// The names that the manifest's containers are to have → service and number.
fn container_names(manifest: &Manifest) -> BTreeMap<String, (String, u32)> {
    let places = manifest.services.iter().flat_map(|(_, name, service)| {
        (1..=service.replicas()).map(move |number| (manifest.container_name(name, number), (name.to_owned(), number)))
    });
    places.collect()
}

/// `place`: service and number, where no label says them.
fn seen(view: ContainerView, place: Option<(String, u32)>) -> ObservedContainer {
    let (service, number) = place.unwrap_or_else(|| {
        let service = view.labels.get(labels::SERVICE).cloned().unwrap_or_default();
        (service, labels::number(&view.labels))
    });
    ObservedContainer { service, number, role: Role::of_name(&view.name), view }
}

fn foreign(inherited: &InheritedLabels, summary: ContainerSummary) -> ForeignContainer {
    ForeignContainer {
        project: inherited.owner(&summary).map(str::to_owned),
        helper_of: summary.labels.get(labels::PROBE).cloned(),
        id: summary.id,
        name: summary.name,
        state: summary.state,
        restart: RestartPolicy::No,
        mounts: summary.mounts,
        published: summary.published,
        addresses: summary.addresses,
    }
}

/// The services whose namespaces a service shares.
pub fn providers(service: &crate::manifest::model::Service) -> Vec<&str> {
    let modes = [&service.network_mode, &service.pid, &service.ipc];
    let mut names: Vec<&str> = modes
        .into_iter()
        .flatten()
        .filter_map(|mode| match mode {
            NamespaceMode::Service(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
