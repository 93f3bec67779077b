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
}
