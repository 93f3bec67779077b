//! Checks across fields: what every service for itself can't know.

mod container;
mod data;
mod delivered_folders;
mod files;
mod network;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::graph::Graph;
use super::model::kernel_words::is_signal;
use super::model::{Condition, Dependency, Manifest, MountKind, NamespaceMode, ReadyProbe, RestartPolicy, Service};
use super::selectors::reads_as_selector;
use super::text::node::{Node, Value};
use super::text::problem::{Problems, nearest};

/// Runs every check on a manifest that was decoded, with errors or without. `root` has the places.
pub(super) fn check(manifest: &Manifest, root: &Node, problems: &mut Problems) {
    let mut checker = Checker { manifest, root, problems, missed: HashSet::new() };
    checker.names();
    checker.references();
    checker.dependency_cycles();
    checker.health();
    checker.jobs();
    checker.logs();
    checker.container_names();
    checker.published_ports();
    checker.scale();
    checker.network_modes();
    checker.extra_hosts();
    checker.stop_signals();
    checker.mount_targets();
    checker.working_dirs();
    checker.databases();
    checker.data();
    checker.delivered_folders();
    checker.files();
}

struct Checker<'a> {
    manifest: &'a Manifest,
    root: &'a Node,
    problems: &'a mut Problems,
    /// Files that are not there or are empty, and were told of.
    missed: HashSet<PathBuf>,
}

impl<'a> Checker<'a> {
    fn services(&self) -> Vec<(&'a str, &'a Service)> {
        let manifest: &'a Manifest = self.manifest;
        manifest.services.iter().map(|(_, name, service)| (name, service)).collect()
    }

