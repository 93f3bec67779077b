//! The files of a seed: one file, or a folder with the dump's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::{Digest, hash_file};

/// A file of a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedFile {
    /// Relative to the seed's folder; empty where the seed is this one file.
    pub path: String,
    pub digest: Digest,
    pub bytes: u64,
}

/// So deep folders of a dump go.
const DEEPEST: usize = 8;
/// More files no dump has.
const MOST_FILES: usize = 1_000_000;

/// The files of the seed at `path`, in the order of their paths; `None` where nothing is there. Reads all of them.
///
/// # Errors
/// One that can't be read, or that is not a plain file.
pub(in crate::sites) fn list(path: &Path) -> io::Result<Option<Vec<SeedFile>>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    match metadata.is_dir() {
        true => walk(path, Path::new(""), DEEPEST, &mut paths)?,
        false if metadata.is_file() => paths.push(PathBuf::new()),
        false => return Err(io::ErrorKind::InvalidInput.into()),
    }
    paths.sort();
    let of_path = |relative: PathBuf| {
        let place = if relative.as_os_str().is_empty() { path.to_owned() } else { path.join(&relative) };
        let (digest, bytes) = hash_file(&place)?;
        let path = relative.into_os_string().into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(SeedFile { path, digest, bytes })
    };
    paths.into_iter().map(of_path).collect::<io::Result<Vec<_>>>().map(Some)
}

fn walk(root: &Path, below: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            walk(root, &path, depth - 1, paths)?;
        } else if kind.is_file() && paths.len() < MOST_FILES {
            paths.push(path);
        } else {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    }
    Ok(())
}

/// The digest of all of a seed: of its files' names and digests.
pub(in crate::sites) fn digest(files: &[SeedFile]) -> Digest {
    let mut text = String::new();
    for file in files {
        text.push_str(&format!("{} {} {:?}\n", file.digest.hex(), file.bytes, file.path));
    }
    Digest::of(text.as_bytes())
}
