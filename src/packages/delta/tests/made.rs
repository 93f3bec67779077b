//! Tars and their content, made for tests.

use crate::fs::Digest;
use crate::packages::delta::BaseLayer;

/// A base in memory.
pub(super) struct Made {
    diff_id: Digest,
    bytes: Vec<u8>,
}

impl Made {
    pub fn of(bytes: &[u8]) -> Self {
        Self { diff_id: Digest::of(bytes), bytes: bytes.to_vec() }
    }

    pub fn layer(&self) -> BaseLayer<'_> {
        BaseLayer { diff_id: &self.diff_id, size: self.bytes.len() as u64, tar: &self.bytes }
    }
}

/// Bytes that don't compress.
pub(super) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// An entry of any kind: header, content, padding.
pub(super) fn entry(kind: u8, name: &str, link: &str, time: u64, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, format!("{time:011o}\0").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link.as_bytes()[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; content.len().wrapping_neg() % 512];
    [header.as_slice(), content, &padding].concat()
}

pub(super) fn file(name: &str, time: u64, content: &[u8]) -> Vec<u8> {
    entry(b'0', name, "", time, content)
}

/// The entries and the end mark.
pub(super) fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}
