//! How a container beside the server's reaches it: an address that it listens on, or its socket, where that can be had.
//!
//! What works in the server's own container need not work beside it: `db list` goes through the socket there, and a helper
//! that dumps has the server's network but not its files. A server may listen nowhere, or refuse who comes that way.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::client::{Client, Endpoint};
use super::idle_sessions::IdleSessions;
use crate::databases::containers::helper;
use crate::databases::error::{DatabasesError, Said};
use crate::engine::{ContainerSpec, ContainerView, ExecSpec, MountKind, MountSpec};
use crate::report::Message;

/// The way of a helper.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::databases) struct HelperRoute {
    pub endpoint: Endpoint,
    /// The folder of the socket, where it takes one.
    pub mount: Option<MountSpec>,
}

impl HelperRoute {
    pub fn to(endpoint: Endpoint) -> Self {
        Self { endpoint, mount: None }
    }
}

/// A server that was found through its socket.
pub(super) struct ServerBySocket<'a> {
    pub client: &'a Client,
    pub home: &'static str,
    pub port: u16,
    pub listen_addresses: &'a str,
    /// The server, for people.
    pub whereabouts: &'a Message,
    pub image_id: &'a str,
}

/// Where a socket's folder is inside a helper.
const SOCKET: &str = "/dpl-socket";

impl ServerBySocket<'_> {
    /// The first way that is answered: an address, since that needs nothing of the engine, then the socket.
    pub async fn way(&self) -> Result<HelperRoute, DatabasesError> {
        let mut refusal = None;
        for host in addresses(self.listen_addresses) {
            let endpoint = Endpoint::Tcp { host, port: Some(self.port) };
            // The server's own container has the network that a helper joins.
            match answers(&self.client_at(endpoint.clone()), self.home).await? {
                Ok(()) => return Ok(HelperRoute::to(endpoint)),
                Err(said) => refusal = refusal.or(Some(said)),
            }
        }
        for source in self.socket_folders().await? {
            let mount = MountSpec {
                kind: MountKind::Bind { source: source.to_string_lossy().into_owned(), propagation: None },
                target: SOCKET.to_owned(),
                read_only: false,
                selinux: None,
            };
            let endpoint = Endpoint::SocketIn { folder: SOCKET.to_owned(), port: self.port };
            if self.is_socket_at(&mount, &endpoint).await {
                return Ok(HelperRoute { endpoint, mount: Some(mount) });
            }
        }
        let source = refusal.unwrap_or_else(|| message!("tool-no-address").into());
        Err(DatabasesError::NoWay { server: self.whereabouts.clone(), source })
    }

    /// Where the folder of its socket is on the engine's machine, as far as that can be told.
    async fn socket_folders(&self) -> Result<Vec<PathBuf>, DatabasesError> {
        const FOLDERS: &str = "SELECT to_json(pg_catalog.current_setting('unix_socket_directories'))";
        let asked =
            self.client.query::<String>(self.home, || message!("sql-ask-for-the-server-s-socket"), FOLDERS).await;
        // Only some roles may ask; these are PostgreSQL's own and Debian's.
        let asked = asked.unwrap_or_else(|_| "/var/run/postgresql, /tmp".to_owned());
        let folders = asked.split(',').map(|folder| folder.trim().trim_matches('"').to_owned());
        let script = format!(
            r#"for folder; do cd -P "$folder" 2>/dev/null && [ -S ".s.PGSQL.{}" ] && pwd -P; done; :"#,
            self.port
        );
        let command = ["sh", "-c", &script, "sh"].map(str::to_owned).into_iter().chain(folders).collect();
        let spec = ExecSpec { command, ..Default::default() };
        let engine = &self.client.engine;
        let answer = engine.exec(&self.client.container, &spec, b"").await?;
        let Some(view) = engine.inspect_container(&self.client.container).await? else { return Ok(Vec::new()) };
        let root_of_images = &engine.facts().await?.root_dir;
        let inside = String::from_utf8_lossy(&answer.stdout).into_owned();
        Ok(inside.lines().flat_map(|folder| outside(Path::new(folder), &view, root_of_images)).collect())
    }

    /// The kept session is one through the socket, and says nothing of other ways.
    fn client_at(&self, endpoint: Endpoint) -> Client {
        Client { endpoint, idle: IdleSessions::default(), ..self.client.clone() }
    }

    /// Whether a helper with this mount finds a socket that is answered.
    async fn is_socket_at(&self, mount: &MountSpec, endpoint: &Endpoint) -> bool {
        let engine = &self.client.engine;
        let spec = ContainerSpec { mounts: vec![mount.clone()], ..helper::idle(self.image_id, &self.client.container) };
        let Ok(container) = engine.create_container(&spec).await else { return false };
        let Ok(_hold) = helper::run_held(engine, &container).await else { return false };
        let client = Client { container: container.clone(), ..self.client_at(endpoint.clone()) };
        let answered = matches!(answers(&client, self.home).await, Ok(Ok(())));
        let _ = engine.discard_container(&container).await;
        answered
    }
}

/// Whether the server answers; else what was said.
async fn answers(client: &Client, home: &str) -> Result<Result<(), Said>, DatabasesError> {
    match client.query::<u32>(home, || message!("sql-try-the-connection"), "SELECT to_json(1)").await {
        Ok(_) => Ok(Ok(())),
        Err(DatabasesError::Sql { source, .. }) => Ok(Err(source)),
        Err(error) => Err(error),
    }
}

