//! The process that runs a command which outlives its connection: in a session of its own, with nobody's terminal.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::record::{Record, Records};
use super::running::{Happened, Running};
use super::{in_words, pass_on};
use crate::report::Message;
use crate::sites::error::in_one_line;
use crate::sites::protocol::{Ended, Frame, FrameReader, Reply, RunRequest, Sentence};

/// What a keeper says once others can attach; else the reason, as a [`Sentence`].
const READY: &str = "ready";

/// Starts a keeper, and returns once it has started the command.
pub(super) async fn start(records: &Records, request: &RunRequest) -> Result<(), Message> {
    let failed = in_words(message!("serve-no-start"));
    let record = records.create(request).map_err(&failed)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["serve", "--keep"])
        .arg(&record.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(&failed)?;
    let Some(stdout) = child.stdout.take() else { return Err(failed(io::ErrorKind::BrokenPipe.into())) };
    let mut said = String::new();
    BufReader::new(stdout).read_line(&mut said).await.map_err(&failed)?;
    match said.trim() {
        READY => Ok(()),
        // A connection before this one asked for it, and broke before anybody knew.
        _ if record.is_running() => Ok(()),
        why => {
            // Nothing was started: the same name may be used again.
            let _ = std::fs::remove_dir_all(&record.folder);
            let why = serde_json::from_str::<Sentence>(why)
                .map_or_else(|_| message!("words", text = why), |sentence| sentence.message());
            Err(message!("because", what = message!("serve-no-start"), why = why))
        }
    }
}

/// Runs what the folder of a record asks for, to its end.
pub async fn keep(folder: &Path) -> io::Result<()> {
    // The connection's end is not ours.
    rustix::process::setsid()?;
    match Keeper::begin(folder) {
        Ok(keeper) => {
            println_ready(READY);
            keeper.keep().await
        }
        Err(error) => {
            println_ready(&serde_json::to_string(&Sentence::from(&in_one_line(&error))).unwrap_or_default());
            Err(error)
        }
    }
}

fn println_ready(line: &str) {
    let mut stdout = io::stdout().lock();
    // Where nobody listens any more the command goes on all the same. The pipe is the connection's, and is let go.
    let _ = stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush());
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

struct Keeper {
    output: File,
    listener: UnixListener,
    running: Running,
    has_terminal: bool,
}

impl Keeper {
    fn begin(folder: &Path) -> io::Result<Self> {
        let record = Record { folder: folder.to_owned() };
        let asked = record.asked()?;
        let output = record.open_output()?;
        // By a short name: the path of a socket has 108 bytes (unix(7)).
        std::env::set_current_dir(folder)?;
        let listener = UnixListener::bind("socket")?;
        let folder = asked.request.folder.clone().or_else(|| std::env::var_os("HOME").map(Into::into));
        let has_terminal = asked.request.terminal.is_some();
        let running = Running::start(&RunRequest { folder, ..asked.request })?;
        Ok(Self { output, listener, running, has_terminal })
    }

    async fn keep(mut self) -> io::Result<()> {
        // Those who are attached, and what they say.
        let mut attached: Vec<OwnedWriteHalf> = Vec::new();
        let (sender, mut heard) = mpsc::channel(16);
        let attended = Attended { by: Arc::default(), has_terminal: self.has_terminal };
        loop {
            let frame = tokio::select! {
                happened = self.running.next() => match happened {
                    Happened::Said(frame) => frame,
                    Happened::Ended(code) => {
                        self.output.write_all(&Frame::control(&Reply::Ended(Ended { code })).encode())?;
                        self.output.sync_data()?;
                        return Ok(());
                    }
                },
                accepted = self.listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        attached.push(listen(stream, sender.clone(), attended.clone()));
                    }
                    continue;
                }
                Some(frame) = heard.recv() => {
                    pass_on(frame, &mut self.running).await;
                    continue;
                }
            };
            self.output.write_all(&frame.encode())?;
            for place in (0..attached.len()).rev() {
                // One byte wakes them; one that has as many waiting as fit needs no more.
                match attached[place].try_write(&[1]) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => drop(attached.swap_remove(place)),
                    _ => {}
                }
            }
        }
    }
}

/// How many desks are attached.
#[derive(Clone)]
struct Attended {
    by: Arc<AtomicUsize>,
    has_terminal: bool,
}

/// Reads what somebody who is attached says, until they leave. What a desk that is gone had still to give never comes: without
/// a terminal, the last one's end is the end of the input.
fn listen(stream: UnixStream, sender: mpsc::Sender<Frame>, attended: Attended) -> OwnedWriteHalf {
    let (read, write) = stream.into_split();
    attended.by.fetch_add(1, Ordering::SeqCst);
    tokio::spawn(async move {
        let mut reader = FrameReader::new(read);
        while let Ok(frame) = reader.next().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
        if attended.by.fetch_sub(1, Ordering::SeqCst) == 1 && !attended.has_terminal {
            // One that has ended takes no input.
            let _ = sender.send(Frame::DataEnd).await;
        }
    });
    write
}

/// Connects to the keeper of a record.
pub(super) async fn connect(record: &Record) -> io::Result<UnixStream> {
    let folder = File::open(&record.folder)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{descriptor}/socket")).await?;
    stream.flush().await?;
    Ok(stream)
}
