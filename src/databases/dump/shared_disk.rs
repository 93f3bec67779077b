//! The disk that a dump is written to, where the server keeps its data on the same one: there a dump must not take the
//! last bytes. A server that can't write its log ends, with all its databases (`server::disk_space`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::databases::containers::helper::{Helper, INSIDE};
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::disk_space::{self, RESERVE_BYTES};
use crate::fs::Disk;

/// What must not be filled while a dump is written.
pub(super) enum WatchedDisk<'a> {
    Shared(SharedDisk),
    /// The volume of a helper that does not have the folder itself.
    Volume(&'a Helper),
}

impl<'a> WatchedDisk<'a> {
    pub async fn of(server: &Server, folder: &Path, helper: &'a Helper) -> Option<Self> {
        match helper.shares_folder {
            true => SharedDisk::of(server, folder).await.map(Self::Shared),
            false => Some(Self::Volume(helper)),
        }
    }

    /// Resolves when less than the server's reserve is left, at once where that is so already.
    pub async fn runs_out(&self, database: &str) -> DatabasesError {
        match self {
            Self::Shared(disk) => disk.runs_out(database).await,
            Self::Volume(helper) => disk_space::volume_runs_out(&helper.client, INSIDE, database).await,
        }
    }
}

/// A folder on the disk of the server's data.
pub(in crate::databases) struct SharedDisk {
    folder: PathBuf,
}

impl SharedDisk {
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
        let device_of = |path: &Path| Disk::of(path).map(|disk| disk.device);
        let here = device_of(folder)?;
        let is_shared = places.filter(|place| place.is_absolute()).any(|place| device_of(place) == Some(here));
        is_shared.then(|| Self { folder: folder.to_owned() })
    }

    async fn runs_out(&self, database: &str) -> DatabasesError {
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

pub(in crate::databases) fn free_bytes(folder: &Path) -> Option<u64> {
    if crate::failpoint::pretends("databases.little-room") {
        return Some(100 << 20);
    }
    Disk::of(folder).map(|disk| disk.free_bytes)
}
