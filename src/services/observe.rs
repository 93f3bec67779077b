//! One snapshot of what a project has on its engine, and of what on this machine decides what may be done with it.
//!
//! Reads only: nothing is created, pulled or changed, so a dry run may look as long as it likes. One list, then an
//! inspect for each container of the project, all at once.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{self, try_join_all};

use super::error::ServicesError;
use super::host::{DataFolder, HeldPort};
use super::labels;
use super::secrets::Inputs;
use crate::engine::{
    ContainerState, ContainerSummary, ContainerView, Engine, EngineError, HealthState, ImageStore, LimitSupport,
    NetworkView, PublishedPort, VolumeView,
};
use crate::manifest::Manifest;
use crate::manifest::model::{MountKind, NamespaceMode};
use crate::manifest::types::Reference;

/// Whether the engine can give a service the GPUs that it asks for. Only a try tells ([`super::survey`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gpus {
    #[default]
    Unknown,
    Present,
    /// Those that are required, and not the others.
    RequiredOnly,
    Absent,
}

/// The part that a container plays, which its name tells: labels never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It serves.
    Main,
    /// It served, and is kept until its replacement has proved itself.
    Kept,
    /// It is to replace the one that serves, and has not begun.
    Next,
    /// It failed to replace another, and is kept for a look.
    Failed,
}

impl Role {
    /// What is appended to a container's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Kept => ".dpl-kept",
            Self::Next => ".dpl-next",
            Self::Failed => ".dpl-failed",
        }
    }

    pub(super) fn of_name(name: &str) -> Self {
        [Self::Kept, Self::Next, Self::Failed]
            .into_iter()
            .find(|role| name.ends_with(role.suffix()))
            .unwrap_or(Self::Main)
    }

    /// A name without what this part appends.
    fn stem(self, name: &str) -> &str {
        name.strip_suffix(self.suffix()).unwrap_or(name)
    }
}

/// A container of the project.
#[derive(Debug, Clone)]
pub struct Seen {
    pub service: String,
    /// Which of the service's containers, from 1.
    pub number: u32,
    pub role: Role,
    pub view: ContainerView,
}

impl Seen {
    /// Whether its processes live, or are brought back by the engine.
    pub fn is_up(&self) -> bool {
        is_up(self.view.state)
    }

    /// Whether it serves, as far as the engine knows.
    pub fn is_well(&self) -> bool {
        self.view.state == ContainerState::Running
            && matches!(self.view.health, HealthState::None | HealthState::Healthy)
    }
}

/// Running, paused or about to be started again.
pub(super) fn is_up(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
}

/// A container that is not of this project.
#[derive(Debug, Clone, Default)]
pub struct Stranger {
    pub id: String,
    pub name: String,
    /// Ports of the host that it holds.
    pub published: Vec<PublishedPort>,
    /// Network name → its address there.
    pub addresses: BTreeMap<String, String>,
    /// The project of dpl's that it belongs to.
    pub project: Option<String>,
    /// The project for which another run of dpl made it, to be thrown away.
    pub helper_of: Option<String>,
}

/// What a plan needs to know of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenImage {
    pub id: String,
    /// Whether containers of it have a health check without asking for one.
    pub has_healthcheck: bool,
    /// Paths that it declares as volumes.
    pub volumes: Vec<String>,
    /// What it sets in the environment that tells a PostgreSQL: `PG_MAJOR`, `PGDATA`.
    pub postgres: BTreeMap<String, String>,
    /// Other IDs under which the same image is in use: the containerd store gives one image several.
    pub same_as: BTreeSet<String>,
}

/// What the engine is, as far as a plan depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineTraits {
    pub api: (u32, u32),
    /// Whether it shares this machine's files and ports.
    pub is_local: bool,
    pub limits: LimitSupport,
}

