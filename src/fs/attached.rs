//! A program with something behind it in one file: the program, the content, and 64 bytes that say where the content begins.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;

use super::open_regular;

/// The last bytes of such a file: the mark, the place of the content in 20 digits, spaces, a line feed.
pub const TRAILER_BYTES: usize = 64;
const MARK: &[u8] = b"dpl-self-extracting 1 ";
const DIGITS: usize = 20;

/// What stands behind a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// Where it begins: so long is the program.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
}

impl Attached {
    /// What stands behind the program in a file; `None` for any other file.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let Some(end) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(&mut trailer, end)?;
        let digits = trailer.strip_prefix(MARK).and_then(|rest| std::str::from_utf8(&rest[..DIGITS]).ok());
        let offset = digits.and_then(|digits| digits.parse().ok()).filter(|offset| *offset < end);
        Ok(offset.filter(|offset| Self::trailer(*offset) == trailer).map(|offset| Self { offset, end }))
    }

    /// The bytes behind a content that begins at `offset`.
    pub fn trailer(offset: u64) -> [u8; TRAILER_BYTES] {
        let mut trailer = [b' '; TRAILER_BYTES];
        trailer[..MARK.len()].copy_from_slice(MARK);
        trailer[MARK.len()..MARK.len() + DIGITS].copy_from_slice(format!("{offset:0DIGITS$}").as_bytes());
        trailer[TRAILER_BYTES - 1] = b'\n';
        trailer
    }
}

/// A program's file, without what stands behind it.
///
/// # Errors
/// It can't be opened or read.
pub fn open_program(path: &Path) -> io::Result<(impl Read, u64)> {
    let mut file = open_regular(path)?;
    let length = match Attached::of(&file)? {
        Some(attached) => attached.offset,
        None => file.metadata()?.len(),
    };
    file.seek(SeekFrom::Start(0))?;
    Ok((file.take(length), length))
}

/// Lets all who may read a file run it. On a disk that keeps no permissions (FAT) nothing changes: there a program is copied before it
/// is run.
///
/// # Errors
/// As chmod(2), but for a file system that can't do it.
pub fn make_runnable(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode() & 0o777;
    let set: io::Result<()> = match crate::failpoint::pretends("fs.no-permissions") {
        true => Err(Errno::PERM.into()),
        false => file.set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2)),
    };
    match set {
        // The kernel's FAT refuses with EPERM what it can't keep (fs/fat/file.c, fat_setattr).
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => Ok(()),
        set => set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_program_is_found_and_the_program_is_what_stands_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Attached::of(&File::open(&path).unwrap()).unwrap()
        };
        let whole = [b"program", b"content", &Attached::trailer(7)[..]].concat();
        assert_eq!(of(&whole), Some(Attached { offset: 7, end: 14 }));
        let mut program = Vec::new();
        open_program(&path).unwrap().0.read_to_end(&mut program).unwrap();
        assert_eq!(program, b"program");
        for other in [&b""[..], b"program", &whole[..whole.len() - 1], &Attached::trailer(0)] {
            assert_eq!(of(other), None);
        }
        assert_eq!(of(&[b"program", &Attached::trailer(7)[..]].concat()), None, "nothing stands behind it");
        assert_eq!(of(&[b"program", b"content", &Attached::trailer(u64::MAX)[..]].concat()), None);
        std::fs::write(&path, "program").unwrap();
        assert_eq!(open_program(&path).unwrap().1, 7);
    }
}
