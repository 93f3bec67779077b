//! Reading a package: its index, its signature, then its entries in the order of the index.
//!
//! There is one way in which a package can be written, so nothing is interpreted: each header must be, byte for byte, the one that
//! the index leads to.

use std::io::{self, Read};

use super::index::{Entry, INDEX_NAME, LARGEST_INDEX, PackageIndex, SEAL_NAME, SIGNATURE_NAME, seal_of};
use super::source::PackageSource;
use crate::fs::Digest;
use crate::images::archive::{BLOCK_BYTES, END_MARK, file_header, padding};
use crate::packages::PackagesError;

/// A signature has four short lines.
const LARGEST_SIGNATURE: u64 = 4096;

/// A package that is being read.
pub struct PackageReader {
    source: Box<dyn PackageSource>,
    pub index: PackageIndex,
    /// As it lies in the archive.
    pub index_bytes: Vec<u8>,
    pub signature: Option<Vec<u8>>,
    /// The header that was read already.
    pending: Option<Block>,
    /// How many entries have been begun.
    begun: usize,
    /// What is still to be read of the present entry, and behind it.
    left: u64,
    padding: u64,
}

type Block = [u8; BLOCK_BYTES];

impl PackageReader {
    /// Reads index and signature; neither the signature nor what the index says has been proved.
    ///
    /// # Errors
    /// What is not a package, or one that can't be understood.
    pub fn open(mut source: Box<dyn PackageSource>) -> Result<Self, PackagesError> {
        let mut block = [0; BLOCK_BYTES];
        source.read_exact(&mut block).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => PackagesError::NotAPackage,
            _ => PackagesError::Read(error),
        })?;
        let bytes =
            said_size(&block).filter(|bytes| *bytes <= LARGEST_INDEX && block == file_header(INDEX_NAME, *bytes));
        let index_bytes = read_small(&mut *source, bytes.ok_or(PackagesError::NotAPackage)?)?;
        let seal = seal_of(&index_bytes);
        source.read_exact(&mut block).map_err(cut_off)?;
        let is_sealed = block == file_header(SEAL_NAME, seal.len() as u64)
            && read_small(&mut *source, seal.len() as u64)? == seal.as_bytes();
        if !is_sealed {
            return Err(PackagesError::Damaged { why: message!("package-seal") });
        }
        let index = PackageIndex::parse(&index_bytes)?;
        source.read_exact(&mut block).map_err(cut_off)?;
        let (mut signature, mut pending) = (None, None);
        match said_size(&block).filter(|bytes| block == file_header(SIGNATURE_NAME, *bytes)) {
            Some(bytes) if bytes <= LARGEST_SIGNATURE => signature = Some(read_small(&mut *source, bytes)?),
            Some(_) => return Err(PackagesError::Damaged { why: message!("package-signature-large") }),
            None => pending = Some(block),
        }
        Ok(Self { source, index, index_bytes, signature, pending, begun: 0, left: 0, padding: 0 })
    }

    /// The digest of the index: the package's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.index_bytes)
    }

    /// The entry whose header comes next.
    pub fn upcoming(&self) -> Option<&Entry> {
        self.index.entries.get(self.begun)
    }

    /// Begins the next entry; `None` behind the last one, where the archive must end.
    ///
    /// # Errors
    /// An archive that is not what its index says.
    pub fn begin(&mut self) -> Result<Option<Entry>, PackagesError> {
        self.pass(self.left + self.padding)?;
        (self.left, self.padding) = (0, 0);
        let block = match self.pending.take() {
            Some(block) => block,
            None => {
                let mut block = [0; BLOCK_BYTES];
                self.source.read_exact(&mut block).map_err(cut_off)?;
                block
            }
        };
        let Some(entry) = self.upcoming().cloned() else {
            let mut second = [0; END_MARK.len() - BLOCK_BYTES];
            self.source.read_exact(&mut second).map_err(cut_off)?;
            let mut more = [0; 1];
            let is_end = [&block[..], &second].concat() == END_MARK;
            return match is_end && self.source.read(&mut more).map_err(PackagesError::Read)? == 0 {
                true => Ok(None),
                false => Err(PackagesError::Damaged { why: message!("package-no-end") }),
            };
        };
        if block != file_header(&entry.name, entry.bytes) {
            return Err(PackagesError::Damaged { why: message!("package-header", name = &entry.name) });
        }
        self.begun += 1;
        (self.left, self.padding) = (entry.bytes, padding(entry.bytes));
        Ok(Some(entry))
    }

    /// Passes over bytes of the present entry.
    pub fn skip(&mut self, bytes: u64) -> Result<(), PackagesError> {
        let bytes = bytes.min(self.left);
        self.pass(bytes)?;
        self.left -= bytes;
        Ok(())
    }

    /// More of the present entry; nothing at its end.
    ///
    /// # Errors
    /// The archive can't be read, or ends.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PackagesError> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        loop {
            match self.source.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(PackagesError::CutOff),
                Ok(read) => {
                    self.left -= read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cut_off(error)),
            }
        }
    }

    fn pass(&mut self, bytes: u64) -> Result<(), PackagesError> {
        match bytes {
            0 => Ok(()),
            bytes => self.source.skip(bytes).map_err(cut_off),
        }
    }
}

