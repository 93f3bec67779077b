//! Where blobs arrive: in a folder of the store's own, so that neither a save nor a prune meets them before they are whole and
//! an image needs them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::fs::{Digest, create_dir_durably};
use crate::images::error::ImagesError;
use crate::images::store::layout::OWN_FOLDER;
use crate::images::store::lock::refuse_links;

const INCOMING: &str = "incoming";
/// What the name of a file ends with that has arrived in part.
pub const PART: &str = ".part";
/// What nobody has gone on with for so many days is removed.
pub const ARRIVAL_DAYS: u64 = 7;

/// Where blobs arrive.
pub fn incoming_folder(store: &Path) -> PathBuf {
    store.join(OWN_FOLDER).join(INCOMING)
}

/// Makes the folder in which blobs arrive, and removes what nobody has gone on with.
///
/// # Errors
/// A store that links lead out of; a folder that can't be made.
pub fn open_incoming(store: &Path) -> Result<PathBuf, ImagesError> {
    refuse_links(store)?;
    let folder = incoming_folder(store);
    create_dir_durably(&folder)
        .and_then(|()| match fs::symlink_metadata(&folder)?.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        })
        .map_err(|source| ImagesError::file(message!("verb-create-folder"), &folder, source))?;
    sweep_arrivals(&folder);
    Ok(folder)
}

/// Removes files in which nothing has arrived for a week. What can't be removed stays.
pub fn sweep_arrivals(folder: &Path) {
    let limit = Duration::from_secs(ARRIVAL_DAYS * 24 * 60 * 60);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_arrival = name.strip_suffix(PART).unwrap_or(&name).bytes().all(|byte| byte.is_ascii_hexdigit());
        let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        // One that is held open under its lock is being written to, however slowly.
        let is_free = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if metadata.is_file() && is_arrival && age.is_some_and(|age| age > limit) && is_free() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether the store has a blob, or it has arrived whole.
pub fn has_arrived(store: &Path, digest: &Digest, bytes: u64) -> bool {
    let is_whole = |path: PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == bytes);
    is_whole(super::blob_file(store, digest)) || is_whole(incoming_folder(store).join(digest.hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_goes_on_with_goes_after_a_week() {
        let store = tempfile::tempdir().unwrap();
        let folder = open_incoming(store.path()).unwrap();
        let week = Duration::from_secs(8 * 24 * 60 * 60);
        for (name, age) in [("aa.part", week), ("bb.part", Duration::ZERO), ("cc", week), ("notes.txt", week)] {
            let file = File::create(folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        let held = File::create(folder.join("dd.part")).unwrap();
        held.set_modified(SystemTime::now() - week).unwrap();
        held.lock().unwrap();
        sweep_arrivals(&folder);
        let mut left: Vec<String> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["bb.part", "dd.part", "notes.txt"]);
    }
}
