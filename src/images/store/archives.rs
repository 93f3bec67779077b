//! `docker save` archives that lie beside the store, as deploy.py wrote them: `.tar`, `.tar.gz`, `.tar.zst`.
//!
//! They are found by the references inside them; a name only says where to look first. What an archive holds is
//! remembered in the store's own folder, by name, size and time, since reading a compressed one takes seconds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::fs::{Digest, create_dir_durably};
use crate::images::error::ImagesError;
use crate::images::formats::compression::{Compression, MAGIC_BYTES, PlainReader};
use crate::images::formats::documents::ImageConfig;
use crate::images::formats::image_archive::{ArchiveError, ArchivedImage, LayerFile, read_archive};
use crate::images::formats::tar_reader::{Seekable, Streamed, TarSource};
use crate::images::formats::unpack_limit::{LimitExceeded, UnpackLimit};
use crate::images::names::{archive_name, engine_name};
use crate::images::store::layout::{OWN_FOLDER, open_regular};
use crate::images::store::sidecar::{read_sidecar, write_sidecar};
use crate::manifest::Reference;

/// An archive whose content is known.
#[derive(Debug, Clone)]
pub struct OldArchive {
    pub path: PathBuf,
    pub images: Vec<ArchivedImage<ArchivedLayer>>,
}

/// A layer in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedLayer {
    /// The entry's path inside the archive.
    pub path: String,
    pub uncompressed_bytes: u64,
}

const SUFFIXES: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];
const MEMORY: &str = "archives.json";

/// The archives of a folder, newest first.
pub struct ArchiveFolder {
    folder: PathBuf,
    files: Vec<ArchiveFile>,
    memory: Memory,
    learned: bool,
}

