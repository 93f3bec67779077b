//! A staged folder takes the target's place by renames, and what it replaces is kept beside it. At every moment the target is the old
//! folder or the new one, whole; where the file system can't exchange two names, it is nothing between two renames.
//!
//! Killed anywhere, [`Swap::run`] goes on: it knows the new folder by its inode, wherever it lies by then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::error::FilesError;
use super::paths::{Places, found, identity};
use super::stage::remove_all;
use crate::fs::sync_dir;

/// What takes the target's place, and what it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    pub places: Places,
    /// The folder that is to be the target, by device and inode; `None` where the target goes.
    pub folder: Option<(u64, u64)>,
    /// Where it belongs: the target, or a name that it had before.
    pub place: PathBuf,
    /// What is replaced, where that lies elsewhere than at `place`.
    pub replaced: Option<PathBuf>,
}

/// How far a swap has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    NotBegun,
    /// The new folder is in its place, or between two renames.
    Begun,
}

impl Swap {
    /// How far it has come.
    ///
    /// # Errors
    /// What can't be looked at.
    pub fn progress(&self) -> Result<Progress, FilesError> {
        let look = |path: &Path| identity(path).map_err(FilesError::file(path));
        let begun = match self.folder {
            Some(folder) if is_same(look(&self.place)?, folder) => true,
            // Between the two renames.
            Some(folder) => {
                !is_there(&self.place)? && is_same(look(&self.places.staged)?, folder) && is_there(&self.places.old)?
            }
            None => !is_there(&self.place)?,
        };
        Ok(if begun { Progress::Begun } else { Progress::NotBegun })
    }

    /// Does it, or what is left of it.
    ///
    /// # Errors
    /// A rename that the system refuses.
    pub fn run(&self) -> Result<(), FilesError> {
        let Places { home, staged, old, .. } = &self.places;
        if self.progress()? == Progress::NotBegun {
            // Of a swap that ended long ago.
            remove_all(old)?;
            crate::failpoint!("files.swap.before-exchange");
            match self.folder {
                None => rename(&self.place, old)?,
                // Somebody made it meanwhile.
                Some(_) if self.replaced.is_some() && is_there(&self.place)? => {
                    return Err(FilesError::file(&self.place)(io::ErrorKind::AlreadyExists.into()));
                }
                Some(_) if !is_there(&self.place)? => rename(staged, &self.place)?,
                Some(_) => match exchange(staged, &self.place) {
                    Ok(()) => {
                        sync(home)?;
                        crate::failpoint!("files.swap.after-exchange");
                        rename(staged, old)?;
                    }
                    // NFS, CIFS, exFAT and NTFS know no exchange.
                    Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        rename(&self.place, old)?;
                        crate::failpoint!("files.swap.old-is-aside");
                        rename(staged, &self.place)?;
                    }
                    Err(error) => return Err(FilesError::file(&self.place)(error.into())),
                },
            }
        } else if self.folder.is_some() && is_there(staged)? {
            match is_there(&self.place)? {
                // What was exchanged for it.
                true => rename(staged, old)?,
                false => rename(staged, &self.place)?,
            }
        }
        sync(home)?;
        if let Some(replaced) = &self.replaced
            && is_there(replaced)?
        {
            crate::failpoint!("files.swap.before-replaced");
            remove_all(old)?;
            rename(replaced, old)?;
            sync(home)?;
        }
        keep(&self.places)
    }
}

/// What was replaced becomes what is kept, and what was kept before goes.
///
/// # Errors
/// What can't be renamed or removed.
pub fn keep(places: &Places) -> Result<(), FilesError> {
    let Places { home, old, kept, gone, .. } = places;
    if is_there(old)? {
        remove_all(gone)?;
        crate::failpoint!("files.swap.before-kept");
        if is_there(kept)? {
            rename(kept, gone)?;
        }
        rename(old, kept)?;
        sync(home)?;
    }
    crate::failpoint!("files.swap.before-gone");
    remove_all(gone)
}

/// Whether a folder is the one that was noted. By its inode alone: all of these lie on one file system, and the number of its
/// device may be another one after the machine was started again. Taken for another folder, what has just been replaced would be
/// removed as if it had been staged.
pub fn is_same(found: Option<(u64, u64)>, noted: (u64, u64)) -> bool {
    found.is_some_and(|(_, inode)| inode == noted.1)
}

