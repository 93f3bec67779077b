//! Where the engine is: `-H`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the Docker configuration's current context, else the
//! local socket; in that order, as the Docker CLI has it ("Docker contexts"). bollard knows no contexts.
//!
//! `tcp://HOST` means port 2375, or 2376 with TLS, and TLS is used where `DOCKER_TLS_VERIFY`, `DOCKER_TLS` or the context
//! asks for it (Docker CLI, "Protect the Docker daemon socket").

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::fs::Digest;
use crate::report::{Message, Told};
use crate::ssh::{Destination, host_and_port};

/// The address of an engine: `unix://…`, `tcp://…` or `ssh://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    tls: Option<TlsFiles>,
}

/// What an encrypted connection is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// Certificates of the authorities to trust; the system's where `None`.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the engine's certificate has to be valid.
    pub verify: bool,
}

impl TlsFiles {
    /// The files of a folder, by the names that the Docker CLI gives them; those that exist.
    fn in_folder(folder: &Path, verify: bool) -> Self {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        Self { authorities: file("ca.pem"), identity: file("cert.pem").zip(file("key.pem")), verify }
    }
}

/// An ssh destination: `ssh://[USER@]HOST[:PORT][/SOCKET]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshDestination {
    pub host: Destination,
    /// The engine's socket on that host, where it is not the one that its docker command takes.
    pub socket: Option<String>,
}

/// No address can be made of what was given.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    Unknown(String),
    LeadingDash(String),
    Context { name: String, path: PathBuf, source: io::Error },
    ContextContent { name: String, path: PathBuf },
    NoContext { name: String },
    Config { path: PathBuf, source: io::Error },
}

