//! What the far side of a connection says on its standard error.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Of what the far side says on its standard error, so much is kept.
const MOST_WORDS: usize = 4 << 10;

/// Reads what the far side has to say until its end, so that it never has to wait to say it; gives the end of it.
pub async fn read_words(mut stderr: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut words = Vec::new();
    while matches!(stderr.read_buf(&mut words).await, Ok(length) if length > 0) {
        let surplus = words.len().saturating_sub(MOST_WORDS);
        words.drain(..surplus);
    }
    words
}