fn cut_off(error: io::Error) -> PackagesError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PackagesError::CutOff,
        _ => PackagesError::Read(error),
    }
}

/// The size that a header says, in the one form of small sizes.
fn said_size(block: &Block) -> Option<u64> {
    let field = &block[124..136];
    let digits = std::str::from_utf8(field).ok()?.trim_end_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).ok()
}

fn read_small(source: &mut dyn PackageSource, bytes: u64) -> Result<Vec<u8>, PackagesError> {
    let mut read = Vec::new();
    source.take(bytes).read_to_end(&mut read).map_err(cut_off)?;
    if read.len() as u64 != bytes {
        return Err(PackagesError::CutOff);
    }
    source.skip(padding(bytes)).map_err(cut_off)?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::sample;
    use super::super::source::StreamSource;
    use super::super::writer::{EntrySource, PackageWriter};
    use super::*;
    use crate::report::Reporter;

    const CONTENT: [&str; 5] = ["{}", "layer", "config", "manifest", "dump"];

    fn written(signature: Option<&[u8]>) -> Vec<u8> {
        let index = sample();
        let mut writer = PackageWriter::begin(Vec::new(), &index.to_bytes(), signature).unwrap();
        for (entry, content) in index.entries.iter().zip(CONTENT) {
            let source = EntrySource::Bytes(content.as_bytes().to_vec());
            writer.entry(entry, &source, &mut |_| !Reporter::default().asked_to_stop()).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<String>, PackagesError> {
        let mut reader = PackageReader::open(Box::new(StreamSource(io::Cursor::new(bytes))))?;
        let mut all = Vec::new();
        while let Some(entry) = reader.begin()? {
            let mut content = Vec::new();
            let mut buffer = [0; 3];
            loop {
                match reader.read(&mut buffer)? {
                    0 => break,
                    read => content.extend_from_slice(&buffer[..read]),
                }
            }
            // As the receiving side does.
            if Digest::of(&content) != entry.digest {
                return Err(PackagesError::Damaged { why: message!("package-header", name = entry.name) });
            }
            all.push(String::from_utf8(content).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn a_package_reads_back_and_is_a_tar_archive_of_others() {
        for signature in [None, Some(&b"signature"[..])] {
            let bytes = written(signature);
            assert_eq!(read(bytes.clone()).unwrap(), CONTENT);
            let mut archive = tar::Archive::new(bytes.as_slice());
            let names: Vec<String> =
                archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
            assert_eq!(names[0], INDEX_NAME);
            assert_eq!(names.len(), 7 + usize::from(signature.is_some()));
            let reader = PackageReader::open(Box::new(StreamSource(io::Cursor::new(bytes)))).unwrap();
            assert_eq!(reader.signature.as_deref(), signature);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_headers_and_content_is_found() {
        let whole = written(None);
        for end in (0..whole.len()).step_by(7) {
            assert!(read(whole[..end].to_vec()).is_err(), "cut at {end}");
        }
        for bit in (0..whole.len() * 8).step_by(29) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(content) = read(flipped) {
                assert_eq!(content, CONTENT, "bit {bit}");
                assert_eq!(whole[bit / 8], 0, "bit {bit}: what is passed over is padding alone");
            }
        }
        let mut more = whole;
        more.push(0);
        assert!(read(more).is_err());
    }
}
