//! The disk that a path lies on, or will once it is made.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

/// Of all FAT file systems (linux/magic.h, MSDOS_SUPER_MAGIC).
const FAT: u64 = 0x4d44;
/// linux/magic.h, EXFAT_SUPER_MAGIC.
const EXFAT: u64 = 0x2011_bab0;

/// The most bytes that a file may have on the disk that a path lies on; `None` where nobody knows of a limit.
pub fn largest_file(path: &Path) -> Option<u64> {
    // So small ones that a test can have too large ones.
    if crate::failpoint::pretends("fs.small-files") {
        return Some(200_000);
    }
    (file_system(path) == Some(FAT)).then_some(FAT32_LARGEST)
}

/// Whether the disk that a path lies on is known to take no file of its name.
pub fn refuses_name(path: &Path) -> bool {
    let is_fat = matches!(file_system(path), Some(FAT | EXFAT)) || crate::failpoint::pretends("fs.fat-names");
    is_fat && !is_fat_name(path)
}

/// Whether FAT and exFAT take a file of this name: none with one of these characters (Microsoft, "FAT: General Overview of On-Disk
/// Format", long names; "exFAT file system specification", 7.7.3).
pub fn is_fat_name(path: &Path) -> bool {
    let is_refused = |byte: &u8| *byte < b' ' || br#""*/:<>?\|"#.contains(byte);
    !path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().any(is_refused))
}

/// What the kernel calls the file system (statfs(2)) that a path lies on, or will.
fn file_system(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let system = absolute.ancestors().find_map(|above| rustix::fs::statfs(above).ok());
    system.map(|system| system.f_type as u64)
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
    fn names_that_fat_refuses_are_known() {
        for name in ["v1.dpl.tar", "x/y.tar", "a:b/x.tar", "发布.tar", "v1 (2).tar"] {
            assert!(is_fat_name(Path::new(name)), "{name}");
        }
        for name in ["v1:2.tar", "usb/what?.tar", "a\\b", "x\ny", "<x>", "a|b", "\"x\"", "*"] {
            assert!(!is_fat_name(Path::new(name)), "{name:?}");
        }
        assert!(!refuses_name(Path::new("v1:2.tar")), "this disk takes it");
    }
}
