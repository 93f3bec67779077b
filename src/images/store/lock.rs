//! One writer at a time in a folder of images, and what an interrupted one left there.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalogue::io_error;
use crate::fs::{TEMPORARY_MARK, create_dir_durably};
use crate::images::error::ImagesError;
use crate::images::store::layout::{BLOBS, OWN_FOLDER, written_folders};
use crate::state::Operator;

const LOCK: &str = "lock";
/// What the lock's file may say at most.
const LARGEST_WRITER: u64 = 4096;

/// A folder of images, locked for writing until this is dropped.
pub struct StoreLock {
    file: File,
}

/// Who writes to a store; in its lock's file, for a process that finds it held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHolder {
    pub user: String,
    pub host: String,
    pub pid: u32,
    /// RFC 3339, UTC, in whole seconds.
    pub since: String,
}

impl StoreLock {
    /// Takes the folder's lock, or says who has it. The folder is made where it is missing; nothing in it is touched.
    pub fn take(folder: &Path) -> Result<Self, ImagesError> {
        let own = folder.join(OWN_FOLDER);
        refuse_links(folder)?;
        create_dir_durably(&own).map_err(|source| ImagesError::file(message!("verb-create-folder"), &own, source))?;
        let path = own.join(LOCK);
        let failed = |source| ImagesError::file(message!("verb-lock"), &path, source);
        // Neither a link to a file elsewhere nor a pipe, which would be waited for.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).custom_flags(flags.bits() as i32);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(&mut file).map(Box::new);
                return Err(ImagesError::StoreBusy { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Who it is, is only for others to read: a full disk must not keep a prune from making room on it.
        let _ = write_holder(&mut file);
        Ok(Self { file })
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    let operator = Operator::of_process();
    let holder = StoreHolder {
        user: operator.user,
        host: operator.host,
        pid: std::process::id(),
        since: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
    };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(&holder)?)
}

fn read_holder(file: &mut File) -> Option<StoreHolder> {
    let mut text = Vec::new();
    file.take(LARGEST_WRITER).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Locks a folder of images for one writer, and removes what an interrupted one left in it.
pub fn lock_folder(folder: &Path) -> Result<StoreLock, ImagesError> {
    let lock = StoreLock::take(folder)?;
    for swept in written_folders(folder) {
        sweep(&swept).map_err(|source| ImagesError::file(message!("verb-clean-up"), &swept, source))?;
    }
    Ok(lock)
}

/// A store that comes from elsewhere could lead a writer into another folder.
pub(in crate::images) fn refuse_links(folder: &Path) -> Result<(), ImagesError> {
    let blobs = folder.join(BLOBS);
    let inside = written_folders(folder).into_iter().filter(|path| path != folder);
    for path in inside.chain(blobs.parent().map(Path::to_owned)) {
        if path.is_symlink() {
            return Err(ImagesError::file(
                message!("verb-write-to"),
                &path,
                io_error(io::ErrorKind::Other, message!("error-link-elsewhere")),
            ));
        }
    }
    Ok(())
}

/// Removes unfinished files; the lock must be held, so that nobody is writing them.
fn sweep(folder: &Path) -> io::Result<()> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for file in listed {
        let file = file?;
        if is_unfinished(&file) && !file.file_type()?.is_dir() {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// The unfinished files of a store and their sizes. While somebody writes, they may be that writer's.
pub(in crate::images) fn unfinished(folder: &Path) -> Result<Vec<(PathBuf, u64)>, ImagesError> {
    let mut found = Vec::new();
    for looked_at in written_folders(folder) {
        let failed = |source| ImagesError::file(message!("verb-list"), &looked_at, source);
        let listed = match fs::read_dir(&looked_at) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for file in listed {
            let file = file.map_err(failed)?;
            // One that is finished or removed meanwhile is none.
            if is_unfinished(&file)
                && let Ok(metadata) = file.metadata()
            {
                found.push((file.path(), metadata.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_unfinished(file: &fs::DirEntry) -> bool {
    !file.file_type().is_ok_and(|kind| kind.is_dir())
        && file.file_name().as_encoded_bytes().starts_with(TEMPORARY_MARK.as_bytes())
}
