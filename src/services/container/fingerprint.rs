//! What a container was made from, as keyed hashes of its service's fields: so that drift is named field by field,
//! and a label tells nobody a value.
//!
//! The hashed fields are those that only the manifest knows. What the engine shows exactly (image, environment,
//! restart policy, limits) is compared with the engine instead: that also finds what somebody changed by hand, and no
//! hash of a password lies in a label. Fields that don't shape a container (order, groups, dependencies) are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fs::Digest;
use crate::manifest::Manifest;
use crate::manifest::model::{Network, Service, Volume};
use crate::services::container::environment::Inputs;

/// Of the way in which fields are written before they are hashed: with another one, they can't be compared.
const VERSION: u32 = 1;

/// Fields that shape no container, and those that are compared with the engine.
const LEFT_OUT: [&str; 17] = [
    "image",
    "container_name",
    "groups",
    "profiles",
    "environment",
    "env_file",
    "depends_on",
    "ready",
    "restart",
    "scale",
    "mem_limit",
    "mem_reservation",
    "cpus",
    "cpuset",
    "pids_limit",
    "networks",
    "volumes",
];

/// Fields whose entries are named one by one.
const BY_ENTRY: [&str; 4] = ["labels", "sysctls", "ulimits", "extra_hosts"];

/// Lists in which the order means nothing.
const UNORDERED: [&str; 9] =
    ["ports", "expose", "devices", "cap_add", "cap_drop", "security_opt", "group_add", "tmpfs", "gpus"];

/// The label's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    #[serde(rename = "v")]
    version: u32,
    /// Different for every container, so that equal values have unequal hashes.
    key: String,
    /// Field → the first 16 hex digits of its hash.
    fields: BTreeMap<String, String>,
    /// Names of the variables that it was given.
    environment: BTreeSet<String>,
}

/// A service's fields, each in one canonical spelling.
pub type Fields = BTreeMap<String, String>;

/// The fields of a service that shape its containers and that the engine doesn't show.
pub fn fields(manifest: &Manifest, service: &Service) -> Fields {
    let mut fields = Fields::new();
    let Ok(Value::Object(all)) = serde_json::to_value(service) else {
        return fields;
    };
    for (name, value) in all {
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        match value {
            Value::Object(entries) if BY_ENTRY.contains(&name.as_str()) => {
                fields.extend(entries.iter().map(|(key, value)| (format!("{name}.{key}"), canonical(value))));
            }
            Value::Array(list) if UNORDERED.contains(&name.as_str()) => {
                let mut list: Vec<String> = list.iter().map(canonical).collect();
                list.sort();
                fields.insert(name, list.join(","));
            }
            value => {
                fields.insert(name, canonical(&value));
            }
        }
    }
    for mount in &service.volumes {
        let mut value = serde_json::to_value(mount).unwrap_or_default();
        // The volume counts, not the key under which the manifest has it.
        if let (crate::manifest::model::MountKind::Volume, Some(key)) = (mount.kind, &mount.source) {
            value["source"] = manifest.volume_name(key).into();
        }
        fields.insert(format!("volumes.{}", mount.target), canonical(&value));
    }
    for key in service.network_keys() {
        let join = service.networks.get(key).map(|join| serde_json::to_value(join).unwrap_or_default());
        fields.insert(format!("networks.{}", manifest.network_name(key)), canonical(&join.unwrap_or_default()));
    }
    fields
}

/// The fields of a network, as far as they shape it on the engine.
pub fn network_fields(network: &Network) -> Fields {
    resource_fields(serde_json::to_value(network))
}

/// The fields of a volume, likewise.
pub fn volume_fields(volume: &Volume) -> Fields {
    resource_fields(serde_json::to_value(volume))
}

/// Without what means the same as nothing, so that a field that dpl learns later is no difference.
fn resource_fields(value: serde_json::Result<Value>) -> Fields {
    let mut fields = Fields::new();
    let Ok(Value::Object(all)) = value else {
        return fields;
    };
    for (name, value) in all.iter().filter(|(name, value)| !is_nothing(value) && *name != "name" && *name != "external")
    {
        match value {
            Value::Object(entries) if ["labels", "driver_opts"].contains(&name.as_str()) => {
                fields.extend(entries.iter().map(|(key, value)| (format!("{name}.{key}"), canonical(value))));
            }
            value => {
                fields.insert(name.clone(), canonical(value));
            }
        }
    }
    fields
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.iter().all(is_nothing),
        Value::Object(entries) => entries.values().all(is_nothing),
        _ => false,
    }
}

/// JSON with sorted keys and without spaces.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let sorted: BTreeMap<&String, &Value> = entries.iter().collect();
            let entries: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

impl Fingerprint {
    /// Hashes the fields under a key of their own.
    pub fn new(fields: &Fields, environment: BTreeSet<String>) -> std::io::Result<Self> {
        let mut key = [0_u8; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self::keyed(key, fields, environment))
    }

    pub(in crate::services) fn keyed(key: String, fields: &Fields, environment: BTreeSet<String>) -> Self {
        let fields = fields.iter().map(|(name, value)| (name.clone(), hash(&key, name, value))).collect();
        Self { version: VERSION, key, fields, environment }
    }

    /// Reads a label; `None` where it is none of ours.
    pub fn parse(label: &str) -> Option<Self> {
        serde_json::from_str(label).ok()
    }

