//! The manifest that a user chose for a folder: the user's own, not the project's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::StateError;
use crate::fs::{Mode, create_dir_durably, write_durably_alone};

/// Folder → manifest, both absolute.
type Chosen = BTreeMap<PathBuf, PathBuf>;

/// The manifest that was chosen for `folder`, or for the nearest folder above it.
pub fn chosen_manifest(folder: &Path) -> Option<PathBuf> {
    // A file that can't be read is as if nothing had been chosen: nothing hangs on it but a short way of typing.
    let chosen = read(&file()?);
    folder.ancestors().find_map(|folder| chosen.get(folder).cloned())
}

/// Remembers `manifest` for `folder`; both absolute.
pub fn choose_manifest(folder: &Path, manifest: &Path) -> Result<(), StateError> {
    let Some(path) = file() else {
        return Ok(());
    };
    let write = |source| StateError::Write { path: path.clone(), source };
    let mut chosen = read(&path);
    if chosen.get(folder).is_some_and(|known| known == manifest) {
        return Ok(());
    }
    chosen.retain(|folder, manifest| folder.exists() && manifest.exists());
    chosen.insert(folder.to_owned(), manifest.to_owned());
    let text = serde_json::to_vec_pretty(&chosen).map_err(|error| write(error.into()))?;
    create_dir_durably(path.parent().unwrap_or(Path::new("/"))).map_err(write)?;
    write_durably_alone(&path, &text, Mode::Shared).map_err(write)
}

fn read(path: &Path) -> Chosen {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// `$XDG_STATE_HOME/dpl/manifests.json`, by default below `~/.local/state`; `None` without a home.
fn file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))?;
    Some(folder.join("dpl/manifests.json"))
}
