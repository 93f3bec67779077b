//! Short-lived containers from the server's own image, in which PostgreSQL's programs work on a folder of this host.
//!
//! A helper joins the server's network, so that it reaches it wherever it listens, and has one folder of ours
//! mounted: bytes go straight to and from the disk instead of through the engine's attach stream, which is the
//! bottleneck otherwise. It runs as the user who runs dpl, so files belong to them and nobody else can read them.
//! Its life hangs on this process (see [`ContainerHold`]): killed, the helper goes and its programs with it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::DatabasesError;
use super::psql::{Client, Endpoint};
use super::server::Server;
use crate::engine::{
    ContainerHold, ContainerSpec, EngineErrorKind, ExecSpec, HealthSpec, LogSpec, MountKind, MountSpec,
};

/// The label of every helper: its value is the room that made it.
pub const HELPER_LABEL: &str = "dpl.helper";

/// The label with the ID of the container whose server the helper works for.
pub const HELPER_SERVER_LABEL: &str = "dpl.helper.server";

/// Where the folder is, inside.
pub(super) const INSIDE: &str = "/dpl";

/// What a helper may do with its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What a helper reaches over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Server,
    /// Nothing: it only reads an archive.
    Nothing,
}

/// A running helper; to be ended with [`Helper::end`]. Dropped without it, the engine ends it a moment later.
#[derive(Debug)]
pub(super) struct Helper {
    pub client: Client,
    _hold: ContainerHold,
}

impl Helper {
    /// Starts one that sees `folder` as [`INSIDE`], and proves that it does.
    pub async fn start(server: &Server, folder: &Path, access: Access, reach: Reach) -> Result<Self, DatabasesError> {
        let folder = std::fs::canonicalize(folder).map_err(DatabasesError::file("find", folder))?;
        let engine = server.engine();
        let spec = spec(server, &folder, access, reach);
        crate::failpoint!("databases.helper.before-create");
        let id = match engine.create_container(&spec).await {
            Ok(id) => id,
            // A bind source that the engine does not have is refused as a wrong request.
            Err(error) if error.kind() == EngineErrorKind::Refused => {
                return Err(DatabasesError::Unseen { folder });
            }
            Err(error) => return Err(error.into()),
        };
        let hold = match Self::run(server, &id).await {
            Ok(hold) => hold,
            Err(error) => {
                // The first error is the one to tell; what stays is found by its label.
                let _ = engine.discard_container(&id).await;
                return Err(error);
            }
        };
        let client = Client {
            container: id,
            endpoint: Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: Some(server.port) },
            ..server.client.clone()
        };
        let helper = Self { client, _hold: hold };
        match helper.prove(&folder, access).await {
            Ok(()) => Ok(helper),
            Err(error) => {
                helper.end().await;
                Err(error)
            }
        }
    }

    async fn run(server: &Server, id: &str) -> Result<ContainerHold, DatabasesError> {
        let hold = server.engine().hold_container(id).await?;
        server.engine().start_container(id).await?;
        Ok(hold)
    }

    /// The engine may be on another machine, or look paths up elsewhere: the folder's inode and time show that both
    /// sides mean the same one.
    async fn prove(&self, folder: &Path, access: Access) -> Result<(), DatabasesError> {
        let mut test = format!("stat -c '%i %Y' {INSIDE}");
        if access == Access::Write {
            // First, since it changes the time.
            test = format!("touch {INSIDE}/.dpl-seen && rm {INSIDE}/.dpl-seen && {test}");
        }
        let spec = ExecSpec { command: vec!["sh".to_owned(), "-c".to_owned(), test], ..Default::default() };
        let answer = self.client.engine.exec(&self.client.container, &spec, b"").await?;
        let here = std::fs::metadata(folder).map_err(DatabasesError::file("look at", folder))?;
        let here = format!("{} {}", here.ino(), here.mtime());
        if answer.exit_code == 0 && String::from_utf8_lossy(&answer.stdout).trim() == here {
            Ok(())
        } else {
            Err(DatabasesError::Unseen { folder: folder.to_owned() })
        }
    }

    /// Ends it, and whatever still runs in it, at once.
    pub async fn end(self) {
        // It removes itself when it ends, so that it is gone already, or going, is fine; what stays has our label.
        let _ = self.client.engine.discard_container(&self.client.container).await;
    }
}

fn spec(server: &Server, folder: &Path, access: Access, reach: Reach) -> ContainerSpec {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let token = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    ContainerSpec {
        name: format!("dpl-databases-{token:016x}"),
        image: server.image_id.clone(),
        // It does nothing but wait for the end of its input, which is the end of this process.
        entrypoint: Some(vec!["cat".to_owned()]),
        command: Some(Vec::new()),
        user: Some(format!("{}:{}", user.as_raw(), group.as_raw())),
        working_dir: Some("/".to_owned()),
        labels: BTreeMap::from([
            (HELPER_LABEL.to_owned(), "databases".to_owned()),
            (HELPER_SERVER_LABEL.to_owned(), server.client.container.clone()),
        ]),
        stdin_open: true,
        stdin_once: true,
        auto_remove: true,
        health: Some(HealthSpec { test: vec!["NONE".to_owned()], ..Default::default() }),
        network_mode: Some(match reach {
            Reach::Server => format!("container:{}", server.client.container),
            Reach::Nothing => "none".to_owned(),
        }),
        mounts: vec![MountSpec {
            kind: MountKind::Bind { source: folder.to_string_lossy().into_owned(), propagation: None },
            target: INSIDE.to_owned(),
            read_only: access == Access::Read,
        }],
        tmpfs: BTreeMap::from([("/tmp".to_owned(), String::new())]),
        read_only: true,
        // Files of another owner are read where root runs dpl, as they would be without a container.
        cap_drop: vec!["ALL".to_owned()],
        cap_add: vec!["DAC_OVERRIDE".to_owned()],
        // The folder keeps its own SELinux label.
        security_opt: vec!["no-new-privileges".to_owned(), "label=disable".to_owned()],
        logging: Some(LogSpec { driver: "none".to_owned(), options: BTreeMap::new() }),
        ..Default::default()
    }
}