    /// The label.
    pub fn label(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }

    /// Whether this version of dpl can compare it.
    pub fn is_comparable(&self) -> bool {
        self.version == VERSION
    }

    /// Whether the manifest had the field when the container was made.
    pub fn has_field(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Names of the variables that the container was given.
    pub fn variables(&self) -> &BTreeSet<String> {
        &self.environment
    }

    /// Names of the fields that differ from what is wanted, sorted. Fields that another version of dpl has hashed
    /// can't be compared, and differ in nothing.
    pub fn differing(&self, wanted: &Fields) -> Vec<String> {
        if self.version != VERSION {
            return Vec::new();
        }
        let changed = wanted
            .iter()
            .filter(|(name, value)| self.fields.get(*name).is_none_or(|was| *was != hash(&self.key, name, value)))
            .map(|(name, _)| name);
        let gone = self.fields.keys().filter(|name| !wanted.contains_key(*name));
        let names: BTreeSet<&String> = changed.chain(gone).collect();
        names.into_iter().cloned().collect()
    }

    /// Names of the variables in which a container differs from what is wanted.
    pub fn differing_environment(&self, wanted: &Inputs, actual: &BTreeMap<String, String>) -> Vec<String> {
        wanted.differing(actual, &self.environment)
    }
}

fn hash(key: &str, name: &str, value: &str) -> String {
    let digest = Digest::of(format!("{key}\0{name}\0{value}").as_bytes());
    digest.hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::{Command, Mount, MountKind, NetworkJoin, Port};

    fn fingerprint(manifest: &Manifest, service: &Service) -> Fingerprint {
        Fingerprint::keyed("key".to_owned(), &fields(manifest, service), BTreeSet::new())
    }

    fn differing(change: impl FnOnce(&mut Service)) -> Vec<String> {
        let manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let mut service = Service {
            command: Some(Command(vec!["serve".to_owned()])),
            labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            cap_add: vec!["NET_ADMIN".to_owned(), "SYS_PTRACE".to_owned()],
            ports: vec![Port { target: 80, ..Port::default() }, Port { target: 81, ..Port::default() }],
            ..Service::default()
        };
        let before = fingerprint(&manifest, &service);
        change(&mut service);
        before.differing(&fields(&manifest, &service))
    }

    #[test]
    fn each_changed_field_is_named() {
        assert_eq!(differing(|service| service.command = None), ["command"]);
        assert_eq!(differing(|service| service.hostname = Some("h".to_owned())), ["hostname"]);
        assert_eq!(differing(|service| drop(service.labels.insert("b".to_owned(), "3".to_owned()))), ["labels.b"]);
        assert_eq!(differing(|service| drop(service.labels.shift_remove("a"))), ["labels.a"]);
        assert_eq!(differing(|service| service.ports[0].published = Some(8080)), ["ports"]);
        assert_eq!(
            differing(|service| drop(service.networks.insert("front".to_owned(), NetworkJoin::default()))),
            ["networks.p_default", "networks.p_front"]
        );
    }

    #[test]
    fn what_does_not_shape_a_container_does_not_count() {
        assert_eq!(
            differing(|service| {
                service.groups.push("worker".to_owned());
                service.profiles.push("gpu".to_owned());
                service.depends_on.insert("db".to_owned(), Default::default());
                service.scale = Some(1);
                service.labels.reverse();
                service.cap_add.reverse();
                service.ports.reverse();
            }),
            [""; 0]
        );
    }

    #[test]
    fn a_volume_counts_by_its_name_on_the_engine() {
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let mount = |key: &str| Mount {
            kind: MountKind::Volume,
            source: Some(key.to_owned()),
            target: "/data".to_owned(),
            ..Mount::default()
        };
        let service = |key| Service { volumes: vec![mount(key)], ..Service::default() };
        let before = fingerprint(&manifest, &service("data"));
        let volume = Volume { name: Some("p_data".to_owned()), ..Volume::default() };
        manifest.volumes.insert("renamed".to_owned(), volume);
        assert_eq!(before.differing(&fields(&manifest, &service("renamed"))), [""; 0]);
        assert_eq!(before.differing(&fields(&manifest, &service("other"))), ["volumes./data"]);
    }

    #[test]
    fn the_label_shows_no_value_and_reads_back() {
        let manifest = Manifest::default();
        let service = Service { command: Some(Command(vec!["--password=hunter2".to_owned()])), ..Service::default() };
        let written = Fingerprint::new(&fields(&manifest, &service), ["TOKEN".to_owned()].into()).unwrap();
        let label = written.label();
        assert!(!label.contains("hunter2"));
        assert_eq!(Fingerprint::parse(&label), Some(written.clone()));
        let again = Fingerprint::new(&fields(&manifest, &service), BTreeSet::new()).unwrap();
        assert_ne!(again.fields, written.fields, "equal values must not have equal hashes");
    }

    #[test]
    fn another_version_of_the_spelling_is_no_drift() {
        let manifest = Manifest::default();
        let mut old = fingerprint(&manifest, &Service::default());
        old.version = VERSION + 1;
        let service = Service { tty: true, ..Service::default() };
        assert_eq!(old.differing(&fields(&manifest, &service)), [""; 0]);
    }
}