/// What is there: the ground of every plan.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub engine: EngineTraits,
    /// The project's containers, also those of services that the manifest doesn't name.
    pub containers: Vec<Seen>,
    pub strangers: Vec<Stranger>,
    /// Those of them that have a name which a container of ours is to have, and are no other project's.
    pub namesakes: Vec<Seen>,
    /// Reference → the image that it names now; absent where the engine has none.
    pub images: BTreeMap<String, SeenImage>,
    pub networks: Vec<NetworkView>,
    pub volumes: Vec<VolumeView>,
    /// Service → its environment as far as it can be read here.
    pub inputs: BTreeMap<String, Inputs>,
    /// Bind sources that are not on the engine's host, as far as that was looked at.
    pub missing_sources: BTreeSet<String>,
    /// Service → whether its GPUs are to be had, as far as that was tried.
    pub gpus: BTreeMap<String, Gpus>,
    /// Wanted ports of the host that something else than a container holds.
    pub held_ports: Vec<HeldPort>,
    /// Service → what PostgreSQL's data folder, which it is to work on, says.
    pub data_folders: BTreeMap<String, DataFolder>,
    /// Whether ports and folders of the engine's host were not looked at, because it is another machine's.
    pub is_host_unseen: bool,
}

impl Snapshot {
    /// A service's containers of one role, by number.
    pub fn of_service<'s, 'n>(&'s self, service: &'n str, role: Role) -> impl Iterator<Item = &'s Seen> + use<'s, 'n> {
        self.containers.iter().filter(move |seen| seen.service == service && seen.role == role)
    }

    /// A service's container that serves under this number.
    pub fn main(&self, service: &str, number: u32) -> Option<&Seen> {
        self.of_service(service, Role::Main).find(|seen| seen.number == number)
    }

    /// Whether a container of the service is up.
    pub fn runs(&self, service: &str) -> bool {
        self.of_service(service, Role::Main).any(Seen::is_up)
    }

    /// Whether the GPUs that a service asks for are to be had.
    pub fn gpus_of(&self, service: &str) -> Gpus {
        self.gpus.get(service).copied().unwrap_or_default()
    }

    /// A container that dpl did not make, under the name of this service's container.
    pub fn namesake(&self, service: &str, number: u32) -> Option<&Seen> {
        self.namesakes.iter().find(|seen| seen.service == service && seen.number == number)
    }

    pub fn image(&self, reference: &Reference) -> Option<&SeenImage> {
        self.images.get(&reference.to_string())
    }

    pub fn network(&self, name: &str) -> Option<&NetworkView> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub fn volume(&self, name: &str) -> Option<&VolumeView> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// Containers of services that the manifest no longer names.
    pub fn orphans<'s>(&'s self, manifest: &'s Manifest) -> impl Iterator<Item = &'s Seen> {
        self.containers.iter().filter(|seen| manifest.services.get(&seen.service).is_none())
    }
}

/// Looks at everything once.
pub async fn observe(engine: &Engine, manifest: &Manifest) -> Result<Snapshot, ServicesError> {
    look(engine, manifest).await.map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })
}

async fn look(engine: &Engine, manifest: &Manifest) -> Result<Snapshot, EngineError> {
    // What the engine is takes it as long to say as all the rest.
    let (facts, snapshot) = futures::try_join!(engine.facts(), look_at_all(engine, manifest))?;
    let engine = EngineTraits { limits: facts.limits, ..snapshot.engine };
    Ok(Snapshot { engine, ..snapshot })
}

