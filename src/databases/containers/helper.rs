//! Short-lived containers from the server's own image, in which PostgreSQL's programs work on a folder of this host.
//!
//! A helper joins the server's network, so that it reaches it wherever it listens, and has one folder of ours
//! mounted: bytes go straight to and from the disk instead of through the engine's attach stream, which is the
//! bottleneck otherwise. Where the engine does not see this machine's folders, the helper has a volume of its own
//! instead, and `copy` carries the files. It runs as the user who runs dpl, so files belong to them and nobody else
//! can read them. Its life hangs on this process (see [`ContainerHold`]): killed, the helper goes and its programs with
//! it; what was never started goes with the next run (`stale`).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::copy;
use super::stale::{self, MAKER_LABEL, MODULE, Maker};
use crate::databases::error::{DatabasesError, Said};
use crate::databases::server::client::Client;
use crate::databases::server::connect::Server;
use crate::engine::{
    ContainerHold, ContainerSpec, Engine, EngineErrorKind, ExecSpec, HealthSpec, LogSpec, MountKind, MountSpec,
};

/// The label of every helper: its value is the module that made it.
pub const HELPER_LABEL: &str = "dpl.helper";

/// The label with the ID of the container whose server the helper works for.
pub const HELPER_SERVER_LABEL: &str = "dpl.helper.server";

/// Where the folder is, inside.
pub(in crate::databases) const INSIDE: &str = "/dpl";

/// What one file is called in [`INSIDE`], whatever its own name is.
pub(in crate::databases) const FILE: &str = "file";

/// What a helper may do with its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::databases) enum Access {
    Read,
    Write,
}

/// What a helper reaches over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::databases) enum Reach {
    Server,
    /// Nothing: it only reads an archive.
    Nothing,
}

/// A running helper; to be ended with [`Helper::end`]. Dropped without it, the engine ends it a moment later.
#[derive(Debug)]
pub(in crate::databases) struct Helper {
    pub client: Client,
    /// Whether [`INSIDE`] is the folder itself; else what is written there has to be fetched.
    pub shares_folder: bool,
    _hold: ContainerHold,
}

/// What a helper is made from and where it stands: beside a server, or, with `network_mode` none, beside nothing.
pub(in crate::databases) struct HelperPlace {
    /// How its programs reach the server; whose container it names is no matter.
    pub client: Client,
    pub image_id: String,
    pub network_mode: String,
    /// The folder of the server's socket, where there is no other way.
    pub socket: Option<MountSpec>,
    /// The value of [`HELPER_SERVER_LABEL`].
    pub label: String,
}

