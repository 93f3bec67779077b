//! The names of a store's images, each in a small file of the store's own folder.
//!
//! `index.json` is one file: a store that is copied over another one replaces it, and with it all names that only the
//! other one had. Copying merges folders, so the records of both are there afterwards; `images repair` puts back what
//! the index lost. A name that is removed takes its record with it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fs::{Digest, create_dir_durably};
use crate::images::error::ImagesError;
use crate::images::formats::documents::{Descriptor, Index, SAVED_AT};
use crate::images::names::entry_names;
use crate::images::store::collect::{remove_file, size_of};
use crate::images::store::layout::{INDEX_FILE, Layout, NAMES, OWN_FOLDER};
use crate::images::store::sidecar::{read_sidecar, write_sidecar};

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

/// Writes down every name of an index that is not written down as it is. Nothing takes the place of an intact record
/// that says more than the index: an entry that was changed after it was written, one of two with one name, and one that
/// is older than the record are not written down. Names in `moved` have just been given to other images.
pub(in crate::images) fn record_names(layout: &Layout, index: &Index, moved: &[String]) -> Result<(), ImagesError> {
    let folder = folder_of(layout.folder());
    create_dir_durably(&folder).map_err(|source| ImagesError::file(message!("verb-create-folder"), &folder, source))?;
    let names = entry_names(&index.manifests);
    for (entry, name) in index.manifests.iter().zip(&names) {
        let Some(name) = name else { continue };
        let path = path_of(layout.folder(), name);
        let record = NameRecord { name: name.clone(), entry: entry.clone() };
        let known = read_sidecar::<NameRecord>(&path);
        if known.as_ref() == Some(&record) {
            continue;
        }
        let says_more = |known: &NameRecord| {
            let is_twice = names.iter().flatten().filter(|other| *other == name).count() > 1;
            !entry.seal_holds() || is_twice || is_newer(layout, known, entry)
        };
        if moved.contains(name) || !known.as_ref().is_some_and(says_more) {
            write_sidecar(&path, &record).map_err(|source| ImagesError::file(message!("verb-write"), &path, source))?;
        }
    }
    Ok(())
}

/// Forgets names that leave the index.
pub(in crate::images) fn forget_names<'a>(
    store: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), ImagesError> {
    names.into_iter().try_for_each(|name| remove_file(&path_of(store, name)))
}

/// The record of a name, where it is intact.
pub(in crate::images) fn record_of(store: &Path, name: &str) -> Option<NameRecord> {
    read_sidecar::<NameRecord>(&path_of(store, name)).filter(|record| record.name == name && record.entry.seal_holds())
}

/// Names that were written down, that the index does not have, and whose manifest is still there.
pub(in crate::images) fn lost_names(layout: &Layout) -> Result<Vec<NameRecord>, ImagesError> {
    let present: HashSet<String> = layout.named_entries().filter_map(|(_, name)| name).collect();
    let mut lost = Vec::new();
    for path in record_files(layout.folder())? {
        // Of one that is damaged, `damaged_records` tells.
        let Some(record) = read_sidecar::<NameRecord>(&path) else {
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

/// Records that give a name to a newer image than the index does, as where a copy of a store broke off before its index
/// came.
pub(in crate::images) fn newer_records(layout: &Layout) -> Vec<NameRecord> {
    let mut names: Vec<String> = layout.named_entries().filter_map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    names.iter().filter_map(|name| newer_record(layout, name)).collect()
}

/// As [`newer_records`], of one name.
pub(in crate::images) fn newer_record(layout: &Layout, name: &str) -> Option<NameRecord> {
    let entries: Vec<&Descriptor> =
        layout.named_entries().filter(|(_, other)| other.as_deref() == Some(name)).map(|(entry, _)| entry).collect();
    // Of two entries, or of one that was changed, something else is wrong.
    let [entry] = entries[..] else { return None };
    if !entry.seal_holds() {
        return None;
    }
    record_of(layout.folder(), name).filter(|record| is_newer(layout, record, entry))
}

/// Whether a record names another image than the entry, and not an older one. What another program wrote does not say
/// when: then the times of the files do.
fn is_newer(layout: &Layout, record: &NameRecord, entry: &Descriptor) -> bool {
    if record.entry.digest == entry.digest {
        return false;
    }
    let saved = |entry: &Descriptor| entry.annotation(SAVED_AT)?.parse::<Timestamp>().ok();
    let written = |path: &Path| Timestamp::try_from(fs::metadata(path).ok()?.modified().ok()?).ok();
    let recorded = saved(&record.entry).or_else(|| written(&path_of(layout.folder(), &record.name)));
    let indexed = saved(entry).or_else(|| written(&layout.folder().join(INDEX_FILE)));
    match (recorded, indexed) {
        (Some(recorded), Some(indexed)) => recorded >= indexed,
        _ => true,
    }
}

/// Whether a record and the entry say themselves that the record's image was saved later.
pub(in crate::images) fn is_surely_newer(record: &NameRecord, entry: &Descriptor) -> bool {
    let saved = |entry: &Descriptor| entry.annotation(SAVED_AT)?.parse::<Timestamp>().ok();
    saved(&record.entry).zip(saved(entry)).is_some_and(|(recorded, indexed)| recorded > indexed)
}

/// A record that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::images) struct DamagedRecord {
    pub path: PathBuf,
    /// Whether the index has the name that it was for: then nothing is lost, and the next writer makes it again.
    pub is_named: bool,
}

/// Records that can't be read, and what is known of their names.
pub(in crate::images) fn damaged_records(layout: &Layout) -> Result<Vec<DamagedRecord>, ImagesError> {
    let named: HashSet<PathBuf> =
        layout.named_entries().filter_map(|(_, name)| Some(path_of(layout.folder(), &name?))).collect();
    let files = record_files(layout.folder())?.into_iter();
    let damaged = files.filter(|path| read_sidecar::<NameRecord>(path).is_none());
    Ok(damaged.map(|path| DamagedRecord { is_named: named.contains(&path), path }).collect())
}

/// The files of all records, unfinished ones left out.
fn record_files(store: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let folder = folder_of(store);
    let failed = |source| ImagesError::file(message!("verb-list"), &folder, source);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for file in listed {
        let file = file.map_err(failed)?;
        if !file.file_name().as_encoded_bytes().starts_with(b".") {
            files.push(file.path());
        }
    }
    files.sort();
    Ok(files)
}
