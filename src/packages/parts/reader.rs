//! Reading parts one after the other.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::header::{HEADER_BYTES, PartHeader, PartsList, part_path};
use crate::fs::{hash_file, open_regular};
use crate::packages::PackagesError;
use crate::packages::format::PackageSource;

/// Whether a file is a part.
pub fn is_part(path: &Path) -> bool {
    header_of(path).is_ok_and(|(_, header)| header.is_some())
}

fn header_of(path: &Path) -> io::Result<(File, Option<PartHeader>)> {
    let mut file = open_regular(path)?;
    let mut block = [0; HEADER_BYTES];
    let header = match file.read_exact(&mut block) {
        Ok(()) => PartHeader::parse(&block),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => return Err(error),
    };
    Ok((file, header))
}

/// The parts that lie beside one of them, in their order; those that are missing are left out.
pub fn parts_beside(part: &Path) -> Vec<PathBuf> {
    let Some(header) = header_of(part).ok().and_then(|(_, header)| header) else { return vec![part.to_owned()] };
    let output = part.with_extension("");
    let all = (1..=header.parts).map(|number| part_path(&output, number)).filter(|path| path.exists());
    let all: Vec<PathBuf> = all.collect();
    if all.iter().any(|path| path == part) { all } else { vec![part.to_owned()] }
}

/// The first part of a package, where a path is what `pack` was given as its output, or the list of its parts.
pub fn first_part(path: &Path) -> Option<PathBuf> {
    let list = path.extension().is_some_and(|extension| extension == "json")
        && path.with_extension("").extension().is_some_and(|inner| inner == "parts");
    let output = match list {
        true => path.with_extension("").with_extension(""),
        false => path.to_owned(),
    };
    Some(part_path(&output, 1)).filter(|first| (list || !path.exists()) && is_part(first))
}

/// The parts of a package in files of a folder.
pub struct PartsSource {
    /// In their order.
    parts: Vec<(PathBuf, PartHeader)>,
    current: Option<File>,
    /// The part that is read, and what is left of its content.
    at: usize,
    left: u64,
}

impl PartsSource {
    /// Looks at the headers of all parts, in whatever order they are given.
    ///
    /// # Errors
    /// A part that is missing, damaged, or another package's.
    pub fn open(paths: &[PathBuf]) -> Result<Self, PackagesError> {
        let mut parts = Vec::new();
        for path in paths {
            let (_, header) = header_of(path).map_err(|source| PackagesError::Source { path: path.clone(), source })?;
            let header = header.ok_or_else(|| PackagesError::NotAPart { path: path.clone() })?;
            parts.push((path.clone(), header));
        }
        parts.sort_by_key(|(_, header)| header.number);
        parts.dedup_by(|(_, one), (_, other)| one == other);
        let Some((_, first)) = parts.first() else { return Err(PackagesError::NotAPackage) };
        let (package, all) = (first.package.clone(), first.parts);
        if let Some((path, _)) = parts.iter().find(|(_, header)| header.package != package || header.parts != all) {
            return Err(PackagesError::OtherPart { path: path.clone() });
        }
        let missing: Vec<u64> =
            (1..=all).filter(|number| !parts.iter().any(|(_, header)| header.number == *number)).collect();
        if !missing.is_empty() {
            return Err(PackagesError::MissingParts { numbers: missing, parts: all });
        }
        if let Some(pair) = parts.windows(2).find(|pair| !pair[0].1.is_followed_by(&pair[1].1)) {
            return Err(PackagesError::OtherPart { path: pair[1].0.clone() });
        }
        for (path, header) in &parts {
            let length = std::fs::metadata(path).map(|part| part.len());
            let length = length.map_err(|source| PackagesError::Source { path: path.clone(), source })?;
            if length != header.bytes + HEADER_BYTES as u64 {
                return Err(PackagesError::DamagedParts { paths: vec![path.clone()] });
            }
        }
        Ok(Self { parts, current: None, at: 0, left: 0 })
    }

    /// The part that holds the next byte, open there; false behind the last one.
    fn advance(&mut self) -> io::Result<bool> {
        while self.left == 0 {
            let next = if self.current.is_some() { self.at + 1 } else { 0 };
            let Some((path, header)) = self.parts.get(next) else { return Ok(false) };
            let mut file = open_regular(path)?;
            file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
            (self.current, self.at, self.left) = (Some(file), next, header.bytes);
        }
        Ok(true)
    }
}

impl Read for PartsSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || !self.advance()? {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(file) = &mut self.current else { return Ok(0) };
        match file.read(&mut buffer[..most])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

impl PackageSource for PartsSource {
    fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            if !self.advance()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = bytes.min(self.left);
            if let Some(file) = &mut self.current {
                let step = i64::try_from(step).map_err(|_| io::ErrorKind::InvalidInput)?;
                file.seek(SeekFrom::Current(step))?;
            }
            self.left -= step;
            bytes -= step;
        }
        Ok(())
    }
}

/// The parts of a package one behind the other in a pipe (`cat FILE.0* | dpl unpack -`).
pub struct PartsStream<R> {
    inner: R,
    header: PartHeader,
    left: u64,
}

