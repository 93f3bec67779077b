//! The folder `.dpl/` beside the manifest.

use std::io;
use std::path::{Path, PathBuf};

use super::StateError;
use crate::fs::create_dir_durably;

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

    /// Makes the folder.
    pub(super) fn create(&self) -> Result<(), StateError> {
        create_dir_durably(&self.path).map_err(|source| self.write_error(source))
    }

    pub(super) fn write_error(&self, source: io::Error) -> StateError {
        StateError::Write { path: self.path.clone(), source }
    }
}
