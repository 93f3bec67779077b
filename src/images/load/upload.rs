//! One load call: a thread writes the archive, the engine reads it as fast as it can, and how it ended is told apart.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::catalogue::Catalogue;
use crate::engine::{Engine, EngineError, ImageStore};
use crate::images::error::ImagesError;
use crate::images::load::payload::{Payload, PayloadError, UploadObserver};
use crate::images::load::transfer::TransferState;
use crate::images::pipes::{TaskWriter, blocking};
use crate::report::{Activity, Meter, Reporter};

/// How a load call ended.
pub enum Outcome {
    /// All of it was sent and the engine had nothing against it, which proves nothing.
    Sent { bytes: u64 },
    /// The engine reported an error; the image may be there all the same.
    Refused { bytes: u64, error: EngineError },
    /// The operator asked for an end, or another load failed, while layers were under way; no image can have come of
    /// it.
    Stopped,
    /// What was to be sent could not be read, or is damaged; no image can have come of it.
    Failed(ImagesError),
}

/// For the log.
impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { bytes } => write!(formatter, "{bytes} bytes sent"),
            Self::Refused { bytes, error } => {
                write!(formatter, "refused after {bytes} bytes: {}", Catalogue::english().text(error.cause()))
            }
            Self::Stopped => formatter.write_str("stopped"),
            Self::Failed(error) => write!(formatter, "failed: {error}"),
        }
    }
}

/// What must be in the engine before an archive may be closed.
#[derive(Debug, Clone)]
pub struct CloseGate {
    state: watch::Receiver<TransferState>,
    after: Vec<usize>,
}

impl CloseGate {
    pub fn new(state: watch::Receiver<TransferState>, after: Vec<usize>) -> Self {
        Self { state, after }
    }

    fn given_up(&self) -> bool {
        self.state.borrow().given_up
    }

    /// Waits until all is there that the images need; false when they won't be.
    async fn opens(&mut self) -> bool {
        let Self { state, after } = self;
        let settled = |now: &TransferState| now.given_up || after.iter().all(|place| now.done.contains(place));
        match state.wait_for(settled).await {
            Ok(now) => !now.given_up,
            Err(_) => false,
        }
    }
}

/// Tells how far a load has come, in uncompressed bytes of layers. A byte counts in full when it has been applied, as
/// far as the engine shows that; for a part of it when it has been sent.
pub struct UploadProgress {
    reporter: Reporter,
    shows_applying: bool,
    /// What an attempt that fell short sent; it counts, so that no bar runs backwards.
    before_bytes: u64,
    total_bytes: u64,
    state: Mutex<ProgressState>,
}

struct ProgressState {
    sent_bytes: u64,
    applied_bytes: HashMap<String, u64>,
    meter: Meter,
}

/// What sending takes of the time that a byte takes, where applying comes after it: about a quarter.
const SENDING_PART: u64 = 4;

impl UploadProgress {
    pub fn new(reporter: Reporter, subject: String, store: ImageStore, before_bytes: u64, total_bytes: u64) -> Self {
        // The containerd store takes layers in as they come, and shows nothing of what it does with them.
        let shows_applying = store == ImageStore::Classic;
        let meter = reporter.meter(Activity::LoadImage, subject, Some(before_bytes + total_bytes));
        let state = Mutex::new(ProgressState { sent_bytes: 0, applied_bytes: HashMap::new(), meter });
        Self { reporter, shows_applying, before_bytes, total_bytes, state }
    }

    fn note(&self, change: impl FnOnce(&mut ProgressState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let done = if self.shows_applying {
            let applied: u64 = state.applied_bytes.values().sum();
            state.sent_bytes / SENDING_PART + applied.min(self.total_bytes) / SENDING_PART * (SENDING_PART - 1)
        } else {
            state.sent_bytes
        };
        state.meter.reach(self.before_bytes + done.min(self.total_bytes));
    }

    fn applied(&self, layer: String, bytes: u64) {
        self.note(|state| {
            let known = state.applied_bytes.entry(layer).or_default();
            *known = bytes.max(*known);
        });
    }
}

/// What the writing thread is told and asks.
struct Writing {
    progress: Arc<UploadProgress>,
    gate: CloseGate,
    /// The call has ended: there is nothing to wait for any more.
    ended: CancellationToken,
    handle: Handle,
}

impl UploadObserver for Writing {
    fn sent(&mut self, bytes: u64) {
        self.progress.note(|state| state.sent_bytes += bytes);
    }

    fn go_on(&self) -> bool {
        !self.progress.reporter.asked_to_stop() && !self.gate.given_up()
    }

    fn may_close(&mut self) -> bool {
        let Self { progress, gate, ended, handle } = self;
        handle.block_on(async {
            tokio::select! {
                opens = gate.opens() => opens && !progress.reporter.asked_to_stop(),
                () = progress.reporter.stop_asked() => false,
                () = ended.cancelled() => false,
            }
        })
    }
}

/// Pieces of 128 KiB that may wait for the engine.
const WAITING_PIECES: usize = 8;

/// Sends a payload to the engine.
pub async fn send(engine: &Engine, payload: Payload, progress: Arc<UploadProgress>, gate: CloseGate) -> Outcome {
    if let Err(error) = engine.ensure_locked().await {
        return Outcome::Failed(error.into());
    }
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING_PIECES);
    let ended = CancellationToken::new();
    let others = gate.clone();
    let mut observer =
        Writing { progress: Arc::clone(&progress), gate, ended: ended.clone(), handle: Handle::current() };
    let ended_too = ended.clone();
    let writing = blocking(move || payload.write(TaskWriter::new(sender, ended_too), &mut observer));
    let body = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let answer = async {
        let _at_the_end = ended.drop_guard();
        let mut refusal = None;
        let mut lines = pin!(engine.load_images(body));
        while let Some(line) = lines.next().await {
            match line {
                Ok(line) => {
                    if let Some((layer, bytes)) = line.applied {
                        progress.applied(layer, bytes);
                    }
                }
                // The first one tells; those after it only say that the stream ended.
                Err(error) => drop(refusal.get_or_insert(error)),
            }
        }
        refusal
    };
    let (written, refusal) = futures::join!(writing, answer);
    match (written, refusal) {
        (Err(PayloadError::Images(error)), _) => Outcome::Failed(error),
        (Ok(bytes), None) => Outcome::Sent { bytes },
        (Ok(bytes), Some(error)) => Outcome::Refused { bytes, error },
        (Err(PayloadError::Stopped), _) if progress.reporter.asked_to_stop() || others.given_up() => Outcome::Stopped,
        // The engine ended the call, perhaps while the thread waited for another load.
        (Err(_), Some(error)) => Outcome::Refused { bytes: 0, error },
        (Err(PayloadError::Stopped), None) => Outcome::Stopped,
        // It stopped reading and said nothing; what it has now tells.
        (Err(PayloadError::HungUp), None) => Outcome::Sent { bytes: 0 },
    }
}
