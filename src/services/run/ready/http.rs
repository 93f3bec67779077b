//! A request that is answered well.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;

use super::inside::Inside;
use super::tcp::{TRY, connect};
use super::{Look, Wait};
use crate::engine::ContainerView;
use crate::manifest::model::HttpProbe;
use crate::report::Message;
use crate::services::error::NotReady;

pub(super) async fn look<'a>(
    wait: &Wait<'a>,
    view: &ContainerView,
    probe: &HttpProbe,
    inside: &mut Inside<'a>,
) -> Result<Look, NotReady> {
    let status = match wait.reach.address(view) {
        None => match inside.http(wait, view, probe).await? {
            Ok(status) => status,
            Err(why) => return Ok(Look::NotYet(why)),
        },
        Some(address) => match tokio::time::timeout(TRY, ask(address, probe)).await {
            Ok(Ok(status)) => status,
            Ok(Err(why)) => return Ok(Look::NotYet(why)),
            Err(_) => return Ok(Look::NotYet(message!("look-no-answer", path = probe.path))),
        },
    };
    Ok(if is_well(probe, status) {
        Look::Ready
    } else {
        Look::NotYet(message!("look-answers", path = probe.path, status = status))
    })
}

/// The status that is expected; any of 200 to 399 where the manifest names none.
fn is_well(probe: &HttpProbe, status: u16) -> bool {
    match probe.status {
        Some(wanted) => status == wanted,
        None => (200..400).contains(&status),
    }
}

async fn ask(address: IpAddr, probe: &HttpProbe) -> Result<u16, Message> {
    let stream = connect(SocketAddr::new(address, probe.port)).await?;
    let unwell = |error: &dyn std::error::Error| message!("because", what = probe.path, why = error);
    let request = Request::get(path(probe))
        .header("Host", format!("{address}:{}", probe.port))
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unwell(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| unwell(&error))?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // The connection makes progress only while it is polled. Where it ends first, the answer is there, or never will be.
    let answer = tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    };
    answer.map(|answer| answer.status().as_u16()).map_err(|error| unwell(&error))
}

pub(super) fn path(probe: &HttpProbe) -> &str {
    if probe.path.is_empty() { "/" } else { &probe.path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answer: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        port
    }

    fn probe(port: u16, status: Option<u16>) -> HttpProbe {
        HttpProbe { port, path: "/health".to_owned(), status }
    }

    #[tokio::test]
    async fn the_status_of_the_answer_counts() {
        let port = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(ask("127.0.0.1".parse().unwrap(), &probe(port, None)).await, Ok(204));
        let port = server("").await;
        assert!(ask("127.0.0.1".parse().unwrap(), &probe(port, None)).await.is_err());
    }

    #[test]
    fn without_a_wanted_status_anything_below_400_is_well() {
        for (status, well) in [(199, false), (200, true), (302, true), (399, true), (404, false), (503, false)] {
            assert_eq!(is_well(&probe(80, None), status), well, "{status}");
        }
        assert!(is_well(&probe(80, Some(401)), 401));
        assert!(!is_well(&probe(80, Some(401)), 200));
    }
}