/// What is mounted at [`INSIDE`].
#[derive(Clone, Copy)]
enum Inside<'a> {
    Folder(&'a Path),
    /// One file, at [`FILE`] in it, and nothing of what lies beside it.
    File(&'a Path),
    /// A volume that goes with the container.
    Volume,
}

impl Helper {
    /// Starts one that has the content of `folder` at [`INSIDE`], or where that is a file this one alone.
    pub async fn start(server: &Server, folder: &Path, access: Access, reach: Reach) -> Result<Self, DatabasesError> {
        let place = match reach {
            Reach::Server => server.helper_place().await?,
            Reach::Nothing => server.place_apart(),
        };
        Self::start_on(&place, folder, access).await
    }

    /// As [`Helper::start`], where there may be no server.
    pub async fn start_on(place: &HelperPlace, folder: &Path, access: Access) -> Result<Self, DatabasesError> {
        let folder = std::fs::canonicalize(folder).map_err(DatabasesError::file(message!("verb-find"), folder))?;
        let engine = &place.client.engine;
        stale::clear(engine).await?;
        if engine.address().may_share_folders() {
            let inside = if folder.is_dir() { Inside::Folder(&folder) } else { Inside::File(&folder) };
            match Self::start_with(place, inside, access).await {
                Err(DatabasesError::Unseen) => {}
                result => return result,
            }
        }
        let helper = Self::start_with(place, Inside::Volume, access).await?;
        let filled = match access {
            Access::Read => copy::send(&helper.client, &folder).await,
            Access::Write => Ok(()),
        };
        match filled {
            Ok(()) => Ok(helper),
            Err(error) => {
                helper.end().await;
                Err(error)
            }
        }
    }

    /// Starts one without a folder, for a program of which nobody knows how much memory it takes: in the server's own
    /// container that would count against the server's limit.
    pub async fn start_beside(server: &Server) -> Result<Self, DatabasesError> {
        let place = server.helper_place().await?;
        let engine = &place.client.engine;
        stale::clear(engine).await?;
        let network_mode = Some(place.network_mode);
        let mounts = place.socket.into_iter().collect();
        let spec = ContainerSpec { network_mode, mounts, ..idle(&place.image_id, &place.label) };
        let container = engine.create_container(&spec).await?;
        let hold = run_held(engine, &container).await?;
        let client = Client { container, ..place.client };
        Ok(Self { client, shares_folder: false, _hold: hold })
    }

    async fn start_with(place: &HelperPlace, inside: Inside<'_>, access: Access) -> Result<Self, DatabasesError> {
        let engine = &place.client.engine;
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let mount = match inside {
            Inside::Folder(folder) => MountSpec {
                kind: MountKind::Bind { source: folder.to_string_lossy().into_owned(), propagation: None },
                target: INSIDE.to_owned(),
                read_only: access == Access::Read,
                selinux: None,
            },
            Inside::File(file) => MountSpec {
                kind: MountKind::Bind { source: file.to_string_lossy().into_owned(), propagation: None },
                target: format!("{INSIDE}/{FILE}"),
                read_only: true,
                selinux: None,
            },
            Inside::Volume => volume(INSIDE),
        };
        let spec = ContainerSpec {
            user: Some(format!("{}:{}", user.as_raw(), group.as_raw())),
            network_mode: Some(place.network_mode.clone()),
            mounts: std::iter::once(mount).chain(place.socket.clone()).collect(),
            ..idle(&place.image_id, &place.label)
        };
        crate::failpoint!("databases.helper.before-create");
        let id = match engine.create_container(&spec).await {
            Ok(id) => id,
            // A bind source that the engine does not have is refused as a wrong request.
            Err(error) if error.kind() == EngineErrorKind::Refused && !matches!(inside, Inside::Volume) => {
                return Err(DatabasesError::Unseen);
            }
            Err(error) => return Err(error.into()),
        };
        crate::failpoint!("databases.helper.after-create");
        let hold = run_held(engine, &id).await?;
        let client = Client { container: id, ..place.client.clone() };
        let helper = Self { client, shares_folder: !matches!(inside, Inside::Volume), _hold: hold };
        let ready = match inside {
            Inside::Folder(folder) => helper.prove(folder, INSIDE, access).await,
            Inside::File(file) => helper.prove(file, &format!("{INSIDE}/{FILE}"), Access::Read).await,
            Inside::Volume => take_over(engine, &helper.client.container, INSIDE, &spec).await,
        };
        match ready {
            Ok(()) => Ok(helper),
            Err(error) => {
                helper.end().await;
                Err(error)
            }
        }
    }

    /// The engine may be on another machine, or look paths up elsewhere: the folder's inode and time show that both
    /// sides mean the same one.
    async fn prove(&self, folder: &Path, inside: &str, access: Access) -> Result<(), DatabasesError> {
        let here = std::fs::metadata(folder).map_err(DatabasesError::file(message!("verb-look-at"), folder))?;
        let here = format!("{} {}", here.ino(), here.mtime());
        let mut test = format!("[ \"$(stat -c '%i %Y' {inside})\" = '{here}' ]");
        if access == Access::Write {
            test += &format!(" && touch {INSIDE}/.dpl-seen && rm {INSIDE}/.dpl-seen");
        }
        let spec = ExecSpec { command: vec!["sh".to_owned(), "-c".to_owned(), test], ..Default::default() };
        let answer = self.client.engine.exec(&self.client.container, &spec, b"").await?;
        if answer.exit_code == 0 { Ok(()) } else { Err(DatabasesError::Unseen) }
    }

    /// Ends it, and whatever still runs in it, at once.
    pub async fn end(self) {
        self.stop().await;
    }

    /// The same, ahead of [`Helper::end`]: nothing can be run in it any more.
    pub async fn stop(&self) {
        // It removes itself when it ends, so that it is gone already, or going, is fine; what stays has our label.
        let _ = self.client.engine.discard_container(&self.client.container).await;
    }
}

/// A container takes a while to start, so `work` is done meanwhile. When that fails the helper ends, and its error is the
/// one to tell.
pub(in crate::databases) async fn starting_beside<T>(
    starting: impl Future<Output = Result<Helper, DatabasesError>>,
    work: impl Future<Output = Result<T, DatabasesError>>,
) -> Result<(Helper, T), DatabasesError> {
    match futures::join!(starting, work) {
        (Ok(helper), Ok(done)) => Ok((helper, done)),
        (Ok(helper), Err(error)) => {
            helper.end().await;
            Err(error)
        }
        (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
    }
}

/// Starts a container that was created from [`idle`]; when that fails it is removed.
pub(in crate::databases) async fn run_held(engine: &Engine, id: &str) -> Result<ContainerHold, DatabasesError> {
    let held = async {
        let hold = engine.hold_container(id).await?;
        engine.start_container(id).await?;
        Ok(hold)
    };
    match held.await {
        Ok(hold) => Ok(hold),
        Err(error) => {
            // The first error is the one to tell; what stays is found by its label.
            let _ = engine.discard_container(id).await;
            Err(error)
        }
    }
}

/// A volume without a name, which goes with its container.
pub(in crate::databases) fn volume(target: &str) -> MountSpec {
    let kind = MountKind::Volume { name: None, no_copy: true, subpath: None };
    MountSpec { kind, target: target.to_owned(), read_only: false, selinux: None }
}

/// Gives a new volume, which is root's, to the user that the container runs as.
async fn take_over(engine: &Engine, container: &str, folder: &str, spec: &ContainerSpec) -> Result<(), DatabasesError> {
    let user = spec.user.as_deref().unwrap_or("0:0");
    own(engine, container, folder, user, "700").await
}

/// Gives a folder inside to `owner`.
pub(in crate::databases) async fn own(
    engine: &Engine,
    container: &str,
    folder: &str,
    owner: &str,
    mode: &str,
) -> Result<(), DatabasesError> {
    let script = format!("chown {owner} {folder} && chmod {mode} {folder}");
    let command = vec!["sh".to_owned(), "-c".to_owned(), script];
    let spec = ExecSpec { command, user: Some("0:0".to_owned()), ..Default::default() };
    let answer = engine.exec(container, &spec, b"").await?;
    if answer.exit_code == 0 {
        return Ok(());
    }
    Err(DatabasesError::Tool {
        program: "chown",
        database: folder.to_owned(),
        code: answer.exit_code,
        source: Said::new(&answer.stderr),
    })
}

/// A container that does nothing until its input ends, sees no network and may hardly do anything; for the server in
/// the container `server`.
pub(in crate::databases) fn idle(image: &str, server: &str) -> ContainerSpec {
    let token = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    ContainerSpec {
        name: format!("dpl-databases-{token:016x}"),
        image: image.to_owned(),
        // It does nothing but wait for the end of its input, which is the end of this process.
        entrypoint: Some(vec!["cat".to_owned()]),
        command: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        labels: BTreeMap::from([
            (HELPER_LABEL.to_owned(), MODULE.to_owned()),
            (HELPER_SERVER_LABEL.to_owned(), server.to_owned()),
            (MAKER_LABEL.to_owned(), Maker::this().text()),
        ]),
        stdin_open: true,
        stdin_once: true,
        auto_remove: true,
        health: Some(HealthSpec { test: vec!["NONE".to_owned()], ..Default::default() }),
        network_mode: Some("none".to_owned()),
        tmpfs: BTreeMap::from([("/tmp".to_owned(), String::new())]),
        read_only: true,
        // Files of another owner are read where root runs dpl, as they would be without a container; a new volume is
        // given to whom it is for.
        cap_drop: vec!["ALL".to_owned()],
        cap_add: vec!["CHOWN".to_owned(), "DAC_OVERRIDE".to_owned(), "FOWNER".to_owned()],
        // The folder keeps its own SELinux label.
        security_opt: vec!["no-new-privileges".to_owned(), "label=disable".to_owned()],
        logging: Some(LogSpec { driver: "none".to_owned(), options: BTreeMap::new() }),
        ..Default::default()
    }
}