struct ArchiveFile {
    name: String,
    stamp: Stamp,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size_bytes: u64,
    /// Since 1970; enough until 2554.
    modified_nanoseconds: u64,
    /// A file that is put in another one's place may have its size and time: tar pads, and `cp -p` and builds that can be
    /// repeated set times. These two no program sets.
    #[serde(default)]
    changed_nanoseconds: u64,
    #[serde(default)]
    inode: u64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Memory {
    archives: BTreeMap<String, RememberedArchive>,
}

#[derive(Clone, Serialize, Deserialize)]
struct RememberedArchive {
    #[serde(flatten)]
    stamp: Stamp,
    images: Vec<RememberedImage>,
}

#[derive(Clone, Serialize, Deserialize)]
struct RememberedImage {
    references: Vec<String>,
    /// The configuration's text, byte for byte.
    config: String,
    layers: Vec<ArchivedLayer>,
}

impl ArchiveFolder {
    /// Lists the folder's archives; opens none.
    pub fn open(folder: &Path) -> Result<Self, ImagesError> {
        let failed = |source| ImagesError::file("list", folder, source);
        let mut files = Vec::new();
        let listed = match fs::read_dir(folder) {
            Ok(listed) => Some(listed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        for file in listed.into_iter().flatten() {
            let file = file.map_err(failed)?;
            let Ok(name) = file.file_name().into_string() else {
                continue;
            };
            if !name.starts_with('.')
                && SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
                && let Some(stamp) = stamp(&file.path()).map_err(failed)?
            {
                files.push(ArchiveFile { name, stamp });
            }
        }
        files.sort_by(|one, other| {
            let newer = other.stamp.modified_nanoseconds.cmp(&one.stamp.modified_nanoseconds);
            newer.then_with(|| one.name.cmp(&other.name))
        });
        // A memory that can't be read is only forgotten.
        let memory = read_sidecar(&folder.join(OWN_FOLDER).join(MEMORY)).unwrap_or_default();
        Ok(Self { folder: folder.to_owned(), files, memory, learned: false })
    }

    /// When the newest archive that is named like this reference's was written, in seconds since 1970.
    pub fn named_at(&self, reference: &Reference) -> Option<i64> {
        let file = self.files.iter().find(|file| is_named_for(&file.name, reference))?;
        i64::try_from(file.stamp.modified_nanoseconds / 1_000_000_000).ok()
    }

    /// The newest archive that holds an image under this reference: among those with its name first, then among all.
    /// An archive that can't be read is an error only when its name says that it is the one.
    pub fn find(&mut self, reference: &Reference) -> Result<Option<OldArchive>, ImagesError> {
        let Some(wanted) = engine_name(reference) else {
            return Ok(None);
        };
        let (named, others): (Vec<usize>, Vec<usize>) =
            (0..self.files.len()).partition(|at| is_named_for(&self.files[*at].name, reference));
        for (at, is_named) in named.into_iter().map(|at| (at, true)).chain(others.into_iter().map(|at| (at, false))) {
            match self.read(at) {
                Ok(archive) if archive.image(&wanted).is_some() => return Ok(Some(archive)),
                Err(error) if is_named => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Lists the folder anew, with all that is known of its archives.
    pub fn list_again(&self) -> Result<Self, ImagesError> {
        Ok(Self { memory: self.memory.clone(), learned: self.learned, ..Self::open(&self.folder)? })
    }

    /// What each archive of the folder holds, or why that can't be said; newest first.
    pub fn read_all(&mut self) -> Vec<(PathBuf, Result<OldArchive, ImagesError>)> {
        (0..self.files.len()).map(|at| (self.folder.join(&self.files[at].name), self.read(at))).collect()
    }

    /// What one file of the folder holds; `None` where there is none or it can't be read.
    pub fn read_file(&mut self, path: &Path) -> Option<OldArchive> {
        let at = self.files.iter().position(|file| self.folder.join(&file.name) == path)?;
        self.read(at).ok()
    }

    fn read(&mut self, at: usize) -> Result<OldArchive, ImagesError> {
        let file = &self.files[at];
        let path = self.folder.join(&file.name);
        if let Some(remembered) = self.memory.archives.get(&file.name).filter(|known| known.stamp == file.stamp) {
            let images = remembered.images.iter().map(RememberedImage::image).collect::<Option<Vec<_>>>();
            if let Some(images) = images {
                return Ok(OldArchive { path, images });
            }
        }
        let archive = OldArchive::read(&path)?;
        if let Some(images) = archive.images.iter().map(RememberedImage::of).collect() {
            self.memory.archives.insert(file.name.clone(), RememberedArchive { stamp: file.stamp, images });
            self.learned = true;
        }
        Ok(archive)
    }

    /// Writes down what was learned, where the folder can be written; it is only ever a saving of time.
    pub fn remember(mut self) {
        if !self.learned {
            return;
        }
        let present: Vec<&String> = self.files.iter().map(|file| &file.name).collect();
        self.memory.archives.retain(|name, _| present.contains(&name));
        let own = self.folder.join(OWN_FOLDER);
        if !own.is_symlink() && create_dir_durably(&own).is_ok() {
            let _ = write_sidecar(&own.join(MEMORY), &self.memory);
        }
    }
}

impl OldArchive {
    /// Reads an archive's documents and the sizes of its layers, no more of the layers than it must.
    pub fn read(path: &Path) -> Result<Self, ImagesError> {
        let (images, origin) = (open(path), path.display().to_string());
        let failed = |source| ImagesError::file("read", path, source);
        let archive = images.map_err(failed)?;
        let budget = UnpackLimit::of(fs::metadata(path).map_err(failed)?.len());
        let measure = |file: LayerFile<'_>, body: &mut dyn Read| measure(&file, body, &budget);
        let images = match archive {
            // In a raw archive, layers are jumped over.
            OpenArchive::Raw(source) => read_archive(source, measure),
            OpenArchive::Packed(source) => read_archive(source, measure),
        };
        let images = images.map_err(|source| ImagesError::Archive { origin, source: Box::new(source) })?;
        Ok(Self { path: path.to_owned(), images })
    }

    /// The names of its images, each with its tag; what is no reference is left out.
    pub fn references(&self) -> Vec<String> {
        let written = self.images.iter().flat_map(|image| &image.references);
        written.filter_map(|text| engine_name(&text.parse::<Reference>().ok()?)).collect()
    }

    /// The image that the archive has under this name.
    pub fn image(&self, name: &str) -> Option<&ArchivedImage<ArchivedLayer>> {
        let wanted = Some(name.to_owned());
        self.images.iter().find(|image| {
            image.references.iter().any(|reference| {
                reference == name
                    || reference.parse().is_ok_and(|reference: Reference| engine_name(&reference) == wanted)
            })
        })
    }
}

impl ArchivedImage<ArchivedLayer> {
    /// Each diff ID with its layer's size.
    pub fn sizes(&self) -> Vec<(Digest, u64)> {
        let sizes = self.layers.iter().map(|layer| layer.uncompressed_bytes);
        self.config.diff_ids().iter().cloned().zip(sizes).collect()
    }
}

/// An archive's tar stream.
pub enum OpenArchive {
    Raw(Seekable<fs::File>),
    Packed(Streamed<PlainReader<fs::File>>),
}

/// Opens an archive as what its first bytes show it to be.
pub fn open(path: &Path) -> io::Result<OpenArchive> {
    let mut file = open_regular(path)?;
    let mut first = Vec::with_capacity(MAGIC_BYTES);
    (&mut file).take(MAGIC_BYTES as u64).read_to_end(&mut first)?;
    io::Seek::rewind(&mut file)?;
    Ok(match Compression::of(&first) {
        Compression::None => OpenArchive::Raw(Seekable(file)),
        compression => OpenArchive::Packed(Streamed(PlainReader::new(file, compression)?)),
    })
}

impl Read for OpenArchive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Raw(source) => source.read(buffer),
            Self::Packed(source) => source.read(buffer),
        }
    }
}

impl TarSource for OpenArchive {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Raw(source) => source.skip(bytes),
            Self::Packed(source) => source.skip(bytes),
        }
    }
}

/// A layer's uncompressed size: the entry's own, unless the layer is compressed inside the archive.
fn measure(file: &LayerFile<'_>, body: &mut dyn Read, budget: &UnpackLimit) -> Result<ArchivedLayer, ArchiveError> {
    let failed = |source| ArchiveError::Layer { path: file.path.to_owned(), source };
    let mut first = Vec::with_capacity(MAGIC_BYTES);
    (&mut *body).take(MAGIC_BYTES as u64).read_to_end(&mut first).map_err(failed)?;
    let uncompressed_bytes = match Compression::of(&first) {
        Compression::None => file.size_bytes,
        compression => {
            let plain = PlainReader::new(first.as_slice().chain(body), compression).map_err(failed)?;
            // One byte more than is left, which tells a bomb from what just fits.
            let bytes = io::copy(&mut plain.take(budget.left_bytes() + 1), &mut io::sink()).map_err(failed)?;
            budget.spend(bytes).map_err(|LimitExceeded| ArchiveError::Bomb)?;
            bytes
        }
    };
    Ok(ArchivedLayer { path: file.path.to_owned(), uncompressed_bytes })
}

fn is_named_for(file: &str, reference: &Reference) -> bool {
    let stem = file.strip_prefix(&archive_name(reference));
    stem.is_some_and(|rest| SUFFIXES.contains(&rest))
}

/// `None` for what is no file.
fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A link that leads nowhere, or a file that was there a moment ago.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp = Stamp {
        size_bytes: metadata.len(),
        modified_nanoseconds: u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX),
        changed_nanoseconds: (metadata.ctime() as u64).saturating_mul(1_000_000_000) + metadata.ctime_nsec() as u64,
        inode: metadata.ino(),
    };
    Ok(metadata.is_file().then_some(stamp))
}

impl RememberedImage {
    fn of(image: &ArchivedImage<ArchivedLayer>) -> Option<Self> {
        let config = String::from_utf8(image.config_bytes.clone()).ok()?;
        Some(Self { references: image.references.clone(), config, layers: image.layers.clone() })
    }

    fn image(&self) -> Option<ArchivedImage<ArchivedLayer>> {
        let config_bytes = self.config.clone().into_bytes();
        let config = ImageConfig::parse(&config_bytes).ok()?;
        (config.diff_ids().len() == self.layers.len()).then(|| ArchivedImage {
            references: self.references.clone(),
            config_digest: Digest::of(&config_bytes),
            config_bytes,
            config,
            layers: self.layers.clone(),
        })
    }
}
