//! What stands in the way of a project on its engine, or will one day; for `doctor`.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Engine, runs_natively};
use crate::manifest::model::MountKind;
use crate::manifest::{Manifest, Variables, volumes_beside};
use crate::services::container::labels;
use crate::services::container::ports::collide;
use crate::services::error::{Problem, ServicesError};
use crate::services::plan::carry::carried;
use crate::services::plan::plan;
use crate::services::request::{Action, Options, Recreate, Request};
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::host::Holder;
use crate::services::snapshot::observed::{Gpus, Observed, Role};
use crate::services::snapshot::{Depth, Snapshot};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Examination {
    /// `None` where no service asks for a GPU.
    pub gpus: Option<Gpus>,
    /// Whether a service can't do without.
    pub gpu_is_required: bool,
    /// Service, port, and who holds it.
    pub ports: Vec<(String, String, PortHolder)>,
    /// Containers whose logs grow without a limit.
    pub endless_logs: Vec<String>,
    /// Service and folder; whether it is made when the service starts.
    pub missing_sources: Vec<(String, String, bool)>,
    /// Data that another container writes to as well, or another service, as a plan would tell.
    pub shared_data: Vec<Problem>,
    /// Networks, volumes and containers with a namespace to share that are missing, another project's, or not as the manifest
    /// has them; likewise.
    pub resources: Vec<Problem>,
    /// Containers of services that the manifest doesn't name.
    pub orphans: Vec<String>,
    /// Containers that dpl did not make, under names that the manifest's are to have.
    pub namesakes: Vec<String>,
    /// Names that two networks have.
    pub double_networks: Vec<String>,
    /// Whether a container can publish a port; `None` where that could not be tried.
    pub publishes_ports: Option<bool>,
    /// Volumes of the project that no container uses and no manifest names.
    pub dangling_volumes: Vec<String>,
    /// Anonymous volumes that a new container of their service would not get, as `container:path`.
    pub left_volumes: Vec<String>,
    /// Containers that an action left behind, kept for a look or cut off.
    pub leftovers: Vec<String>,
    /// Runtimes that the engine does not have, by name the services that ask for them.
    pub missing_runtimes: BTreeMap<String, BTreeSet<String>>,
    /// Those that it has.
    pub runtimes: Vec<String>,
    /// Limits of the manifest that this host's kernel can't hold.
    pub unheld_limits: BTreeSet<&'static str>,
    /// The engine's machine, and by architecture the images for others that no container runs.
    pub machine: String,
    pub other_architectures: BTreeMap<String, BTreeSet<String>>,
}

/// Who holds a port, or why it can't be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    Container(String),
    Other(Holder),
}

/// Looks at all of that. Tries the GPU with a throw-away container, where a service asks for one.
pub async fn examine(engine: &Engine, manifest: &Manifest) -> Result<Examination, ServicesError> {
    let all: Vec<String> = manifest.services.names().map(str::to_owned).collect();
    // As if everything were recreated, so that everything is looked at.
    let options = Options { recreate: Recreate::All, ..Options::default() };
    let request = Request { action: Action::Start, selection: all, options };
    let snapshot = Snapshot::take(engine, manifest, &request, Depth::WithHelpers).await?;
    let services = || manifest.services.iter();
    // What lacks its runtime gets no GPU either way.
    let lacks_runtime = |runtime: &String| snapshot.engine.lacks_runtime(runtime);
    let wants_gpu =
        services().any(|(_, _, service)| service.wants_gpu() && !service.runtime.as_ref().is_some_and(lacks_runtime));
    let obstacles = obstacles(manifest, &request, &snapshot);
    // In the place of data that were there nothing is made.
    let is_refused = |name: &str, source: &str| {
        obstacles.iter().any(|problem| match problem {
            Problem::SourceVanished { service, path, .. } | Problem::SourceMoved { service, path, .. } => {
                service == name && path == source
            }
            _ => false,
        })
    };
    Ok(Examination {
        gpus: wants_gpu.then(|| worst(snapshot.gpus.values().copied())),
        gpu_is_required: services().any(|(_, _, service)| service.gpus.iter().any(|gpu| gpu.required)),
        ports: ports(manifest, &snapshot),
        endless_logs: endless_logs(&snapshot),
        missing_sources: services()
            .flat_map(|(_, name, service)| service.volumes.iter().map(move |mount| (name, mount)))
            .filter(|(_, mount)| mount.kind == MountKind::Bind)
            .filter_map(|(name, mount)| {
                let source = mount.source.clone().filter(|source| snapshot.missing_sources.contains(source))?;
                let is_made = mount.bind.create_host_path && !is_refused(name, &source);
                Some((name.to_owned(), source, is_made))
            })
            .collect(),
        shared_data: obstacles.iter().filter(|problem| is_of_data(problem)).cloned().collect(),
        resources: obstacles.into_iter().filter(is_of_resources).collect(),
        orphans: snapshot.orphans(manifest).map(|seen| seen.view.name.clone()).collect(),
        namesakes: snapshot.namesakes.iter().map(|seen| seen.view.name.clone()).collect(),
        double_networks: double_networks(manifest, &snapshot),
        publishes_ports: publishes_ports(engine, manifest, &snapshot).await,
        dangling_volumes: dangling_volumes(manifest, &snapshot),
        left_volumes: left_volumes(manifest, &snapshot),
        leftovers: leftovers(engine, manifest, &snapshot).await?,
        missing_runtimes: missing_runtimes(manifest, &snapshot),
        runtimes: snapshot.engine.runtimes.clone(),
        unheld_limits: unheld_limits(manifest, &snapshot),
        machine: snapshot.engine.architecture.clone(),
        other_architectures: other_architectures(&snapshot),
    })
}

