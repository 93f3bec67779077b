//! How layers and archives are compressed, and the readers and writers for it.
//!
//! What a file is, its first bytes say; names and media types are only hints.

use std::io::{self, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;

use crate::images::formats::gzip::ParallelGzip;

/// A layer's or an archive's compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    Zstd,
    Gzip,
    None,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd's skippable frames: `pzstd` and seekable archives begin with one (RFC 8878, "Skippable Frames").
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// How many bytes [`Compression::of`] wants to see.
pub const MAGIC_BYTES: usize = 4;

impl Compression {
    /// What the first bytes of a file say.
    pub fn of(first: &[u8]) -> Self {
        if first.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if first.starts_with(&ZSTD_MAGIC)
            || (first.len() >= 4 && first[0] >> 4 == 5 && first[1..4] == ZSTD_SKIPPABLE)
        {
            Self::Zstd
        } else {
            Self::None
        }
    }

    /// The media type of a layer that is compressed so (image-spec, "Layer Media Types").
    pub fn layer_type(self) -> &'static str {
        match self {
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::None => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// What a file's name ends in.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::None => "",
        }
    }
}

/// For layers of 1.3 GB level 3 takes 1.7 times level 2's processor time, and makes 5 % fewer bytes of them.
const ZSTD_LEVEL: i32 = 2;
/// gzip's own.
const GZIP_LEVEL: i32 = 6;

/// How to compress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompressionOptions {
    pub compression: Compression,
    /// The compressor's own scale; 2 for zstd and 6 for gzip where `None`.
    pub level: Option<i32>,
    /// Threads that compress; as many as there are cores, up to 8, where `None`.
    pub threads: Option<u32>,
}

impl From<Compression> for CompressionOptions {
    fn from(compression: Compression) -> Self {
        Self { compression, ..Self::default() }
    }
}

impl CompressionOptions {
    pub fn thread_count(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32).min(8);
        self.threads.filter(|threads| *threads > 0).unwrap_or_else(cores)
    }
}

/// Reads a file's uncompressed bytes, all members and frames of it. A zstd window above 128 MiB is refused by zstd
/// itself, which says so.
pub enum PlainReader<R: Read> {
    None(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
}

const READ_BUFFER_BYTES: usize = 64 * 1024;

impl<R: Read> PlainReader<io::Chain<io::Cursor<Vec<u8>>, R>> {
    /// As what the first bytes show it to be, and which that is.
    pub fn sniff(mut reader: R) -> io::Result<(Self, Compression)> {
        let mut first = Vec::with_capacity(MAGIC_BYTES);
        (&mut reader).take(MAGIC_BYTES as u64).read_to_end(&mut first)?;
        let compression = Compression::of(&first);
        Ok((Self::new(io::Cursor::new(first).chain(reader), compression)?, compression))
    }
}

impl<R: Read> PlainReader<R> {
    pub fn new(reader: R, compression: Compression) -> io::Result<Self> {
        let buffered = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
        Ok(match compression {
            Compression::None => Self::None(buffered),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(buffered))),
            Compression::Zstd => Self::Zstd(zstd::stream::read::Decoder::with_buffer(buffered)?),
        })
    }

    /// The reader beneath; bytes that were read ahead of the decoder are lost.
    pub fn into_inner(self) -> R {
        match self {
            Self::None(reader) => reader.into_inner(),
            Self::Gzip(decoder) => decoder.into_inner().into_inner(),
            Self::Zstd(decoder) => decoder.finish().into_inner(),
        }
    }
}

impl<R: Read> Read for PlainReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(reader) => reader.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Compresses what is written into it.
pub enum Encoder<W: Write> {
    None(W),
    Gzip(Box<ParallelGzip<W>>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

/// zstd cuts its input into jobs for its threads, and holds two or three of them for each. Jobs of this size, the least
/// that it takes, keep the memory small and cost about a percent of the ratio.
const ZSTD_JOB_BYTES: u32 = 512 << 10;

/// So many threads of one level as have room in some 40 MiB: the tables of the higher levels are large, and each
/// thread has its own.
fn zstd_threads(threads: u32, level: i32) -> u32 {
    let most = match level {
        ..=4 => 8,
        5..=7 => 3,
        _ => 1,
    };
    threads.min(most)
}

impl<W: Write> Encoder<W> {
    pub fn new(writer: W, options: &CompressionOptions) -> io::Result<Self> {
        Ok(match options.compression {
            Compression::None => Self::None(writer),
            Compression::Gzip => {
                let level = options.level.unwrap_or(GZIP_LEVEL);
                Self::Gzip(Box::new(ParallelGzip::new(writer, level, options.thread_count())?))
            }
            Compression::Zstd => {
                let level = options.level.unwrap_or(ZSTD_LEVEL);
                let mut encoder = zstd::stream::write::Encoder::new(writer, level)?;
                encoder.include_checksum(true)?;
                let threads = zstd_threads(options.thread_count(), level);
                if threads > 1 {
                    encoder.multithread(threads)?;
                    encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB_BYTES))?;
                }
                Self::Zstd(encoder)
            }
        })
    }

    /// As [`Encoder::new`] for exactly `size_bytes` bytes, which the frame's header then says.
    pub fn with_size(writer: W, options: &CompressionOptions, size_bytes: u64) -> io::Result<Self> {
        let mut encoder = Self::new(writer, options)?;
        if let Self::Zstd(encoder) = &mut encoder {
            encoder.set_pledged_src_size(Some(size_bytes))?;
        }
        Ok(encoder)
    }

    /// Writes the trailer and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(writer) => Ok(writer),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(writer) => writer.write(buffer),
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(writer) => writer.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let options = CompressionOptions { compression, level: None, threads: Some(2) };
        let mut encoder = Encoder::new(Vec::new(), &options).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        PlainReader::new(bytes, Compression::of(bytes))?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let bytes: Vec<u8> = (0..5_000_000u32).map(|number| (number / 7) as u8).collect();
        for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
            let packed = compressed(&bytes, compression);
            assert_eq!(Compression::of(&packed), compression);
            assert!(plain(&packed).unwrap() == bytes);
        }
    }

    #[test]
    fn several_members_read_as_one_file() {
        for compression in [Compression::Zstd, Compression::Gzip] {
            let both = [compressed(b"one ", compression), compressed(b"two", compression)].concat();
            assert_eq!(plain(&both).unwrap(), b"one two");
        }
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        for compression in [Compression::Zstd, Compression::Gzip] {
            let packed = compressed(b"some bytes that are cut off", compression);
            assert!(plain(&packed[..packed.len() - 3]).is_err());
        }
    }
}
