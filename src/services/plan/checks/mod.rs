//! What can be known to fail before anything is touched: all of it, at once.

mod addresses;
mod ports;
mod resources;

pub(super) use ports::freed_by;
pub(in crate::services) use ports::{collide, held_by};

use super::builder::Builder;
use super::cause::Warning;
use super::converge::Work;
use super::replica::Replica;
use super::{Ground, Namesakes};
use crate::manifest::model::{MountKind, NamespaceMode};
use crate::services::error::Problem;
use crate::services::observe::{Gpus, Seen};

/// Problems of a plan, by service; what is merely worth knowing becomes a warning.
pub(super) fn check(ground: &Ground, works: &[Work], builder: &mut Builder) -> Vec<Problem> {
    let mut problems = Vec::new();
    for work in works.iter().filter(|work| work.starts()) {
        let check = Check { ground, work };
        if work.makes_a_container() {
            problems.extend(check.image());
            problems.extend(check.inputs());
            problems.extend(check.names());
            problems.extend(check.gpus());
            problems.extend(check.namespaces());
            problems.extend(check.age());
            problems.extend(check.data_folder());
        }
        problems.extend(check.sources(builder));
        problems.extend(ports::of(ground, works, work));
        problems.extend(addresses::of(ground, works, work));
        if ground.snapshot.is_host_unseen && work.service.has_host_needs() {
            builder.warn(Warning::HostUnseen);
        }
    }
    problems.extend(resources::networks(ground, works));
    problems.extend(resources::volumes(ground, works));
    problems
}

struct Check<'w, 'a> {
    ground: &'w Ground<'a>,
    work: &'w Work<'a>,
}

impl Check<'_, '_> {
    fn service(&self) -> String {
        self.work.name.to_owned()
    }

    fn image(&self) -> Option<Problem> {
        let reference = &self.work.service.image;
        let is_missing = self.ground.snapshot.image(reference).is_none();
        is_missing.then(|| Problem::ImageMissing { service: self.service(), reference: reference.clone() })
    }

    fn inputs(&self) -> Vec<Problem> {
        let errors = self.ground.snapshot.inputs.get(self.work.name).map(|inputs| inputs.errors()).unwrap_or_default();
        errors.iter().map(|source| Problem::Input { service: self.service(), source: source.clone() }).collect()
    }

    /// A container that dpl did not make is never touched, whatever it is called, unless it is to be taken over.
    fn names(&self) -> Vec<Problem> {
        let snapshot = self.ground.snapshot;
        let places = self.work.places.iter().filter(|(_, decision)| decision.makes_a_container());
        let problem = |(replica, _): &(Replica, _)| {
            let container = self.ground.manifest.container_name(self.work.name, replica.number);
            let service = self.service();
            let of_another = |seen: &&Seen| seen.view.name == container && seen.service != self.work.name;
            if let Some(other) = snapshot.containers.iter().find(of_another) {
                return Some(Problem::NameOfService { service, container, other: other.service.clone() });
            }
            let stranger = snapshot.strangers.iter().find(|stranger| stranger.name == container)?;
            if let Some(project) = stranger.project.clone() {
                return Some(Problem::NameOfProject { service, container, project });
            }
            if self.ground.request.options.namesakes == Namesakes::Refuse {
                return Some(Problem::NameTaken { service, container });
            }
            let vanishes = snapshot.namesake(self.work.name, replica.number).is_some_and(|seen| seen.view.auto_remove);
            vanishes.then_some(Problem::NamesakeVanishes { service, container })
        };
        places.filter_map(problem).collect()
    }

    /// A server refuses the data of another major version, and must never get to them.
    fn data_folder(&self) -> Option<Problem> {
        let folder = self.ground.snapshot.data_folders.get(self.work.name)?;
        (folder.written_by != folder.image).then(|| Problem::OtherPostgres {
            service: self.service(),
            folder: folder.place.clone(),
            written_by: folder.written_by.clone(),
            image: folder.image.clone(),
            reference: self.work.service.image.clone(),
        })
    }

    fn gpus(&self) -> Option<Problem> {
        let required = self.work.service.gpus.iter().any(|request| request.required);
        let is_missing = required && self.ground.snapshot.gpus_of(self.work.name) == Gpus::Absent;
        is_missing.then(|| Problem::GpuMissing { service: self.service() })
    }

    fn namespaces(&self) -> Vec<Problem> {
        let service = self.work.service;
        let snapshot = self.ground.snapshot;
        let exists = |name: &str| {
            let is_it = |id: &str, called: &str| called == name || (name.len() >= 12 && id.starts_with(name));
            snapshot.strangers.iter().any(|stranger| is_it(&stranger.id, &stranger.name))
                || snapshot.containers.iter().any(|seen| is_it(&seen.view.id, &seen.view.name))
        };
        let modes = [&service.network_mode, &service.pid, &service.ipc].into_iter().flatten();
        let missing = modes.filter_map(|mode| match mode {
            NamespaceMode::Container(name) if !exists(name) => Some(name.clone()),
            _ => None,
        });
        missing.map(|container| Problem::NamespaceMissing { service: self.service(), container }).collect()
    }

    /// Fields that older engines don't know (Docker Engine API, "Version history").
    fn age(&self) -> Vec<Problem> {
        let api = self.ground.snapshot.engine.api;
        let uses_subpath = self.work.service.volumes.iter().any(|mount| mount.volume.subpath.is_some());
        let odd_source = self.work.service.volumes.iter().any(|mount| {
            let has_colon = mount.target.contains(':') || mount.source.as_ref().is_some_and(|path| path.contains(':'));
            mount.kind == MountKind::Bind && mount.bind.create_host_path && has_colon
        });
        let needs = [
            ("volumes.subpath", uses_subpath, (1, 45), "1.45"),
            ("a bind mount with a colon in its path, made when missing,", odd_source, (1, 42), "1.42"),
        ];
        needs
            .into_iter()
            .filter(|(_, is_used, since, _)| *is_used && api < *since)
            .map(|(field, _, _, api)| Problem::EngineTooOld { service: self.service(), field, api })
            .collect()
    }

    fn sources(&self, builder: &mut Builder) -> Vec<Problem> {
        let mut problems = Vec::new();
        for mount in self.work.service.volumes.iter().filter(|mount| mount.kind == MountKind::Bind) {
            let path = mount.source.clone().unwrap_or_default();
            if !self.ground.snapshot.missing_sources.contains(&path) {
                continue;
            }
            let service = self.service();
            if mount.bind.create_host_path {
                builder.warn(Warning::SourceIsMade { service, path });
            } else {
                problems.push(Problem::SourceMissing { service, path, target: mount.target.clone() });
            }
        }
        problems
    }
}
