//! Connections that leave HTTP behind: a terminal's bytes, as they are.
//!
//! bollard looks for frames in them, which a terminal's stream doesn't have.

use bollard::errors::Error;
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio_util::io::ReaderStream;

use super::{Call, Transport};
use crate::engine::limits::timeouts::CALL_TIMEOUT;

/// Bytes are taken out of a stream by so many at once.
const CHUNK: usize = 64 << 10;

impl Transport {
    /// What the engine sends and takes once it has left HTTP behind.
    pub async fn hijack(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(impl Stream<Item = Result<Bytes, Error>> + Send + use<>, impl AsyncWrite + Send + use<>), Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(std::io::Error::other)?;
        let call = Call::begin("POST", request.uri());
        let answer = match tokio::time::timeout(CALL_TIMEOUT, self.send(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::RequestTimeoutError),
        };
        call.ended(&answer);
        let answer = answer?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(answer).await);
        }
        let (read, write) = tokio::io::split(TokioIo::new(hyper::upgrade::on(answer).await?));
        Ok((ReaderStream::with_capacity(read, CHUNK).map_err(Error::from), write))
    }

    /// Sends a request on a stream of its own.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let stream = TokioIo::new(self.dialler.dial().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }
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
