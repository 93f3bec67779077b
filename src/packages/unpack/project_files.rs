//! The files of the project in a package: they come first in it, and say where all else belongs, so they are read before anything is
//! decided; nothing of them is written to the project's folder by that.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::{SpooledTempFile, spooled_tempfile};

use crate::fs::{Digest, Hasher};
use crate::manifest::{ComingFile, ComingFiles, FileUse};
use crate::packages::format::{Entry, Namespace, PackageReader};
use crate::packages::{ContentFile, PackagesError};
use crate::sites::{PlanOptions, ProjectPlace, coming_files};

/// What is more than this lies in an unnamed file of the temporary folder.
const IN_MEMORY: usize = 4 << 20;
/// A manifest and what it reads are smaller.
const LARGEST_READ: u64 = 1 << 20;
/// All that a manifest is made of and reads.
const MOST_READ: u64 = 32 << 20;
const PIECE_BYTES: usize = 64 << 10;

/// The files of the project, each compared with its digest.
pub struct ProjectFiles {
    content: SpooledTempFile,
    /// By their digests.
    places: HashMap<Digest, (u64, Entry)>,
}

impl ProjectFiles {
    /// Reads them; behind that the blobs come next.
    ///
    /// # Errors
    /// The package can't be read, or is not what it says; the temporary folder is full.
    pub fn read(reader: &mut PackageReader) -> Result<Self, PackagesError> {
        let (mut content, mut places, mut end) = (spooled_tempfile(IN_MEMORY), HashMap::new(), 0);
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(namespace) = reader.upcoming().map(Entry::namespace)
            && matches!(namespace, Some(Namespace::Layout | Namespace::File))
        {
            let Some(entry) = reader.begin()? else { break };
            let is_file = namespace == Some(Namespace::File);
            let mut hasher = Hasher::new();
            loop {
                let read = reader.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                if is_file {
                    content.write_all(&buffer[..read]).map_err(temporary)?;
                }
            }
            if hasher.finish() != entry.digest {
                return Err(PackagesError::Differs { name: entry.name });
            }
            if is_file {
                let bytes = entry.bytes;
                places.insert(entry.digest.clone(), (end, entry));
                end += bytes;
            }
        }
        Ok(Self { content, places })
    }

    /// What the manifest is made of and reads, as it comes to a project's folder.
    pub fn coming(&mut self, place: &ProjectPlace, files: &[ContentFile], options: PlanOptions) -> ComingFiles {
        // An `env_file` may be a secret as well.
        let is_read = |file: &ContentFile| !matches!(file.purpose, FileUse::Config | FileUse::Patch);
        let names: Vec<(String, Digest)> = files.iter().map(|file| (file.path.clone(), file.digest.clone())).collect();
        let mut left = MOST_READ;
        coming_files(place, &names, options, |path| {
            let file = files.iter().find(|file| file.path == path)?;
            if !is_read(file) || file.bytes > LARGEST_READ.min(left) {
                return None;
            }
            left -= file.bytes;
            self.content(&file.digest).map(ComingFile::Content)
        })
    }

    /// The content of a small file; `None` where there is none.
    pub fn content(&mut self, digest: &Digest) -> Option<Vec<u8>> {
        let (place, bytes) = self.places.get(digest).map(|(place, entry)| (*place, entry.bytes))?;
        let mut content = Vec::new();
        self.content.seek(SeekFrom::Start(place)).ok()?;
        (&mut self.content).take(bytes.min(LARGEST_READ)).read_to_end(&mut content).ok()?;
        (content.len() as u64 == bytes).then_some(content)
    }

    /// The entry with this content.
    pub(super) fn entry(&self, digest: &Digest) -> Option<Entry> {
        self.places.get(digest).map(|(_, entry)| entry.clone())
    }

    /// The next bytes of an entry, from one of its bytes on; nothing at its end.
    pub(super) fn piece(&mut self, entry: &Entry, from: u64, buffer: &mut [u8]) -> Result<usize, PackagesError> {
        let Some((place, _)) = self.places.get(&entry.digest) else { return Ok(0) };
        let wanted = usize::try_from(entry.bytes.saturating_sub(from)).unwrap_or(usize::MAX).min(buffer.len());
        self.content.seek(SeekFrom::Start(place + from)).map_err(temporary)?;
        self.content.read_exact(&mut buffer[..wanted]).map_err(temporary)?;
        Ok(wanted)
    }
}

fn temporary(source: io::Error) -> PackagesError {
    PackagesError::Source { path: std::env::temp_dir(), source }
}
