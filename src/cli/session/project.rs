//! The project that a session works on.

use std::path::PathBuf;

use crate::fs::Digest;
use crate::manifest::{Loaded, Manifest};
use crate::state::{LoadLog, Operator, StateDir};

/// A manifest that was found and read.
pub struct Project {
    /// Absolute.
    pub path: PathBuf,
    pub loaded: Loaded,
    pub state: StateDir,
}

impl Project {
    pub fn manifest(&self) -> &Manifest {
        &self.loaded.manifest
    }

    pub fn state(&self) -> StateDir {
        self.state.clone()
    }

    /// Where it is written down what is loaded into an engine.
    pub fn load_log(&self, engine_id: &str) -> LoadLog {
        LoadLog::new(self.state(), engine_id, Operator::of_process())
    }

    /// The digest of all the files that it was read from.
    pub fn digest(&self) -> Digest {
        let mut all = Vec::new();
        for file in self.loaded.sources.files() {
            all.extend_from_slice(Digest::of(file.text.as_bytes()).to_string().as_bytes());
        }
        Digest::of(&all)
    }
}
