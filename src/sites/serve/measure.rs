//! Takes data and says how much came, so that the desk learns what the line gives.

use super::{Reader, SILENCE, Writer, send};
use crate::report::Message;
use crate::sites::protocol::{Frame, Reply};

pub(super) async fn measure(reader: &mut Reader, writer: &mut Writer) -> Result<(), Message> {
    let mut bytes = 0;
    loop {
        match tokio::time::timeout(SILENCE, reader.next()).await {
            Ok(Ok(Frame::Data(piece))) => bytes += piece.len() as u64,
            Ok(Ok(Frame::DataEnd)) => {
                send(writer, &Frame::control(&Reply::Measured { bytes })).await?;
                bytes = 0;
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Ok(()),
        }
    }
}
