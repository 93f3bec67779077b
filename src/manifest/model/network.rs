//! Networks, and how services join and publish.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::{InvalidValue, is_default, text_value};

/// A network of the project, or one that is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Network {
    /// Its name on the engine; `<project>_<key>` where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// The engine's network driver; `bridge` where absent.
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
    /// The addresses that it gives out.
    #[serde(skip_serializing_if = "is_default")]
    pub ipam: Ipam,
    /// Nothing gets out of it.
    #[serde(skip_serializing_if = "is_default")]
    pub internal: bool,
    /// Containers that are not the project's may join.
    #[serde(skip_serializing_if = "is_default")]
    pub attachable: bool,
    /// IPv6 beside IPv4.
    #[serde(skip_serializing_if = "is_default")]
    pub enable_ipv6: bool,
}

/// Which addresses a network gives out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ipam {
    /// The engine's address driver.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    /// The ranges.
    #[serde(skip_serializing_if = "is_default")]
    pub config: Vec<AddressPool>,
}

/// A range of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AddressPool {
    /// The subnet in CIDR notation.
    #[serde(skip_serializing_if = "is_default")]
    pub subnet: Option<String>,
    /// The part of it that containers get addresses from.
    #[serde(skip_serializing_if = "is_default")]
    pub ip_range: Option<String>,
    /// The gateway's address.
    #[serde(skip_serializing_if = "is_default")]
    pub gateway: Option<String>,
}

/// How a service joins a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NetworkJoin {
    /// More names for it in that network.
    #[serde(skip_serializing_if = "is_default")]
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    #[serde(skip_serializing_if = "is_default")]
    pub ipv4_address: Option<String>,
    /// A fixed IPv6 address.
    #[serde(skip_serializing_if = "is_default")]
    pub ipv6_address: Option<String>,
}

/// Whose namespace a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceMode {
    Host,
    None,
    Bridge,
    Private,
    Shareable,
    /// That of a service of this manifest.
    Service(String),
    /// That of any container.
    Container(String),
}

impl fmt::Display for NamespaceMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => formatter.write_str("host"),
            Self::None => formatter.write_str("none"),
            Self::Bridge => formatter.write_str("bridge"),
            Self::Private => formatter.write_str("private"),
            Self::Shareable => formatter.write_str("shareable"),
            Self::Service(name) => write!(formatter, "service:{name}"),
            Self::Container(name) => write!(formatter, "container:{name}"),
        }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port of the container that the host publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Port {
    /// The container's port.
    pub target: u16,
    /// The host's port; one that the engine picks where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub published: Option<u16>,
    /// The host's address; all of them where absent.
    #[serde(skip_serializing_if = "is_default")]
    pub host_ip: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Protocol,
}

/// A port that other containers may reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExposedPort {
    pub port: u16,
    pub protocol: Protocol,
}

/// Names and their addresses for /etc/hosts.
pub type ExtraHosts = IndexMap<String, Vec<String>>;

impl FromStr for NamespaceMode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidValue(format!("`{text}` is no mode: host, service:NAME, container:NAME, …"));
        match text.split_once(':') {
            Some(("service", name)) if !name.is_empty() => Ok(Self::Service(name.to_owned())),
            Some(("container", name)) if !name.is_empty() => Ok(Self::Container(name.to_owned())),
            Some(_) => Err(wrong()),
            None => match text {
                "host" => Ok(Self::Host),
                "none" => Ok(Self::None),
                "bridge" => Ok(Self::Bridge),
                "private" => Ok(Self::Private),
                "shareable" => Ok(Self::Shareable),
                _ => Err(wrong()),
            },
        }
    }
}

text_value!(NamespaceMode, "NamespaceMode", {
    "type": "string",
    "pattern": "^(host|none|bridge|private|shareable|(service|container):.+)$|\\$"
});

impl FromStr for Protocol {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(InvalidValue(format!("`{text}` is no protocol: tcp, udp or sctp"))),
        }
    }
}

impl FromStr for ExposedPort {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self { port, protocol: protocol.parse()? }),
            _ => Err(InvalidValue(format!("`{text}` is no port: 1 to 65535, with /udp or /sctp where it is not tcp"))),
        }
    }
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.port, self.protocol.word())
    }
}

text_value!(ExposedPort, "ExposedPort", {
    "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 65535 },
        { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(/(tcp|udp|sctp))?$|\\$" }
    ]
});
