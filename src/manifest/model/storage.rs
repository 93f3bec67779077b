//! Mounts and volumes.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::{ByteSize, InvalidValue, is_default, text_value};

/// What is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A folder or file of the host.
    Bind,
    /// A volume; anonymous without a source.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mount {
    /// What is mounted.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// An absolute path on the host, or the key of a volume.
    #[serde(skip_serializing_if = "is_default")]
    pub source: Option<String>,
    /// The absolute path in the container.
    pub target: String,
    /// The container can't write to it.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// For `bind`.
    #[serde(skip_serializing_if = "is_default")]
    pub bind: BindOptions,
    /// For `volume`.
    #[serde(skip_serializing_if = "is_default")]
    pub volume: VolumeOptions,
    /// For `tmpfs`.
    #[serde(skip_serializing_if = "is_default")]
    pub tmpfs: TmpfsOptions,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BindOptions {
    /// How mounts beneath it spread: `rprivate`, `private`, `rshared`, `shared`, `rslave`, `slave`.
    #[serde(skip_serializing_if = "is_default")]
    pub propagation: Option<String>,
    /// How SELinux labels it: `z` for several containers, `Z` for this one alone.
    #[serde(skip_serializing_if = "is_default")]
    pub selinux: Option<String>,
    /// Makes the folder on the host when it is missing; the short form says so, the long form refuses unless told.
    #[serde(skip_serializing_if = "is_default")]
    pub create_host_path: bool,
}

/// Options of a volume mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VolumeOptions {
    /// What the image has at that path is not copied into a new volume.
    #[serde(skip_serializing_if = "is_default")]
    pub nocopy: bool,
    /// How SELinux labels it: `z` for several containers, `Z` for this one alone.
    #[serde(skip_serializing_if = "is_default")]
    pub selinux: Option<String>,
    /// A folder inside the volume; engines from 26 on.
    #[serde(skip_serializing_if = "is_default")]
    pub subpath: Option<String>,
}

/// Options of a mount in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TmpfsOptions {
    /// Its size.
    #[serde(skip_serializing_if = "is_default")]
    pub size: Option<ByteSize>,
    /// Its permissions, as the number that JSON has: 0o1777 is 1023.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: Option<u32>,
}

/// A folder in memory: `path[:options]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tmpfs {
    pub target: String,
    /// Mount options, as `docker run --tmpfs` takes them; empty for none.
    pub options: String,
}

impl FromStr for Tmpfs {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !target.starts_with('/') {
            return Err(InvalidValue(message!("invalid-tmpfs", text = text)));
        }
        Ok(Self { target: target.to_owned(), options: options.to_owned() })
    }
}

impl fmt::Display for Tmpfs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.target)?;
        if !self.options.is_empty() {
            write!(formatter, ":{}", self.options)?;
        }
        Ok(())
    }
}

text_value!(Tmpfs, "Tmpfs", { "type": "string", "pattern": "^/|\\$" });

/// A volume of the project, or one that is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Volume {
    /// Its name on the engine; `<project>_<key>` where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// The engine's volume driver; `local` where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "is_default")]
    pub driver_opts: IndexMap<String, String>,
    /// It exists already, is never made and never removed.
    #[serde(skip_serializing_if = "is_default")]
    pub external: bool,
    /// Its labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: IndexMap<String, String>,
}
