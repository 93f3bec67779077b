//! A command of dpl that runs at the site: its process, its terminal or its pipes.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal as ProcessSignal, kill_process, kill_process_group};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::terminal;
use crate::sites::protocol::{Frame, RunRequest, Signal, TerminalRequest};

/// What the process is started from: itself, whatever has become of its file.
const OURSELVES: &str = "/proc/self/exe";
/// So much at a time.
const PIECE: usize = 32 << 10;
/// After the command's end others may hold its pipes open; what they say is waited for so long.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// A command that is asked to end may finish what it has in hand.
const SAFE_STOP: Duration = Duration::from_secs(20);

/// A command that runs.
pub(super) struct Running {
    child: Child,
    said: mpsc::Receiver<Frame>,
    /// `None` once nothing more comes.
    input: Option<mpsc::Sender<Bytes>>,
    terminal: Option<Arc<OwnedFd>>,
    ended: Option<ExitStatus>,
}

/// What a command does next.
pub(super) enum Happened {
    Said(Frame),
    /// With this exit code.
    Ended(u8),
}

impl Running {
    pub fn start(request: &RunRequest) -> io::Result<Self> {
        let (said, hears) = mpsc::channel(16);
        let (input, inputs) = mpsc::channel(16);
        let mut command = Command::new(OURSELVES);
        let opened = request.terminal.map(terminal::open).transpose()?;
        if let Some((_, path)) = &opened {
            command.args(["serve", "--on-terminal"]).arg(path).arg("--");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        } else {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        }
        // Where a shell there sets a manifest for its user, the site's own counts all the same.
        command.env_remove("DPL_MANIFEST").envs(&request.environment);
        command.args(&request.arguments).kill_on_drop(true);
        if let Some(folder) = &request.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        let terminal = match opened {
            Some((master, _)) => {
                let master = Arc::new(master);
                let (reads, writes) = (master.clone(), master.clone());
                std::thread::spawn(move || read_terminal(&reads, &said));
                std::thread::spawn(move || write_terminal(&writes, inputs));
                Some(master)
            }
            None => {
                tokio::spawn(read_pipe(child.stdout.take(), Frame::Output, said.clone()));
                tokio::spawn(read_pipe(child.stderr.take(), Frame::Error, said));
                tokio::spawn(write_pipe(child.stdin.take(), inputs));
                None
            }
        };
        Ok(Self { child, said: hears, input: Some(input), terminal, ended: None })
    }

    /// What happens next. Cancel safe.
    pub async fn next(&mut self) -> Happened {
        loop {
            if let Some(status) = self.ended {
                return match timeout(LAST_WORDS, self.said.recv()).await {
                    Ok(Some(frame)) => Happened::Said(frame),
                    Ok(None) | Err(_) => Happened::Ended(code(status)),
                };
            }
            tokio::select! {
                biased;
                frame = self.said.recv(), if !self.said.is_closed() || !self.said.is_empty() => if let Some(frame) = frame {
                    return Happened::Said(frame);
                },
                status = self.child.wait() => self.ended = Some(status.unwrap_or_default()),
            }
        }
    }

    /// Gives it input; waits where it does not take any.
    pub async fn input(&mut self, bytes: Bytes) {
        if let Some(input) = &self.input {
            // One that has ended takes none.
            let _ = input.send(bytes).await;
        }
    }

    pub fn end_input(&mut self) {
        self.input = None;
    }

    pub fn resize(&self, size: TerminalRequest) {
        if let Some(terminal) = &self.terminal {
            // A terminal that is gone has no size.
            let _ = tcsetwinsize(terminal, winsize(size));
        }
    }

    /// Sends a signal to the command and what it started.
    pub fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Interrupt => ProcessSignal::INT,
            Signal::Terminate => ProcessSignal::TERM,
            Signal::HangUp => ProcessSignal::HUP,
        };
        if let Some(pid) = self.pid() {
            // One that has ended needs none. A terminal's command leads its session, a piped one its group.
            let _ = kill_process_group(pid, signal).or_else(|_| kill_process(pid, signal));
        }
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// Ends it: as one whose terminal is closed, and by force where that does not help.
    pub async fn end(mut self) {
        self.input = None;
        self.signal(Signal::HangUp);
        self.signal(Signal::Terminate);
        let drained = async { while let Happened::Said(_) = self.next().await {} };
        if timeout(SAFE_STOP, drained).await.is_err()
            && let Some(pid) = self.pid()
        {
            let _ = kill_process_group(pid, ProcessSignal::KILL);
        }
    }
}

/// As a shell has it: 128 and the signal's number for one that a signal ended.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

pub(super) fn winsize(size: TerminalRequest) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

async fn read_pipe(pipe: Option<impl AsyncRead + Unpin>, frame: fn(Bytes) -> Frame, said: mpsc::Sender<Frame>) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = vec![0; PIECE];
    while let Ok(length) = pipe.read(&mut piece).await {
        if length == 0 || said.send(frame(Bytes::copy_from_slice(&piece[..length]))).await.is_err() {
            return;
        }
    }
}

async fn write_pipe(pipe: Option<impl tokio::io::AsyncWrite + Unpin>, mut inputs: mpsc::Receiver<Bytes>) {
    let Some(mut pipe) = pipe else { return };
    while let Some(bytes) = inputs.recv().await {
        if pipe.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// In a thread of its own, as the next one: a terminal's reads and writes block, and the process ends with them.
fn read_terminal(master: &OwnedFd, said: &mpsc::Sender<Frame>) {
    let mut piece = vec![0; PIECE];
    loop {
        match rustix::io::read(master, &mut piece) {
            Err(rustix::io::Errno::INTR) => {}
            // Once nobody has the terminal any more, reading it fails (EIO).
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if said.blocking_send(Frame::Output(Bytes::copy_from_slice(&piece[..length]))).is_err() {
                    return;
                }
            }
        }
    }
}

fn write_terminal(master: &OwnedFd, mut inputs: mpsc::Receiver<Bytes>) {
    while let Some(mut bytes) = inputs.blocking_recv() {
        while !bytes.is_empty() {
            match rustix::io::write(master, &bytes) {
                Ok(length) => drop(bytes.split_to(length)),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
