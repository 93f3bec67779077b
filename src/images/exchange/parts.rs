//! An archive in several files, for disks whose file system or size takes no larger ones: `FILE.001`, `FILE.002`, ….
//!
//! The parts get their names when the last of them is whole, so that no half of an archive lies under them; their
//! bytes one after the other are the archive (`cat FILE.* | docker load` reads it).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::catalogue::io_error;
use crate::fs::{DurableFile, Mode, OutputTarget};

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
            let path = part_path(&self.output, number);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_file() || found.is_symlink() => fs::remove_file(&path)?,
                // What is neither is not a part: a reader ends there too.
                _ => break,
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
                return Err(too_many(self.part_bytes));
            }
            if number == 1 {
                // Before gigabytes are written.
                (1..=PARTS_LIMIT).try_for_each(|number| place_of(&self.output, number).map(drop))?;
            }
            let place = place_of(&self.output, number)?;
            self.parts.push(DurableFile::create_marked(&place, Mode::Shared, self.mark)?);
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

/// Refuses what would be more parts than there are numbers for; an archive has at least `least_bytes`.
pub(super) fn must_be_few(least_bytes: u64, part_bytes: u64) -> io::Result<()> {
    match least_bytes.div_ceil(part_bytes.max(1)) > PARTS_LIMIT as u64 {
        true => Err(too_many(part_bytes)),
        false => Ok(()),
    }
}

fn too_many(part_bytes: u64) -> io::Error {
    io_error(io::ErrorKind::Other, message!("error-too-many-parts", most = PARTS_LIMIT, bytes = part_bytes))
}

/// Where a part will lie: at the end of links, as any output. A part is a regular file, and nothing else is replaced.
fn place_of(output: &Path, number: usize) -> io::Result<PathBuf> {
    let path = part_path(output, number);
    match OutputTarget::of(&path)? {
        OutputTarget::New(end) | OutputTarget::Existing(end) => Ok(end),
        OutputTarget::Stream(..) => {
            let why = message!("because", what = path.display(), why = message!("error-not-regular"));
            Err(io_error(io::ErrorKind::Other, why))
        }
    }
}

/// The first file that an export in parts would replace, or remove as the end of a longer one.
pub fn replaced_part(output: &Path) -> Option<PathBuf> {
    let parts = (1..=PARTS_LIMIT).map(|number| part_path(output, number));
    parts.into_iter().find(|path| matches!(OutputTarget::of(path), Ok(OutputTarget::Existing(_))))
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

    #[test]
    fn more_parts_than_there_are_numbers_for_are_refused_before_they_are_written() {
        assert!(must_be_few(999 << 20, 1 << 20).is_ok());
        let error = must_be_few((999 << 20) + 1, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("more than 999 parts"), "{error}");
    }

    #[test]
    fn parts_follow_links_and_replace_nothing_but_regular_files() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let output = folder.path().join("x.tar");
        std::os::unix::fs::symlink(disk.path().join("on-another-disk"), part_path(&output, 2)).unwrap();
        assert_eq!(replaced_part(&output), None);
        let write = || {
            let mut writer = PartsWriter::new(&output, 4, ".test-");
            writer.write_all(b"12345678").and_then(|()| writer.commit())
        };
        write().unwrap();
        assert_eq!(fs::read(disk.path().join("on-another-disk")).unwrap(), b"5678");
        assert!(part_path(&output, 2).is_symlink());
        assert_eq!(replaced_part(&output), Some(part_path(&output, 1)));
        // A pipe behind the last part is not one of them; one in the place of a part is refused before anything is written.
        let pipe = |number| {
            let mode = rustix::fs::Mode::RWXU;
            let _ = fs::remove_file(part_path(&output, number));
            rustix::fs::mknodat(rustix::fs::CWD, part_path(&output, number), rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
        };
        fs::write(part_path(&output, 1), "old").unwrap();
        for number in [3, 2] {
            pipe(number);
            let error = write().unwrap_err().to_string();
            assert!(error.contains(&format!("x.tar.00{number}")), "{error}");
            assert_eq!(fs::read(part_path(&output, 1)).unwrap(), b"old");
        }
    }
}
