//! Layers of an export, an archive or a layout on their way into a store, a few at once.

use std::io::Read;
use std::path::Path;

use crate::images::error::ImagesError;
use crate::images::formats::image_archive::{ArchiveError, ArchivedImage, LayerFile};
use crate::images::formats::tar_reader::TarError;
use crate::images::store::layer_writer::{LayerWriteError, LayerWriter, PendingLayer, TakenLayer};
use crate::images::store::layout::StoredLayer;

/// How many layers may be on their way to the disk while the next one is read.
const LAYERS_IN_FLIGHT: usize = 3;

/// What has been taken in of one file or folder.
pub(in crate::images) struct LayerBatch {
    pub writer: LayerWriter,
    layers: Vec<BatchedLayer>,
}

struct BatchedLayer {
    path: String,
    state: State,
}

enum State {
    Pending(PendingLayer),
    Taken(TakenLayer),
    /// Being waited for; no one sees this.
    Gone,
}

impl LayerBatch {
    pub fn new(writer: LayerWriter) -> Self {
        Self { writer, layers: Vec::new() }
    }

    /// Adds a layer that is being written; gives its number. Waits when too many are.
    pub fn add(&mut self, path: &str, pending: PendingLayer) -> Result<usize, BatchFailure> {
        self.layers.push(BatchedLayer { path: path.to_owned(), state: State::Pending(pending) });
        if let Some(earlier) = self.layers.len().checked_sub(LAYERS_IN_FLIGHT) {
            self.layers[earlier].settle()?;
        }
        Ok(self.layers.len() - 1)
    }

    /// Takes in a file of an archive; gives its number.
    pub fn take(&mut self, file: &LayerFile<'_>, body: &mut impl Read) -> Result<usize, BatchFailure> {
        let pending = self.writer.take(body, file.size_bytes, file.promised.as_ref());
        self.add(file.path, pending.map_err(|error| BatchFailure::of(file.path, error))?)
    }

    /// Adds a layer that the store has.
    pub fn add_known(&mut self, layer: StoredLayer) -> usize {
        let path = layer.blob.to_string();
        self.layers.push(BatchedLayer { path, state: State::Taken(TakenLayer { layer, new_bytes: 0 }) });
        self.layers.len() - 1
    }

    /// Waits for all: whatever went wrong, nobody may still be writing when the store's lock is given back.
    pub fn settle(&mut self) -> Result<(), BatchFailure> {
        self.layers.iter_mut().map(BatchedLayer::settle).fold(Ok(()), Result::and)
    }

    /// The layers of an image, which must be those that its configuration names.
    pub fn layers_of(&self, image: &ArchivedImage<usize>) -> Result<Vec<&TakenLayer>, ArchiveError> {
        let joined = image.layers.iter().zip(image.config.diff_ids());
        joined.map(|(at, expected)| self.taken(*at, expected)).collect()
    }

    fn taken(&self, at: usize, expected: &crate::fs::Digest) -> Result<&TakenLayer, ArchiveError> {
        let gathered = &self.layers[at];
        match &gathered.state {
            State::Taken(taken) if taken.layer.diff_id == *expected => Ok(taken),
            _ => Err(ArchiveError::WrongDiffId { path: gathered.path.clone(), expected: expected.clone() }),
        }
    }

    /// All that has been taken in.
    pub fn all(&self) -> impl Iterator<Item = &TakenLayer> {
        self.layers.iter().filter_map(|gathered| match &gathered.state {
            State::Taken(taken) => Some(taken),
            _ => None,
        })
    }
}

impl BatchedLayer {
    fn settle(&mut self) -> Result<(), BatchFailure> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Pending(pending) => {
                let taken = pending.finish().map_err(|error| BatchFailure::of(&self.path, error))?;
                self.state = State::Taken(taken);
            }
            state => self.state = state,
        }
        Ok(())
    }
}

/// Why a layer did not come in: what it comes from is to blame, or the store.
pub(in crate::images) enum BatchFailure {
    Archive(ArchiveError),
    Images(ImagesError),
}

impl From<ArchiveError> for BatchFailure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<ImagesError> for BatchFailure {
    fn from(error: ImagesError) -> Self {
        Self::Images(error)
    }
}

impl BatchFailure {
    pub fn of(path: &str, error: LayerWriteError) -> Self {
        let path = path.to_owned();
        match error {
            LayerWriteError::Source(source) => Self::Archive(TarError::Read(source).into()),
            LayerWriteError::Undecodable(source) => Self::Archive(ArchiveError::Layer { path, source }),
            LayerWriteError::WrongDigest => Self::Archive(ArchiveError::WrongDigest { path }),
            LayerWriteError::Bomb => Self::Archive(ArchiveError::Bomb),
            LayerWriteError::Store { path, source } => Self::Images(ImagesError::file("write to", &path, source)),
        }
    }

    pub fn in_file(self, file: &Path) -> ImagesError {
        self.in_what_comes_from(&file.display().to_string())
    }

    pub fn in_what_comes_from(self, origin: &str) -> ImagesError {
        match self {
            Self::Archive(source) => ImagesError::Archive { origin: origin.to_owned(), source: Box::new(source) },
            Self::Images(error) => error,
        }
    }
}