impl Told for AddressError {
    fn message(&self) -> Message {
        match self {
            Self::Unknown(text) => message!("error-address-unknown", text = text),
            Self::LeadingDash(text) => message!("error-address-dash", text = text),
            Self::Context { name, path, .. } => {
                message!("error-context-unreadable", name = name, path = path.display())
            }
            Self::ContextContent { name, path } => {
                message!("error-context-content", name = name, path = path.display())
            }
            Self::NoContext { name } => message!("error-no-context", name = name),
            Self::Config { path, .. } => message!("error-docker-config", path = path.display()),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::NoContext { .. } => Some(message!("hint-context")),
            Self::Config { .. } => Some(message!("hint-docker-config")),
            _ => None,
        }
    }
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
        let chosen = match non_empty("DOCKER_CONTEXT") {
            Some(name) => Some(name),
            None => current_context(&docker_folder().join("config.json"))?,
        };
        match chosen {
            Some(name) if name != "default" => Self::of_context(&name),
            _ => Ok(Self::local()),
        }
    }

    fn local() -> Self {
        Self { url: LOCAL.to_owned(), tls: None }
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        match text {
            "default" => Ok(Self::local()),
            url if url.contains("://") => Self::of_url(url, tls_of_environment()),
            "" => Err(AddressError::Unknown(text.to_owned())),
            // As the Docker CLI takes it; no context has a name with a colon.
            host_and_port if text.contains(':') => {
                Self::of_url(&format!("tcp://{host_and_port}"), tls_of_environment())
            }
            name => Self::of_context(name),
        }
    }

    /// `tls` counts for TCP alone.
    fn of_url(text: &str, tls: Option<TlsFiles>) -> Result<Self, AddressError> {
        let unknown = || AddressError::Unknown(text.to_owned());
        let (scheme, rest) = text.split_once("://").filter(|(_, rest)| !rest.is_empty()).ok_or_else(unknown)?;
        match scheme {
            "unix" => Ok(Self { url: text.to_owned(), tls: None }),
            "tcp" | "http" => {
                let port = match (scheme, &tls) {
                    ("http", _) => 80,
                    (_, None) => 2375,
                    (_, Some(_)) => 2376,
                };
                let authority = with_port(rest.trim_end_matches('/'), port).ok_or_else(unknown)?;
                Ok(Self { url: format!("{scheme}://{authority}"), tls: tls.filter(|_| scheme == "tcp") })
            }
            "ssh" => {
                let address = Self { url: text.to_owned(), tls: None };
                let destination = address.ssh_destination().ok_or_else(unknown)?;
                if destination.host.begins_with_dash() {
                    return Err(AddressError::LeadingDash(text.to_owned()));
                }
                Ok(address)
            }
            _ => Err(unknown()),
        }
    }

    /// Contexts lie in `contexts/meta/<sha256 of the name>/meta.json` of the Docker configuration folder, their
    /// certificates in `contexts/tls/<the same>/docker`.
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
            #[serde(rename = "SkipTLSVerify", default)]
            skip_tls_verify: bool,
        }

        let folder = Digest::of(name.as_bytes());
        let contexts = docker_folder().join("contexts");
        let path = contexts.join("meta").join(folder.hex()).join("meta.json");
        let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => AddressError::NoContext { name: name.to_owned() },
            _ => AddressError::Context { name: name.to_owned(), path: path.clone(), source },
        })?;
        let endpoint = serde_json::from_str::<Meta>(&text)
            .ok()
            .and_then(|meta| meta.endpoints.into_iter().find(|(kind, _)| kind == "docker"))
            .map(|(_, endpoint)| endpoint);
        let host = endpoint.as_ref().and_then(|endpoint| endpoint.host.clone());
        match (endpoint, host) {
            (Some(endpoint), Some(host)) if host.contains("://") => {
                let files = contexts.join("tls").join(folder.hex()).join("docker");
                let tls = (endpoint.skip_tls_verify || files.is_dir())
                    .then(|| TlsFiles::in_folder(&files, !endpoint.skip_tls_verify));
                Self::of_url(&host, tls)
            }
            _ => Err(AddressError::ContextContent { name: name.to_owned(), path }),
        }
    }

    /// The address as a URL.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// How the connection is encrypted; `None` where it is not, or ssh does it.
    pub(super) fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// Whether the engine shares this machine's file system and ports.
    pub fn is_local(&self) -> bool {
        self.url.starts_with("unix://")
    }

    /// Whether containers of the engine may see folders of this machine; whether they do, only a look shows: a socket
    /// may lead elsewhere. `DPL_ENGINE_ELSEWHERE=1` says that they don't.
    pub fn may_share_folders(&self) -> bool {
        let is_loopback = || {
            let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
            ["127.", "localhost", "[::1]"].iter().any(|here| rest.starts_with(here))
        };
        let is_here = self.is_local() || (!self.url.starts_with("ssh://") && is_loopback());
        is_here && non_empty("DPL_ENGINE_ELSEWHERE").is_none()
    }

    /// The socket's path, when the engine listens on one of this machine.
    pub fn socket(&self) -> Option<&str> {
        self.url.strip_prefix("unix://")
    }

    /// `HOST:PORT`, when the engine is reached through TCP.
    pub(super) fn tcp_authority(&self) -> Option<&str> {
        self.url.strip_prefix("tcp://").or_else(|| self.url.strip_prefix("http://"))
    }

    /// Where ssh connects to, when the engine is reached through it.
    pub(super) fn ssh_destination(&self) -> Option<SshDestination> {
        let rest = self.url.strip_prefix("ssh://")?;
        let (authority, socket) = match rest.find('/') {
            Some(place) => (&rest[..place], Some(&rest[place..]).filter(|path| *path != "/")),
            None => (rest, None),
        };
        let host = Destination::of_authority(authority)?;
        Some(SshDestination { host, socket: socket.map(str::to_owned) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.url)
    }
}

fn with_port(text: &str, default: u16) -> Option<String> {
    let (host, port) = host_and_port(text)?;
    let is_host = !host.is_empty() && !host.contains(['/', '@']);
    is_host.then(|| format!("{host}:{}", port.unwrap_or(default)))
}