/// All but the engine itself.
async fn look_at_all(engine: &Engine, manifest: &Manifest) -> Result<Snapshot, EngineError> {
    let (summaries, tags, networks, volumes) = futures::try_join!(
        engine.list_container_summaries(),
        engine.list_image_tags(),
        engine.list_networks(),
        engine.list_volumes()
    )?;
    let names = container_names(manifest);
    // One that was taken over has none of our labels; the name under which it is kept aside is ours.
    let kept_for = |summary: &ContainerSummary| {
        let stem = Role::Kept.stem(&summary.name);
        let is_kept = stem != summary.name && !summary.labels.contains_key(labels::PROJECT);
        names.get(stem).filter(|_| is_kept).cloned()
    };
    let (ours, others): (Vec<_>, Vec<_>) = summaries
        .into_iter()
        .partition(|summary| labels::are_of(&summary.labels, &manifest.project) || kept_for(summary).is_some());
    let namesakes: Vec<(&ContainerSummary, &(String, u32))> = others
        .iter()
        .filter(|summary| !summary.labels.contains_key(labels::PROJECT))
        .filter_map(|summary| Some((summary, names.get(&summary.name)?)))
        .collect();
    let (views, namesake_views) = futures::try_join!(
        try_join_all(ours.iter().map(|summary| engine.inspect_container(&summary.id))),
        try_join_all(namesakes.iter().map(|(summary, _)| engine.inspect_container(&summary.id)))
    )?;
    // One that is gone between the list and its inspect is simply gone.
    let containers: Vec<Seen> =
        ours.iter().zip(views).filter_map(|(summary, view)| Some(seen(view?, kept_for(summary)))).collect();
    let namesakes: Vec<Seen> = namesakes
        .into_iter()
        .zip(namesake_views)
        .filter_map(|((_, place), view)| Some(seen(view?, Some(place.clone()))))
        .collect();

    let ids: BTreeMap<String, String> = tags.into_iter().collect();
    let images = look_at_images(engine, manifest, &containers, &ids).await?;
    let is_local = engine.address().is_local();
    Ok(Snapshot {
        engine: EngineTraits { api: engine.api().numbers(), is_local, ..EngineTraits::default() },
        containers,
        strangers: others.into_iter().map(stranger).collect(),
        namesakes,
        images,
        networks,
        volumes,
        inputs: manifest.services.iter().map(|(_, name, service)| (name.to_owned(), Inputs::read(service))).collect(),
        missing_sources: if is_local { missing_sources(manifest) } else { BTreeSet::new() },
        is_host_unseen: !is_local,
        ..Snapshot::default()
    })
}

/// The names that the manifest's containers are to have → service and number.
fn container_names(manifest: &Manifest) -> BTreeMap<String, (String, u32)> {
    let places = manifest.services.iter().flat_map(|(_, name, service)| {
        (1..=service.replicas()).map(move |number| (manifest.container_name(name, number), (name.to_owned(), number)))
    });
    places.collect()
}

/// `place`: service and number, where no label says them.
fn seen(view: ContainerView, place: Option<(String, u32)>) -> Seen {
    let (service, number) = place.unwrap_or_else(|| {
        let service = view.labels.get(labels::SERVICE).cloned().unwrap_or_default();
        (service, labels::number(&view.labels))
    });
    Seen { service, number, role: Role::of_name(&view.name), view }
}

fn stranger(summary: ContainerSummary) -> Stranger {
    Stranger {
        project: summary.labels.get(labels::PROJECT).cloned(),
        helper_of: summary.labels.get(labels::PROBE).cloned(),
        id: summary.id,
        name: summary.name,
        published: summary.published,
        addresses: summary.addresses,
    }
}

