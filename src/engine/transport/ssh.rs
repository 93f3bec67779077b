//! The way to an engine through ssh: `docker system dial-stdio` on its host, which is how the docker command goes there.
//!
//! bollard's own way can't be told a port and opens an ssh connection for every request. Here one connection carries
//! several streams, as many as its server takes (sshd_config, `MaxSessions`; ten unless it says otherwise, one or two where
//! it was hardened): a stream that is refused gets another connection. A connection that has died is replaced.
//!
//! A stream is only given out once the engine has answered on it, so that whatever the far side says instead (no docker
//! there, no right to use its socket) is the error that is shown, and what a login script prints before is skipped.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use openssh::{Child, ChildStdin, ChildStdout, Session, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::catalogue::{Catalogue, io_error};
use crate::engine::address::SshDestination;
use crate::report::Message;
use crate::ssh::{Master, Questions, last_words, read_words};

/// Streams on one connection at a time, until its server refuses one: below the ten that servers allow by default.
const STREAMS_EACH: usize = 8;
/// A stream is tried on so many connections.
const ATTEMPTS: u32 = 4;
/// The question that a new stream begins with, and what its answer begins and ends with.
const PROBE: &[u8] = b"HEAD /_ping HTTP/1.1\r\nHost: engine\r\n\r\n";
const HEAD_BEGINS: &[u8] = b"HTTP/1.";
const HEAD_ENDS: &[u8] = b"\r\n\r\n";
/// A login script prints less than this.
const MOST_NOISE: usize = 64 << 10;
/// So long the reason for a stream's end may take to arrive behind it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The ssh connections to one host.
pub(super) struct SshConnections {
    destination: SshDestination,
    known: Mutex<Vec<Arc<SshConnection>>>,
}

struct SshConnection {
    session: Arc<Session>,
    /// Streams that are open, or being opened.
    streams: AtomicUsize,
    /// Streams on which the engine answered.
    confirmed: AtomicUsize,
    limit: AtomicUsize,
    _master: Master,
}

/// Why a connection gave no stream.
enum NoStream {
    /// The server takes no more streams on it.
    Refused(Message),
    /// It has ended.
    Gone(Message),
    /// The engine's host says that it can't be done.
    Final(io::Error),
}

impl SshConnections {
    pub fn new(destination: SshDestination) -> Self {
        Self { destination, known: Mutex::default() }
    }

    /// Opens a stream to the engine.
    pub async fn open(&self) -> io::Result<SshStream> {
        let mut attempt = 1;
        loop {
            let slot = self.slot().await?;
            let connection = Arc::clone(&slot.connection);
            let why = match open(slot, &self.destination).await {
                Ok(stream) => return Ok(stream),
                Err(NoStream::Final(error)) => return Err(error),
                Err(NoStream::Refused(why)) => {
                    match connection.confirmed.load(Ordering::SeqCst) {
                        0 => self.forget(&connection).await,
                        taken => drop(connection.limit.fetch_min(taken, Ordering::SeqCst)),
                    }
                    why
                }
                Err(NoStream::Gone(why)) => {
                    self.forget(&connection).await;
                    why
                }
            };
            tracing::debug!(target: "dpl::engine", "ssh to {}: no stream: {}", self.destination.host.host, Catalogue::english().text(&why));
            if attempt == ATTEMPTS {
                return Err({
                    let why = message!("engine-ssh-to", host = self.destination.host.host, why = why);
                    io_error(io::ErrorKind::Other, why)
                });
            }
            attempt += 1;
        }
    }

    /// A place for one more stream.
    async fn slot(&self) -> io::Result<Slot> {
        // One connects at a time: those that come meanwhile find the connection made.
        let mut known = self.known.lock().await;
        let has_room = |connection: &&Arc<SshConnection>| {
            connection.streams.load(Ordering::SeqCst) < connection.limit.load(Ordering::SeqCst)
        };
        let connection = match known.iter().find(has_room) {
            Some(connection) => Arc::clone(connection),
            None => {
                let master = Master::start(&self.destination.host, Questions::Allowed).await?;
                tracing::debug!(target: "dpl::engine", "ssh to {}: connected", self.destination.host.host);
                let session = Arc::new(Session::resume_mux(master.socket().into_boxed_path(), None));
                let connection = Arc::new(SshConnection {
                    session,
                    streams: AtomicUsize::new(0),
                    confirmed: AtomicUsize::new(0),
                    limit: AtomicUsize::new(STREAMS_EACH),
                    _master: master,
                });
                known.push(Arc::clone(&connection));
                connection
            }
        };
        connection.streams.fetch_add(1, Ordering::SeqCst);
        Ok(Slot { connection, is_confirmed: false })
    }

