//! The way to an engine through ssh: `docker system dial-stdio` on its host, which is how the docker command goes there.
//!
//! bollard's own way can't be told a port and opens an ssh connection for every request. Here one ssh connection carries
//! several streams; a server takes ten at a time on each unless it says otherwise (sshd_config, `MaxSessions`), so that
//! another connection is opened before that. Keys, hosts and the rest are as the user's ssh configuration has them; hosts
//! never seen before are accepted and remembered, changed ones refused.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssh::{Child, ChildStdin, ChildStdout, KnownHosts, Session, SessionBuilder, Stdio};
use tokio::sync::Mutex;
use tower_service::Service;

use crate::engine::address::Address;
use crate::engine::limits::timeouts::CALL_TIMEOUT;

/// Streams on one ssh connection at a time: below the ten that servers allow by default.
const STREAMS_EACH: usize = 8;

/// A client of the engine behind `address` (`ssh://[USER@]HOST[:PORT]`); it connects with the first request. The engine has
/// so many seconds until its answer begins.
pub(in crate::engine) fn client(address: &Address, seconds: u64) -> Result<Docker, Error> {
    let dialler = Dialler { address: address.as_str().to_owned(), connections: Arc::default() };
    let client = Client::builder(TokioExecutor::new()).build(dialler);
    let transport = move |request: BollardRequest| {
        let client = client.clone();
        async move { client.request(request).await.map_err(Error::from) }
    };
    // The name stands for the engine in requests' `Host` alone.
    Docker::connect_with_custom_transport(transport, Some("ssh://engine"), seconds, API_DEFAULT_VERSION)
}

/// Opens streams to the engine.
#[derive(Clone)]
struct Dialler {
    address: String,
    connections: Arc<Mutex<Vec<SshConnection>>>,
}

#[derive(Clone)]
struct SshConnection {
    session: Arc<Session>,
    streams: Arc<AtomicUsize>,
}

impl Dialler {
    async fn dial(self) -> Result<SshStream, openssh::Error> {
        let (session, place) = self.session().await?;
        let mut child = session
            .arc_command("docker")
            .args(["system", "dial-stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .await?;
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        let stdout = stdout.ok_or_else(|| openssh::Error::ChildIo(io::ErrorKind::BrokenPipe.into()))?;
        Ok(SshStream { stdin: stdin.map(TokioIo::new), stdout: TokioIo::new(stdout), _child: child, _place: place })
    }

    /// A connection with room for one more stream, and that stream's place on it.
    async fn session(&self) -> Result<(Arc<Session>, Place), openssh::Error> {
        // One connects at a time: those that come meanwhile find the connection made.
        let mut connections = self.connections.lock().await;
        let with_room = connections.iter().find(|known| known.streams.load(Ordering::SeqCst) < STREAMS_EACH);
        let connection = match with_room {
            Some(connection) => connection.clone(),
            None => {
                let mut builder = SessionBuilder::default();
                builder.known_hosts_check(KnownHosts::Add).connect_timeout(CALL_TIMEOUT);
                let session = Arc::new(builder.connect(&self.address).await?);
                let connection = SshConnection { session, streams: Arc::default() };
                connections.push(connection.clone());
                connection
            }
        };
        connection.streams.fetch_add(1, Ordering::SeqCst);
        Ok((connection.session, Place(connection.streams)))
    }
}

impl Service<Uri> for Dialler {
    type Response = SshStream;
    type Error = openssh::Error;
    type Future = Pin<Box<dyn Future<Output = Result<SshStream, openssh::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), openssh::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _engine: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}

/// A stream's place on its connection, given back with it.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What one `docker system dial-stdio` takes and gives.
struct SshStream {
    /// `None` once this side has said all.
    stdin: Option<TokioIo<ChildStdin>>,
    stdout: TokioIo<ChildStdout>,
    _child: Child<Arc<Session>>,
    _place: Place,
}

impl SshStream {
    fn input(self: Pin<&mut Self>) -> io::Result<Pin<&mut TokioIo<ChildStdin>>> {
        self.get_mut().stdin.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Read for SshStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stdout).poll_read(context, buffer)
    }
}

impl Write for SshStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.input()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().input()?.poll_shutdown(context))?;
        // Only its end tells the other side that nothing more comes.
        self.get_mut().stdin = None;
        Poll::Ready(Ok(()))
    }
}

impl Connection for SshStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
