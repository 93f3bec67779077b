//! Layers of an export, an archive or a layout on their way into a store, a few at once.

use std::io::{self, Read};
use std::path::Path;

use crate::images::error::{ImagesError, in_one_line};
use crate::images::formats::image_archive::{ArchiveError, ArchivedImage, LayerFile};
use crate::images::formats::tar_reader::TarError;
use crate::images::store::layer_writer::{LayerWriteError, LayerWriter, PendingLayer, TakenLayer};
use crate::images::store::layout::StoredLayer;
use crate::report::{Message, Told as _};

/// How many layers may be on their way to the disk while the next one is read.
const LAYERS_IN_FLIGHT: usize = 3;

/// What has been taken in of one file or folder.
pub(in crate::images) struct LayerBatch {
    pub writer: LayerWriter,
    layers: Vec<BatchedLayer>,
    damage: LayerDamage,
}

/// What a layer that is damaged where it comes from ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::images) enum LayerDamage {
    /// All that comes with it.
    EndsAll,
    /// The images that need it, which [`LayerBatch::layers_of`] says.
    EndsItsImages,
}

struct BatchedLayer {
    path: String,
    state: State,
}

enum State {
    Pending(PendingLayer),
    Taken(TakenLayer),
    /// It is damaged where it comes from: its bytes are not those that its name promises, or can't be decompressed.
    Damaged {
        why_undecodable: Option<String>,
    },
    /// Placeholder while `settle` takes the value out.
    Gone,
}

impl LayerBatch {
    pub fn new(writer: LayerWriter) -> Self {
        Self { writer, layers: Vec::new(), damage: LayerDamage::EndsAll }
    }

    /// Lets a damaged layer end only the images that need it.
    pub fn with_damage(self, damage: LayerDamage) -> Self {
        Self { damage, ..self }
    }

    /// Adds a layer that is being written; gives its number. Waits when too many are.
    pub fn add(&mut self, path: &str, pending: PendingLayer) -> Result<usize, BatchFailure> {
        self.layers.push(BatchedLayer { path: path.to_owned(), state: State::Pending(pending) });
        if let Some(earlier) = self.layers.len().checked_sub(LAYERS_IN_FLIGHT) {
            self.layers[earlier].settle(self.damage)?;
        }
        Ok(self.layers.len() - 1)
    }

    fn add_damaged(&mut self, path: &str, state: State) -> usize {
        self.layers.push(BatchedLayer { path: path.to_owned(), state });
        self.layers.len() - 1
    }

    /// Takes in a file of an archive; gives its number.
    pub fn take(&mut self, file: &LayerFile<'_>, body: &mut impl Read) -> Result<usize, BatchFailure> {
        match self.writer.take(body, file.size_bytes, file.promised.as_ref()) {
            Ok(pending) => self.add(file.path, pending),
            Err(error) => {
                let state = damage_of(error, self.damage).map_err(|error| BatchFailure::of(file.path, error))?;
                Ok(self.add_damaged(file.path, state))
            }
        }
    }

    /// Adds a layer that the store has.
    pub fn add_known(&mut self, layer: StoredLayer) -> usize {
        let path = layer.blob.to_string();
        self.layers.push(BatchedLayer { path, state: State::Taken(TakenLayer { layer, new_bytes: 0 }) });
        self.layers.len() - 1
    }

    /// Waits for all: whatever went wrong, nobody may still be writing when the store's lock is given back.
    pub fn settle(&mut self) -> Result<(), BatchFailure> {
        let damage = self.damage;
        self.layers.iter_mut().map(|layer| layer.settle(damage)).fold(Ok(()), Result::and)
    }

    /// The layers of an image, which must be those that its configuration names.
    pub fn layers_of(&self, image: &ArchivedImage<usize>) -> Result<Vec<&TakenLayer>, ArchiveError> {
        let joined = image.layers.iter().zip(image.config.diff_ids());
        joined.map(|(at, expected)| self.taken(*at, expected)).collect()
    }

    fn taken(&self, at: usize, expected: &crate::fs::Digest) -> Result<&TakenLayer, ArchiveError> {
        let layer = &self.layers[at];
        let path = layer.path.clone();
        match &layer.state {
            State::Taken(taken) if taken.layer.diff_id == *expected => Ok(taken),
            State::Damaged { why_undecodable: None } => Err(ArchiveError::WrongDigest { path }),
            State::Damaged { why_undecodable: Some(why) } => {
                Err(ArchiveError::Layer { path, source: io::Error::new(io::ErrorKind::InvalidData, why.clone()) })
            }
            _ => Err(ArchiveError::WrongDiffId { path, expected: expected.clone() }),
        }
    }

    /// All that has been taken in.
    pub fn all(&self) -> impl Iterator<Item = &TakenLayer> {
        self.layers.iter().filter_map(|layer| match &layer.state {
            State::Taken(taken) => Some(taken),
            _ => None,
        })
    }
}

