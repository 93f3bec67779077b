//! The ssh connection itself: the system's own `ssh`, started as a master whose streams others share.
//!
//! Keys, jump hosts and the rest are as the user's ssh configuration has them. At a terminal ssh asks there for what it
//! needs: a password, a passphrase, whether an unknown host is the right one. (The `openssh` crate starts its masters so
//! that nothing can be asked.) Without a terminal nothing is asked: a host never seen before is accepted and remembered, a
//! changed one refused.

use std::io::{self, IsTerminal};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

use super::Destination;
use crate::catalogue::io_error;
use crate::fs::Digest;

/// So many seconds a connection may take until the server asks who is there.
const CONNECT_TIMEOUT: &str = "ConnectTimeout=10";
/// A connection on which the server answers nothing ends after ten of these. ssh counts them only while nothing else goes through it:
/// an interval that is longer than the pauses of those who share it would never come.
const SILENCE: [&str; 2] = ["ServerAliveInterval=5", "ServerAliveCountMax=9"];
/// A master that nobody uses, since this process was killed, ends by itself after so many seconds.
const PERSIST: &str = "ControlPersist=60";

/// What ssh says where the server closes a connection before it has said who it is: it has too many at once that have proved
/// nothing yet, and drops some of the new ones.
const BEFORE_ANYTHING: &str = "kex_exchange_identification";
/// After which it is tried again, then after twice as long, up to the most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The longest path that a control socket may have: ssh makes it under a longer name first (sockaddr_un has 108 bytes).
const LONGEST_SOCKET: usize = 80;

/// Whether ssh may ask at the terminal for a password, or whether an unknown host is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Questions {
    Allowed,
    /// Somebody else has the terminal.
    Refused,
}

/// A running master. Its end is the connection's, where this process alone uses it; one that is shared stays for those who come
/// within a minute.
pub struct Master {
    destination: Destination,
    socket: PathBuf,
    /// Where the socket lies, where this process alone uses it.
    own: Option<TempDir>,
}

impl Master {
    /// Connects, and returns when the server has let us in.
    pub async fn start(destination: &Destination, questions: Questions) -> io::Result<Self> {
        let folder = folder()?;
        let master = Self { destination: destination.clone(), socket: folder.path().join("master"), own: Some(folder) };
        master.connect(questions).await?;
        Ok(master)
    }

    /// The connection that processes of this user share: the one that is open, else a new one.
    pub async fn shared(destination: &Destination, questions: Questions) -> io::Result<Self> {
        let name = Digest::of(format!("{:?}", destination.arguments()).as_bytes()).hex()[..16].to_owned();
        let folder = shared_folder()?;
        let master = Self { destination: destination.clone(), socket: folder.join(name), own: None };
        // One connects at a time: ssh can't share a connection under a name that is taken (ssh_config(5), ControlMaster).
        let lock = std::fs::File::create(master.socket.with_extension("lock"))?;
        let _held = tokio::task::spawn_blocking(move || flock(&lock, FlockOperation::LockExclusive).map(|()| lock))
            .await
            .map_err(io::Error::other)??;
        if !master.answers().await {
            // What a master that was killed has left.
            let _ = std::fs::remove_file(&master.socket);
            master.connect(questions).await?;
        }
        Ok(master)
    }

    /// Ends a shared connection, which answers nothing any more.
    pub fn end(&self) {
        let mut command = std::process::Command::new("ssh");
        command.arg("-S").arg(&self.socket).args(["-O", "exit"]).args(self.destination.arguments());
        // One that is gone already needs no end, and one that can't be told ends by itself.
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// Through which streams are asked for.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Whether there is a master at the socket.
    async fn answers(&self) -> bool {
        tokio::net::UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Connects; tries again where the server has let nobody in for the moment (MaxStartups in sshd_config(5)).
    async fn connect(&self, questions: Questions) -> io::Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_to_connect(questions).await {
                Err(Refusal::Busy(_)) if pause <= LONGEST_PAUSE => sleep(pause).await,
                Err(Refusal::Busy(error) | Refusal::Final(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
            pause *= 2;
        }
    }

    async fn try_to_connect(&self, questions: Questions) -> Result<(), Refusal> {
        let log = self.socket.with_extension("log");
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new("ssh");
        command.arg("-E").arg(&log).arg("-S").arg(&self.socket).args(["-M", "-f", "-N", "-T", "-a", "-x"]);
        let options = [CONNECT_TIMEOUT, SILENCE[0], SILENCE[1], PERSIST];
        // What the user's configuration has for a login of their own would be in the way here.
        for option in options.into_iter().chain(["ClearAllForwardings=yes", "RemoteCommand=none"]) {
            command.args(["-o", option]);
        }
        if questions == Questions::Refused || !can_ask() {
            command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]);
        }
        command.args(self.destination.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let status = command.status().await;
        let not_run = |error: io::Error| io_error(error.kind(), message!("engine-ssh-not-run", why = error));
        let status = status.map_err(|error| Refusal::Final(not_run(error)))?;
        if status.success() {
            return Ok(());
        }
        let said = last_words(&std::fs::read_to_string(&log).unwrap_or_default());
        let is_busy = said.contains(BEFORE_ANYTHING);
        let why = match said.is_empty() {
            true => message!("engine-ssh-ended", host = self.destination.host, status = status),
            false => message!("words", text = format_args!("ssh: {}", said.trim_start_matches("ssh: "))),
        };
        let error = io_error(io::ErrorKind::Other, why);
        Err(if is_busy { Refusal::Busy(error) } else { Refusal::Final(error) })
    }
}

/// Why there is no connection.
enum Refusal {
    /// The server closed it before it said who it is.
    Busy(io::Error),
    Final(io::Error),
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.end();
        }
    }
}

/// Whether a person sits at the terminal that ssh would ask.
fn can_ask() -> bool {
    io::stderr().is_terminal() && std::fs::File::open("/dev/tty").is_ok()
}

fn folder() -> io::Result<TempDir> {
    let usual = std::env::temp_dir();
    let is_short = usual.as_os_str().len() + "/dpl-ssh-XXXXXX/master".len() <= LONGEST_SOCKET;
    let parent = if is_short { usual } else { PathBuf::from("/tmp") };
    tempfile::Builder::new().prefix("dpl-ssh-").tempdir_in(parent)
}

/// The end of what somebody said, in one line: the reason comes last.
pub fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    let is_of_interest = |line: &&&str| !line.starts_with("Warning: Permanently added");
    last.iter().filter(is_of_interest).copied().collect::<Vec<_>>().join("; ")
}

/// The user's own folder for sockets of shared connections.
fn shared_folder() -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let user = rustix::process::getuid().as_raw();
    let parent = match runtime {
        Some(folder) if folder.as_os_str().len() + "/dpl/0123456789abcdef".len() <= LONGEST_SOCKET => {
            folder.join("dpl")
        }
        _ => PathBuf::from(format!("/tmp/dpl-{user}")),
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
    // Everybody may make folders in /tmp.
    let metadata = std::fs::symlink_metadata(&parent)?;
    match metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o077 == 0 {
        true => Ok(parent),
        false => {
            Err(io_error(io::ErrorKind::PermissionDenied, message!("engine-ssh-folder", folder = parent.display())))
        }
    }
}
