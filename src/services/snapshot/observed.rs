//! What a look at the engine gives: containers with the parts that they play, images, networks, volumes.

use std::collections::{BTreeMap, BTreeSet};

use super::host::{DataFolder, HeldPort};
use super::sources::Sources;
use crate::engine::{
    ContainerState, ContainerView, HealthState, HealthTimes, LimitSupport, MountView, NetworkView, PublishedPort,
    RestartPolicy, VolumeView,
};
use crate::manifest::Manifest;
use crate::manifest::model::Reference;
use crate::report::Message;
use crate::services::container::environment::Inputs;
use crate::services::container::fingerprint::Fingerprint;
use crate::services::container::labels;

/// Whether the engine can give a service the GPUs that it asks for. Only a try tells ([`super::Snapshot::take`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gpus {
    #[default]
    Unknown,
    Present,
    /// Those that are required, and not the others.
    RequiredOnly,
    Absent,
}

/// What a container is for, which its name tells: labels never change.
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

    pub(in crate::services) fn of_name(name: &str) -> Self {
        [Self::Kept, Self::Next, Self::Failed]
            .into_iter()
            .find(|role| name.ends_with(role.suffix()))
            .unwrap_or(Self::Main)
    }

    /// A name without what this part appends.
    pub(super) fn stem(self, name: &str) -> &str {
        name.strip_suffix(self.suffix()).unwrap_or(name)
    }
}

/// A container of the project.
#[derive(Debug, Clone)]
pub struct ObservedContainer {
    pub service: String,
    /// Which of the service's containers, from 1.
    pub number: u32,
    pub role: Role,
    pub view: ContainerView,
}

impl ObservedContainer {
    /// Whether its processes live, or are brought back by the engine.
    pub fn is_up(&self) -> bool {
        is_up(self.view.state)
    }

    /// Whether it has ever run; the engine's moment that never was is the year 1.
    pub fn has_run(&self) -> bool {
        !self.view.started_at.is_empty() && !self.view.started_at.starts_with("0001-")
    }

    /// Whether it has run with this bind source.
    pub fn has_mounted(&self, source: &str) -> bool {
        self.has_run() && self.view.mounts.iter().any(|mount| mount.kind == "bind" && mount.source == source)
    }

    /// Whether it has ended well and the engine does not start it again.
    pub fn is_done_job(&self) -> bool {
        self.view.state == ContainerState::Exited && ends_as_job(&self.view)
    }

    /// The variables that it was given, with their values.
    pub fn given_environment(&self) -> BTreeMap<String, String> {
        let made = self.view.labels.get(labels::FINGERPRINT).and_then(|label| Fingerprint::parse(label));
        let names = made.map(|made| made.variables().clone()).unwrap_or_default();
        let actual = &self.view.environment.0;
        names.into_iter().filter_map(|name| Some((name.clone(), actual.get(&name)?.clone()))).collect()
    }

    /// Ports of the host that it holds now.
    pub fn held_ports(&self) -> &[PublishedPort] {
        if self.is_up() { &self.view.published } else { &[] }
    }

    /// Whether it serves, as far as the engine knows.
    pub fn is_well(&self) -> bool {
        self.view.state == ContainerState::Running
            && matches!(self.view.health, HealthState::None | HealthState::Healthy)
    }
}

/// Whether a container that ended by itself did so well, and for good.
pub(in crate::services) fn ends_as_job(view: &ContainerView) -> bool {
    view.exit_code == 0 && matches!(view.restart, RestartPolicy::No | RestartPolicy::OnFailure(_))
}

/// Running, paused or about to be started again.
pub(in crate::services) fn is_up(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
}

