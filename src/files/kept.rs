//! What a swap replaced is kept until the next one. A container that was started before still has it mounted, and what it writes lies
//! nowhere else; after a rollback so does what was written since the apply. None of that goes with the folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::FilesError;
use super::paths::found;

/// Between the last write to a file and the last change of its inode, when it was written to where it lies: who writes it
/// beside its place renames it at once. One that the target had too and that was removed there has changed much later.
const WRITTEN_THERE_SECONDS: i64 = 60;

/// A file in `kept` that was written after `since` and has no second name in the target.
///
/// # Errors
/// What can't be read.
pub fn written_since(kept: &Path, since: jiff::Timestamp) -> Result<Option<PathBuf>, FilesError> {
    if !found(kept).map_err(FilesError::file(kept))?.is_some_and(|metadata| metadata.is_dir()) {
        return Ok(None);
    }
    let since = (since.as_second(), i64::from(since.subsec_nanosecond()));
    let mut folders = vec![kept.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(FilesError::file(&folder))? {
            let entry = entry.map_err(FilesError::file(&folder))?;
            let path = entry.path();
            let Some(metadata) = found(&path).map_err(FilesError::file(&path))? else { continue };
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let (modified, changed) =
                ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
            let is_written_there =
                modified > since && changed > since && changed.0.saturating_sub(modified.0) <= WRITTEN_THERE_SECONDS;
            if metadata.is_file() && metadata.nlink() == 1 && is_written_there {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_there_since_is_found_and_one_with_a_second_name_is_not() {
        let top = tempfile::tempdir().unwrap();
        let kept = top.path().join(".dpl-kept-x");
        fs::create_dir_all(kept.join("sub")).unwrap();
        fs::write(kept.join("sub/file"), "1").unwrap();
        let long_ago = jiff::Timestamp::UNIX_EPOCH;
        assert_eq!(written_since(&kept, long_ago).unwrap(), Some(kept.join("sub/file")));
        let much_later = "2200-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(written_since(&kept, much_later).unwrap(), None);
        fs::hard_link(kept.join("sub/file"), top.path().join("file")).unwrap();
        assert_eq!(written_since(&kept, long_ago).unwrap(), None);
        assert_eq!(written_since(&top.path().join("nowhere"), long_ago).unwrap(), None);
    }
}
