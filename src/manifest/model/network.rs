//! Networks, and how services join and publish.

use std::fmt;
use std::net::IpAddr;
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
    /// Its MAC address in the network; engines from 25 on.
    #[serde(skip_serializing_if = "is_default")]
    pub mac_address: Option<String>,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(into = "WrittenPort")]
pub struct Port {
    pub target: u16,
    /// The host's port, or the first of a range; one that the engine picks where absent.
    pub published: Option<u16>,
    /// The last port of a range, of which the engine takes the first that is free; absent for a single port.
    pub published_until: Option<u16>,
    /// The host's address; all of them where absent.
    pub host_ip: Option<String>,
    pub protocol: Protocol,
}

/// A port of the container that the host publishes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Port")]
struct WrittenPort {
    /// The container's port.
    #[schemars(range(min = 1))]
    target: u16,
    /// The host's port; one that the engine picks where absent, the first free one of a range `8000-8010`.
    #[serde(skip_serializing_if = "is_default")]
    published: Option<HostPort>,
    /// The host's address; all of them where absent.
    #[serde(skip_serializing_if = "is_default")]
    host_ip: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    protocol: Protocol,
    /// `host` (or `ingress`, which means the same without Swarm).
    #[serde(skip_serializing_if = "is_default")]
    mode: Option<String>,
}

impl From<Port> for WrittenPort {
    fn from(port: Port) -> Self {
        let Port { target, published, published_until, host_ip, protocol } = port;
        let published = published.map(|first| HostPort { first, last: published_until.unwrap_or(first) });
        Self { target, published, host_ip, protocol, mode: None }
    }
}

impl JsonSchema for Port {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WrittenPort::json_schema(generator)
    }
}

/// The addresses of the host that a port is published on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAddress {
    /// All of both families.
    All,
    /// All of one family.
    AllV4,
    AllV6,
    One(IpAddr),
}

impl HostAddress {
    /// What an address of a published port means; none, an empty one and one that is not an address mean all.
    pub fn of(address: Option<&str>) -> Self {
        match address.map(str::parse::<IpAddr>) {
            Some(Ok(IpAddr::V4(address))) if address.is_unspecified() => Self::AllV4,
            Some(Ok(IpAddr::V6(address))) if address.is_unspecified() => Self::AllV6,
            Some(Ok(address)) => Self::One(address),
            None | Some(Err(_)) => Self::All,
        }
    }

    /// Whether a socket on the one keeps the other from being opened. The families are apart: the engine binds IPv6 for
    /// itself.
    pub fn collides(&self, other: &Self) -> bool {
        let is_v4 = |address: &Self| matches!(address, Self::All | Self::AllV4 | Self::One(IpAddr::V4(_)));
        let is_v6 = |address: &Self| matches!(address, Self::All | Self::AllV6 | Self::One(IpAddr::V6(_)));
        match (self, other) {
            (Self::One(address), Self::One(other)) => address == other,
            _ => is_v4(self) && is_v4(other) || is_v6(self) && is_v6(other),
        }
    }
}

impl Port {
    /// The host's port, where the engine has no choice.
    pub fn single_port(&self) -> Option<u16> {
        self.published.filter(|_| self.published_until.is_none())
    }

    /// The addresses of the host that it is published on.
    pub fn address(&self) -> HostAddress {
        HostAddress::of(self.host_ip.as_deref())
    }
}

/// A service under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub service: String,
    pub alias: String,
}

impl FromStr for Link {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, alias) = text.split_once(':').unwrap_or((text, text));
        if service.is_empty() || alias.is_empty() || alias.contains(':') {
            return Err(InvalidValue(message!("invalid-link", text = text)));
        }
        Ok(Self { service: service.to_owned(), alias: alias.to_owned() })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.service, self.alias)
    }
}

text_value!(Link, "Link", { "type": "string" });

/// A port of the host, or a range of which the engine takes the first that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub first: u16,
    /// The same as `first` for a single port.
    pub last: u16,
}

impl HostPort {
    /// The port, where there is no choice.
    pub fn single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }
}

impl FromStr for HostPort {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidValue(message!("invalid-host-port", text = text));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 && !text.starts_with('+') => Ok(port),
            _ => Err(wrong()),
        };
        let (first, last) = (port(first)?, port(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(wrong()) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(port) => write!(formatter, "{port}"),
            None => write!(formatter, "{}-{}", self.first, self.last),
        }
    }
}

impl Serialize for HostPort {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.single() {
            Some(port) => serializer.serialize_u16(port),
            None => serializer.collect_str(self),
        }
    }
}

impl JsonSchema for HostPort {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostPort".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 65535 }, { "type": "string" }]
        })
    }
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
        let wrong = || InvalidValue(message!("invalid-mode", text = text));
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
            _ => Err(InvalidValue(message!("invalid-protocol", text = text))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

text_value!(Protocol, "Protocol", {
    "type": "string",
    "pattern": "^([Tt][Cc][Pp]|[Uu][Dd][Pp]|[Ss][Cc][Tt][Pp])$|\\$"
});

impl FromStr for ExposedPort {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self { port, protocol: protocol.parse()? }),
            _ => Err(InvalidValue(message!("invalid-port", text = text))),
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
        { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(/([Tt][Cc][Pp]|[Uu][Dd][Pp]|[Ss][Cc][Tt][Pp]))?$|\\$" }
    ]
});
