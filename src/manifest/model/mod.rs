//! The manifest's types: what is true of a stack once every file has been read, merged and checked.
//!
//! Plain data in its long form: paths are absolute, sizes are bytes, variables are filled in, secrets are not read.
//! Field names are the Compose specification's wherever it has the field. What is written as text (sizes, durations, references, …)
//! parses from what people write and prints in one canonical form that parses to the same value.

mod byte_size;
mod cpus;
mod data;
mod database;
mod devices;
mod files;
mod health;
pub(in crate::manifest) mod kernel_words;
mod network;
mod numbered;
mod period;
mod reference;
mod service;
mod storage;

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use crate::report::{Message, Told};

pub use byte_size::{ByteSize, SwapLimit};
pub use cpus::Cpus;
pub use data::{Data, Keep, Repository};
pub use database::{Database, POSTGRES_PORT, Preserve, Retention};
pub use devices::{Device, Gpu, GpuCount, Ulimit, is_cdi_name};
pub use files::{FileUse, UsedFile};
pub use health::{Healthcheck, HttpProbe, Ready, ReadyProbe};
pub use network::{
    AddressPool, ExposedPort, ExtraHosts, HostAddress, HostPort, Ipam, Link, NamespaceMode, Network, NetworkJoin, Port,
    Protocol,
};
pub use numbered::Numbered;
pub use period::Period;
pub use reference::Reference;
pub use service::{
    Command, Condition, Dependency, EnvFile, EnvFormat, EnvValue, Logging, RestartPolicy, SecretSource, Service,
};
pub use storage::{BindOptions, Mount, MountKind, Tmpfs, TmpfsOptions, Volume, VolumeOptions};

/// The text is not a value of that type; says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidValue(pub Message);

impl Told for InvalidValue {
    fn message(&self) -> Message {
        self.0.clone()
    }
}

/// Serialises through `Display`, and describes itself in the schema as a string beside other forms.
macro_rules! text_value {
    ($type:ty, $name:literal, $schema:tt) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use text_value;

/// A stack: its services, and what they need.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "dpl manifest")]
pub struct Manifest {
    /// The folder of the file that it was read from: where its state lies.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The project's name: containers, networks and volumes belong to it, whichever manifest file names them.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]*$|\$"))]
    pub project: String,
    /// Where images, data and backups lie.
    pub paths: Paths,
    /// How many loads, and how many states of the services, keep their images for the way back.
    pub keep_releases: u32,
    /// Networks that services join; `<project>_default` exists without being named.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub networks: IndexMap<String, Network>,
    /// Named volumes that services mount.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub volumes: IndexMap<String, Volume>,
    /// The databases, numbered by their place from 1.
    #[serde(skip_serializing_if = "Numbered::is_empty")]
    pub databases: Numbered<Database>,
    /// The repository that keeps snapshots of the folders under `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Folders that live at the site, numbered from 1 behind the last database.
    #[serde(skip_serializing_if = "Numbered::is_empty")]
    pub data: Numbered<Data>,
    /// The services, numbered by their place from 1. `null` removes one and keeps its number empty.
    pub services: Numbered<Service>,
}

/// The folders of a project; absolute once read. One that is not set is an error of the command that needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Paths {
    /// The image store: an OCI image layout, and old `docker save` archives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// The services' own data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Backups of databases, and snapshots of folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<PathBuf>,
}

/// For `skip_serializing_if`: what says nothing is not printed.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Manifest {
    /// The network that a service joins when it names none.
    pub const DEFAULT_NETWORK: &'static str = "default";

    /// The name of a network on the engine: its own, or the project's name before its key.
    pub fn network_name(&self, key: &str) -> String {
        match self.networks.get(key).and_then(|network| network.name.clone()) {
            Some(name) => name,
            None if self.networks.get(key).is_some_and(|network| network.external) => key.to_owned(),
            None => format!("{}_{key}", self.project),
        }
    }

    /// The name of a volume on the engine.
    pub fn volume_name(&self, key: &str) -> String {
        match self.volumes.get(key).and_then(|volume| volume.name.clone()) {
            Some(name) => name,
            None if self.volumes.get(key).is_some_and(|volume| volume.external) => key.to_owned(),
            None => format!("{}_{key}", self.project),
        }
    }

    /// The name of a service's container; `replica` counts from 1.
    pub fn container_name(&self, service: &str, replica: u32) -> String {
        match self.services.get(service).and_then(|service| service.container_name.clone()) {
            Some(name) => name,
            None => format!("{}-{service}-{replica}", self.project),
        }
    }
}
