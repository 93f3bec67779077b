//! pg_dump's archives as a stream: a tar whose members are the files of a directory archive, not compressed.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// The first member.
pub(in crate::databases) const TABLE_OF_CONTENTS: &str = "toc.dat";

/// The size of a tar block (POSIX, pax "ustar Interchange Format").
pub(in crate::databases) const BLOCK: usize = 512;

/// Pieces that arrive, as a reader; for threads that may wait.
pub(in crate::databases) struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Incoming {
    pub fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, current: Bytes::new() }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(bytes) => self.current = bytes,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// The head of a plain file in a tar that pg_restore reads, and so does everybody.
pub(in crate::databases) fn head(name: &str, bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    // Names of an archive's files are short.
    let length = name.len().min(99);
    header.as_mut_bytes()[..length].copy_from_slice(&name.as_bytes()[..length]);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(bytes);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// How much stands behind a member, so that the next one begins with a block.
pub(in crate::databases) fn padding(bytes: u64) -> usize {
    (bytes.next_multiple_of(BLOCK as u64) - bytes) as usize
}

pub(in crate::databases) fn append(tar: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    tar.extend_from_slice(head(name, bytes.len() as u64).as_bytes());
    tar.extend_from_slice(bytes);
    tar.resize(tar.len() + padding(bytes.len() as u64), 0);
}

/// A whole tar with one member.
pub(in crate::databases) fn of_one(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    append(&mut tar, name, bytes);
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// Fills a buffer as far as there is something.
pub(in crate::databases) fn fill(from: &mut (impl Read + ?Sized), into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