impl<R: Read> PartsStream<R> {
    /// Begins with the first header, which has been read.
    ///
    /// # Errors
    /// It is not that of a first part.
    pub fn new(inner: R, header: &[u8; HEADER_BYTES]) -> Result<Self, PackagesError> {
        let header = PartHeader::parse(header).ok_or(PackagesError::NotAPackage)?;
        match header.number {
            1 => Ok(Self { inner, left: header.bytes, header }),
            number => {
                let numbers = (1..number).collect();
                Err(PackagesError::MissingParts { numbers, parts: header.parts })
            }
        }
    }
}

impl<R: Read> Read for PartsStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if self.header.number == self.header.parts {
                return self.inner.read(&mut buffer[..1]);
            }
            let mut block = [0; HEADER_BYTES];
            self.inner.read_exact(&mut block)?;
            let next = PartHeader::parse(&block).filter(|next| self.header.is_followed_by(next));
            let wanted = self.header.number + 1;
            let next = next.ok_or_else(|| {
                crate::catalogue::io_error(io::ErrorKind::InvalidData, message!("parts-not-next", number = wanted))
            })?;
            (self.left, self.header) = (next.bytes, next);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        match self.inner.read(&mut buffer[..most])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

impl<R: Read + Send> PackageSource for PartsStream<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match io::copy(&mut self.take(bytes), &mut io::sink())? {
            passed if passed == bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Those of the parts that are not what `FILE.parts.json` beside them says; none where there is no such list. Reads all of them.
pub fn damaged_parts(paths: &[PathBuf]) -> Vec<PathBuf> {
    let Some(list) = paths.first().and_then(|path| PartsList::read(&path.with_extension(""))) else {
        return Vec::new();
    };
    let is_damaged = |path: &&PathBuf| {
        let listed = list.parts.iter().find(|part| path.file_name().is_some_and(|name| *name == *part.file));
        listed.is_some_and(|part| !hash_file(path).is_ok_and(|(digest, _)| digest == part.digest))
    };
    paths.iter().filter(is_damaged).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::header::LEAST_PART;
    use super::super::writer::PartsOutput;
    use super::*;
    use crate::fs::{Digest, Mode};

    fn parts(folder: &Path, name: &str, content: &[u8]) -> Vec<PathBuf> {
        let of = (Digest::of(name.as_bytes()), content.len() as u64);
        let mut out =
            PartsOutput::new((folder.join(name).as_path(), Mode::Shared, ".x-"), of, LEAST_PART, None).unwrap();
        out.write_all(content).unwrap();
        out.commit("2026-01-01T00:00:00Z", None).unwrap().into_iter().map(|(path, _)| path).collect()
    }

    fn content() -> Vec<u8> {
        (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn read(paths: &[PathBuf]) -> Result<Vec<u8>, PackagesError> {
        let mut all = Vec::new();
        PartsSource::open(paths)?.read_to_end(&mut all).map_err(PackagesError::Read)?;
        Ok(all)
    }

    #[test]
    fn parts_read_back_in_any_order_from_files_and_in_order_from_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let paths = parts(folder.path(), "x.tar", &content());
        assert_eq!(paths.len(), 13);
        assert!(paths.iter().all(|path| std::fs::metadata(path).unwrap().len() <= LEAST_PART));
        let mut mixed = paths.clone();
        mixed.reverse();
        assert!(read(&mixed).unwrap() == content() && parts_beside(&paths[3]) == paths);
        let mut source = PartsSource::open(&paths).unwrap();
        source.skip(100_003).unwrap();
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).unwrap();
        assert!(rest == content()[100_003..]);
        let piped: Vec<u8> = paths.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
        let mut stream = PartsStream::new(&piped[HEADER_BYTES..], piped[..HEADER_BYTES].try_into().unwrap()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all == content());
    }

    #[test]
    fn a_part_that_is_missing_damaged_or_anothers_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = parts(folder.path(), "x.tar", &content());
        let without: Vec<PathBuf> = paths.iter().filter(|path| !path.ends_with("x.tar.003")).cloned().collect();
        let missing = read(&without);
        assert!(
            matches!(missing, Err(PackagesError::MissingParts { ref numbers, .. }) if numbers == &[3]),
            "{missing:?}"
        );
        let others = parts(folder.path(), "y.tar", &content());
        let mixed: Vec<PathBuf> = paths[..2].iter().chain(&others[2..]).cloned().collect();
        assert!(matches!(read(&mixed), Err(PackagesError::OtherPart { .. })));
        let mut part = std::fs::read(&paths[4]).unwrap();
        part[1000] ^= 1;
        std::fs::write(&paths[4], &part).unwrap();
        assert_eq!(damaged_parts(&paths), [paths[4].clone()]);
        std::fs::write(&paths[4], &part[..5000]).unwrap();
        let cut = read(&paths);
        assert!(
            matches!(cut, Err(PackagesError::DamagedParts { ref paths }) if paths[0].ends_with("x.tar.005")),
            "{cut:?}"
        );
        // One part alone, made again.
        let of = (Digest::of(b"x.tar"), content().len() as u64);
        let output = folder.path().join("x.tar");
        let mut out = PartsOutput::new((output.as_path(), Mode::Shared, ".x-"), of, LEAST_PART, Some(5)).unwrap();
        out.write_all(&content()).unwrap();
        assert_eq!(out.commit("", None).unwrap(), [(paths[4].clone(), LEAST_PART)]);
        assert!(damaged_parts(&paths).is_empty() && read(&paths).unwrap() == content());
    }
}
