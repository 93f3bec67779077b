//! SHA-256 digests in the one spelling that may become part of a path.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::catalogue::told;
use crate::report::{Message, Told};

/// A digest `sha256:` and 64 lower-case hex digits (OCI image-spec, "Digests"); nothing else parses, so that it
/// can't lead out of a folder when it becomes part of a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    hex: String,
}

/// The text is not `sha256:<64 hex digits>`.
#[derive(Debug, thiserror::Error)]
pub struct InvalidDigest {
    text: String,
}

impl Told for InvalidDigest {
    fn message(&self) -> Message {
        message!("error-digest", text = self.text)
    }
}

told!(InvalidDigest);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of a document as compact JSON.
    ///
    /// # Errors
    /// As serialising it.
    pub fn of_json(document: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::to_vec(document).map(|bytes| Self::of(&bytes))
    }

    /// The 64 hex digits alone.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first 12 hex digits, as the Docker CLI shows an ID.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self { hex: hex.to_owned() })
            }
            _ => Err(InvalidDigest { text: text.chars().take(100).collect() }),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex)
    }
}

/// A running SHA-256.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Digest {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in self.0.finalize() {
            write!(hex, "{byte:02x}").expect("writing to a String can't fail");
        }
        Digest { hex }
    }
}

/// Passes bytes on and hashes and counts them on the way.
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new(), bytes: 0 }
    }

    /// The writer beneath, the digest of all that was written, and how many bytes that were.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.bytes)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes and counts the bytes that are read through it.
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> HashingReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new(), bytes: 0 }
    }

    /// The reader beneath, the digest of all that was read, and how many bytes that were.
    pub fn finish(self) -> (R, Digest, u64) {
        (self.inner, self.hasher.finish(), self.bytes)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

/// The digest and size in bytes of a regular file.
pub fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut reader = HashingReader::new(super::open_regular(path)?);
    io::copy(&mut reader, &mut io::sink())?;
    let (_, digest, bytes) = reader.finish();
    Ok((digest, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap().short(), "e3b0c44298fc");
    }

    #[test]
    fn only_lower_case_sha256_of_full_length_parses() {
        for text in ["", "sha256:", "sha512:00", "sha256:../../etc/passwd", &EMPTY.to_uppercase(), &EMPTY[..70]] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pipe_in_place_of_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(hash_file(&pipe).is_err());
        std::fs::write(folder.path().join("file"), b"").unwrap();
        assert_eq!(hash_file(&folder.path().join("file")).unwrap(), (Digest::of(b""), 0));
    }

    #[test]
    fn writer_and_reader_agree_on_digest_and_count() {
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"layer").unwrap();
        let (bytes, written, count) = writer.finish();
        let mut reader = HashingReader::new(bytes.as_slice());
        io::copy(&mut reader, &mut io::sink()).unwrap();
        let (_, read, read_count) = reader.finish();
        assert_eq!((written, count), (read, read_count));
    }
}
