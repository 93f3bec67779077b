//! Tells the desk what is here of a project.

use std::time::Duration;

use bytes::Bytes;

use super::{Writer, send as send_frame};
use crate::report::Message;
use crate::sites::coming::coming_of;
use crate::sites::inventory::collect_with;
use crate::sites::protocol::{Frame, InventoryRequest, LARGEST_PAYLOAD};

/// Seeds may take long to read: meanwhile the desk hears that this side is there.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

pub(super) async fn send(request: InventoryRequest, writer: &mut Writer) -> Result<(), Message> {
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
