//! What lies at a path, told by its first bytes.

use std::io::Read;
use std::path::Path;

use crate::databases::archive::record::RECORD_FILE;
use crate::databases::error::DatabasesError;
use crate::report::Message;

/// What lies at a path, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A folder with a `backup.json`.
    Backup,
    /// `pg_dump -Fc`.
    Custom,
    /// `pg_dump -Fd`.
    Directory,
    /// `pg_dump -Ft`.
    Tar,
    /// SQL in plain text, or that under gzip: nothing that a server is given as it is.
    Sql,
    /// Text that something else has to make readable first.
    Packed(Packing),
    /// Nothing of these.
    Other,
}

/// How a file is packed that has to be unpacked before anything can be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Zstd,
    Xz,
    Bzip2,
    /// An archive of pg_dump's under gzip.
    GzipOfArchive,
    /// UTF-16 text, as Windows' PowerShell writes it.
    Utf16,
}

impl Packing {
    fn of(head: &[u8]) -> Option<Self> {
        let begins = |magic: &[u8]| head.starts_with(magic);
        Some(match () {
            () if begins(&[0x28, 0xb5, 0x2f, 0xfd]) => Self::Zstd,
            () if begins(&[0xfd, b'7', b'z', b'X', b'Z', 0]) => Self::Xz,
            () if begins(b"BZh") => Self::Bzip2,
            () if begins(&[0xff, 0xfe]) || begins(&[0xfe, 0xff]) => Self::Utf16,
            () => return None,
        })
    }

    /// What to do about it.
    pub fn advice(self) -> Message {
        match self {
            Self::Zstd => message!("packed-zstd"),
            Self::Xz => message!("packed-xz"),
            Self::Bzip2 => message!("packed-bzip2"),
            Self::GzipOfArchive => message!("packed-gzip"),
            Self::Utf16 => message!("packed-utf16"),
        }
    }
}

/// Looks at what lies at `path`.
pub fn source_kind(path: &Path) -> Result<SourceKind, DatabasesError> {
    let fail = || DatabasesError::file(message!("verb-read"), path);
    if std::fs::metadata(path).map_err(fail())?.is_dir() {
        return Ok(match (path.join(RECORD_FILE).exists(), path.join("toc.dat").exists()) {
            (true, _) => SourceKind::Backup,
            (false, true) => SourceKind::Directory,
            (false, false) => SourceKind::Other,
        });
    }
    let mut head = [0; 512];
    let read = read_some(&mut std::fs::File::open(path).map_err(fail())?, &mut head).map_err(fail())?;
    let head = &head[..read];
    if head.starts_with(b"PGDMP") {
        return Ok(SourceKind::Custom);
    }
    if head.len() == 512 && &head[257..262] == b"ustar" {
        return Ok(if head.starts_with(b"toc.dat\0") { SourceKind::Tar } else { SourceKind::Other });
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        let mut inner = [0; 512];
        let file = std::fs::File::open(path).map_err(fail())?;
        let read = read_some(&mut flate2::read::MultiGzDecoder::new(file), &mut inner).map_err(fail())?;
        return Ok(match &inner[..read] {
            inner if is_text(inner) => SourceKind::Sql,
            inner if inner.starts_with(b"PGDMP") => SourceKind::Packed(Packing::GzipOfArchive),
            _ => SourceKind::Other,
        });
    }
    if let Some(packing) = Packing::of(head) {
        return Ok(SourceKind::Packed(packing));
    }
    Ok(if is_text(head) { SourceKind::Sql } else { SourceKind::Other })
}

fn read_some(from: &mut dyn Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// An archive is never text, and SQL is never anything else.
fn is_text(head: &[u8]) -> bool {
    !head.is_empty()
        && !head.starts_with(b"PGDMP")
        && head.iter().all(|byte| *byte >= 0x20 || b"\t\n\r\x0c".contains(byte))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_known_by_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            source_kind(&path).unwrap()
        };
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let mut tar = vec![0; 1024];
        tar[..7].copy_from_slice(b"toc.dat");
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(kind("a.sql", b"PGDMP\x01\x0e"), SourceKind::Custom);
        assert_eq!(kind("a.dump", b"--\n-- PostgreSQL database dump\n"), SourceKind::Sql);
        assert_eq!(kind("b", &gzip(b"SELECT '\xe6\xa1\xa3';")), SourceKind::Sql);
        assert_eq!(kind("c", &gzip(b"PGDMP\x01")), SourceKind::Packed(Packing::GzipOfArchive));
        assert_eq!(kind("f", b"\xff\xfeS\0"), SourceKind::Packed(Packing::Utf16));
        for (head, packing) in
            [(&b"\x28\xb5\x2f\xfd"[..], Packing::Zstd), (b"\xfd7zXZ\0", Packing::Xz), (b"BZh91AY", Packing::Bzip2)]
        {
            assert_eq!(kind("g.sql", head), SourceKind::Packed(packing));
        }
        assert_eq!(kind("d", &tar), SourceKind::Tar);
        tar[0] = b'x';
        assert_eq!(kind("d", &tar), SourceKind::Other);
        assert_eq!(kind("e", b""), SourceKind::Other);
        assert_eq!(kind("f", b"\x7fELF\x00"), SourceKind::Other);
        assert_eq!(source_kind(folder.path()).unwrap(), SourceKind::Other);
        std::fs::write(folder.path().join("toc.dat"), b"x").unwrap();
        assert_eq!(source_kind(folder.path()).unwrap(), SourceKind::Directory);
        std::fs::write(folder.path().join("backup.json"), b"x").unwrap();
        assert_eq!(source_kind(folder.path()).unwrap(), SourceKind::Backup);
    }
}
