//! Tells the desk what is here of a project.

use std::time::Duration;

use bytes::Bytes;

use super::{Reader, SILENCE, Writer, not_a_request, send as send_frame};
use crate::report::{Message, Told as _};
use crate::sites::coming::coming_of;
use crate::sites::inventory::collect_with;
use crate::sites::protocol::{Frame, FrameError, InventoryRequest, LARGEST_PAYLOAD};

/// Seeds may take long to read: meanwhile the desk hears that this side is there.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// A longer request is none of ours: a manifest's own texts are much shorter.
const LONGEST_REQUEST: usize = 32 << 20;

pub(super) async fn send(request: InventoryRequest, reader: &mut Reader, writer: &mut Writer) -> Result<(), Message> {
    let request = if request.follows { following(reader).await? } else { request };
    let mut collecting = std::pin::pin!(async {
        let looking = request.clone();
        let coming = tokio::task::spawn_blocking(move || coming_of(&looking)).await;
        collect_with(&request, &coming.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))).await
    });
    let inventory = loop {
        match tokio::time::timeout(ALIVE_EVERY, &mut collecting).await {
            Ok(inventory) => break inventory,
            Err(_) => send_frame(writer, &Frame::Alive).await?,
        }
    };
    let text = serde_json::to_vec(&inventory).map_err(|error| message!("words", text = error))?;
    let mut text = Bytes::from(text);
    while !text.is_empty() {
        let piece = text.split_to(text.len().min(LARGEST_PAYLOAD));
        send_frame(writer, &Frame::Data(piece)).await?;
    }
    send_frame(writer, &Frame::DataEnd).await
}

/// The request that follows in pieces of data.
async fn following(reader: &mut Reader) -> Result<InventoryRequest, Message> {
    let mut text = Vec::new();
    loop {
        let frame = tokio::time::timeout(SILENCE, reader.next()).await.unwrap_or(Err(FrameError::Ended));
        match frame.map_err(|error| error.message())? {
            Frame::Data(piece) if text.len() + piece.len() <= LONGEST_REQUEST => text.extend_from_slice(&piece),
            Frame::Data(_) => return Err(message!("serve-no-request")),
            Frame::DataEnd => return serde_json::from_slice(&text).map_err(not_a_request),
            _ => {}
        }
    }
}