/// What the environment says about TLS, for addresses that no context gave.
fn tls_of_environment() -> Option<TlsFiles> {
    let verify = non_empty("DOCKER_TLS_VERIFY").is_some();
    if !verify && non_empty("DOCKER_TLS").is_none() {
        return None;
    }
    let folder = non_empty("DOCKER_CERT_PATH").map_or_else(docker_folder, PathBuf::from);
    Some(TlsFiles::in_folder(&folder, verify))
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

/// The context that a configuration names. One that is there and can't be read is an error: work on the local engine in place
/// of the chosen one would be work on the wrong engine.
fn current_context(path: &Path) -> Result<Option<String>, AddressError> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "currentContext")]
        current_context: Option<String>,
    }
    let failed = |source| AddressError::Config { path: path.to_owned(), source };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    // As the Docker CLI reads it: an empty file says nothing, and what follows the first value does not count.
    match serde_json::Deserializer::from_str(&text).into_iter::<Config>().next() {
        None => Ok(None),
        Some(Ok(config)) => Ok(config.current_context.filter(|name| !name.is_empty())),
        Some(Err(error)) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_of_three_schemes() {
        for text in ["unix:///run/docker.sock", "tcp://127.0.0.1:2375", "ssh://site@host"] {
            assert_eq!(Address::of_url(text, None).unwrap().as_str(), text);
        }
        for text in ["ftp://host", "unix://", "tcp://", "tcp://host:port", "tcp://:2375", "ssh://", "ssh://a:b@host"] {
            assert!(matches!(Address::of_url(text, None), Err(AddressError::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn tcp_without_a_port_means_the_port_that_the_docker_command_takes() {
        let tls = || Some(TlsFiles { authorities: None, identity: None, verify: true });
        for (text, tls, expected) in [
            ("tcp://site", None, "tcp://site:2375"),
            ("tcp://site/", None, "tcp://site:2375"),
            ("tcp://[::1]", None, "tcp://[::1]:2375"),
            ("tcp://[::1]:4000", None, "tcp://[::1]:4000"),
            ("tcp://site", tls(), "tcp://site:2376"),
            ("tcp://site:2375", tls(), "tcp://site:2375"),
            ("http://site", None, "http://site:80"),
        ] {
            assert_eq!(Address::of_url(text, tls).unwrap().as_str(), expected, "{text}");
        }
    }

    #[test]
    fn a_host_with_a_port_is_an_address_and_a_name_that_no_context_has_is_said() {
        assert_eq!(Address::parse("127.0.0.1:1").unwrap().as_str(), "tcp://127.0.0.1:1");
        let error = Address::parse("dpl-test-no-such-context").unwrap_err();
        assert!(matches!(&error, AddressError::NoContext { name } if name == "dpl-test-no-such-context"), "{error:?}");
    }

    #[test]
    fn a_configuration_of_docker_that_cannot_be_read_is_an_error_and_none_is_no_choice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(current_context(&path).unwrap(), None);
        for (text, expected) in [
            ("", None),
            ("{}", None),
            (r#"{"currentContext": ""}"#, None),
            (r#"{"currentContext": "site", "auths": {}}"#, Some("site")),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(current_context(&path).unwrap().as_deref(), expected, "{text}");
        }
        for text in [r#"{"currentContext": "site""#, r#"{"currentContext": 1}"#, "context"] {
            std::fs::write(&path, text).unwrap();
            let error = current_context(&path).unwrap_err();
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(current_context(&path).is_err());
    }

    #[test]
    fn ssh_destinations_are_taken_apart_and_never_read_as_options() {
        let parts = |text: &str| Address::of_url(text, None).unwrap().ssh_destination().unwrap();
        let host = |user: Option<&str>, host: &str, port| Destination {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        };
        let expected =
            SshDestination { host: host(Some("site"), "host", Some(2200)), socket: Some("/run/other.sock".to_owned()) };
        assert_eq!(parts("ssh://site@host:2200/run/other.sock"), expected);
        let plain = SshDestination { host: host(None, "::1", None), socket: None };
        assert_eq!(parts("ssh://[::1]/"), plain);
        for text in ["ssh://-oProxyCommand=id", "ssh://-l@host", "ssh://site@-host:22"] {
            assert!(matches!(Address::of_url(text, None), Err(AddressError::LeadingDash(_))), "{text}");
        }
    }
}
