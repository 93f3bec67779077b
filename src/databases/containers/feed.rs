//! A program in a container that reads what a thread of this process writes, and how it ended.

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::databases::error::DatabasesError;
use crate::engine::{ExecOutput, ExecSession};

/// So many pieces may be under way: the thread waits for a program that reads slowly.
const WAITING: usize = 8;

/// How a program ended that was fed.
pub(in crate::databases) struct Fed {
    pub exit_code: i64,
    /// What it wrote to its standard error.
    pub said: Vec<u8>,
}

/// Feeds a program, hears it to its end, and keeps so many of the first bytes that it says.
///
/// `write` runs on a thread of its own. Nobody takes its pieces any more once the program has ended: that is no error of its
/// own, since such a program is judged by its exit code and by what it said.
pub(in crate::databases) async fn feed_exec(
    mut session: ExecSession,
    most_said: usize,
    write: impl FnOnce(&mpsc::Sender<Bytes>) -> Result<(), DatabasesError> + Send + 'static,
) -> Result<Fed, DatabasesError> {
    let (pieces, mut waiting) = mpsc::channel::<Bytes>(WAITING);
    let writing = tokio::task::spawn_blocking(move || write(&pieces));
    let mut said: Vec<u8> = Vec::new();
    let drained = {
        let ExecSession { output, input, .. } = &mut session;
        let feed = async {
            while let Some(piece) = waiting.recv().await {
                if input.write_all(&piece).await.is_err() {
                    break;
                }
            }
            drop(waiting);
            let _ = input.shutdown().await;
        };
        let drain = async {
            while let Some(chunk) = output.next().await {
                if let ExecOutput::Stderr(bytes) = chunk? {
                    let room = most_said - said.len();
                    said.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
            }
            Ok::<(), DatabasesError>(())
        };
        futures::join!(feed, drain).1
    };
    let written = writing.await.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()));
    drained?;
    let exit_code = session.exit_code().await;
    // What could not be written is why the program ended as it did.
    written?;
    Ok(Fed { exit_code: exit_code?, said })
}
