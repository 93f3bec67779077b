//! The tar stream of an archive: one file, several parts of one, or standard input; packed or not.
//!
//! What the first bytes show counts, never the file's name.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bzip2::bufread::MultiBzDecoder;
use liblzma::bufread::XzDecoder;

use crate::catalogue::io_error;
use crate::fs::open_regular;
use crate::images::formats::compression::{Compression, MAGIC_BYTES, PlainReader};
use crate::images::formats::gzip::GzipMembers;
use crate::images::formats::tar_reader::{Seekable, Streamed, TarSource};
use crate::report::Meter;

/// An archive's tar stream.
pub enum OpenArchive {
    /// Layers that nobody wants are jumped over.
    Raw(Seekable<File>),
    Packed(Streamed<Box<dyn Read + Send>>),
}

/// `xz -9` needs 65 MiB to unpack; a file that asks for more than this is refused by the library, which says so.
const XZ_MEMORY_BYTES: u64 = 128 << 20;
const XZ_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2_MAGIC: [u8; 3] = *b"BZh";
const LONGEST_MAGIC_BYTES: usize = XZ_MAGIC.len();

/// Opens an archive as what its first bytes show it to be.
pub fn open(path: &Path) -> io::Result<OpenArchive> {
    open_watched(path, None)
}

/// As [`open`], and tells by `meter` how far a packed archive has been read; one that is asked to stop ends with an error.
pub fn open_watched(path: &Path, meter: Option<Meter>) -> io::Result<OpenArchive> {
    let mut file = open_regular(path)?;
    let first = first_bytes(&mut file)?;
    io::Seek::rewind(&mut file)?;
    if is_plain(&first) {
        return Ok(OpenArchive::Raw(Seekable(file)));
    }
    Ok(OpenArchive::Packed(match meter {
        Some(meter) => Streamed(unpacked(Watched { inner: file, meter }, &first)?),
        None => Streamed(unpacked(file, &first)?),
    }))
}

/// Opens what can only be read once, from its beginning to its end: a pipe, or several parts in their order.
pub fn open_stream(mut stream: impl Read + Send + 'static) -> io::Result<OpenArchive> {
    let first = first_bytes(&mut stream)?;
    Ok(OpenArchive::Packed(Streamed(unpacked(io::Cursor::new(first.clone()).chain(stream), &first)?)))
}

/// Several files that are the parts of one.
pub fn open_parts(parts: &[PathBuf]) -> io::Result<OpenArchive> {
    open_stream(Parts { left: parts.iter().rev().cloned().collect(), current: None })
}

fn first_bytes(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(LONGEST_MAGIC_BYTES);
    reader.take(LONGEST_MAGIC_BYTES as u64).read_to_end(&mut first)?;
    Ok(first)
}

fn is_plain(first: &[u8]) -> bool {
    let magic = &first[..first.len().min(MAGIC_BYTES)];
    Compression::of(magic) == Compression::None && !first.starts_with(&XZ_MAGIC) && !first.starts_with(&BZIP2_MAGIC)
}

fn unpacked(reader: impl Read + Send + 'static, first: &[u8]) -> io::Result<Box<dyn Read + Send>> {
    if first.starts_with(&XZ_MAGIC) {
        let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED)?;
        return Ok(Box::new(XzDecoder::new_stream(BufReader::new(reader), stream)));
    }
    if first.starts_with(&BZIP2_MAGIC) {
        return Ok(Box::new(MultiBzDecoder::new(BufReader::new(reader))));
    }
    match Compression::of(&first[..first.len().min(MAGIC_BYTES)]) {
        Compression::Gzip => Ok(Box::new(GzipMembers::new(BufReader::new(reader)))),
        compression => Ok(Box::new(PlainReader::new(reader, compression)?)),
    }
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

/// Reads one file after the other.
struct Parts {
    /// The next one last.
    left: Vec<PathBuf>,
    current: Option<File>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.current {
                match file.read(buffer)? {
                    0 if !buffer.is_empty() => self.current = None,
                    read => return Ok(read),
                }
            }
            let Some(path) = self.left.pop() else {
                return Ok(0);
            };
            let file = open_regular(&path);
            self.current = Some(file.map_err(|error| {
                let why = error.to_string();
                io_error(error.kind(), message!("error-part-unread", path = path.display(), why = why))
            })?);
        }
    }
}

/// Reads a packed file, and tells how far.
struct Watched<R> {
    inner: R,
    meter: Meter,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.meter.over(&mut self.inner).read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(archive: io::Result<OpenArchive>) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn xz_and_bzip2_are_unpacked_all_members_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        let xz = |bytes: &[u8]| {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        std::fs::write(&path, [xz(b"one "), xz(b"two")].concat()).unwrap();
        assert_eq!(read(open(&path)), b"one two");
        let bzip2 = |bytes: &[u8]| {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        std::fs::write(&path, [bzip2(b"one "), bzip2(b"two")].concat()).unwrap();
        assert_eq!(read(open(&path)), b"one two");
    }

    #[test]
    fn what_follows_gzips_members_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.gz");
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let both = [gzip(b"one "), gzip(b"two")].concat();
        for rest in [&[0; 70_000][..], b"", b"a signature", b"\0\0\x1f\x8b"] {
            std::fs::write(&path, [&both, rest].concat()).unwrap();
            assert_eq!(read(open(&path)), b"one two");
        }
        // What begins like a member is one; what is cut off is cut off.
        for broken in [[&both[..], b"\x1f\x8b"].concat(), both[..both.len() - 3].to_vec()] {
            std::fs::write(&path, broken).unwrap();
            assert!(open(&path).unwrap().read_to_end(&mut Vec::new()).is_err());
        }
    }

    #[test]
    fn parts_read_as_one_file_wherever_they_were_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"some bytes in several parts").unwrap();
        let packed = encoder.finish().unwrap();
        for cut in [1, 5, packed.len() - 1] {
            let parts: Vec<PathBuf> = ["001", "002", "003"].iter().map(|end| folder.path().join(end)).collect();
            std::fs::write(&parts[0], &packed[..cut]).unwrap();
            std::fs::write(&parts[1], b"").unwrap();
            std::fs::write(&parts[2], &packed[cut..]).unwrap();
            assert_eq!(read(open_parts(&parts)), b"some bytes in several parts");
        }
        let gone = [folder.path().join("gone")];
        assert!(open_parts(&gone).err().unwrap().to_string().contains("gone"));
    }
}
