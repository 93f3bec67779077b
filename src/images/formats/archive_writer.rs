//! Writing a tar archive of images, file by file: what goes to an engine, and what `images export` writes.

use std::io::{self, Read, Write};

use serde_json::{Value, json};

use crate::fs::{Digest, Hasher};
use crate::images::formats::documents::{Descriptor, INDEX_TYPE};
use crate::images::formats::tar_reader::{END_MARK, file_header, padding};
use crate::images::pipes::CHUNK_BYTES;

/// An archive while it is written.
pub struct ArchiveWriter<W: Write> {
    out: W,
    written_bytes: u64,
}

/// Why a layer did not get through.
#[derive(Debug)]
pub enum LayerFailure {
    /// The archive can't be written.
    Write(io::Error),
    /// The observer asked to stop.
    Stopped,
    /// The layer can't be read.
    Read(io::Error),
    /// It is longer or shorter than said, or is another layer.
    Differs,
}

/// Of a layer in an archive.
pub struct LayerEntry<'a> {
    pub path: &'a str,
    pub diff_id: &'a Digest,
    /// Uncompressed: the header says it before the first byte.
    pub size_bytes: u64,
}

impl<W: Write> ArchiveWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, written_bytes: 0 }
    }

    /// A whole file.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(&file_header(path, bytes.len() as u64))?;
        self.put(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// A layer's uncompressed bytes, compared with its diff ID and size. `goes_on` hears of each piece, and says whether to
    /// go on.
    pub fn layer(
        &mut self,
        layer: &LayerEntry<'_>,
        plain: &mut impl Read,
        mut goes_on: impl FnMut(u64) -> bool,
    ) -> Result<(), LayerFailure> {
        self.put(&file_header(layer.path, layer.size_bytes)).map_err(LayerFailure::Write)?;
        let mut hasher = Hasher::new();
        let mut left = layer.size_bytes;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = match plain.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LayerFailure::Read(error)),
            };
            left = left.checked_sub(read as u64).ok_or(LayerFailure::Differs)?;
            hasher.update(&buffer[..read]);
            self.put(&buffer[..read]).map_err(LayerFailure::Write)?;
            if !goes_on(read as u64) {
                return Err(LayerFailure::Stopped);
            }
        }
        if left != 0 || hasher.finish() != *layer.diff_id {
            return Err(LayerFailure::Differs);
        }
        self.pad(layer.size_bytes).map_err(LayerFailure::Write)
    }

    /// Lets what was written so far go out.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the archive; gives what it was written to, and how many bytes it has.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.put(&END_MARK)?;
        Ok((self.out, self.written_bytes))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.put(&[0; 512][..padding(size) as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Where a layout keeps a blob.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// An entry of `manifest.json` (moby, `image/tarexport`).
pub fn manifest_item(config: &str, names: Option<Vec<String>>, layers: &[String]) -> Value {
    json!({"Config": config, "RepoTags": names, "Layers": layers})
}

pub fn manifest_json(items: &[Value]) -> Vec<u8> {
    serde_json::to_vec(items).expect("JSON values always serialise")
}

pub fn index_json(manifests: &[Descriptor]) -> Vec<u8> {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests});
    serde_json::to_vec(&index).expect("JSON values always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(content: &[u8], diff_id: &[u8], size_bytes: u64, goes_on: bool) -> Result<Vec<u8>, LayerFailure> {
        let diff_id = Digest::of(diff_id);
        let mut archive = ArchiveWriter::new(Vec::new());
        let entry = LayerEntry { path: "l/layer.tar", diff_id: &diff_id, size_bytes };
        archive.layer(&entry, &mut &content[..], |_| goes_on)?;
        Ok(archive.finish().unwrap().0)
    }

    #[test]
    fn what_is_written_reads_as_a_tar_archive() {
        let content = vec![7; 1000];
        let bytes = layer(&content, &content, 1000, true).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut read = Vec::new();
        archive.entries().unwrap().next().unwrap().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, content);
        assert_eq!(bytes.len(), 512 + 1024 + END_MARK.len());
    }

    #[test]
    fn a_layer_that_differs_or_is_stopped_never_gets_through() {
        let content = [7; 1000];
        for (diff_id, size) in [(&b"another"[..], 1000), (&content, 999), (&content, 1001)] {
            assert!(matches!(layer(&content, diff_id, size, true), Err(LayerFailure::Differs)), "{size}");
        }
        assert!(matches!(layer(&content, &content, 1000, false), Err(LayerFailure::Stopped)));
    }
}
