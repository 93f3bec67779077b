//! The labels that containers, networks and volumes of a project carry: ours under one prefix, and Compose's, so that
//! `docker compose ls`, lazydocker and Portainer group the stack.
//!
//! The only place that spells a label. A container's labels never change after it was made (engine-facts: `POST
//! /containers/{id}/update` ignores them), so they hold only what is true for its whole life.

use std::collections::BTreeMap;

use crate::fs::Digest;
use crate::manifest::model::RestartPolicy;

pub const PROJECT: &str = "dpl.project";
pub const SERVICE: &str = "dpl.service";
/// Which of a service's containers it is, from 1.
pub const NUMBER: &str = "dpl.number";
/// The configuration that it was made from, field by field, as keyed hashes.
pub const FINGERPRINT: &str = "dpl.fingerprint";
/// The restart policy that it was made with: one that is kept aside has `no`, and gets this back.
pub const RESTART: &str = "dpl.restart";
/// The restart policy of the container that it is to replace, where that one has no label of ours to say it.
pub const OLD_RESTART: &str = "dpl.old-restart";
/// `dropped` where a GPU was asked for, not required, and not there.
pub const GPUS: &str = "dpl.gpus";
/// On throw-away containers that only try something; its value is the project.
pub const PROBE: &str = "dpl.probe";
/// Which run of dpl made such a container: its own are in use, another's are left over.
pub const PROBE_RUN: &str = "dpl.probe.run";
/// Host and folder of the manifest that a container was created for: there its history and its way back lie.
pub const FOLDER: &str = "dpl.folder";
pub const NETWORK: &str = "dpl.network";
pub const VOLUME: &str = "dpl.volume";

/// The value of [`GPUS`] that says that the request was dropped.
pub const GPUS_DROPPED: &str = "dropped";

const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";
/// Compose lists and counts only containers that have it. Its value is nobody's but Compose's own.
const COMPOSE_HASH: &str = "com.docker.compose.config-hash";
const COMPOSE_NETWORK: &str = "com.docker.compose.network";
const COMPOSE_VOLUME: &str = "com.docker.compose.volume";

/// What tells a container apart, for its labels.
#[derive(Debug, Clone)]
pub struct ContainerLabels<'a> {
    pub project: &'a str,
    pub service: &'a str,
    pub number: u32,
    pub fingerprint: String,
    pub restart: RestartPolicy,
    /// Of a container that it replaces and that dpl did not make.
    pub old_restart: Option<RestartPolicy>,
    pub gpus_dropped: bool,
    /// `HOST:FOLDER`; none where it is not known.
    pub folder: Option<String>,
}

impl ContainerLabels<'_> {
    /// The labels, over those that the manifest gives the container.
    pub fn over(&self, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut labels = own;
        let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
        set(PROJECT, self.project.to_owned());
        set(SERVICE, self.service.to_owned());
        set(NUMBER, self.number.to_string());
        set(FINGERPRINT, self.fingerprint.clone());
        set(RESTART, self.restart.to_string());
        if let Some(policy) = self.old_restart {
            set(OLD_RESTART, policy.to_string());
        }
        if self.gpus_dropped {
            set(GPUS, GPUS_DROPPED.to_owned());
        }
        if let Some(folder) = &self.folder {
            set(FOLDER, folder.clone());
        }
        set(COMPOSE_PROJECT, self.project.to_owned());
        set(COMPOSE_SERVICE, self.service.to_owned());
        set(COMPOSE_NUMBER, self.number.to_string());
        set(COMPOSE_ONEOFF, "False".to_owned());
        set(COMPOSE_HASH, Digest::of(self.fingerprint.as_bytes()).hex().to_owned());
        labels
    }
}

/// A network's labels, over its own.
pub fn of_network(project: &str, key: &str, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
    of_resource(project, key, own, NETWORK, COMPOSE_NETWORK)
}

/// A volume's labels, over its own.
pub fn of_volume(project: &str, key: &str, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
    of_resource(project, key, own, VOLUME, COMPOSE_VOLUME)
}

fn of_resource(
    project: &str,
    key: &str,
    own: BTreeMap<String, String>,
    ours: &str,
    composes: &str,
) -> BTreeMap<String, String> {
    let mut labels = own;
    labels.insert(PROJECT.to_owned(), project.to_owned());
    labels.insert(ours.to_owned(), key.to_owned());
    labels.insert(COMPOSE_PROJECT.to_owned(), project.to_owned());
    labels.insert(composes.to_owned(), key.to_owned());
    labels
}

/// Which of its service's containers one with these labels is, from 1.
pub fn number(labels: &BTreeMap<String, String>) -> u32 {
    labels.get(NUMBER).and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// Whether these are labels of something that `dpl` made for `project`.
pub fn are_of(labels: &BTreeMap<String, String>, project: &str) -> bool {
    labels.get(PROJECT).is_some_and(|owner| owner == project)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_carries_our_labels_and_composes_over_its_own() {
        let own = BTreeMap::from([("tier".to_owned(), "1".to_owned()), (PROJECT.to_owned(), "other".to_owned())]);
        let labels = ContainerLabels {
            project: "danganju",
            service: "redis",
            number: 2,
            fingerprint: "{}".to_owned(),
            restart: RestartPolicy::UnlessStopped,
            old_restart: None,
            gpus_dropped: false,
            folder: None,
        }
        .over(own);
        assert!(are_of(&labels, "danganju"));
        for (name, value) in [
            ("tier", "1"),
            ("dpl.restart", "unless-stopped"),
            ("com.docker.compose.service", "redis"),
            ("com.docker.compose.container-number", "2"),
        ] {
            assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!labels.contains_key(GPUS) && !labels.contains_key(OLD_RESTART));
        assert_eq!(labels[COMPOSE_HASH].len(), 64);
    }
}
