//! Writing a package: one way for one index, so that the same package is the same bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::index::{Entry, INDEX_NAME, SEAL_NAME, SIGNATURE_NAME, seal_of};
use crate::fs::open_regular;
use crate::images::archive::{ArchiveWriter, LayerEntry, LayerFailure};
use crate::packages::PackagesError;

/// Where the content of an entry lies.
#[derive(Debug, Clone)]
pub enum EntrySource {
    File(PathBuf),
    Bytes(Vec<u8>),
    /// What was made for this package: a beginning, and a file without a name.
    Spooled {
        head: Arc<[u8]>,
        rest: Arc<File>,
    },
}

/// A package while it is written.
pub struct PackageWriter<W: Write> {
    archive: ArchiveWriter<W>,
}

impl<W: Write> PackageWriter<W> {
    /// Writes the index, its digest, and its signature.
    ///
    /// # Errors
    /// It can't be written.
    pub fn begin(out: W, index: &[u8], signature: Option<&[u8]>) -> Result<Self, PackagesError> {
        let mut archive = ArchiveWriter::new(out);
        archive.file(INDEX_NAME, index).map_err(PackagesError::Write)?;
        archive.file(SEAL_NAME, seal_of(index).as_bytes()).map_err(PackagesError::Write)?;
        if let Some(signature) = signature {
            archive.file(SIGNATURE_NAME, signature).map_err(PackagesError::Write)?;
        }
        Ok(Self { archive })
    }

    /// Writes an entry, whose content is compared with its digest. `goes_on` hears of each piece, and says whether to go on.
    ///
    /// # Errors
    /// Its source can't be read, or is not what the index says; it can't be written.
    pub fn entry(
        &mut self,
        entry: &Entry,
        source: &EntrySource,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), PackagesError> {
        let path = match source {
            EntrySource::File(path) => path.clone(),
            EntrySource::Bytes(_) | EntrySource::Spooled { .. } => PathBuf::from(&entry.name),
        };
        let mut content =
            Content::open(source).map_err(|error| PackagesError::Source { path: path.clone(), source: error })?;
        let written = LayerEntry { path: &entry.name, diff_id: &entry.digest, size_bytes: entry.bytes };
        self.archive.layer(&written, &mut content, goes_on).map_err(|failure| match failure {
            LayerFailure::Write(error) => PackagesError::Write(error),
            LayerFailure::Stopped => PackagesError::Stopped,
            LayerFailure::Read(source) => PackagesError::Source { path, source },
            LayerFailure::Differs => PackagesError::SourceChanged { path },
        })
    }

    /// Ends the archive; gives what it was written to, and how many bytes it has.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(self) -> Result<(W, u64), PackagesError> {
        self.archive.finish().map_err(PackagesError::Write)
    }
}

enum Content<'a> {
    File(File),
    Bytes(&'a [u8]),
    Spooled { head: &'a [u8], rest: &'a File, at: u64 },
}

impl<'a> Content<'a> {
    fn open(source: &'a EntrySource) -> io::Result<Self> {
        Ok(match source {
            EntrySource::File(path) => Self::File(open_regular(path)?),
            EntrySource::Bytes(bytes) => Self::Bytes(bytes),
            EntrySource::Spooled { head, rest } => Self::Spooled { head, rest, at: 0 },
        })
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Bytes(bytes) => bytes.read(buffer),
            Self::Spooled { head, .. } if !head.is_empty() => head.read(buffer),
            // By its place: a package that is written again reads it again.
            Self::Spooled { rest, at, .. } => {
                let read = rest.read_at(buffer, *at)?;
                *at += read as u64;
                Ok(read)
            }
        }
    }
}