    /// Gives no more streams of it.
    async fn forget(&self, connection: &Arc<SshConnection>) {
        self.known.lock().await.retain(|known| !Arc::ptr_eq(known, connection));
    }
}

/// One of a connection's places for streams; free again when it is dropped.
struct Slot {
    connection: Arc<SshConnection>,
    is_confirmed: bool,
}

impl Slot {
    fn confirm(&mut self) {
        self.is_confirmed = true;
        self.connection.confirmed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connection.streams.fetch_sub(1, Ordering::SeqCst);
        if self.is_confirmed {
            self.connection.confirmed.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

async fn open(mut slot: Slot, destination: &SshDestination) -> Result<SshStream, NoStream> {
    let session = Arc::clone(&slot.connection.session);
    let mut command = session.clone().arc_command("docker");
    if let Some(socket) = &destination.socket {
        command.args(["--host".to_owned(), format!("unix://{socket}")]);
    }
    command.args(["system", "dial-stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().await.map_err(|error| match error {
        openssh::Error::SshMux(why) => NoStream::Refused(message!("words", text = why)),
        openssh::Error::Disconnected => NoStream::Gone(message!("engine-ssh-closed")),
        other => NoStream::Final(io::Error::other(other)),
    })?;
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
        (child.stdin().take(), child.stdout().take(), child.stderr().take())
    else {
        return Err(NoStream::Final(io::ErrorKind::BrokenPipe.into()));
    };
    let words = tokio::spawn(read_words(stderr));
    match probe(&mut stdin, &mut stdout).await {
        Ok(()) => {
            slot.confirm();
            Ok(SshStream { stdin: Some(stdin), stdout, _child: child, _words: words, _slot: slot })
        }
        Err(noise) => Err(reason(&session, child, words, &noise, destination).await),
    }
}

/// Returns once the engine has answered; else with what came instead.
async fn probe(stdin: &mut ChildStdin, stdout: &mut ChildStdout) -> Result<(), Vec<u8>> {
    let mut said = Vec::new();
    // One that has ended already says why on its other stream.
    let _ = stdin.write_all(PROBE).await;
    while said.len() < MOST_NOISE {
        match stdout.read_buf(&mut said).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let head = find(&said, HEAD_BEGINS).map(|place| &said[place..]);
        if head.is_some_and(|head| find(head, HEAD_ENDS).is_some()) {
            return Ok(());
        }
    }
    Err(said)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Why a stream ended before the engine answered.
async fn reason(
    session: &Session,
    child: Child<Arc<Session>>,
    words: JoinHandle<Vec<u8>>,
    noise: &[u8],
    destination: &SshDestination,
) -> NoStream {
    let said = tokio::time::timeout(LAST_WORDS, words).await.ok().and_then(Result::ok).unwrap_or_default();
    let said = if said.trim_ascii().is_empty() { noise } else { &said };
    let said = last_words(&String::from_utf8_lossy(said));
    let ended = tokio::time::timeout(LAST_WORDS, child.wait()).await;
    if session.check().await.is_err() {
        return NoStream::Gone(message!("engine-ssh-closed"));
    }
    let host = &destination.host.host;
    let status = match ended {
        Ok(Ok(status)) => message!("words", text = status),
        Ok(Err(error)) => message!("words", text = error),
        Err(_) => message!("engine-dial-running"),
    };
    let why = match said.is_empty() {
        true => message!("engine-dial-silent", host = host, status = status),
        false => message!("engine-dial-says", host = host, words = said),
    };
    NoStream::Final(io_error(io::ErrorKind::Other, why))
}

/// What one `docker system dial-stdio` takes and gives.
pub(super) struct SshStream {
    /// `None` once this side has said all.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    _child: Child<Arc<Session>>,
    _words: JoinHandle<Vec<u8>>,
    _slot: Slot,
}

impl SshStream {
    fn input(self: Pin<&mut Self>) -> io::Result<Pin<&mut ChildStdin>> {
        self.get_mut().stdin.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for SshStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stdout).poll_read(context, buffer)
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.input()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stdin.is_some() {
            ready!(self.as_mut().input()?.poll_shutdown(context))?;
        }
        // Only its end tells the other side that nothing more comes.
        self.get_mut().stdin = None;
        Poll::Ready(Ok(()))
    }
}
