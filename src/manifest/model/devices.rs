//! What a container gets of the host's hardware: GPUs and devices; and the limits of its processes.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::{InvalidValue, is_default, text_value};

/// How many GPUs are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuCount {
    All,
    Exactly(u32),
}

impl FromStr for GpuCount {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse::<u32>()) {
            ("all" | "-1", _) => Ok(Self::All),
            (_, Ok(count)) if count > 0 => Ok(Self::Exactly(count)),
            _ => Err(InvalidValue(message!("invalid-gpus", text = text))),
        }
    }
}

impl fmt::Display for GpuCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Exactly(count) => write!(formatter, "{count}"),
        }
    }
}

text_value!(GpuCount, "GpuCount", {
    "anyOf": [{ "type": "integer", "minimum": -1 }, { "type": "string", "pattern": "^(all|[0-9]+)$|\\$" }]
});

/// A request for GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gpu {
    /// `nvidia`; any driver with the capabilities where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    /// `"all"` or a number. Either this or `device_ids`.
    #[serde(skip_serializing_if = "is_default")]
    pub count: Option<GpuCount>,
    /// The wanted ones by ID or index.
    #[serde(skip_serializing_if = "is_default")]
    pub device_ids: Vec<String>,
    /// What they must be able to do; `["gpu"]` where absent.
    pub capabilities: Vec<String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "is_default")]
    pub options: IndexMap<String, String>,
    /// Whether the service must not run without; with `false` the request is dropped on a host without a GPU.
    pub required: bool,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            driver: None,
            count: None,
            device_ids: Vec::new(),
            capabilities: vec!["gpu".to_owned()],
            options: IndexMap::new(),
            required: true,
        }
    }
}

/// A device of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Device {
    /// Its path on the host, or the name of a CDI device: `nvidia.com/gpu=all`.
    pub source: String,
    /// Its path in the container.
    pub target: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// A limit of the process; -1 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ulimit {
    /// What it starts with.
    pub soft: i64,
    /// How far it may raise it itself.
    pub hard: i64,
}

impl Device {
    /// Whether it is a CDI device (Container Device Interface: `vendor/class=name`), not a path.
    pub fn is_cdi(&self) -> bool {
        is_cdi_name(&self.source)
    }
}

/// Whether a text names a CDI device.
pub fn is_cdi_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else {
        return false;
    };
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    !name.is_empty() && kind.split_once('/').is_some_and(|(vendor, class)| plain(vendor) && plain(class))
}
