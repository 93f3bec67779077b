//! The ssh connection itself: the system's own `ssh`, started as a master whose streams others share.
//!
//! Keys, jump hosts and the rest are as the user's ssh configuration has them. At a terminal ssh asks there for what it
//! needs: a password, a passphrase, whether an unknown host is the right one. (The `openssh` crate starts its masters so
//! that nothing can be asked.) Without a terminal nothing is asked: a host never seen before is accepted and remembered, a
//! changed one refused.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::engine::address::SshDestination;

/// So many seconds a connection may take until the server asks who is there.
const CONNECT_TIMEOUT: &str = "ConnectTimeout=10";
/// A connection on which the server answers nothing ends after four of these.
const SILENCE: [&str; 2] = ["ServerAliveInterval=15", "ServerAliveCountMax=3"];
/// A master that nobody uses, since this process was killed, ends by itself after so many seconds.
const PERSIST: &str = "ControlPersist=60";

/// The longest path that a control socket may have: ssh makes it under a longer name first (sockaddr_un has 108 bytes).
const LONGEST_SOCKET: usize = 80;

/// A running master; its end is the connection's.
pub(super) struct Master {
    destination: SshDestination,
    folder: TempDir,
}

impl Master {
    /// Connects, and returns when the server has let us in.
    pub async fn start(destination: &SshDestination) -> io::Result<Self> {
        let master = Self { destination: destination.clone(), folder: folder()? };
        let log = master.folder.path().join("log");
        let mut command = Command::new("ssh");
        command.arg("-E").arg(&log).arg("-S").arg(master.socket()).args(["-M", "-f", "-N", "-T", "-a", "-x"]);
        let options = [CONNECT_TIMEOUT, SILENCE[0], SILENCE[1], PERSIST];
        // What the user's configuration has for a login of their own would be in the way here.
        for option in options.into_iter().chain(["ClearAllForwardings=yes", "RemoteCommand=none"]) {
            command.args(["-o", option]);
        }
        if !can_ask() {
            command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]);
        }
        command.args(master.target());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let status = command.status().await;
        let status = status.map_err(|error| io::Error::new(error.kind(), format!("ssh can't be run: {error}")))?;
        if status.success() {
            return Ok(master);
        }
        let said = last_words(&std::fs::read_to_string(&log).unwrap_or_default());
        Err(io::Error::other(match said.is_empty() {
            true => format!("ssh to {} ended ({status})", master.destination.host),
            false => format!("ssh: {}", said.trim_start_matches("ssh: ")),
        }))
    }

    /// Through which streams are asked for.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("master")
    }

    fn target(&self) -> Vec<String> {
        let SshDestination { user, host, port, .. } = &self.destination;
        let mut target = Vec::new();
        if let Some(user) = user {
            target.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = port {
            target.extend(["-p".to_owned(), port.to_string()]);
        }
        target.extend(["--".to_owned(), host.clone()]);
        target
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("ssh");
        command.arg("-S").arg(self.socket()).args(["-O", "exit"]).args(self.target());
        // One that is gone already needs no end, and one that can't be told ends by itself.
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
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
pub(super) fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    let is_of_interest = |line: &&&str| !line.starts_with("Warning: Permanently added");
    last.iter().filter(is_of_interest).copied().collect::<Vec<_>>().join("; ")
}
