//! The engine's export, passed on to the thread that reads it.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::engine::{Engine, EngineError, ImageStore};
use crate::images::error::ImagesError;
use crate::images::formats::image_archive::{ArchiveError, ArchivedImage};
use crate::images::identity::Identity;
use crate::images::pipes::{TaskReader, blocking};
use crate::images::save::plan::Wanted;
use crate::report::Reporter;

/// So much of an export goes on to the thread that reads it together; and so many batches may wait for it.
const BATCH_BYTES: usize = 256 << 10;
const WAITING_BATCHES: usize = 2;

/// Exports images and lets `work` read the stream in a thread. What the engine reports goes before what its broken
/// stream looked like.
pub(in crate::images) async fn with_export<T: Send + 'static>(
    engine: &Engine,
    names: &[String],
    reporter: &Reporter,
    work: impl FnOnce(TaskReader) -> Result<T, ImagesError> + Send + 'static,
) -> Result<T, ImagesError> {
    let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
    let working = blocking(move || work(TaskReader::new(receiver)));
    // A task of its own runs where the connection's does: here, each piece of 32 KiB would wake another thread.
    let export = engine.export_images(names);
    let passing_on = tokio::spawn(pass_on(export, sender, reporter.clone()));
    let (result, passed) = futures::join!(working, passing_on);
    match passed {
        Ok(passed) => passed.and(result),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Passes an export on. Pieces that come while nobody takes them gather: fewer, larger batches wake the thread less.
async fn pass_on(
    export: impl Stream<Item = Result<Bytes, EngineError>>,
    sender: mpsc::Sender<io::Result<Vec<Bytes>>>,
    reporter: Reporter,
) -> Result<(), ImagesError> {
    let mut export = pin!(export);
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    loop {
        let piece = tokio::select! {
            biased;
            () = reporter.stop_asked() => Err(ImagesError::Stopped),
            piece = export.next(), if batch_bytes < BATCH_BYTES => match piece {
                Some(piece) => piece.map_err(ImagesError::from),
                None => {
                    let _ = sender.send(Ok(batch)).await;
                    return Ok(());
                }
            },
            room = sender.reserve(), if batch_bytes > 0 => match room {
                Ok(room) => {
                    room.send(Ok(std::mem::take(&mut batch)));
                    batch_bytes = 0;
                    continue;
                }
                // The reader has given up, for a reason of its own.
                Err(_) => return Ok(()),
            },
        };
        match piece {
            Ok(piece) => {
                batch_bytes += piece.len();
                batch.push(piece);
            }
            Err(error) => {
                let _ = sender.send(Err(io::Error::other("the export broke off"))).await;
                return Err(error);
            }
        }
    }
}

/// The exported image of a reference: by its name, else by what the engine calls it or what it is made of.
pub(in crate::images) fn find<'a, L>(
    images: &'a [ArchivedImage<L>],
    wanted: &Wanted,
    store: ImageStore,
) -> Option<&'a ArchivedImage<L>> {
    let is_named = |image: &&ArchivedImage<L>| image.references.contains(&wanted.name);
    let is_it =
        |image: &&ArchivedImage<L>| Identity::of_config(&image.config_digest, &image.config).is(store, &wanted.view);
    images.iter().find(is_named).or_else(|| images.iter().find(is_it))
}

/// Where errors say that an export comes from.
pub const EXPORT: &str = "the engine's export";

pub(in crate::images) fn export_error(source: ArchiveError) -> ImagesError {
    ImagesError::Archive { origin: EXPORT.to_owned(), source: Box::new(source) }
}
