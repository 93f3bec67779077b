//! Terminals for commands at the site.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcsetwinsize;

use super::running::winsize;
use crate::sites::protocol::TerminalRequest;

/// A new terminal of this size: our end, and the path of the command's.
pub(super) fn open(size: TerminalRequest) -> io::Result<(OwnedFd, PathBuf)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    tcsetwinsize(&master, winsize(size))?;
    let path = name.into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((master, PathBuf::from(path)))
}

/// Makes the terminal at `path` this process's own, and becomes dpl with these arguments. Returns only where it fails.
pub fn become_command(path: &Path, arguments: &[OsString]) -> io::Error {
    match take_terminal(path) {
        Ok(()) => Command::new("/proc/self/exe").args(arguments).exec(),
        Err(error) => error,
    }
}

fn take_terminal(path: &Path) -> io::Result<()> {
    rustix::process::setsid()?;
    // The first terminal that the leader of a session opens is the session's own (tty_ioctl(4), TIOCSCTTY).
    let terminal = OpenOptions::new().read(true).write(true).open(path)?;
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    rustix::stdio::dup2_stderr(&terminal)?;
    Ok(())
}
