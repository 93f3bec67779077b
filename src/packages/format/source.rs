//! Where a package is read from: forwards only, so that a pipe will do.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// What a package is read from.
pub trait PackageSource: Read + Send {
    /// Passes over so many bytes.
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

/// A file: what is passed over is not read.
pub struct FileSource {
    file: File,
    position: u64,
    length: u64,
}

impl FileSource {
    /// # Errors
    /// A file whose length can't be told.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, position: 0, length })
    }

    /// The bytes of a file from one place to another.
    ///
    /// # Errors
    /// A file in which no place can be gone to.
    pub fn within(mut file: File, from: u64, to: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(from))?;
        Ok(Self { file, position: from, length: to })
    }
}

impl Read for FileSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = self.file.read(&mut buffer[..most])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl PackageSource for FileSource {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.position.checked_add(bytes).filter(|end| *end <= self.length);
        self.position = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.seek(SeekFrom::Start(self.position)).map(drop)
    }
}

/// A pipe or the like.
pub struct StreamSource<R>(pub R);

impl<R: Read> Read for StreamSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> PackageSource for StreamSource<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.0).take(bytes), &mut io::sink())? {
            passed if passed == bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