/// What stands in the way of a start of everything.
fn obstacles(manifest: &Manifest, request: &Request, snapshot: &Snapshot) -> Vec<Problem> {
    match plan(request, manifest, snapshot) {
        Err(ServicesError::Problems(problems)) => problems,
        _ => Vec::new(),
    }
}

fn is_of_data(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::DataInUse { .. }
            | Problem::DataOfOrphan { .. }
            | Problem::DataOfReturning { .. }
            | Problem::DatabaseShared { .. }
    )
}

fn is_of_resources(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::NetworkDiffers { .. }
            | Problem::NetworkMissing { .. }
            | Problem::NetworkNotOurs { .. }
            | Problem::SubnetTaken { .. }
            | Problem::NamespaceMissing { .. }
            | Problem::NamespaceDown { .. }
            | Problem::VolumeDiffers { .. }
            | Problem::VolumeMissing { .. }
    )
}

fn other_architectures(snapshot: &Observed) -> BTreeMap<String, BTreeSet<String>> {
    let mut others: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // What a container was made of has been told.
    let is_used = |id: &str| snapshot.containers.iter().any(|seen| seen.view.image_id == id);
    for (reference, image) in snapshot.images.iter().filter(|(_, image)| !is_used(&image.id)) {
        if !runs_natively(&image.architecture, &snapshot.engine.architecture) {
            others.entry(image.architecture.clone()).or_default().insert(reference.clone());
        }
    }
    others
}

/// Containers beside those that serve, and throw-away ones that a killed run had no time to throw away.
async fn leftovers(engine: &Engine, manifest: &Manifest, snapshot: &Observed) -> Result<Vec<String>, ServicesError> {
    let aside = snapshot
        .containers
        .iter()
        .filter(|seen| seen.role != Role::Main && manifest.services.get(&seen.service).is_some())
        .map(|seen| seen.view.name.clone());
    let helpers =
        snapshot.foreign_containers.iter().filter(|foreign| foreign.helper_of.as_ref() == Some(&manifest.project));
    let mut left: Vec<String> = aside.collect();
    for helper in helpers {
        // A survey that needed helpers of its own has thrown them away.
        let there = engine.inspect_container(&helper.id).await;
        let there = there.map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })?;
        left.extend(there.map(|view| view.name));
    }
    Ok(left)
}

/// Volumes that dpl made for the project, of which nobody makes use any more: their data may be all that is left of a
/// service. Without the other manifests of the project nothing can be said.
fn dangling_volumes(manifest: &Manifest, snapshot: &Observed) -> Vec<String> {
    let used: BTreeSet<&String> = snapshot
        .containers
        .iter()
        .flat_map(|seen| &seen.view.mounts)
        .chain(snapshot.foreign_containers.iter().flat_map(|other| &other.mounts))
        .filter_map(|mount| mount.name.as_ref())
        .collect();
    let is_ours = |volume: &&crate::engine::VolumeView| labels::are_of(&volume.labels, &manifest.project);
    let ours = snapshot.volumes.iter().filter(is_ours).filter(|volume| !used.contains(&volume.name)).peekable();
    let mut ours = ours;
    if ours.peek().is_none() {
        return Vec::new();
    }
    let Ok(named) = volumes_beside(manifest, &Variables::of_process()) else {
        return Vec::new();
    };
    ours.map(|volume| volume.name.clone()).filter(|name| !named.contains(name)).collect()
}

/// Data that does not follow its service: neither the manifest nor the image that it names has a volume at that path any more.
/// What an image declares that the engine lacks is not known.
fn left_volumes(manifest: &Manifest, snapshot: &Observed) -> Vec<String> {
    let mains = snapshot.containers.iter().filter(|seen| seen.role == Role::Main);
    let left = mains.filter_map(|seen| {
        let service = manifest.services.get(&seen.service)?;
        let image = snapshot.image(&service.image)?;
        let left = carried(service, seen, &image.volumes).left;
        Some(left.into_iter().map(move |(path, _)| format!("{}:{path}", seen.view.name)))
    });
    left.flatten().collect()
}

