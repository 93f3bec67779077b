//! Where a package belongs on this machine, and from where it is read.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::fs::Attached;
use crate::packages::{
    FileSource, PackageIndex, PackageReader, PackageSource, PackagesError, PartHeader, PartsSource, PartsStream,
    StreamSource, damaged_parts, first_part, is_part, parts_beside,
};
use crate::sites::{ProjectPlace, has_received, shown};
use crate::state::chosen_manifest;

/// A header of a part, or of the archive.
const BEGIN_BYTES: usize = 512;

/// Opens a package: a file, the first or all of its parts; `-` is standard input.
pub fn open(paths: &[PathBuf]) -> Result<PackageReader, PackagesError> {
    let all = parts_of(paths);
    match all.as_slice() {
        [] => Err(PackagesError::NotAPackage),
        [only] if !is_part(only) => open_one(only),
        parts => PackageReader::open(Box::new(PartsSource::open(parts)?)).map_err(|error| explained(error, parts)),
    }
}

/// Of one part, those beside it as well.
fn parts_of(paths: &[PathBuf]) -> Vec<PathBuf> {
    match paths {
        [only] if is_part(only) => parts_beside(only),
        // By the name that was given to `pack`, or by the list of its parts.
        [only] => first_part(only).map_or_else(|| vec![only.clone()], |first| parts_beside(&first)),
        // `FILE.*` may be what somebody typed.
        several if several.len() > 1 => {
            several.iter().filter(|path| !path.to_string_lossy().ends_with(".parts.json")).cloned().collect()
        }
        one => one.to_vec(),
    }
}

/// Where something is wrong with a package in parts, says with which of them.
pub fn explain(error: PackagesError, paths: &[PathBuf]) -> PackagesError {
    explained(error, &parts_of(paths))
}

fn explained(error: PackagesError, parts: &[PathBuf]) -> PackagesError {
    let is_damage = matches!(
        error,
        PackagesError::Damaged { .. }
            | PackagesError::CutOff
            | PackagesError::Differs { .. }
            | PackagesError::Index(_)
            | PackagesError::NotAPackage
            | PackagesError::BadSignature
    );
    if !is_damage || !parts.first().is_some_and(|part| is_part(part)) {
        return error;
    }
    match damaged_parts(parts) {
        damaged if damaged.is_empty() => error,
        paths => PackagesError::DamagedParts { paths },
    }
}

fn open_one(path: &Path) -> Result<PackageReader, PackagesError> {
    let in_file = |source: PackagesError| PackagesError::File { path: path.to_owned(), source: Box::new(source) };
    let opened = || -> io::Result<Box<dyn PackageSource>> {
        if path == Path::new("-") {
            return stream(io::stdin());
        }
        let file = File::open(path)?;
        let kind = file.metadata()?.file_type();
        match kind.is_file() {
            true => Ok(Box::new(match Attached::of(&file)? {
                // A program with a package behind it.
                Some(attached) => FileSource::within(file, attached.offset, attached.end)?,
                None => FileSource::new(file)?,
            })),
            false if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            // A pipe, or a device with a package written to it.
            false => stream(file),
        }
    };
    let source = opened().map_err(|error| in_file(PackagesError::Read(error)))?;
    PackageReader::open(source).map_err(in_file)
}

/// A stream of a package, or of its parts one behind the other.
fn stream<R: Read + Send + 'static>(mut stream: R) -> io::Result<Box<dyn PackageSource>> {
    let mut begin = Vec::new();
    (&mut stream).take(BEGIN_BYTES as u64).read_to_end(&mut begin)?;
    if let (true, Ok(header)) = (PartHeader::is_one(&begin), <&[u8; BEGIN_BYTES]>::try_from(begin.as_slice())) {
        let parts = PartsStream::new(stream, header);
        return Ok(Box::new(parts.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?));
    }
    Ok(Box::new(StreamSource(Cursor::new(begin).chain(stream))))
}

/// Where the project is on this machine: around the manifest that is meant, else in `folder`, else here.
pub fn place_of(index: &PackageIndex, folder: Option<&Path>, session: &Session) -> Result<ProjectPlace, Failure> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Failure::Output);
    let host = session.global.host.clone().map(|host| ("DOCKER_HOST".to_owned(), host));
    let variables = host.into_iter().collect();
    let own = session.manifest_file().map(|path| absolute(&path)).transpose()?;
    // One that is named and not there yet is where the package's is to be.
    let (folder, manifest) = match (folder, own) {
        (Some(folder), own) => {
            let folder = absolute(folder)?;
            let own = own.and_then(|own| Some(own.strip_prefix(&folder).ok()?.to_owned()));
            (folder, own)
        }
        (None, Some(own)) => {
            let root = folder_around(&own, &index.manifest)?;
            let below = own.strip_prefix(&root).map(Path::to_owned).ok();
            (root, below)
        }
        (None, None) => (std::env::current_dir().map_err(Failure::Output)?, None),
    };
    let manifest = manifest.filter(|manifest| folder.join(manifest).exists()).unwrap_or(PathBuf::from(&index.manifest));
    Ok(ProjectPlace { folder, manifest: Some(manifest.to_string_lossy().into_owned()), variables })
}

/// The project's folder around a manifest that is here, where the package's manifest lies at `manifest` in it. How deep that is, the
/// package says: it leads no higher than to a folder that an operator works in, has chosen a manifest for, or has received into before.
fn folder_around(own: &Path, manifest: &str) -> Result<PathBuf, Failure> {
    let beside = own.parent().unwrap_or(Path::new("/"));
    let inner = Path::new(manifest).parent().unwrap_or(Path::new(""));
    let depth = inner.components().count();
    if depth == 0 {
        return Ok(beside.to_owned());
    }
    let here = std::env::current_dir().map_err(Failure::Output)?;
    let is_known = |around: &&Path| {
        around.starts_with(&here) || chosen_manifest(around).as_deref() == Some(own) || has_received(around)
    };
    let around = beside.ancestors().nth(depth).filter(|_| beside.ends_with(inner)).filter(is_known);
    match around {
        Some(around) => Ok(around.to_owned()),
        None if own.starts_with(&here) => Ok(here),
        None => Err(Failure::usage_with_hint(
            message!("usage-unpack-folder", own = own.display(), manifest = shown(manifest)),
            message!("hint-unpack-folder"),
        )),
    }
}
