//! The names of a store's images, each in a small file of the store's own folder.
//!
//! `index.json` is one file: a store that is copied over another one replaces it, and with it all names that only the
//! other one had. Copying merges folders, so the records of both are there afterwards; `images repair` puts back what
//! the index lost. A name that is removed takes its record with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::{Digest, create_dir_durably};
use crate::images::error::ImagesError;
use crate::images::formats::documents::{Descriptor, Index};
use crate::images::names::entry_names;
use crate::images::store::collect::{remove_file, size_of};
use crate::images::store::layout::{Layout, OWN_FOLDER};
use crate::images::store::sidecar::{read_sidecar, write_sidecar};

const NAMES: &str = "names";

/// The file of one name: the entry of the index as it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::images) struct NameRecord {
    pub name: String,
    pub entry: Descriptor,
}

fn folder_of(store: &Path) -> PathBuf {
    store.join(OWN_FOLDER).join(NAMES)
}

/// Of a fixed length, and different on disks that ignore case.
fn path_of(store: &Path, name: &str) -> PathBuf {
    folder_of(store).join(&Digest::of(name.as_bytes()).hex()[..32])
}

/// Writes down every name of an index that is not written down as it is.
pub(in crate::images) fn record_names(store: &Path, index: &Index) -> Result<(), ImagesError> {
    let folder = folder_of(store);
    if folder.is_symlink() {
        let source = io::Error::other("it is a link to elsewhere");
        return Err(ImagesError::file("write to", &folder, source));
    }
    create_dir_durably(&folder).map_err(|source| ImagesError::file("make the folder", &folder, source))?;
    for (entry, name) in index.manifests.iter().zip(entry_names(&index.manifests)) {
        let Some(name) = name else { continue };
        let path = path_of(store, &name);
        let record = NameRecord { name, entry: entry.clone() };
        if read_sidecar::<NameRecord>(&path).as_ref() != Some(&record) {
            write_sidecar(&path, &record).map_err(|source| ImagesError::file("write", &path, source))?;
        }
    }
    Ok(())
}

/// Whether the store has records of its names at all: one that only earlier versions and other programs wrote has none.
pub(in crate::images) fn has_records(store: &Path) -> bool {
    folder_of(store).is_dir()
}

/// Forgets names that leave the index.
pub(in crate::images) fn forget_names<'a>(
    store: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), ImagesError> {
    names.into_iter().try_for_each(|name| remove_file(&path_of(store, name)))
}

/// Names that were written down, that the index does not have, and whose manifest is still there.
pub(in crate::images) fn lost_names(layout: &Layout) -> Result<Vec<NameRecord>, ImagesError> {
    let folder = folder_of(layout.folder());
    let failed = |source| ImagesError::file("list", &folder, source);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let present: Vec<String> = layout.named_entries().filter_map(|(_, name)| name).collect();
    let mut lost = Vec::new();
    for file in listed {
        // A record that is damaged says nothing, as any file of this folder.
        let Some(record) = read_sidecar::<NameRecord>(&file.map_err(failed)?.path()) else {
            continue;
        };
        let is_there = size_of(&layout.blob_path(&record.entry.digest))?.is_some();
        if is_there && !present.contains(&record.name) {
            lost.push(record);
        }
    }
    lost.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(lost)
}