/// Names of the manifest's networks that the engine has twice: then it starts no container that names it.
fn double_networks(manifest: &Manifest, snapshot: &Observed) -> Vec<String> {
    let keys: BTreeSet<&str> = manifest.services.iter().flat_map(|(_, _, service)| service.network_keys()).collect();
    let names = keys.into_iter().map(|key| manifest.network_name(key));
    names.filter(|name| snapshot.networks.iter().filter(|network| network.name == *name).count() > 1).collect()
}

/// Tries it, where a service publishes a port: with the host's packet filter emptied behind the engine's back, every
/// start of such a container fails.
async fn publishes_ports(engine: &Engine, manifest: &Manifest, snapshot: &Observed) -> Option<bool> {
    if snapshot.publishes_ports.is_some() {
        return snapshot.publishes_ports;
    }
    manifest.services.iter().find(|(_, _, service)| service.ports.iter().any(|port| port.published.is_some()))?;
    let images = manifest.services.iter().filter_map(|(_, _, service)| snapshot.image(&service.image));
    let image = images.map(|image| image.id.clone()).next()?;
    let helpers = Helpers::new(engine, &manifest.project, &[]);
    helpers.publishes_a_port(&image).await.ok().flatten()
}

/// What is to be said of all services that want GPUs together.
fn worst(gpus: impl Iterator<Item = Gpus>) -> Gpus {
    let severity = |gpus: &Gpus| match gpus {
        Gpus::Unknown => 0,
        Gpus::Present => 1,
        Gpus::RequiredOnly => 2,
        Gpus::Absent => 3,
    };
    gpus.max_by_key(severity).unwrap_or_default()
}

/// Ports that the manifest publishes and somebody else holds: another container, or another program of the host.
fn ports(manifest: &Manifest, snapshot: &Observed) -> Vec<(String, String, PortHolder)> {
    let mut found = Vec::new();
    for (_, name, service) in manifest.services.iter() {
        for port in &service.ports {
            let Some(published) = port.single_port() else {
                continue;
            };
            let shown = format!("{published}/{}", port.protocol.word());
            let is_it = |held: &&crate::services::snapshot::host::HeldPort| {
                held.port == published && held.protocol == port.protocol && held.host_ip == port.host_ip
            };
            let clashes = |foreign: &&crate::services::snapshot::observed::ForeignContainer| {
                foreign.published.iter().any(|held| collide(port, held))
            };
            if let Some(holder) = snapshot.foreign_containers.iter().find(clashes) {
                found.push((name.to_owned(), shown, PortHolder::Container(holder.name.clone())));
            } else if let Some(held) = snapshot.held_ports.iter().find(is_it) {
                found.push((name.to_owned(), shown, PortHolder::Other(held.by.clone())));
            }
        }
    }
    found
}

/// `json-file` keeps everything unless it is told a size; `local` has a limit of its own, and the others keep nothing here.
fn endless_logs(snapshot: &Observed) -> Vec<String> {
    let is_endless = |driver: &str, size: Option<&String>| {
        driver == "json-file" && size.is_none_or(|size| matches!(size.as_str(), "" | "-1"))
    };
    let views = snapshot.containers.iter().map(|seen| &seen.view);
    views
        .filter(|view| is_endless(&view.log_driver, view.log_options.get("max-size")))
        .map(|view| view.name.clone())
        .collect()
}

fn missing_runtimes(manifest: &Manifest, snapshot: &Observed) -> BTreeMap<String, BTreeSet<String>> {
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, name, service) in manifest.services.iter() {
        if let Some(runtime) = service.runtime.as_ref().filter(|runtime| snapshot.engine.lacks_runtime(runtime)) {
            missing.entry(runtime.clone()).or_default().insert(name.to_owned());
        }
    }
    missing
}

fn unheld_limits(manifest: &Manifest, snapshot: &Observed) -> BTreeSet<&'static str> {
    let holds = snapshot.engine.limits;
    let services = || manifest.services.iter().map(|(_, _, service)| service);
    let checks = [
        ("mem_limit", !holds.memory && services().any(|service| service.mem_limit.is_some())),
        ("cpus", !holds.cpus && services().any(|service| service.cpus.is_some())),
        ("cpuset", !holds.cpuset && services().any(|service| service.cpuset.is_some())),
        ("pids_limit", !holds.pids && services().any(|service| service.pids_limit.is_some())),
    ];
    checks.into_iter().filter(|(_, unheld)| *unheld).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
