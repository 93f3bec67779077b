//! A port that accepts connections.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::inside::Inside;
use super::{Look, Wait};
use crate::engine::ContainerView;
use crate::report::Message;
use crate::services::error::NotReady;

/// One try; a packet that nobody answers must not use up the deadline.
pub(super) const TRY: Duration = Duration::from_secs(3);

pub(super) async fn look<'a>(
    wait: &Wait<'a>,
    view: &ContainerView,
    port: u16,
    inside: &mut Inside<'a>,
) -> Result<Look, NotReady> {
    let Some(address) = wait.reach.address(view) else {
        return inside.tcp(wait, view, port).await;
    };
    Ok(match connect(SocketAddr::new(address, port)).await {
        Ok(_) => Look::Ready,
        Err(why) => Look::NotYet(why),
    })
}

/// A connection, or why there is none.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Message> {
    match tokio::time::timeout(TRY, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(message!("look-port-error", port = address.port(), why = error)),
        Err(_) => Err(message!("look-port-silent", port = address.port())),
    }
}
