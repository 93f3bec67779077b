//! Other people's ssh servers, on loopback or at the other end of a wire: each with keys, a port and a configuration of its own.

#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::Site;
use crate::support_engine::{eventually, free_port};
use crate::support_wire::Wire;

/// An sshd; it ends with the test.
pub struct Sshd {
    child: Child,
    folder: TempDir,
    host: String,
    pub port: u16,
}

impl Sshd {
    /// Lets root in with a key of its own; `more` are further lines of its configuration (sshd_config).
    #[track_caller]
    pub fn start(more: &str) -> Self {
        Self::run(Command::new("/usr/sbin/sshd"), "127.0.0.1", free_port(), more)
    }

    /// As [`Sshd::start`], on the host behind a wire.
    #[track_caller]
    pub fn behind(wire: &Wire, more: &str) -> Self {
        Self::run(wire.command("/usr/sbin/sshd"), &wire.site.to_string(), 2222, more)
    }

    #[track_caller]
    fn run(mut sshd: Command, host: &str, port: u16, more: &str) -> Self {
        // The first line of a kind counts (sshd_config(5)), so that `more` may overrule what follows.
        let folder = TempDir::with_prefix("dpl-sshd-").unwrap();
        let path = folder.path().display().to_string();
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &format!("{path}/{key}")])
                .status();
            assert!(made.unwrap().success());
        }
        fs::copy(folder.path().join("user.pub"), folder.path().join("authorized_keys")).unwrap();
        // A bash that is not the first one reads no ~/.bashrc for sshd: what the user of this machine has in theirs is no matter
        // of the tests, and may take longer than the command. Of the lines that set variables sshd takes the first one alone.
        let more = more.replacen("SetEnv ", "SetEnv SHLVL=1 ", 1);
        let configuration = format!(
            "{more}\nPort {port}\nListenAddress {host}\nHostKey {path}/host\nPidFile none\nAuthorizedKeysFile \
             {path}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             SetEnv SHLVL=1\n"
        );
        fs::write(folder.path().join("sshd_config"), configuration).unwrap();
        // Where Debian's sshd puts those that have not proved anything yet.
        fs::create_dir_all("/run/sshd").unwrap();
        let mut child = sshd
            .args(["-D", "-e", "-f", &format!("{path}/sshd_config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        eventually("sshd listens", || {
            assert_eq!(child.try_wait().unwrap(), None, "{}", fs::read_to_string(folder.path().join("log")).unwrap());
            std::net::TcpStream::connect((host, port)).is_ok()
        });
        Self { child, folder, host: host.to_owned(), port }
    }

    /// What it has written down.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn address(&self) -> String {
        format!("ssh://root@{}:{}", self.host, self.port)
    }

    /// Gives the site a client that knows the key: it reads no configuration of this machine's user, and writes down how it
    /// is called. Options in `SSH_OPTIONS` count before those of the program.
    pub fn admit(&self, site: &mut Site) {
        let (here, server) = (site.path().display().to_string(), self.folder.path().display());
        site.write(
            "ssh_config",
            &format!(
                "IdentityFile {server}/user\nIdentitiesOnly yes\nUserKnownHostsFile {here}/known_hosts\n\
                 GlobalKnownHostsFile /dev/null\n"
            ),
        );
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{here}/ssh.calls\nexec /usr/bin/ssh -F {here}/ssh_config $SSH_OPTIONS \"$@\"\n"
        );
        site.write("bin/ssh", &script);
        fs::set_permissions(site.file("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        site.set("PATH", format!("{here}/bin:{}", std::env::var("PATH").unwrap()));
        // A program that is killed leaves the folder of its connection behind.
        site.set("TMPDIR", here);
        site.set("DOCKER_HOST", self.address());
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The connections that the site's program has made so far: the arguments of each master.
pub fn masters(site: &Site) -> Vec<String> {
    let calls = fs::read_to_string(site.file("ssh.calls")).unwrap_or_default();
    calls.lines().filter(|call| call.contains(" -M ")).map(str::to_owned).collect()
}

/// A master's control socket.
pub fn control_socket(master: &str) -> PathBuf {
    let mut words = master.split_whitespace().skip_while(|word| *word != "-S");
    PathBuf::from(words.nth(1).unwrap())
}

/// The master's process, while it lives.
pub fn process_of(socket: &Path) -> Option<u32> {
    let output =
        Command::new("/usr/bin/ssh").args(["-F", "/dev/null", "-O", "check", "-S"]).arg(socket).arg("x").output();
    let said = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    said.split("pid=").nth(1)?.split(')').next()?.parse().ok()
}
