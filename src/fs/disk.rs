//! The disk that a path lies on, or will once it is made.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::durable::folder_of;

/// A mounted file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Two paths with the same number share its space.
    pub device: u64,
    /// For who is not root.
    pub free_bytes: u64,
}

impl Disk {
    /// Of the nearest folder above that can be looked at; `None` where that can't be told.
    pub fn of(path: &Path) -> Option<Self> {
        let absolute = std::path::absolute(path).ok()?;
        let (there, metadata) = absolute.ancestors().find_map(|above| Some((above, above.metadata().ok()?)))?;
        let space = rustix::fs::statvfs(there).ok()?;
        Some(Self { device: metadata.dev(), free_bytes: space.f_bavail.saturating_mul(space.f_frsize) })
    }
}

/// The most bytes of a file on FAT32: a directory entry has 32 bits for its size (Microsoft, "FAT: General Overview of On-Disk Format",
/// DIR_FileSize).
pub const FAT32_LARGEST: u64 = u32::MAX as u64;

/// The most bytes that a file may have on the disk that a path lies on; `None` where nobody knows of a limit.
pub fn largest_file(path: &Path) -> Option<u64> {
    /// Of all FAT file systems (linux/magic.h, MSDOS_SUPER_MAGIC); exFAT has another.
    const FAT: u64 = 0x4d44;
    let absolute = std::path::absolute(path).ok()?;
    let system = absolute.ancestors().find_map(|above| rustix::fs::statfs(above).ok());
    // So small ones that a test can have too large ones.
    if crate::failpoint::pretends("fs.small-files") {
        return Some(200_000);
    }
    system.is_some_and(|system| system.f_type as u64 == FAT).then_some(FAT32_LARGEST)
}

/// Whether the disk takes no file of this name, as FAT and exFAT of some. It is tried out, since what FUSE mounts does not say what it
/// is: by an empty file beside it, whose name begins with `mark` and has the letters in it that may be refused.
pub fn refuses_name(path: &Path, mark: &str) -> bool {
    let letters = refused_by_fat(path);
    if letters.is_empty() {
        return false;
    }
    if crate::failpoint::pretends("fs.fat-names") {
        return true;
    }
    let folder = folder_of(path);
    let name = [mark.as_bytes(), std::process::id().to_string().as_bytes(), &letters].concat();
    let tried = folder.join(OsStr::from_bytes(&name));
    match OpenOptions::new().write(true).create_new(true).open(&tried) {
        Ok(_) => {
            let _ = fs::remove_file(&tried);
            false
        }
        // The kernel says that the name is wrong, exfat-fuse that there is no such file.
        Err(error) => matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOENT)) && folder.is_dir(),
    }
}

/// Those letters of a file's name that FAT and exFAT take in none (Microsoft, "FAT: General Overview of On-Disk Format", long names;
/// "exFAT file system specification", 7.7.3).
fn refused_by_fat(path: &Path) -> Vec<u8> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.iter().copied().filter(|byte| *byte < b' ' || br#""*/:<>?\|"#.contains(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_is_on_the_disk_of_the_folder_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let [there, below] = [folder.path().to_owned(), folder.path().join("a/b")].map(|path| Disk::of(&path).unwrap());
        assert_eq!(there.device, below.device);
        assert!(there.free_bytes > 0);
    }

    #[test]
    fn names_that_fat_refuses_are_tried_where_they_are_to_be() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["v1.dpl.tar", "x/y.tar", "a:b/x.tar", "发布.tar", "v1 (2).tar"] {
            assert!(refused_by_fat(Path::new(name)).is_empty(), "{name}");
        }
        for name in ["v1:2.tar", "what?.tar", "a\\b", "x\ny", "<x>", "a|b", "\"x\"", "*"] {
            assert!(!refused_by_fat(Path::new(name)).is_empty(), "{name:?}");
            assert!(!refuses_name(&folder.path().join(name), ".mark-"), "this disk takes {name:?}");
        }
        assert!(!refuses_name(&folder.path().join("gone/v1:2.tar"), ".mark-"), "that is no matter of its name");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