/// A container that is not of this project.
#[derive(Debug, Clone, Default)]
pub struct ForeignContainer {
    pub id: String,
    pub name: String,
    pub state: ContainerState,
    /// Looked at only where it is down and uses data of ours.
    pub restart: RestartPolicy,
    pub mounts: Vec<MountView>,
    /// Ports of the host that it holds.
    pub published: Vec<PublishedPort>,
    /// Network name → its address there.
    pub addresses: BTreeMap<String, String>,
    /// The project of dpl's that it belongs to.
    pub project: Option<String>,
    /// The project for which another run of dpl made it, to be thrown away.
    pub helper_of: Option<String>,
}

/// How it stands with a container whose namespace is to be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// One of the project's, which the same plan may start.
    Ours,
    Up,
    Down,
    Gone,
}

/// What a plan needs to know of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedImage {
    pub id: String,
    /// The health check that containers of it have without asking for one.
    pub healthcheck: Option<HealthTimes>,
    /// Paths that it declares as volumes.
    pub volumes: Vec<String>,
    /// What it sets in the environment that tells a PostgreSQL: `PG_MAJOR`, `PGDATA`.
    pub postgres: BTreeMap<String, String>,
    /// Other IDs under which the same image is in use: the containerd store gives one image several.
    pub same_as: BTreeSet<String>,
    /// As images name it (`amd64`); empty where it was not looked at, since a container of it runs.
    pub architecture: String,
    /// Whether there is no other platform's under the name, as far as that is known: the containerd store may have several.
    pub has_one_platform: bool,
}

/// What the engine is, as far as a plan depends on it.
#[derive(Debug, Clone, Default)]
pub struct EngineTraits {
    pub api: (u32, u32),
    /// Its machine's, as images name it.
    pub architecture: String,
    /// Whether it shares this machine's files and ports.
    pub is_local: bool,
    pub limits: LimitSupport,
    /// How many processors its machine has; 0 where it does not say.
    pub cpus: u64,
    /// The runtimes that it is configured with; empty where it does not say.
    pub runtimes: Vec<String>,
}

impl EngineTraits {
    /// Whether a container with this runtime could not even be created. Names of containerd's shims and paths of programs
    /// need no configuration (moby, `isPermissibleC8dRuntimeName`).
    pub fn lacks_runtime(&self, runtime: &str) -> bool {
        let needs_none = runtime.starts_with("io.containerd.") || runtime.starts_with('/');
        !self.runtimes.is_empty() && !needs_none && self.runtimes.iter().all(|known| known != runtime)
    }
}

/// What is there.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub engine: EngineTraits,
    /// The project's containers, also those of services that the manifest doesn't name.
    pub containers: Vec<ObservedContainer>,
    pub foreign_containers: Vec<ForeignContainer>,
    /// Those of them that have a name which a container of ours is to have, and are no other project's.
    pub namesakes: Vec<ObservedContainer>,
    /// Containers whose namespaces services share by name (`network_mode: container:NAME`).
    pub providers: BTreeMap<String, ContainerView>,
    /// Reference → the image that it names now; absent where the engine has none.
    pub images: BTreeMap<String, ObservedImage>,
    pub networks: Vec<NetworkView>,
    pub volumes: Vec<VolumeView>,
    /// Service → its environment as far as it can be read here.
    pub inputs: BTreeMap<String, Inputs>,
    /// Bind sources that are not on the engine's host, as far as that was looked at.
    pub missing_sources: BTreeSet<String>,
    /// Devices of the manifest that are not on the engine's host, likewise.
    pub missing_devices: BTreeSet<String>,
    /// What mounted folders are on the engine's host.
    pub sources: Sources,
    /// Service → whether its GPUs are to be had, as far as that was tried.
    pub gpus: BTreeMap<String, Gpus>,
    /// Wanted ports of the host that something else than a container holds.
    pub held_ports: Vec<HeldPort>,
    /// Whether a container can publish a port now; `None` where that was not tried.
    pub publishes_ports: Option<bool>,
    /// Service → what PostgreSQL's data folder, which it is to work on, says.
    pub data_folders: BTreeMap<String, DataFolder>,
    /// Services that other manifests of the project name. Looked at only where a container's service is not the
    /// manifest's.
    pub named_elsewhere: BTreeSet<String>,
    /// Why that is not known: a manifest that can't be read.
    pub unread_manifest: Option<Message>,
    /// `HOST:FOLDER` of every other folder that containers of the project were created from → when the last of them was, in
    /// seconds since 1970.
    pub other_folders: BTreeMap<String, i64>,
    /// Volume → the services of any manifest in the folder that mount it, behind `PROJECT/` where that is another one.
    /// Looked at only before volumes are removed.
    pub volume_users: BTreeMap<String, BTreeSet<String>>,
    /// Why they are not known.
    pub volume_users_unknown: Option<Message>,
    /// Whether ports and folders of the engine's host were not looked at, because it is another machine's.
    pub is_host_unseen: bool,
    /// Whether ports that are wanted were not looked at, because the engine of this machine has a network of its own.
    pub are_ports_unseen: bool,
}

