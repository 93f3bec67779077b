//! The files of large objects, which can be hundreds of thousands: pg_dump writes one for each (`blob_16394.dat`). The
//! record has one digest for all of them, since a line for each would make it larger than what can be read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{ARCHIVE, FileEntry};
use crate::fs::{Digest, Hasher};

/// So many are named one by one, as everything else is.
const NAMED: usize = 1000;

/// All files of large objects together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::databases) struct LargeObjectFiles {
    pub count: u64,
    pub bytes: u64,
    /// Of a line for each, in the order of their names: name, size and digest.
    pub sha256: Digest,
}

/// Whether an archive's file holds a large object (pg_dump's `pg_backup_directory.c`, `_StartLO`).
pub(in crate::databases) fn is_large_object(name: &str) -> bool {
    name.strip_prefix("blob_").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// The files that a record names one by one, and the large objects together where they are many.
pub(in crate::databases) fn gather(files: Vec<FileEntry>) -> (Vec<FileEntry>, Option<LargeObjectFiles>) {
    let of_object = |file: &FileEntry| file.path.strip_prefix("archive/").is_some_and(is_large_object);
    if files.iter().filter(|file| of_object(file)).count() <= NAMED {
        return (files, None);
    }
    let (objects, named): (Vec<FileEntry>, Vec<FileEntry>) = files.into_iter().partition(of_object);
    let mut together = Together::default();
    for file in &objects {
        together.add(&file.path[ARCHIVE.len() + 1..], file.bytes, &file.sha256);
    }
    (named, Some(together.finish()))
}

/// Files on their way into one digest, in any order.
#[derive(Debug, Default)]
pub(in crate::databases) struct Together {
    lines: BTreeMap<String, (u64, Digest)>,
}

impl Together {
    pub fn add(&mut self, name: &str, bytes: u64, sha256: &Digest) {
        self.lines.insert(name.to_owned(), (bytes, sha256.clone()));
    }

    pub fn finish(self) -> LargeObjectFiles {
        let (mut hasher, mut bytes, count) = (Hasher::new(), 0, self.lines.len() as u64);
        for (name, (size, sha256)) in self.lines {
            hasher.update(format!("{name} {size} {}\n", sha256.hex()).as_bytes());
            bytes += size;
        }
        LargeObjectFiles { count, bytes, sha256: hasher.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> FileEntry {
        FileEntry { path: format!("archive/{name}"), bytes: 3, sha256: Digest::of(name.as_bytes()) }
    }

    #[test]
    fn many_large_objects_have_one_digest_and_few_are_named() {
        let objects = |count: usize| (0..count).map(|index| file(&format!("blob_{}.dat.gz", 16_384 + index)));
        let all = |count| -> Vec<FileEntry> { objects(count).chain([file("toc.dat"), file("blobs.toc")]).collect() };
        assert_eq!(gather(all(NAMED)), (all(NAMED), None));
        let (named, together) = gather(all(NAMED + 1));
        assert_eq!(named, [file("toc.dat"), file("blobs.toc")]);
        let together = together.unwrap();
        assert_eq!((together.count, together.bytes), (1001, 3003));
        // Another order is the same, another content is not.
        let (_, reversed) = gather(all(NAMED + 1).into_iter().rev().collect());
        assert_eq!(reversed.unwrap(), together);
        let mut other = all(NAMED + 1);
        other[7].sha256 = Digest::of(b"other");
        assert_ne!(gather(other).1.unwrap().sha256, together.sha256);
    }
}
