//! Opens streams to an engine, whichever way leads there.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tower_service::Service;

use super::ssh::SshConnections;
use super::tls::Tls;
use crate::catalogue::io_error;
use crate::engine::address::Address;

/// So long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens streams to one engine.
#[derive(Clone)]
pub(super) struct Dialler(Arc<Way>);

enum Way {
    Socket(PathBuf),
    /// To `HOST:PORT`.
    Tcp(String),
    Tls(String, Tls),
    Ssh(SshConnections),
}

impl Dialler {
    pub fn new(address: &Address) -> io::Result<Self> {
        let way = if let Some(socket) = address.socket() {
            Way::Socket(PathBuf::from(socket))
        } else if let Some(destination) = address.ssh_destination() {
            Way::Ssh(SshConnections::new(destination))
        } else {
            let authority = address.tcp_authority().unwrap_or_default().to_owned();
            match address.tls() {
                Some(files) => {
                    let tls = Tls::new(files, &authority)?;
                    Way::Tls(authority, tls)
                }
                None => Way::Tcp(authority),
            }
        };
        Ok(Self(Arc::new(way)))
    }

    /// Whether a new stream costs so much that an old one is kept for the next request.
    pub fn is_costly(&self) -> bool {
        matches!(*self.0, Way::Ssh(_))
    }

    pub async fn dial(&self) -> io::Result<EngineStream> {
        if let Way::Ssh(connections) = &*self.0 {
            // ssh has its own limit, and may be asking for a password.
            return Ok(EngineStream(Box::new(connections.open().await?)));
        }
        in_time(CONNECT_TIMEOUT, self.connect()).await
    }

    async fn connect(&self) -> io::Result<EngineStream> {
        Ok(EngineStream(match &*self.0 {
            Way::Socket(path) => match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(io_error(error.kind(), message!("engine-no-socket", path = path.display())));
                }
                stream => Box::new(stream?),
            },
            Way::Tcp(authority) => Box::new(TcpStream::connect(authority.as_str()).await?),
            Way::Tls(authority, tls) => Box::new(tls.over(TcpStream::connect(authority.as_str()).await?).await?),
            Way::Ssh(connections) => Box::new(connections.open().await?),
        }))
    }
}

/// A host that does not answer is told after seconds, not when the kernel gives up.
async fn in_time<T>(limit: Duration, connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
        let why = message!("engine-no-connection", seconds = limit.as_secs());
        Err(io_error(io::ErrorKind::TimedOut, why))
    })
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<EngineStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<EngineStream>>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _engine: Uri) -> Self::Future {
        let dialler = self.clone();
        Box::pin(async move { dialler.dial().await.map(TokioIo::new) })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What goes to the engine, and comes from it.
pub(super) struct EngineStream(Box<dyn Duplex>);

impl Connection for EngineStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for EngineStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for EngineStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_told_in_seconds() {
        assert_eq!(CONNECT_TIMEOUT.as_secs(), 10);
        let silent = in_time(Duration::from_millis(1), std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        assert!(silent.to_string().starts_with("no connection within"), "{silent}");
        // One that refuses says so itself.
        let refused = in_time(CONNECT_TIMEOUT, async { Err::<(), _>(io::ErrorKind::ConnectionRefused.into()) }).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