/// Addresses to knock at, by `listen_addresses`.
fn addresses(listen: &str) -> Vec<String> {
    let mut addresses = Vec::new();
    for word in listen.split(',').map(|word| word.trim().trim_matches('"')).filter(|word| !word.is_empty()) {
        let heard_at = match word {
            "*" => &["127.0.0.1", "::1"][..],
            "0.0.0.0" | "localhost" => &["127.0.0.1"],
            "::" => &["::1"],
            other => &[other],
        };
        for address in heard_at {
            if !addresses.iter().any(|known| known == address) {
                addresses.push((*address).to_owned());
            }
        }
    }
    addresses
}

/// A folder of a container on the engine's machine: below what is mounted there, else in its own file system.
fn outside(inside: &Path, view: &ContainerView, engine_root: &Path) -> Vec<PathBuf> {
    let over = view.mounts.iter().filter(|mount| inside.starts_with(&mount.target));
    if let Some(mount) = over.max_by_key(|mount| mount.target.len()) {
        let below = inside.strip_prefix(&mount.target).unwrap_or(Path::new(""));
        // What is in memory is nowhere else.
        return if mount.source.is_empty() { Vec::new() } else { vec![Path::new(&mount.source).join(below)] };
    }
    let below = inside.strip_prefix("/").unwrap_or(inside);
    match &view.merged_dir {
        Some(root) => vec![Path::new(root).join(below)],
        // Engines with containerd's image store mount it here (moby, daemon/containerd).
        None => vec![engine_root.join("rootfs/overlayfs").join(&view.id).join(below)],
    }
}

/// Where a server was seen to listen, inside its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Socket { folder: String, port: u16 },
    Port(u16),
}

/// Prints what listens in the network that it is in.
pub(super) const LISTENERS: [&str; 3] =
    ["sh", "-c", "cat /proc/net/unix; echo; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; :"];

/// Sockets of PostgreSQL and ports that are listened on, by the kernel's tables (proc(5)).
pub(super) fn listeners(tables: &str) -> Vec<Seen> {
    const LISTENS: &str = "0A";
    let mut seen = Vec::new();
    for line in tables.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let found = match words.as_slice() {
            [_, _, _, _, _, _, _, path] => path
                .rsplit_once("/.s.PGSQL.")
                .and_then(|(folder, port)| Some(Seen::Socket { folder: folder.to_owned(), port: port.parse().ok()? })),
            [_, local, _, LISTENS, ..] => {
                let port = local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
                port.map(Seen::Port)
            }
            _ => None,
        };
        seen.extend(found.filter(|found| !seen.contains(found)));
    }
    // A host's own network may have hundreds.
    seen.truncate(8);
    seen
}

/// What a server says of itself when it is asked for its programs.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Privileged {
    pub bin_dir: Option<String>,
    /// Whether it lets everybody in who comes from its own machine, so that nobody has to knock first.
    pub trusts_loopback: Option<bool>,
}

/// The first rule that counts for addresses, where that is as initdb writes it.
pub(super) const PRIVILEGED: &str = "SELECT json_build_object(
  'bin_dir', (SELECT setting FROM pg_catalog.pg_config() WHERE name = 'BINDIR'),
  'trusts_loopback', (SELECT auth_method = 'trust' AND database = '{all}' AND user_name = '{all}'
      AND address IN ('127.0.0.1', 'all', 'samehost') AND pg_catalog.current_setting('listen_addresses') IN ('*', 'localhost')
    FROM pg_catalog.pg_hba_file_rules WHERE type ~ '^host' AND error IS NULL ORDER BY line_number LIMIT 1))";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MountView;

    #[test]
    fn addresses_that_mean_all_are_knocked_at_on_this_machine() {
        assert_eq!(addresses("*"), ["127.0.0.1", "::1"]);
        assert_eq!(addresses("localhost, 172.18.0.5"), ["127.0.0.1", "172.18.0.5"]);
        assert_eq!(addresses("\"0.0.0.0\",::"), ["127.0.0.1", "::1"]);
        assert_eq!(addresses(""), Vec::<String>::new());
    }

    #[test]
    fn a_sockets_folder_is_below_its_mount_or_in_the_containers_own_files() {
        let mount = |source: &str, target: &str| MountView {
            kind: "bind".to_owned(),
            name: None,
            source: source.to_owned(),
            target: target.to_owned(),
            read_only: false,
        };
        let mut view =
            ContainerView { id: "c1".to_owned(), merged_dir: Some("/d/merged".to_owned()), ..Default::default() };
        view.mounts = vec![mount("/srv", "/run"), mount("/vol/socket", "/run/postgresql"), mount("", "/tmp")];
        let outside = |folder: &str, view: &ContainerView| outside(Path::new(folder), view, Path::new("/lib/docker"));
        assert_eq!(outside("/run/postgresql/a", &view), [Path::new("/vol/socket/a")]);
        assert_eq!(outside("/tmp", &view), Vec::<PathBuf>::new());
        assert_eq!(outside("/sockets", &view), [Path::new("/d/merged/sockets")]);
        view.merged_dir = None;
        assert_eq!(outside("/sockets", &view), [Path::new("/lib/docker/rootfs/overlayfs/c1/sockets")]);
    }

    #[test]
    fn listeners_are_read_from_the_kernels_tables() {
        let tables = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 71234 /sockets/.s.PGSQL.5433\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 71235 /run/other.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 71236\n\n\
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
               0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 1 1 0 100 0 0 10 0\n\
               1: 0100007F:1538 0100007F:C350 01 00000000:00000000 00:00000000 00000000   999        0 1 1 0 100 0 0 10 0";
        let socket = Seen::Socket { folder: "/sockets".to_owned(), port: 5433 };
        assert_eq!(listeners(tables), [socket, Seen::Port(5432)]);
    }
}