impl BatchedLayer {
    fn settle(&mut self, damage: LayerDamage) -> Result<(), BatchFailure> {
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Pending(pending) => match pending.finish() {
                Ok(taken) => State::Taken(taken),
                Err(error) => damage_of(error, damage).map_err(|error| BatchFailure::of(&self.path, error))?,
            },
            state => state,
        };
        Ok(())
    }
}

/// The state of a layer that is damaged where it comes from; the error back where it ends all.
fn damage_of(error: LayerWriteError, damage: LayerDamage) -> Result<State, LayerWriteError> {
    match (damage, error) {
        (LayerDamage::EndsItsImages, LayerWriteError::WrongDigest) => Ok(State::Damaged { why_undecodable: None }),
        (LayerDamage::EndsItsImages, LayerWriteError::Undecodable(source)) => {
            Ok(State::Damaged { why_undecodable: Some(source.to_string()) })
        }
        (_, error) => Err(error),
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
    /// Whether a layer is at fault, and no more than the images that need it.
    pub fn is_of_a_layer(&self) -> bool {
        matches!(
            self,
            Self::Archive(ArchiveError::WrongDigest { .. } | ArchiveError::Layer { .. })
                | Self::Images(ImagesError::DamagedBlob { .. })
        )
    }

    /// What is wrong, for a sentence that names the image.
    pub fn in_one_line(&self) -> Message {
        match self {
            Self::Archive(error) => in_one_line(error),
            Self::Images(ImagesError::DamagedBlob { path, why, .. }) => {
                message!("because", what = path.display(), why = why.message())
            }
            Self::Images(error) => in_one_line(error),
        }
    }

    pub fn of(path: &str, error: LayerWriteError) -> Self {
        let path = path.to_owned();
        match error {
            LayerWriteError::Source(source) => Self::Archive(TarError::Read(source).into()),
            LayerWriteError::Undecodable(source) => Self::Archive(ArchiveError::Layer { path, source }),
            LayerWriteError::WrongDigest => Self::Archive(ArchiveError::WrongDigest { path }),
            LayerWriteError::Bomb => Self::Archive(ArchiveError::Bomb),
            LayerWriteError::Store { path, source } => {
                Self::Images(ImagesError::file(message!("verb-write-to"), &path, source))
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Digest;
    use crate::images::formats::compression::CompressionOptions;
    use crate::images::formats::documents::ImageConfig;
    use crate::images::store::writer::{KnownLayers, StoreWriter};

    fn image(layers: &[(usize, &[u8])]) -> ArchivedImage<usize> {
        let diff_ids: Vec<Digest> = layers.iter().map(|(_, content)| Digest::of(content)).collect();
        let config_bytes = serde_json::to_vec(&serde_json::json!({"rootfs": {"diff_ids": diff_ids}})).unwrap();
        ArchivedImage {
            references: Vec::new(),
            config_digest: Digest::of(&config_bytes),
            config: ImageConfig::parse(&config_bytes).unwrap(),
            config_bytes,
            layers: layers.iter().map(|(at, _)| *at).collect(),
        }
    }

    fn take(batch: &mut LayerBatch, content: &[u8], promised: Option<Digest>) -> Result<usize, BatchFailure> {
        let file = LayerFile { path: "l/layer.tar", size_bytes: content.len() as u64, promised };
        batch.take(&file, &mut &content[..])
    }

    #[test]
    fn a_damaged_layer_ends_all_or_the_images_that_need_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreWriter::open(folder.path()).unwrap();
        let new = || LayerWriter::new(store.layout().folder(), CompressionOptions::default(), KnownLayers::new());
        let gzip_that_is_none = [&[0x1f, 0x8b][..], &[7; 600]].concat();
        let mut strict = LayerBatch::new(new());
        let damaged = take(&mut strict, b"other", Some(Digest::of(b"damaged")));
        assert!(damaged.and_then(|_| strict.settle()).is_err());

        let mut batch = LayerBatch::new(new()).with_damage(LayerDamage::EndsItsImages);
        let whole = take(&mut batch, b"whole", None).ok().unwrap();
        let damaged = take(&mut batch, b"other", Some(Digest::of(b"damaged"))).ok().unwrap();
        let undecodable = take(&mut batch, &gzip_that_is_none, None).ok().unwrap();
        let later = take(&mut batch, b"later", None).ok().unwrap();
        assert!(batch.settle().is_ok());
        assert_eq!(batch.layers_of(&image(&[(whole, b"whole"), (later, b"later")])).unwrap().len(), 2);
        let error = batch.layers_of(&image(&[(whole, b"whole"), (damaged, b"damaged")])).err();
        assert!(matches!(error, Some(ArchiveError::WrongDigest { .. })), "{error:?}");
        let error = batch.layers_of(&image(&[(undecodable, b"x")])).err();
        assert!(matches!(error, Some(ArchiveError::Layer { .. })), "{error:?}");
        assert_eq!(batch.all().count(), 2);
    }
}
