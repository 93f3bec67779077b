//! Paths that come over the wire: relative, and inside a folder that this side knows; and the folders that they need.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::catalogue::io_error;
use crate::fs::create_dir_durably;

/// The longest path that is taken.
const LONGEST: usize = 1024;
/// Those beside a manifest, in a project's folder, and in an image store.
const OWN_FOLDERS: [&str; 3] = [".dpl", ".dpl-received", ".dpl-store"];

/// Where `relative` lies in `folder`, links followed; it need not be there.
///
/// # Errors
/// A path that is not plainly below the folder, or that a link leads out of it.
pub(in crate::sites) fn inside(folder: &Path, relative: &str) -> io::Result<PathBuf> {
    let refused = || {
        let path = format!("{relative:?}");
        io_error(io::ErrorKind::PermissionDenied, message!("path-leads-out", path = path.trim_matches('"')))
    };
    let path = Path::new(relative);
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if relative.is_empty()
        || relative.len() > LONGEST
        || relative.contains('\0')
        || relative.ends_with('/')
        || !path.components().all(is_plain)
    {
        return Err(refused());
    }
    let root = match folder.canonicalize() {
        Ok(root) => root,
        // Nothing is there, and no link.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(folder.join(path)),
        Err(error) => return Err(error),
    };
    let mut place = root.clone();
    let mut parts = path.components();
    for part in parts.by_ref() {
        let next = place.join(part);
        match next.symlink_metadata() {
            // A link to nothing leads where nobody knows yet.
            Ok(metadata) if metadata.is_symlink() => {
                place = next.canonicalize().map_err(|_| refused())?;
                if !place.starts_with(&root) {
                    return Err(refused());
                }
            }
            Ok(_) => place = next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                place = next;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    parts.for_each(|part| place.push(part));
    Ok(place)
}

/// Whether a path leads into one of dpl's own folders: the records of projects and the keys that are trusted, what is on its way, the
/// notes of an image store. Nothing that comes from elsewhere belongs there. Some disks do not tell large letters from small ones.
pub fn is_own_folder(path: &Path) -> bool {
    path.components().any(|part| OWN_FOLDERS.iter().any(|own| part.as_os_str().eq_ignore_ascii_case(own)))
}

/// Makes folders that belong to whom the one above them does.
pub(in crate::sites) fn create_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = folder.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    create_dir_durably(folder)?;
    for made in missing.iter().rev() {
        if let Some(above) = made.parent().and_then(|above| fs::metadata(above).ok())
            && rustix::process::geteuid().is_root()
        {
            std::os::unix::fs::chown(made, Some(above.uid()), Some(above.gid()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_stays_in_its_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("project");
        std::fs::create_dir_all(folder.join("conf")).unwrap();
        std::fs::create_dir(home.path().join("outside")).unwrap();
        symlink("../outside", folder.join("out")).unwrap();
        symlink("/etc/passwd", folder.join("passwd")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        symlink("conf", folder.join("same")).unwrap();
        let root = folder.canonicalize().unwrap();
        for (path, place) in
            [("a.json", "a.json"), ("conf/x", "conf/x"), ("same/x", "conf/x"), ("new/deep/x", "new/deep/x")]
        {
            assert_eq!(inside(&folder, path).unwrap(), root.join(place), "{path}");
        }
        for path in ["", "..", "../x", "/etc/passwd", "a/../../x", "out/x", "passwd", "dangling", "a\0b", "./a", "a/"] {
            assert!(inside(&folder, path).is_err(), "{path:?}");
        }
        assert_eq!(inside(&home.path().join("none"), "a").unwrap(), home.path().join("none/a"));
    }

    #[test]
    fn own_folders_are_known_at_any_depth_and_nothing_else_is() {
        for own in [
            ".dpl/trusted-keys.json",
            "conf/.dpl",
            "/srv/p/.dpl-received/x",
            "store/.dpl-store/layers/x",
            "./.dpl",
            ".DPL/x",
        ] {
            assert!(is_own_folder(Path::new(own)), "{own}");
        }
        for other in ["", "conf/dpl", ".dplx", "x.dpl", ".dpl-notes.txt", "/srv/p/seeds/d"] {
            assert!(!is_own_folder(Path::new(other)), "{other}");
        }
    }
}
