//! Writing parts as the package streams by: each gets its name when it is whole, the list of them last.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::header::{HEADER_BYTES, LEAST_PART, ListedPart, MOST_PARTS, PartHeader, PartsList, part_path};
use crate::catalogue::io_error;
use crate::fs::{Digest, DurableFile, Hasher, Mode, write_durably};

/// A package that is written in parts.
pub struct PartsOutput {
    output: PathBuf,
    mark: &'static str,
    mode: Mode,
    package: Digest,
    /// The bytes of the package.
    of: u64,
    /// The most bytes of a part's content.
    content_bytes: u64,
    /// The only part that is wanted.
    only: Option<u64>,
    position: u64,
    part: Option<Part>,
    listed: Vec<ListedPart>,
}

struct Part {
    /// None for one that is not wanted.
    file: Option<DurableFile>,
    hasher: Hasher,
    header: PartHeader,
    left: u64,
}

impl PartsOutput {
    /// Parts of `part_bytes` at most, of a package of `of` bytes; `only` that one is written.
    ///
    /// # Errors
    /// Parts that are too small, or would be too many.
    pub fn new(
        (output, mode, mark): (&Path, Mode, &'static str),
        (package, of): (Digest, u64),
        part_bytes: u64,
        only: Option<u64>,
    ) -> io::Result<Self> {
        let content_bytes = part_bytes.saturating_sub(HEADER_BYTES as u64);
        if part_bytes < LEAST_PART {
            return Err(io_error(io::ErrorKind::InvalidInput, message!("parts-small", least = LEAST_PART)));
        }
        let parts = of.div_ceil(content_bytes);
        if parts > MOST_PARTS {
            return Err(io_error(io::ErrorKind::InvalidInput, message!("parts-many", most = MOST_PARTS)));
        }
        if only.is_some_and(|only| only == 0 || only > parts) {
            return Err(io_error(io::ErrorKind::InvalidInput, message!("parts-no-such", parts = parts)));
        }
        let (position, part, listed) = (0, None, Vec::new());
        let output = output.to_owned();
        Ok(Self { output, mark, mode, package, of, content_bytes, only, position, part, listed })
    }

    fn begin(&self) -> io::Result<Part> {
        let number = self.position / self.content_bytes + 1;
        let header = PartHeader {
            package: self.package.clone(),
            number,
            parts: self.of.div_ceil(self.content_bytes),
            offset: self.position,
            bytes: self.content_bytes.min(self.of - self.position),
            of: self.of,
        };
        let mut part = Part { file: None, hasher: Hasher::new(), left: header.bytes, header };
        if self.only.is_none_or(|only| only == number) {
            let path = part_path(&self.output, number);
            // A link would lead to another disk, and to a file of any name.
            if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
                let why = message!("because", what = path.display(), why = message!("error-not-regular"));
                return Err(io_error(io::ErrorKind::Other, why));
            }
            part.file = Some(DurableFile::create_marked(&path, self.mode, self.mark)?);
            part.put(&part.header.to_bytes())?;
        }
        Ok(part)
    }

    fn end(&mut self, part: Part) -> io::Result<()> {
        let Some(file) = part.file else { return Ok(()) };
        crate::failpoint!("packages.parts.before-name");
        file.commit()?;
        crate::failpoint!("packages.parts.after-name");
        let path = part_path(&self.output, part.header.number);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = part.header.bytes + HEADER_BYTES as u64;
        self.listed.push(ListedPart { file: name, bytes, digest: part.hasher.finish() });
        Ok(())
    }

    /// Writes the list of all parts, where all were wanted, and removes parts of a longer package of that name. Gives what
    /// was written: paths, and bytes with their headers.
    ///
    /// # Errors
    /// The package ended too early; the list can't be written.
    pub fn commit(self, created: &str, signature: Option<&[u8]>) -> io::Result<Vec<(PathBuf, u64)>> {
        if self.position != self.of || self.part.is_some() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let folder = self.output.parent().unwrap_or(Path::new("")).to_owned();
        let written = self.listed.iter().map(|part| (folder.join(&part.file), part.bytes)).collect();
        if self.only.is_some() {
            return Ok(written);
        }
        for number in self.listed.len() as u64 + 1..=MOST_PARTS {
            let path = part_path(&self.output, number);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_file() => fs::remove_file(&path)?,
                _ => break,
            }
        }
        let list = PartsList {
            format: PartsList::FORMAT,
            package: self.package,
            created: created.to_owned(),
            signature: signature.map(|signature| String::from_utf8_lossy(signature).into_owned()),
            part_bytes: self.content_bytes + HEADER_BYTES as u64,
            parts: self.listed,
        };
        let mut text = serde_json::to_vec_pretty(&list)?;
        text.push(b'\n');
        write_durably(&PartsList::path(&self.output), &text, Mode::Shared)?;
        Ok(written)
    }
}

impl Part {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.hasher.update(bytes);
        }
        Ok(())
    }
}

impl Write for PartsOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.position >= self.of {
            return Err(io::Error::other("the package is longer than it should be"));
        }
        let mut part = match self.part.take() {
            Some(part) => part,
            None => self.begin()?,
        };
        let most = usize::try_from(part.left).unwrap_or(usize::MAX).min(bytes.len());
        part.put(&bytes[..most])?;
        part.left -= most as u64;
        self.position += most as u64;
        match part.left {
            0 => self.end(part)?,
            _ => self.part = Some(part),
        }
        Ok(most)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.part.as_mut().and_then(|part| part.file.as_mut()) {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }
}
