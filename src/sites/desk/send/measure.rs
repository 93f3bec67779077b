//! What the line to a site gives: some data goes there, and the time is taken until it says that all has come.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use crate::sites::SitesError;
use crate::sites::desk::conversation::Conversation;
use crate::sites::desk::remote::Remote;
use crate::sites::protocol::{Frame, Reply, Request};

/// A first look, and a second one where that went quickly.
const FIRST: usize = 64 << 10;
const SECOND: usize = 2 << 20;
const QUICKLY: Duration = Duration::from_millis(200);
/// A line that is slower than this is not measured to the end.
const LONGEST: Duration = Duration::from_secs(15);

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    pub bytes_per_second: u64,
}

/// Measures the line, of which so many bytes a second may be taken; `None` where it is too slow for that.
///
/// # Errors
/// A site that can't be reached.
pub async fn measure(remote: &Remote, limit: Option<u64>) -> Result<Option<Measured>, SitesError> {
    let once = async || {
        let mut conversation = remote.ask(&Request::Measure).await?;
        match timeout(LONGEST, look(&mut conversation, limit)).await {
            Ok(measured) => measured.map(Some),
            Err(_) => Ok(None),
        }
    };
    remote.ask_patiently(once).await
}

async fn look(conversation: &mut Conversation, limit: Option<u64>) -> Result<Measured, SitesError> {
    let there_and_back = time(conversation, 0).await?;
    let mut bytes = FIRST;
    let mut took = time(conversation, bytes).await?;
    if took < QUICKLY && limit.is_none_or(|limit| limit >= SECOND as u64) {
        bytes = SECOND;
        took = time(conversation, bytes).await?;
    }
    let seconds = took.saturating_sub(there_and_back).max(Duration::from_micros(100)).as_secs_f64();
    Ok(Measured { bytes_per_second: (bytes as f64 / seconds) as u64 })
}

async fn time(conversation: &mut Conversation, bytes: usize) -> Result<Duration, SitesError> {
    // Compression on the way (ssh -C) must find nothing to do, as with layers.
    let noise: Vec<u8> = (0_u64..FIRST as u64 / 8)
        .flat_map(|number| (number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number << 29).to_le_bytes())
        .collect();
    let noise = Bytes::from(noise);
    let begun = Instant::now();
    for _ in 0..bytes / FIRST {
        conversation.send_all(&Frame::Data(noise.clone())).await?;
    }
    conversation.send_all(&Frame::DataEnd).await?;
    match conversation.reply().await? {
        Reply::Measured { bytes: come } if come == bytes as u64 => Ok(begun.elapsed()),
        other => Err(conversation.unexpected(&other)),
    }
}
