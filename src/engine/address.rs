//! Where the engine is: `-H`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the Docker configuration's current context, else the
//! local socket; in that order, as the Docker CLI has it ("Docker contexts"). bollard knows no contexts.

use std::env;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::fs::Digest;

/// The address of an engine: `unix://…`, `tcp://…` or `ssh://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// No address can be made of what was given.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error(
        "`{0}` is no engine's address: unix://PATH, tcp://HOST:PORT, ssh://USER@HOST or the name of a Docker context"
    )]
    Unknown(String),
    #[error("Docker context `{name}` can't be read from {path}")]
    Context { name: String, path: PathBuf, source: std::io::Error },
    #[error("Docker context `{name}` has no usable address in {path}")]
    ContextContent { name: String, path: PathBuf },
}

const LOCAL: &str = "unix:///var/run/docker.sock";

impl Address {
    /// Resolves what the command line gave, or else what the environment says.
    pub fn resolve(given: Option<&str>) -> Result<Self, AddressError> {
        if let Some(given) = given {
            return Self::parse(given);
        }
        if let Some(host) = non_empty("DOCKER_HOST") {
            return Self::parse(&host);
        }
        match non_empty("DOCKER_CONTEXT").or_else(current_context) {
            Some(name) if name != "default" => Self::of_context(&name),
            _ => Ok(Self(LOCAL.to_owned())),
        }
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        match text.split_once("://") {
            Some(("unix" | "tcp" | "http" | "ssh", rest)) if !rest.is_empty() => Ok(Self(text.to_owned())),
            Some(_) => Err(AddressError::Unknown(text.to_owned())),
            None if text.is_empty() => Err(AddressError::Unknown(text.to_owned())),
            None if text == "default" => Ok(Self(LOCAL.to_owned())),
            None => Self::of_context(text),
        }
    }

    /// Contexts lie in `contexts/meta/<sha256 of the name>/meta.json` of the Docker configuration folder.
    fn of_context(name: &str) -> Result<Self, AddressError> {
        #[derive(Deserialize)]
        struct Meta {
            #[serde(rename = "Endpoints")]
            endpoints: std::collections::HashMap<String, Endpoint>,
        }
        #[derive(Deserialize)]
        struct Endpoint {
            #[serde(rename = "Host")]
            host: Option<String>,
        }

        let folder = Digest::of(name.as_bytes());
        let path = docker_folder().join("contexts/meta").join(folder.hex()).join("meta.json");
        let text = std::fs::read_to_string(&path).map_err(|source| AddressError::Context {
            name: name.to_owned(),
            path: path.clone(),
            source,
        })?;
        let host = serde_json::from_str::<Meta>(&text)
            .ok()
            .and_then(|meta| meta.endpoints.into_iter().find(|(kind, _)| kind == "docker"))
            .and_then(|(_, endpoint)| endpoint.host);
        match host {
            Some(host) if host.contains("://") => Self::parse(&host),
            _ => Err(AddressError::ContextContent { name: name.to_owned(), path }),
        }
    }

    /// The address as a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the engine shares this machine's file system and ports.
    pub fn is_local(&self) -> bool {
        self.0.starts_with("unix://")
    }

    /// Whether containers of the engine may see folders of this machine; whether they do, only a look shows: a socket
    /// may lead elsewhere. `DPL_ENGINE_ELSEWHERE=1` says that they don't.
    pub fn may_share_folders(&self) -> bool {
        let is_loopback = || {
            let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
            ["127.", "localhost", "[::1]"].iter().any(|here| rest.starts_with(here))
        };
        let is_here = self.is_local() || (!self.0.starts_with("ssh://") && is_loopback());
        is_here && non_empty("DPL_ENGINE_ELSEWHERE").is_none()
    }

    /// The socket's path, when the engine listens on one of this machine.
    pub fn socket(&self) -> Option<&str> {
        self.0.strip_prefix("unix://")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn non_empty(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn docker_folder() -> PathBuf {
    match non_empty("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".docker"),
    }
}

fn current_context() -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "currentContext")]
        current_context: Option<String>,
    }
    let text = std::fs::read_to_string(docker_folder().join("config.json")).ok()?;
    serde_json::from_str::<Config>(&text).ok()?.current_context.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_of_three_schemes() {
        for text in ["unix:///run/docker.sock", "tcp://127.0.0.1:2375", "ssh://site@host"] {
            assert_eq!(Address::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "ftp://host", "unix://"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
