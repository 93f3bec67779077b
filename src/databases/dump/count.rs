//! What pg_dump wrote: the rows of each table to their end, and each file with its digest.

use std::collections::BTreeMap;
use std::path::Path;

use super::DumpOrder;
use super::compress::CompressedFile;
use crate::databases::archive::contents::Contents;
use crate::databases::archive::record::{ARCHIVE, FileEntry};
use crate::databases::described::inventory::{Table, shorten};
use crate::databases::error::DatabasesError;
use crate::fs::{Digest, hash_file, set_mode};
use crate::report::Message;

/// Every table that the snapshot has must be in the archive, to its end; gives each its rows.
pub(super) fn count_rows(
    order: &DumpOrder<'_>,
    contents: &Contents,
    tables: &mut [Table],
    files: &[CompressedFile],
) -> Result<(), DatabasesError> {
    let files: BTreeMap<&str, &CompressedFile> = files.iter().map(|file| (file.name.as_str(), file)).collect();
    let mut missing = Vec::new();
    for table in tables {
        match rows_of(contents, &files, table) {
            Ok(rows) => table.rows = rows,
            Err(what) => missing.push(what),
        }
    }
    match shorten(missing) {
        None => Ok(()),
        Some(missing) => Err(DatabasesError::Incomplete { database: order.recorded_as.to_owned(), missing }),
    }
}

/// What `COPY` writes behind the rows: `\.` and two empty lines (pg_dump's `dumpTableData_copy`).
pub(in crate::databases) const BEHIND_ROWS: &[u8; 5] = b"\\.\n\n\n";
const LINES_BEHIND_ROWS: u64 = 3;

/// How many rows of a table the archive holds; what is missing of them in words.
fn rows_of(contents: &Contents, files: &BTreeMap<&str, &CompressedFile>, table: &Table) -> Result<u64, Message> {
    let name = format!("{}.{}", table.schema, table.name);
    let Some(dump_id) = contents.table_data.get(&table.oid) else {
        return Err(message!("incomplete-rows", name = name));
    };
    let Some(file) = files.get(format!("{dump_id}.dat.gz").as_str()) else {
        return Err(message!("incomplete-file", name = name));
    };
    match file.lines.checked_sub(LINES_BEHIND_ROWS) {
        Some(rows) if file.is_whole => Ok(rows),
        _ => Err(message!("incomplete-cut", name = name)),
    }
}

/// All files of the archive with their digests: those that were compressed have theirs already.
pub(super) fn entries(folder: &Path, followed: Vec<CompressedFile>) -> Result<Vec<FileEntry>, DatabasesError> {
    let archive_path = folder.join(ARCHIVE);
    let mut known: BTreeMap<String, (u64, Digest)> =
        followed.into_iter().map(|file| (file.name, (file.bytes, file.sha256))).collect();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&archive_path).map_err(DatabasesError::file(message!("verb-list"), &archive_path))? {
        let path = entry.map_err(DatabasesError::file(message!("verb-list"), &archive_path))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (bytes, sha256) = match known.remove(&name) {
            Some(known) => known,
            None => {
                let synced = std::fs::File::open(&path).and_then(|file| file.sync_all().map(|()| file));
                let file = synced.map_err(DatabasesError::file(message!("verb-write"), &path))?;
                set_mode(&file, 0o600).map_err(DatabasesError::file(message!("verb-set-permissions"), &path))?;
                let (sha256, bytes) = hash_file(&path).map_err(DatabasesError::file(message!("verb-read"), &path))?;
                (bytes, sha256)
            }
        };
        files.push(FileEntry { path: format!("{ARCHIVE}/{name}"), bytes, sha256 });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(oid: u32, rows: u64) -> Table {
        Table { schema: "public".to_owned(), name: format!("t{oid}"), oid, rows }
    }

    #[test]
    fn rows_are_counted_and_a_missing_table_file_or_end_is_found() {
        let table_data = BTreeMap::from([(1, 101), (2, 102), (3, 103), (5, 105), (6, 106)]);
        let contents = Contents { table_data, ..Contents::default() };
        let file = |id: u32, lines, is_whole| CompressedFile {
            name: format!("{id}.dat.gz"),
            bytes: 1,
            sha256: crate::fs::Digest::of(b""),
            lines,
            is_whole,
        };
        let files = [file(101, 8, true), file(103, 3, true), file(105, 8, false), file(106, 2, true)];
        let files = files.iter().map(|file| (file.name.as_str(), file)).collect();
        let rows = |oid| rows_of(&contents, &files, &table(oid, 0));
        assert_eq!((rows(1), rows(3)), (Ok(5), Ok(0)));
        let missing = |oid| crate::catalogue::english(&rows(oid).unwrap_err());
        assert_eq!(missing(2), "the file with the rows of table public.t2 is not in it");
        assert_eq!(missing(4), "the rows of table public.t4 are not in it");
        for cut in [5, 6] {
            assert_eq!(missing(cut), format!("the rows of table public.t{cut} end too early in it"));
        }
    }
}
