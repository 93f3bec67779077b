//! What can be known to fail before anything is touched: all of it, at once.

mod addresses;
mod data_owners;
mod ports;
mod resources;

pub(super) use ports::freed_by;

use super::builder::Builder;
use super::cause::Warning;
use super::converge::{ServicePlan, has_no_check};
use super::decide::Decision;
use super::replica::Replica;
use super::{Namesakes, PlanInput, Recreate};
use crate::engine::{image_architecture, runs_natively};
use crate::manifest::model::{Condition, Device, MountKind, NamespaceMode, ReadyProbe};
use crate::services::container::environment::Inputs;
use crate::services::container::fingerprint::Fingerprint;
use crate::services::container::labels;
use crate::services::error::{Problem, in_one_line};
use crate::services::request::FailedContainers;
use crate::services::snapshot::drift;
use crate::services::snapshot::observed::{Gpus, ObservedContainer, Provider, Role};

/// Problems of a plan, by service; what is merely worth knowing becomes a warning.
pub(super) fn check(input: &PlanInput, service_plans: &[ServicePlan], builder: &mut Builder) -> Vec<Problem> {
    let mut problems = Vec::new();
    for service_plan in service_plans.iter().filter(|service_plan| service_plan.starts()) {
        let check = Check { input, service_plan };
        if service_plan.makes_a_container() {
            problems.extend(check.image());
            problems.extend(check.platform());
            check.warn_of_architecture(builder);
            problems.extend(check.inputs());
            problems.extend(check.names());
            problems.extend(check.gpus());
            problems.extend(check.age());
            problems.extend(check.cpus());
            problems.extend(check.data_folder());
        }
        problems.extend(check.namespaces());
        problems.extend(check.runtime());
        problems.extend(check.log());
        problems.extend(check.health_of_others());
        problems.extend(data_owners::of(input, service_plan));
        problems.extend(check.sources(builder));
        problems.extend(check.devices());
        problems.extend(ports::of(input, service_plans, service_plan));
        problems.extend(addresses::of(input, service_plans, service_plan));
        if input.snapshot.is_host_unseen && service_plan.service.has_host_needs() {
            builder.warn(Warning::HostUnseen);
        }
        if input.snapshot.are_ports_unseen && service_plan.service.ports.iter().any(|port| port.published.is_some()) {
            builder.warn(Warning::PortsUnseen);
        }
    }
    let publishes =
        |plan: &ServicePlan| plan.starts() && plan.service.ports.iter().any(|port| port.published.is_some());
    if input.snapshot.publishes_ports == Some(false) && service_plans.iter().any(publishes) {
        problems.push(Problem::NoPortsPublished);
    }
    for service_plan in service_plans.iter().filter(|service_plan| service_plan.is_chosen) {
        warn_of_incomparable(service_plan, builder);
        warn_of_replaced_files(input, service_plan, builder);
        warn_of_unreadable(input, service_plan, builder);
    }
    problems.extend(resources::networks(input, service_plans));
    problems.extend(resources::volumes(input, service_plans));
    problems
}

/// Where a new container is made, an environment that can't be read is a problem. One that stays may differ, and nobody knows.
fn warn_of_unreadable(input: &PlanInput, service_plan: &ServicePlan, builder: &mut Builder) {
    let stays = |(replica, decision): &(Replica, Decision)| replica.main.is_some() && !decision.makes_a_container();
    if !service_plan.replicas.iter().any(stays) {
        return;
    }
    for error in input.snapshot.inputs.get(service_plan.name).map(Inputs::errors).unwrap_or_default() {
        let (service, why) = (service_plan.name.to_owned(), in_one_line(error));
        builder.warn(Warning::EnvironmentUnreadable { service, why });
    }
}

/// Fields that another version of dpl has hashed can't be compared: what is changed in the manifest stays unseen.
fn warn_of_incomparable(service_plan: &ServicePlan, builder: &mut Builder) {
    for (replica, decision) in &service_plan.replicas {
        let Some(main) = replica.main.filter(|_| !decision.makes_a_container()) else {
            continue;
        };
        let made = main.view.labels.get(labels::FINGERPRINT).and_then(|label| Fingerprint::parse(label));
        if made.is_some_and(|made| !made.is_comparable()) {
            let (service, container) = (service_plan.name.to_owned(), main.view.name.clone());
            builder.warn(Warning::Incomparable { service, container });
        }
    }
}

