//! The folder `.dpl/` beside the manifest.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StateError;
use crate::fs::{Mode, create_dir_durably, write_durably};

/// The project's state on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// The state that belongs to the manifest at `manifest`; nothing is made yet.
    pub fn beside(manifest: &Path) -> Self {
        let folder = manifest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { path: folder.join(".dpl") }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of the state lies.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A record that is replaced as a whole; an empty one where there is none.
    ///
    /// # Errors
    /// A file that is there and can't be understood: what it says is not to be guessed.
    pub(super) fn read_record<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, StateError> {
        let path = self.file(name);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| StateError::Read { path, source: error.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(source) => Err(StateError::Read { path, source }),
        }
    }

    /// Replaces a record, durably, for its owner's eyes alone.
    pub(super) fn write_record<T: Serialize>(&self, name: &str, record: &T) -> Result<(), StateError> {
        self.create()?;
        let text = serde_json::to_vec(record).map_err(|error| self.write_error(error.into()))?;
        write_durably(&self.file(name), &text, Mode::Private).map_err(|source| self.write_error(source))
    }

    /// Makes the folder.
    pub(super) fn create(&self) -> Result<(), StateError> {
        create_dir_durably(&self.path).map_err(|source| self.write_error(source))
    }

    pub(super) fn write_error(&self, source: io::Error) -> StateError {
        StateError::Write { path: self.path.clone(), source }
    }
}
