//! Archives for the tests of this module.

use crate::fs::Digest;
use crate::images::formats::tar_reader::{END_MARK, file_header, padding};

pub fn entry(archive: &mut Vec<u8>, path: &str, content: &[u8]) {
    archive.extend(file_header(path, content.len() as u64));
    archive.extend(content);
    archive.extend(vec![0; padding(content.len() as u64) as usize]);
}

/// What `docker save` writes of an image with one layer, whose content is `word`.
pub fn archive_of(name: &str, word: &str) -> Vec<u8> {
    archive_for("amd64", &[name], word)
}

/// As [`archive_of`] for another architecture, with any number of names.
pub fn archive_for(architecture: &str, names: &[&str], word: &str) -> Vec<u8> {
    let mut layer = Vec::new();
    entry(&mut layer, "file", word.as_bytes());
    layer.extend(END_MARK);
    let config =
        serde_json::json!({"os": "linux", "architecture": architecture, "rootfs": {"diff_ids": [Digest::of(&layer)]}});
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": names, "Layers": ["l/layer.tar"]}]);
    let mut archive = Vec::new();
    entry(&mut archive, "l/layer.tar", &layer);
    entry(&mut archive, "c.json", &serde_json::to_vec(&config).unwrap());
    entry(&mut archive, "manifest.json", &serde_json::to_vec(&manifest).unwrap());
    archive.extend(END_MARK);
    archive
}