/// The images that the manifest names. One that a container of its service runs already tells all that a plan needs
/// through that container; only the others are inspected.
async fn look_at_images(
    engine: &Engine,
    manifest: &Manifest,
    containers: &[Seen],
    ids: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, SeenImage>, EngineError> {
    let mut known = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (_, name, service) in manifest.services.iter() {
        let reference = service.image.to_string();
        // The list knows tags only; a reference by digest is asked for by itself.
        let id = ids.get(&reference);
        if id.is_none() && service.image.digest().is_none() {
            continue;
        }
        let running = containers
            .iter()
            .find(|seen| seen.service == name && Some(&seen.view.image_id) == id && service.healthcheck.is_none());
        match running {
            Some(seen) => {
                let image = SeenImage {
                    id: seen.view.image_id.clone(),
                    has_healthcheck: seen.view.has_healthcheck,
                    volumes: seen.view.declared_volumes.clone(),
                    postgres: postgres(&seen.view.environment.0),
                    same_as: BTreeSet::new(),
                };
                known.insert(reference, image);
            }
            None => {
                unknown.insert(reference);
            }
        }
    }
    unknown.retain(|reference| !known.contains_key(reference));
    let asked =
        try_join_all(unknown.iter().map(|reference| look_at_image(engine, reference, reference, manifest, containers)))
            .await?;
    known.extend(unknown.into_iter().zip(asked).filter_map(|(reference, image)| Some((reference, image?))));
    Ok(known)
}

impl Snapshot {
    /// Lets the snapshot show a reference as the name of an image that the engine does not have yet. What the image
    /// declares is taken to be what the present one does.
    pub fn suppose_loaded(&mut self, reference: &str, id: String) {
        let image = self.images.entry(reference.to_owned()).or_default();
        *image = SeenImage { id, same_as: BTreeSet::new(), ..std::mem::take(image) };
    }
}

/// Lets a snapshot show a reference as the name of another image, as it will be once the name has moved there; `false`
/// where the engine has no such image.
pub async fn suppose_image(
    engine: &Engine,
    manifest: &Manifest,
    snapshot: &mut Snapshot,
    reference: &str,
    id: &str,
) -> Result<bool, ServicesError> {
    let image = look_at_image(engine, id, reference, manifest, &snapshot.containers)
        .await
        .map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })?;
    let is_there = image.is_some();
    if let Some(image) = image {
        snapshot.images.insert(reference.to_owned(), image);
    }
    Ok(is_there)
}

/// The image `name`, which is or is to be `reference`'s.
async fn look_at_image(
    engine: &Engine,
    name: &str,
    reference: &str,
    manifest: &Manifest,
    containers: &[Seen],
) -> Result<Option<SeenImage>, EngineError> {
    let Some(image) = engine.inspect_image(name).await? else {
        return Ok(None);
    };
    let mut same_as = BTreeSet::new();
    if engine.image_store().await? == ImageStore::Containerd {
        // There the ID is the manifest's digest, and one image can come in several manifests: its configuration and
        // its layers tell.
        let used: BTreeSet<&str> = containers
            .iter()
            .filter(|seen| {
                manifest.services.get(&seen.service).is_some_and(|service| service.image.to_string() == reference)
            })
            .map(|seen| seen.view.image_id.as_str())
            .filter(|id| *id != image.id)
            .collect();
        let others = future::join_all(used.iter().map(|id| engine.inspect_image(id))).await;
        for (id, other) in used.into_iter().zip(others) {
            if other?.is_some_and(|other| other.diff_ids == image.diff_ids && other.config == image.config) {
                same_as.insert(id.to_owned());
            }
        }
    }
    let environment = image.config["Env"].as_array().into_iter().flatten().filter_map(|pair| pair.as_str());
    let environment: BTreeMap<String, String> = environment
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(Some(SeenImage {
        id: image.id,
        has_healthcheck: image.has_healthcheck,
        volumes: image.volumes,
        postgres: postgres(&environment),
        same_as,
    }))
}

fn postgres(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let wanted = ["PG_MAJOR", "PGDATA"];
    let set = wanted.into_iter().filter_map(|name| Some((name.to_owned(), environment.get(name)?.clone())));
    set.collect()
}

fn missing_sources(manifest: &Manifest) -> BTreeSet<String> {
    manifest
        .services
        .iter()
        .flat_map(|(_, _, service)| &service.volumes)
        .filter(|mount| mount.kind == MountKind::Bind)
        .filter_map(|mount| mount.source.clone())
        .filter(|source| !std::path::Path::new(source).exists())
        .collect()
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
