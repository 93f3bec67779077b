//! Model values that are written as one word or line: policies, counts, modes, ports, tmpfs.

use std::fmt;
use std::str::FromStr;

use super::{InvalidValue, text_value};
use crate::manifest::model::{ExposedPort, GpuCount, NamespaceMode, Protocol, RestartPolicy, Tmpfs};

impl FromStr for RestartPolicy {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            "on-failure" => Ok(Self::OnFailure(None)),
            other => match other.strip_prefix("on-failure:").and_then(|count| count.parse().ok()) {
                Some(count) => Ok(Self::OnFailure(Some(count))),
                None => Err(InvalidValue(format!(
                    "`{text}` is no restart policy: no, always, unless-stopped, on-failure or on-failure:N"
                ))),
            },
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => formatter.write_str("no"),
            Self::Always => formatter.write_str("always"),
            Self::UnlessStopped => formatter.write_str("unless-stopped"),
            Self::OnFailure(None) => formatter.write_str("on-failure"),
            Self::OnFailure(Some(count)) => write!(formatter, "on-failure:{count}"),
        }
    }
}

text_value!(RestartPolicy, "RestartPolicy", {
    "type": "string",
    "pattern": "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$|\\$"
});

impl FromStr for GpuCount {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse::<u32>()) {
            ("all" | "-1", _) => Ok(Self::All),
            (_, Ok(count)) if count > 0 => Ok(Self::Exactly(count)),
            _ => Err(InvalidValue(format!("`{text}` is no number of GPUs: write `all`, or a number from 1"))),
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

impl FromStr for Tmpfs {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !target.starts_with('/') {
            return Err(InvalidValue(format!("`{text}` is no tmpfs: write `/absolute/path` or `/path:size=64m`")));
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
