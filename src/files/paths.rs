//! Paths as texts, and the names of what lies beside a target for a while.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

/// What all names of ours in a folder begin with. No delivery brings such a file, and none is looked at.
pub const OWN_MARK: &str = ".dpl-";

/// A path as a text that names one path alone: bytes that are not UTF-8, and `%`, are `%` and two hex digits.
pub fn encoded(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The path that [`encoded`] made a text of.
pub fn decoded(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let hex = behind.get(..2).filter(|_| *byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Where a delivery lies on its way, and what it replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub target: PathBuf,
    /// The folder that all of these but the target lie in.
    pub home: PathBuf,
    /// What takes the target's place.
    pub staged: PathBuf,
    /// What has just been replaced.
    pub old: PathBuf,
    /// What a rollback brings back.
    pub kept: PathBuf,
    /// What is being removed.
    pub gone: PathBuf,
}

impl Places {
    /// Beside the target, under names that hold its own.
    pub fn beside(target: &Path) -> Self {
        let home = target.parent().unwrap_or(Path::new("/"));
        let name = target.file_name().unwrap_or_default();
        Self::of(target, home, Some(name))
    }

    /// Inside a target that can't be renamed.
    pub fn inside(target: &Path) -> Self {
        Self::of(target, target, None)
    }

    fn of(target: &Path, home: &Path, name: Option<&OsStr>) -> Self {
        let place = |what: &str| {
            let mut own = OsString::from(OWN_MARK);
            own.push(what);
            if let Some(name) = name {
                own.push("-");
                own.push(name);
            }
            home.join(own)
        };
        Self {
            target: target.to_owned(),
            home: home.to_owned(),
            staged: place("new"),
            old: place("old"),
            kept: place("kept"),
            gone: place("gone"),
        }
    }

    /// A folder beside the target.
    pub fn named(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }
}

/// What lies at a path itself, not behind a link; `None` where nothing does.
pub fn found(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Device and inode of what lies at a path.
pub fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    Ok(found(path)?.map(|metadata| (metadata.dev(), metadata.ino())))
}

/// Whether a file system, or a folder from elsewhere, is mounted at a folder.
pub fn is_mounted(folder: &Path) -> bool {
    let looked = rustix::fs::statx(CWD, folder, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    if let Ok(looked) = looked
        && looked.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
    {
        return looked.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    }
    // Kernels before 5.8 do not say it.
    let device = |path: &Path| fs::symlink_metadata(path).ok().map(|metadata| metadata.dev());
    folder.parent().is_some_and(|parent| device(parent) != device(folder))
}

/// The path that a folder really has, or will have once it is made: links on the way are followed.
pub fn real(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    for above in path.ancestors() {
        if found(above)?.is_some() {
            let mut real = fs::canonicalize(above)?;
            real.extend(missing.iter().rev());
            return Ok(real);
        }
        missing.extend(above.file_name());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_comes_back_from_its_text() {
        for bytes in [&b"a/b c"[..], b"100%", b"%41", b"\xff\xfe", "模块".as_bytes(), b"%", b"a%F"] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            assert_eq!(decoded(&encoded(&path)), path);
        }
        assert_eq!(encoded(Path::new("a/100%")), "a/100%25");
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_path_behind_links() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(top.join("disk")).unwrap();
        std::os::unix::fs::symlink("disk", top.join("data")).unwrap();
        assert_eq!(real(&top.join("data/x/y")).unwrap(), top.join("disk/x/y"));
        assert_eq!(real(&top.join("data")).unwrap(), top.join("disk"));
        std::os::unix::fs::symlink("nowhere", top.join("dangling")).unwrap();
        assert!(real(&top.join("dangling")).is_err());
    }

    #[test]
    fn a_mount_is_told_from_a_folder() {
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(tempfile::tempdir().unwrap().path()));
    }
}
