//! What can be known to fail before anything is touched: all of it, at once.

use super::Ground;
use super::builder::Builder;
use super::cause::Warning;
use super::converge::Work;
use crate::engine::PublishedPort;
use crate::manifest::model::{MountKind, NamespaceMode, Network, Port, Volume};
use crate::services::error::Problem;
use crate::services::observe::{Gpus, Seen};

/// Problems of a plan, by service; what is merely worth knowing becomes a warning.
pub(super) fn check(ground: &Ground, works: &[Work], builder: &mut Builder) -> Vec<Problem> {
    let mut problems = Vec::new();
    for work in works.iter().filter(|work| work.starts()) {
        let check = Check { ground, works, work };
        if work.makes_a_container() {
            problems.extend(check.image());
            problems.extend(check.inputs());
            problems.extend(check.names());
            problems.extend(check.gpus());
            problems.extend(check.namespaces());
            problems.extend(check.age());
        }
        problems.extend(check.sources(builder));
        problems.extend(check.ports());
    }
    problems.extend(networks(ground, works));
    problems.extend(volumes(ground, works));
    problems
}

struct Check<'w, 'a> {
    ground: &'w Ground<'a>,
    works: &'w [Work<'a>],
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

    /// A container that dpl did not make is never touched, whatever it is called.
    fn names(&self) -> Vec<Problem> {
        let names = self
            .work
            .places
            .iter()
            .filter(|(_, decision)| decision.makes_a_container())
            .map(|(replica, _)| self.ground.manifest.container_name(self.work.name, replica.number));
        let taken = names.filter(|name| {
            let of_another = |seen: &Seen| seen.view.name == *name && seen.service != self.work.name;
            self.ground.snapshot.strangers.iter().any(|stranger| stranger.name == *name)
                || self.ground.snapshot.containers.iter().any(of_another)
        });
        taken.map(|container| Problem::NameTaken { service: self.service(), container }).collect()
    }

    fn gpus(&self) -> Option<Problem> {
        let required = self.work.service.gpus.iter().any(|request| request.required);
        let is_missing = required && self.ground.snapshot.gpus == Gpus::Absent;
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

    /// Ports that containers hold which this plan leaves as they are.
    fn ports(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for port in self.work.service.ports.iter().filter(|port| port.published.is_some()) {
            let strangers = self
                .ground
                .snapshot
                .strangers
                .iter()
                .filter(|stranger| stranger.published.iter().any(|held| collide(port, held)));
            let ours = self.ground.snapshot.containers.iter().filter(|seen| {
                seen.service != self.work.name
                    && !self.is_replaced(&seen.service)
                    && held_by(seen).iter().any(|held| collide(port, held))
            });
            let holders =
                strangers.map(|stranger| stranger.name.clone()).chain(ours.map(|seen| seen.view.name.clone()));
            problems.extend(holders.take(1).map(|holder| Problem::PortTaken {
                service: self.service(),
                port: format!("{}/{}", port.published.unwrap_or_default(), port.protocol.word()),
                holder,
            }));
        }
        problems
    }

    fn is_replaced(&self, service: &str) -> bool {
        self.works.iter().any(|work| work.name == service && work.makes_a_container())
    }
}

/// What a container's `127.0.0.1:8080->80/tcp` says.
fn held_by(seen: &Seen) -> Vec<PublishedPort> {
    let parse = |text: &String| {
        let (outer, inner) = text.split_once("->")?;
        let (ip, host_port) = outer.rsplit_once(':')?;
        let (container_port, protocol) = inner.split_once('/')?;
        Some(PublishedPort {
            container_port: container_port.parse().ok()?,
            protocol: protocol.to_owned(),
            host_ip: Some(ip.trim_matches(['[', ']']).to_owned()),
            host_port: host_port.parse().ok(),
        })
    };
    if seen.is_up() { seen.view.published.iter().filter_map(parse).collect() } else { Vec::new() }
}

fn collide(wanted: &Port, held: &PublishedPort) -> bool {
    let everywhere = |ip: Option<&str>| ip.is_none_or(|ip| matches!(ip, "" | "0.0.0.0" | "::"));
    let (ours, theirs) = (wanted.host_ip.as_deref(), held.host_ip.as_deref());
    wanted.published == held.host_port
        && wanted.protocol.word() == held.protocol
        && (ours == theirs || everywhere(ours) || everywhere(theirs))
}

fn networks(ground: &Ground, works: &[Work]) -> Vec<Problem> {
    let mut keys: Vec<&str> =
        works.iter().filter(|work| work.starts()).flat_map(|work| work.service.network_keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let default = Network::default();
    keys.into_iter()
        .filter_map(|key| {
            let name = ground.manifest.network_name(key);
            let wanted = ground.manifest.networks.get(key).unwrap_or(&default);
            let Some(actual) = ground.snapshot.network(&name) else {
                return wanted.external.then_some(Problem::NetworkMissing { name });
            };
            let pools = || wanted.ipam.config.iter().filter_map(|pool| pool.subnet.as_ref());
            let differs = [
                ("driver", wanted.driver.as_deref().is_some_and(|driver| driver != actual.driver)),
                ("`internal`", wanted.internal != actual.internal),
                ("subnet", pools().any(|subnet| !actual.subnets.contains(subnet))),
                ("driver option", wanted.driver_opts.iter().any(|(key, value)| actual.options.get(key) != Some(value))),
            ];
            let what = differs.into_iter().find(|(_, differs)| *differs && !wanted.external)?.0;
            Some(Problem::NetworkDiffers { name, what })
        })
        .collect()
}

fn volumes(ground: &Ground, works: &[Work]) -> Vec<Problem> {
    let mut keys: Vec<&str> = works
        .iter()
        .filter(|work| work.starts())
        .flat_map(|work| &work.service.volumes)
        .filter(|mount| mount.kind == MountKind::Volume)
        .filter_map(|mount| mount.source.as_deref())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let default = Volume::default();
    keys.into_iter()
        .filter_map(|key| {
            let name = ground.manifest.volume_name(key);
            let wanted = ground.manifest.volumes.get(key).unwrap_or(&default);
            let Some(actual) = ground.snapshot.volume(&name) else {
                return wanted.external.then_some(Problem::VolumeMissing { name });
            };
            let differs = [
                ("driver", wanted.driver.as_deref().is_some_and(|driver| driver != actual.driver)),
                ("driver option", wanted.driver_opts.iter().any(|(key, value)| actual.options.get(key) != Some(value))),
            ];
            let what = differs.into_iter().find(|(_, differs)| *differs && !wanted.external)?.0;
            Some(Problem::VolumeDiffers { name, what })
        })
        .collect()
}
