//! The files that a manifest is made of and reads.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Placement, Sources};
use crate::fs::hash_file;
use crate::manifest::{FileUse, Loaded};
use crate::sites::plan::{LeftOutBecause, LeftOutFile, Offer, OfferedFile};

/// Offers the files of a manifest; secrets only where they are asked for. Blocking.
///
/// # Errors
/// A file that can't be read.
pub fn offer_files(
    loaded: &Loaded,
    placement: &Placement,
    secrets: bool,
    (offer, sources): (&mut Offer, &mut Sources),
) -> Result<(), (std::path::PathBuf, io::Error)> {
    let mut files = loaded.used_files();
    // What a manifest reads first, then what it extends, and itself last: at no moment does it read what is not there.
    let order = loaded.manifest_files();
    let place = |path: &Path| order.iter().position(|manifest| manifest == path);
    files.sort_by_key(|file| place(&file.path).map(|place| order.len() - place));
    for file in files {
        let shown = || file.path.display().to_string();
        let left_out = |reason| LeftOutFile { path: shown(), purpose: file.purpose, reason };
        let Some(path) = placement.path(&file.path) else {
            offer.left_out.push(left_out(LeftOutBecause::Outside));
            continue;
        };
        if file.purpose == FileUse::Secret && !secrets {
            offer.left_out.push(left_out(LeftOutBecause::Secret));
            continue;
        }
        let Some(metadata) = fs::metadata(&file.path).ok().filter(fs::Metadata::is_file) else {
            offer.left_out.push(left_out(LeftOutBecause::Missing));
            continue;
        };
        let mode = metadata.permissions().mode();
        let (digest, bytes) = hash_file(&file.path).map_err(|error| (file.path.clone(), error))?;
        offer.files.push(OfferedFile {
            path: path.clone(),
            digest,
            bytes,
            purpose: file.purpose,
            private: file.purpose == FileUse::Secret || mode & 0o077 == 0,
            executable: mode & 0o100 != 0,
        });
        sources.files.insert(path, file.path);
    }
    Ok(())
}
