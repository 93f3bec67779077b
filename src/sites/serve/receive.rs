//! Receives what a desk sends over a connection: its frames feed the receiving side.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Reader, SILENCE, Writer, not_a_request};
use crate::report::Message;
use crate::sites::protocol::{Frame, FromReceiver, ReceiveRequest, Reply, ToReceiver};
use crate::sites::receive::{Receiver, Recorded};

/// The desk hears so often that this side is there, whatever its disk does.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Receives until the desk has said its last, or the connection ends.
pub(super) async fn receive(request: ReceiveRequest, reader: &mut Reader, writer: &mut Writer) -> Result<(), Message> {
    let (says, said) = mpsc::unbounded_channel();
    let mut receiver = Receiver::new(request.project, Recorded::in_journal(&request.desk), says);
    let hearing = async move {
        receiver.say(FromReceiver::Ready);
        // Dropped behind it, the files that are under way are made safe as far as they have come.
        hear(&mut receiver, reader).await
    };
    let (result, _) = tokio::join!(hearing, speak(said, writer));
    result
}

async fn hear(receiver: &mut Receiver, reader: &mut Reader) -> Result<(), Message> {
    loop {
        let frame = match tokio::time::timeout(SILENCE, reader.next()).await {
            Ok(Ok(frame)) => frame,
            // What has come so far stays.
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        match frame {
            Frame::Piece(payload) => {
                let (file, bytes) = Frame::split_piece(payload).ok_or_else(|| message!("receive-no-file"))?;
                receiver.piece(file, bytes).await;
            }
            Frame::Control(bytes) => {
                let what: ToReceiver = serde_json::from_slice(&bytes).map_err(not_a_request)?;
                if matches!(what, ToReceiver::End) {
                    return Ok(());
                }
                receiver.follow(what).await?;
            }
            Frame::Alive | Frame::Data(_) | Frame::DataEnd | Frame::Output(_) | Frame::Error(_) => {}
        }
    }
}

/// Says what there is to say until nobody says more. Where the desk is gone, the rest is not said.
async fn speak(mut said: mpsc::UnboundedReceiver<FromReceiver>, writer: &mut Writer) {
    let mut is_there = true;
    loop {
        let frame = match tokio::time::timeout(ALIVE_EVERY, said.recv()).await {
            Ok(Some(from)) => Frame::control(&Reply::Receiver(from)),
            Ok(None) => return,
            Err(_) => Frame::Alive,
        };
        if is_there {
            is_there = writer.send(&frame).await.is_ok();
        }
    }
}