    /// Names that a selector would read as something else, and groups that hide a service.
    fn names(&mut self) {
        for section in ["services", "databases", "data"] {
            for entry in self.root.get(section).map(Node::entries).unwrap_or_default() {
                let name = entry.key.as_str();
                let fine = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                    && name.starts_with(|c: char| c.is_ascii_alphanumeric());
                if section != "databases" && !fine {
                    let message = match section {
                        "services" => message!("check-service-name", name = name),
                        _ => message!("check-data-name", name = name),
                    };
                    let help = message!("help-service-name");
                    self.problems.error_with_help(entry.key_span, message, help);
                } else if name.is_empty() {
                    self.problems.error(entry.key_span, message!("check-database-name"));
                } else if reads_as_selector(name) {
                    let message = match section {
                        "services" => message!("check-service-selector", name = name),
                        "data" => message!("check-data-selector", name = name),
                        _ => message!("check-database-selector", name = name),
                    };
                    self.problems.error(entry.key_span, message);
                }
            }
        }
        let manifest = self.manifest;
        for (name, service) in self.services() {
            for (index, group) in service.groups.iter().enumerate() {
                let span = self.root.place(&["services", name, "groups", &index.to_string()]);
                if manifest.services.get(group).is_some() {
                    self.problems.error(span, message!("check-group-service", group = group));
                } else if group.is_empty() || !group.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)) {
                    self.problems.error(span, message!("check-group-name", group = group));
                }
            }
        }
    }

    /// Everything that one service says of others, of networks and of volumes.
    fn references(&mut self) {
        let manifest = self.manifest;
        for (name, service) in self.services() {
            for dependency in service.depends_on.keys() {
                self.service_exists(dependency, &["services", name, "depends_on", dependency], Place::Key);
                if dependency == name {
                    let span = self.root.key_place(&["services", name, "depends_on", dependency]);
                    self.problems.error(span, message!("check-depends-itself", name = name));
                }
            }
            for (index, link) in service.links.iter().enumerate() {
                self.service_exists(&link.service, &["services", name, "links", &index.to_string()], Place::Value);
            }
            for (field, mode) in service.namespaces() {
                if let NamespaceMode::Service(other) = mode {
                    self.service_exists(other, &["services", name, field], Place::Value);
                }
            }
            for network in service.networks.keys() {
                if network != Manifest::DEFAULT_NETWORK && !manifest.networks.contains_key(network) {
                    let known = manifest.networks.keys().map(String::as_str);
                    let path = ["services", name, "networks", network];
                    self.unknown("network", network, known, self.root.key_place(&path));
                }
            }
            for (index, mount) in service.volumes.iter().enumerate() {
                let Some(source) = mount.source.as_ref().filter(|_| mount.kind == MountKind::Volume) else {
                    continue;
                };
                if !manifest.volumes.contains_key(source) {
                    let path = ["services", name, "volumes", &index.to_string()];
                    self.unknown("volume", source, manifest.volumes.keys().map(String::as_str), self.root.place(&path));
                }
            }
        }
    }

    fn service_exists(&mut self, wanted: &str, path: &[&str], place: Place) {
        // One that could not be decoded is there all the same, and was reported.
        let is_written = |node: &Node| !matches!(node.value, Value::Null);
        if !self.root.get("services").and_then(|services| services.get(wanted)).is_some_and(is_written) {
            let span = match place {
                Place::Key => self.root.key_place(path),
                Place::Value => self.root.place(path),
            };
            let manifest: &'a Manifest = self.manifest;
            let known: Vec<&str> = manifest.services.names().collect();
            self.unknown("service", wanted, known.into_iter(), span);
        }
    }

    fn unknown<'n>(&mut self, what: &str, wanted: &str, known: impl Iterator<Item = &'n str>, span: super::Span) {
        let message = match what {
            "service" => message!("check-no-service", name = wanted),
            "network" => message!("check-no-network", name = wanted),
            _ => message!("check-no-volume", name = wanted),
        };
        match nearest(wanted, known) {
            Some(meant) => self.problems.error_with_help(span, message, message!("help-meant", meant = meant)),
            None if what == "service" => self.problems.error(span, message),
            None => {
                self.problems.error_with_help(span, message, message!("help-name-under", key = format_args!("{what}s")))
            }
        }
    }

    /// A cycle of dependencies can never start; the whole cycle is named, once.
    fn dependency_cycles(&mut self) {
        // One that depends on itself is reported where the dependency is written.
        for mut cycle in Graph::of(self.manifest).cycles().into_iter().filter(|cycle| cycle.len() > 1) {
            cycle.push(cycle[0]);
            let span = self.root.key_place(&["services", cycle[0]]);
            self.problems.error(span, message!("check-cycle", cycle = cycle.join(" → ")));
        }
    }

    /// `service_healthy` of a service that has no check here: only its image can still have one.
    fn health(&mut self) {
        let manifest: &'a Manifest = self.manifest;
        for (name, service) in self.services() {
            let healthy = |dependency: &Dependency| dependency.condition == Condition::ServiceHealthy;
            for (other, _) in service.depends_on.iter().filter(|(_, dependency)| healthy(dependency)) {
                let Some(provider) = manifest.services.get(other).filter(|provider| provider.ready.is_none()) else {
                    continue;
                };
                let span = self.root.place(&["services", name, "depends_on", other, "condition"]);
                match &provider.healthcheck {
                    Some(check) if check.is_off() => {
                        let message = message!("check-never-healthy", other = other);
                        self.problems.error_with_help(span, message, message!("help-ready-or-started"));
                    }
                    Some(_) => {}
                    None => {
                        let message = message!("check-no-healthcheck", other = other);
                        self.problems.warning(span, message);
                    }
                }
            }
        }
    }

    /// Nothing is kept of a log without a driver, so no line of it can prove anything.
    fn logs(&mut self) {
        for (name, service) in self.services() {
            let waits = service.ready.as_ref().is_some_and(|ready| matches!(ready.probe, ReadyProbe::Log(_)));
            let driver = service.logging.as_ref().and_then(|logging| logging.driver.as_deref());
            if waits && driver == Some("none") {
                let span = self.root.place(&["services", name, "ready", "log"]);
                let message = message!("check-log-not-kept");
                self.problems.error_with_help(span, message, message!("help-other-probe"));
            }
        }
    }

    /// A job that the engine starts again has no end.
    fn jobs(&mut self) {
        // Who waits for the end of which service, the first one of several.
        let mut waits: HashMap<&str, &str> = HashMap::new();
        for (name, service) in self.services() {
            let jobs = service
                .depends_on
                .iter()
                .filter(|(_, dependency)| dependency.condition == Condition::ServiceCompletedSuccessfully);
            jobs.for_each(|(job, _)| _ = waits.entry(job.as_str()).or_insert(name));
        }
        for (name, service) in self.services() {
            let waiting = waits.get(name).copied();
            let probe = service.ready.as_ref().map(|ready| &ready.probe);
            let says_so = matches!(probe, Some(ReadyProbe::Completed(_)));
            if waiting.is_none() && !says_so {
                continue;
            }
            let never_ends = matches!(service.restart, RestartPolicy::Always | RestartPolicy::UnlessStopped);
            if never_ends {
                let span = self.root.place(&["services", name, "restart"]);
                let message = match waiting {
                    None => message!("check-restarts-itself", name = name),
                    Some(other) => message!("check-restarts-waited", name = name, other = other),
                };
                self.problems.error_with_help(span, message, message!("help-restart-no"));
            } else if let (Some(other), Some(_), false) = (waiting, probe, says_so) {
                let span = self.root.place(&["services", name, "ready"]);
                self.problems.warning(span, message!("check-ready-unused", other = other, name = name));
            }
        }
    }

    fn container_names(&mut self) {
        let mut owners: HashMap<String, String> = HashMap::new();
        for (name, service) in self.services() {
            let replicas = service.replicas().min(100);
            for replica in 1..=replicas {
                let container = self.manifest.container_name(name, replica);
                if let Some(other) = owners.insert(container.clone(), name.to_owned())
                    && other != name
                {
                    let span = self.root.place(&["services", name, "container_name"]);
                    let message = message!("check-container-taken", container = container, other = other);
                    self.problems.error(span, message);
                }
            }
            if let Some(container) = &service.container_name {
                let fine = container.len() > 1
                    && container.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && container.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
                if !fine {
                    let span = self.root.place(&["services", name, "container_name"]);
                    let help = message!("help-container-name");
                    self.problems.error_with_help(span, message!("check-container-name", container = container), help);
                }
            }
        }
    }

    fn scale(&mut self) {
        for (name, service) in self.services() {
            let span = self.root.place(&["services", name, "scale"]);
            if service.replicas() > 100 {
                self.problems.error(span, message!("check-scale"));
            }
            if service.replicas() < 2 {
                continue;
            }
            if service.container_name.is_some() {
                self.problems.error(span, message!("check-scale-name"));
            }
            if service.ports.iter().any(|port| port.single_port().is_some()) {
                self.problems.error(span, message!("check-scale-port"));
            }
            // Each container takes one of a range.
            for (index, port) in service.ports.iter().enumerate() {
                let (Some(first), Some(last)) = (port.published, port.published_until) else {
                    continue;
                };
                let ports = u32::from(last.saturating_sub(first)) + 1;
                if ports < service.replicas() {
                    let span = self.root.place(&["services", name, "ports", &index.to_string()]);
                    let message = message!("check-scale-range", ports = ports, scale = service.replicas());
                    self.problems.error(span, message);
                }
            }
            if service.networks.values().any(|join| join.ipv4_address.is_some() || join.ipv6_address.is_some()) {
                self.problems.error(span, message!("check-scale-address"));
            }
        }
    }

    /// The engine makes no container with a signal that it does not know.
    fn stop_signals(&mut self) {
        for (name, service) in self.services() {
            if let Some(signal) = service.stop_signal.as_ref().filter(|signal| !signal.is_empty() && !is_signal(signal))
            {
                let span = self.root.place(&["services", name, "stop_signal"]);
                self.problems.error(span, message!("check-signal", signal = signal));
            }
        }
    }

    fn databases(&mut self) {
        self.seeds();
        for (_, name, database) in self.manifest.databases.iter() {
            if let Some(service) = &database.service {
                self.service_exists(service, &["databases", name, "service"], Place::Value);
            }
            for (index, user) in database.used_by.iter().flatten().enumerate() {
                self.service_exists(user, &["databases", name, "used_by", &index.to_string()], Place::Value);
            }
        }
    }

    /// A seed belongs to one database: the next dump of another one would replace it, or what it lies in.
    fn seeds(&mut self) {
        let manifest = self.manifest;
        let seeds: Vec<(&str, &Path)> = manifest
            .databases
            .iter()
            .filter_map(|(_, name, database)| Some((name, database.seed.as_deref()?)))
            .collect();
        for (index, (name, seed)) in seeds.iter().enumerate() {
            for (other, earlier) in &seeds[..index] {
                let span = self.root.place(&["databases", name, "seed"]);
                if seed == earlier {
                    self.problems.error(span, message!("check-same-seed", other = other));
                } else if seed.starts_with(earlier) || earlier.starts_with(seed) {
                    let message = message!("check-nested-seed", other = other);
                    self.problems.error(span, message);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    Key,
    Value,
}
