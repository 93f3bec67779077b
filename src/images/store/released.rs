//! Blobs that `dpl` itself took out of the index: that no other program is about to name them is known, so that a prune
//! need not wait until they are old.
//!
//! A blob is known by its inode and by when that changed, which no copy keeps: what arrives here with a store of elsewhere
//! is never taken for one of these, whatever the store's own folder says.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::Digest;
use crate::images::store::layout::{Layout, OWN_FOLDER};
use crate::images::store::sidecar::{read_sidecar, write_sidecar};

/// The file in the store's own folder.
const RELEASED: &str = "released";
/// Of more, the oldest are forgotten: a prune waits an hour for those.
const MOST: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReleasedBlob {
    digest: Digest,
    inode: u64,
    /// Seconds since 1970, and nanoseconds.
    changed: (i64, i64),
}

impl ReleasedBlob {
    fn of(digest: &Digest, metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self { digest: digest.clone(), inode: metadata.ino(), changed }
    }

    /// What is there under this digest now; `None` where nothing is.
    fn now(layout: &Layout, digest: &Digest) -> Option<Self> {
        fs::symlink_metadata(layout.blob_path(digest)).ok().map(|metadata| Self::of(digest, &metadata))
    }

    fn is_unchanged(&self, layout: &Layout) -> bool {
        Self::now(layout, &self.digest).as_ref() == Some(self)
    }
}

fn path_of(store: &Path) -> PathBuf {
    store.join(OWN_FOLDER).join(RELEASED)
}

/// Writes down that the index is about to name these blobs no more, under the store's lock. Where that can't be written,
/// they are freed an hour later.
pub(in crate::images) fn release<'a>(layout: &Layout, blobs: impl IntoIterator<Item = &'a Digest>) {
    let blobs: Vec<ReleasedBlob> = blobs.into_iter().filter_map(|digest| ReleasedBlob::now(layout, digest)).collect();
    if blobs.is_empty() {
        return;
    }
    let path = path_of(layout.folder());
    let mut all: Vec<ReleasedBlob> = read_sidecar(&path).unwrap_or_default();
    let again: HashSet<&Digest> = blobs.iter().map(|blob| &blob.digest).collect();
    all.retain(|known| !again.contains(&known.digest) && known.is_unchanged(layout));
    all.extend(blobs);
    let oldest = all.len().saturating_sub(MOST);
    let _ = write_sidecar(&path, &all[oldest..].to_vec());
}

/// The blobs that were taken out of the index and are still those that they were then.
pub(in crate::images) fn released(layout: &Layout) -> HashSet<Digest> {
    let all: Vec<ReleasedBlob> = read_sidecar(&path_of(layout.folder())).unwrap_or_default();
    all.into_iter().filter(|known| known.is_unchanged(layout)).map(|known| known.digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::formats::documents::Index;

    #[test]
    fn what_was_written_again_or_copied_is_not_what_was_released() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::with_index(folder.path(), Index::default());
        let [one, two] = [b"one", b"two"].map(|bytes| Digest::of(bytes));
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::create_dir_all(folder.path().join(OWN_FOLDER)).unwrap();
        for digest in [&one, &two] {
            fs::write(layout.blob_path(digest), "content").unwrap();
        }
        release(&layout, [&one]);
        release(&layout, [&two]);
        assert_eq!(released(&layout), HashSet::from([one.clone(), two.clone()]));
        // As a copy from elsewhere puts it there.
        let copy = folder.path().join("copy");
        fs::copy(layout.blob_path(&one), &copy).unwrap();
        fs::rename(&copy, layout.blob_path(&one)).unwrap();
        assert_eq!(released(&layout), HashSet::from([two]));
    }
}