/// What stays as it is reads the earlier file on.
fn warn_of_replaced_files(input: &PlanInput, service_plan: &ServicePlan, builder: &mut Builder) {
    let stays = service_plan.replicas.iter().filter(|(_, decision)| !decision.starts());
    for main in stays.filter_map(|(replica, _)| replica.main) {
        for (_, path) in drift::of(input.manifest, service_plan.service, main, input.snapshot).replaced_files {
            let (service, container) = (service_plan.name.to_owned(), main.view.name.clone());
            builder.warn(Warning::FileReplaced { service, path, container });
        }
    }
}

struct Check<'w, 'a> {
    input: &'w PlanInput<'a>,
    service_plan: &'w ServicePlan<'a>,
}

impl Check<'_, '_> {
    fn service(&self) -> String {
        self.service_plan.name.to_owned()
    }

    fn image(&self) -> Option<Problem> {
        let reference = &self.service_plan.service.image;
        let is_missing = self.input.snapshot.image(reference).is_none();
        is_missing.then(|| Problem::ImageMissing { service: self.service(), reference: reference.clone() })
    }

    /// The engine makes no container of an image for another platform than the one that is asked for.
    fn platform(&self) -> Option<Problem> {
        let service = self.service_plan.service;
        let platform = service.platform.as_ref()?;
        let parts: Vec<&str> = platform.split('/').collect();
        let wanted = match parts[..] {
            [_, architecture, ..] => image_architecture(architecture),
            // One word is an operating system, or else an architecture (containerd, `platforms.Parse`).
            [word] if !["linux", "windows", "darwin", "freebsd"].contains(&word) => image_architecture(word),
            _ => return None,
        };
        let image = self.input.snapshot.image(&service.image).filter(|image| image.has_one_platform)?;
        let differs = !image.architecture.is_empty() && image.architecture != wanted;
        differs.then(|| Problem::PlatformDiffers {
            service: self.service(),
            reference: service.image.clone(),
            platform: platform.clone(),
            image: image.architecture.clone(),
        })
    }

    /// Such a container may run under emulation, or end with `exec format error` when the old one has been stopped.
    fn warn_of_architecture(&self, builder: &mut Builder) {
        let reference = &self.service_plan.service.image;
        let machine = &self.input.snapshot.engine.architecture;
        if let Some(image) = self.input.snapshot.image(reference)
            && !runs_natively(&image.architecture, machine)
        {
            builder.warn(Warning::OtherArchitecture {
                service: self.service(),
                reference: reference.clone(),
                image: image.architecture.clone(),
                machine: machine.clone(),
            });
        }
    }

    fn inputs(&self) -> Vec<Problem> {
        let errors =
            self.input.snapshot.inputs.get(self.service_plan.name).map(|inputs| inputs.errors()).unwrap_or_default();
        errors.iter().map(|source| Problem::Input { service: self.service(), source: source.clone() }).collect()
    }

    /// A container that dpl did not make is never touched, whatever it is called, unless it is to be taken over.
    fn names(&self) -> Vec<Problem> {
        let snapshot = self.input.snapshot;
        let replicas = self.service_plan.replicas.iter().filter(|(_, decision)| decision.makes_a_container());
        let problem = |(replica, decision): &(Replica, Decision)| {
            let container = self.input.manifest.container_name(self.service_plan.name, replica.number);
            let service = self.service();
            let replaces = matches!(decision, Decision::Make { old: Some(_), .. });
            if let Some(aside) = replaces.then(|| self.foreign_aside(&container)).flatten() {
                return Some(Problem::NameAsideTaken { service, container: aside });
            }
            let of_another =
                |seen: &&ObservedContainer| seen.view.name == container && seen.service != self.service_plan.name;
            if let Some(other) = snapshot.containers.iter().find(of_another) {
                return Some(Problem::NameOfService { service, container, other: other.service.clone() });
            }
            let foreign = snapshot.foreign_containers.iter().find(|foreign| foreign.name == container)?;
            if let Some(project) = foreign.project.clone() {
                return Some(Problem::NameOfProject { service, container, project });
            }
            if self.input.request.options.namesakes == Namesakes::Refuse {
                return Some(Problem::NameTaken { service, container });
            }
            let vanishes =
                snapshot.namesake(self.service_plan.name, replica.number).is_some_and(|seen| seen.view.auto_remove);
            vanishes.then_some(Problem::NamesakeVanishes { service, container })
        };
        replicas.filter_map(problem).collect()
    }

