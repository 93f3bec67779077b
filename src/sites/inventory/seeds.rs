//! The seeds of databases in an inventory.

use std::path::Path;

use super::document::{DiskInventory, SeedInventory};
use super::files::Received;
use crate::fs::{Digest, Disk};
use crate::manifest::Manifest;
use crate::sites::seed_files::{self, SeedFile};

/// The seeds that the manifest's databases name. Blocking: all of them are read.
pub(super) fn look(manifest: &Manifest, received: &Received) -> Vec<SeedInventory> {
    let named = manifest.databases.iter().filter_map(|(_, name, database)| Some((name, database.seed.as_deref()?)));
    named.map(|(database, path)| of_database(database, path, received)).collect()
}

fn of_database(database: &str, path: &Path, received: &Received) -> SeedInventory {
    // What can't be read is as if it were not there: it is replaced by what comes.
    let files = seed_files::list(path).ok().flatten();
    let digest = files.as_deref().map(seed_digest);
    SeedInventory {
        database: database.to_owned(),
        bytes: files.iter().flatten().map(|file| file.bytes).sum(),
        digest,
        received: received.seeds.get(database).cloned(),
        on: disk_of(path),
    }
}

/// It arrives beside its place.
fn disk_of(path: &Path) -> Option<DiskInventory> {
    let folder = path.parent()?;
    let disk = Disk::of(folder)?;
    Some(DiskInventory { folder: folder.display().to_string(), disk: disk.device, free: disk.free_bytes })
}

/// The digest of all of a seed.
fn seed_digest(files: &[SeedFile]) -> Digest {
    seed_files::digest(files)
}