fn is_there(path: &Path) -> Result<bool, FilesError> {
    Ok(found(path).map_err(FilesError::file(path))?.is_some())
}

fn rename(from: &Path, to: &Path) -> Result<(), FilesError> {
    fs::rename(from, to).map_err(FilesError::file(from))
}

fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    match crate::failpoint::pretends("fs.no-exchange") {
        true => Err(Errno::INVAL),
        false => rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE),
    }
}

fn sync(folder: &Path) -> Result<(), FilesError> {
    sync_dir(folder).map_err(FilesError::file(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with one file that says what it is.
    fn folder(path: &Path, text: &str) {
        fs::create_dir(path).unwrap();
        fs::write(path.join("what"), text).unwrap();
    }

    fn what(path: &Path) -> Option<String> {
        fs::read_to_string(path.join("what")).ok()
    }

    fn swap(places: &Places) -> Swap {
        let folder = identity(&places.staged).unwrap();
        Swap { places: places.clone(), folder, place: places.target.clone(), replaced: None }
    }

    #[test]
    fn what_is_replaced_is_kept_and_what_was_kept_goes() {
        let top = tempfile::tempdir().unwrap();
        let places = Places::beside(&top.path().join("conf"));
        for text in ["1", "2", "3"] {
            folder(&places.staged, text);
            let swap = swap(&places);
            assert_eq!(swap.progress().unwrap(), Progress::NotBegun);
            swap.run().unwrap();
            assert_eq!(swap.progress().unwrap(), Progress::Begun);
            // Done again, nothing changes.
            swap.run().unwrap();
            assert_eq!(what(&places.target).as_deref(), Some(text));
        }
        assert_eq!(what(&places.kept).as_deref(), Some("2"));
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_swap_goes_on_wherever_it_was_cut_off() {
        type Cut = fn(&Places);
        let cuts: [Cut; 5] = [
            |_| {},
            // Exchanged.
            |places| {
                fs::rename(&places.target, &places.gone).unwrap();
                fs::rename(&places.staged, &places.target).unwrap();
                fs::rename(&places.gone, &places.staged).unwrap();
            },
            // The old one is aside.
            |places| fs::rename(&places.target, &places.old).unwrap(),
            |places| {
                fs::rename(&places.target, &places.old).unwrap();
                fs::rename(&places.staged, &places.target).unwrap();
            },
            |places| {
                fs::rename(&places.target, &places.old).unwrap();
                fs::rename(&places.staged, &places.target).unwrap();
                fs::rename(&places.kept, &places.gone).unwrap();
            },
        ];
        for cut in cuts {
            let top = tempfile::tempdir().unwrap();
            let places = Places::beside(&top.path().join("conf"));
            folder(&places.target, "old");
            folder(&places.staged, "new");
            folder(&places.kept, "older");
            let swap = swap(&places);
            cut(&places);
            swap.run().unwrap();
            assert_eq!(what(&places.target).as_deref(), Some("new"));
            assert_eq!(what(&places.kept).as_deref(), Some("old"));
            assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn a_swap_goes_on_after_a_start_that_gave_its_device_another_number() {
        let top = tempfile::tempdir().unwrap();
        let places = Places::beside(&top.path().join("conf"));
        folder(&places.target, "old");
        folder(&places.staged, "new");
        let noted = swap(&places);
        exchange(&places.staged, &places.target).unwrap();
        let folder = noted.folder.map(|(device, inode)| (device + 1, inode));
        let swap = Swap { folder, ..noted };
        assert_eq!(swap.progress().unwrap(), Progress::Begun);
        swap.run().unwrap();
        assert_eq!((what(&places.target).as_deref(), what(&places.kept).as_deref()), (Some("new"), Some("old")));
    }

    #[test]
    fn a_folder_with_another_name_is_replaced_under_that_name() {
        let top = tempfile::tempdir().unwrap();
        let places = Places::beside(&top.path().join("wheel"));
        folder(&places.named("wheels"), "old");
        folder(&places.staged, "new");
        let swap = Swap { replaced: Some(places.named("wheels")), ..swap(&places) };
        swap.run().unwrap();
        assert_eq!((what(&places.target).as_deref(), what(&places.kept).as_deref()), (Some("new"), Some("old")));
        assert!(!places.named("wheels").exists());
    }
}
