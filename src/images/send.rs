//! One load call: a thread writes the archive, the engine reads it as fast as it can, and how it ended is told apart.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::chunks::{TaskWriter, blocking};
use super::error::ImagesError;
use super::shipment::{Onlooker, Shipment, ShipmentError};
use crate::engine::{Engine, EngineError};
use crate::report::{Activity, Reporter};

/// How a load call ended.
pub enum Outcome {
    /// All of it was sent and the engine had nothing against it, which proves nothing.
    Sent { bytes: u64 },
    /// The engine reported an error; the image may be there all the same.
    Refused { bytes: u64, error: EngineError },
    /// The operator asked for an end while layers were under way; no image can have come of it.
    Stopped,
    /// What was to be sent could not be read, or is damaged; no image can have come of it.
    Failed(ImagesError),
}

/// Tells how far a load has come, in uncompressed bytes of layers.
pub struct Progress {
    reporter: Reporter,
    subject: String,
    done_bytes: u64,
    told_bytes: u64,
    total_bytes: u64,
}

/// Often enough for a bar that moves.
const TOLD_EVERY_BYTES: u64 = 1 << 20;

impl Progress {
    /// `done_bytes` went before, in a load that fell short; they count, so that no bar runs backwards.
    pub fn new(reporter: Reporter, subject: String, done_bytes: u64, total_bytes: u64) -> Self {
        Self { reporter, subject, done_bytes, told_bytes: done_bytes, total_bytes }
    }
}

impl Onlooker for Progress {
    fn sent(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        if self.done_bytes - self.told_bytes >= TOLD_EVERY_BYTES || self.done_bytes == self.total_bytes {
            self.told_bytes = self.done_bytes;
            self.reporter.advanced(Activity::LoadImage, &self.subject, self.done_bytes, Some(self.total_bytes));
        }
    }

    fn go_on(&self) -> bool {
        !self.reporter.asked_to_stop()
    }
}

/// Pieces of 128 KiB that may wait for the engine.
const WAITING_PIECES: usize = 8;

/// Sends a shipment to the engine.
pub async fn send(engine: &Engine, shipment: Shipment, mut progress: Progress) -> Outcome {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING_PIECES);
    let writing = blocking(move || shipment.write(TaskWriter::new(sender), &mut progress));
    let body = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let answer = async {
        let mut refusal = None;
        let mut lines = pin!(engine.load_images(body));
        while let Some(line) = lines.next().await {
            if let Err(error) = line {
                // The first one tells; those after it only say that the stream ended.
                refusal.get_or_insert(error);
            }
        }
        refusal
    };
    let (written, refusal) = futures::join!(writing, answer);
    match (written, refusal) {
        (Err(ShipmentError::Images(error)), _) => Outcome::Failed(error),
        (Err(ShipmentError::Stopped), _) => Outcome::Stopped,
        (Ok(bytes), None) => Outcome::Sent { bytes },
        (Ok(bytes), Some(error)) => Outcome::Refused { bytes, error },
        (Err(ShipmentError::HungUp), Some(error)) => Outcome::Refused { bytes: 0, error },
        // It stopped reading and said nothing; what it has now tells.
        (Err(ShipmentError::HungUp), None) => Outcome::Sent { bytes: 0 },
    }
}