impl Observed {
    /// A service's containers of one role, by number.
    pub fn of_service<'s, 'n>(
        &'s self,
        service: &'n str,
        role: Role,
    ) -> impl Iterator<Item = &'s ObservedContainer> + use<'s, 'n> {
        self.containers.iter().filter(move |seen| seen.service == service && seen.role == role)
    }

    /// A service's container that serves under this number.
    pub fn main(&self, service: &str, number: u32) -> Option<&ObservedContainer> {
        self.of_service(service, Role::Main).find(|seen| seen.number == number)
    }

    /// Whether a container of the service is up.
    pub fn runs(&self, service: &str) -> bool {
        self.of_service(service, Role::Main).any(ObservedContainer::is_up)
    }

    /// The names of a service's containers that run and do not stand still.
    pub fn running_containers(&self, service: &str) -> Vec<String> {
        let running = |seen: &&ObservedContainer| seen.view.state == ContainerState::Running;
        self.of_service(service, Role::Main).filter(running).map(|seen| seen.view.name.clone()).collect()
    }

    /// Whether the GPUs that a service asks for are to be had.
    pub fn gpus_of(&self, service: &str) -> Gpus {
        self.gpus.get(service).copied().unwrap_or_default()
    }

    /// A container that dpl did not make, under the name of this service's container.
    pub fn namesake(&self, service: &str, number: u32) -> Option<&ObservedContainer> {
        self.namesakes.iter().find(|seen| seen.service == service && seen.number == number)
    }

    /// How it stands with a container that a service names for a namespace, by its name or ID.
    pub fn provider(&self, wanted: &str) -> Provider {
        let is_it = |id: &str, name: &str| name == wanted || (wanted.len() >= 12 && id.starts_with(wanted));
        if self.containers.iter().any(|seen| is_it(&seen.view.id, &seen.view.name)) {
            return Provider::Ours;
        }
        match self.foreign_containers.iter().find(|foreign| is_it(&foreign.id, &foreign.name)) {
            Some(foreign) if is_up(foreign.state) => Provider::Up,
            Some(_) => Provider::Down,
            // One that came after the list was made.
            None if self.providers.contains_key(wanted) => Provider::Up,
            None => Provider::Gone,
        }
    }

    pub fn image(&self, reference: &Reference) -> Option<&ObservedImage> {
        self.images.get(&reference.to_string())
    }

    pub fn network(&self, name: &str) -> Option<&NetworkView> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub fn volume(&self, name: &str) -> Option<&VolumeView> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// Containers of services that no manifest of the project names. Those of a manifest that can't be read are among
    /// them: look at [`Self::unread_manifest`] before removing any.
    pub fn orphans<'s>(&'s self, manifest: &'s Manifest) -> impl Iterator<Item = &'s ObservedContainer> {
        let is_named = |name: &str| manifest.services.get(name).is_some() || self.named_elsewhere.contains(name);
        self.containers.iter().filter(move |seen| !is_named(&seen.service))
    }
}