    /// A container of somebody else under a name that those of a replacement get for a while.
    fn foreign_aside(&self, container: &str) -> Option<String> {
        let failed = match self.input.request.options.failed {
            FailedContainers::Keep => Role::Failed,
            FailedContainers::Remove => Role::Next,
        };
        let asides = [Role::Kept, Role::Next, failed].map(|role| format!("{container}{}", role.suffix()));
        let mut foreign = self.input.snapshot.foreign_containers.iter();
        foreign.find(|other| asides.contains(&other.name)).map(|other| other.name.clone())
    }

    /// A server refuses the data of another major version, and must never get to them.
    fn data_folder(&self) -> Option<Problem> {
        let folder = self.input.snapshot.data_folders.get(self.service_plan.name)?;
        (folder.written_by != folder.image).then(|| Problem::OtherPostgres {
            service: self.service(),
            folder: folder.place.clone(),
            written_by: folder.written_by.clone(),
            image: folder.image.clone(),
            reference: self.service_plan.service.image.clone(),
        })
    }

    /// Nothing is kept of a log without a driver, so no line of it can prove anything.
    fn log(&self) -> Option<Problem> {
        let service = self.service_plan.service;
        let waits_for_a_line = service.ready.as_ref().is_some_and(|ready| matches!(ready.probe, ReadyProbe::Log(_)));
        let driver = service.logging.as_ref().and_then(|logging| logging.driver.as_deref());
        (waits_for_a_line && driver == Some("none")).then(|| Problem::LogNotKept { service: self.service() })
    }

    /// Who waits for a service to be healthy that nothing proves would take "it runs" for it.
    fn health_of_others(&self) -> Vec<Problem> {
        let PlanInput { manifest, snapshot, request, .. } = self.input;
        // What was stopped for a moment runs again as it was.
        if request.options.recreate == Recreate::Never {
            return Vec::new();
        }
        let waits = self.service_plan.service.depends_on.iter();
        let unproved =
            waits.filter(|(_, need)| need.condition == Condition::ServiceHealthy).filter_map(|(other, _)| {
                let provider = manifest.services.get(other)?;
                // Of an image that is not there nothing is known.
                snapshot.image(&provider.image).filter(|_| has_no_check(self.input, provider))?;
                let (service, other, reference) = (self.service(), other.clone(), provider.image.clone());
                Some(Problem::NothingProvesHealth { service, other, reference })
            });
        unproved.collect()
    }

    /// The engine creates no container of it, and starts none that it created when it still had the runtime.
    fn runtime(&self) -> Option<Problem> {
        let engine = &self.input.snapshot.engine;
        let runtime = self.service_plan.service.runtime.as_ref().filter(|runtime| engine.lacks_runtime(runtime))?;
        Some(Problem::RuntimeMissing {
            service: self.service(),
            runtime: runtime.clone(),
            known: engine.runtimes.clone(),
        })
    }

    /// The engine creates no container that may use more than its machine has (moby, `verifyPlatformContainerResources`).
    fn cpus(&self) -> Option<Problem> {
        let there = self.input.snapshot.engine.cpus;
        let exceeds = |cpus: u64| there > 0 && cpus > there.saturating_mul(1_000_000_000);
        let cpus = self.service_plan.service.cpus.filter(|cpus| exceeds(cpus.nano))?;
        Some(Problem::TooManyCpus { service: self.service(), cpus, there })
    }

    fn gpus(&self) -> Option<Problem> {
        let required = self.service_plan.service.gpus.iter().any(|request| request.required);
        let is_missing = required && self.input.snapshot.gpus_of(self.service_plan.name) == Gpus::Absent;
        is_missing.then(|| Problem::GpuMissing { service: self.service() })
    }

