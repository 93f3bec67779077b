//! The disk that a dump is written to, where the server keeps its data on the same one: there a dump must not take the
//! last bytes. A server that can't write its log ends, with all its databases (`server::disk_space`).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::RESERVE_BYTES;

/// A folder on the disk of the server's data.
pub(in crate::databases) struct SharedRoom {
    folder: PathBuf,
}

impl SharedRoom {
    /// `None` where the server keeps its data elsewhere, or nobody can tell: then a full disk is the dump's own error.
    pub async fn of(server: &Server, folder: &Path) -> Option<Self> {
        if server.is_outside() {
            return None;
        }
        if crate::failpoint::pretends("databases.shared-disk") {
            return Some(Self { folder: folder.to_owned() });
        }
        let engine = server.engine();
        let root = engine.local_root_dir().await.ok().flatten()?;
        let view = engine.inspect_container(&server.client.container).await.ok().flatten()?;
        let places = view.mounts.iter().map(|mount| Path::new(&mount.source)).chain([root]);
        let here = device_of(folder)?;
        let is_shared = places.filter(|place| place.is_absolute()).any(|place| device_of(place) == Some(here));
        is_shared.then(|| Self { folder: folder.to_owned() })
    }

    /// Resolves when less than the server's reserve is left, at once where that is so already.
    pub async fn runs_out(&self, database: &str) -> DatabasesError {
        loop {
            match free_bytes(&self.folder) {
                Some(free) if free < RESERVE_BYTES => {
                    return DatabasesError::DumpDiskFull {
                        database: database.to_owned(),
                        folder: self.folder.parent().unwrap_or(&self.folder).to_owned(),
                        free_mebibytes: free >> 20,
                        reserve_mebibytes: RESERVE_BYTES >> 20,
                    };
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// The device of a folder, or of the nearest one above it that may be looked at.
fn device_of(folder: &Path) -> Option<u64> {
    folder.ancestors().find_map(|folder| folder.metadata().ok()).map(|metadata| metadata.dev())
}

pub(in crate::databases) fn free_bytes(folder: &Path) -> Option<u64> {
    if crate::failpoint::pretends("databases.little-room") {
        return Some(100 << 20);
    }
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_on_the_disk_of_the_one_above_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(device_of(&folder.path().join("a/b")), device_of(folder.path()));
        assert!(free_bytes(folder.path()).is_some() && free_bytes(&folder.path().join("a")).is_none());
    }
}
