//! Self-contained packages, which other programs read as well: `pack --full`.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use clap::Args;
use tempfile::TempDir;

use crate::cli::commands::images::CompressionChoice;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::images::{Compression, CompressionOptions, recompress};
use crate::packages::{PackInput, PackagesError};

#[derive(Debug, Default, Args)]
pub struct FullArguments {
    /// Pack all layers, for any machine: an OCI archive that skopeo, `docker load` and others read, too
    #[arg(long, conflicts_with = "goals")]
    pub full: bool,
    /// Compress the layers so; `docker load` before Docker 23 reads gzip and none [default: as they are in the store]
    #[arg(long, value_enum, requires = "full", conflicts_with = "goals")]
    pub compression: Option<CompressionChoice>,
}

/// A store of recompressed images, while the package is written.
pub struct Recompressed {
    _folder: TempDir,
    /// Held: one that nobody holds is left of a run that was killed.
    _lock: File,
}

/// Such folders begin so.
const MARK: &str = ".dpl-pack-images-";
const LOCK: &str = "lock";

impl FullArguments {
    /// Makes the package one that others read. Where layers are to be compressed otherwise, they lie in a folder beside `output` until what
    /// is given back is dropped.
    pub fn prepare(
        &self,
        input: &mut PackInput,
        output: &Path,
        session: &mut Session,
    ) -> Result<Option<Recompressed>, Failure> {
        input.docker_manifest = self.full;
        let (Some(choice), Some(store)) = (self.compression, input.store.clone()) else { return Ok(None) };
        // A plan has the sizes of the store.
        if session.global.dry_run {
            return Ok(None);
        }
        let beside = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (folder, lock) =
            folder_in(beside).map_err(|source| PackagesError::Source { path: beside.to_owned(), source })?;
        session.output.say(&message!("pack-recompresses", images = input.images.len()));
        let options = CompressionOptions::from(Compression::from(choice));
        let of = (input.architecture.as_str(), input.images.as_slice());
        input.images = recompress((&store, folder.path()), of, options)?;
        input.store = Some(folder.path().to_owned());
        Ok(Some(Recompressed { _folder: folder, _lock: lock }))
    }
}

/// A new folder, after those of killed runs have been removed.
fn folder_in(beside: &Path) -> io::Result<(TempDir, File)> {
    for entry in fs::read_dir(beside)?.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(MARK);
        let is_left = || File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_left() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = tempfile::Builder::new().prefix(MARK).tempdir_in(beside)?;
    let lock = File::create(folder.path().join(LOCK))?;
    // Where locks are not to be had, a folder of a killed run stays.
    let _ = lock.try_lock();
    Ok((folder, lock))
}
