//! The head of `toc.dat`, as far as it says how the files beside it are compressed.
//!
//! pg_dump writes the files raw and says so, and dpl compresses them as pg_dump would have done. From 16 on, pg_restore looks
//! for the sizes of `NNNN.dat.gz` only where the head says gzip, and takes tables over several connections in the order of
//! their numbers else: the largest may be the last (`_PrepParallelRestore` in `pg_backup_directory.c`). With the head as
//! pg_dump writes it with compression, the archive is what that makes. A tar's pg_restore refuses such a head.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::tar_stream::TABLE_OF_CONTENTS;
use crate::databases::error::DatabasesError;

/// `PGDMP`, three bytes of version, the sizes of an int and of an offset, the format; then the compression (`WriteHead` in
/// `pg_backup_archiver.c`).
const MAGIC: &[u8; 5] = b"PGDMP";
const BEFORE_COMPRESSION: usize = 11;

/// The minor numbers of the archive's version 1 whose heads are known: 1.14 is PostgreSQL 12's, 1.16 that of 17 and 18.
const KNOWN: RangeInclusive<u8> = 14..=16;

/// From here on the compression is one byte, before a level with its sign before it.
const WITH_ALGORITHM: u8 = 15;

/// `PG_COMPRESSION_GZIP`.
const GZIP: u8 = 1;

/// What a directory's table of contents says it is (`_CloseArchive` in `pg_backup_directory.c`).
const TAR: u8 = 3;

/// As much as is read of a head: with a level, that one's sign and lowest byte too.
type Head = [u8; BEFORE_COMPRESSION + 2];

/// Where the compression is, and what it is; `None` for a head that is not known.
fn compression(head: &Head) -> Option<(usize, u8)> {
    let [major, minor] = [head[5], head[6]];
    if !head.starts_with(MAGIC) || major != 1 || !KNOWN.contains(&minor) || head[10] != TAR {
        return None;
    }
    let at = if minor >= WITH_ALGORITHM { BEFORE_COMPRESSION } else { BEFORE_COMPRESSION + 1 };
    Some((at, head[at]))
}

fn read_head(mut file: &File) -> std::io::Result<Option<Head>> {
    let mut head = Head::default();
    match file.read_exact(&mut head) {
        Ok(()) => Ok(Some(head)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says in the head that the files of the directory archive are gzip's, where pg_dump of a known version said that they are
/// not compressed. One byte changes, so that a reader finds the old or the new one, never a mixture.
pub(in crate::databases) fn say_gzip(archive_path: &Path, level: u8) -> Result<(), DatabasesError> {
    let path = archive_path.join(TABLE_OF_CONTENTS);
    let file = OpenOptions::new().read(true).write(true).open(&path);
    let file = file.map_err(DatabasesError::file(message!("verb-open"), &path))?;
    let head = read_head(&file).map_err(DatabasesError::file(message!("verb-read"), &path))?;
    let Some((head, (at, 0))) = head.and_then(|head| Some((head, compression(&head)?))) else { return Ok(()) };
    // gzip has nine levels.
    let said = if head[6] >= WITH_ALGORITHM { GZIP } else { level.clamp(1, 9) };
    file.write_all_at(&[said], at as u64).map_err(DatabasesError::file(message!("verb-write"), &path))
}

/// Whether a tar may begin with this table of contents: pg_restore refuses one whose head speaks of compression.
pub(in crate::databases) fn fits_a_tar(table_of_contents: &[u8]) -> bool {
    let head = table_of_contents.first_chunk().and_then(compression);
    head.is_some_and(|(_, said)| said == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `pg_dump --format=directory` wrote them, without compression: 13, 17, and 16 by its source.
    const HEADS: [&[u8]; 3] = [
        b"PGDMP\x01\x0e\x00\x04\x08\x03\x00\x00\x00\x00\x00\x00\x2b",
        b"PGDMP\x01\x10\x00\x04\x08\x03\x00\x00\x33\x00\x00\x00",
        b"PGDMP\x01\x0f\x00\x04\x08\x03\x00\x00\x33\x00\x00\x00",
    ];

    fn told(head: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TABLE_OF_CONTENTS);
        std::fs::write(&path, head).unwrap();
        say_gzip(folder.path(), 12).unwrap();
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn a_head_says_gzip_as_the_version_of_pg_dump_does() {
        // pg_dump's own heads with `--compress=9` differ in this byte alone.
        for (head, (at, said)) in HEADS.into_iter().zip([(12, 9), (11, 1), (11, 1)]) {
            let mut wanted = head.to_vec();
            wanted[at] = said;
            assert_eq!(told(head), wanted);
            assert!(fits_a_tar(head) && !fits_a_tar(&wanted));
            // Once is enough, and what is compressed in another way stays as it is.
            assert_eq!(told(&wanted), wanted);
            wanted[at] = 3;
            assert_eq!(told(&wanted), wanted);
        }
    }

    #[test]
    fn a_head_that_is_not_known_is_left_alone() {
        let mut later = HEADS[1].to_vec();
        later[6] = 17;
        let mut custom = HEADS[1].to_vec();
        custom[10] = 1;
        for head in [&later[..], &custom, &HEADS[0][..12], b"toc", b""] {
            assert_eq!(told(head), head);
            assert!(!fits_a_tar(head));
        }
    }
}
