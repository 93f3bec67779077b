//! Small files of our own in the store's own folder: what is known of layers and archives, a saving of time.
//!
//! Each ends with the digest of what stands before it. One that is damaged, or is no such file, is not there: what it
//! would have said is found out again.

use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fs::{Digest, Mode, open_regular, write_durably};

/// What is known of a thousand archives takes less.
const LIMIT_BYTES: u64 = 8 << 20;

/// Writes a document with its digest.
pub fn write_sidecar(path: &Path, document: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(document).map_err(io::Error::other)?;
    let digest = Digest::of(&bytes);
    bytes.extend(format!("\n{digest}\n").into_bytes());
    write_durably(path, &bytes, Mode::Shared)
}

/// Reads what [`write_sidecar`] wrote; `None` for anything else.
pub fn read_sidecar<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    open_regular(path).ok()?.take(LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    let text = bytes.strip_suffix(b"\n")?;
    let (document, digest) = text.split_at(text.iter().rposition(|byte| *byte == b'\n')?);
    let digest: Digest = std::str::from_utf8(&digest[1..]).ok()?.parse().ok()?;
    if Digest::of(document) == digest { serde_json::from_slice(document).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_makes_it_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        write_sidecar(&path, &["what", "is", "known"]).unwrap();
        assert_eq!(read_sidecar::<Vec<String>>(&path).unwrap().len(), 3);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(read_sidecar::<Vec<String>>(&path), None, "bit {bit}");
        }
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(read_sidecar::<Vec<String>>(&path), None, "cut at {end}");
        }
    }
}
