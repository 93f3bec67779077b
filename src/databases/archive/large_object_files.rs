//! The files of large objects, which can be hundreds of thousands: pg_dump writes one for each (`blob_16394.dat`). The
//! record has one digest for all of them, since a line for each would make it larger than what can be read back.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{ARCHIVE, FileEntry};
use crate::databases::error::DatabasesError;
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

/// So many are synced one by one; a file system as a whole may have much to write that is others'.
const SYNCED_ALONE: usize = 100;

/// Makes files of `folder` safe on disk that were written a moment ago: each for itself costs a turn of the disk.
pub(in crate::databases) fn sync(folder: &Path, names: &[String]) -> Result<(), DatabasesError> {
    if names.len() > SYNCED_ALONE && syncfs_tells_errors(&rustix::system::uname().release().to_string_lossy()) {
        let synced = File::open(folder).and_then(|opened| Ok(rustix::fs::syncfs(&opened)?));
        return synced.map_err(DatabasesError::file(message!("verb-write"), folder));
    }
    for name in names {
        let path = folder.join(name);
        let synced = File::open(&path).and_then(|file| file.sync_data());
        synced.map_err(DatabasesError::file(message!("verb-write"), &path))?;
    }
    Ok(())
}

/// Before Linux 5.8 it says nothing of what could not be written (syncfs(2)).
fn syncfs_tells_errors(release: &str) -> bool {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|word| word.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

/// The files that a record names one by one, and the large objects together where they are many.
pub(in crate::databases) fn gather(mut files: Vec<FileEntry>) -> (Vec<FileEntry>, Option<LargeObjectFiles>) {
    let together = {
        let mut objects: Vec<(&str, &FileEntry)> =
            files.iter().filter_map(|file| Some((name_of_object(file)?, file))).collect();
        objects.sort_unstable_by_key(|(name, _)| *name);
        let lines = objects.iter().map(|(name, file)| (*name, file.bytes, &file.sha256));
        (objects.len() > NAMED).then(|| LargeObjectFiles::of(lines))
    };
    if together.is_some() {
        files.retain(|file| name_of_object(file).is_none());
    }
    (files, together)
}

/// What a file of the archive is called, where it holds a large object.
fn name_of_object(file: &FileEntry) -> Option<&str> {
    file.path.strip_prefix(ARCHIVE)?.strip_prefix('/').filter(|name| is_large_object(name))
}

impl LargeObjectFiles {
    /// Of names, sizes and digests, in the order of the names.
    fn of<'f>(lines: impl Iterator<Item = (&'f str, u64, &'f Digest)>) -> Self {
        let (mut hasher, mut bytes, mut count) = (Hasher::new(), 0, 0);
        for (name, size, sha256) in lines {
            hasher.update(format!("{name} {size} {}\n", sha256.hex()).as_bytes());
            bytes += size;
            count += 1;
        }
        Self { count, bytes, sha256: hasher.finish() }
    }
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
        LargeObjectFiles::of(self.lines.iter().map(|(name, (bytes, sha256))| (name.as_str(), *bytes, sha256)))
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

    #[test]
    fn a_kernel_whose_syncfs_says_nothing_of_errors_syncs_file_by_file() {
        for (release, tells) in
            [("6.1.0-18-amd64", true), ("5.8.0", true), ("5.4.0-150-generic", false), ("3.10", false)]
        {
            assert_eq!(syncfs_tells_errors(release), tells, "{release}");
        }
    }

    #[test]
    fn files_that_are_gone_are_an_error_of_few_and_many_are_synced_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..=SYNCED_ALONE).map(|index| format!("blob_{index}.dat.gz")).collect();
        assert!(sync(folder.path(), &names[..1]).is_err());
        names.iter().for_each(|name| std::fs::write(folder.path().join(name), name).unwrap());
        sync(folder.path(), &names[..2]).unwrap();
        sync(folder.path(), &names).unwrap();
    }
}
