//! The project's files in an inventory, and the record of what transfers have brought.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document::FileInventory;
use crate::fs::{Digest, Mode, create_dir_durably, hash_file, write_durably};
use crate::manifest::Loaded;
use crate::sites::protocol::InventoryRequest;
use crate::sites::roots;

/// The folder in which a project keeps what transfers need: what came in part, and the record of what came.
pub(in crate::sites) const FOLDER: &str = ".dpl-received";
const RECORD: &str = "received.json";

/// What transfers have brought to a project's folder, by name; lost, all that is there counts as changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sites) struct Received {
    format: u32,
    /// By their paths, relative to the folder.
    pub files: BTreeMap<String, Digest>,
    /// By their databases.
    pub seeds: BTreeMap<String, Digest>,
}

/// Whether a transfer has brought something to a project's folder before.
pub fn has_received(folder: &Path) -> bool {
    Received::path(folder).is_file()
}

impl Received {
    fn path(folder: &Path) -> PathBuf {
        folder.join(FOLDER).join(RECORD)
    }

    /// An empty one where there is none that can be understood.
    pub fn read(folder: &Path) -> Self {
        let read = fs::read(Self::path(folder)).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        read.filter(|record| record.format == 1).unwrap_or_default()
    }

    pub fn write(&mut self, folder: &Path) -> io::Result<()> {
        self.format = 1;
        create_dir_durably(&folder.join(FOLDER))?;
        write_durably(&Self::path(folder), &serde_json::to_vec(self)?, Mode::Private)
    }
}

/// The files that the manifest is made of and reads, and those that are asked for. Blocking.
pub(in crate::sites) fn look(
    request: &InventoryRequest,
    loaded: Option<&Loaded>,
    received: &Received,
) -> Vec<FileInventory> {
    let mut paths: BTreeSet<String> = request.files.iter().cloned().collect();
    for file in loaded.iter().flat_map(|loaded| loaded.used_files()) {
        // What lies outside the folder is the site's own.
        if let Ok(path) = file.path.strip_prefix(&request.project.folder) {
            paths.extend(path.to_str().map(str::to_owned));
        }
    }
    let of_path = |path: String| {
        let found = roots::inside(&request.project.folder, &path).ok().and_then(|place| hash_regular(&place));
        let (digest, bytes) = found.map_or((None, 0), |(digest, bytes)| (Some(digest), bytes));
        FileInventory { received: received.files.get(&path).cloned(), path, digest, bytes }
    };
    paths.into_iter().map(of_path).collect()
}

/// The digest and the length of a regular file; `None` for anything else.
pub(super) fn hash_regular(path: &Path) -> Option<(Digest, u64)> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    hash_file(path).ok()
}