    /// Containers of others whose namespaces the service is to share: nothing starts in those of one that is gone or down.
    fn namespaces(&self) -> Vec<Problem> {
        let service = self.service_plan.service;
        let problem = |container: &String| {
            let (service, name) = (self.service(), container.clone());
            match self.input.snapshot.provider(container) {
                Provider::Gone => Some(Problem::NamespaceMissing { service, container: name }),
                Provider::Down => Some(Problem::NamespaceDown { service, container: name }),
                Provider::Ours | Provider::Up => None,
            }
        };
        let modes = [&service.network_mode, &service.pid, &service.ipc].into_iter().flatten();
        let mut problems: Vec<Problem> = modes
            .filter_map(|mode| match mode {
                NamespaceMode::Container(name) => problem(name),
                _ => None,
            })
            .collect();
        problems.dedup_by_key(|problem| problem.to_string());
        problems
    }

    /// Fields that older engines don't know (Docker Engine API, "Version history").
    fn age(&self) -> Vec<Problem> {
        let api = self.input.snapshot.engine.api;
        let uses_subpath = self.service_plan.service.volumes.iter().any(|mount| mount.volume.subpath.is_some());
        let odd_source = self.service_plan.service.volumes.iter().any(|mount| {
            let has_colon = mount.target.contains(':') || mount.source.as_ref().is_some_and(|path| path.contains(':'));
            mount.kind == MountKind::Bind && mount.bind.create_host_path && has_colon
        });
        let service = self.service_plan.service;
        let has_mac = service.mac_address.is_some() || service.networks.values().any(|join| join.mac_address.is_some());
        let needs = [
            ("annotations", !service.annotations.is_empty(), (1, 43), "1.43"),
            ("mac_address", has_mac, (1, 44), "1.44"),
            ("a CDI device", service.devices.iter().any(Device::is_cdi), (1, 44), "1.44"),
            ("volumes.subpath", uses_subpath, (1, 45), "1.45"),
            ("a bind mount with a colon in its path, made when missing,", odd_source, (1, 42), "1.42"),
        ];
        needs
            .into_iter()
            .filter(|(_, is_used, since, _)| *is_used && api < *since)
            .map(|(field, _, _, api)| Problem::EngineTooOld { service: self.service(), field, api })
            .collect()
    }

    /// The container of the service that has run with another folder in this place, and that folder. An empty new one would
    /// take the place of its data: another clone of the manifests has folders of its own.
    fn mounted_from_elsewhere(&self, target: &str) -> Option<(String, String)> {
        let containers = self.service_plan.replicas.iter().flat_map(|(replica, _)| [replica.main, replica.kept]);
        let same = |path: &str| path.trim_end_matches('/') == target.trim_end_matches('/');
        containers.flatten().filter(|seen| seen.has_run()).find_map(|seen| {
            let mount = seen.view.mounts.iter().find(|mount| mount.kind == "bind" && same(&mount.target))?;
            Some((seen.view.name.clone(), mount.source.clone()))
        })
    }

    /// A container of the service that has run with this source: what is gone since is nothing to be made, as an empty
    /// folder in a file's place.
    fn has_mounted(&self, source: &str) -> Option<String> {
        let containers = self.service_plan.replicas.iter().flat_map(|(replica, _)| [replica.main, replica.kept]);
        containers.flatten().find(|seen| seen.has_mounted(source)).map(|seen| seen.view.name.clone())
    }

    fn devices(&self) -> Vec<Problem> {
        let missing = &self.input.snapshot.missing_devices;
        let devices = self.service_plan.service.devices.iter().filter(|device| missing.contains(&device.source));
        devices.map(|device| Problem::DeviceMissing { service: self.service(), path: device.source.clone() }).collect()
    }

    fn sources(&self, builder: &mut Builder) -> Vec<Problem> {
        let mut problems = Vec::new();
        for mount in self.service_plan.service.volumes.iter().filter(|mount| mount.kind == MountKind::Bind) {
            let path = mount.source.clone().unwrap_or_default();
            if !self.input.snapshot.missing_sources.contains(&path) {
                continue;
            }
            let service = self.service();
            if let Some(container) = self.has_mounted(&path) {
                problems.push(Problem::SourceVanished { service, path, target: mount.target.clone(), container });
            } else if let Some((container, was)) = self.mounted_from_elsewhere(&mount.target) {
                let target = mount.target.clone();
                problems.push(Problem::SourceMoved { service, path, target, container, was });
            } else if mount.bind.create_host_path {
                builder.warn(Warning::SourceIsMade { service, path });
            } else {
                problems.push(Problem::SourceMissing { service, path, target: mount.target.clone() });
            }
        }
        problems
    }
}
