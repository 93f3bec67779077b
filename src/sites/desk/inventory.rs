//! Asking a site what it has of a project.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::remote::Remote;
use crate::report::Message;
use crate::sites::SitesError;
use crate::sites::inventory::Inventory;
use crate::sites::protocol::{Frame, InventoryRequest, LARGEST_PAYLOAD, Reply, Request};

/// A larger one is refused: a thousand images take some 5 MiB.
const LARGEST: usize = 16 << 20;
/// A site that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// A longer request is sent in pieces: it has some letters more in its frame.
const MOST_AT_ONCE: usize = LARGEST_PAYLOAD - 1024;

/// What a site has of a project.
///
/// # Errors
/// A site that can't be reached, or that says something else.
pub async fn inventory(remote: &Remote, request: InventoryRequest) -> Result<Inventory, SitesError> {
    let (request, rest) = in_frames(request);
    remote.ask_patiently(async || once(remote, &request, rest.clone()).await).await
}

/// What is said in the frame of the request, and what follows it as data.
fn in_frames(request: InventoryRequest) -> (Request, Bytes) {
    // A request has text for keys, which is all that could fail.
    let whole = serde_json::to_vec(&request).unwrap_or_default();
    match whole.len() > MOST_AT_ONCE {
        true => (Request::Inventory(InventoryRequest { follows: true, ..InventoryRequest::default() }), whole.into()),
        false => (Request::Inventory(request), Bytes::new()),
    }
}

async fn once(remote: &Remote, request: &Request, mut rest: Bytes) -> Result<Inventory, SitesError> {
    let mut conversation = remote.ask(request).await?;
    if !rest.is_empty() {
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(LARGEST_PAYLOAD));
            conversation.send_all(&Frame::Data(piece)).await?;
        }
        conversation.send_all(&Frame::DataEnd).await?;
    }
    let refused = |why: Message| SitesError::Refused { site: remote.name().to_owned(), why };
    let unknown =
        |error: serde_json::Error| refused(message!("because", what = message!("site-unknown-answer"), why = error));
    let mut text = Vec::new();
    loop {
        let frame = match timeout(SILENCE, conversation.next()).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => return Err(conversation.lost(&error).await),
            Err(_) => {
                let why = message!("site-silent", seconds = SILENCE.as_secs());
                return Err(SitesError::ConnectionLost { site: remote.name().to_owned(), why });
            }
        };
        match frame {
            Frame::Data(piece) if text.len() + piece.len() <= LARGEST => text.extend_from_slice(&piece),
            Frame::Data(_) => return Err(refused(message!("inventory-too-large", most = LARGEST))),
            Frame::DataEnd => break,
            Frame::Control(bytes) => {
                let reply = serde_json::from_slice::<Reply>(&bytes).map_err(unknown)?;
                return Err(conversation.unexpected(&reply));
            }
            Frame::Alive | Frame::Output(_) | Frame::Error(_) | Frame::Piece(_) => {}
        }
    }
    let inventory: Inventory = serde_json::from_slice(&text).map_err(unknown)?;
    match inventory.format {
        Inventory::FORMAT => Ok(inventory),
        other => Err(refused(message!("inventory-format", format = other))),
    }
}
