//! Requests of our own beside bollard's client, for what that one keeps to itself: an answer's headers, and a stream of
//! plain bytes.
//!
//! To engines behind Unix sockets and TCP; the way through ssh ([`crate::engine::transport::ssh`]) has none of them.

use bollard::errors::Error;
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::ReaderStream;

use crate::engine::address::Address;
use crate::engine::limits::timeouts::CALL_TIMEOUT;

/// In which an engine names its API version (`GET /_ping`).
const API_VERSION: &str = "Api-Version";

/// Bytes are taken out of a stream by so many at once.
const CHUNK: usize = 64 << 10;

trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// The version of the API that the engine speaks; `None` where it doesn't say, or can't be asked this way.
pub(in crate::engine) async fn api_version(address: &Address) -> Result<Option<String>, Error> {
    let Some(answer) = ask(address, request(Method::GET, "/_ping"), Bytes::new()).await? else {
        return Ok(None);
    };
    Ok(answer.headers().get(API_VERSION).and_then(|version| version.to_str().ok()).map(str::to_owned))
}

/// What the engine sends and takes once it has left HTTP behind, as it is; `None` where it can't be asked this way.
pub(in crate::engine) async fn hijack(
    address: &Address,
    path: &str,
    body: &serde_json::Value,
) -> Result<Option<(impl Stream<Item = Result<Bytes, Error>> + Send + use<>, impl AsyncWrite + Send + use<>)>, Error> {
    let request = request(Method::POST, path)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp");
    let Some(answer) = ask(address, request, Bytes::from(body.to_string())).await? else {
        return Ok(None);
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    let (read, write) = tokio::io::split(TokioIo::new(hyper::upgrade::on(answer).await?));
    Ok(Some((ReaderStream::with_capacity(read, CHUNK).map_err(Error::from), write)))
}

fn request(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "engine")
}

async fn ask(
    address: &Address,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<Option<Response<Incoming>>, Error> {
    let Some(pipe) = connect(address).await? else {
        return Ok(None);
    };
    let request = request.body(Full::new(body)).map_err(std::io::Error::other)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(pipe)).await?;
    tokio::spawn(connection.with_upgrades());
    let answer = tokio::time::timeout(CALL_TIMEOUT, sender.send_request(request)).await;
    Ok(Some(answer.map_err(|_| Error::RequestTimeoutError)??))
}

async fn connect(address: &Address) -> Result<Option<Box<dyn Pipe>>, std::io::Error> {
    Ok(match address.as_str().split_once("://") {
        Some(("unix", path)) => Some(Box::new(UnixStream::connect(path).await?)),
        Some(("tcp" | "http", host)) => Some(Box::new(TcpStream::connect(host.trim_end_matches('/')).await?)),
        _ => None,
    })
}

/// The engine's own words about what it won't do.
async fn refusal(answer: Response<Incoming>) -> Error {
    #[derive(serde::Deserialize)]
    struct Words {
        message: String,
    }
    let status_code = answer.status().as_u16();
    match answer.into_body().collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            let words = serde_json::from_slice::<Words>(&bytes).map(|words| words.message);
            let message = words.unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned());
            Error::DockerResponseServerError { status_code, message }
        }
        Err(error) => error.into(),
    }
}
