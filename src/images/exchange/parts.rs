//! An archive in several files, for disks whose file system or size takes no larger ones: `FILE.001`, `FILE.002`, ….
//!
//! The parts get their names when the last of them is whole, so that no half of an archive lies under them; their
//! bytes one after the other are the archive (`cat FILE.* | docker load` reads it).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::fs::{DurableFile, Mode};

/// Numbers of parts have three digits.
const PARTS_LIMIT: usize = 999;

/// Writes into one file after the other.
pub(super) struct PartsWriter {
    /// Without a number.
    output: PathBuf,
    part_bytes: u64,
    mark: &'static str,
    parts: Vec<DurableFile>,
    /// What still fits into the last part.
    left_bytes: u64,
}

impl PartsWriter {
    pub fn new(output: &Path, part_bytes: u64, mark: &'static str) -> Self {
        Self { output: output.to_owned(), part_bytes, mark, parts: Vec::new(), left_bytes: 0 }
    }

    /// Gives all parts their names, and removes parts of a longer archive that had the same name before: a reader would
    /// take them for the end of this one. Gives their paths.
    pub fn commit(self) -> io::Result<Vec<PathBuf>> {
        let count = self.parts.len();
        for part in self.parts {
            part.commit()?;
        }
        for number in count + 1.. {
            match fs::remove_file(part_path(&self.output, number)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok((1..=count).map(|number| part_path(&self.output, number)).collect())
    }
}

impl Write for PartsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left_bytes == 0 {
            let number = self.parts.len() + 1;
            if number > PARTS_LIMIT {
                let why = format!("the archive has more than {PARTS_LIMIT} parts of {} bytes", self.part_bytes);
                return Err(io::Error::other(why));
            }
            let path = part_path(&self.output, number);
            self.parts.push(DurableFile::create_marked(&path, Mode::Shared, self.mark)?);
            self.left_bytes = self.part_bytes;
        }
        let most = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(bytes.len());
        let part = self.parts.last_mut().expect("a part was opened above");
        let written = part.write(&bytes[..most])?;
        self.left_bytes -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.parts.last_mut().map_or(Ok(()), DurableFile::flush)
    }
}

/// `FILE.001` and on.
pub fn part_path(output: &Path, number: usize) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{number:03}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_asked_for_and_those_of_a_longer_archive_go() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("x.tar");
        for number in 1..=5 {
            fs::write(part_path(&output, number), "old").unwrap();
        }
        let mut writer = PartsWriter::new(&output, 4, ".test-");
        writer.write_all(b"12345678 9").unwrap();
        // Nothing has a name before all of it is there.
        assert_eq!(fs::read(part_path(&output, 1)).unwrap(), b"old");
        let parts = writer.commit().unwrap();
        let read: Vec<Vec<u8>> = parts.iter().map(|part| fs::read(part).unwrap()).collect();
        assert_eq!(read, [b"1234".to_vec(), b"5678".to_vec(), b" 9".to_vec()]);
        assert!(!part_path(&output, 4).exists() && !part_path(&output, 5).exists());
    }
}
